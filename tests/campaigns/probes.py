"""The nine probes that OpenClaw's bundled `a2a` channel was measured by, run against a node of ours."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import Answer, Json, NodeProcess, envelope, until

SLOW = "sleep 2; echo slept"
"""Stands for a turn that takes its time; the others answer at once, as the scripted model did."""


@dataclass(frozen=True)
class Probe:
    """One row: what was tried, what came of it there, and what comes of it here."""

    tried: str
    theirs: str
    """OpenClaw 2026.9.6, bundled `a2a` channel, one run on a busy machine of two cores."""
    ours: str


def table(rows: list[Probe]) -> list[str]:
    """Return the rows as Markdown."""
    return [
        "| probe | bundled `a2a` channel | LAN Mesh |",
        "| --- | --- | --- |",
        *(f"| {row.tried} | {row.theirs} | {row.ours} |" for row in rows),
    ]


def probes(folder: Path) -> list[Probe]:
    """Run all nine; raises `AssertionError` where a state or a count is not what the table says."""
    with Mesh(folder) as mesh:
        return _Probes(mesh, folder / "runs").run()


class _Probes:
    """A node that does a task by running its text as a shell script, and a caller with its token."""

    def __init__(self, mesh: Mesh, runs: Path) -> None:
        self._runs = runs
        keys = {"command": ["sh"], "repeatable": True, "concurrency": 8}
        self._node: NodeProcess = mesh.lone({"node": keys})

    def run(self) -> list[Probe]:
        """Go through the rows in order: the last one restarts the node."""
        return [
            self._start(),
            self._stranger(),
            self._first(),
            self._sequence(),
            self._parallel(),
            self._retry(),
            self._long(),
            self._cancel_and_stream(),
            self._restart(),
        ]

    def _start(self) -> Probe:
        took_s = _seconds(self._node.start)
        assert self._node.process is not None
        memory = psutil.Process(self._node.process.pid).memory_info().rss / 1e6
        return Probe(
            "start until it answers",
            "12 to 14 s, 846 MB",
            f"{took_s:.1f} s, {memory:.0f} MB beside the gateway",
        )

    def _stranger(self) -> Probe:
        refused = self._node.lan("POST", "/lan/task", envelope())
        assert (refused.status, refused.json["code"]) == (401, "not-authenticated")
        return Probe("no token", "401, a clear message", "401, a clear message")

    def _first(self) -> Probe:
        took_s = _seconds(lambda: self._done("echo hello"))
        return Probe("first task", "12.2 s", f"{took_s:.2f} s")

    def _sequence(self) -> Probe:
        took = [_seconds(lambda: self._done("echo hello")) for _ in range(8)]
        return Probe(
            "8 trivial tasks, one after another",
            "840 ms at the median, 3.96 s at most",
            f"{_ms(statistics.median(took))} at the median, {_ms(max(took))} at most",
        )

    def _parallel(self) -> Probe:
        def all_16() -> None:
            with ThreadPoolExecutor(8) as callers:
                list(callers.map(self._done, ["echo hello"] * 16))

        return Probe(
            "16 tasks, 8 at a time", "12.3 s, all completed", f"{_seconds(all_16):.1f} s, all completed"
        )

    def _retry(self) -> Probe:
        task = envelope(f"echo run >> {self._runs}; echo done once")
        first = self._node.give(task)
        self._final(task)
        again: list[Answer] = []
        took_s = _seconds(lambda: again.append(self._node.give(task)))
        assert (again[0].status, again[0].body) == (first.status, first.body)
        assert self._final(task)["result"] == "done once"
        assert self._runs.read_text() == "run\n"
        return Probe(
            "the same id again",
            "run once, but the retry hangs for 120 s, and its task stays `working`: "
            "the result is out of reach",
            f"run once; the retry gets the first answer after {_ms(took_s)}, and the result can be read",
        )

    def _long(self) -> Probe:
        task = envelope(SLOW)
        taken = self._node.give(task)
        assert taken.status == 202
        self._in_state(task, "working")
        assert self._final(task)["result"] == "slept"
        return Probe(
            "answered at once, a long task",
            "`working`, later `completed` and readable",
            "`working`, later `completed` and readable",
        )

    def _cancel_and_stream(self) -> Probe:
        streamed = envelope("echo half-way; printf 'nearly '; sleep 1; echo there")
        self._node.give(streamed)
        events = self._node.lan("GET", f"/lan/task/{streamed['id']}/events", token=self._node.token)
        assert events.status == 200
        assert b"half-way" in events.body
        assert b"event: draft" in events.body
        assert b"nearly " in events.body.partition(b"there")[0]
        endless = envelope("sleep 1000 & sleep 1000")
        self._node.give(endless)
        self._in_state(endless, "working")
        until(self._node.programs, lambda: "no program runs")
        answer = self._node.lan("POST", f"/lan/task/{endless['id']}/cancel", {}, token=self._node.token)
        assert answer.status in {200, 202}
        assert self._final(endless)["state"] == "canceled"
        assert not self._node.programs()
        return Probe(
            "cancel, streaming",
            "-32004, neither is there",
            "the program and its children are ended, then the task is `canceled`; "
            "states, progress and the text as it is written are streamed",
        )

    def _restart(self) -> Probe:
        finished, running = envelope("echo kept"), envelope(SLOW)
        self._done_as(finished)
        self._node.give(running)
        self._in_state(running, "working")
        self._node.restart()  # by kill -9
        assert self._final(finished)["result"] == "kept"
        assert self._final(running)["result"] == "slept"
        return Probe(
            "restart",
            "-32001 for every task, the finished one too",
            "after `kill -9`: the finished task is there, the one that ran is run again "
            "(or, if it may not be repeated, fails with `interrupted`)",
        )

    # --- the caller -------------------------------------------------------------------------------

    def _done(self, script: str) -> None:
        self._done_as(envelope(script))

    def _done_as(self, task: Json) -> None:
        assert self._node.give(task).status == 202
        assert self._final(task)["state"] == "completed"

    def _final(self, task: Json) -> Json:
        def ended() -> Json | None:
            report: Json = self._report(task, wait_s=25)
            return report if report["state"] not in {"submitted", "working"} else None

        return until(ended, lambda: self._report(task), 60.0) or {}

    def _in_state(self, task: Json, state: str) -> None:
        until(lambda: self._report(task)["state"] == state, lambda: self._report(task))

    def _report(self, task: Json, wait_s: int = 0) -> Json:
        path = f"/lan/task/{task['id']}" + (f"?wait={wait_s}" if wait_s else "")
        report: Json = self._node.lan("GET", path, token=self._node.token).json
        return report


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
