"""A crash at every point of what two nodes do together: after each turn, and in each write to a disk."""

import pytest

from tests.simulation import world
from tests.simulation.network import Weather
from tests.simulation.node import Settings
from tests.simulation.power import Loss
from tests.simulation.script import Answer, Cancel, Crash, Delegate, Plan, Resend, Say, Step, Storm
from tests.simulation.work import Kind, Work

NODES = (Settings(name="a"), Settings(name="b"))

_MOST = 2000
"""Points; in far fewer than that, all is done."""


def asks(kind: Kind, seconds: float) -> Delegate:
    work = str(Work(kind, "w", seconds))
    return Delegate(at=0.0, node="a", peer="b", work=work, timeout_s=600.0, wait_s=0.0, session="main")


ROUNDS: dict[str, list[Step]] = {
    "result": [asks(Kind.DO, 0.1)],
    "message": [Say(at=0.0, node="a", peer="b", text="hello")],
    "cancel": [asks(Kind.DO, 10.0), Cancel(at=1.0, node="a", which=0.0)],
    "question": [asks(Kind.ASK, 0.1), Answer(at=1.0, node="a")],
    "resend": [
        Storm(at=0.0, weather=Weather(lose_answer=1.0), seconds=0.9),
        asks(Kind.DO, 0.1),
        Resend(at=1.0, node="a", which=0.0),
    ],
}
"""What happens where nothing crashes."""


def crashed(steps: list[Step], crash: Crash) -> bool:
    """Carry out a plan with a crash, see that no promise was broken, and return whether it came to that."""
    plan = Plan(0, NODES, tuple(sorted([*steps, crash], key=lambda step: step.at)))
    verdict = world.run(plan, verbose=True)
    assert verdict.violations == (), crash
    return any(f" {crash.node}-boot-1 ends, " in line for line in verdict.lines)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize("name", ROUNDS)
def test_a_node_may_end_after_any_turn(name: str, node: str) -> None:
    points = 0
    while crashed(ROUNDS[name], Crash(at=0.0, node=node, loss=Loss.ALL, down_s=1.0, turns=points)):
        points += 1
        assert points < _MOST

    assert points > 30  # from its start over each commit and each request to its rest


@pytest.mark.timeout(600)
@pytest.mark.parametrize("node", ["a", "b"])
def test_the_power_may_go_in_any_write(node: str) -> None:
    points = 0
    while crashed(ROUNDS["result"], Crash(at=0.0, node=node, loss=Loss.ALL, down_s=1.0, operations=points)):
        points += 1
        assert points < _MOST

    assert points > 50
