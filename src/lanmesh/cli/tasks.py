"""lanmesh delegate, tasks, task, approve, deny, ask, answer, cancel, accept: work for peers and from them"""

import asyncio
import os
import sys
import time
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Annotated

import typer

from lanmesh.cli import files
from lanmesh.cli.files import FileOption, absolute, brought
from lanmesh.cli.node import ask as node_says
from lanmesh.cli.node import owner_only
from lanmesh.cli.terminal import (
    JsonFlag,
    Live,
    ago,
    ahead,
    first_line,
    plain,
    show_facts,
    show_json,
    show_table,
    show_text,
    text_of,
)
from lanmesh.client import Client
from lanmesh.errors import InvalidRequest, TimedOut
from lanmesh.model.draft import Passage
from lanmesh.model.file import WHOLE_RESULT
from lanmesh.model.history import PROGRESS
from lanmesh.model.task import FINAL, AcceptMode, TaskState
from lanmesh.protocol.views import EventView, TaskView

Id = Annotated[str, typer.Argument(help="Id of the task, or its first characters.")]


def delegate(  # noqa: PLR0917  # typer calls it by name
    peer: Annotated[str, typer.Argument(help="Who is to do it.")],
    text: Annotated[str, typer.Argument(help="What is to be done; - reads it from stdin.")],
    wait: Annotated[
        float | None,
        typer.Option(metavar="S", min=0, help="Wait so many seconds for the result, and print it."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds that the run may take there; else 600.")
    ] = None,
    file: FileOption = None,
    json: JsonFlag = False,
) -> None:
    """Ask a peer to do something.

    With --wait, what happens is told on standard error and the result printed; the exit status
    is 0 for a result, 1 for a task that failed or was rejected, 7 if it is still open. Waiting
    is not running: a task goes on when nobody waits for it.

    The task begins once its files are there; what it makes comes back, and lanmesh task shows where it lies.
    """
    words = text_of(text)

    async def work(node: Client) -> TaskView:
        asked = await node.delegate(
            peer,
            words,
            timeout_s=timeout,
            parent=os.environ.get("LANMESH_TASK_ID") or None,
            files=await node.keep(*absolute(file)),
        )
        if wait is None:
            return asked
        # Said at once: whoever stops waiting, or whose node ends meanwhile, must not ask for it anew.
        if not json:
            print(f"task {asked.id}: it goes on if nobody waits for it", file=sys.stderr)
        deadline = time.monotonic() + wait
        await brought(node, asked, wait, made=False, quiet=json)
        ended = await _follow(node, asked.id, max(0.0, deadline - time.monotonic()), quiet=json)
        return await brought(node, ended, deadline - time.monotonic(), made=True, quiet=json)

    task = node_says(work)
    if wait is not None:
        _show_end(task, wait, json=json)
    elif json:
        show_json(task)
    else:
        print(f"{task.id}  {task.state}; lanmesh task {task.id[:8]} tells more")


def tasks(
    state: Annotated[TaskState | None, typer.Option(help="Only those in this state.")] = None,
    approvals: Annotated[
        bool, typer.Option("--approvals", help="Only those that wait for your word, the oldest first.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, at most.")] = 20,
    json: JsonFlag = False,
) -> None:
    """Show the latest tasks: those asked of peers, and those done for them."""
    if approvals:
        views = node_says(lambda node: node.approvals(limit=limit))
    else:
        views = node_says(lambda node: node.tasks(state=state, limit=limit))
    if json:
        show_json(views)
    elif approvals:
        _show_approvals(views)
    elif views:
        show_table(
            ("id", "", "peer", "state", "since", "task"),
            [
                (
                    view.id[:8],
                    "asked of" if view.direction == "asked" else "doing for",
                    view.peer,
                    _state(view),
                    ago(view.finished_at or view.started_at or view.created_at),
                    first_line(view.description),
                )
                for view in views
            ],
        )
    else:
        print("no tasks yet")


def task(  # noqa: PLR0912  # one line for each fact
    task: Id,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Copy the files that have come into a folder.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Tell what happens until its end, then print the result.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Show all about a task.

    With --follow, what happens is told on standard error, progress too, and the result printed; the
    exit status is 0 for a result, 1 for a task that failed or was rejected.
    """
    if follow:
        _show_end(node_says(lambda node: _follow(node, task, None, quiet=json)), json=json)
        return
    view = node_says(lambda node: node.task(task))
    saved = [] if save is None else files.save(view.files, save)
    if json:
        show_json(view)
        return
    if save is not None:
        print("\n".join(plain(str(path)) for path in saved) or "no file of it has come yet")
        return
    direction = "asked of" if view.direction == "asked" else "doing for"
    facts = [("task", view.id), (direction, view.peer), ("state", _state(view))]
    if view.wire_id != view.id:
        facts.append(("its asker's id", view.wire_id))
    if view.delivery is not None:
        what = "request" if view.direction == "asked" else "result"
        facts.append(
            (what, view.delivery.state + (f": {view.delivery.error}" if view.delivery.error else ""))
        )
    if view.path and view.direction != "asked":
        facts.append(("came through", " > ".join(view.path)))
    if view.question is not None:
        facts.append(("it asks", view.question))
    if view.not_stopped is not None:
        facts.append(("could not be stopped", view.not_stopped))
    if view.error is not None:
        facts.append(("error", f"{view.error.code}: {view.error.detail}"))
    if view.progress is not None:
        facts.append(("progress", first_line(view.progress.split("\n")[-1], 200)))
    show_facts([*facts, ("task's text", first_line(view.description, 200))])
    print()
    if view.files:
        show_table(("file", "size", "", "where"), files.rows(view.files))
        print()
    for event in view.events:
        print(_line(event))
    if view.result is not None:
        print()
        show_text(view.result)
        if view.truncated:
            whole = any(file.name == WHOLE_RESULT for file in view.files)
            more = f"all of it is in the file {WHOLE_RESULT}" if whole else "this is what is kept of it"
            print(f"(the result is longer: {more})", file=sys.stderr)


def approve(task: Id, json: JsonFlag = False) -> None:
    """Let a task that waits for your word run."""
    owner_only("approving a task")
    _decided(node_says(lambda node: node.approve(task)), "approved", json=json)


def deny(task: Id, json: JsonFlag = False) -> None:
    """End a task that waits for your word; its asker is told."""
    owner_only("denying a task")
    _decided(node_says(lambda node: node.deny(task)), "denied", json=json)


def ask(
    text: Annotated[str, typer.Argument(help="What is to be known; - reads it from stdin.")],
    json: JsonFlag = False,
) -> None:
    """In the run of a task: ask whoever gave the task.

    The run should end then. Once there is an answer, the program is run again: it reads the task's
    text, then every question and its answer.
    """
    run = os.environ.get("LANMESH_TASK_ID")
    if not run:
        raise InvalidRequest("LANMESH_TASK_ID is not set: only the run of a task can ask back")
    words = text_of(text)
    asked = node_says(lambda node: node.ask(run, words))
    if json:
        show_json(asked)
    else:
        print(f"asked {plain(asked.peer)}; end this run now, the next one has the answer")


def answer(
    task: Id,
    text: Annotated[str, typer.Argument(help="What you say to it; - reads it from stdin.")],
    json: JsonFlag = False,
) -> None:
    """Answer what a task that a peer does for you has asked; it goes on with that."""
    words = text_of(text)

    async def work(node: Client) -> TaskView:
        found = await node.task(task)
        if found.parent is None or found.parent != os.environ.get("LANMESH_TASK_ID"):
            owner_only("answering for a task that this run has not asked for")
        return await node.answer(found.id, words)

    _decided(node_says(work), "answered", json=json)


def cancel(
    task: Id,
    wait: Annotated[
        float | None,
        typer.Option(metavar="S", min=0, help="Wait so many seconds to hear what became of it."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """End a task before its time, and all that it has asked of others.

    With --wait, the exit status is 0 if it was canceled, 1 if it has ended otherwise or could not
    be stopped, 7 if that is not known yet. A peer that is off is told when it is back.
    """

    async def work(node: Client) -> TaskView:
        found = await node.task(task)
        if found.parent is None or found.parent != os.environ.get("LANMESH_TASK_ID"):
            owner_only("canceling a task that this run has not asked for")
        told = await node.cancel(found.id)
        deadline = time.monotonic() + (wait or 0.0)
        while told.canceling is not None and (left_s := deadline - time.monotonic()) > 0:
            told = await node.watch(told.id, wait_s=left_s, version=told.version)
        return told

    told = node_says(work)
    if json:
        show_json(told)
    else:
        print(
            f"task {told.id[:8]}: {_state(told)}" + (f" ({plain(why)})" if (why := told.not_stopped) else "")
        )
    if wait is not None and told.canceling is not None:
        raise TimedOut(
            f"task {told.id[:8]}: {plain(told.peer)} has not answered after {wait:g} s; it will be told"
        )
    if wait is not None and told.state != TaskState.CANCELED:
        raise typer.Exit(1)


def accept(
    mode: Annotated[AcceptMode, typer.Argument(help="Run tasks, ask you first, or refuse them.")],
    peer: Annotated[str | None, typer.Argument(help="Those of one peer; else all that arrive.")] = None,
    json: JsonFlag = False,
) -> None:
    """Decide what is done with tasks that arrive."""
    owner_only("the accept mode")
    chosen = node_says(lambda node: node.accept(mode, peer))
    if json:
        show_json({"mode": chosen} if peer is None else {"mode": chosen, "peer": peer})
    else:
        print(f"tasks{'' if peer is None else f' of {plain(peer)}'} that arrive from now on: {chosen}")


def _show_approvals(views: list[TaskView]) -> None:
    if not views:
        print("nothing waits for your word")
        return
    show_table(
        ("id", "who asks", "since", "ends", "task"),
        [
            (
                view.id[:8],
                view.peer if view.proven else f"{view.peer} (by its own word)",
                ago(view.created_at),
                ahead(view.decide_by),
                first_line(view.description),
            )
            for view in views
        ],
    )
    print("\nlanmesh approve ID runs one, lanmesh deny ID ends it; lanmesh task ID shows all of it")


async def _follow(node: Client, task: str, wait_s: float | None, *, quiet: bool) -> TaskView:
    """Wait for a task, and tell what happens to it meanwhile; return it as it is then."""
    with Live(quiet=quiet) as live, suppress(TimeoutError):
        async with asyncio.timeout(wait_s), aclosing(node.events(task)) as events:
            async for news in events:
                if isinstance(news, Passage):
                    live.draft(news)
                    continue
                last = isinstance(news, TaskView)
                for event in news.events if isinstance(news, TaskView) else [news]:
                    if event.event == PROGRESS:
                        live.words(event.detail, _when(event))
                    else:
                        live.line(_line(event))
                if last:
                    break
    return await node.task(task)


def _show_end(task: TaskView, wait_s: float = 0.0, *, json: bool) -> None:
    """Print what came of a task, and end the command with the status for it."""
    if json:
        show_json(task)
    elif task.state == TaskState.COMPLETED:
        show_text(task.result or "")
    if task.state not in FINAL:
        raise TimedOut(
            f"task {task.id[:8]} is {_state(task)} after {wait_s:g} s, and goes on; "
            f"lanmesh task {task.id[:8]} shows how it fares"
        )
    if task.state != TaskState.COMPLETED:
        why = f": {plain(task.error.detail)}" if task.error else ""
        print(f"lanmesh: {task.state}{why}", file=sys.stderr)
        raise typer.Exit(1)


def _decided(task: TaskView, word: str, *, json: bool) -> None:
    if json:
        show_json(task)
    else:
        print(f"{word}: task {task.id[:8]} of {plain(task.peer)}")


def _state(task: TaskView) -> str:
    if task.assumed:
        return f"{task.state}, as far as is known"
    if task.question is not None:
        return f"{task.state}, asks: {first_line(task.question)}"
    if task.canceling is not None:
        return f"{task.state}, canceling"
    if task.decide_by is not None:
        return f"{task.state}, waits for {task.waiting_for}, which ends {ahead(task.decide_by)}"
    return f"{task.state}, waits for {task.waiting_for}" if task.waiting_for else task.state


def _line(event: EventView) -> str:
    return f"{_when(event)}  {event.event:<18} {event.state:<10} {plain(event.detail)}".rstrip()


def _when(event: EventView) -> str:
    at = time.strftime("%H:%M:%S", time.localtime((event.at or 0) / 1000))
    return f"{at}.{(event.at or 0) % 1000:03d}"
