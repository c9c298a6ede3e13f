"""lanmesh send, inbox, outbox, resend: messages, and all that is on its way to peers"""

from typing import Annotated

import typer

from lanmesh.cli.files import FileOption, absolute, rows
from lanmesh.cli.node import ask
from lanmesh.cli.terminal import JsonFlag, ago, plain, show_json, show_table, show_text, text_of
from lanmesh.client import Client
from lanmesh.protocol.views import DeliveryView, MessageView


def send(
    peer: Annotated[str, typer.Argument(help="To whom.")],
    text: Annotated[str, typer.Argument(help="What to say; - reads it from stdin.")],
    file: FileOption = None,
    json: JsonFlag = False,
) -> None:
    """Say something to a peer."""
    words = text_of(text)

    async def sending(node: Client) -> DeliveryView:
        return await node.send(peer, words, files=await node.keep(*absolute(file)))

    delivery = ask(sending)
    if json:
        show_json(delivery)
    else:
        print(f"{delivery.state}: {plain(_fate(delivery))}")
    if delivery.state == "refused":
        raise typer.Exit(5)


def inbox(
    unread: Annotated[bool, typer.Option("--unread", help="Only what you have not seen.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, at most.")] = 20,
    json: JsonFlag = False,
) -> None:
    """Show the messages that arrived; they count as read from then on."""

    async def read(node: Client) -> list[MessageView]:
        messages = await node.messages(unread=unread, limit=limit)
        await node.mark_read([message.number for message in messages if message.read_at is None])
        return messages

    messages = ask(read)
    if json:
        show_json(messages)
        return
    for message in messages:
        new = "new, " if message.read_at is None else ""
        claim = "" if message.proven else " (by its own word)"
        print(f"{plain(message.sender)}{claim}, {new}{ago(message.received_at)}:")
        show_text("  " + message.text.replace("\n", "\n  "))
        for name, much, _, where in rows(message.files):
            print(f"  file {name}, {much}: {where}")
    if not messages:
        print("no new messages" if unread else "no messages yet")


def outbox(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, at most.")] = 20,
    json: JsonFlag = False,
) -> None:
    """Show what is on its way to peers, and what did not get there."""
    views = ask(lambda node: node.outbox(limit=limit))
    if json:
        show_json(views)
    elif views:
        show_table(
            ("id", "what", "to", "state", "since", "tries", "why"),
            [
                (
                    view.id[:8],
                    view.type if view.type == "message" else f"{view.type} {(view.task or '')[:8]}",
                    view.peer,
                    view.state if view.settled_at is None else f"{view.state}, given up",
                    ago(view.settled_at or view.created_at),
                    str(view.attempts),
                    view.error or "",
                )
                for view in views
            ],
        )
    else:
        print("nothing waits, and nothing failed")


def resend(
    id: Annotated[str, typer.Argument(help="Id of what to send, or of its task; or its first characters.")],
    json: JsonFlag = False,
) -> None:
    """Send again what was refused or not delivered in time; nothing is done twice."""
    delivery = ask(lambda node: node.resend(id))
    if json:
        show_json(delivery)
    else:
        print(f"{delivery.type} {delivery.id[:8]} to {plain(delivery.peer)} is sent again")


def _fate(delivery: DeliveryView) -> str:
    match delivery.state:
        case "delivered":
            return f"{delivery.peer} has it"
        case "refused" | "expired":
            return delivery.error or f"{delivery.peer} did not take it"
        case "unknown":
            return f"it is sent again until {delivery.peer} confirms it; {delivery.error}"
        case _:
            why = f"; {delivery.error}" if delivery.error else ""
            return f"it is kept for {delivery.peer} for a day, and tried again{why}"
