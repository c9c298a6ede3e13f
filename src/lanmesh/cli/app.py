"""the `lanmesh` command: its verbs, and how errors end it"""

import os
import sys
from io import TextIOWrapper

import typer

from lanmesh import __version__
from lanmesh.cli import mail, pairing, run, status, tasks
from lanmesh.cli.terminal import show_error
from lanmesh.errors import MeshError
from lanmesh.protocol import problems

app = typer.Typer(
    name="lanmesh",
    help="Agents on your LAN find each other, send messages and delegate tasks.",
    epilog="Every verb speaks to the node of one state folder; LANMESH_STATE_DIR chooses another.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for verb in (
    run.run,
    status.status,
    status.profile,
    status.config,
    pairing.pair,
    pairing.unpair,
    pairing.block,
    mail.send,
    mail.inbox,
    mail.outbox,
    mail.resend,
    tasks.delegate,
    tasks.tasks,
    tasks.task,
    tasks.approve,
    tasks.deny,
    tasks.ask,
    tasks.answer,
    tasks.cancel,
    tasks.accept,
):
    app.command()(verb)

peers = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
peers.callback()(status.peers)
peers.command()(pairing.upgrade)
app.add_typer(peers, name="peers")


@app.callback(invoke_without_command=True)
def version(
    show: bool = typer.Option(False, "--version", help="Show the version and end."),
) -> None:
    """Agents on your LAN find each other, send messages and delegate tasks."""
    if show:
        typer.echo(f"lanmesh {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line, and end with the status that the table of errors gives."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack what a peer's text has
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:  # it is, where the shell closed it
                sys.stdout.flush()  # while a reader that has gone can still be met below
    except MeshError as fault:
        show_error(fault, as_json="--json" in sys.argv)
        sys.exit(problems.spelling(fault).exit)
    except BrokenPipeError:
        # Whoever read our output has enough of it. Python would complain again at its own end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as fault:  # the same, of a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"lanmesh: cannot write the output: {fault.strerror or fault}", file=sys.stderr)
        sys.exit(74)
    except KeyboardInterrupt:
        sys.exit(130)
