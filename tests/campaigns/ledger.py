"""What two nodes have acknowledged, and whether all of it came true."""

import http.client
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from lanmesh.model.task import FINAL, TaskState
from tests.acceptance.node_process import Answer, Json, NodeProcess, envelope, until

SETTLING_S = 300.0
"""Five times the longest pause between two tries of a delivery; a campaign that hangs fails then."""

COUNTING = """
read -r name pause; cat > /dev/null
sleep "$pause"; echo "$name" >> "$0"; sleep "$pause"
echo "did $name"
"""
"""A program with one effect in the middle of its work: a line in a file, by the name of the task."""


@dataclass(frozen=True)
class AskedTask:
    """A task that was acknowledged, and the id under which both sides know it."""

    name: str
    id: str
    asker: NodeProcess | None
    """`None`: a program without a node."""
    doer: NodeProcess


@dataclass
class Findings:
    """What a campaign has counted, and what it saw that must not be."""

    figures: dict[str, object] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return them as they are printed."""
        wide = max(len(name) for name in self.figures)
        return [
            *(f"  {name:<{wide}}  {figure}" for name, figure in self.figures.items()),
            *(f"VIOLATION: {sentence}" for sentence in self.violations),
        ]


class Ledger:
    """Puts load on nodes, and keeps account of what they acknowledged. Many threads may use it."""

    def __init__(self, effects: Path) -> None:
        """Keep account of a program that counts its effects in a file, see `COUNTING`."""
        self._effects = effects
        self._lock = Lock()
        self.tasks: list[AskedTask] = []
        self.messages: list[tuple[str, NodeProcess]] = []
        self.unacknowledged = 0

    @property
    def command(self) -> list[str]:
        """The command of a node whose effects are counted here."""
        return ["sh", "-c", COUNTING, str(self._effects)]

    @property
    def acknowledged(self) -> int:
        return len(self.tasks) + len(self.messages)

    # --- load -------------------------------------------------------------------------------------

    def ask(self, asker: NodeProcess, doer: NodeProcess, name: str, rest: str = "0.01") -> None:
        """Have a node delegate a task, once: without an answer nobody knows whether it did."""
        answer = _tried(asker, "/op/tasks", {"peer": _id(doer), "text": f"{name} {rest}"})
        with self._lock:
            if answer is not None and answer.status == 202:
                self.tasks.append(AskedTask(name, str(answer.json["id"]), asker, doer))
            else:
                self.unacknowledged += 1

    def say(self, asker: NodeProcess, to: NodeProcess, text: str) -> None:
        """Have a node send a message, once."""
        answer = _tried(asker, "/op/messages", {"peer": _id(to), "text": text})
        with self._lock:
            if answer is not None and answer.status == 202:
                self.messages.append((text, to))
            else:
                self.unacknowledged += 1

    def give(self, doer: NodeProcess, name: str) -> None:
        """Post a task without a node, under one id until it is acknowledged."""
        task = envelope(f"{name} 0.01")
        _insisted(doer, "/lan/task", task)
        with self._lock:
            self.tasks.append(AskedTask(name, str(task["id"]), None, doer))

    def post(self, to: NodeProcess, text: str) -> None:
        """Post a message without a node, under one id until it is acknowledged."""
        _insisted(to, "/lan/message", envelope(type="message", payload={"text": text}))
        with self._lock:
            self.messages.append((text, to))

    # --- the account ------------------------------------------------------------------------------

    def settle(self, nodes: Sequence[NodeProcess], within_s: float = SETTLING_S) -> bool:
        """Return whether, in time, nothing is open and nothing waits to be sent on any node."""
        try:
            until(lambda: all(map(_idle, nodes)), lambda: "still at work", within_s, every_s=0.3)
        except AssertionError:
            return False
        return True

    def account(self, nodes: Sequence[NodeProcess]) -> Findings:
        """Compare what was acknowledged with what both sides and the program say."""
        found = Findings()
        wrong = found.violations
        effects = Counter(self._effects.read_text().split()) if self._effects.exists() else Counter()
        ends: Counter[str] = Counter()
        attempts: dict[str, int] = {}
        lost = unequal = 0
        for task in self.tasks:
            views = [side.task(task.id) for side in (task.asker, task.doer) if side is not None]
            doing = views[-1]
            if any("state" not in view for view in views):
                lost += 1
                wrong.append(f"task {task.name} was acknowledged and is unknown: {_short(views)}")
                continue
            said = {(view["state"], view["result"], str(view["error"])) for view in views}
            if len(said) > 1 or doing["state"] not in FINAL:
                unequal += 1
                wrong.append(f"task {task.name} is not final and equal on both sides: {_short(views)}")
            ends[_end(doing)] += 1
            wrong += _disagreements(task.name, doing, effects[task.name])
            attempts[task.name] = doing["attempt"]
        # What nobody acknowledged may have run, too: as often as whoever has it says.
        begun = Counter(attempts)
        for node in nodes:
            begun |= _begun(node)
        twice = sum(1 for name, count in effects.items() if count > begun[name])
        said_count = {node.home: Counter(_texts(node)) for node in nodes}
        lost_messages = [text for text, to in self.messages if not said_count[to.home][text]]
        doubled = [text for seen in said_count.values() for text, count in seen.items() if count > 1]
        wrong += [f"message {text} was acknowledged and is lost" for text in lost_messages]
        wrong += [f"message {text} arrived more than once" for text in doubled]
        if twice:
            wrong.append(f"{twice} tasks had more effects than attempts")
        found.figures |= {
            "tasks acknowledged": len(self.tasks),
            "messages acknowledged": len(self.messages),
            "asked without an answer": self.unacknowledged,
            "acknowledged and lost": lost + len(lost_messages),
            "effects": sum(effects.values()),
            "effects done twice": twice,
            "messages twice": len(doubled),
            "not final, or not equal on both sides": unequal,
            **{f"ended {end}": count for end, count in sorted(ends.items())},
        }
        return found


def _disagreements(name: str, view: Json, effects: int) -> Iterable[str]:
    if view["state"] == "completed":
        if view["result"] != f"did {name}":
            yield f"task {name} has the result {view['result']!r}"
        if not effects:
            yield f"task {name} is completed and had no effect"
    elif view["state"] != "failed" or view["error"]["code"] != "interrupted":
        yield f"task {name} ended {_end(view)}"


def _end(view: Json) -> str:
    return str(view["state"]) if not view["error"] else f"{view['state']}: {view['error']['code']}"


def _short(views: Iterable[Json]) -> list[dict[str, object]]:
    return [{key: view.get(key) for key in ("id", "state", "error", "delivery", "code")} for view in views]


def _id(node: NodeProcess) -> str:
    return str(node.settings["profile"]["id"])


def _tried(node: NodeProcess, path: str, asked: Json) -> Answer | None:
    try:
        return node.op("POST", path, asked)
    except (OSError, http.client.HTTPException):
        return None


def _insisted(node: NodeProcess, path: str, what: Json) -> None:
    def taken() -> bool:
        try:
            return node.lan("POST", path, what, token=node.token).status == 202
        except (OSError, http.client.HTTPException):
            return False

    until(taken, lambda: f"{path} of {node.home.name} acknowledges nothing", SETTLING_S)


def _begun(node: NodeProcess) -> Counter[str]:
    """Return how often a node has begun each of the latest tasks that it does, by name."""
    doing = [task for task in node.op("GET", "/op/tasks?limit=1000").json if task["direction"] == "doing"]
    return Counter({task["description"].split()[0]: task["attempt"] for task in doing})


def _idle(node: NodeProcess) -> bool:
    return not node.op("GET", "/op/status").json["queued"] and not any(
        node.op("GET", f"/op/tasks?limit=1&state={state}").json for state in TaskState if state not in FINAL
    )


def _texts(node: NodeProcess) -> list[str]:
    return [message["text"] for message in node.op("GET", "/op/messages?limit=1000").json]
