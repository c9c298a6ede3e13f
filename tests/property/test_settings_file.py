"""Registering in any JSON5 config: only insertions, once, and back again to the byte."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lanmesh.openclaw.json5_text import Container, Value, read
from lanmesh.openclaw.settings_file import PLUGIN_ID, load_paths, registered, unregistered

DIR = "/home/我/.openclaw/lanmesh/plugin"

gaps = st.lists(
    st.sampled_from([" ", "\t", "\n", "\r\n", "\n    ", "// note, {[\n", "/* a } \n b */", "/**/"]),
    max_size=3,
).map("".join)
scalars = st.sampled_from(
    [
        "null",
        "true",
        "-0x1F",
        ".5",
        "1.",
        "+Infinity",
        "'it\\'s'",
        '"${HOME}/a"',
        '"a\\\n b"',
        "[]",
        "{}",
        "NaN",
    ]
)
keys = st.sampled_from(["gateway", "'my key'", '"a\\u0062"', "$include", "名字", "_x1"])


@st.composite
def containers(draw: st.DrawFn, opening: str, members: list[str]) -> str:
    """A container of these members, with any white space, comments and trailing comma."""
    text = opening + draw(gaps)
    for place, member in enumerate(members):
        last = place == len(members) - 1
        comma = "," if not last or draw(st.booleans()) else ""
        text += member + draw(gaps) + comma + draw(gaps)
    return text + {"{": "}", "[": "]"}[opening]


@st.composite
def member(draw: st.DrawFn, key: str, value: str) -> str:
    return key + draw(gaps) + ":" + draw(gaps) + value


@st.composite
def objects(draw: st.DrawFn, known: dict[str, str]) -> str:
    """An object with some of the known members, and others around them."""
    chosen = [(key, value) for key, value in known.items() if draw(st.booleans())]
    others = draw(st.lists(st.tuples(keys, scalars), max_size=2, unique_by=lambda pair: pair[0]))
    members = [draw(member(key, value)) for key, value in draw(st.permutations(chosen + others))]
    return draw(containers("{", members))


@st.composite
def configs(draw: st.DrawFn) -> str:
    paths = draw(containers("[", draw(st.lists(st.sampled_from(["'/a'", '"~/b"', "'/a b'"]), max_size=2))))
    allow = draw(containers("[", draw(st.lists(st.sampled_from(["'x'", '"y"']), min_size=1, max_size=2))))
    load = draw(objects({"paths": paths}))
    entries = draw(objects({"'other'": "{ enabled: false }"}))
    plugins = draw(objects({'"load"': load, "entries": entries, "allow": allow}))
    return draw(gaps) + draw(objects({"plugins": plugins})) + draw(gaps)


def plain(value: Value, text: str) -> Any:
    """What a text means, told by keys and by the text of its leaves."""
    if not isinstance(value, Container):
        return value.plain if value.plain is not None else text[value.start : value.end]
    if value.is_object:
        return {each.key: plain(each.value, text) for each in value.members}
    return [plain(each.value, text) for each in value.members]


def is_subsequence(short: str, long: str) -> bool:
    rest = iter(long)
    return all(letter in rest for letter in short)


@given(configs())
def test_registering_only_inserts_and_adds_only_the_plugin(text: str) -> None:
    new = registered(text, DIR)

    assert is_subsequence(text, new)
    expected = plain(read(text), text)
    plugins = expected.setdefault("plugins", {})
    plugins.setdefault("load", {}).setdefault("paths", []).append(DIR)
    plugins.setdefault("entries", {})[PLUGIN_ID] = {"enabled": True}
    if "allow" in plugins:
        plugins["allow"].append(PLUGIN_ID)
    assert plain(read(new), new) == expected


@given(configs())
def test_registering_twice_is_registering_once(text: str) -> None:
    new = registered(text, DIR)

    assert registered(new, DIR) == new
    assert load_paths(new)[-1] == DIR


@given(configs())
def test_unregistering_gives_back_every_byte(text: str) -> None:
    assert unregistered(registered(text, DIR), DIR) == text


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)
)
def test_every_json_text_is_read(value: Any) -> None:
    text = json.dumps({"key": value})

    assert isinstance(read(text), Container)
