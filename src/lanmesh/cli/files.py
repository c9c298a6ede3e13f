"""files in the terminal: what to send, how far it has come, where it lies"""

import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lanmesh.cli.terminal import first_line, plain
from lanmesh.client import Client
from lanmesh.errors import InvalidRequest
from lanmesh.model.file import places
from lanmesh.model.ids import quoted
from lanmesh.model.task import FINAL
from lanmesh.protocol.files import FileView
from lanmesh.protocol.views import TaskView

_LOOK_S = 0.3
_UNITS = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB"))

FileOption = Annotated[
    list[Path] | None,
    typer.Option("--file", metavar="PATH", help="A file to go with it, or a folder; may be repeated."),
]


def absolute(paths: Sequence[Path] | None) -> list[str]:
    """Return paths as the node, which works elsewhere, understands them; links stay as they are."""
    return [str(Path.cwd() / path.expanduser()) for path in paths or ()]


async def brought(node: Client, task: TaskView, wait_s: float | None, *, made: bool, quiet: bool) -> TaskView:
    """Wait for the files of a task, and show how far they have come; return the task as it is then.

    Args:
        node: Ours.
        task: The task.
        wait_s: How long, at most.
        made: Those that its doer has made; else those that it came with, until it has ended.
        quiet: Show nothing.
    """
    deadline = None if wait_s is None else time.monotonic() + wait_s
    with _Bar(quiet=quiet) as bar:
        while True:
            coming = [file for file in task.files if file.made == made]
            bar.show(coming)
            over = all(file.settled for file in coming) or (not made and task.state in FINAL)
            if over or (deadline is not None and time.monotonic() >= deadline):
                return task
            await asyncio.sleep(_LOOK_S)
            task = await node.task(task.id)


def rows(files: Sequence[FileView]) -> list[tuple[str, str, str, str]]:
    """Return what is shown of each file: its name, its size, whose it is, how it fares."""
    return [
        (first_line(plain(file.name)), size(file.size), "made" if file.made else "given", plain(_fate(file)))
        for file in files
    ]


def save(files: Sequence[FileView], folder: Path) -> list[Path]:
    """Copy what has come of files into a folder, and return where each lies; nothing is overwritten.

    Raises:
        InvalidRequest: Something of that name is there, or a file cannot be copied; those before it are.
    """
    here = [file for file in files if file.place is not None]
    targets = [folder.joinpath(*parts) for parts in places(file.name for file in here)]
    for target in targets:
        if target.exists() or target.is_symlink():
            raise InvalidRequest(f"{quoted(str(target), 300)} exists already: choose another folder")
    for file, target in zip(here, targets, strict=True):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.place or "", target)
        except OSError as fault:
            why = fault.strerror or fault
            raise InvalidRequest(f"no copy at {quoted(str(target), 300)}: {why}") from fault
    return targets


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


def _fate(file: FileView) -> str:
    if file.error is not None and not file.settled:
        return f"waits: {file.error}"
    if file.error is not None:
        return f"{'not brought' if file.sent else 'given up'}: {file.error}"
    if file.settled:
        return "delivered" if file.place is None else file.place
    return f"{size(file.present)} so far" if file.present else "on its way"


class _Bar:
    """A bar on the terminal's standard error; nothing elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr.isatty()

    def __enter__(self) -> "_Bar":
        if self._shown:
            from rich.console import Console  # noqa: PLC0415  # 60 ms that most calls can do without
            from rich.progress import Progress  # noqa: PLC0415

            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("files", total=None)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._progress.stop()

    def show(self, files: Sequence[FileView]) -> None:
        if self._shown:
            there = sum(file.present for file in files)
            self._progress.update(self._task, total=sum(file.size for file in files), completed=there)
