"""connections to an SQLite file: made whole, and brought to the tables of this version"""

from contextlib import suppress
from importlib import resources
from pathlib import Path

import apsw

from lanmesh.errors import InvalidConfig


def opened(path: Path, vfs: str | None) -> apsw.Connection:
    """Return a connection to a file that is whole and has the tables of this version.

    A file that is refused keeps what it had, its WAL included.
    """
    connection = connect(path, vfs)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    try:
        _check(connection)
        _migrate(connection, path)
        _settle(connection)
    except BaseException:
        connection.close()
        raise
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    return connection


def connect(path: Path, vfs: str | None) -> apsw.Connection:
    """Return one more connection to the file, in WAL mode: what it commits survives a loss of power."""
    connection = apsw.Connection(str(path), vfs=vfs)
    connection.set_busy_timeout(5000)
    for name, value in (
        ("journal_mode", "wal"),
        ("synchronous", "full"),
        ("fullfsync", True),  # macOS: fsync alone does not reach the platter there
        ("foreign_keys", True),
        ("wal_autocheckpoint", 0),
    ):
        connection.pragma(name, value)
    return connection


def _check(connection: apsw.Connection) -> None:
    found = connection.pragma("quick_check", 1)
    if found != "ok":
        raise apsw.CorruptError(" ".join(found.split()))


def _settle(connection: apsw.Connection) -> None:
    """Bring to the disk what an earlier life committed and was killed before it could sync.

    It can be read from now on, and so be acknowledged to whoever repeats it.
    """
    with suppress(apsw.FullError):  # raised by the copying: the WAL itself is synced before
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


def _migrate(connection: apsw.Connection, path: Path) -> None:
    steps = sorted(
        (entry for entry in resources.files(__package__).joinpath("migrations").iterdir()
         if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )  # fmt: skip
    done = connection.pragma("user_version")
    if done > len(steps):
        raise InvalidConfig(
            f"{path} was written by a newer version of this program (tables {done}, known {len(steps)}): "
            "install that version again, or use another state folder"
        )
    for number, step in enumerate(steps[done:], start=done + 1):
        with connection:
            for _ in connection.execute(step.read_text(encoding="utf-8")):
                pass
            connection.pragma("user_version", number)
