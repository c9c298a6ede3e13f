"""lanmesh run: be a node"""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from lanmesh.locations import StateFolder, state_folder


def run(  # noqa: PLR0917  # typer reads the options from here
    state_dir: Annotated[
        Path | None, typer.Option(help="Folder for the node's state; else LANMESH_STATE_DIR.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address for peers; 127.0.0.1 for this machine alone."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for peers; 0 for any free one.")
    ] = None,
    operator_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for the CLI; 0 for any free one.")
    ] = None,
    config_stdin: Annotated[
        bool, typer.Option("--config-stdin", help="Take settings as one line of JSON.")
    ] = False,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", help="Stop when stdin does; log to node.log.")
    ] = False,
) -> None:
    """Be a node, until SIGTERM."""
    from lanmesh import daemon, logs  # noqa: PLC0415  # the other verbs do without the server
    from lanmesh.config import Source  # noqa: PLC0415

    flags = {"listen": listen, "port": port, "operatorPort": operator_port}
    given = {key: value for key, value in flags.items() if value is not None}
    options = daemon.Options(
        folder=StateFolder(path=state_folder(os.environ, state_dir)),
        flags=Source(name="flag", values={"node": given} if given else {}),
        config_stdin=config_stdin,
        until_stdin_closes=until_stdin_closes,
    )
    logs.to_terminal()
    with asyncio.Runner() as runner:
        runner.run(daemon.run(options))
