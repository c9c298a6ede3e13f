"""What the store can read after a crash is as safe as what it has just written."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from lanmesh.errors import StorageFailed
from lanmesh.store.database import Database, Transaction
from tests.simulation.loop import VirtualLoop
from tests.simulation.power import VFS, Disk, Loss

_DICE = random.Random(0)  # noqa: S311  # nothing secret depends on it


async def _here(work: Callable[[], None]) -> None:
    work()


def _open(disk: Disk) -> Database:
    return Database(disk.folder / "state.db", in_writer=_here, on_commit=lambda _: None, vfs=VFS)


def _decisions(database: Database) -> int:
    return len(database.read.rows("SELECT 1 FROM settings"))


def _decide(tx: Transaction) -> None:
    tx.run("INSERT INTO settings (key, value) VALUES ('k', 'v')")


@pytest.mark.parametrize("operations", range(8))
def test_what_a_killed_node_left_unsynced_is_lost_before_it_is_read_or_never(
    tmp_path: Path, operations: int
) -> None:
    async def three_lives() -> tuple[int, int]:
        first = Disk(tmp_path / "first")
        killed = _open(first)
        left: list[Disk] = []

        def kill() -> None:
            left.append(Disk(tmp_path / "second", first.end(Loss.NOTHING, _DICE)))

        first.light(operations, kill)
        writing = asyncio.create_task(killed.serve())
        with suppress(StorageFailed):
            await killed.write(_decide)
        first.light(None, kill)
        killed.close()
        await writing
        if not left:
            kill()

        second = left[0]
        again = _open(second)
        seen = _decisions(again)
        third = Disk(tmp_path / "third", second.end(Loss.ALL, _DICE))
        after = _open(third)
        kept = _decisions(after)
        for database in (killed, again, after):
            database.release()
        third.end(Loss.NOTHING, _DICE)
        return seen, kept

    seen, kept = VirtualLoop().run(three_lives())

    assert kept == seen
