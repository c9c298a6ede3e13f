"""Names: which are good, and how they look to people."""

import pytest

from lanmesh.errors import InvalidRequest
from lanmesh.model import ids


@pytest.mark.parametrize("text", ["a", "task-001", "A.b_c~d-9", "...", "-", "~", "x" * 128, "shared"])
def test_an_id_is_1_to_128_letters_digits_and_a_few_signs(text: str) -> None:
    assert ids.wire_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 129,
        ".",
        "..",
        "a b",
        "a/b",
        "a%2Fb",
        "a?",
        "a#",
        "a:b",
        "a\n",
        "\na",
        "é",
        "任务",
        "٣",
        "a\x00",
    ],
)
def test_any_other_text_is_no_id(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not an id: use 1 to 128"):
        ids.wire_id(text)


@pytest.mark.parametrize("text", ["a", "9", "server-219", "My.Mac_1", "x" * 64, "Self", "anyone"])
def test_a_node_s_name_is_1_to_64_letters_digits_and_a_few_signs(text: str) -> None:
    assert ids.peer_id(text) == text


@pytest.mark.parametrize(
    "text", ["", "x" * 65, ".", "..", ".a", "-a", "_a", "a~", "a b", "a/b", "a,b", "a\n", "é", "٣"]
)
def test_any_other_text_is_no_node_s_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a node's name: use 1 to 64"):
        ids.peer_id(text)


@pytest.mark.parametrize("text", ["self", "shared", "any"])
def test_a_word_with_a_meaning_of_its_own_is_no_node_s_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="choose another name"):
        ids.peer_id(text)


def test_a_local_id_is_26_characters_that_stay_the_same_in_lower_case() -> None:
    assert ids.local_id(bytes(16)) == "a" * 26
    assert ids.local_id(b"\xff" * 16) == "7" * 25 + "4"
    assert ids.wire_id(ids.local_id(bytes(range(16)))) == "aaaqeayeaudaocajbifqydiob4"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("server-219", "server-219"),
        ("Annas-MacBook-Pro.local", "annas-macbook-pro"),
        ("Anna's  Mac", "anna-s-mac"),
        ("--x--", "x"),
        ("a_b", "a-b"),
        ("", "node"),
        (".local", "node"),
        ("我的电脑", "node"),
        ("Büro", "b-ro"),
        ("any", "node"),
        ("Shared.lan", "node"),
        ("x" * 70, "x" * 64),
        ("x" * 63 + "-y", "x" * 63),
    ],
)
def test_a_host_s_name_becomes_a_node_s_name(host: str, name: str) -> None:
    assert ids.slug(host) == name
    assert ids.peer_id(name) == name


def test_people_see_the_first_8_characters_of_an_id_of_ours_and_all_of_any_other() -> None:
    assert ids.short("k3f2aaaabbbbccccddddeeeeff") == "k3f2aaaa"
    assert ids.short("task-2026-11-22-weather-report") == "task-2026-11-22-weather-report"
    assert ids.short("K3F2AAAABBBBCCCCDDDDEEEEFF") == "K3F2AAAABBBBCCCCDDDDEEEEFF"
    assert ids.short("k3f2aaaabbbbccccddddeeeef1") == "k3f2aaaabbbbccccddddeeeef1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", '"plain"'),
        ("", '""'),
        ("天气", '"天气"'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[31m", '"\\x1b[31m"'),
        ("\ud800", '"\\ud800"'),
        ("x" * 40, '"' + "x" * 40 + '"'),
        ("x" * 41, '"' + "x" * 40 + '…"'),
    ],
)
def test_foreign_text_is_escaped_quoted_and_cut(text: str, shown: str) -> None:
    assert ids.quoted(text) == shown


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("server-219", ("server-219", 18760)),
        ("server_219.lan:1", ("server_219.lan", 1)),
        ("192.168.1.7:65535", ("192.168.1.7", 65535)),
        ("fe80::1%eth0", ("fe80::1%eth0", 18760)),
        ("[2001:db8::1]:18789", ("2001:db8::1", 18789)),
        ("büro.local", ("büro.local", 18760)),
    ],
)
def test_an_address_is_a_host_and_maybe_a_port(text: str, place: tuple[str, int]) -> None:
    assert ids.address(text, 18760) == place


@pytest.mark.parametrize(
    "text",
    [
        "", ":1", "host:", "host:0", "host:65536", "host:1x", "http://host:18760", "https://host/",
        "user@host", "a b", "-x", ".", "host:1:2", "x" * 300, "\u202ehost", "host\x1b[31m", "host\n",
    ],
)  # fmt: skip
def test_what_is_no_address_is_said_so(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no HOST"):
        ids.address(text, 18760)
