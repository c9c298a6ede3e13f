"""Two nodes that keep files on real disks, and whoever has files there."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from lanmesh.engine.ports import Progress
from lanmesh.model.file import FileRef, FileState
from lanmesh.model.task import Outcome, Task
from lanmesh.shelf import Shelf
from tests.fakes import BOUND_S, FakeExecutor, Mesh, NodeUnderTest

CAT = b"cat" * 500_000


class Maker(FakeExecutor):
    """A run that leaves files behind, and knows where those lie that it got."""

    def __init__(self, *made: tuple[str, bytes], repeatable: bool = False, outlives: bool = False) -> None:
        super().__init__(repeatable=repeatable, outlives=outlives)
        self.made = made
        self.got: dict[str, bytes] = {}
        self.folder = Path()

    async def run(self, task: Task, said: Progress) -> Outcome:
        given = self.folder / task.local_id / "given"
        self.got = {
            str(path.relative_to(given)): path.read_bytes() for path in given.rglob("*") if path.is_file()
        }
        for name, content in self.made:
            path = self.folder / task.local_id / "made" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return await super().run(task, said)


def with_shelf(node: NodeUnderTest, mesh: Mesh) -> NodeUnderTest:
    node.shelf = Shelf(mesh.folder / f"{node.name}.blobs", mesh.folder / f"{node.name}.work")
    if isinstance(node.executor, Maker):
        node.executor.folder = mesh.folder / f"{node.name}.work"
    return node


async def in_time(mesh: Mesh, holds: Callable[[], object], step_s: float = 10.0) -> None:
    """Let time pass in steps until something holds; in between, threads have theirs with the disk."""
    async with asyncio.timeout(BOUND_S):
        while not holds():
            await mesh.clock.jump(step_s)
            await asyncio.sleep(0.01)


async def two(
    mesh: Mesh, executor: FakeExecutor | None = None, **b_is: object
) -> tuple[NodeUnderTest, NodeUnderTest]:
    a = with_shelf(mesh.describe("a", peers=["b"]), mesh)
    b = with_shelf(mesh.describe("b", peers=["a"], executor=executor or Maker(), **b_is), mesh)  # type: ignore[arg-type]
    await a.start()
    await b.start()
    return a, b


def a_file(mesh: Mesh, name: str = "cat.jpg", content: bytes = CAT) -> str:
    path = mesh.folder / "desk" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def read(state: FileState) -> bytes:
    return Path(state.place or "").read_bytes()


def inside(state: FileState, folder: Path) -> bool:
    return Path(state.place or "").resolve().is_relative_to(folder.resolve())


def ref(content: bytes, name: str = "x", size: int | None = None) -> FileRef:
    return FileRef(
        name=name, size=len(content) if size is None else size, sha256=hashlib.sha256(content).hexdigest()
    )


async def bytes_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
