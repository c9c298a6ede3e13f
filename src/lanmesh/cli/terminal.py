"""what people see in the terminal: tables, times, errors; and JSON for programs"""

import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from lanmesh.errors import InvalidRequest, MeshError
from lanmesh.model.draft import Passage
from lanmesh.protocol import problems

if TYPE_CHECKING:
    from rich.status import Status
    from rich.text import Text

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Invisible, but part of words in some scripts, and of emoji."""

_DRAFT_LINES = 8
"""Of what a run writes, shown at a time."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def show_json(value: object) -> None:
    """Print a value as indented JSON."""
    print(_visible(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, as wide as the terminal."""
    from rich.console import Console  # noqa: PLC0415  # 60 ms that programs need not wait for
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    Console(soft_wrap=False).print(table)


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names with their values, one a line."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"{plain(name):<{width}}  {plain(value)}")


def show_text(text: str) -> None:
    """Print a text that a peer wrote: as it is into a file or pipe, without control characters here."""
    if sys.stdout.isatty():
        text = "\n".join(plain(line) for line in text.split("\n"))
    print(text)


class Live:
    """What happens, told on standard error: line by line, and on a terminal what a run writes in place.

    With `quiet`, nothing is told.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        """Begin with nothing."""
        self._quiet = quiet
        self._status: Status | None = None
        self._draft: Passage | None = None
        self._words = ""

    def __enter__(self) -> "Live":
        """Begin to tell."""
        if not self._quiet and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415  # as in show_table

            self._status = Console(stderr=True).status("")
            self._status.start()
        return self

    def __exit__(self, *_why: object) -> None:
        """Take away what stands in place."""
        if self._status is not None:
            self._status.stop()

    def line(self, text: str) -> None:
        """Tell something that stays to be seen."""
        if self._quiet:
            return
        if self._status is None:
            print(plain(text), file=sys.stderr, flush=True)
        else:
            self._status.console.print(_cropped(text), soft_wrap=True)

    def words(self, text: str, beside: str) -> None:
        """Tell the latest words of a run: on a terminal the last line of them, in place of earlier ones."""
        lines = [line for line in text.splitlines() if line.strip()]
        if self._status is None:
            for line in lines:
                self.line(f"{beside}  {line}")
        elif lines:
            self._words = lines[-1]
            self._show()

    def draft(self, passage: Passage) -> None:
        """Tell what a run writes: on a terminal the end of it in place; elsewhere its lines come as words."""
        if self._status is not None:
            self._draft = passage if self._draft is None else self._draft.joined(passage)
            self._draft = self._draft.latest(_DRAFT_LINES * self._status.console.width)
            self._show()

    def _show(self) -> None:
        """Put in place what is written, or where nothing is, the latest words."""
        if self._status is None:
            return
        written = "" if self._draft is None else self._draft.text.strip()
        lines = [plain(line.strip()) for line in written.splitlines()[-_DRAFT_LINES:]]
        beside = [] if self._words in lines else [self._words]
        self._status.update(_folded([*beside, *lines] if lines else [self._words]))


def _folded(lines: Sequence[str]) -> "Text":
    from rich.text import Text  # noqa: PLC0415  # as in show_table

    return Text("\n".join(map(plain, lines)), overflow="fold")


def _cropped(text: str) -> "Text":
    from rich.text import Text  # noqa: PLC0415  # as in show_table

    return Text(plain(text), no_wrap=True, overflow="ellipsis")


def show_error(fault: MeshError, *, as_json: bool) -> None:
    """Print an error to standard error."""
    said = _visible(problems.encode(fault).decode()) if as_json else f"lanmesh: {plain(fault.detail)}"
    print(said, file=sys.stderr)


def plain(text: str) -> str:
    """Return a text that cannot move the cursor, ring, hide or turn around: such characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _is_trick(c) else c for c in text)


def _is_trick(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in {"Cc", "Cs", "Zl", "Zp"} - ({"Cc"} if character == "\t" else set()) or (
        kind == "Cf" and character not in _JOINERS
    )


def _visible(json: str) -> str:
    """Return the same JSON with such characters as JSON's own escapes (RFC 8259 section 7)."""
    if json.isprintable():
        return json
    return "".join(_json_escape(c) if c != "\n" and _is_trick(c) else c for c in json)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def text_of(argument: str) -> str:
    """Return the text that an argument gives: `-` stands for what comes on stdin.

    Raises:
        InvalidRequest: Stdin is closed.
    """
    if argument != "-":
        return argument
    if sys.stdin is None:
        raise InvalidRequest("stdin is closed: give the text as an argument")
    return sys.stdin.read()


def ago(milliseconds: int | None) -> str:
    """Return how long ago something was, in words."""
    return "never" if milliseconds is None else f"{_span(time.time() - milliseconds / 1000)} ago"


def ahead(milliseconds: int | None) -> str:
    """Return how far off something is, in words."""
    return f"in {_span((milliseconds or 0) / 1000 - time.time())}"


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def first_line(text: str, width: int = 60) -> str:
    """Return the beginning of a text."""
    line, _, more = text.strip().partition("\n")
    return f"{line[: width - 1]}…" if len(line) > width or more else line
