"""Values of the model and of JSON, drawn by chance."""

import string
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lanmesh.model import ids
from lanmesh.model.draft import Passage
from lanmesh.model.envelope import Answer, Cancel, CancelResult, Envelope, Message, Question, TaskRequest
from lanmesh.model.file import LONGEST_NAME, MAX_FILE_BYTES, FileRef
from lanmesh.model.ids import LocalId, PeerId, WireId
from lanmesh.model.report import TaskReport
from lanmesh.model.task import FINAL, TaskError, TaskMode, TaskState, WaitingFor

WORDS = string.ascii_letters + string.digits

texts = st.text(st.characters(exclude_categories=["Cs"]))
"""Any text that JSON can carry: control characters, other planes, what is not assigned."""

said = texts.filter(lambda text: bool(text.strip()))
labels = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)

wire_ids: SearchStrategy[WireId] = (
    st.text(WORDS + "._~-", min_size=1, max_size=128).filter(lambda text: text not in {".", ".."}).map(WireId)
)
peer_ids: SearchStrategy[PeerId] = (
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
    .filter(lambda text: text not in ids.RESERVED)
    .map(PeerId)
)
local_ids: SearchStrategy[LocalId] = st.binary(min_size=16, max_size=16).map(ids.local_id)

moments = st.integers(0, 2**43).map(lambda milliseconds: milliseconds / 1000)
"""Seconds since the epoch, to the year 2248, as exact as the wire has them."""

finals = st.sampled_from(sorted(FINAL))

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
files = st.lists(
    st.builds(
        FileRef,
        name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=LONGEST_NAME),
        size=st.integers(0, MAX_FILE_BYTES),
        sha256=digests,
        media=labels,
    ),
    max_size=4,
    unique_by=lambda file: file.sha256,
).map(tuple)
"""Of one hash there is one size only."""

runs = st.text(WORDS + "._~-", max_size=64)
"""Names of runs that write drafts."""

passages = st.builds(Passage, run=runs, offset=st.integers(0, 2**49), text=texts)


def reports(states: SearchStrategy[TaskState]) -> SearchStrategy[TaskReport]:
    """Return what nodes may say of tasks in some states."""
    return st.builds(
        TaskReport,
        task_id=wire_ids,
        local_id=local_ids,
        state=states,
        waiting_for=st.none() | st.sampled_from(WaitingFor),
        version=st.integers(0, 2**53),
        attempt=st.integers(0, 1_000_000),
        progress=st.none() | said.filter(lambda text: len(text) <= 4000),
        draft=st.none() | passages,
        result=st.none() | texts,
        truncated=st.booleans(),
        error=st.none() | st.builds(TaskError, code=labels, detail=texts),
        canceling=st.booleans(),
        not_stopped=st.none() | texts,
        question=st.none() | texts,
        started_at=st.none() | moments,
        finished_at=st.none() | moments,
        files=files,
    )


@st.composite
def requests(draw: st.DrawFn) -> TaskRequest:
    """Return a task that one may ask for."""
    mode = draw(st.sampled_from(TaskMode))
    wait_ms = draw(st.integers(0, 55_000)) if mode is TaskMode.WAIT else 0
    timeout_ms = draw(st.integers(1, 86_400_000))
    return TaskRequest(
        description=draw(said),
        mode=mode,
        timeout_s=timeout_ms / 1000,
        wait_s=wait_ms / 1000,
        files=draw(files),
    )


messages = st.builds(Message, text=said, files=files)


questions = st.builds(
    Question,
    report=st.builds(replace, reports(st.just(TaskState.INPUT_REQUIRED)), question=texts),
)
answers = st.builds(Answer, task_id=wire_ids, text=said, attempt=st.integers(1, 1_000_000))
cancels = st.builds(Cancel, task_id=wire_ids)
cancel_results = st.builds(CancelResult, report=reports(st.sampled_from(TaskState)))


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    """Return an envelope of any type."""
    path = tuple(draw(st.lists(peer_ids, max_size=6)))
    ttl_ms = draw(st.none() | st.integers(1, 60 * 86_400_000))
    return Envelope(
        id=draw(wire_ids),
        sender=draw(labels),
        recipient=draw(st.none() | labels),
        timestamp_ms=draw(st.integers(0, 2**53)),
        payload=draw(
            messages | requests() | reports(finals) | questions | answers | cancels | cancel_results
        ),
        reply_to=draw(st.none() | wire_ids),
        reply_key=draw(st.none() | labels),
        ttl_s=None if ttl_ms is None else ttl_ms / 1000,
        root_id=draw(st.none() | wire_ids),
        path=path,
        hops=draw(st.integers(len(path), 1_000_000)),
    )


numbers: SearchStrategy[Any] = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
"""What any JSON may hold."""
