"""do a task by running a program: its text on stdin, the output is the result"""

import asyncio
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil

from lanmesh.engine.ports import Interrupted, Progress
from lanmesh.errors import InvalidConfig
from lanmesh.executors.pipes import Beginning, End, Flow, all_ended, fed, read, waited
from lanmesh.model.ids import quoted
from lanmesh.model.task import Failure, Outcome, Task, TaskState, failed

GRACE_S = 3.0
"""Between asking a program to end (SIGTERM) and ending it (SIGKILL)."""

DRAIN_S = 1.0
"""How long output is awaited after the program's end. What it wrote lies in the pipe by then; if the
pipe stays open, something that it left behind holds it."""

_LAST_S = 0.1
"""For the end of a pipe once those that held it were killed; one that left the group may hold it yet."""

_INSIST_S = 2.0
"""How long the end of a killed process is awaited; one that the kernel holds takes as long as it takes."""

_POLL_S = 0.02
"""Nothing tells of the end of a process that is not a child of ours."""

_TASK_ID = "LANMESH_TASK_ID"

_INHERITED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "TERM", "XDG_RUNTIME_DIR"}
)
"""Of the node's environment, with `LC_*`; all else may be a secret."""

_USUAL_PATH = "/usr/local/bin:/usr/bin:/bin"


class CommandExecutor:
    """Runs one program for each task, in a process group of its own.

    The task's text comes on stdin as UTF-8 and is never an argument. What the program writes to
    stdout is the result, less one newline at its very end, as in a shell's `$(…)` but for one only.
    Nothing of its group outlives the task, however it ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        repeatable: bool,
        state_folder: Path,
        environ: Mapping[str, str],
        grace_s: float = GRACE_S,
        drain_s: float = DRAIN_S,
    ) -> None:
        """Take the command as it is, but for `{taskId}` and `{attempt}` in its parts.

        Args:
            command: Program and arguments; no shell sees them.
            repeatable: Whether running it again for a task after an interruption is harmless.
            state_folder: Told to the program, so that `lanmesh` finds this node.
            environ: The node's environment; a few harmless variables of it are passed on.
            grace_s: From SIGTERM to SIGKILL.
            drain_s: From the program's end to the end of what still holds its output open.
        """
        if not command:
            raise InvalidConfig("the command is empty: it must name a program")
        self._command = tuple(command)
        self._repeatable = repeatable
        self._state_folder = state_folder
        self._environ = environ
        self._grace_s = grace_s
        self._drain_s = drain_s

    @property
    def repeatable(self) -> bool:
        """Whether running the program again after an interrupted run is harmless."""
        return self._repeatable

    async def run(self, task: Task, said: Progress) -> Outcome:
        """Run the program; its exit status 0 is success, all else is a failed outcome.

        What it writes to stdout is told meanwhile, and each line that it writes to stderr.

        Cancellation ends all that the run has started, the group by SIGTERM and, after the grace,
        by SIGKILL; a second cancellation cuts the grace short.
        """
        if task.dialogue:
            await self._end({task.local_id})  # the attempt that asked may have left something behind
        output, errors = Beginning(said), End(said)
        try:
            # What it leaves there goes back with the result (`Files.made`).
            await asyncio.to_thread(self._folder(task, "made").mkdir, 0o700, parents=True, exist_ok=True)
            async with fed(_told(task)) as stdin, read(output) as stdout, read(errors) as stderr:
                status = await self._finished(task, stdin, stdout, stderr, (output, errors))
        except OSError as fault:
            return failed(
                Failure.COMMAND_FAILED, f"cannot run {quoted(self._command[0], 200)}: {_reason(fault)}"
            )
        if status == 0:
            return Outcome(state=TaskState.COMPLETED, result=output.text().removesuffix("\n"))
        why = errors.text().strip()
        return failed(Failure.COMMAND_FAILED, _ending(status) + (f": {why}" if why else ""))

    @property
    def outlives(self) -> bool:
        """Whether a run goes on without this node: it is ended with it."""
        return False

    @property
    def host_boot(self) -> None:
        """Nothing beside this node runs the program."""

    async def ready(self) -> None:
        """Return at once: a program can always be tried."""

    async def resume(self, task: Task, said: Progress) -> Outcome:  # noqa: ARG002  # no more is heard of it
        """End what an earlier boot of this node has left running for the task.

        It is known by the task's id in its environment, which all its children inherit. macOS
        hides that of its own programs, `/bin/sh` for one: of these the children alone are found.

        Raises:
            Interrupted: Always: what the program wrote went with the node that read it.
        """
        ending = asyncio.ensure_future(self._end({task.local_id}))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:  # its deadline has passed meanwhile, or this node is stopped
            await ending
            raise
        raise Interrupted("the node ended while the task was being done")

    async def abort(self, task: Task) -> str | None:
        """Make sure that nothing is left of a run: letting go of it has ended it."""
        await self._end({task.local_id})
        left = await asyncio.to_thread(_living, {task.local_id}, None)
        return f"process {min(process.pid for process in left)} does not end" if left else None

    async def _finished(
        self,
        task: Task,
        stdin: BinaryIO,
        stdout: BinaryIO,
        stderr: BinaryIO,
        flows: "tuple[Flow, ...]",
    ) -> int:
        """Return the program's exit status, once its output is in and its group is gone."""
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *self._arguments(task),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=self._variables(task),
                start_new_session=True,
            )
        )
        try:
            # A cancellation between the start and its return would lose the group.
            process = await asyncio.shield(starting)
            for theirs in (stdin, stdout, stderr):
                theirs.close()  # while we hold them too, no pipe ever ends
            status = await process.wait()
            if not await all_ended(flows, self._drain_s):
                _signal(process.pid, signal.SIGKILL)
                await all_ended(flows, _LAST_S)
            return status
        except asyncio.CancelledError:
            with suppress(OSError):  # it could not start: nothing is to be ended
                process = await asyncio.shield(starting)
                await self._end({task.local_id}, process.pid)
                await waited(process.wait(), _INSIST_S)  # so that no zombie stays
            raise
        finally:
            if starting.done():
                _kill(starting)
            else:
                starting.add_done_callback(_kill)

    async def _end(self, tasks: Collection[str], group: int | None = None) -> None:
        """End the processes of a group, and those that bear a task's id; return when they are gone."""
        asked: set[psutil.Process] = set()
        if group is not None:
            _signal(group, signal.SIGTERM)  # all at once, lest a script go on with its next line
            asked |= _members(group)
        try:
            await _tell(psutil.Process.terminate, tasks, group, asked, self._grace_s)
            await _tell(psutil.Process.kill, tasks, group, set(), _INSIST_S)
        finally:
            for process in asked:
                with suppress(psutil.Error):
                    process.kill()

    def _arguments(self, task: Task) -> list[str]:
        return [
            part.replace("{taskId}", task.local_id).replace("{attempt}", str(task.attempt))
            for part in self._command
        ]

    def _variables(self, task: Task) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in self._environ.items()
            if value and (name in _INHERITED or name.startswith("LC_"))
        }
        return {
            "PATH": _USUAL_PATH,
            **inherited,
            _TASK_ID: task.local_id,
            "LANMESH_ATTEMPT": str(task.attempt),
            "LANMESH_ROOT_ID": task.chain.root_id,
            "LANMESH_STATE_DIR": str(self._state_folder),
            "LANMESH_FILES": str(self._folder(task, "given")),
            "LANMESH_OUTPUT": str(self._folder(task, "made")),
        }

    def _folder(self, task: Task, kind: str) -> Path:
        return self._state_folder / "work" / task.local_id / kind


async def _tell(
    what: Callable[[psutil.Process], None],
    tasks: Collection[str],
    group: int | None,
    told: set[psutil.Process],
    patience_s: float,
) -> None:
    """Tell each process once, those too that appear meanwhile, until all are gone or patience is out."""
    deadline = time.monotonic() + patience_s
    found = await asyncio.to_thread(_living, tasks, group)
    while found and time.monotonic() < deadline:
        for process in found - told:
            with suppress(psutil.Error):
                what(process)
        told |= found
        await asyncio.sleep(_POLL_S)
        if not any(_alive(process) for process in found):
            found = await asyncio.to_thread(_living, tasks, group)


def _living(tasks: Collection[str], group: int | None) -> set[psutil.Process]:
    """Return the processes of the group, and those in whose environment a task's id stands.

    Those of other users do not show theirs, and this one is never among them.
    """
    found = set() if group is None else _members(group)
    for pid in psutil.pids():
        # Not `process_iter`: it remembers processes, and would take one for another that had its pid.
        with suppress(psutil.Error, OSError):
            if pid != os.getpid() and psutil.Process(pid).environ().get(_TASK_ID) in tasks:
                found.add(psutil.Process(pid))
    return {process for process in found if _alive(process)}


def _members(group: int) -> set[psutil.Process]:
    found = set()
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):
            if os.getpgid(pid) == group:
                found.add(psutil.Process(pid))
    return found


def _alive(process: psutil.Process) -> bool:
    try:
        # A zombie has ended; only whoever started it has not noticed.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(group: int, number: signal.Signals) -> None:
    # No such process: all are gone. Permission: macOS says so of a group of zombies.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _kill(started: asyncio.Future[Process]) -> None:
    """End the group of a program for good; nothing to do if it has not come to be."""
    if not started.cancelled() and started.exception() is None:
        _signal(started.result().pid, signal.SIGKILL)


def _told(task: Task) -> str:
    """Return what a program reads: the task's text, then each question of earlier runs with its answer."""
    parts = [
        f"[question]\n{said.question}\n\n[answer]\n{said.answer}" for said in task.dialogue if said.answer
    ]
    return "\n\n".join([task.description, *parts])


def _reason(fault: OSError) -> str:
    match fault:
        case FileNotFoundError():
            return "no such program; give its full path, or add its folder to PATH"
        case PermissionError():
            return "not executable"
        case _:
            return fault.strerror or str(fault)


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"ended by signal {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"ended by signal {-status}"
