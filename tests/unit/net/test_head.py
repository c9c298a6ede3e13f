"""The head of a request: who may be addressed, from where, and what it may say of its body."""

import pytest

from lanmesh.errors import InvalidRequest, MeshError, Misdirected, NotAllowed, UnsupportedMedia
from lanmesh.net.head import check, is_own, names_of

NAMES = names_of("Desk-7.office.example", "planner", "mesh.example.org")


def said(**fields: str) -> list[tuple[bytes, bytes]]:
    """Return headers; an underscore stands for a hyphen."""
    headers = {"host": "desk-7", **fields}
    return [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]


@pytest.mark.parametrize(
    "host",
    [
        "desk-7", "DESK-7", "desk-7.", "desk-7:18760", "desk-7.local", "desk-7.lan:1", "desk-7.home.arpa",
        "desk-7.internal", "desk-7.office.example", "planner", "planner.local", "mesh.example.org:443",
        "localhost", "localhost:18761", "127.0.0.1", "127.0.0.1:18760", "192.168.1.20:80", "[::1]",
        "[fe80::1]:18760", "[::ffff:10.0.0.1]",
    ],
)  # fmt: skip
def test_a_node_answers_to_its_names_and_to_addresses(host: str) -> None:
    assert is_own(host, NAMES)
    check(said(host=host), NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "evil.com", "127.0.0.1.evil.com", "desk-7.evil.com", "localhost.evil.com", "evil.com:18760", "",
        ":80", "127.0.0.1:80:80", "127.0.0.1:eighty", "127.0.0.1:\xb2", "2130706433", "0x7f.1", "127.1",
        "127.0.0.1@evil.com", "user@localhost", "desk-7..", "[::1", "[::1]evil.com", "[desk-7", "desk-7.com",
        "xn--desk-7", "desk-7 ", "*",
    ],
)  # fmt: skip
def test_a_node_answers_to_no_other_name(host: str) -> None:
    with pytest.raises((Misdirected, InvalidRequest)):
        check(said(host=host), NAMES)


@pytest.mark.parametrize("origin", ["http://desk-7:18760", "https://desk-7:18760"])
def test_a_page_of_its_own_may_ask(origin: str) -> None:
    check(said(host="desk-7:18760", origin=origin), NAMES)
    check(said(host="127.0.0.1:18761", x_forwarded_host="desk-7:18760", origin=origin), NAMES)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.com", "null", "", "http://desk-7", "desk-7:18760", "http://desk-7:18761", "http://"],
)
def test_a_page_of_another_origin_may_not(origin: str) -> None:
    with pytest.raises(NotAllowed):
        check(said(host="desk-7:18760", origin=origin), NAMES)


def test_the_host_that_a_gateway_was_asked_by_is_checked_as_well() -> None:
    with pytest.raises(Misdirected):
        check(said(host="127.0.0.1", x_forwarded_host="evil.com"), NAMES)


def test_a_host_in_the_target_is_checked_as_well() -> None:
    check(said(), NAMES, authority="desk-7:80")
    with pytest.raises(Misdirected):
        check(said(), NAMES, authority="evil.com:80")


@pytest.mark.parametrize("name", ["host", "authorization", "origin", "content_type", "x_lanmesh_forwarding"])
def test_a_header_that_decides_stands_there_once(name: str) -> None:
    with pytest.raises(InvalidRequest, match="more than one"):
        check([*said(**{name: "desk-7"}), *said(**{name: "desk-7"})], NAMES)


def test_only_http_1_0_does_without_a_host() -> None:
    check([], NAMES, version="1.0")
    with pytest.raises(InvalidRequest, match="Host"):
        check([], NAMES)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"transfer_encoding": "gzip, chunked"}, InvalidRequest),
        ({"transfer_encoding": "identity"}, InvalidRequest),
        ({"content_encoding": "gzip"}, UnsupportedMedia),
        ({"content_encoding": "br"}, UnsupportedMedia),
        ({"expect": "200-ok"}, InvalidRequest),
        ({"upgrade": "h2c", "content_length": "5"}, InvalidRequest),
        ({"upgrade": "h2c", "transfer_encoding": "chunked"}, InvalidRequest),
    ],
)
def test_a_body_comes_as_it_is(fields: dict[str, str], kind: type[MeshError]) -> None:
    with pytest.raises(kind):
        check(said(**fields), NAMES)


@pytest.mark.parametrize(
    "fields",
    [
        {"transfer_encoding": "Chunked"},
        {"content_encoding": "identity"},
        {"expect": "100-Continue", "content_length": "5"},
        {"upgrade": "h2c", "connection": "Upgrade"},
    ],
)
def test_what_can_be_understood_is_taken(fields: dict[str, str]) -> None:
    check(said(**fields), NAMES)
