"""chains: how a task came about through other tasks"""

from dataclasses import dataclass

from lanmesh.model.ids import PeerId, WireId


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """How a task came about through other tasks."""

    root_id: WireId
    """The wire id of the task that began the chain; the task's own where nothing led to it."""
    path: tuple[PeerId, ...] = ()
    """The nodes that delegated, the latest last."""
    hops: int = 0
    """Delegations so far; 0 for a caller that is not a node of the mesh."""
