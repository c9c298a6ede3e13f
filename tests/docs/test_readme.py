"""The README says the same in both languages, and its program is the example that the tests run."""

import json
from typing import Any

import pytest

from lanmesh import config
from lanmesh.config import Source
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import DEFAULT_PORT
from tests.docs.markdown import anchors, blocks, headings, links, read, tables

ENGLISH, CHINESE = read("README.md"), read("README.zh-CN.md")


def test_both_readmes_have_the_same_headings() -> None:
    assert [level for level, _ in headings(ENGLISH)] == [level for level, _ in headings(CHINESE)]


def test_both_readmes_have_the_same_code() -> None:
    assert [(b.language, b.text) for b in blocks(ENGLISH)] == [(b.language, b.text) for b in blocks(CHINESE)]


def test_both_readmes_have_the_same_tables() -> None:
    english, chinese = tables(ENGLISH), tables(CHINESE)

    assert [[len(row) for row in table] for table in english] == [
        [len(row) for row in table] for table in chinese
    ]


@pytest.mark.parametrize(
    "column", ["key", "command", "exit status", "plugin setting", "slash command", "tool"]
)
def test_both_readmes_name_the_same_keys_commands_and_codes(column: str) -> None:
    (english,) = (table for table in tables(ENGLISH) if table[0][0] == column)
    chinese = tables(CHINESE)[tables(ENGLISH).index(english)]

    assert [row[:-1] for row in english[1:]] == [row[:-1] for row in chinese[1:]]
    assert [row[-1] for row in english[1:] if row[-1].startswith("`") and "--" not in row[-1]] == [
        row[-1] for row in chinese[1:] if row[-1].startswith("`") and "--" not in row[-1]
    ]


def test_both_readmes_link_to_the_same_places() -> None:
    other = {"README.md": "README.zh-CN.md"}
    heading = dict(zip(anchors(CHINESE), anchors(ENGLISH), strict=True))
    places = [link.partition("#") for link in links(CHINESE)]

    assert links(ENGLISH) == [
        f"#{heading[name]}" if not path else other.get(path, path) + mark + name
        for path, mark, name in places
    ]


def test_the_program_in_the_readme_is_the_example() -> None:
    (program,) = (block.text for block in blocks(ENGLISH) if block.language == "python")

    assert program == read("examples/delegate.py")


def test_the_readme_opens_with_the_two_commands() -> None:
    first, second, *_ = blocks(ENGLISH)

    assert (first.text, second.text) == ("scripts/demo\n", "scripts/test\n")


def column_of(head: str) -> list[str]:
    """Return the names in the first column of the README's table with that head."""
    (table,) = (table for table in tables(ENGLISH) if table[0][0] == head)
    return [row[0].strip("`") for row in table[1:]]


def test_every_slash_command_and_tool_of_the_plugin_is_described_and_no_other() -> None:
    offers = json.loads(read("plugin/offers.json"))
    commands = [name.partition(" ")[0].removeprefix("/") for name in column_of("slash command")]

    assert commands == [command["name"] for command in offers["commands"]]
    assert column_of("tool") == [tool["name"] for tool in offers["tools"]]


def test_every_setting_of_the_plugin_is_described_and_no_other() -> None:
    schema = json.loads(read("plugin/openclaw.plugin.json"))["configSchema"]["properties"]

    assert {*column_of("plugin setting"), "profile", "peers", "acceptMode", "node"} == set(schema)


def test_the_config_for_openclaw_is_one_that_a_node_takes_without_a_warning() -> None:
    (example,) = (block.text for block in blocks(ENGLISH) if block.language == "json")
    given: dict[str, Any] = json.loads(example)["plugins"]["entries"]["openclaw-lan-mesh"]["config"]

    taken = config.combine([Source(name="stdin", values=given)], "host")

    peer = taken.peers[PeerId("server-219")]
    assert taken.warnings == []
    assert (taken.identity.id, peer.host, peer.port) == ("macbook", "192.168.1.219", DEFAULT_PORT)
    assert taken.node.listen == config.EVERYWHERE  # as the text says, with nothing set
