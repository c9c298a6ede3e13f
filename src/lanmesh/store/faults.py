"""faults of the disk and of SQLite, as those who read and write are told of them"""

import apsw

from lanmesh.errors import DatabaseDamaged, StorageFailed

DAMAGED = (apsw.CorruptError, apsw.NotADBError)
OF_THE_DISK = (
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.BusyError,
    *DAMAGED,
)


def told(fault: Exception) -> Exception:
    """Return what a caller is told of a fault in its change: of the disk's, only that it was the disk."""
    return not_written(fault) if isinstance(fault, OF_THE_DISK) else fault


def not_written(fault: Exception) -> StorageFailed:
    """Return what it means that nothing of a commit was kept."""
    cause = _cause(fault)
    if isinstance(cause, DAMAGED):
        told: StorageFailed = DatabaseDamaged()
    elif isinstance(cause, apsw.FullError):
        told = StorageFailed("the node's disk is full, nothing was kept; it goes on once there is room")
    else:
        told = StorageFailed()
    told.__cause__ = fault
    return told


def not_read(fault: apsw.Error) -> StorageFailed:
    """Return what it means that something could not be read."""
    if isinstance(fault, DAMAGED):
        return DatabaseDamaged()
    return StorageFailed("the node's disk cannot be read")


def reason(fault: BaseException) -> str:
    """Return SQLite's own words."""
    return str(_cause(fault))


def _cause(fault: BaseException) -> BaseException:
    # A rollback under a savepoint hides why SQLite rolled back.
    return fault.__context__ if isinstance(fault.__context__, apsw.Error) else fault
