"""where files lie on this machine"""

import fcntl
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


def openclaw_state(environ: Mapping[str, str]) -> Path:
    """Return the state folder of the OpenClaw that this user has, or would have."""
    chosen = environ.get("OPENCLAW_STATE_DIR")
    return Path(chosen).expanduser() if chosen else Path.home() / ".openclaw"


def dotenv(environ: Mapping[str, str]) -> Path:
    """Return the `.env` file that holds the tokens; it need not exist."""
    return openclaw_state(environ) / ".env"


def state_folder(environ: Mapping[str, str], chosen: Path | None = None) -> Path:
    """Return the node's state folder; it need not exist.

    A folder chosen by flag wins, then `LANMESH_STATE_DIR`, then `lanmesh` inside OpenClaw's
    state folder if there is an OpenClaw, then the platform's place for application state
    (XDG Base Directory 0.8 on Linux).
    """
    if chosen is None and (named := environ.get("LANMESH_STATE_DIR")):
        chosen = Path(named)
    if chosen is not None:
        return chosen.expanduser().absolute()
    beside = openclaw_state(environ)
    if environ.get("OPENCLAW_STATE_DIR") or beside.is_dir():
        return (beside / "lanmesh").absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "lanmesh"
    return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "lanmesh"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFolder:
    """The files inside one state folder."""

    path: Path

    def create(self) -> None:
        """Make the folder, readable by its owner only; an existing one is left as it is."""
        if not self.path.is_dir():
            self.path.mkdir(parents=True, mode=0o700)

    def is_held(self) -> bool:
        """Return whether a node runs in this folder: whether its lock is held."""
        try:
            with self.lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @property
    def config(self) -> Path:
        """What the user configured."""
        return self.path / "config.toml"

    @property
    def database(self) -> Path:
        """All durable state."""
        return self.path / "mesh.db"

    @property
    def lock(self) -> Path:
        """Locked by the one node that works in this folder."""
        return self.path / "lock"

    @property
    def place(self) -> Path:
        """Where this folder belongs, so that a copy of it is noticed."""
        return self.path / "place"

    @property
    def node(self) -> Path:
        """How to reach the running node: pid, boot, ports."""
        return self.path / "node.json"

    @property
    def operator_token(self) -> Path:
        """The secret that opens the operator port."""
        return self.path / "operator.token"

    @property
    def identity(self) -> Path:
        """The key by which peers know this node, with its certificate."""
        return self.path / "identity.pem"

    @property
    def device_key(self) -> Path:
        """The key by which the gateway knows this node."""
        return self.path / "device.key"

    @property
    def blobs(self) -> Path:
        """The bytes of files, by their hash."""
        return self.path / "blobs"

    @property
    def work(self) -> Path:
        """The files that tasks and messages came with, and what tasks have made."""
        return self.path / "work"

    @property
    def log(self) -> Path:
        """What the node logs when it has no terminal."""
        return self.path / "node.log"


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner may read."""
    replace(path, text.encode(), 0o600)


def replace(path: Path, content: bytes, mode: int) -> None:
    """Replace a file by one with this mode from its first byte on; readers see the old or the new, whole.

    Raises:
        OSError: The disk does not take it; the old one stays.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(mode)  # whatever the umask took away
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
