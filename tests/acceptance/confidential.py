"""What must never be seen: every secret that was handed out, against all that nodes have shown and kept."""

import base64
import contextlib
import hashlib
import re
from pathlib import Path

KEPT_IN = frozenset({".env", ".env.new", "operator.token", "openclaw.json"})
"""Files that are there to hold secrets, for their owner alone."""

KEYS_IN = (".pem", ".key", "openclaw.sqlite", "openclaw.sqlite-wal")
"""How the names of files end that hold a private key: a node's, or a gateway's own."""

TOKENS_IN = "mesh.db"
"""How the names of files begin that hold what a node presents to those it is paired with."""

_WORD = re.compile(rb"[A-Za-z0-9_-]{40,}")
"""A run of characters that may hold a secret: all of ours are that long, but for codes."""

_CODE = re.compile(rb"\b[A-HJKMNP-Z2-9]{4}-?[A-HJKMNP-Z2-9]{4}\b")
"""What may be the code of a pairing: it is shown to the owner, and kept nowhere."""

_KEY = re.compile(rb"MC4CAQAwBQYDK2VwBCIEI[A-Za-z0-9+/]{43}")
"""An Ed25519 key in PKCS 8 (RFC 8410 section 7), as PEM spells it."""

_secrets: set[bytes] = set()
_tokens: set[bytes] = set()
_codes: set[bytes] = set()
_keys: set[bytes] = set()
_shown: set[bytes] = set()


def hand_out(secret: str) -> str:
    """Note a secret, and return it."""
    if _WORD.fullmatch(secret.encode()):
        _secrets.add(secret.encode())
    return secret


def hand_out_token(token: str) -> str:
    """Note a token that two nodes have agreed on, and return it."""
    _tokens.add(token.encode())
    return token


def hand_out_code(said: bytes) -> None:
    """Note the codes in what a node told its owner."""
    _codes.update(code.replace(b"-", b"") for code in _CODE.findall(said))


def hand_out_key(file: Path) -> list[str]:
    """Note the key of a node, in the spellings that a program might choose, and return them."""
    pem = file.read_text()
    begin, end = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
    der = base64.b64decode(pem[pem.index(begin) + len(begin) : pem.index(end)])
    _keys.add(base64.b64encode(der))
    key = der[-32:]
    return [hand_out(key.hex()), hand_out(base64.urlsafe_b64encode(key).decode().rstrip("="))]


def show(said: bytes) -> None:
    """Note what a node, or its command line, has told somebody."""
    _shown.update(_WORD.findall(said))


def leaked(folder: Path) -> list[str]:
    """Return where a secret can be read: in what was shown, or in a file below a folder."""
    places = ["an answer"] if _holds(_shown, _secrets | _tokens) else []
    found_clean: set[tuple[bytes, bool, bool]] = set()
    for path in folder.rglob("*"):
        # What a test has locked, or something still removes, nobody reads.
        with contextlib.suppress(OSError):
            readable = path.name not in KEPT_IN and path.is_file() and not path.is_symlink()
            if not readable:
                continue
            content = path.read_bytes()
            # Most of all bytes are copies: files that were sent, environments that were installed.
            of = hashlib.sha256(content).digest(), *_may_hold(path.name)
            if of in found_clean:
                continue
            if _is_leak(path.name, content):
                places.append(str(path.relative_to(folder)))
            else:
                found_clean.add(of)
    return places


def _may_hold(name: str) -> tuple[bool, bool]:
    """Return whether a file of that name is there to hold tokens, and a private key."""
    return name.startswith(TOKENS_IN), name.endswith(KEYS_IN)


def _is_leak(name: str, content: bytes) -> bool:
    tokens, key = _may_hold(name)
    secrets = _secrets if tokens else _secrets | _tokens
    return (
        _holds(set(_WORD.findall(content)), secrets)
        or not {code.replace(b"-", b"") for code in _CODE.findall(content)}.isdisjoint(_codes)
        or (not key and not _keys.isdisjoint(_KEY.findall(content)))
    )


def _holds(words: set[bytes], secrets: set[bytes]) -> bool:
    longest = max(map(len, secrets), default=0)
    return not words.isdisjoint(secrets) or any(
        secret in word for word in words if len(word) > longest for secret in secrets
    )
