"""What is registered in which config, and what is left alone."""

import pytest

from lanmesh.errors import InvalidConfig
from lanmesh.openclaw.json5_text import read
from lanmesh.openclaw.settings_file import included, is_empty, obstacles, registered, unregistered

OWN = '"load": {"paths": ["/d"]}, "entries": {"openclaw-lan-mesh": {"enabled": true}}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", '{"plugins": {' + OWN + "} }"),
        ("{ a: 1 }", "{ a: 1, " + '"plugins": {' + OWN + "} }"),
        ("{ plugins: {} }", "{ plugins: {" + '"load": {"paths": ["/d"]} , ' + OWN.split(", ", 1)[1] + "} }"),
    ],
)
def test_a_plugins_section_is_made_where_none_is(text: str, expected: str) -> None:
    new = registered(text, "/d")

    assert new.replace(" ", "") == expected.replace(" ", "")
    assert unregistered(new, "/d") == text


def test_neighbours_set_the_manner() -> None:
    text = "{\r\n\ta: 1, // one\r\n\tb: 2 // two\r\n}\r\n"

    assert registered(text, "/d").startswith(
        '{\r\n\ta: 1, // one\r\n\tb: 2, // two\r\n\t"plugins": {\r\n\t\t"load": {\r\n\t\t\t"paths": ['
    )


def test_the_users_config_for_the_plugin_stays_and_is_disabled_until_it_is_forgotten() -> None:
    text = '{ plugins: { entries: { "openclaw-lan-mesh": { enabled: false, config: { x: 1 } } } } }\n'
    on = text.replace("enabled: false", "enabled: true").replace(
        " } }\n", ', "load": {"paths": ["/d"]} } }\n'
    )

    assert registered(text, "/d") == on
    assert unregistered(on, "/d") == text
    assert unregistered(on, "/d", forget=True) == "{ plugins: { entries: { } } }\n"


def test_an_empty_list_of_allowed_plugins_allows_all_and_stays_empty() -> None:
    assert "allow: []" in registered("{ plugins: { allow: [] } }", "/d")


def test_the_last_allowed_plugin_stays_for_an_empty_list_would_allow_all() -> None:
    text = registered('{ plugins: { allow: ["a"] } }', "/d").replace('"a", ', "")

    assert 'allow: ["openclaw-lan-mesh"]' in unregistered(text, "/d")


def test_of_a_key_that_stands_twice_the_last_counts() -> None:
    text = "{ plugins: { load: 1 }, plugins: { load: { paths: ['/d'] }, entries: { x: {} } } }"

    assert registered(text, "/d") == text.replace("x: {} ", 'x: {}, "openclaw-lan-mesh": {"enabled": true} ')


def test_a_comment_beside_ours_is_not_ours_to_remove() -> None:
    text = "{ plugins: { load: { paths: [\n  // mine\n  '/d'\n] } } }"

    assert unregistered(text, "/d") == "{ plugins: { load: { paths: [\n  // mine\n] } } }"


def test_a_section_in_a_file_of_its_own_is_found_and_changed_there() -> None:
    assert included("{ plugins: { $include: './plugins.json5' } }") == "./plugins.json5"
    assert included("{ plugins: { $include: ['./a', './b'] } }") is None
    assert included("{ plugins: { $include: './a', allow: [] } }") is None
    assert included("{ }") is None
    assert registered("{ allow: ['x'] }", "/d", ()).startswith(
        '{ allow: [\'x\', "openclaw-lan-mesh"], "load"'
    )


def test_what_keeps_the_plugin_from_loading_is_named() -> None:
    assert obstacles("{ plugins: { enabled: false, deny: ['openclaw-lan-mesh'] } }") == [
        "plugins.enabled",
        "plugins.deny",
    ]
    assert obstacles("{ plugins: { enabled: true, deny: ['x'] } }") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{\n a: 1\n b: 2 }", "line 3: unexpected 'b'"),
        ("{ a: 1", "line 1: unexpected end"),
        ("[]", "line 1: the config is no object"),
        ("{ plugins: [] }", "plugins is no object"),
        ("{ plugins: { load: { paths: '/d' } } }", "plugins.load.paths is no list"),
        (
            "{ plugins: { entries: { 'openclaw-lan-mesh': true } } }",
            "plugins.entries.openclaw-lan-mesh is no object",
        ),
        ("{ a: 'open\n' }", 'line 1: unexpected "\'"'),
        ("{} {}", "line 1: unexpected '{'"),
        ("{ 1a: 2 }", "line 1: unexpected '1'"),
        ("{ a: 01 }", "line 1: unexpected '0'"),
        ("{ a: " + "[" * 300, "line 1: unexpected '['"),
    ],
)
def test_what_cannot_be_changed_is_an_error_that_names_the_place(text: str, says: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        registered(text, "/d")

    assert caught.value.detail == says


def test_escapes_mean_what_they_mean_in_javascript() -> None:
    text = r"""'\x41\u0042\'\
\n\ud83d\ude00\q'"""

    assert read(text).plain == "AB'\n😀q"


def test_a_config_with_a_comment_is_not_empty() -> None:
    assert is_empty("{\n }\n")
    assert not is_empty("{ // mine\n}")
