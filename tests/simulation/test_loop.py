import asyncio

import pytest

from tests.simulation.loop import Life, Stuck, VirtualLoop


def test_an_hour_passes_at_once_and_in_order() -> None:
    loop = VirtualLoop()
    heard: list[tuple[float, str]] = []

    async def say(word: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        heard.append((loop.time(), word))

    async def all_of_them() -> None:
        await asyncio.gather(say("late", 3600.0), say("early", 1.0), say("later", 3600.0))

    loop.run(all_of_them())

    assert heard == [(1.0, "early"), (3600.0, "late"), (3600.0, "later")]


def test_what_waits_for_nothing_is_stuck() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="nothing is left to happen"):
        VirtualLoop().run(wait())


def test_a_loop_without_end_is_stuck() -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110  # that is the point
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="no time passes"):
        VirtualLoop().run(spin())


def test_a_life_ends_after_the_turn_that_was_chosen_with_all_that_it_began() -> None:
    loop = VirtualLoop()
    steps: list[int] = []

    async def work(life: Life) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(1000.0))
            for step in range(100):
                steps.append(step)
                if life.dead:
                    return
                await asyncio.sleep(0)

    async def world() -> None:
        life = Life("short")
        life.end_after(10)
        task = life.run(work(life))
        await asyncio.sleep(1.0)
        await life.bury()

        assert task.done()
        assert not life.tasks

    loop.run(world())

    assert 5 < len(steps) < 15


def test_what_nobody_caught_is_seen() -> None:
    loop = VirtualLoop()

    def fail() -> None:
        raise ValueError("a bug")

    async def world() -> None:
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(1.0)

    loop.run(world())

    assert len(loop.unseen) == 1
    assert "a bug" in loop.unseen[0]
