"""the head of a request: what may stand in it, and under which names a node may be addressed"""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from lanmesh.errors import InvalidRequest, Misdirected, NotAllowed, UnsupportedMedia
from lanmesh.model.ids import quoted

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, values without blanks around them."""

_ONCE = frozenset(
    {
        b"authorization",
        b"content-type",
        b"expect",
        b"host",
        b"origin",
        b"x-forwarded-host",
        b"x-lanmesh-forwarding",
    }
)
"""Headers of which two would leave open which of them counts."""

_OF_THE_LAN = ("local", "lan", "home.arpa", "internal")
"""Endings that routers and mDNS put behind a host's name, and that nobody can register
(RFC 6762 section 3, RFC 8375; .lan and .internal by ICANN)."""

_AUTHORITY = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")
"""A host and its port (RFC 9110 section 7.2)."""


def names_of(host: str, *others: str) -> frozenset[str]:
    """Return the names under which a node may be addressed, beside addresses.

    Args:
        host: The host's name.
        others: More of them, as the node's own and those that its owner has configured.
    """
    short = host.split(".", 1)[0]
    local = {
        f"{name}{ending}" for name in (short, *others) for ending in ("", *(f".{e}" for e in _OF_THE_LAN))
    }
    return frozenset(name.lower().rstrip(".") for name in {"localhost", host, *local} if name)


def check(
    headers: Headers, names: Iterable[str], *, version: str = "1.1", authority: str | None = None
) -> None:
    """Check the head of a request.

    A page in a browser reaches a node by a name of its maker's that leads to this machine (DNS
    rebinding), or by an address, and then says where it came from. So a node answers only to its
    own names and to addresses, and to no page but its own.

    Args:
        headers: The headers.
        names: Names under which this node may be addressed; see `names_of`.
        version: The version of HTTP.
        authority: Host and port in the request's target, if they stand there.

    Raises:
        InvalidRequest: Its framing or its addressee can be read in more than one way.
        Misdirected: It is for a name that is not this node's.
        NotAllowed: It comes from a page of another origin.
        UnsupportedMedia: Its body is compressed.
    """
    times = Counter(name for name, _ in headers)
    for name in _ONCE:
        if times[name] > 1:
            raise InvalidRequest(f"the request has more than one {name.decode()} header")
    found = {name: value.decode("latin-1") for name, value in headers}
    if b"host" not in found and version != "1.0":
        raise InvalidRequest("the request has no Host header (RFC 9112 section 3.2)")
    _check_body(found)
    hosts = [found[name] for name in (b"host", b"x-forwarded-host") if name in found]
    for host in hosts if authority is None else (*hosts, authority):
        if not is_own(host, names):
            raise Misdirected(
                f"this node is not addressed as {quoted(host)}: use its address, or let its owner "
                "add the name to node.hosts"
            )
    origin = found.get(b"origin")
    if origin is not None and origin.partition("://")[2] not in hosts:
        raise NotAllowed("this node takes no requests of pages that it has not served")


def is_own(host: str, names: Iterable[str]) -> bool:
    """Return whether the value of a Host header is an address or one of some names."""
    parts = _AUTHORITY.fullmatch(host.lower())
    if parts is None:
        return False
    name = parts[1] or parts[2] or ""
    try:
        # An address leads to a machine and cannot be made to lead to another one.
        ipaddress.ip_address(name)
    except ValueError:
        return name.removesuffix(".") in names
    return True


def _check_body(found: dict[bytes, str]) -> None:
    coding = found.get(b"transfer-encoding", "chunked")
    if coding.lower() != "chunked":
        raise InvalidRequest("a body comes plain or in chunks: no other Transfer-Encoding is taken")
    if found.get(b"content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("no compressed body is taken: send it without a Content-Encoding")
    if found.get(b"expect", "100-continue").lower() != "100-continue":
        raise InvalidRequest("nothing can be expected but 100-continue")
    if b"upgrade" in found and not {b"content-length", b"transfer-encoding"}.isdisjoint(found):
        # The parser leaves what follows such a head to the other protocol.
        raise InvalidRequest("a request with a body cannot ask for another protocol: no Upgrade is taken")
