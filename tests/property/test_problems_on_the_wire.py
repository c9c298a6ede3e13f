"""Errors between nodes: what one raises the other raises, and no answer breaks the one who reads it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lanmesh.errors import MeshError
from lanmesh.protocol import problems
from tests.property.strategies import json_values, texts

classes = st.sampled_from(sorted(problems.TABLE, key=lambda kind: kind.code))


@given(classes, texts, st.none() | st.integers(0, 3600).map(float))
def test_an_error_comes_out_as_it_went_in(
    kind: type[MeshError], detail: str, retry_after_s: float | None
) -> None:
    fault = kind(detail)
    back = problems.decode(problems.spelling(fault).status, problems.encode(fault), retry_after_s)

    assert type(back) is kind
    assert back.detail == fault.detail
    assert back.retry_after_s == retry_after_s


@given(st.integers(300, 599), st.binary(max_size=200))
def test_any_answer_that_is_not_ours_is_an_error_of_the_mesh(status: int, said: bytes) -> None:
    fault = problems.decode(status, said)

    assert type(fault) in problems.TABLE
    assert fault.detail


@given(
    st.integers(300, 599),
    st.dictionaries(st.sampled_from(["type", "title", "status", "detail", "code", "x"]), json_values),
)
def test_any_document_that_looks_like_a_problem_is_an_error_of_the_mesh(
    status: int, said: dict[str, Any]
) -> None:
    fault = problems.decode(status, json.dumps(said).encode())

    assert type(fault) in problems.TABLE
    assert fault.detail
