"""Tasks: the table of their life, claims, outcomes, and what the asker's record takes over."""

from dataclasses import replace
from itertools import product

import pytest

from lanmesh.errors import IllegalTransition
from lanmesh.model.ids import SELF
from lanmesh.model.record import presumed, recalled, reopened, reported
from lanmesh.model.report import TaskReport, first_report_of, report_of
from lanmesh.model.task import (
    FINAL,
    TRANSITIONS,
    Failure,
    Outcome,
    Task,
    TaskError,
    TaskEvent,
    TaskState,
    WaitingFor,
    canceled,
    failed,
    rejected,
)
from tests.unit.samples import TASK

S, E = TaskState, TaskEvent
LEGAL = [
    (S.SUBMITTED, E.APPROVE, S.SUBMITTED),
    (S.SUBMITTED, E.SUPPLY, S.SUBMITTED),
    (S.SUBMITTED, E.CLAIM, S.WORKING),
    (S.SUBMITTED, E.REJECT, S.REJECTED),
    (S.SUBMITTED, E.CANCEL, S.CANCELED),
    (S.WORKING, E.ADOPT, S.WORKING),
    (S.WORKING, E.RUN_AGAIN, S.SUBMITTED),
    (S.WORKING, E.COMPLETE, S.COMPLETED),
    (S.WORKING, E.FAIL, S.FAILED),
    (S.WORKING, E.ASK, S.INPUT_REQUIRED),
    (S.INPUT_REQUIRED, E.ANSWER, S.SUBMITTED),
    (S.INPUT_REQUIRED, E.FAIL, S.FAILED),
    (S.INPUT_REQUIRED, E.CANCEL, S.CANCELED),
    (S.WORKING, E.STOP, S.WORKING),
    (S.WORKING, E.GO_ON, S.WORKING),
    (S.WORKING, E.CANCEL, S.CANCELED),
]
ILLEGAL = sorted(set(product(S, E)) - {(state, event) for state, event, _ in LEGAL})

DONE = Outcome(state=S.COMPLETED, result="42", truncated=True)
WORKING = TASK.claimed("boot-1", 1010.0, repeatable=True)
WAITING = replace(TASK, waiting_for=WaitingFor.APPROVAL, needs_approval=True)
ASKED = replace(TASK, origin=SELF, peer="server-219")


def told(state: TaskState, version: int, result: str | None = None) -> TaskReport:
    return TaskReport(
        task_id=TASK.wire_id, local_id=TASK.local_id, state=state, version=version, attempt=1, result=result
    )


@pytest.mark.parametrize(("before", "event", "after"), LEGAL)
def test_a_legal_move_leads_to_its_state_and_is_a_new_version(
    before: TaskState, event: TaskEvent, after: TaskState
) -> None:
    moved = replace(TASK, state=before, version=7).after(event)

    assert moved == replace(TASK, state=after, version=8)


@pytest.mark.parametrize(("state", "event"), ILLEGAL)
def test_any_other_move_is_refused_and_the_sentence_says_where_the_task_is(
    state: TaskState, event: TaskEvent
) -> None:
    with pytest.raises(IllegalTransition) as refusal:
        replace(TASK, state=state).after(event)
    assert refusal.value.detail == f"cannot {event} task k3f2aaaa: it is {state}"


def test_the_table_has_a_row_for_every_state() -> None:
    assert set(TRANSITIONS) == set(TaskState)


def test_a_task_that_ended_is_final_and_no_other_is() -> None:
    assert {S.COMPLETED, S.FAILED, S.REJECTED, S.CANCELED} == FINAL
    assert {state for state in S if replace(TASK, state=state).final} == FINAL


def test_a_task_is_asked_where_it_came_from_this_node_itself() -> None:
    assert ASKED.asked
    assert not TASK.asked


def test_a_claim_names_the_boot_counts_the_attempt_and_starts_the_clock() -> None:
    assert (WORKING.state, WORKING.boot, WORKING.attempt) == (S.WORKING, "boot-1", 1)
    assert WORKING.repeatable
    assert WORKING.started_at == 1010.0
    assert WORKING.version == TASK.version + 1


def test_a_task_that_is_claimed_cannot_be_claimed_again() -> None:
    with pytest.raises(IllegalTransition):
        WORKING.claimed("boot-2", 1020.0, repeatable=True)


def test_a_released_task_is_free_and_its_next_claim_is_told_from_the_last() -> None:
    free = WORKING.released()
    again = free.claimed("boot-1", 1030.0, repeatable=False)

    assert (free.state, free.boot, free.started_at, free.attempt) == (S.SUBMITTED, None, None, 1)
    assert (again.boot, again.attempt, again.started_at) == ("boot-1", 2, 1030.0)
    assert not again.repeatable


def test_a_task_that_nobody_works_on_cannot_be_released() -> None:
    with pytest.raises(IllegalTransition):
        TASK.released()


def test_an_approved_task_waits_for_nobody_and_remembers_that_it_had_to_ask() -> None:
    approved = WAITING.approved()

    assert (approved.state, approved.waiting_for) == (S.SUBMITTED, None)
    assert approved.needs_approval
    assert approved.version == WAITING.version + 1


@pytest.mark.parametrize("task", [TASK, WAITING.approved(), WORKING, WORKING.ended(DONE, 1020.0)])
def test_a_task_that_does_not_wait_for_approval_cannot_be_approved(task: Task) -> None:
    with pytest.raises(IllegalTransition, match="task k3f2aaaa does not wait for approval: it is "):
        task.approved()


def test_a_task_asked_of_a_peer_is_for_the_owner_there_to_approve() -> None:
    waits = reported(ASKED, replace(report_of(WAITING), version=4), 1001.0)

    with pytest.raises(IllegalTransition, match="was asked of server-219: the owner there decides"):
        waits.approved()


def test_a_task_that_is_done_has_its_result_and_nobody_holds_it() -> None:
    done = WORKING.ended(DONE, 1020.0)

    assert (done.state, done.result, done.truncated, done.error) == (S.COMPLETED, "42", True, None)
    assert (done.boot, done.finished_at, done.started_at) == (None, 1020.0, 1010.0)
    assert done.version == WORKING.version + 1


def test_a_task_that_was_tried_in_vain_says_why() -> None:
    outcome = failed(Failure.TIMED_OUT, "it took longer than its 60 s")
    ended = WORKING.ended(outcome, 1070.0)

    assert ended.state is S.FAILED
    assert ended.error == TaskError(code="timed-out", detail="it took longer than its 60 s")


def test_a_denied_task_was_never_tried_and_waits_no_more() -> None:
    ended = WAITING.ended(rejected(Failure.DENIED, "the owner denied it"), 1005.0)

    assert (ended.state, ended.waiting_for, ended.attempt) == (S.REJECTED, None, 0)
    assert ended.error == TaskError(code="denied", detail="the owner denied it")


@pytest.mark.parametrize("outcome", [DONE, failed(Failure.INTERRUPTED, "x"), rejected(Failure.DENIED, "x")])
def test_the_first_end_stays(outcome: Outcome) -> None:
    with pytest.raises(IllegalTransition):
        WORKING.ended(DONE, 1020.0).ended(outcome, 1030.0)


@pytest.mark.parametrize("outcome", [DONE, failed(Failure.INTERRUPTED, "x")])
def test_a_task_that_was_never_claimed_can_have_no_outcome_of_a_run(outcome: Outcome) -> None:
    with pytest.raises(IllegalTransition):
        TASK.ended(outcome, 1020.0)


def test_a_task_that_is_being_done_can_no_longer_be_rejected() -> None:
    with pytest.raises(IllegalTransition):
        WORKING.ended(rejected(Failure.DENIED, "x"), 1020.0)


def test_a_report_says_all_that_an_asker_may_know() -> None:
    done = WORKING.ended(DONE, 1020.0)

    assert report_of(done) == TaskReport(
        task_id=TASK.wire_id,
        local_id=TASK.local_id,
        state=S.COMPLETED,
        version=3,
        attempt=1,
        result="42",
        truncated=True,
        started_at=1010.0,
        finished_at=1020.0,
    )
    assert report_of(WAITING).waiting_for is WaitingFor.APPROVAL


@pytest.mark.parametrize(
    "later", [WAITING, WAITING.approved(), WAITING.approved().claimed("b", 1.0, repeatable=True)]
)
def test_the_first_report_of_a_task_that_needed_approval_stays_the_same(later: Task) -> None:
    assert first_report_of(later) == first_report_of(WAITING) == report_of(WAITING)


@pytest.mark.parametrize("later", [TASK, WORKING, WORKING.released(), WORKING.ended(DONE, 1020.0)])
def test_the_first_report_of_a_task_stays_the_same_whatever_has_become_of_it(later: Task) -> None:
    assert first_report_of(later) == report_of(TASK)


def test_a_task_that_is_being_stopped_says_who_wants_that_until_its_end() -> None:
    stopping = WORKING.stopping("a canceled it")
    ended = stopping.ended(canceled("a canceled it"), 1020.0)

    assert (stopping.state, stopping.claim) == (S.WORKING, WORKING.claim)
    assert (stopping.canceling, report_of(stopping).canceling) == ("a canceled it", True)
    assert (ended.state, ended.canceling) == (S.CANCELED, None)
    assert ended.error == TaskError(code="canceled", detail="a canceled it")


def test_a_task_that_could_not_be_stopped_says_why_until_it_is_canceled_again() -> None:
    going = WORKING.stopping("a canceled it").going_on("no way")

    assert (going.state, going.canceling, going.not_stopped) == (S.WORKING, None, "no way")
    assert (report_of(going).canceling, report_of(going).not_stopped) == (False, "no way")
    assert going.stopping("a canceled it").not_stopped is None


def test_a_task_that_ends_by_itself_while_it_is_stopped_has_that_end() -> None:
    done = WORKING.stopping("a canceled it").ended(DONE, 1020.0)

    assert (done.state, done.canceling, done.error) == (S.COMPLETED, None, None)


def test_the_asker_s_record_is_canceling_until_the_doer_has_answered() -> None:
    told_to_end = recalled(ASKED, "the owner canceled it")
    unaware = reported(told_to_end, told(S.WORKING, 5), 1015.0)
    stopping = reported(unaware, replace(told(S.WORKING, 6), canceling=True), 1016.0)
    going_on = reported(stopping, replace(told(S.WORKING, 7), not_stopped="no way"), 1017.0)

    assert told_to_end.canceling == unaware.canceling == stopping.canceling == "the owner canceled it"
    assert (going_on.state, going_on.canceling, going_on.not_stopped) == (S.WORKING, None, "no way")
    assert reported(stopping, told(S.CANCELED, 8), 1018.0).canceling is None


def test_the_first_report_of_a_task_that_was_canceled_before_it_came_is_its_end() -> None:
    refused = TASK.refused(canceled("a canceled it before it came"), TASK.created_at)

    assert first_report_of(refused) == report_of(refused)
    assert report_of(refused).state is S.CANCELED


def test_the_asker_s_record_takes_over_what_the_doer_reports() -> None:
    report = replace(report_of(WORKING), version=5)
    after = reported(ASKED, report, 1015.0)

    assert (after.state, after.attempt, after.started_at, after.finished_at) == (S.WORKING, 1, 1010.0, None)
    assert (after.version, after.seen_version) == (ASKED.version + 1, 5)
    assert (after.local_id, after.origin, after.peer) == (ASKED.local_id, SELF, "server-219")


def test_the_asker_s_record_tells_that_the_doer_s_owner_must_be_asked() -> None:
    waits = reported(ASKED, replace(report_of(WAITING), version=1), 1001.0)
    works = reported(waits, told(S.WORKING, 3), 1015.0)

    assert waits.waiting_for is WaitingFor.APPROVAL
    assert works.waiting_for is None


@pytest.mark.parametrize("version", [0, 4, 5])
def test_a_report_that_was_overtaken_changes_nothing(version: int) -> None:
    record = reported(ASKED, told(S.WORKING, 5), 1015.0)

    assert reported(record, told(S.SUBMITTED, version), 1016.0) is record


@pytest.mark.parametrize("version", [0, 4, 5, 6])
@pytest.mark.parametrize("end", sorted(FINAL))
def test_a_report_of_the_end_always_counts(end: TaskState, version: int) -> None:
    after = reported(reported(ASKED, told(S.WORKING, 5), 1015.0), told(end, version, "42"), 1020.0)

    assert (after.state, after.result, after.finished_at) == (end, "42", 1020.0)


def test_a_doer_may_go_back_to_an_earlier_state() -> None:
    after = reported(reported(ASKED, told(S.WORKING, 2), 1015.0), told(S.SUBMITTED, 3), 1020.0)

    assert (after.state, after.seen_version) == (S.SUBMITTED, 3)


def test_the_end_came_when_the_doer_says_it_came_if_it_says() -> None:
    report = replace(told(S.COMPLETED, 3), finished_at=1019.0)

    assert reported(ASKED, report, 1020.0).finished_at == 1019.0


def test_a_report_before_the_end_has_no_time_of_an_end() -> None:
    report = replace(told(S.WORKING, 3), finished_at=1019.0)

    assert reported(ASKED, report, 1020.0).finished_at is None


@pytest.mark.parametrize("state", sorted(TaskState))
def test_a_record_of_an_end_that_was_reported_stays(state: TaskState) -> None:
    ended = reported(ASKED, told(S.COMPLETED, 3, "42"), 1020.0)

    assert reported(ended, told(state, 9), 1030.0) is ended


@pytest.mark.parametrize("state", sorted(TaskState))
def test_what_the_doer_says_late_wins_over_an_end_that_was_only_assumed(state: TaskState) -> None:
    assumed = presumed(ASKED, failed(Failure.EXPIRED, "x"), 1020.0)
    after = reported(assumed, told(state, 9), 1030.0)

    assert assumed.assumed
    assert (after.state, after.assumed, after.error) == (state, False, None)
    assert after.finished_at == (1030.0 if state in FINAL else None)


def test_an_overtaken_report_does_not_open_an_end_that_was_assumed() -> None:
    assumed = presumed(reported(ASKED, told(S.WORKING, 5), 1015.0), failed(Failure.UNKNOWN, "x"), 1020.0)

    assert reported(assumed, told(S.WORKING, 5), 1030.0) is assumed
    assert reported(assumed, told(S.COMPLETED, 5, "42"), 1030.0).result == "42"


def test_a_doer_that_was_silent_for_long_and_where_nothing_has_changed_is_believed() -> None:
    silent = presumed(reported(ASKED, told(S.INPUT_REQUIRED, 5), 1015.0), failed(Failure.SILENT, "x"), 1020.0)

    again = reported(silent, told(S.INPUT_REQUIRED, 5), 1030.0)

    assert (again.state, again.assumed, again.error) == (S.INPUT_REQUIRED, False, None)
    assert reported(silent, told(S.WORKING, 4), 1030.0) is silent


def test_a_record_is_open_again_when_its_request_is_sent_again() -> None:
    again = reopened(presumed(ASKED, rejected(Failure.REFUSED, "x"), 1020.0))

    assert (again.state, again.assumed, again.error, again.finished_at) == (S.SUBMITTED, False, None, None)


def test_a_task_that_ended_for_real_is_not_opened_again() -> None:
    with pytest.raises(IllegalTransition, match="has ended"):
        reopened(reported(ASKED, told(S.COMPLETED, 3, "42"), 1020.0))


def test_an_end_that_has_to_be_assumed_says_why_and_holds_no_version_of_the_doer() -> None:
    waits = reported(ASKED, replace(report_of(WAITING), version=4), 1001.0)
    after = presumed(waits, rejected(Failure.REFUSED, "server-219 takes no tasks"), 1020.0)

    assert (after.state, after.waiting_for, after.finished_at) == (S.REJECTED, None, 1020.0)
    assert after.error == TaskError(code="refused", detail="server-219 takes no tasks")
    assert (after.version, after.seen_version) == (waits.version + 1, 4)
