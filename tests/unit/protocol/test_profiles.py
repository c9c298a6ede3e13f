"""Profiles: how ours is spelled, and which of a peer's is one."""

import json
from dataclasses import replace
from typing import Any

import pytest

from lanmesh.errors import InvalidRequest, UnsupportedVersion
from lanmesh.model.ids import PeerId
from lanmesh.model.profile import Hardware, Identity, MachineLoad, Offers, Profile, TaskCounts
from lanmesh.model.task import AcceptMode
from lanmesh.protocol import profiles

PROFILE = Profile(
    identity=Identity(
        id=PeerId("laptop"),
        name="我的Agent",
        role="开发助手",
        capabilities=("coding", "research"),
        models=("openai-codex/gpt-5.4",),
        tools=("bash", "git"),
        hardware={"cpu": "Apple M1 Max", "memory": "32GB"},
    ),
    hardware=Hardware(cpu="arm", cores=10, memory_bytes=2**35, gpus=("M1 Max",), os="macOS 26"),
    load=MachineLoad(cpu_percent=12.5, memory_percent=50.0),
    tasks=TaskCounts(running=1, waiting=2, done=3, failed=4, mean_s=1.5),
    accept_mode=AcceptMode.MANUAL,
    node_version="0.1.0",
)
LEAST = {"schemaVersion": "1.0", "id": "laptop"}


def test_a_profile_says_what_the_node_is_offers_and_how_busy_it_is() -> None:
    assert json.loads(profiles.encode(PROFILE)) == {
        "schemaVersion": "1.0",
        "id": "laptop",
        "name": "我的Agent",
        "role": "开发助手",
        "capabilities": ["coding", "research"],
        "models": ["openai-codex/gpt-5.4"],
        "tools": ["bash", "git"],
        "agents": [],
        "hardware": {
            "cpu": "Apple M1 Max",
            "cores": 10,
            "memoryBytes": 2**35,
            "gpus": ["M1 Max"],
            "os": "macOS 26",
            "memory": "32GB",
        },
        "load": {"cpuPercent": 12.5, "memoryPercent": 50.0, "running": 1, "waiting": 2},
        "history": {"done": 3, "failed": 4, "meanSeconds": 1.5},
        "acceptMode": "manual",
        "nodeVersion": "0.1.0",
    }


def test_what_the_gateway_can_do_is_told_but_the_owner_s_own_words_win() -> None:
    offers = Offers(agents=("main", "coder"), skills=("pdf",), models=("x/y",), tools=("exec",))
    silent = replace(PROFILE, offers=offers, identity=Identity(id=PeerId("laptop"), name="laptop"))
    terse = replace(PROFILE, offers=offers)

    said, own = (json.loads(profiles.encode(profile)) for profile in (silent, terse))

    assert (said["capabilities"], said["models"], said["tools"]) == (["pdf"], ["x/y"], ["exec"])
    assert (own["capabilities"], own["models"]) == (["coding", "research"], ["openai-codex/gpt-5.4"])
    assert said["agents"] == own["agents"] == ["main", "coder"]


def test_the_owner_s_words_on_the_hardware_win_over_what_was_found_out() -> None:
    plain = replace(PROFILE, identity=replace(PROFILE.identity, hardware={}))

    assert json.loads(profiles.encode(PROFILE))["hardware"]["cpu"] == "Apple M1 Max"
    assert json.loads(profiles.encode(plain))["hardware"]["cpu"] == "arm"


def test_our_own_profile_is_one() -> None:
    body = profiles.encode(PROFILE)

    assert profiles.check(body) == body


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"schemaVersion": "1.7"},
        {"mood": "sunny"},
        {"hardware": {"cpu": ["a", {"b": None}]}},
        {"load": {}},
    ],
)
def test_a_peer_s_profile_is_passed_on_as_it_came(extra: dict[str, Any]) -> None:
    body = json.dumps(LEAST | extra, indent=1).encode()

    assert profiles.check(body) == body


@pytest.mark.parametrize("version", ["2.0", "0.9", "", "x" * 1000])
def test_a_profile_of_another_major_version_is_refused(version: str) -> None:
    with pytest.raises(UnsupportedVersion, match="schemaVersion is ") as refusal:
        profiles.check(json.dumps(LEAST | {"schemaVersion": version}).encode())
    assert len(refusal.value.detail) < 100


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 1),
        ("name", None),
        ("role", 1),
        ("capabilities", "coding"),
        ("models", [1]),
        ("tools", {}),
        ("hardware", []),
        ("load", {"cpuPercent": "12"}),
        ("history", {"done": 1.5}),
        ("acceptMode", "maybe"),
    ],
)
def test_a_profile_with_a_bad_field_is_refused_by_the_field_s_name(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=field):
        profiles.check(json.dumps(LEAST | {field: value}).encode())


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"{}", b'{"id":"a"}', b'{"x":' + b"[" * 50_000])
def test_what_is_no_profile_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        profiles.check(body)
