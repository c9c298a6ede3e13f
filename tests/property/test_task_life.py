"""The life of a task, whatever happens to it in whatever order."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lanmesh.errors import IllegalTransition
from lanmesh.model.chain import Chain
from lanmesh.model.ids import SELF, LocalId, Origin, WireId
from lanmesh.model.record import presumed, reopened, reported
from lanmesh.model.report import TaskReport, first_report_of, report_of
from lanmesh.model.task import (
    FINAL,
    TRANSITIONS,
    Failure,
    Outcome,
    Task,
    TaskEvent,
    TaskState,
    WaitingFor,
    canceled,
    failed,
    rejected,
)
from tests.property.strategies import reports

TASK = Task(
    local_id=LocalId("a" * 26),
    wire_id=WireId("t"),
    origin=Origin("shared"),
    peer="x",
    description="x",
    chain=Chain(root_id=WireId("t")),
    created_at=0.0,
)
BEGINNINGS = [TASK, replace(TASK, waiting_for=WaitingFor.APPROVAL, needs_approval=True)]
ENDS = [
    Outcome(state=TaskState.COMPLETED, result="42"),
    failed(Failure.INTERRUPTED, "x"),
    rejected(Failure.DENIED, "x"),
    canceled("x"),
]
WITHOUT_A_RESULT = FINAL - {TaskState.COMPLETED}
DEEDS = [
    "approve",
    "claim",
    "release",
    "ask",
    "answer",
    "stop",
    "go-on",
    "complete",
    "fail",
    "reject",
    "cancel",
]


def done(task: Task, deed: str, now: float) -> Task:  # noqa: PLR0911  # a table of deeds
    match deed:
        case "approve":
            return task.approved()
        case "claim":
            return task.claimed(f"boot-{now}", now, repeatable=True)
        case "release":
            return task.released()
        case "ask":
            return task.asking("x")
        case "answer":
            return task.answered("x")
        case "stop":
            return task.stopping("x")
        case "go-on":
            return task.going_on("x")
        case _:
            return task.ended(ENDS[["complete", "fail", "reject", "cancel"].index(deed)], now)


@given(st.lists(st.sampled_from(TaskEvent), max_size=30))
def test_no_order_of_events_leaves_the_table(events: list[TaskEvent]) -> None:
    task = TASK
    for event in events:
        try:
            after = task.after(event)
        except IllegalTransition:
            assert event not in TRANSITIONS[task.state]
            continue

        assert after.state is TRANSITIONS[task.state][event]
        assert not task.final
        assert after.version == task.version + 1
        task = after


@given(st.sampled_from(BEGINNINGS), st.lists(st.sampled_from(DEEDS), max_size=30))
def test_whatever_is_done_the_record_of_a_task_agrees_with_itself(task: Task, deeds: list[str]) -> None:
    first = first_report_of(task)
    for now, deed in enumerate(deeds, 1):
        try:
            after = done(task, deed, float(now))
        except IllegalTransition:
            continue

        assert not task.final, "an end stays"
        assert after.version > task.version
        assert (after.boot is not None) == (after.state is TaskState.WORKING), "a claim holds while it works"
        assert (after.finished_at is not None) == after.final
        assert (after.error is not None) == (after.state in WITHOUT_A_RESULT)
        assert (after.result is not None) == (after.state is TaskState.COMPLETED)
        assert after.canceling is None or after.state in {TaskState.WORKING, TaskState.SUBMITTED}
        assert after.attempt == task.attempt + (deed == "claim")
        assert first_report_of(after) == first
        task = after


@given(st.lists(st.sampled_from(DEEDS), max_size=30))
def test_no_two_claims_of_a_task_are_alike(deeds: list[str]) -> None:
    task, claims = TASK, []
    for deed in deeds:
        try:
            task = done(task, deed, 0.0)
        except IllegalTransition:
            continue
        if deed == "claim":
            claims.append((task.boot, task.attempt))

    assert len(set(claims)) == len(claims)


@given(st.lists(reports(st.sampled_from(TaskState)), max_size=10))
def test_an_asker_s_record_only_goes_forward_and_its_end_stays(told: list[TaskReport]) -> None:
    record = replace(TASK, origin=SELF, peer="server-219")
    for report in told:
        after = reported(record, report, 1.0)

        if record.final:
            assert after is record
        elif report.state in FINAL:
            assert (after.state, after.result, after.error) == (report.state, report.result, report.error)
        else:
            assert after is record or after.seen_version > record.seen_version
        assert after is record or after.version == record.version + 1
        assert (after.finished_at is not None) == after.final
        record = after


CLAIMED = TASK.claimed("b", 1.0, repeatable=True)


@given(st.permutations([CLAIMED, CLAIMED.ended(ENDS[0], 2.0), TASK]))
def test_in_whatever_order_reports_arrive_the_asker_learns_the_end(said: list[Task]) -> None:
    record = replace(TASK, origin=SELF, peer="server-219")
    for task in said:
        record = reported(record, report_of(task), 3.0)

    end = ENDS[0]
    assert (record.state, record.result, record.error) == (end.state, end.result, end.error)


@given(st.lists(reports(st.sampled_from(TaskState)) | st.sampled_from(["assume", "reopen"]), max_size=12))
def test_what_was_reported_stays_and_what_was_assumed_gives_way_to_any_end_that_is_reported(
    deeds: list[TaskReport | str],
) -> None:
    record = replace(TASK, origin=SELF, peer="server-219")
    for deed in deeds:
        settled = record.final and not record.assumed
        if isinstance(deed, TaskReport):
            after = reported(record, deed, 1.0)
            if settled:
                assert after is record
            elif deed.state in FINAL:
                assert (after.state, after.result, after.assumed) == (deed.state, deed.result, False)
        elif settled:
            continue
        elif deed == "assume":
            after = presumed(record, failed(Failure.UNKNOWN, "x"), 1.0)
            assert (after.final, after.assumed) == (True, True)
        else:
            after = reopened(record)
            assert (after.final, after.assumed, after.finished_at) == (False, False, None)
        assert not (after.assumed and not after.final)
        record = after
