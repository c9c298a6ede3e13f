"""Whatever a node can say, a node understands as it was meant; envelopes and reports: test_envelopes.py."""

import json
import os
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanmesh.model.draft import Mark, mark
from lanmesh.model.file import FileRef, label
from lanmesh.protocol import certificates, codec, frames, pairing, sse
from lanmesh.protocol.files import FileBodies, FileStanding, files_named, naming
from lanmesh.protocol.frames import Frame
from lanmesh.protocol.json import convert, parse
from tests.property.strategies import digests, files, json_values, labels, runs, texts

digits = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=26, max_size=26)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
shares, tags = st.binary(min_size=33, max_size=33), st.binary(min_size=32, max_size=32)
marks = st.builds(Mark, run=runs, offset=st.integers(0, 10**15 - 1))

CEREMONY = {
    "hello": st.builds(
        pairing.Hello,
        session=digits,
        name=names,
        certificate=st.binary(max_size=certificates.MAX_BYTES),
        port=st.integers(0, 65535),
        share=shares,
        by=st.sampled_from(["code", "tokens"]),
    ),
    "welcome": st.builds(pairing.Welcome, name=names, share=shares),
    "confirmation": st.builds(pairing.Confirmation, session=digits, tag=tags),
    "confirmed": st.builds(pairing.Confirmed, tag=tags),
}


@st.composite
def any_frame(draw: st.DrawFn) -> Frame:
    """A frame of any kind, with a body of any length up to a few parts."""
    text = json.dumps(draw(json_values), ensure_ascii=draw(st.booleans())).encode()
    filler = draw(st.sampled_from(["", "x", "\u5929", "\U0001f469", '"\\', "\x00"]))
    times = draw(st.integers(0, 3 * frames.LONGEST_PART))
    return Frame(
        kind=draw(st.sampled_from([frames.ASK, frames.ANSWER, frames.BEAT])),
        id=draw(st.integers(0, 2**53)),
        method=draw(st.sampled_from(["", "GET", "POST", "PUT"])),
        path=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=1024)),
        status=draw(st.integers(0, 999)),
        retry_after=draw(st.none() | st.floats(0, 86_400)),
        body=frames.body_of(draw(st.sampled_from([b"", text, msgspec.json.encode([filler * times])]))),
        token=draw(st.none() | st.text(max_size=256).filter(str.isascii)),
        boot=draw(st.none() | runs),
    )


@given(st.lists(any_frame(), max_size=3))
def test_frames_come_out_as_they_went_in_however_often_they_are_cut(said: list[Frame]) -> None:
    joined = frames.Joined()
    heard = []
    for frame in said:
        for piece in frames.cut(frame):
            text = frames.encode(piece)
            assert len(text.encode()) <= frames.MAX_FRAME_BYTES
            heard.append(joined.add(frames.decode(text)))

    assert [frame for frame in heard if frame is not None] == said


@given(files)
def test_files_come_out_as_they_went_in(said: tuple[FileRef, ...]) -> None:
    body = codec.encode(naming(said))

    assert files_named(convert(parse(body), FileBodies)) == said


@given(st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name), digests)
def test_a_file_of_any_name_can_be_named(name: bytes, sha256: str) -> None:
    said = (FileRef(name=label(os.fsdecode(name)), size=1, sha256=sha256),)

    assert files_named(convert(parse(codec.encode(naming(said))), FileBodies)) == said


@given(st.integers(0, 2**50), st.integers(0, 2**50))
def test_how_far_a_file_has_come_is_understood(size: int, present: int) -> None:
    said = FileStanding(size=size, present=present)

    assert convert(parse(codec.encode(said)), FileStanding) == said


@pytest.mark.parametrize("name", CEREMONY)
def test_what_is_said_in_a_pairing_is_understood(name: str) -> None:
    @given(CEREMONY[name])
    def some(said: Any) -> None:
        assert convert(parse(codec.encode(said)), type(said)) == said

    some()


@given(marks)
def test_a_mark_in_a_draft_is_read_as_it_was_told(said: Mark) -> None:
    assert mark(str(said)) == said


@given(st.integers(0, 10**15 - 1), marks)
def test_a_place_in_a_stream_is_read_as_it_was_told(version: int, seen: Mark) -> None:
    said = sse.Place(version, seen if seen.run else Mark())

    assert sse.place(str(said)) == said


@given(st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1), json_values, runs, st.data())
def test_an_event_of_a_stream_is_read_as_it_was_written_in_whatever_pieces_it_comes(
    kind: str, value: Any, name: str, data: st.DataObject
) -> None:
    said = sse.Frame(kind, codec.encode(value), name)
    stream = sse.KEEP_ALIVE + sse.encode(said) * 2
    at = data.draw(st.integers(0, len(stream)))
    reader = sse.Reader()

    assert [*reader.feed(stream[:at]), *reader.feed(stream[at:])] == [said, said]


@given(labels, texts)
def test_short_answers_are_understood(name: str, text: str) -> None:
    for said in (
        codec.Stored(id=name),
        codec.Whoami(status="paired", origin=name),
        codec.Health(version=text, node_id=name, uptime=1.5),
        codec.SaidToTask(text=text or "x"),
    ):
        assert convert(parse(codec.encode(said)), type(said)) == said
