"""Profiles: what of a change is worth a word."""

from dataclasses import replace

import pytest

from lanmesh.model.ids import PeerId
from lanmesh.model.profile import MOVED_PERCENT, Hardware, Identity, MachineLoad, Profile, TaskCounts
from lanmesh.model.task import AcceptMode

BEFORE = Profile(
    identity=Identity(id=PeerId("b"), name="The node b", hardware={"ups": "none"}),
    hardware=Hardware(cpu="Abacus", cores=4, memory_bytes=2**33, os="TestOS 1"),
    load=MachineLoad(cpu_percent=50.0, memory_percent=50.0),
    tasks=TaskCounts(running=1),
    accept_mode=AcceptMode.AUTO,
    node_version="1",
)


@pytest.mark.parametrize(
    "now",
    [
        replace(BEFORE, load=MachineLoad(cpu_percent=50.0 + MOVED_PERCENT, memory_percent=50.0)),
        replace(BEFORE, load=MachineLoad(cpu_percent=50.0 - MOVED_PERCENT, memory_percent=50.0)),
        replace(BEFORE, load=MachineLoad(cpu_percent=50.0, memory_percent=50.0 + MOVED_PERCENT)),
        replace(BEFORE, tasks=TaskCounts(running=2)),
        replace(BEFORE, accept_mode=AcceptMode.OFF),
        replace(BEFORE, identity=replace(BEFORE.identity, hardware={})),
    ],
    ids=["busier", "idler", "fuller", "tasks", "mode", "hardware"],
)
def test_a_change_is_worth_a_word(now: Profile) -> None:
    assert now.says_more_than(BEFORE)


def test_a_little_more_load_is_not() -> None:
    little = MachineLoad(cpu_percent=50.0 + MOVED_PERCENT / 2, memory_percent=50.0 - MOVED_PERCENT / 2)

    assert not replace(BEFORE, load=little).says_more_than(BEFORE)
    assert not BEFORE.says_more_than(BEFORE)
