"""Problems: one row for each error, and back again from what another node says."""

import json

import pytest

from lanmesh import errors
from lanmesh.errors import MeshError
from lanmesh.protocol import problems
from lanmesh.protocol.problems import TABLE, Spelling

EVERY_CLASS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MeshError)
]


def test_every_error_has_a_row() -> None:
    assert set(TABLE) == set(EVERY_CLASS)


def test_the_rows_are_those_that_the_protocol_promises() -> None:
    assert {kind.code: (row.status, row.exit) for kind, row in TABLE.items()} == {
        "invalid-request": (400, 2),
        "unknown-type": (400, 2),
        "unsupported-version": (400, 2),
        "too-large": (413, 2),
        "head-too-large": (431, 2),
        "too-slow": (408, 6),
        "unsupported-media": (415, 2),
        "misdirected": (421, 2),
        "not-authenticated": (401, 4),
        "client-cert-required": (401, 4),
        "cert-mismatch": (401, 4),
        "not-allowed": (403, 4),
        "tasks-not-accepted": (403, 5),
        "pairing-closed": (403, 5),
        "pairing-failed": (403, 5),
        "route-not-found": (404, 3),
        "method-not-allowed": (405, 2),
        "task-not-found": (404, 3),
        "peer-not-found": (404, 3),
        "delivery-not-found": (404, 3),
        "id-conflict": (409, 5),
        "illegal-transition": (409, 5),
        "chain-refused": (409, 5),
        "too-busy": (429, 6),
        "too-fast": (429, 6),
        "quota-reached": (507, 6),
        "peer-unreachable": (502, 6),
        "answer-lost": (502, 6),
        "node-unreachable": (502, 6),
        "gateway-unavailable": (502, 6),
        "gateway-refused": (502, 6),
        "storage-failed": (507, 74),
        "no-room": (507, 74),
        "file-not-found": (404, 3),
        "file-differs": (422, 5),
        "offset-differs": (409, 5),
        "range-impossible": (416, 2),
        "database-damaged": (507, 65),
        "timed-out": (504, 7),
        "invalid-config": (400, 78),
        "state-folder-busy": (409, 75),
        "internal": (500, 70),
    }


@pytest.mark.parametrize("kind", EVERY_CLASS)
def test_an_error_comes_out_at_the_other_end_as_the_same(kind: type[MeshError]) -> None:
    fault = kind('no "task" t-1\n在这里')
    back = problems.decode(problems.spelling(fault).status, problems.encode(fault), 2.5)

    assert type(back) is kind
    assert back.detail == fault.detail
    assert back.retry_after_s == 2.5


def test_a_problem_says_its_type_title_status_detail_and_code() -> None:
    assert json.loads(problems.encode(errors.TaskNotFound("no task t-1 of yours"))) == {
        "type": "urn:lanmesh:problem:task-not-found",
        "title": "No such task is known here to this caller",
        "status": 404,
        "detail": "no task t-1 of yours",
        "code": "task-not-found",
    }


@pytest.mark.parametrize("kind", EVERY_CLASS)
def test_a_title_is_the_beginning_of_the_class_s_sentence(kind: type[MeshError]) -> None:
    title = json.loads(problems.encode(kind()))["title"]

    assert title
    assert (kind.__doc__ or "").startswith(title)
    assert not title.endswith((".", ";", ":", " "))


def test_an_error_of_the_family_is_spelled_as_its_own_row() -> None:
    assert problems.spelling(errors.UnknownType()) == Spelling(400, 2)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequest),
        (401, errors.NotAuthenticated),
        (403, errors.NotAllowed),
        (404, errors.RouteNotFound),
        (405, errors.MethodNotAllowed),
        (413, errors.TooLarge),
        (418, errors.InvalidRequest),
        (429, errors.TooBusy),
        (500, errors.MeshError),
        (502, errors.PeerUnreachable),
        (503, errors.MeshError),
        (504, errors.TimedOut),
        (599, errors.MeshError),
        (302, errors.MeshError),
    ],
)
def test_a_body_that_is_not_ours_gives_the_error_that_fits_the_status(
    status: int, kind: type[MeshError]
) -> None:
    fault = problems.decode(status, b"<html>Sorry</html>")

    assert type(fault) is kind
    assert fault.detail == f"HTTP status {status}, without an explanation"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"x"',
        b'{"error": "x"}',
        b'{"code": "no-such-code"}',
        b'{"code": 404}',
        b'{"status": "404"}',
        b'{"detail": null}',
        b'{"detail": "\\ud800"}',
        b"[" * 50_000,
        b'{"x":' + b"[" * 50_000,
        b'{"detail":' + b"[" * 50_000,
    ],
)
def test_no_body_breaks_the_one_who_reads_it(said: bytes) -> None:
    fault = problems.decode(404, said)

    assert type(fault) is errors.RouteNotFound
    assert "HTTP status 404" in fault.detail


def test_a_body_that_is_no_document_of_ours_is_told_by_its_status_alone() -> None:
    body = b'{"title": "Not Found", "detail": "no page here", "instance": "/x"}'

    assert problems.read(body) is None
    assert type(problems.decode(404, body)) is errors.RouteNotFound


def test_the_code_counts_more_than_the_status() -> None:
    assert type(problems.decode(500, b'{"code": "task-not-found"}')) is errors.TaskNotFound
