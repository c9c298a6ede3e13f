"""What really happened in a simulated world, kept where no crash can reach it."""

import hashlib
from dataclasses import dataclass

from lanmesh.model.envelope import Envelope
from lanmesh.model.ids import LocalId, Origin, WireId


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that a run did to the world, and that nobody can take back."""

    node: str
    task: LocalId
    wire_id: WireId
    origin: Origin
    attempt: int


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that a node's own owner was told is stored: a task that it asks for, or a message."""

    node: str
    peer: str
    wire_id: WireId


class Ledger:
    """A record of promises, acknowledgements and effects, and of what must not happen."""

    def __init__(self, *, verbose: bool = False) -> None:
        """Begin with nothing; keep the lines of the trace if they are to be read."""
        self.effects: list[Effect] = []
        self.tasks: list[Promise] = []
        self.messages: list[Promise] = []
        self.acknowledged: dict[tuple[str, Origin, WireId], Envelope] = {}
        """By node, origin and id: what its sender was told is stored."""
        self.answers: dict[tuple[str, WireId], list[str]] = {}
        """By asker and task: what its owner was told is on its way."""
        self.strays: set[tuple[str, str]] = set()
        """From and to: where a copy of a request came after its sender had the answer to another."""
        self.swept: set[str] = set()
        """The nodes that have forgotten what they may."""
        self.violations: list[str] = []
        self.lines: list[str] | None = [] if verbose else None
        self._trace = hashlib.blake2b(digest_size=16)

    def note(self, now: float, what: str) -> None:
        """Keep that something happened."""
        line = f"{now:.6f} {what}"
        self._trace.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)

    def violation(self, what: str) -> None:
        """Keep that something happened which must not happen."""
        if what not in self.violations:
            self.violations.append(what)

    @property
    def trace(self) -> str:
        """A hash of all that happened, in order."""
        return self._trace.hexdigest()
