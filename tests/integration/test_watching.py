"""Those who wait: for how long, for what, and how an outcome reaches an asker that nobody can reach."""

import asyncio

import pytest

from lanmesh.errors import TaskNotFound
from lanmesh.model.delivery import DeliveryState
from lanmesh.model.report import TaskReport
from lanmesh.model.task import AcceptMode, TaskState
from tests.fakes import SHARED_CALLER, Fault, Mesh, NodeUnderTest, a_task, settle, soon, until


async def busy(mesh: Mesh) -> NodeUnderTest:
    """Return a node in the middle of task `t-1`."""
    b = mesh.describe("b")
    await b.start()
    b.executor.hold()
    await b.receive(a_task())
    await until(lambda: b.task("t-1").state is TaskState.WORKING)
    return b


def ask(b: NodeUnderTest, wait_s: float, version: int | None = None) -> asyncio.Task[TaskReport]:
    return asyncio.create_task(b.node.arrivals.report(SHARED_CALLER, "t-1", wait_s=wait_s, version=version))


async def test_a_report_is_held_until_the_task_is_final(mesh: Mesh) -> None:
    b = await busy(mesh)

    asking = ask(b, 25)
    await settle()
    assert not asking.done()
    b.executor.release()

    assert (await soon(asking)).state is TaskState.COMPLETED


async def test_a_report_is_held_no_longer_than_asked(mesh: Mesh) -> None:
    b = await busy(mesh)

    asking = ask(b, 25)
    await mesh.clock.advance(24.9)
    assert not asking.done()
    await mesh.clock.advance(0.1)

    assert (await soon(asking)).state is TaskState.WORKING


async def test_a_report_comes_at_once_without_a_wait_or_if_it_is_news(mesh: Mesh) -> None:
    b = await busy(mesh)

    assert (await soon(ask(b, 0))).state is TaskState.WORKING
    news = await soon(ask(b, 25, version=1))
    assert (news.state, news.version) == (TaskState.WORKING, 2)
    no_news = ask(b, 25, version=2)
    await settle()
    assert not no_news.done()
    b.executor.release()
    assert (await soon(no_news)).version > 2


async def test_stopping_ends_all_waits(mesh: Mesh) -> None:
    b = await busy(mesh)
    asking = [ask(b, 25), ask(b, 25, version=99)]
    watching = asyncio.create_task(b.node.tasks.watch("t-1", wait_s=25))
    await settle()

    b.node.tasks.stop()

    states = [report.state for report in await soon(asyncio.gather(*asking))]
    assert states == [TaskState.WORKING, TaskState.WORKING]
    assert (await soon(watching)).state is TaskState.WORKING


async def test_a_watcher_sees_the_task_end(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    asked = await a.delegate("b")
    watching = asyncio.create_task(a.node.tasks.watch(asked.local_id, wait_s=600))
    await settle()
    assert not watching.done()

    b.executor.release()

    assert (await soon(watching)).result == "done: count"


async def test_a_watcher_learns_that_the_peer_has_begun(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).seen_version == 1)
    assert a.task(asked.local_id).state is TaskState.SUBMITTED

    watching = asyncio.create_task(
        a.node.tasks.watch(asked.local_id, wait_s=600, version=a.task(asked.local_id).version)
    )

    assert (await soon(watching)).state is TaskState.WORKING


async def test_watching_is_not_running(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    asked = await a.delegate("b")
    watching = asyncio.create_task(a.node.tasks.watch(asked.local_id, wait_s=600))
    await settle()

    watching.cancel()
    await asyncio.wait({watching})
    b.executor.release()
    await until(lambda: a.task(asked.local_id).final)

    assert b.executor.canceled == []
    assert a.task(asked.local_id).result == "done: count"


async def unreachable_asker(mesh: Mesh) -> tuple[NodeUnderTest, NodeUnderTest]:
    """Return an asker, and a doer that has no such peer and so sends it nothing."""
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b")
    b.tokens.inbound_tokens["a@b"] = None
    await a.start()
    await b.start()
    return a, b


async def test_a_watcher_pulls_the_result_from_a_doer_that_cannot_reach_it(mesh: Mesh) -> None:
    a, b = await unreachable_asker(mesh)
    b.executor.hold()
    asked = await a.delegate("b")
    await settle()

    watching = asyncio.create_task(a.node.tasks.watch(asked.local_id, wait_s=600))
    await mesh.clock.advance(60)
    assert not watching.done()
    assert a.task(asked.local_id).state is TaskState.WORKING
    b.executor.release()

    assert (await soon(watching)).result == "done: count"
    assert b.link.sent == []


async def test_a_watcher_does_not_ask_before_the_peer_has_the_task(mesh: Mesh) -> None:
    a, b = await unreachable_asker(mesh)
    a.link.faults["b"] = Fault.DOWN
    asked = await a.delegate("b")

    watching = asyncio.create_task(a.node.tasks.watch(asked.local_id, wait_s=600))
    await mesh.clock.advance(30)
    assert a.link.questions == []
    del a.link.faults["b"]
    await mesh.clock.advance(120)

    assert (await soon(watching)).result == "done: count"
    assert len(b.executor.runs) == 1


async def test_a_watcher_asks_again_after_a_peer_was_away(mesh: Mesh) -> None:
    a, b = await unreachable_asker(mesh)
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: a.delivery(asked.local_id).state is DeliveryState.DELIVERED)
    a.link.faults["b"] = Fault.DOWN

    watching = asyncio.create_task(a.node.tasks.watch(asked.local_id, wait_s=600))
    await mesh.clock.advance(10)
    assert (
        8 <= len(a.link.questions) <= 13
    )  # one or two are of the node itself, which keeps up with its peers
    del a.link.faults["b"]
    b.executor.release()
    await mesh.clock.advance(2)

    assert (await soon(watching)).result == "done: count"


async def test_a_watcher_sees_that_its_task_waits_for_approval(mesh: Mesh) -> None:
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b", accept_mode=AcceptMode.MANUAL)
    b.tokens.inbound_tokens["a@b"] = None
    await a.start()
    await b.start()
    asked = await a.delegate("b")
    await settle()

    watching = asyncio.create_task(a.node.tasks.watch(asked.local_id, wait_s=600))
    await settle()
    assert a.task(asked.local_id).waiting_for == "approval"
    await soon(b.node.tasks.deny(asked.wire_id))

    assert (await soon(watching)).state is TaskState.REJECTED


async def test_a_watcher_of_a_finished_task_does_not_wait(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)

    assert (await soon(a.node.tasks.watch(asked.local_id, wait_s=600))).result == "done: count"
    with pytest.raises(TaskNotFound):
        await soon(a.node.tasks.watch("nothing-like-it", wait_s=600))
