"""settings on disk: what the owner has decided while the node runs"""

from lanmesh.store.database import Transaction


def get(tx: Transaction, key: str) -> str | None:
    """Return what the owner decided; `None` if nothing."""
    row = tx.row("SELECT value FROM settings WHERE key = ?", key)
    return None if row is None else str(row[0])


def put(tx: Transaction, key: str, value: str) -> None:
    """Keep what the owner decided."""
    tx.run(
        "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        key, value,
    )  # fmt: skip
