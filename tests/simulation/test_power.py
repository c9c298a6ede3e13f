import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.simulation.power import VFS, Disk, Loss

_DICE = random.Random(0)  # noqa: S311  # nothing secret depends on it


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "1")
    yield disk
    disk.end(Loss.NOTHING, _DICE)


def _open(disk: Disk, synchronous: str = "full") -> apsw.Connection:
    connection = apsw.Connection(str(disk.folder / "d.db"), vfs=VFS)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", synchronous)
    return connection


def _rows(folder: Path) -> int:
    connection = apsw.Connection(str(folder / "d.db"), vfs=VFS)
    try:
        assert connection.pragma("integrity_check") == "ok"
        return len(connection.execute("SELECT 1 FROM t").fetchall())
    finally:
        connection.close()


@pytest.mark.parametrize("loss", [Loss.ALL, Loss.SOME])
@pytest.mark.parametrize("seed", range(5))
def test_what_was_committed_in_full_outlives_the_power(
    disk: Disk, tmp_path: Path, loss: Loss, seed: int
) -> None:
    connection = _open(disk)
    connection.execute("CREATE TABLE t (x)")
    for number in range(50):
        connection.execute("INSERT INTO t VALUES (?)", (str(number) * 500,))
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (1)")

    dice = random.Random(seed)  # noqa: S311
    after = Disk(tmp_path / "2", disk.end(loss, dice))

    assert _rows(after.folder) == 50
    after.end(Loss.NOTHING, _DICE)
    connection.close()


def test_what_was_not_synced_is_gone_with_the_power_but_not_with_the_process(
    disk: Disk, tmp_path: Path
) -> None:
    connection = _open(disk, "full")
    connection.execute("CREATE TABLE t (x)")
    connection.pragma("synchronous", "normal")
    connection.execute("INSERT INTO t VALUES (1)")

    files = disk.end(Loss.NOTHING, _DICE)
    without_power = {name: file.left(Loss.ALL, _DICE) for name, file in files.items()}
    killed = Disk(tmp_path / "killed", files)
    assert _rows(killed.folder) == 1
    killed.end(Loss.NOTHING, _DICE)
    connection.close()

    dark = Disk(tmp_path / "dark", without_power)
    assert _rows(dark.folder) == 0
    dark.end(Loss.NOTHING, _DICE)


def test_a_full_disk_takes_nothing_and_loses_nothing(disk: Disk) -> None:
    connection = _open(disk)
    connection.execute("CREATE TABLE t (x)")
    disk.full = True

    with pytest.raises(apsw.FullError):
        connection.execute("INSERT INTO t VALUES (1)")

    disk.full = False
    connection.execute("INSERT INTO t VALUES (2)")
    assert connection.execute("SELECT x FROM t").fetchall() == [(2,)]
    connection.close()
