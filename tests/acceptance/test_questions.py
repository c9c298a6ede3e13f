"""Programs that ask back, over real processes."""

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import until

LONG_S = 30.0

SCRIPT = (
    "if [ $LANMESH_ATTEMPT = 1 ]; then lanmesh ask 'which one?'; exit; fi; lanmesh --version; echo went on"
)


def test_a_question_and_its_answer_survive_the_death_of_both_nodes(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={"command": ["sh", "-c", SCRIPT + "; cat"]})
    task = a.delegate("b", "choose")
    until(lambda: a.task(task).get("question"), lambda: a.task(task), LONG_S)

    b.kill()
    said = a.lanmesh("answer", task, "the left one")
    a.restart()
    b.start()
    ended = a.final(task, within_s=LONG_S)

    assert said.status == 0, said
    assert (ended["state"], ended["attempt"]) == ("completed", 2)
    assert "went on\nchoose\n\n[question]\nwhich one?\n\n[answer]\nthe left one" in ended["result"]


def test_only_a_run_can_ask(mesh: Mesh) -> None:
    node = mesh.lone().start()

    said = node.lanmesh("ask", "which one?")

    assert said.status == 2
    assert "LANMESH_TASK_ID" in said.err
