"""The calls of the project's first README, as they are written there but for the port."""

import json
import shutil
import subprocess

import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess

HEALTH = "curl http://localhost:18789/lan/health"

PROFILE = """\
LAN_TOKEN=$(grep OPENCLAW_LAN_TOKEN ~/.openclaw/.env | cut -d= -f2)
curl -H "Authorization: Bearer $LAN_TOKEN" http://localhost:18789/lan/profile
"""

TASK = """\
LAN_TOKEN=$(grep OPENCLAW_LAN_TOKEN ~/.openclaw/.env | cut -d= -f2)
curl -X POST http://localhost:18789/lan/task \\
-H "Authorization: Bearer $LAN_TOKEN" \\
-H "Content-Type: application/json" \\
-d '{
"id": "task-001",
"protocolVersion": "1.0",
"type": "task",
"from": "my-agent",
"to": "target-agent",
"timestamp": 1234567890000,
"payload": {
"description": "帮我查一下今天的天气",
"mode": "fire-and-forget",
"timeout": 60000
}
}'
"""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")


@pytest.fixture(scope="module")
def node(shared_mesh: Mesh) -> NodeProcess:
    """Return a node set up as the first README says, beside a token for a peer."""
    return shared_mesh.lone(
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
                "server-219": {"host": "127.0.0.1", "port": 9, "tokenEnvVar": "LAN_PEER_SERVER219_TOKEN"}
            },
            "acceptMode": "auto",
        },
        LAN_PEER_SERVER219_TOKEN="token-of-the-server",
    ).start()


def over_tls(script: str, node: NodeProcess) -> str:
    """Return a script that speaks to the mesh port; a gateway's is spoken to as it is written."""
    here = script.replace("http://localhost:18789", f"https://localhost:{node.port}")
    return here.replace("curl ", "curl --insecure ")


def run(node: NodeProcess, script: str) -> str:
    done = subprocess.run(
        ["bash", "-c", over_tls(script, node)],
        env=node.environ(),
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout


def test_health_is_told_to_anyone(node: NodeProcess) -> None:
    health = json.loads(run(node, HEALTH))

    assert health["status"] == "ok"
    assert set(health) == {"status", "version", "protocolVersion", "nodeId", "uptime"}


def test_the_profile_is_what_was_configured_and_what_the_machine_knows(node: NodeProcess) -> None:
    profile = json.loads(run(node, PROFILE))

    assert profile["name"] == "我的Agent"
    assert profile["role"] == "开发助手"
    assert profile["capabilities"] == ["coding", "research"]
    assert profile["models"] == ["openai-codex/gpt-5.4"]
    assert profile["tools"] == ["bash", "python", "git"]
    assert profile["hardware"]["cpu"] == "Apple M1 Max"
    assert profile["hardware"]["memory"] == "32GB"
    assert profile["hardware"]["cores"] >= 1
    assert profile["acceptMode"] == "auto"


def test_a_task_is_taken_done_and_can_be_read(node: NodeProcess) -> None:
    taken = json.loads(run(node, TASK))
    again = json.loads(run(node, TASK))

    assert taken["taskId"] == "task-001"
    assert taken["state"] == "submitted"
    assert again == taken
    done = node.lan("GET", "/lan/task/task-001?wait=10", token=node.token).json
    assert (done["state"], done["result"]) == ("completed", "帮我查一下今天的天气")


def test_a_wrong_token_in_the_env_file_of_the_caller_is_told_as_such(node: NodeProcess) -> None:
    said = run(node, PROFILE.replace("cut -d= -f2", "cut -d= -f1"))

    assert json.loads(said)["code"] == "not-authenticated"
