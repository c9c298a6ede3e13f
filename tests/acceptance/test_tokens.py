"""Tokens: who gets in, what takes effect at once, and where none may be read."""

from pathlib import Path

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import Answer, NodeProcess, envelope, new_token, until

PROGRAM = 'env; cat; while [ ! -e "$0" ]; do sleep 0.02; done'


def profile(node: NodeProcess, token: str) -> Answer:
    return node.lan("GET", "/lan/profile", token=token)


def test_a_new_inbound_token_takes_effect_without_a_restart(mesh: Mesh) -> None:
    node = mesh.lone().start()
    old, new = node.token, new_token()
    assert profile(node, old).status == 200

    node.write_variables({"OPENCLAW_LAN_TOKEN": new})

    assert profile(node, old).status == 401
    assert profile(node, new).status == 200
    node.write_variables({"OPENCLAW_LAN_TOKEN": old})
    assert (profile(node, old).status, profile(node, new).status) == (200, 401)


def test_a_token_taken_away_lets_nobody_in(mesh: Mesh) -> None:
    node = mesh.lone().start()
    old = node.token

    node.write_variables({})

    assert profile(node, old).status == 401
    assert profile(node, "").status == 401
    assert "set OPENCLAW_LAN_TOKEN" in node.lanmesh("status").out


def test_the_file_beats_an_inherited_variable(mesh: Mesh) -> None:
    node = mesh.lone()
    inherited = new_token()
    node.secrets.add(inherited)
    node.start(environ={"OPENCLAW_LAN_TOKEN": inherited})

    assert (profile(node, node.token).status, profile(node, inherited).status) == (200, 401)


def test_what_waits_while_tokens_differ_is_delivered_once_they_are_mended(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={})
    rotated = new_token()
    b.write_variables({**b.variables, "OPENCLAW_LAN_TOKEN": rotated})

    task = a.delegate("b", "through in the end")
    until(lambda: a.task(task)["delivery"]["error"], lambda: a.task(task))
    stuck = a.task(task)
    a.write_variables({**a.variables, "LAN_PEER_B_TOKEN": rotated})

    assert stuck["delivery"]["state"] == "queued"
    assert "does not know our token" in stuck["delivery"]["error"]
    assert a.final(task, within_s=30)["result"] == "through in the end"


def test_a_peer_without_a_token_is_named_before_anything_is_sent(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={})
    a.write_variables({"OPENCLAW_LAN_TOKEN": a.token})

    said = a.lanmesh("send", "b", "hello")

    assert said.out.startswith("queued: it is kept for b")
    assert "no token for b" in said.out
    assert "no token for b" in a.op("GET", "/op/peers").json[0]["error"]
    assert b.op("GET", "/op/messages").json == []


def test_whoami_tells_what_a_token_is_worth(mesh: Mesh) -> None:
    own = new_token()
    node = mesh.lone(
        {"peers": {"desk": {"host": "127.0.0.1", "port": 9, "inboundTokenEnvVar": "TOKEN_OF_DESK"}}},
        TOKEN_OF_DESK=own,
    ).start()

    told = [node.lan("GET", "/lan/whoami", token=token).json for token in (None, "x", node.token, own)]

    assert told == [
        {"status": "not_paired"},
        {"status": "not_paired"},
        {"status": "paired", "origin": "shared"},
        {"status": "paired", "origin": "desk"},
    ]


def test_no_token_can_be_read_anywhere(mesh: Mesh, tmp_path: Path) -> None:
    own = new_token()
    a, b = mesh.of(a={}, b={"command": ["sh", "-c", PROGRAM, str(tmp_path / "gate")]})
    b.write_settings(
        {**b.settings, "peers": {"a": {**b.settings["peers"]["a"], "inboundTokenEnvVar": "TOKEN_OF_A"}}}
    )
    b.write_variables({**b.variables, "TOKEN_OF_A": own})
    a.write_variables({**a.variables, "LAN_PEER_B_TOKEN": own})
    a.start()
    b.start(environ={"SOME_TOKEN": own, **b.variables})

    task = a.delegate("b", "what do you know?")

    def program_is_seen() -> bool:
        b.note_command_lines()
        return any(line.startswith("sh -c") for line in b.command_lines)

    until(program_is_seen, lambda: b.command_lines)
    (tmp_path / "gate").touch()
    done = a.final(task)
    for node in (a, b):
        node.lan("GET", "/lan/profile", token="wrong")
        node.give(envelope())
        for verb in (("status",), ("config", "--json"), ("task", task), ("inbox",)):
            assert node.lanmesh(*verb).status == 0
        for path in ("config", "peers", "profile", "tasks", f"tasks/{task}"):
            node.printed.append(str(node.op("GET", f"/op/{path}").json))

    # Both sides know all tokens here, so each is looked for in what the other showed, too.
    known = a.secrets | b.secrets
    for node in (a, b):
        node.secrets = known
        assert node.leaks() == []
        assert any("lanmesh run" in line for line in node.command_lines)
    assert not [secret for secret in known if secret in str(done)]
