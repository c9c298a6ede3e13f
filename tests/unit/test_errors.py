"""Errors: what each carries for programs and for people."""

import re

import pytest

from lanmesh.errors import InvalidRequest, MeshError, TaskNotFound, TooBusy


def every_class(root: type[MeshError] = MeshError) -> list[type[MeshError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in every_class(child))]


@pytest.mark.parametrize("kind", every_class())
def test_an_error_without_a_detail_says_the_sentence_of_its_class(kind: type[MeshError]) -> None:
    fault = kind()

    said = kind.__doc__ or ""
    assert fault.detail == said[0].lower() + said[1:].removesuffix(".")
    assert str(fault) == fault.detail
    assert fault.retry_after_s is None


def test_a_detail_says_what_happened_and_when_a_retry_is_worth_it() -> None:
    fault = TooBusy("1000 tasks wait", retry_after_s=5.0)

    assert fault.detail == "1000 tasks wait"
    assert fault.retry_after_s == 5.0


def test_the_middle_of_a_detail_that_is_too_long_is_left_out() -> None:
    fault = InvalidRequest(f"acceptMode: {'9' * 12_800} is none; use auto, manual or off")

    assert len(fault.detail) <= 2_000
    assert fault.detail.startswith("acceptMode: 999")
    assert fault.detail.endswith("999 is none; use auto, manual or off")


def test_every_class_has_a_code_of_its_own_that_is_words_and_hyphens() -> None:
    codes = [kind.code for kind in every_class()]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_what_cannot_change_by_itself_is_not_worth_a_retry() -> None:
    retryable = {kind.code for kind in every_class() if kind.retryable}

    assert not TaskNotFound.retryable
    assert retryable == {
        "too-slow",
        "too-busy",
        "too-fast",
        "quota-reached",
        "peer-unreachable",
        "answer-lost",
        "node-unreachable",
        "gateway-unavailable",
        "storage-failed",
        "no-room",
        "state-folder-busy",
    }
