"""A node's beginning and its end: how soon, how small, on which settings."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess, envelope, free_port, http_call, http_connection, until

FIRST_ANSWER_S = 1.0
END_S = 5.0
IDLE_BYTES = 70 * 1024 * 1024


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def settings(node: NodeProcess) -> dict[str, tuple[object, str]]:
    """Return what `lanmesh config` tells of each setting: its value, and where it came from."""
    said = node.lanmesh("config", "--json")
    assert said.status == 0, said.err
    return {item["key"]: (item["value"], item["source"]) for item in said.json}


# --- the beginning -------------------------------------------------------------------------------


def test_the_first_answer_comes_within_a_second_of_the_start(mesh: Mesh) -> None:
    port = free_port()
    node = mesh.lone({"node": {"port": port, "discovery": True}})

    def first_answer() -> None:
        node.launch()
        until(lambda: answers(port), node.log.read_text)

    def answers(port: int) -> bool:
        try:
            return http_call(port, "GET", "/lan/health").status == 200
        except ConnectionError:
            return False

    took = []
    for _ in range(3):  # the best counts: the machine has other things to do, too
        took.append(seconds(first_answer))
        node.terminate()

    assert min(took) < FIRST_ANSWER_S, took


def test_an_idle_node_is_small(mesh: Mesh) -> None:
    node = mesh.lone({"node": {"discovery": True}}).start()
    assert node.lanmesh("status").status == 0
    assert node.process is not None

    resident = psutil.Process(node.process.pid).memory_info().rss

    assert resident < IDLE_BYTES


def test_what_a_node_keeps_is_for_its_owner_alone(mesh: Mesh) -> None:
    node = mesh.lone()
    (node.state / "config.toml").rename(node.home / "config.toml")
    node.state.rmdir()

    node.start("--port", "0", "--operator-port", "0", "--until-stdin-closes", stdin=subprocess.PIPE)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in node.state.iterdir()}
    assert stat.S_IMODE(node.state.stat().st_mode) == 0o700
    for name in ("node.json", "operator.token", "mesh.db", "node.log"):
        assert modes[name] == 0o600, name


def test_a_second_node_in_one_folder_waits_for_the_first_to_leave(mesh: Mesh) -> None:
    node = mesh.lone().start()
    first = node.let_go()
    node.launch()
    second = node.process
    assert second is not None
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(1)

    first.terminate()
    assert first.wait(END_S) == 0

    node.ready()
    assert node.about["pid"] == second.pid


def test_a_second_node_in_one_folder_gives_up_after_10_s_and_says_so(mesh: Mesh) -> None:
    node, rival = mesh.lone().start(), mesh.lone()
    began = time.monotonic()

    status = rival.launch("--state-dir", str(node.state), "--port", "0").ended(within_s=15)

    assert status == 75
    assert 9 < time.monotonic() - began < 14
    assert rival.log.read_text().startswith(f"lanmesh: another node holds {node.state}")
    assert node.lanmesh("status").status == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("acceptmode = 'auto'", 'unknown key "acceptmode"; did you mean "acceptMode"?'),
        ("node.comand = ['cat']", 'unknown key "node.comand"; did you mean "node.command"?'),
        ("[peers.b]\nhost = 'x'\nprot = 5", 'unknown key "peers.b.prot"; did you mean "peers.b.port"?'),
        ("node.port = 70000", "node.port"),
        ("this is no TOML", "config.toml"),
    ],
)
def test_settings_that_cannot_be_used_are_named(mesh: Mesh, content: str, sentence: str) -> None:
    node = mesh.lone()
    (node.state / "config.toml").write_text(content)

    said = node.lanmesh("config")

    assert (said.status, said.out) == (78, "")
    assert said.err.startswith("lanmesh: ")
    assert sentence in said.err
    assert "Traceback" not in said.err


def test_a_node_does_not_start_on_settings_that_cannot_be_used(mesh: Mesh) -> None:
    node = mesh.lone()
    node.write_settings({**node.settings, "acceptmode": "off"})

    status = node.launch().ended()

    assert status == 78
    assert 'did you mean "acceptMode"?' in node.log.read_text()
    assert not (node.state / "node.json").exists()


def test_a_port_that_is_taken_is_named(mesh: Mesh) -> None:
    node = mesh.lone().start()
    rival = mesh.lone({"node": {"port": node.port}})

    status = rival.launch().ended()

    assert status == 78
    assert f"port {node.port}" in rival.log.read_text()
    assert "Traceback" not in rival.log.read_text()


def test_each_setting_says_where_it_came_from(mesh: Mesh) -> None:
    node = mesh.lone({"acceptMode": "manual", "profile": {"id": "me"}})
    assert settings(node)["acceptMode"] == ("manual", "config.toml")  # asked of the files

    environ = {"LANMESH_OPERATOR_PORT": "0"}
    node.launch("--config-stdin", "--port", "0", stdin=subprocess.PIPE, environ=environ)
    line = {
        "acceptMode": "off",
        "node": {"port": 1, "operatorPort": 1, "command": ["wc"], "colour": "red"},
        "profile": {"role": "tests"},
    }
    node.tell(json.dumps(line).encode())
    node.ready()

    told = settings(node)
    assert told["acceptMode"] == ("off", "stdin")
    assert told["node.command"] == (["wc"], "stdin")
    assert told["profile.role"] == ("tests", "stdin")
    assert told["profile.id"] == ("me", "config.toml")
    assert told["node.port"] == (0, "flag")
    assert told["node.operatorPort"] == (0, "environment")
    assert told["node.repeatable"] == (False, "default")
    assert 'unknown key "node.colour"' in " ".join(node.op("GET", "/op/status").json["warnings"])


def test_settings_on_stdin_that_are_none_are_named(mesh: Mesh) -> None:
    node = mesh.lone()
    node.launch("--config-stdin", stdin=subprocess.PIPE)
    node.tell(b"port: 5")

    assert node.ended() == 78
    assert "stdin: not a JSON object" in node.log.read_text()


def test_every_verb_finds_the_node_by_its_state_folder(mesh: Mesh) -> None:
    node, elsewhere = mesh.lone(), mesh.lone()
    folder = elsewhere.home / "state"
    folder.mkdir(mode=0o700)
    (elsewhere.state / "config.toml").rename(folder / "config.toml")
    elsewhere.state.rmdir()
    elsewhere.state = folder
    elsewhere.start("--state-dir", str(folder))

    here = node.lanmesh("status", "--json", LANMESH_STATE_DIR=str(folder))

    assert here.json["stateFolder"] == str(folder)
    assert node.lanmesh("status").status == 6


# --- the end -------------------------------------------------------------------------------------


def test_ctrl_c_ends_an_idle_node_soon(mesh: Mesh) -> None:
    node = mesh.lone().start()

    def end() -> None:
        node.signal(signal.SIGINT)
        assert node.ended() == 0

    assert seconds(end) < END_S
    assert not (node.state / "node.json").exists()
    assert "Traceback" not in node.log.read_text()


def test_sigterm_ends_a_busy_node_within_5_s(mesh: Mesh) -> None:
    stubborn = ["sh", "-c", 'trap "" TERM; (trap "" TERM; sleep 1000) & while :; do sleep 1; done']
    a, node = mesh.started(a={}, b={"command": stubborn})
    asked = [a.delegate("b", "never done"), a.delegate("b", "never done, either")]
    for task in asked:
        node.in_state(task, "working")
    until(lambda: len(node.programs()) >= 4, node.programs)
    held = envelope("waits for its turn", {"mode": "wait"})
    with ThreadPoolExecutor(2) as callers:
        waiting = callers.submit(node.give, held)
        watching = callers.submit(node.op, "GET", f"/op/tasks/{asked[0]}?wait=55&version=1000")
        until(lambda: node.task(held["id"]).get("state"), lambda: "the task has not arrived")

        took = seconds(node.terminate)

        assert took < END_S
        assert not node.programs()
        assert waiting.result(5).json["state"] == "submitted"
        assert watching.result(5).json["state"] in {"working", "failed"}
    assert "Traceback" not in node.log.read_text()


def test_an_idle_connection_does_not_hold_up_the_end(mesh: Mesh) -> None:
    node = mesh.lone().start()
    connection = http_connection(node.port)
    connection.request("GET", "/lan/health")
    connection.getresponse().read()

    took = seconds(node.terminate)

    connection.close()
    assert took < END_S


def test_a_node_ends_with_its_stdin_and_logs_to_its_file_alone(mesh: Mesh) -> None:
    node = mesh.lone()
    node.launch("--config-stdin", "--until-stdin-closes", stdin=subprocess.PIPE)
    node.tell(b'{"profile": {"name": "held by a string"}}')
    node.ready()
    assert node.lanmesh("status", "--json").json["name"] == "held by a string"

    node.close_stdin()

    assert node.ended(END_S) == 0
    assert node.log.read_text() == ""
    assert "event=stopping" in (node.state / "node.log").read_text()


def test_a_node_whose_starter_dies_ends_too(mesh: Mesh) -> None:
    node = mesh.lone()
    reading, writing = os.pipe()
    node.launch("--until-stdin-closes", stdin=reading)
    os.close(reading)
    node.ready()

    os.close(writing)  # as the system does when a process is gone

    assert node.ended(END_S) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells which signals a process handles")
def test_a_node_that_waits_for_its_settings_or_its_folder_ends_when_told_to(mesh: Mesh) -> None:
    node, rival = mesh.lone().start(), mesh.lone()
    silent = mesh.lone().launch("--config-stdin", "--port", "0", stdin=subprocess.PIPE)
    rival.launch("--state-dir", str(node.state), "--port", "0")
    until(lambda: _handles_signals(silent) and _handles_signals(rival), lambda: "not up yet")

    assert silent.terminate() == 0
    assert rival.terminate() == 0


def test_a_peer_at_an_address_that_is_none_holds_up_nothing(mesh: Mesh) -> None:
    node = mesh.lone({"peers": {"p": {"host": "a..b"}}}, LAN_PEER_P_TOKEN="some-token").start()

    sent = node.lanmesh("send", "p", "hello")

    assert (sent.status, "that is no address" in sent.out) == (0, True)
    assert node.lanmesh("status").status == 0
    assert node.terminate() == 0


def test_what_a_killed_node_left_behind_leads_nobody_to_another_s_port(mesh: Mesh) -> None:
    node = mesh.lone().start()
    port = node.operator_port
    node.kill()

    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        squatter.settimeout(0.2)
        asked = node.lanmesh("status")
        with pytest.raises(TimeoutError):
            squatter.accept()

    assert (asked.status, "no node runs" in asked.err) == (6, True)


def _handles_signals(node: NodeProcess) -> bool:
    """Return whether the process handles SIGTERM itself by now."""
    assert node.process is not None
    lines = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
