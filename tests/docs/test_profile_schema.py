"""profile.schema.json: it takes what nodes say, and what it takes, nodes read."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from lanmesh.model.ids import RESERVED, PeerId
from lanmesh.model.profile import SCHEMA_VERSION, Hardware, Identity, MachineLoad, Profile, TaskCounts
from lanmesh.model.task import AcceptMode
from lanmesh.protocol import profiles
from tests.docs.markdown import ROOT, blocks, read

SCHEMA: dict[str, Any] = json.loads(read("profile.schema.json"))
SAMPLES = Path(__file__).parent / "profiles"


def faults(profile: object) -> list[str]:
    return [fault.message for fault in Draft202012Validator(SCHEMA).iter_errors(profile)]


def samples(kind: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((SAMPLES / kind).glob("*.json"))]


def said_by(identity: Identity, tasks: TaskCounts) -> Any:
    profile = Profile(
        identity=identity,
        hardware=Hardware(cpu="", cores=1, memory_bytes=0, gpus=("NVIDIA GPU",), os="Debian GNU/Linux 12"),
        load=MachineLoad(cpu_percent=100.0, memory_percent=0.0),
        tasks=tasks,
        accept_mode=AcceptMode.MANUAL,
        node_version="0.1.0",
    )
    return json.loads(profiles.encode(profile))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    assert SCHEMA["$id"].endswith(f":{SCHEMA_VERSION}")


def test_what_a_node_says_of_itself_is_valid() -> None:
    bare = said_by(Identity(id=PeerId("a"), name="a"), TaskCounts())
    full = said_by(
        Identity(
            id=PeerId("server-219"),
            name="服务器",
            role="builds",
            capabilities=("coding",),
            models=("m",),
            tools=("git",),
            hardware={"cpu": "Apple M1 Max", "memory": "32GB", "cores": "ten", "gpus": 2, "os": 1.5},
        ),
        TaskCounts(running=1, waiting=2, done=3, failed=4, mean_s=0.5),
    )

    assert faults(bare) == []
    assert faults(full) == []


def test_schema_and_code_know_the_same_fields() -> None:
    said = said_by(Identity(id=PeerId("a"), name="a"), TaskCounts())

    def fields(schema: Any) -> Any:
        return {name: fields(about) for name, about in schema.get("properties", {}).items()}

    def keys(value: Any) -> Any:
        return {name: keys(part) for name, part in value.items()} if isinstance(value, dict) else {}

    assert fields(SCHEMA) == keys(said)


def test_schema_and_code_reserve_the_same_names() -> None:
    assert set(SCHEMA["properties"]["id"]["not"]["enum"]) == RESERVED


def test_the_example_of_the_document_is_valid() -> None:
    (example,) = (block.text for block in blocks(read("PROFILE_SCHEMA.md")) if block.language == "json")

    assert faults(json.loads(example)) == []
    assert profiles.check(example.encode()) == example.encode()


@pytest.mark.parametrize("sample", samples("valid"))
def test_a_valid_sample_is_valid_and_can_be_read(sample: Path) -> None:
    body = sample.read_bytes()

    assert faults(msgspec.json.decode(body)) == []
    assert profiles.check(body) == body


@pytest.mark.parametrize("sample", samples("invalid"))
def test_an_invalid_sample_is_invalid(sample: Path) -> None:
    assert faults(msgspec.json.decode(sample.read_bytes())) != []


def test_there_are_samples_of_both_kinds() -> None:
    assert len(samples("valid")) >= 3
    assert len(samples("invalid")) >= 8
    assert (ROOT / "profile.schema.json").exists()
