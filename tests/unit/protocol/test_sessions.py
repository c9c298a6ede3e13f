"""Which of the gateway's sessions does which task."""

import pytest

from lanmesh.model.ids import LocalId
from lanmesh.protocol import sessions

ID = LocalId("k3f2aaaabbbbccccddddeeeeff")


def test_a_task_has_a_session_of_its_own_in_small_letters_as_the_gateway_has_it() -> None:
    assert sessions.of_task("Main", ID) == f"agent:main:lan-task:{ID}"


@pytest.mark.parametrize("agent", ["main", "Coder", "a:lan-task:b"])
def test_a_session_tells_its_task(agent: str) -> None:
    assert sessions.task_of(sessions.of_task(agent, ID)) == ID


@pytest.mark.parametrize(
    "session",
    [None, "", "main", "agent:main:main", "agent:main:lan-task:", "lan-task:x", "agent:main:lan-taskx:y"],
)
def test_any_other_session_does_no_task(session: str | None) -> None:
    assert sessions.task_of(session) is None


@pytest.mark.parametrize(
    ("session", "main"),
    [
        ("agent:main:main", True),
        ("agent:coder:main", True),
        ("agent:main:telegram:42", False),
        (f"agent:main:lan-task:{ID}", False),
        ("agent:main:lan-task:main", False),
        ("agent:main", False),
        ("agent::main", False),
        ("main", False),
        ("", False),
        (None, False),
    ],
)
def test_an_agent_s_talk_with_its_owner_is_its_main_session(session: str | None, main: bool) -> None:
    assert sessions.is_main(session) is main
