"""Tasks that lead to tasks: where each comes from, how far it may go, and that it never comes back."""

import pytest

from lanmesh.errors import ChainRefused
from lanmesh.model.chain import Chain
from lanmesh.model.envelope import MAX_HOPS
from tests.fakes import Mesh, a_task, proven, until


async def test_a_task_that_nothing_led_to_begins_a_chain(mesh: Mesh) -> None:
    a, b = await mesh.pair()

    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)

    assert asked.chain == Chain(root_id=asked.wire_id, path=(a.name,), hops=1)
    assert b.task(asked.wire_id).chain == asked.chain
    assert asked.parent is None


async def test_a_task_of_a_task_belongs_to_its_chain(mesh: Mesh) -> None:
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b", peers=["a", "c"])
    c = mesh.describe("c", peers=["b"])
    for node in (a, b, c):
        await node.start()
    b.executor.hold()
    first = await a.delegate("b", "plan")
    await until(lambda: len(b.executor.runs) == 1)
    parent = b.executor.runs[0]

    second = await b.delegate("c", "work", parent=parent.local_id)
    await until(lambda: b.task(second.local_id).final)

    at_c = c.task(second.wire_id)
    assert (at_c.chain.root_id, at_c.chain.path, at_c.chain.hops) == (first.wire_id, ("a", "b"), 2)
    assert second.parent == parent.local_id
    b.executor.release()
    await until(lambda: a.task(first.local_id).final)


async def test_a_program_begins_a_chain_at_its_first_node(mesh: Mesh) -> None:
    b = mesh.describe("b")
    await b.start()

    await b.receive(a_task("t-1"))
    await b.receive(a_task("t-2", root_id="a-plan"))

    assert b.task("t-1").chain == Chain(root_id=b.task("t-1").wire_id)
    assert b.task("t-2").chain.root_id == "a-plan"


async def test_the_sixth_delegation_is_not_sent(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a", "c"])
    await b.start()
    path = [f"n-{number}" for number in range(MAX_HOPS)]
    taken = await b.receive(a_task(sender="a", path=path, hops=MAX_HOPS), proven("a"))

    with pytest.raises(ChainRefused, match="5 delegations"):
        await b.delegate("c", parent=taken.local_id)

    assert [task.wire_id for task in b.node.tasks.page(10)] == ["t-1"]
    assert b.link.sent_to("c") == []


@pytest.mark.parametrize(("path", "hops"), [([], 6), ([f"n-{number}" for number in range(6)], 0)])
async def test_the_sixth_delegation_is_not_taken(mesh: Mesh, path: list[str], hops: int) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()

    with pytest.raises(ChainRefused):
        await b.receive(a_task(sender="a", path=path, hops=hops), proven("a"))

    assert b.tasks_of_others() == []


async def test_a_chain_does_not_go_back_to_a_node(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a", "c", "b"])
    await b.start()
    taken = await b.receive(a_task(sender="a", path=["c", "a"], hops=2), proven("a"))

    for peer in ("a", "c", "b"):
        with pytest.raises(ChainRefused):
            await b.delegate(peer, parent=taken.local_id)

    assert [task.wire_id for task in b.node.tasks.page(10)] == ["t-1"]


async def test_a_chain_that_came_back_is_not_taken(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()

    with pytest.raises(ChainRefused, match="b > a"):
        await b.receive(a_task(sender="a", path=["b", "a"], hops=2), proven("a"))

    assert b.tasks_of_others() == []
