"""Settings: what beats what, what is refused, and what the owner is shown."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lanmesh.config import Config, Source, combine, from_environment, read_json, read_toml
from lanmesh.engine.admission import Limits
from lanmesh.errors import InvalidConfig
from lanmesh.model.envelope import EnvelopeType
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import Peer
from lanmesh.model.profile import Identity
from lanmesh.model.task import AcceptMode
from lanmesh.tokens import PeerTokens

GATEWAY = {"url": "ws://127.0.0.1:18789", "token": "gateway-secret", "boot": "boot-1"}
PRECEDENCE = ["config.toml", "stdin", "environment", "flag"]


def settings(
    *values: dict[str, Any], names: tuple[str, ...] = ("config.toml", "stdin"), strict: bool = True
) -> Config:
    """Return what counts of the values of some sources, the last of them the strongest."""
    sources = [
        Source(name=name, values=value, strict=strict) for name, value in zip(names, values, strict=False)
    ]
    return combine(sources, "Annas-Mac.local")


def refused(values: dict[str, Any]) -> str:
    with pytest.raises(InvalidConfig) as refusal:
        settings(values)
    return refusal.value.detail


def source_of(config: Config, key: str) -> str:
    return next(setting.source for setting in config.settings if setting.key == key)


def test_without_any_settings_a_node_is_safe_and_bears_its_host_s_name() -> None:
    config = settings()

    assert config.accept_mode is AcceptMode.AUTO
    assert config.identity == Identity(id=PeerId("annas-mac"), name="Annas-Mac.local")
    assert (config.node.listen, config.node.port, config.node.operator_port) == ("0.0.0.0", 18760, 18761)  # noqa: S104
    assert (config.node.executor, config.node.command, config.node.repeatable) == ("command", ["cat"], False)
    assert config.limits == Limits(concurrency=2, max_waiting=1000)
    assert (config.peers, config.peer_tokens, config.warnings) == ({}, {}, [])


def test_the_configuration_of_the_first_readme_means_what_it_says() -> None:
    config = settings(
        {
            "profile": {
                "name": "我的Agent",
                "role": "开发助手",
                "capabilities": ["coding", "research"],
                "models": ["openai-codex/gpt-5.4"],
                "tools": ["bash", "python", "git"],
                "hardware": {"cpu": "Apple M1 Max", "memory": "32GB"},
            },
            "peers": {
                "server-219": {
                    "host": "192.168.1.219",
                    "port": 18789,
                    "tokenEnvVar": "LAN_PEER_SERVER219_TOKEN",
                }
            },
            "acceptMode": "auto",
        }
    )
    server = PeerId("server-219")

    assert config.identity == Identity(
        id=PeerId("annas-mac"),
        name="我的Agent",
        role="开发助手",
        capabilities=("coding", "research"),
        models=("openai-codex/gpt-5.4",),
        tools=("bash", "python", "git"),
        hardware={"cpu": "Apple M1 Max", "memory": "32GB"},
    )
    assert config.peers == {server: Peer(id=server, host="192.168.1.219", port=18789)}
    assert config.peer_tokens == {server: PeerTokens(token_env_var="LAN_PEER_SERVER219_TOKEN")}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_of_each_key_the_strongest_source_counts(count: int) -> None:
    sources = [
        Source(name=name, values={"node": {"port": port}}) for port, name in enumerate(PRECEDENCE[:count])
    ]
    config = combine(sources, "host")

    assert config.node.port == (count - 1 if count else 18760)
    assert source_of(config, "node.port") == (PRECEDENCE[count - 1] if count else "default")


def test_sources_add_up_key_by_key() -> None:
    config = settings(
        {"node": {"port": 1, "concurrency": 3}, "peers": {"a": {"host": "h"}}},
        {"node": {"port": 2}, "peers": {"a": {"port": 5}, "b": {"host": "i"}}},
    )

    assert (config.node.port, config.limits.concurrency) == (2, 3)
    assert [(peer.host, peer.port) for peer in config.peers.values()] == [("h", 5), ("i", 18760)]
    assert source_of(config, "peers.a.host") == "config.toml"
    assert source_of(config, "peers.a.port") == "stdin"


def test_a_list_and_the_words_on_hardware_are_replaced_as_a_whole() -> None:
    config = settings(
        {"profile": {"tools": ["bash"], "hardware": {"cpu": "M1"}}},
        {"profile": {"tools": ["git"], "hardware": {"gpu": "none"}}},
    )

    assert config.identity.tools == ("git",)
    assert config.identity.hardware == {"gpu": "none"}


def test_a_value_that_does_not_fit_is_no_matter_where_a_stronger_source_has_another() -> None:
    assert settings({"node": {"port": "x"}}, {"node": {"port": 5}}).node.port == 5
    assert settings({"node": 5}, {"node": {"port": 5}}).node.port == 5


def test_to_combine_sources_changes_none_of_them() -> None:
    weak, middle, strong = {"node": 5}, {"node": {"port": 1}}, {"node": {"port": 2}}
    config = settings(weak, middle, strong, names=("a", "b", "c"))

    assert config.node.port == 2
    assert (weak, middle, strong) == ({"node": 5}, {"node": {"port": 1}}, {"node": {"port": 2}})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"acceptmode": "off"}, 'unknown key "acceptmode"; did you mean "acceptMode"?'),
        ({"accept_mode": "off"}, 'unknown key "accept_mode"; did you mean "acceptMode"?'),
        ({"node": {"prot": 1}}, 'unknown key "node.prot"; did you mean "node.port"?'),
        (
            {"profile": {"capabilitys": []}},
            'unknown key "profile.capabilitys"; did you mean "profile.capabilities"?',
        ),
        (
            {"peers": {"a": {"host": "h", "hots": 1}}},
            'unknown key "peers.a.hots"; did you mean "peers.a.host"?',
        ),
        ({"zzz": 1}, 'unknown key "zzz"; known here: acceptMode, profile, node, peers'),
        ({"a\nb": 1}, 'unknown key "a\\nb"; known here: acceptMode, profile, node, peers'),
    ],
)
def test_a_key_that_nobody_knows_is_an_error_in_a_file_and_a_warning_from_the_plugin(
    values: dict[str, Any], sentence: str
) -> None:
    assert refused(values) == f"config.toml: {sentence}"
    assert settings(values, strict=False).warnings == [f"config.toml: {sentence}"]


def test_every_unknown_key_from_the_plugin_has_its_warning_and_the_rest_counts() -> None:
    config = settings({"enabled": True, "acceptMode": "off", "node": {"x": 1, "port": 5}}, strict=False)

    assert len(config.warnings) == 2
    assert (config.accept_mode, config.node.port) == (AcceptMode.OFF, 5)


@pytest.mark.parametrize(
    ("values", "key", "says"),
    [
        ({"acceptMode": "maybe"}, "acceptMode", "maybe"),
        ({"acceptMode": True}, "acceptMode", "expected str, got bool"),
        ({"node": 5}, "node", "expected object, got int"),
        ({"node": {"port": "18760"}}, "node.port", "expected int, got str"),
        ({"node": {"port": -1}}, "node.port", "expected int >= 0"),
        ({"node": {"port": 65536}}, "node.port", "expected int <= 65535"),
        ({"node": {"listen": ""}}, "node.listen", "expected str of length >= 1"),
        ({"node": {"repeatable": 1}}, "node.repeatable", "expected bool, got int"),
        ({"node": {"concurrency": 0}}, "node.concurrency", "expected int >= 1"),
        ({"node": {"maxWaiting": 1.5}}, "node.maxWaiting", "expected int, got float"),
        ({"node": {"command": "cat"}}, "node.command", "expected array, got str"),
        ({"node": {"command": []}}, "node.command", "expected array of length >= 1"),
        ({"node": {"command": ["cat", 1]}}, "node.command[1]", "expected str, got int"),
        ({"profile": {"tools": ["a", ""]}}, "profile.tools[1]", "expected str of length >= 1"),
        ({"profile": {"hardware": {"cpu": [1]}}}, "profile.hardware", "got array"),
        ({"profile": {"hardware": {"gpu": True}}}, "profile.hardware", "got bool"),
        ({"peers": []}, "peers", "expected object, got array"),
        (
            {"peers": {"b": {"host": "h"}, "a": {"host": "h", "port": "x"}}},
            "peers.a.port",
            "expected int, got str",
        ),
        ({"peers": {"b": {"host": "h"}, "a": {"host": 1}}}, "peers.a.host", "expected str, got int"),
        ({"peers": {"b": {"host": "h"}, "a": "10.0.0.9"}}, "peers.a", "expected object, got str"),
        ({"peers": {"a": {"host": "h", "tokenEnvVar": "1x"}}}, "peers.a.tokenEnvVar", "matching regex"),
        (
            {"peers": {"a": {"host": "h", "inboundTokenEnvVar": ""}}},
            "peers.a.inboundTokenEnvVar",
            "matching regex",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_its_key_and_its_source(
    values: dict[str, Any], key: str, says: str
) -> None:
    sentence = refused(values)

    assert sentence.startswith(f"config.toml: {key}: ")
    assert says in sentence


def test_a_peer_without_a_host_is_refused_by_its_name() -> None:
    assert refused({"peers": {"b": {"host": "h"}, "a": {"port": 1}}}) == "peers.a.host is missing"


@pytest.mark.parametrize("name", ["self", "shared", "any"])
def test_a_word_with_a_meaning_of_its_own_names_no_node(name: str) -> None:
    assert refused({"peers": {name: {"host": "h"}}}).startswith(f'peers.{name}: "{name}" has a meaning')
    assert refused({"profile": {"id": name}}).startswith(f'profile.id: "{name}" has a meaning')


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "x" * 65, "é"])
def test_what_can_be_no_name_names_no_peer(name: str) -> None:
    assert "is not a node's name" in refused({"peers": {name: {"host": "h"}}})


def test_a_node_is_no_peer_of_its_own() -> None:
    assert refused({"profile": {"id": "me"}, "peers": {"me": {"host": "h"}}}).startswith(
        "peers.me is this node"
    )
    assert refused({"peers": {"annas-mac": {"host": "h"}}}).startswith("peers.annas-mac is this node")


def test_an_executor_that_nobody_knows_is_refused() -> None:
    assert refused({"node": {"executor": "magic"}}).startswith(
        "config.toml: node.executor: invalid enum value"
    )


def test_an_agent_can_do_tasks_only_where_there_is_a_gateway() -> None:
    assert refused({"node": {"executor": "openclaw"}}) == (
        "node.executor is openclaw, but no gateway started this node: its plugin does"
    )


def from_the_plugin(**values: Any) -> Config:
    line = msgspec.json.encode({**values, "gateway": GATEWAY})
    return combine([read_json(line, "stdin")], "host")


def test_beside_a_gateway_its_agent_does_the_tasks_unless_the_owner_says_otherwise() -> None:
    agent, program = from_the_plugin(), from_the_plugin(node={"executor": "command", "command": ["cat"]})
    coder = from_the_plugin(node={"agent": "coder"})

    assert (agent.node.executor, agent.node.agent) == ("openclaw", "main")
    assert (program.node.executor, program.node.command) == ("command", ["cat"])
    assert (coder.node.executor, coder.node.agent) == ("openclaw", "coder")
    assert agent.gateway is not None
    assert (agent.gateway.url, agent.gateway.token, agent.gateway.boot) == (
        "ws://127.0.0.1:18789",
        "gateway-secret",
        "boot-1",
    )


def test_a_gateway_without_a_token_is_one_too() -> None:
    config = settings({"gateway": {"url": "ws://127.0.0.1:1", "boot": "b"}}, strict=False)

    assert config.gateway is not None
    assert config.gateway.token is None


def test_what_the_plugin_reads_itself_is_no_cause_for_a_warning() -> None:
    config = from_the_plugin(python="/usr/bin/python3", toolWaitSeconds=60)

    assert config.warnings == []


def test_the_gateway_and_its_token_are_never_among_the_settings_shown() -> None:
    config = from_the_plugin(acceptMode="manual")

    assert not any("gateway" in setting.key for setting in config.settings)
    assert "gateway-secret" not in repr(config.settings)


def test_a_gateway_is_no_setting_of_the_owner_s() -> None:
    assert refused({"gateway": GATEWAY}).startswith('config.toml: unknown key "gateway"')


@pytest.mark.parametrize("missing", ["url", "boot"])
def test_half_a_gateway_is_refused_and_its_token_not_said(missing: str) -> None:
    half = {key: value for key, value in GATEWAY.items() if key != missing}

    with pytest.raises(InvalidConfig) as refusal:
        settings({"gateway": half}, strict=False)

    assert refusal.value.detail == f"gateway.{missing} is missing"


def test_every_setting_is_listed_with_its_source() -> None:
    config = settings(
        {"acceptMode": "off", "peers": {"a": {"host": "h"}}, "profile": {"hardware": {"cpu": "M1"}}},
        {"node": {"port": 0, "repeatable": False}},
    )

    assert [(setting.key, setting.value, setting.source) for setting in config.settings] == [
        ("acceptMode", "off", "config.toml"),
        ("profile.id", "annas-mac", "host name"),
        ("profile.name", "Annas-Mac.local", "host name"),
        ("profile.role", "", "default"),
        ("profile.capabilities", [], "default"),
        ("profile.models", [], "default"),
        ("profile.tools", [], "default"),
        ("profile.hardware", {"cpu": "M1"}, "config.toml"),
        ("node.listen", "0.0.0.0", "default"),  # noqa: S104
        ("node.port", 0, "stdin"),
        ("node.dialOnly", False, "default"),
        ("node.operatorPort", 18761, "default"),
        ("node.hosts", [], "default"),
        ("node.discovery", True, "default"),
        ("node.executor", "command", "default"),
        ("node.agent", "main", "default"),
        ("node.command", ["cat"], "default"),
        ("node.repeatable", False, "stdin"),
        ("node.concurrency", 2, "default"),
        ("node.maxWaiting", 1000, "default"),
        ("node.keepDays", 30, "default"),
        ("node.keepCount", 10_000, "default"),
        ("node.maxOpen", 500, "default"),
        ("node.maxRequests", 6000, "default"),
        ("node.maxStored", 256, "default"),
        ("node.maxFiles", 20_000, "default"),
        ("peers.a.host", "h", "config.toml"),
        ("peers.a.port", 18760, "default"),
        ("peers.a.tls", None, "default"),
        ("peers.a.acceptMode", None, "default"),
        ("peers.a.may", ["message", "task", "file"], "default"),
        ("peers.a.tokenEnvVar", None, "default"),
        ("peers.a.inboundTokenEnvVar", None, "default"),
    ]


def test_a_peer_has_a_mode_and_permissions_of_its_own() -> None:
    config = settings(
        {
            "peers": {"a": {"host": "h", "acceptMode": "manual", "may": ["message"]}, "b": {"host": "h"}},
            "node": {"maxOpen": 7, "maxRequests": 8, "maxStored": 9},
        }
    )

    a, b = config.peers.values()
    assert (a.accept_mode, a.may) == (AcceptMode.MANUAL, frozenset({EnvelopeType.MESSAGE}))
    assert (b.accept_mode, b.may) == (None, frozenset({EnvelopeType.MESSAGE, EnvelopeType.TASK, "file"}))
    limits = config.limits
    assert (limits.open_tasks, limits.requests_per_minute, limits.stored_bytes) == (7, 8, 9 * 1024 * 1024)


def test_a_name_that_the_owner_chose_is_listed_as_chosen() -> None:
    config = settings({"profile": {"id": "me", "name": "Me"}})

    assert (config.identity.id, config.identity.name) == ("me", "Me")
    assert (source_of(config, "profile.id"), source_of(config, "profile.name")) == (
        "config.toml",
        "config.toml",
    )


def test_the_environment_says_where_to_listen() -> None:
    source = from_environment(
        {"LANMESH_LISTEN": "0.0.0.0", "LANMESH_PORT": "0", "LANMESH_OPERATOR_PORT": "1", "OTHER": "x"}  # noqa: S104
    )

    assert source.name == "environment"
    assert source.values == {"node": {"listen": "0.0.0.0", "port": 0, "operatorPort": 1}}  # noqa: S104


def test_an_empty_variable_says_nothing() -> None:
    assert from_environment({"LANMESH_PORT": "", "LANMESH_LISTEN": ""}).values == {}


@pytest.mark.parametrize("text", ["x", "-1", "1.0", " 1", "1_0", "٣", "²"])
def test_a_port_in_the_environment_that_is_no_number_is_refused_by_the_variable_s_name(text: str) -> None:
    with pytest.raises(InvalidConfig, match="LANMESH_OPERATOR_PORT must be a port number"):
        from_environment({"LANMESH_OPERATOR_PORT": text})


def test_settings_on_standard_input_are_one_json_object_and_forgiving() -> None:
    source = read_json(b'{"acceptMode": "off", "enabled": true}\n', "stdin")

    assert (source.name, source.strict) == ("stdin", False)
    assert source.values == {"acceptMode": "off", "enabled": True}


@pytest.mark.parametrize("line", [b"", b"[]", b"null", b"{", b"\xff", b'{"a":NaN}', b'{"a":' + b"[" * 50_000])
def test_anything_else_on_standard_input_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidConfig, match="stdin: not a JSON object"):
        read_json(line, "stdin")


def test_a_file_that_is_not_there_sets_nothing() -> None:
    assert read_toml(Path("/nonexistent/config.toml")) == Source(name="config.toml", values={}, strict=True)


def test_a_file_is_read_strictly(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('acceptMode = "off"\n[node]\nport = 5\n', "utf-8")

    assert read_toml(file) == Source(
        name="config.toml", values={"acceptMode": "off", "node": {"port": 5}}, strict=True
    )


@pytest.mark.parametrize("content", [b"acceptMode = off", b"[node", b"a = 1\na = 2", b'name = "b\xfcro"'])
def test_a_file_that_is_no_toml_is_refused_by_its_name(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)

    with pytest.raises(InvalidConfig, match=r"config\.toml: "):
        read_toml(file)


def test_a_folder_in_the_file_s_place_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=str(tmp_path)):
        read_toml(tmp_path)
