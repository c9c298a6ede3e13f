"""Server-sent events: what is written can be read again, wherever the stream is cut."""

from hypothesis import given
from hypothesis import strategies as st

from lanmesh.model.draft import START, Mark
from lanmesh.protocol.sse import KEEP_ALIVE, Frame, Place, Reader, encode, place

lines = st.binary(min_size=1).filter(lambda data: b"\n" not in data and not data.startswith(b" "))
frames = st.builds(
    Frame,
    event=st.sampled_from(["state", "progress", "end"]),
    data=lines,
    id=st.from_regex(r"[A-Za-z0-9.~_-]{1,80}", fullmatch=True),
)


def test_an_event_is_spelled_as_the_standard_has_it() -> None:
    frame = Frame("progress", b'{"a": 1}', "7")

    assert encode(frame) == b'event: progress\nid: 7\ndata: {"a": 1}\n\n'


@given(st.lists(frames | st.none(), max_size=8), st.data())
def test_a_stream_is_read_as_it_was_written_wherever_it_is_cut(
    written: list[Frame | None], data: st.DataObject
) -> None:
    stream = b"".join(KEEP_ALIVE if frame is None else encode(frame) for frame in written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader = Reader()

    read = [
        frame
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for frame in reader.feed(stream[begin:end])
    ]

    assert read == [frame for frame in written if frame is not None]


def test_an_event_that_is_not_complete_is_not_told() -> None:
    reader = Reader()

    assert reader.feed(encode(Frame("state", b"{}", "1"))[:-1]) == []
    assert reader.feed(b"\n") == [Frame("state", b"{}", "1")]


def test_the_id_of_an_event_tells_the_version_and_what_has_been_seen_of_the_draft() -> None:
    places = [Place(), Place(7, START), Place(7, Mark(run="2.9f86d081", offset=120))]

    assert [str(each) for each in places] == ["0", "7", "7.2.9f86d081.120"]
    assert [place(str(each)) for each in places] == places
