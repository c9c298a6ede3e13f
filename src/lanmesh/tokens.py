"""the tokens in the environment and in the .env file, read anew when that changes"""

import logging
import re
import secrets
import stat
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lanmesh.engine.callers import InboundToken, digest_of
from lanmesh.errors import InvalidConfig
from lanmesh.locations import write_private
from lanmesh.model.ids import PeerId

SHARED_TOKEN = "OPENCLAW_LAN_TOKEN"  # noqa: S105  # the name of a variable
"""The variable with the token that any caller of this node may present."""

_SETTLED_NS = 1_000_000_000
"""A file that changed less than this ago is read each time: a second change within the same tick of
the file system's clock (up to 10 ms; 1 s on old ones) would leave no trace in its times."""

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=(.*)")
_QUOTED = re.compile(r"""\s*(?:'([^']*)'|"((?:[^"\\]|\\.)*)")\s*(?:#.*)?""")
_ESCAPE = re.compile(r'\\([n"\\])')

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTokens:
    """The variables that hold a peer's tokens, where the owner has named them."""

    token_env_var: str | None = None
    """Holds what this node presents to the peer; `None`: its name is derived from the peer's."""
    inbound_token_env_var: str | None = None
    """Holds what the peer presents to this node; `None`: the peer uses the shared token."""


class EnvironmentTokens:
    """The tokens as they are now: a variable in the `.env` file beats an inherited one.

    What is ambiguous opens no door. A variable that the owner names for one peer is never derived
    for another; an outbound token that could be meant otherwise is an error; an inbound token that
    two hold is taken as neither's.
    """

    def __init__(self, dotenv: Path, environ: Mapping[str, str], peers: Mapping[PeerId, PeerTokens]) -> None:
        """Look into the file at each call; it need not exist."""
        self._file = _DotenvFile(dotenv)
        self._environ = environ
        self._peers = peers
        self._derived = {
            peer: _derived(peer, peers) for peer, named in peers.items() if not named.token_env_var
        }

    def inbound(self) -> Sequence[InboundToken]:
        """Return the tokens that callers of this node may present, the shared one first.

        A peer's token that is also the shared one or another peer's is left out, for it would not
        prove who presents it; `check` tells of it.
        """
        held = self._held_inbound()
        holders = Counter(token for _, _, token in held)
        return [
            InboundToken(digest=digest_of(token), peer=peer)
            for peer, _, token in held
            if peer is None or holders[token] == 1
        ]

    def outbound(self, peer: PeerId) -> str | None:
        """Return the token that this node presents to a peer; `None` if it has none.

        Raises:
            InvalidConfig: Two variables could be meant, or one could be meant for two peers, or it
                holds what no HTTP header can carry.
        """
        held = self._held_outbound(peer)
        for name in held:
            rivals = [other for other, names in self._derived.items() if name in names]
            if peer in self._derived and len(rivals) > 1:
                raise InvalidConfig(
                    f"{name} could be meant for {_listed(rivals)}: name a variable for each by tokenEnvVar"
                )
        if len(set(held.values())) > 1:
            raise InvalidConfig(
                f"{_listed(held)} hold different tokens for {peer}: remove one, or name the right one "
                "by tokenEnvVar"
            )
        for name, token in held.items():
            if not token.isprintable():  # false for a control character and for a byte that is not UTF-8
                raise InvalidConfig(f"{name} holds a character that no HTTP header can carry")
            return token
        return None

    def missing(self) -> list[PeerId]:
        """Return the peers for which no outbound token is set."""
        return [peer for peer in self._peers if not self._held_outbound(peer)]

    def check(self) -> list[str]:
        """Return a sentence for each clash, for the owner; no token is ever in one."""
        sentences = []
        for peer in self._peers:
            try:
                self.outbound(peer)
            except InvalidConfig as clash:
                sentences.append(clash.detail)
        held = self._held_inbound()
        holders = Counter(token for _, _, token in held)
        for shared in (token for token, count in holders.items() if count > 1):
            names = {name for _, name, token in held if token == shared}
            peers = [peer for peer, _, token in held if token == shared and peer is not None]
            sentences.append(
                f"the inbound token of {_listed(peers)} (in {_listed(names)}) does not tell its holder "
                "from others, so it counts as no peer's own: give each peer another"
            )
        return list(dict.fromkeys(sentences))

    def _held_outbound(self, peer: PeerId) -> dict[str, str]:
        """Return the variables that are set for a peer, with their tokens."""
        if peer not in self._peers:
            return {}
        explicit = self._peers[peer].token_env_var
        file = self._file.variables()
        names = (explicit,) if explicit else self._derived[peer]
        return {name: token for name in names if (token := self._token(file, name))}

    def _held_inbound(self) -> list[tuple[PeerId | None, str, str]]:
        """Return holder, variable and token of each inbound token; `None` holds the shared one."""
        named: list[tuple[PeerId | None, str]] = [(None, SHARED_TOKEN)]
        for peer, entry in self._peers.items():
            if entry.inbound_token_env_var:
                named.append((peer, entry.inbound_token_env_var))
        file = self._file.variables()
        return [(peer, name, token) for peer, name in named if (token := self._token(file, name))]

    def _token(self, file: Mapping[str, str], name: str) -> str:
        # An empty one in the file wins too: that is how an owner takes an inherited token away.
        return file.get(name, self._environ.get(name, "")).strip()


def parse_dotenv(text: str) -> dict[str, str]:
    """Return the variables of a `.env` file; the last of one name wins.

    A line that is no assignment is skipped, so that no line can spoil another; hence a value ends
    with its line, and one whose quote is left open is none. A mark of the byte order is passed over.
    """
    variables = {}
    for line in text.removeprefix("\ufeff").split("\n"):
        assignment = _ASSIGNMENT.fullmatch(line)
        if assignment and (value := _value(assignment[2])) is not None:
            variables[assignment[1]] = value
    return variables


class _DotenvFile:
    """A `.env` file on disk; one that is absent or cannot be read has no variables."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._variables: Mapping[str, str] = {}
        self._seen: tuple[int, ...] | None = None
        self._warned = False

    def variables(self) -> Mapping[str, str]:
        """Return what the file says now; read only if it has changed."""
        try:
            status = self._path.stat()
            changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)  # a chmod sets the latter alone
            seen = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                self._variables = parse_dotenv(self._read(status.st_mode))
                self._seen = seen if time.time_ns() - changed_ns > _SETTLED_NS else None
                self._warned = False
        except (FileNotFoundError, NotADirectoryError):
            self._variables, self._seen = {}, None
        except OSError as fault:
            self._variables, self._seen = {}, None
            if not self._warned:
                self._warned = True
                log.warning(
                    "tokens unreadable", extra={"file": self._path, "why": fault.strerror or str(fault)}
                )
        return self._variables

    def _read(self, mode: int) -> str:
        if not stat.S_ISREG(mode):
            raise OSError("not a regular file")  # a pipe would hold the node until someone writes
        # As Python decodes the environment, so that a token is the same from either place.
        return self._path.read_text("utf-8", "surrogateescape")


def _value(raw: str) -> str | None:
    if raw.lstrip().startswith(("'", '"')):
        quoted = _QUOTED.fullmatch(raw)
        if quoted is None:
            return None
        single, double = quoted.groups()
        if single is not None:
            return str(single)
        return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], double)
    return re.sub(r"\s#.*", "", raw).strip()


def _derived(peer: PeerId, peers: Mapping[PeerId, PeerTokens]) -> tuple[str, ...]:
    """Return the variables that a peer's name leads to: `server-219` to `SERVER_219` and `SERVER219`."""
    taken = {
        name
        for other, named in peers.items()
        if other != peer
        for name in (named.token_env_var, named.inbound_token_env_var)
    }
    upper = peer.upper()
    words = (re.sub(r"[^A-Z0-9]", "_", upper), re.sub(r"[^A-Z0-9]", "", upper))
    names = dict.fromkeys(f"LAN_PEER_{word}_TOKEN" for word in words)
    return tuple(name for name in names if name not in taken)


def _listed(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))


def operator_token(path: Path) -> str:
    """Return the secret that opens the operator port; one is made where there is none yet.

    Raises:
        InvalidConfig: The file is empty.
    """
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32) + "\n")
    token = path.read_text(encoding="utf-8").strip()
    if not token:
        raise InvalidConfig(f"{path} is empty: delete it, and the next start writes a new token")
    return token
