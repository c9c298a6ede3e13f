"""Programs of all manners: what comes of a task, and that nothing of it stays behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from lanmesh.engine.ports import Interrupted
from lanmesh.errors import InvalidConfig
from lanmesh.executors.command import CommandExecutor
from lanmesh.executors.pipes import MOST_OUTPUT_BYTES
from lanmesh.model.chain import Chain
from lanmesh.model.ids import SHARED, LocalId, WireId, local_id
from lanmesh.model.task import Outcome, Task, TaskState
from tests.fakes import Heard, unheard

BOUND_S = 8.0
DRAIN_S = 0.2
STUBBORN = "trap '' TERM; echo $$ >> pids; while :; do sleep 60; done"
"""A script that notes its pid and ends by SIGKILL only."""

T = TypeVar("T")


class Bench:
    """One task and the loop on which executors do it, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = local_id(os.urandom(16))  # so that no test finds the processes of another

    def executor(
        self, *command: str, environ: Mapping[str, str] = os.environ, grace_s: float = 3.0
    ) -> CommandExecutor:
        return CommandExecutor(
            command,
            repeatable=False,
            state_folder=self.folder,
            environ=environ,
            grace_s=grace_s,
            drain_s=DRAIN_S,
        )

    def shell(self, script: str, *, grace_s: float = 3.0) -> CommandExecutor:
        return self.executor("sh", "-c", f"cd '{self.folder}'; {script}", grace_s=grace_s)

    def task(self, description: str = "do it") -> Task:
        return Task(
            local_id=self.id,
            wire_id=WireId("w-1"),
            origin=SHARED,
            peer="asker",
            description=description,
            chain=Chain(root_id=WireId("root-1")),
            attempt=2,
            created_at=0.0,
        )

    def within(self, doing: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            return await asyncio.wait_for(doing, BOUND_S)

        with asyncio.Runner() as runner:
            return runner.run(bounded())

    def outcome(self, executor: CommandExecutor, description: str = "do it") -> Outcome:
        return self.within(executor.run(self.task(description), unheard))

    def pids(self) -> list[int]:
        try:
            return [int(line) for line in (self.folder / "pids").read_text().split()]
        except FileNotFoundError:
            return []

    def bearers(self) -> list[int]:
        """Return the processes that bear the task's id."""
        return [pid for pid in psutil.pids() if task_of(pid) == self.id and not gone(pid)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    for pid in found.bearers():
        os.kill(pid, signal.SIGKILL)


def task_of(pid: int) -> str | None:
    try:
        return psutil.Process(pid).environ().get("LANMESH_TASK_ID")
    except (psutil.Error, OSError):
        return None


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def cannot_be_resumed(executor: CommandExecutor, task: Task) -> None:
    """Have what is left of a task's run ended."""
    with pytest.raises(Interrupted, match="the node ended"):
        await executor.resume(task, unheard)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110  # other processes set no event
            await asyncio.sleep(0.01)


async def cancelled(
    bench: Bench, executor: CommandExecutor, when: Callable[[], object], times: int = 1
) -> None:
    """Run the task, cancel it on a condition, and return once the run has ended with that."""
    running = asyncio.create_task(executor.run(bench.task(), unheard))
    await until(when)
    for _ in range(times):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running


def heard_of(bench: Bench, script: str) -> list[str]:
    """Return the lines that a script has said on stderr by its end."""
    heard = Heard()
    bench.within(bench.shell(f"({script}) >&2").run(bench.task(), heard))
    return [line for text in heard.words for line in text.split("\n")]


def test_stdout_is_told_as_it_comes_and_stderr_by_its_lines_while_the_program_runs(bench: Bench) -> None:
    heard = Heard()

    async def look() -> Outcome:
        script = "printf on; echo two >&2; until [ -e go ]; do sleep 0.01; done; echo e, three"
        running = asyncio.create_task(bench.shell(script).run(bench.task(), heard))
        await until(lambda: (heard.written, heard.words) == ("on", ["two"]))
        (bench.folder / "go").touch()
        return await running

    outcome = bench.within(look())

    assert (heard.written, heard.words) == ("one, three\n", ["two"])
    assert outcome.result == "one, three"


def test_a_character_that_comes_in_two_parts_is_one(bench: Bench) -> None:
    heard = Heard()

    async def look() -> None:
        script = r"printf 'a\342\202'; until [ -e go ]; do sleep 0.01; done; printf '\254\377'"
        running = asyncio.create_task(bench.shell(script).run(bench.task(), heard))
        await until(lambda: heard.written == "a")
        (bench.folder / "go").touch()
        await running

    bench.within(look())

    assert heard.written == "a€\N{REPLACEMENT CHARACTER}"


def test_a_bar_of_progress_that_is_drawn_anew_is_told_each_time(bench: Bench) -> None:
    assert heard_of(bench, r"printf '10 %%\r20 %%\r\n'; printf 'and a line without an end'") == [
        "10 %",
        "20 %",
    ]


def test_of_a_flood_the_latest_lines_are_told(bench: Bench) -> None:
    lines = heard_of(bench, "seq 300000")

    assert lines[-1] == "300000"


def test_of_a_line_without_an_end_only_so_much_is_kept(bench: Bench) -> None:
    lines = heard_of(bench, "head -c 9000000 /dev/zero | tr '\\0' z; echo; echo done")

    assert lines[-1] == "done"
    assert max(map(len, lines)) <= 4096


def test_what_is_no_text_is_told_all_the_same(bench: Bench) -> None:
    assert heard_of(bench, r"printf 'a\377b\n\n  \n'") == ["a\N{REPLACEMENT CHARACTER}b"]


def test_the_text_comes_on_stdin_and_the_output_is_the_result(bench: Bench) -> None:
    outcome = bench.outcome(bench.executor("cat"), "Grüße, 世界 🦞")

    assert outcome == Outcome(state=TaskState.COMPLETED, result="Grüße, 世界 🦞")


@pytest.mark.parametrize(
    ("printed", "result"), [("", ""), ("a", "a"), ("a\n", "a"), ("a\n\n", "a\n"), ("\n", "")]
)
def test_one_newline_at_the_very_end_is_no_part_of_the_result(
    bench: Bench, printed: str, result: str
) -> None:
    assert bench.outcome(bench.executor("cat"), printed).result == result


def test_only_the_task_s_id_and_attempt_are_put_into_the_arguments(bench: Bench) -> None:
    executor = bench.executor("printf", "%s|", "{taskId}.{attempt}", "{print $1}", "{0} {task} {}")

    outcome = bench.outcome(executor, "{taskId} $(touch owned)")

    assert outcome.result == f"{bench.id}.2|{{print $1}}|{{0}} {{task}} {{}}|"


def test_the_program_gets_an_environment_without_secrets(bench: Bench) -> None:
    harmless = {
        "HOME": "/home/me",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PATH": os.environ["PATH"],
    }
    secret = {
        "OPENCLAW_LAN_TOKEN": "hush",
        "LAN_PEER_A_TOKEN": "hush",
        "AWS_SECRET": "hush",
        "LANMESH_X": "hush",
    }
    script = "import os, json; print(json.dumps(dict(os.environ)))"

    outcome = bench.outcome(bench.executor(sys.executable, "-c", script, environ=harmless | secret))

    assert outcome.result is not None
    got = json.loads(outcome.result)
    got.pop("__CF_USER_TEXT_ENCODING", None)  # macOS puts it into every process
    assert got == harmless | {
        "LANMESH_TASK_ID": bench.id,
        "LANMESH_ATTEMPT": "2",
        "LANMESH_ROOT_ID": "root-1",
        "LANMESH_STATE_DIR": str(bench.folder),
        "LANMESH_FILES": str(bench.folder / "work" / bench.id / "given"),
        "LANMESH_OUTPUT": str(bench.folder / "work" / bench.id / "made"),
    }


def test_a_node_without_a_path_still_finds_the_usual_programs(bench: Bench) -> None:
    assert bench.outcome(bench.executor("cat", environ={}), "found").result == "found"


def test_a_program_can_open_its_streams_by_name(bench: Bench) -> None:
    script = "cat /dev/stdin > /dev/stdout; echo trouble > /dev/stderr; exit 1"

    assert bench.outcome(bench.shell("cat /dev/stdin > /dev/stdout"), "by name").result == "by name"
    assert "trouble" in error_of(bench.outcome(bench.shell(script)))


def error_of(outcome: Outcome) -> str:
    assert outcome.state is TaskState.FAILED
    assert outcome.result is None
    assert outcome.error is not None
    assert outcome.error.code == "command-failed"
    return outcome.error.detail


def test_a_failing_program_is_a_failed_task_with_what_it_said(bench: Bench) -> None:
    outcome = bench.outcome(bench.shell("echo half; echo 'no such model' >&2; exit 3"))

    assert error_of(outcome) == "exit status 3: no such model"


def test_a_program_that_fails_silently_is_told_by_its_status(bench: Bench) -> None:
    assert error_of(bench.outcome(bench.executor("false"))) == "exit status 1"


def test_a_program_that_dies_of_a_signal_is_told_by_its_name(bench: Bench) -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"

    assert error_of(bench.outcome(bench.executor(sys.executable, "-c", script))) == "ended by signal SIGSEGV"


def test_of_a_long_complaint_the_end_is_kept(bench: Bench) -> None:
    script = "import sys; sys.stderr.write('x' * 300_000 + ' the cause'); sys.exit(1)"

    detail = error_of(bench.outcome(bench.executor(sys.executable, "-c", script)))

    assert detail.endswith("x the cause")
    assert len(detail) < 4200


def test_a_program_that_is_not_there_is_a_failed_task(bench: Bench) -> None:
    detail = error_of(bench.outcome(bench.executor("no-such-program-here", "x")))

    assert detail.startswith('cannot run "no-such-program-here": no such program')


def test_a_file_that_may_not_be_executed_is_a_failed_task(bench: Bench) -> None:
    file = bench.folder / "notes.txt"
    file.write_text("no program")

    assert error_of(bench.outcome(bench.executor(str(file)))).endswith(": not executable")


def test_an_empty_command_is_refused_at_once(bench: Bench) -> None:
    with pytest.raises(InvalidConfig):
        bench.executor()


def test_of_twenty_megabytes_of_output_all_are_taken_and_eight_kept(bench: Bench) -> None:
    outcome = bench.outcome(bench.executor(sys.executable, "-c", "print('x' * 20_000_000)"))

    assert outcome.state is TaskState.COMPLETED
    assert len(outcome.result or "") == MOST_OUTPUT_BYTES


def test_output_that_is_not_utf_8_is_kept_as_far_as_it_is(bench: Bench) -> None:
    assert bench.outcome(bench.executor("printf", r"a\377b")).result == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("script", ["echo done", "exec <&-; echo done", "head -c 10 >/dev/null; echo done"])
def test_a_program_need_not_read_its_text(bench: Bench, script: str) -> None:
    assert bench.outcome(bench.shell(script), "y" * 900_000).result == "done"


def test_nine_hundred_kilobytes_of_text_arrive_whole(bench: Bench) -> None:
    result = bench.outcome(bench.executor("wc", "-c"), "y" * 900_000).result

    assert result is not None
    assert result.strip() == "900000"


@pytest.mark.parametrize("streams", ["", ">/dev/null 2>&1"], ids=["with our pipes", "quiet"])
def test_what_a_program_leaves_behind_is_ended_with_it(bench: Bench, streams: str) -> None:
    async def leave() -> Outcome:
        outcome = await bench.shell(f"({STUBBORN}) {streams} & until [ -s pids ]; do :; done; echo done").run(
            bench.task(), unheard
        )
        await until(lambda: not bench.bearers())
        return outcome

    outcome = bench.within(leave())

    assert outcome.result == "done"
    assert bench.pids()


def test_a_result_does_not_wait_for_a_child_that_has_left_the_group(bench: Bench) -> None:
    script = (
        "import subprocess; print('started', flush=True);"
        "subprocess.Popen(['sleep', '60'], start_new_session=True)"
    )
    executor = bench.executor(sys.executable, "-c", script)

    assert bench.outcome(executor).result == "started"

    assert len(bench.bearers()) == 1
    bench.within(cannot_be_resumed(executor, bench.task()))
    assert bench.bearers() == []


def test_cancelling_lets_a_program_put_its_things_in_order(bench: Bench) -> None:
    executor = bench.shell(
        "trap 'echo bye > farewell; exit' TERM; echo $$ > pids; while :; do sleep 60 & wait; done"
    )

    bench.within(cancelled(bench, executor, bench.pids))

    assert (bench.folder / "farewell").read_text() == "bye\n"
    assert bench.bearers() == []


def test_no_script_goes_on_with_its_next_line_when_it_is_cancelled(bench: Bench) -> None:
    executor = bench.shell("echo $$ > pids; sleep 60; touch went-on")

    bench.within(cancelled(bench, executor, bench.pids))

    assert not (bench.folder / "went-on").exists()


def test_cancelling_ends_a_whole_group_that_ignores_being_asked(bench: Bench) -> None:
    (bench.folder / "stubborn").write_text(STUBBORN)
    executor = bench.shell("sh stubborn & sh stubborn & . ./stubborn", grace_s=0.2)

    bench.within(cancelled(bench, executor, lambda: len(bench.pids()) == 3))

    assert all(gone(pid) for pid in bench.pids())
    assert bench.bearers() == []


def test_cancelling_ends_a_child_that_has_left_the_group(bench: Bench) -> None:
    script = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '60'], start_new_session=True);"
        "open('pids', 'w').write(str(child.pid)); time.sleep(60)"
    )
    executor = bench.shell(f'exec {sys.executable} -c "{script}"')

    bench.within(cancelled(bench, executor, bench.pids))

    assert bench.pids()
    assert bench.bearers() == []


def test_a_second_cancellation_cuts_the_grace_short(bench: Bench) -> None:
    async def twice() -> None:
        await cancelled(
            bench, bench.shell(f"({STUBBORN}) & {STUBBORN}", grace_s=600), lambda: bench.pids()[1:], 2
        )
        await until(lambda: not bench.bearers())

    bench.within(twice())

    assert all(gone(pid) for pid in bench.pids())


@pytest.mark.parametrize("turns", range(6))
def test_cancelling_in_the_midst_of_the_start_leaves_nothing(bench: Bench, turns: int) -> None:
    async def hurry() -> None:
        running = asyncio.create_task(bench.shell("sleep 60 & sleep 60").run(bench.task(), unheard))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()

    bench.within(hurry())

    assert bench.bearers() == []


def test_a_deadline_that_strikes_while_output_is_awaited_ends_the_rest(bench: Bench) -> None:
    executor = bench.shell(
        f"({STUBBORN}) & until [ -s pids ]; do :; done; echo $$ >> pids; exit", grace_s=0.1
    )

    bench.within(cancelled(bench, executor, lambda: bench.pids()[1:] and gone(bench.pids()[1])))

    assert bench.bearers() == []


ORPHANING = """
import asyncio, os, sys
from pathlib import Path
sys.path[:0] = {path!r}
from lanmesh.executors.command import CommandExecutor
from tests.integration.test_command_executor import Bench
bench = Bench(Path.cwd())
bench.id = {task!r}
bench.within(bench.shell({script!r}).run(bench.task(), print))
"""


@pytest.mark.parametrize("script", ["echo $$ > pids; sleep 60", STUBBORN], ids=["willing", "stubborn"])
def test_what_a_killed_node_left_running_is_ended_by_the_next(bench: Bench, script: str) -> None:
    async def crash_and_restart() -> None:
        code = ORPHANING.format(path=sys.path, task=bench.id, script=script)
        node = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=bench.folder)
        try:
            await until(bench.pids)
        finally:
            node.kill()
            await node.wait()
        assert bench.bearers()
        await cannot_be_resumed(bench.executor("cat", grace_s=0.2), bench.task())

    bench.within(crash_and_restart())

    assert all(gone(pid) for pid in bench.pids())
    assert bench.bearers() == []


def test_a_deadline_that_has_passed_meanwhile_ends_what_was_left_all_the_same(bench: Bench) -> None:
    async def interrupted(resuming: asyncio.Task[None]) -> None:
        await asyncio.sleep(0)
        resuming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await resuming

    async def at_once() -> None:
        executor = bench.executor("cat", grace_s=0.2)
        await interrupted(asyncio.create_task(cannot_be_resumed(executor, bench.task())))

    environ = {**os.environ, "LANMESH_TASK_ID": bench.id}
    with subprocess.Popen(["sleep", "60"], env=environ) as orphan:
        try:
            bench.within(at_once())

            assert bench.bearers() == []
        finally:
            orphan.kill()


def test_ending_what_is_left_of_another_task_leaves_this_one_alone(bench: Bench) -> None:
    environ = {**os.environ, "LANMESH_TASK_ID": bench.id}
    with subprocess.Popen(["sleep", "60"], env=environ) as bystander:
        try:
            another = replace(bench.task(), local_id=LocalId("another"))
            bench.within(cannot_be_resumed(bench.executor("cat"), another))
            assert bench.within(bench.executor("cat").abort(another)) is None

            assert bench.bearers() == [bystander.pid]
        finally:
            bystander.kill()


def test_an_abort_ends_all_that_bears_the_task_s_id_and_says_so(bench: Bench) -> None:
    environ = {**os.environ, "LANMESH_TASK_ID": bench.id}
    with subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 60"], env=environ) as left:
        try:
            assert bench.within(bench.executor("cat", grace_s=0.2).abort(bench.task())) is None

            assert bench.bearers() == []
            assert left.wait(BOUND_S) != 0
        finally:
            left.kill()


def test_a_run_leaves_no_open_file_behind(bench: Bench) -> None:
    async def many() -> None:
        executor = bench.shell("cat >/dev/null; echo done")
        await executor.run(bench.task(), unheard)
        before = psutil.Process().num_fds()
        for _ in range(5):
            await executor.run(bench.task("z" * 200_000), unheard)
            await bench.executor("true").run(bench.task("z" * 200_000), unheard)
            await bench.executor("no-such-program-here").run(bench.task(), unheard)
        await until(lambda: psutil.Process().num_fds() <= before)

    bench.within(many())
