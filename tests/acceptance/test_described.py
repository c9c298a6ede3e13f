"""Requests made from the OpenAPI documents, good ones and bad ones, against a real node."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import TOOLS, new_token

HOOKS = Path(__file__).with_name("nearby.py")

SECONDS = os.environ.get("FUZZ_SECONDS")
"""For how long `scripts/fuzz` looks at each port; here a number of examples is enough."""
MUCH = ("--max-examples", "1000", "--max-time", SECONDS or "")
LITTLE = ("--max-examples", "5", "--seed", "1")

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"

SETTINGS = """
[[operations]]
include-path = "/op/pairing/dial"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "502"]
"""
"""Who is not there is a 502 to whoever had it dialled."""

FOR_ANYONE = {
    "GET /lan/health",
    "GET /lan/whoami",
    "GET /lan/openapi.json",
    "POST /lan/pair/start",
    "POST /lan/pair/finish",
}
"""What a node answers on its LAN to whom it does not know."""


def test_a_stranger_is_told_of_health_and_pairing_and_nothing_else(mesh: Mesh) -> None:
    node = mesh.lone().start()
    described = node.lan("GET", "/lan/openapi.json").json["paths"]

    answers = {
        f"{method.upper()} {path}": node.lan(method.upper(), re.sub(r"{.*?}", "a" * 64, path), {}).status
        for path, methods in described.items()
        for method in methods
    }

    assert {route for route, status in answers.items() if status != 401} == FOR_ANYONE


@pytest.mark.timeout(600 + 2 * int(SECONDS or 0))
@pytest.mark.parametrize("port", ["mesh", "operator"])
def test_nothing_that_the_description_allows_or_forbids_breaks_a_node(
    mesh: Mesh, tmp_path: Path, port: str
) -> None:
    node = mesh.lone(
        {
            "profile": {"id": "target"},
            "node": {
                "maxRequests": 1_000_000,
                "maxOpen": 100_000,
                "maxWaiting": 100_000,
                "command": ["true"],
            },
            "peers": {"desk": {"host": "127.0.0.1", "port": 9}},
        },
        LAN_PEER_DESK_TOKEN=new_token(),
    ).start()
    at, token, face, scheme = {
        "mesh": (node.port, node.token, "lan", "https"),
        "operator": (node.operator_port, node.operator_token, "op", "http"),
    }[port]
    other = mesh.lone({"profile": {"id": "other"}}).start()
    other.op("POST", "/op/pairing")
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    written = tmp_path / "openapi.json"
    written.write_bytes(
        node.op("GET", f"/{face}/openapi.json").body
        if face == "op"
        else node.lan("GET", "/lan/openapi.json").body
    )

    done = subprocess.run(
        [
            TOOLS / "schemathesis", "--config-file", settings, "run", written, "--url", f"{scheme}://127.0.0.1:{at}",
            "--tls-verify", "false",
            "--header", f"Authorization: Bearer {token}", "--checks", CHECKS,
            "--phases", "coverage,fuzzing", *(MUCH if SECONDS else LITTLE),
            # The node would begin anew with settings that it is given.
            "--exclude-path", "/op/config",
            "--suppress-health-check", "all", "--request-timeout", "60", "--no-shrink", "--warnings", "off",
        ],
        env={
            "PATH": os.environ.get("PATH", ""), "HOME": str(tmp_path), "LANG": "C.UTF-8", "NO_COLOR": "1",
            "SCHEMATHESIS_HOOKS": str(HOOKS), "LANMESH_NEARBY": f"{other.port} {node.port} 9",
        },
        cwd=tmp_path, capture_output=True, text=True, timeout=580 + 2 * int(SECONDS or 0), check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert node.lan("GET", "/lan/health").status == 200
    assert "level=error" not in node.log.read_text() + other.log.read_text()
    assert port == "mesh" or "somebody tries to pair" in other.log.read_text(), "nobody was dialled"
