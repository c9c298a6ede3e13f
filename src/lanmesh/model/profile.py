"""profiles: what a node is, what it offers and how busy it is"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lanmesh.model.ids import PeerId
from lanmesh.model.task import AcceptMode

SCHEMA_VERSION = "1.0"

MOVED_PERCENT = 5.0
"""By how much a machine is busier, or less, before that is worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the owner says of the node; nothing of it is proven."""

    id: PeerId
    name: str
    role: str | None = None
    capabilities: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    hardware: Mapping[str, str | float] = field(default_factory=dict)
    """Free words of the owner; they stand beside what the machine knows of itself, and win."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What a gateway beside the node can do."""

    agents: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the machine knows of itself."""

    cpu: str
    cores: int
    """Logical processors."""
    memory_bytes: int
    gpus: tuple[str, ...] = ()
    os: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLoad:
    """How busy the machine is."""

    cpu_percent: float
    """0 to 100 over all processors, since the last look."""
    memory_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCounts:
    """What the node has to do and has done."""

    running: int = 0
    waiting: int = 0
    done: int = 0
    failed: int = 0
    mean_s: float | None = None
    """Mean seconds from claim to result of the tasks that were done; `None` before the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """All that a node tells its peers about itself."""

    identity: Identity
    offers: Offers = Offers()
    """What the gateway knows of itself; the owner's own words win."""
    hardware: Hardware
    load: MachineLoad
    tasks: TaskCounts
    accept_mode: AcceptMode
    node_version: str

    def says_more_than(self, earlier: "Profile") -> bool:
        """Return whether anything is different, other than a little of the machine's load."""
        now, then = self.load, earlier.load
        moved = max(abs(now.cpu_percent - then.cpu_percent), abs(now.memory_percent - then.memory_percent))
        return moved >= MOVED_PERCENT or replace(self, load=then) != earlier
