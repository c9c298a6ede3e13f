"""The bytes of files on a disk, where whoever writes them may be cancelled or killed at any moment."""

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from lanmesh.errors import InvalidRequest, StorageFailed
from lanmesh.model.ids import Origin
from lanmesh.part import Hashed, Part, Steps
from lanmesh.shelf import Shelf
from tests.fakes import soon
from tests.integration.desk import CAT, bytes_of, ref

A = Origin("a")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "blobs", tmp_path / "work")


async def test_whoever_is_cancelled_goes_once_its_thread_is_done() -> None:
    inside, may_end, done = threading.Event(), threading.Event(), list[str]()

    def write() -> None:
        inside.set()
        may_end.wait(60)
        done.append("written")

    async def taking() -> None:
        steps = Steps()
        try:
            await steps.begin(write)
            await steps.over()
        finally:
            await steps.end(lambda: done.append("closed"))

    task = asyncio.create_task(taking())
    assert await asyncio.to_thread(inside.wait, 60)
    for _ in range(3):
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)

    assert (task.done(), done) == (False, [])
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert done == ["written", "closed"]


async def test_who_is_killed_before_a_whole_file_is_known_to_be_one_needs_no_byte_again(shelf: Shelf) -> None:
    cat = ref(CAT)
    assert await soon(shelf.take(A, cat, 0, bytes_of(CAT)))

    assert (shelf.present(A, cat.sha256), shelf.has(cat)) == (len(CAT), True)
    assert await soon(shelf.take(A, cat, len(CAT), bytes_of()))
    await soon(shelf.taken(A, cat.sha256))

    assert (shelf.present(A, cat.sha256), shelf.has(cat)) == (0, True)
    assert b"".join([piece async for piece in shelf.read(cat.sha256, 0, len(CAT))]) == CAT


async def test_a_whole_file_that_was_damaged_is_replaced_by_one_that_comes(
    shelf: Shelf, tmp_path: Path
) -> None:
    cat = ref(CAT)
    await soon(shelf.take(A, cat, 0, bytes_of(CAT)))
    await soon(shelf.taken(A, cat.sha256))
    (tmp_path / "blobs" / cat.sha256[:2] / cat.sha256[2:]).write_bytes(b"cut")

    assert await soon(shelf.take(Origin("b"), cat, 0, bytes_of(CAT)))

    assert shelf.has(cat)


async def test_what_has_become_a_link_or_a_pipe_is_not_sent(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe")

    for name in ("link", "pipe", "nothing"):
        with pytest.raises(InvalidRequest):
            await soon(shelf.keep(tmp_path / name, name))


async def test_nothing_is_written_through_a_link_that_lies_where_a_file_is_to_come(
    shelf: Shelf, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "blobs" / "parts").mkdir(parents=True)
    (tmp_path / "blobs" / "parts" / f"a.{ref(CAT).sha256}").symlink_to(tmp_path / "victim")

    with pytest.raises(StorageFailed):
        await soon(shelf.take(A, ref(CAT), 0, bytes_of(CAT)))

    assert (tmp_path / "victim").read_bytes() == b"mine"


async def test_a_link_that_its_owner_names_is_followed(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "cat").write_bytes(CAT)
    (tmp_path / "link").symlink_to(tmp_path / "cat")

    ((path, name),) = shelf.below(tmp_path / "link")

    assert await soon(shelf.keep(path, name)) == ref(CAT, "link")


@pytest.mark.parametrize(("size", "stands"), [(10, b"known"), (9, b"never read")])
def test_what_was_hashed_when_it_came_is_not_read_again_if_it_still_has_that_size(
    tmp_path: Path, size: int, stands: bytes
) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"never read")

    part = Part(path, 10, lambda *_: None, Hashed(size, hashlib.sha256(b"known")))
    part.open()
    part.write(b" and more")
    part.close()

    assert part.hashed is not None
    assert (part.hashed.size, part.hashed.digest.digest()) == (
        19,
        hashlib.sha256(stands + b" and more").digest(),
    )
    assert path.read_bytes() == b"never read and more"


async def test_what_is_cut_off_time_and_again_goes_on_in_the_same_and_in_the_next_life(
    shelf: Shelf, tmp_path: Path
) -> None:
    cat = ref(CAT)
    third = len(CAT) // 3
    assert not await soon(shelf.take(A, cat, 0, bytes_of(CAT[:third])))
    assert not await soon(shelf.take(A, cat, third, bytes_of(CAT[third : 2 * third])))

    after = Shelf(tmp_path / "blobs", tmp_path / "work")
    assert not await soon(after.take(A, cat, 2 * third, bytes_of(CAT[2 * third : -1])))
    assert await soon(after.take(A, cat, len(CAT) - 1, bytes_of(CAT[-1:])))


async def test_what_a_run_has_made_is_cleared_but_nothing_that_its_links_lead_to(
    shelf: Shelf, tmp_path: Path
) -> None:
    outside, made = tmp_path / "outside", shelf.folder("t", "made")
    outside.mkdir()
    outside.joinpath("mine").write_bytes(CAT)
    shut = made / "shut"
    shut.mkdir(parents=True)
    shut.joinpath("half").write_bytes(b"ha")
    shut.joinpath("way out").symlink_to(outside)
    shut.chmod(0o500)  # as tools leave what they have unpacked
    mode = outside.stat().st_mode

    await soon(shelf.clear("t"))
    cleared = made.exists()
    made.parent.mkdir(exist_ok=True)
    made.symlink_to(outside)
    await soon(shelf.clear("t"))
    await soon(shelf.clear("t"))

    assert (cleared, made.is_symlink()) == (False, False)
    assert outside.joinpath("mine").read_bytes() == CAT
    assert outside.stat().st_mode == mode
