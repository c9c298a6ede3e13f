"""One file, one writer: what is on the disk when a caller goes on, and who is told of it."""

import asyncio
import stat
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from lanmesh.engine.events import Events
from lanmesh.errors import DatabaseDamaged, InvalidConfig, StorageFailed
from lanmesh.store.database import Change, Database, Topic, Transaction
from tests.fakes import FakeClock, InlineWriter, settle, soon, until


class Bench:
    """A database at work, and a record of what it announced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer = InlineWriter()
        self.announced: list[set[Change]] = []
        self.seen_when_told: list[int] = []
        self.database = Database(path, in_writer=self.writer, on_commit=self._told)

    def keys(self) -> list[str]:
        """Return what another connection sees."""
        other = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return [str(key) for (key,) in other.execute("SELECT key FROM settings ORDER BY key")]
        finally:
            other.close()

    def modes(self) -> dict[str, int]:
        """Return who may do what with each file."""
        return {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.path.parent.iterdir()}

    def _told(self, changes: Iterable[Change]) -> None:
        self.announced.append(set(changes))
        self.seen_when_told.append(len(self.keys()))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Bench]:
    bench = Bench(folder / "mesh.db")
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(bench.database.serve())
        try:
            yield bench
        finally:
            bench.database.close()
            await soon(serving)
    bench.database.release()


def keep(key: str) -> Callable[[Transaction], str]:
    def change(tx: Transaction) -> str:
        tx.run("INSERT INTO settings (key, value) VALUES (?, '')", key)
        tx.announce(Topic.TASK, key)
        return key

    return change


def break_after(key: str) -> Callable[[Transaction], None]:
    def change(tx: Transaction) -> None:
        keep(key)(tx)
        raise ValueError(key)

    return change


async def test_a_write_returns_once_another_connection_sees_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        value = await soon(bench.database.write(keep("one")))

        assert value == "one"
        assert bench.keys() == ["one"]
        assert bench.database.read.rows("SELECT key FROM settings") == [("one",)]


async def test_a_change_that_breaks_changes_nothing_and_its_neighbours_stay(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        changes = (keep("before"), break_after("broken"), keep("after"))
        outcomes = await soon(
            asyncio.gather(*(bench.database.write(change) for change in changes), return_exceptions=True)
        )

        assert outcomes[0] == "before"
        assert isinstance(outcomes[1], ValueError)
        assert outcomes[2] == "after"
        assert bench.writer.commits == 1
        assert bench.keys() == ["after", "before"]


async def test_a_statement_that_fails_changes_nothing_and_its_neighbours_stay(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        outcomes = await soon(
            asyncio.gather(
                *(bench.database.write(keep(key)) for key in ("one", "one", "two")), return_exceptions=True
            )
        )

        assert isinstance(outcomes[1], apsw.ConstraintError)
        assert bench.keys() == ["one", "two"]


async def test_changes_are_announced_after_their_commit_and_only_then(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await soon(
            asyncio.gather(
                bench.database.write(keep("one")),
                bench.database.write(break_after("broken")),
                bench.database.write(keep("two")),
                return_exceptions=True,
            )
        )

        assert bench.announced == [{Change(Topic.TASK, "one"), Change(Topic.TASK, "two")}]
        assert bench.seen_when_told == [2]


async def test_what_waits_is_committed_together(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await soon(asyncio.gather(*(bench.database.write(keep(f"{number:03}")) for number in range(200))))

        assert len(bench.keys()) == 200
        assert bench.writer.commits < 5


async def test_changes_are_made_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await soon(asyncio.gather(*(bench.database.write(keep(f"{number}")) for number in (3, 1, 2))))

        assert bench.database.read.rows("SELECT key FROM settings ORDER BY rowid") == [("3",), ("1",), ("2",)]


async def test_a_commit_that_fails_fails_all_and_announces_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        bench.writer.broken = True
        outcomes = await soon(
            asyncio.gather(
                *(bench.database.write(keep(key)) for key in ("one", "two")), return_exceptions=True
            )
        )
        bench.writer.broken = False
        await soon(bench.database.write(keep("three")))

        assert [type(outcome) for outcome in outcomes] == [StorageFailed, StorageFailed]
        assert bench.keys() == ["three"]
        assert bench.announced == [set(), {Change(Topic.TASK, "three")}]


async def test_a_disk_that_is_full_fails_what_was_not_kept_and_nothing_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:

        def fill(tx: Transaction) -> None:
            (pages,) = tx.rows("PRAGMA page_count")[0]
            tx.rows(f"PRAGMA max_page_count = {pages + 1}")
            tx.run("INSERT INTO settings (key, value) VALUES ('big', ?)", "x" * 1_000_000)

        keys = ("before", "big", "after")
        changes = (keep("before"), fill, keep("after"))
        outcomes = await soon(
            asyncio.gather(*(bench.database.write(change) for change in changes), return_exceptions=True)
        )

        kept = [
            key for key, outcome in zip(keys, outcomes, strict=True) if not isinstance(outcome, BaseException)
        ]
        assert isinstance(outcomes[1], StorageFailed)
        assert bench.keys() == sorted(kept)


async def test_a_rollback_under_the_changes_fails_all_of_the_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:

        def rolled_back(tx: Transaction) -> None:  # as SQLite does by itself after some I/O errors
            tx.run("ROLLBACK")
            raise apsw.IOError("the disk is gone")

        outcomes = await soon(
            asyncio.gather(
                *(bench.database.write(change) for change in (keep("before"), rolled_back, keep("after"))),
                return_exceptions=True,
            )
        )
        await soon(bench.database.write(keep("later")))

        assert all(isinstance(outcome, StorageFailed) for outcome in outcomes)
        assert bench.keys() == ["later"]


async def test_a_caller_that_goes_away_does_not_take_its_change_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        writing = asyncio.create_task(bench.database.write(keep("one")))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait({writing})
        await until(lambda: bench.writer.commits == 1)

        assert writing.cancelled()
        assert bench.keys() == ["one"]


async def test_what_waits_at_the_close_is_still_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        writing = asyncio.create_task(bench.database.write(keep("one")))
        await asyncio.sleep(0)
        bench.database.close()

        assert await soon(writing) == "one"


async def test_the_reader_cannot_write(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        with pytest.raises(apsw.ReadOnlyError):
            keep("one")(bench.database.read)


async def test_migrations_run_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await soon(bench.database.write(keep("one")))
        version = bench.database.read.rows("PRAGMA user_version")[0][0]

    async with opened(tmp_path) as bench:
        assert bench.keys() == ["one"]
        assert bench.database.read.rows("PRAGMA user_version") == [(version,)]
        assert version >= 1


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mesh.db"
    other = apsw.Connection(str(path))
    other.pragma("user_version", 999)
    other.close()

    with pytest.raises(InvalidConfig, match=r"mesh\.db was written by a newer version of this program"):
        Bench(path)


async def test_the_file_is_private_and_safe_against_power_loss(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await soon(bench.database.write(keep("one")))

        assert set(bench.modes()) == {"mesh.db", "mesh.db-wal", "mesh.db-shm"}
        assert set(bench.modes().values()) == {0o600}
        assert bench.database.read.rows("PRAGMA journal_mode") == [("wal",)]
        assert bench.database.read.rows("PRAGMA synchronous") == [(2,)]


async def test_a_grown_wal_is_copied_back_beside_the_writer(tmp_path: Path) -> None:
    clock, in_thread = FakeClock(), InlineWriter()
    async with opened(tmp_path) as bench:
        tidying = asyncio.create_task(bench.database.keep_small(in_thread, clock.sleep))
        await clock.advance(2)
        before = in_thread.commits

        def grow(tx: Transaction) -> None:
            tx.run("INSERT INTO settings (key, value) VALUES ('big', ?)", "x" * 5_000_000)

        await soon(bench.database.write(grow))
        size = bench.path.stat().st_size
        await clock.advance(2)
        tidying.cancel()
        await asyncio.wait({tidying})

        assert (before, in_thread.commits) == (0, 1)
        assert size < 1_000_000
        assert bench.path.stat().st_size > 5_000_000


async def test_watchers_are_told_of_what_they_watch_and_of_nothing_else() -> None:
    events = Events()
    with events.watch(Change(Topic.TASK, "one"), Change(Topic.STOPPING)) as one:
        with events.watch(Change(Topic.TASK, "two")) as two:
            events.publish([Change(Topic.TASK, "one"), Change(Topic.TASK, "three")])
            await settle()

            assert one.is_set()
            assert not two.is_set()
        events.publish([Change(Topic.TASK, "two")])
    assert not two.is_set()


async def test_what_is_damaged_while_it_is_open_is_told_as_the_nodes_own_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await soon(bench.database.write(keep("one")))
        bench.database._checkpoint()  # all is in the file, and nothing is read from the WAL any more
        size = bench.path.stat().st_size
        with bench.path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))

        with pytest.raises(DatabaseDamaged):
            bench.database.read.rows("SELECT * FROM tasks, settings, outbox, inbox")
        with pytest.raises(DatabaseDamaged):
            bench.database.read.row("SELECT * FROM tasks, settings, outbox, inbox")

        assert bench.database.trouble == DatabaseDamaged().detail
