"""Files between two nodes: who may bring and read them, how they go on, and what waits for them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from lanmesh.engine.admission import Limits
from lanmesh.errors import (
    FileDiffers,
    FileNotFound,
    InvalidRequest,
    NoRoom,
    NotAllowed,
    OffsetDiffers,
    PeerUnreachable,
    QuotaReached,
    TooBusy,
)
from lanmesh.model.delivery import Delivery
from lanmesh.model.envelope import Envelope, Message, TaskRequest
from lanmesh.model.file import FILES_S, FileRef, FileState
from lanmesh.model.ids import SELF, LocalId, Origin, PeerId, WireId
from lanmesh.model.peer import Peer
from lanmesh.model.task import AcceptMode, TaskState, WaitingFor
from lanmesh.protocol.json import MAX_RESULT_BYTES
from lanmesh.shelf import Shelf
from lanmesh.store import files, inbox
from tests.fakes import (
    SHARED_CALLER,
    FakeExecutor,
    Fault,
    Mesh,
    NodeUnderTest,
    a_task,
    done,
    proven,
    soon,
    until,
)
from tests.integration.desk import CAT, Maker, a_file, bytes_of, in_time, inside, read, ref, two, with_shelf


def of(node: NodeUnderTest, name: str) -> list[FileState]:
    return node.node.files.of_task(node.task(name).local_id)


def sent_files(node: NodeUnderTest, sent: Delivery) -> list[FileState]:
    return node.node.files.of_message(SELF, sent.envelope.id)


def asks(*named: FileRef, wire_id: str = "t-1") -> Envelope:
    return Envelope(
        id=WireId(wire_id), sender="a", recipient="b", timestamp_ms=0,
        payload=TaskRequest(description="look at it", files=named),
    )  # fmt: skip


async def fetched(mesh: Mesh, a: NodeUnderTest, b: NodeUnderTest) -> FileState:
    """Return the one file of a result that its doer cannot bring, once the asker has it."""
    b.link.faults["a"] = Fault.DOWN
    task = await soon(a.node.tasks.delegate("b", "look"))
    await until(lambda: b.tasks_of_others() != [] and b.tasks_of_others()[0].final)
    await in_time(mesh, lambda: a.node.files.of_task(task.local_id) and a.node.files.complete(task.local_id))
    (file,) = of(a, task.local_id)
    return file


async def test_a_task_begins_with_its_files_and_what_it_makes_comes_back(mesh: Mesh) -> None:
    maker = Maker(("out/dog.jpg", b"dog" * 1000), ("empty", b""))
    a, b = await two(mesh, maker)
    kept = await soon(a.node.files.keep([a_file(mesh), a_file(mesh, "notes/one.txt", b"")]))

    task = await soon(a.node.tasks.delegate("b", "look", files=kept))
    await until(lambda: a.task(task.local_id).final)
    await until(lambda: a.node.files.complete(task.local_id))

    assert maker.got == {"cat.jpg": CAT, "one.txt": b""}
    made = [state for state in of(a, task.local_id) if state.made]
    assert [state.ref.name for state in made] == ["empty", "out/dog.jpg"]
    assert [read(state) for state in made] == [b"", b"dog" * 1000]
    assert "supply" in b.history(task.wire_id)
    assert {way for way, _, _ in a.file_link.moved + b.file_link.moved} == {"give"}


async def test_a_folder_travels_as_its_files_and_links_in_it_do_not(mesh: Mesh) -> None:
    maker = Maker()
    a, _ = await two(mesh, maker)
    a_file(mesh, "set/one/1.txt", b"1")
    a_file(mesh, "set/two.txt", b"2")
    (mesh.folder / "desk" / "set" / "passwd").symlink_to("/etc/passwd")

    kept = await soon(a.node.files.keep([str(mesh.folder / "desk" / "set")]))
    task = await soon(a.node.tasks.delegate("b", "look", files=kept))
    await until(lambda: a.task(task.local_id).final)

    assert maker.got == {"set/one/1.txt": b"1", "set/two.txt": b"2"}


async def test_a_task_waits_for_its_files_and_says_so(mesh: Mesh) -> None:
    _, b = await two(mesh)

    first = await b.receive(asks(ref(CAT)), proven("a"))
    again = await b.receive(asks(ref(CAT)), proven("a"))

    assert first == again
    assert (first.state, first.waiting_for) == (TaskState.SUBMITTED, WaitingFor.FILES)
    assert b.task("t-1").waiting_for is WaitingFor.FILES
    standing = await soon(b.node.files.take(proven("a"), ref(CAT).sha256, 0, len(CAT), bytes_of(CAT)))
    assert standing.whole
    await until(lambda: b.task("t-1").final)


async def test_what_was_cut_off_goes_on_from_where_it_stood(mesh: Mesh) -> None:
    maker = Maker()
    a, _ = await two(mesh, maker)
    content = bytes(range(256)) * 16_384
    kept = await soon(a.node.files.keep([a_file(mesh, content=content)]))
    a.file_link.cut_after = 1_500_000

    task = await soon(a.node.tasks.delegate("b", "look", files=kept))
    await until(lambda: len(a.file_link.moved) == 1)
    a.file_link.cut_after = None
    await in_time(mesh, lambda: a.task(task.local_id).final, 5)
    await until(lambda: a.task(task.local_id).final)

    assert maker.got == {"cat.jpg": content}
    begun = [begin for _, begin, moved in a.file_link.moved if moved]
    assert begun == [0, 1_500_000]
    assert sum(moved for _, _, moved in a.file_link.moved) == len(content)


async def test_where_a_file_stands_is_told_only_once_nothing_of_it_comes(mesh: Mesh) -> None:
    _, b = await two(mesh)
    await b.receive(asks(ref(CAT)), proven("a"))
    more = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield CAT[:-1]
        await more.wait()
        yield CAT[-1:]

    sha256 = ref(CAT).sha256
    older = asyncio.create_task(b.node.files.take(proven("a"), sha256, 0, len(CAT), slowly()))
    await until(lambda: b.node.files.standing(proven("a"), sha256).present > 0)
    with pytest.raises(TooBusy):
        await soon(b.node.files.take(proven("a"), sha256, 0, len(CAT), bytes_of(CAT)))
    more.set()

    assert (await soon(older)).whole


async def test_a_file_that_stands_elsewhere_time_and_again_is_brought_in_the_end(mesh: Mesh) -> None:
    a, b = await two(mesh)
    b.link.faults["a"] = Fault.DOWN  # nobody fetches it
    a.file_link.faults = [OffsetDiffers("some of this file is here: go on from there")] * 3
    kept = await soon(a.node.files.keep([a_file(mesh)]))

    task = await soon(a.node.tasks.delegate("b", "look", files=kept))
    await in_time(mesh, lambda: a.task(task.local_id).final)

    assert a.task(task.local_id).state is TaskState.COMPLETED
    assert [(state.settled, state.error) for state in of(a, task.local_id)] == [(True, None)]


async def test_a_node_that_dies_in_the_middle_goes_on_from_where_it_stood(mesh: Mesh) -> None:
    _, b = await two(mesh)
    await b.receive(asks(ref(CAT)), proven("a"))
    half = len(CAT) // 2

    await soon(b.node.files.take(proven("a"), ref(CAT).sha256, 0, len(CAT), bytes_of(CAT[:half])))
    await b.crash()
    await b.start()

    assert b.node.files.standing(proven("a"), ref(CAT).sha256).present == half
    with pytest.raises(OffsetDiffers):
        await soon(b.node.files.take(proven("a"), ref(CAT).sha256, 0, len(CAT), bytes_of(CAT)))
    await soon(b.node.files.take(proven("a"), ref(CAT).sha256, half, half, bytes_of(CAT[half:])))
    await until(lambda: b.task("t-1").final)
    assert b.task("t-1").state is TaskState.COMPLETED


async def test_what_its_doer_cannot_bring_the_asker_fetches(mesh: Mesh) -> None:
    a, b = await two(mesh, Maker(("dog.jpg", CAT)))

    dog = await fetched(mesh, a, b)

    assert read(dog) == CAT
    assert [way for way, _, moved in a.file_link.moved if moved] == ["fetch"]


async def test_a_small_file_does_not_wait_behind_a_large_one_that_is_brought(mesh: Mesh) -> None:
    a, b = await two(mesh)
    kept = await soon(a.node.files.keep([a_file(mesh), a_file(mesh, "dog.jpg", b"dog")]))
    cat, dog = kept
    stalled = a.file_link.stalled[cat.sha256] = asyncio.Event()

    sent = await soon(a.node.mail.send("b", "see", files=kept))
    await until(lambda: [state.settled for state in sent_files(a, sent)] == [False, True])

    assert stalled.is_set()
    assert b.node.files.standing(proven("a"), dog.sha256).whole


async def test_a_small_file_does_not_wait_behind_a_large_one_that_is_fetched(mesh: Mesh) -> None:
    a, b = await two(mesh, Maker(("1.jpg", CAT), ("2.jpg", b"dog")))
    b.link.faults["a"] = Fault.DOWN
    a.file_link.stalled[ref(CAT).sha256] = asyncio.Event()

    task = await soon(a.node.tasks.delegate("b", "look"))
    await in_time(mesh, lambda: any(state.settled for state in of(a, task.local_id)))

    assert [(state.ref.name, state.settled) for state in of(a, task.local_id)] == [
        ("1.jpg", False),
        ("2.jpg", True),
    ]


async def test_of_what_waits_the_smallest_comes_first(mesh: Mesh) -> None:
    a, b = await two(mesh)
    kept = await soon(a.node.files.keep([a_file(mesh, str(n), b"%d" % n * n) for n in (9, 5, 7)]))
    await b.stop()

    sent = await soon(a.node.mail.send("b", "see", files=kept))
    await b.start()
    for _ in range(100):
        if all(state.settled for state in sent_files(a, sent)):
            break
        await mesh.clock.advance(1)

    assert [moved for _, _, moved in a.file_link.moved if moved] == [5, 7, 9]


async def test_what_nobody_waits_for_any_more_stops_being_brought_at_once(mesh: Mesh) -> None:
    a, _ = await two(mesh)
    kept = await soon(a.node.files.keep([a_file(mesh), a_file(mesh, "dog.jpg", CAT + b"dog")]))
    cat, dog = kept
    stalled = a.file_link.stalled[cat.sha256] = asyncio.Event()
    first = await soon(a.node.tasks.delegate("b", "look", files=[cat]))
    await soon(stalled.wait())
    second = await soon(a.node.tasks.delegate("b", "look at it", files=[dog]))

    await soon(a.node.tasks.cancel(first.local_id))
    await until(lambda: a.task(second.local_id).final)

    assert [a.task(task.local_id).state for task in (first, second)] == [
        TaskState.CANCELED,
        TaskState.COMPLETED,
    ]
    assert ("give", 0, len(CAT)) not in a.file_link.moved


async def test_what_nobody_waits_for_any_more_stops_being_fetched_at_once(mesh: Mesh) -> None:
    a, b = await two(mesh)
    kept = await soon(a.node.files.keep([a_file(mesh)]))
    (cat,) = kept
    a.file_link.faults = [PeerUnreachable("it can be dialled no more")] * 100
    stalled = b.file_link.stalled[cat.sha256] = asyncio.Event()
    task = await soon(a.node.tasks.delegate("b", "look", files=kept))
    await in_time(mesh, stalled.is_set, 1)

    assert (stalled.is_set(), b.file_link.moved) == (True, [])
    await soon(a.node.tasks.cancel(task.local_id))
    await until(lambda: b.file_link.moved != [])

    assert b.task(task.wire_id).state is TaskState.CANCELED


async def test_no_files_are_under_way_with_a_name_that_nobody_has_proven(mesh: Mesh) -> None:
    _, b = await two(mesh)

    await b.receive(replace(asks(ref(CAT), wire_id="t-1"), sender="somebody"))
    assert files.peers(b.database.read) == []
    await b.receive(asks(ref(CAT), wire_id="t-2"), proven("a"))

    assert files.peers(b.database.read) == ["a"]


async def test_a_file_that_was_all_there_before_a_crash_needs_nothing_more(mesh: Mesh) -> None:
    a, b = await two(mesh, Maker(("dog.jpg", CAT)))
    part = mesh.folder / "a.blobs" / "parts" / f"b.{ref(CAT).sha256}"
    part.parent.mkdir(parents=True)
    part.write_bytes(CAT)

    dog = await fetched(mesh, a, b)

    assert dog.error is None
    assert read(dog) == CAT
    assert [moved for _, _, moved in a.file_link.moved if moved] == []


@pytest.mark.parametrize("brought", [True, False])
async def test_a_crash_between_the_last_byte_of_a_file_and_its_name_costs_no_byte(
    mesh: Mesh, brought: bool
) -> None:
    a, b = await two(mesh, Maker() if brought else Maker(("dog.jpg", CAT)))
    sender, receiver = (a, b) if brought else (b, a)
    sha256 = ref(CAT).sha256
    in_its_place = mesh.folder / f"{receiver.name}.blobs" / sha256[:2]
    in_its_place.parent.mkdir()
    in_its_place.write_bytes(b"no folder can be made here")
    if not brought:
        b.link.faults["a"] = Fault.DOWN

    kept = await soon(a.node.files.keep([a_file(mesh)])) if brought else ()
    task = await soon(a.node.tasks.delegate("b", "look", files=kept))
    await in_time(mesh, lambda: receiver.shelf.present(Origin(sender.name), sha256) == len(CAT))
    await receiver.crash()
    in_its_place.unlink()
    await receiver.start()
    await in_time(mesh, lambda: a.task(task.local_id).final and a.node.files.complete(task.local_id))

    assert a.task(task.local_id).state is TaskState.COMPLETED
    assert receiver.shelf.has(ref(CAT))
    assert sum(moved for _, _, moved in a.file_link.moved) == len(CAT)


async def test_who_brings_nothing_is_waited_for_once_and_not_with_each_file(mesh: Mesh) -> None:
    a, b = await two(mesh, Maker(*((f"{number}.jpg", b"%d" % number) for number in range(20))))
    b.link.faults["a"] = Fault.DOWN

    task = await soon(a.node.tasks.delegate("b", "look"))
    await until(lambda: b.tasks_of_others() != [] and b.tasks_of_others()[0].final)
    await in_time(mesh, lambda: of(a, task.local_id))
    began = mesh.clock.monotonic()
    await in_time(mesh, lambda: a.node.files.complete(task.local_id), 2)

    assert a.node.files.complete(task.local_id)
    assert [read(state) for state in of(a, task.local_id) if state.ref.name == "17.jpg"] == [b"17"]
    assert mesh.clock.monotonic() - began <= 100  # not 10 s for each


async def test_a_hash_opens_nothing_to_whom_it_was_not_offered(mesh: Mesh) -> None:
    a, b = await two(mesh)
    (cat,) = await soon(a.node.files.keep([a_file(mesh)]))
    await soon(a.node.mail.send("b", "see", files=[cat]))

    assert a.node.files.offered(proven("b"), cat.sha256) == cat
    for stranger, sha256 in ((proven("c"), cat.sha256), (proven("b"), "0" * 64)):
        with pytest.raises(FileNotFound) as refusal:
            a.node.files.offered(stranger, sha256)
        assert refusal.value.detail == FileNotFound().detail
        with pytest.raises(FileNotFound):
            await soon(a.node.files.take(stranger, sha256, 0, 3, bytes_of(b"cat")))
    await until(lambda: b.node.mail.inbox(1) != [])


async def test_who_only_knows_a_hash_has_to_bring_the_bytes(mesh: Mesh) -> None:
    a, b = await two(mesh)
    (cat,) = await soon(b.node.files.keep([a_file(mesh)]))

    await b.receive(asks(cat), proven("a"))

    assert b.task("t-1").waiting_for is WaitingFor.FILES
    assert b.node.files.standing(proven("a"), cat.sha256).present == 0
    with pytest.raises(FileNotFound):
        b.node.files.offered(proven("a"), cat.sha256)
    assert a.running


async def test_a_hash_that_lies_is_refused_and_the_second_time_ends_the_task(mesh: Mesh) -> None:
    _, b = await two(mesh)
    lie = ref(b"cat")
    await b.receive(asks(lie), proven("a"))

    for _ in range(2):
        with pytest.raises(FileDiffers):
            await soon(b.node.files.take(proven("a"), lie.sha256, 0, 3, bytes_of(b"dog")))
    await until(lambda: b.task("t-1").final)

    task = b.task("t-1")
    assert task.state is TaskState.REJECTED
    assert task.error is not None
    assert (task.error.code, '"x" did not come as announced' in task.error.detail) == ("incomplete", True)
    assert b.node.files.of_task(task.local_id)[0].error is not None


async def test_a_size_that_lies_is_refused_before_and_while_the_bytes_come(mesh: Mesh) -> None:
    _, b = await two(mesh)
    short = ref(b"cats", size=3)
    await b.receive(asks(short), proven("a"))

    with pytest.raises(FileDiffers):
        await soon(b.node.files.take(proven("a"), short.sha256, 0, 4, bytes_of(b"cats")))
    with pytest.raises(FileDiffers):
        await soon(b.node.files.take(proven("a"), short.sha256, 0, None, bytes_of(b"ca", b"ts")))


async def test_a_size_that_lies_ends_what_names_it_and_nothing_else(mesh: Mesh) -> None:
    _, b = await two(mesh)
    for size in (3, 4, 5):
        await b.receive(replace(asks(ref(b"cats", size=size), wire_id=f"t-{size}"), sender=f"s{size}"))
        assert b.task(f"t-{size}").waiting_for is WaitingFor.FILES
    sha256 = ref(b"cats").sha256

    with pytest.raises(FileDiffers):
        await soon(b.node.files.take(SHARED_CALLER, sha256, 0, 5, bytes_of(b"cats!")))
    with pytest.raises(FileDiffers):
        await soon(b.node.files.take(SHARED_CALLER, sha256, 0, 5, bytes_of(b"cats!")))
    await until(lambda: b.task("t-5").final)
    assert b.node.files.standing(SHARED_CALLER, sha256).size == 4
    standing = await soon(b.node.files.take(SHARED_CALLER, sha256, 0, 4, bytes_of(b"cats")))
    await until(lambda: b.task("t-4").final and b.task("t-3").final)

    assert standing.whole
    assert [b.task(f"t-{size}").state for size in (3, 4, 5)] == [
        TaskState.REJECTED,
        TaskState.COMPLETED,
        TaskState.REJECTED,
    ]
    with pytest.raises(InvalidRequest, match="is not one of 5 bytes"):
        await b.receive(replace(asks(ref(b"cats", size=5), wire_id="t-6"), sender="s5"))


async def test_files_that_never_come_end_their_task(mesh: Mesh) -> None:
    _, b = await two(mesh)
    await b.receive(asks(ref(CAT, "cat.jpg")), proven("a"))

    for _ in range(60):
        await mesh.clock.jump(FILES_S / 50)
        await asyncio.sleep(0)
    await until(lambda: b.task("t-1").final)

    error = b.task("t-1").error
    assert error is not None
    assert error.code == "incomplete"
    assert error.detail == 'its files did not come within 24 h: "cat.jpg"'


async def test_an_owner_who_approves_does_not_begin_a_task_without_its_files(mesh: Mesh) -> None:
    _, b = await two(mesh, accept_mode=AcceptMode.MANUAL)
    first = await b.receive(asks(ref(CAT)), proven("a"))
    assert first.waiting_for is WaitingFor.APPROVAL

    approved = await soon(b.node.tasks.approve("t-1"))
    assert approved.waiting_for is WaitingFor.FILES

    await soon(b.node.files.take(proven("a"), ref(CAT).sha256, 0, len(CAT), bytes_of(CAT)))
    await until(lambda: b.task("t-1").final)


async def test_files_that_are_here_before_the_approval_are_no_hindrance_after_it(mesh: Mesh) -> None:
    _, b = await two(mesh, accept_mode=AcceptMode.MANUAL)
    await b.receive(asks(ref(CAT)), proven("a"))
    await soon(b.node.files.take(proven("a"), ref(CAT).sha256, 0, len(CAT), bytes_of(CAT)))
    await until(lambda: all(state.settled for state in of(b, "t-1")))

    assert b.task("t-1").waiting_for is WaitingFor.APPROVAL
    await soon(b.node.tasks.approve("t-1"))
    await until(lambda: b.task("t-1").final)


async def test_the_files_of_a_message_lie_beside_it_and_are_forgotten_with_it(mesh: Mesh) -> None:
    a, b = await two(mesh)
    kept = await soon(a.node.files.keep([a_file(mesh)]))
    sent = await soon(a.node.mail.send("b", "see", files=kept))
    origin, envelope = Origin("a"), sent.envelope.id
    await until(lambda: [f.settled for f in b.node.files.of_message(origin, envelope)] == [True])

    (cat,) = b.node.files.of_message(origin, envelope)
    (mail,) = b.node.mail.inbox(10)

    assert read(cat) == CAT
    await until(lambda: [f.settled for f in a.node.files.of_message(SELF, envelope)] == [True])
    await b.database.write(lambda tx: tx.run("UPDATE inbox SET text = NULL WHERE seq = ?", mail.number))
    assert b.node.files.of_message(origin, envelope) == []
    assert not inbox.has(b.database.read, str(mail.number))


async def test_a_peer_that_may_send_no_files_sends_none(mesh: Mesh) -> None:
    b = with_shelf(mesh.describe("b", peers=["a"]), mesh)
    b.peers[PeerId("a")] = Peer(id=PeerId("a"), host="a.lan", may=frozenset({"task", "message"}))
    await b.start()

    with pytest.raises(NotAllowed, match="may not send files"):
        await b.receive(asks(ref(CAT)), proven("a"))
    await b.receive(a_task("t-2", sender="a", recipient="b"), proven("a"))


async def test_a_peer_has_so_many_bytes_of_files_here_and_no_more(mesh: Mesh) -> None:
    _, b = await two(mesh, limits=Limits(file_bytes=len(CAT) + 10))
    await b.receive(asks(ref(CAT)), proven("a"))

    with pytest.raises(QuotaReached):
        await b.receive(asks(ref(b"eleven more"), wire_id="t-2"), proven("a"))
    await b.receive(asks(ref(b"ten more.."), wire_id="t-3"), proven("a"))
    assert files.bytes_of(b.database.read, Origin("a")) == len(CAT) + 10


async def test_no_room_is_told_with_what_it_takes_and_later_it_goes_on(
    mesh: Mesh,
) -> None:
    _, b = await two(mesh, limits=Limits(file_bytes=2**60))
    giant = FileRef(name="giant", size=2**49, sha256="0" * 64)
    await b.receive(asks(giant), proven("a"))

    with pytest.raises(NoRoom, match=f'"giant" needs {2**50} bytes of disk'):
        await soon(b.node.files.take(proven("a"), giant.sha256, 0, None, bytes_of(b"x")))
    assert b.task("t-1").waiting_for is WaitingFor.FILES


async def test_what_nothing_names_any_more_is_forgotten_and_its_bytes_removed(mesh: Mesh) -> None:
    a, _ = await two(mesh)
    (cat,) = await soon(a.node.files.keep([a_file(mesh)]))
    assert a.shelf.has(cat)

    await mesh.clock.advance(3 * 24 * 3600)
    await soon(a.clearance.sweep())

    assert not files.known(a.database.read, cat.sha256)
    assert a.shelf.has(cat), "it is not old enough by the clock of the disk"


async def test_of_a_folder_only_what_lies_in_it_and_is_not_hidden_may_be_sent(mesh: Mesh) -> None:
    a, _ = await two(mesh)
    own = mesh.folder / "desk"
    for name in ("good", "set/one.txt", "set/.secret", "set/.git/config", ".ssh/id", "loop"):
        a_file(mesh, name, name.encode())
    (own / "way-out").symlink_to("/etc")
    (own / "set" / "way-out").symlink_to("/etc/hostname")
    (own / "way-in").symlink_to(own / "good")
    (own / "loop").unlink()
    (own / "loop").symlink_to(own / "loop")

    kept = await soon(a.node.files.keep(["good", str(own / "good"), "set/../way-in", "set"], within=own))
    assert [file.name for file in kept] == ["good", "good", "good", "set/one.txt"]
    for path in (
        "../x",
        "/etc/hostname",
        "way-out/hostname",
        str(own / ".." / "desk2"),
        ".ssh/id",
        "set/.git",
    ):
        with pytest.raises(NotAllowed):
            await soon(a.node.files.keep(["good", path], within=own))
    for path in ("nothing", "loop", "a\x00b", "n" * 5000):
        with pytest.raises(InvalidRequest):
            await soon(a.node.files.keep([path], within=own))


async def test_a_folder_that_was_made_a_link_gives_nothing(mesh: Mesh) -> None:
    a, _ = await two(mesh)
    made = a.shelf.folder("task-1", "made")
    made.parent.mkdir(parents=True)
    made.symlink_to("/etc")

    assert await soon(a.shelf.made("task-1")) == []


async def test_hostile_names_lie_in_the_task_s_folder(mesh: Mesh) -> None:
    maker = Maker()
    _, b = await two(mesh, maker)
    names = ["../../.ssh/authorized_keys", "/etc/passwd", "C:\\x", "CON", "a\x00.txt", "n" * 300, "C:\\x"]
    await b.receive(asks(*(ref(CAT, name) for name in names)), proven("a"))

    await soon(b.node.files.take(proven("a"), ref(CAT).sha256, 0, len(CAT), bytes_of(CAT)))
    await until(lambda: b.task("t-1").final)

    assert len(maker.got) == len(names)
    folder = mesh.folder / "b.work" / LocalId(b.task("t-1").local_id) / "given"
    for state in of(b, "t-1"):
        assert inside(state, folder)


def test_a_message_may_name_files() -> None:
    assert Message(text="x", files=(ref(CAT),)).files[0].size == len(CAT)


async def test_names_that_no_envelope_can_carry_are_told_as_near_as_can_be(mesh: Mesh) -> None:
    deep = "/".join(["d" * 200] * 6 + ["deep"])
    a, b = await two(mesh, Maker((deep, b"1"), ("caf\udce9", b"2")))

    task = await soon(a.node.tasks.delegate("b", "look"))
    await until(lambda: a.task(task.local_id).final)
    await until(lambda: a.node.files.complete(task.local_id))

    assert b.task(task.wire_id).state is TaskState.COMPLETED
    made = [state for state in of(a, task.local_id) if state.made]
    assert [state.ref.name for state in made] == ["caf\ufffd", deep[-1024:]]
    assert [read(state) for state in made] == [b"2", b"1"]


async def test_of_a_result_that_no_report_can_carry_the_whole_comes_as_a_file(mesh: Mesh) -> None:
    text = "\N{SNOWMAN}" * MAX_RESULT_BYTES
    a, _ = await two(mesh, FakeExecutor(done(text)))

    task = await soon(a.node.tasks.delegate("b", "look"))
    await until(lambda: a.task(task.local_id).final)
    await until(lambda: a.node.files.complete(task.local_id))

    assert a.task(task.local_id).truncated
    (state,) = of(a, task.local_id)
    assert state.ref.name == "result.txt"
    assert read(state).decode() == text


class FullShelf(Shelf):
    """A disk that has no room for a result."""

    async def write(self, holder: str, name: str, text: str) -> Path:
        raise NoRoom(f"{len(text)} bytes are too many for {holder}/{name}")


async def test_where_the_disk_is_too_full_for_the_whole_of_a_result_its_beginning_counts(mesh: Mesh) -> None:
    a = with_shelf(mesh.describe("a", peers=["b"]), mesh)
    b = mesh.describe("b", peers=["a"], executor=FakeExecutor(done("z" * (MAX_RESULT_BYTES + 1))))
    b.shelf = FullShelf(mesh.folder / "b.blobs", mesh.folder / "b.work")
    await a.start()
    await b.start()

    task = await soon(a.node.tasks.delegate("b", "look"))
    await until(lambda: a.task(task.local_id).final)

    assert (a.task(task.local_id).state, a.task(task.local_id).truncated) == (TaskState.COMPLETED, True)
    assert of(a, task.local_id) == []


async def test_what_a_holder_of_the_shared_token_cannot_bring_is_told_so_and_is_fetched(
    mesh: Mesh,
) -> None:
    a = with_shelf(mesh.describe("a", peers=["b"], proven=False), mesh)
    b = with_shelf(mesh.describe("b", peers=["a"], proven=False, executor=Maker(("dog.jpg", b"dog"))), mesh)
    await a.start()
    await b.start()
    task = await soon(a.node.tasks.delegate("b", "look"))
    await until(lambda: a.task(task.local_id).final)
    await until(lambda: [state.settled for state in of(b, task.wire_id)] == [True])
    (before,) = of(b, task.wire_id)

    while not a.node.files.complete(task.local_id):
        await mesh.clock.advance(1.0)

    assert (before.error or "").startswith("a does not take it (")
    assert (before.error or "").endswith("; it may still fetch it")
    assert [read(state) for state in of(a, task.local_id)] == [b"dog"]
