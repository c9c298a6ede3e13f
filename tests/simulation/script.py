"""The plan of a run: nodes, what their owners do, and what goes wrong, all drawn from one seed."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lanmesh.model.task import AcceptMode
from tests.simulation.network import Weather
from tests.simulation.node import Settings
from tests.simulation.power import Loss
from tests.simulation.work import Kind, Work

DAY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """The owner of a node sends a message."""

    at: float
    node: str
    peer: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate:
    """The owner of a node, or its agent in a session, delegates a task and may watch it."""

    at: float
    node: str
    peer: str
    work: str
    timeout_s: float
    wait_s: float
    session: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A program that holds the shared token asks for a task, until it is told that it is stored."""

    at: float
    node: str
    id: str
    work: str
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide:
    """The owner of a node decides on the oldest task that waits for it."""

    at: float
    node: str
    approve: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """The owner of a node cancels one of the tasks that are open there, asked or to be done."""

    at: float
    node: str
    which: float
    """Its place among them, from 0 up to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The owner of a node answers the questions of all tasks that it asked for."""

    at: float
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resend:
    """The owner of a node sends again something that waits or was given up."""

    at: float
    node: str
    which: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A node forgets all that it may."""

    at: float
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A node ends after some more turns of the loop, or in the middle of a write; it comes back."""

    at: float
    node: str
    loss: Loss
    down_s: float
    turns: int | None = None
    operations: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A node is stopped in good order, and comes back."""

    at: float
    node: str
    down_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Nothing goes from one node to another."""

    at: float
    source: str
    target: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """The network is bad."""

    at: float
    weather: Weather
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """The wall clock of a node is set."""

    at: float
    node: str
    by_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """The disk of a node is full."""

    at: float
    node: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndHost:
    """What does the tasks beside a node ends, and comes back."""

    at: float
    node: str
    down_s: float


ByOwner = Say | Delegate | Decide | Cancel | Answer | Resend | Sweep
Trouble = Crash | Stop | Cut | Storm | Jump | Fill | EndHost
Step = ByOwner | Post | Trouble


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run needs, beside the seed of its dice."""

    seed: int
    nodes: tuple[Settings, ...]
    steps: tuple[Step, ...]
    """In order of time."""

    def outlasts(self, seconds: float) -> bool:
        """Return whether some clock may say that so much time has passed."""
        return sum(step.by_s for step in self.steps if isinstance(step, Jump) and step.by_s > 0) >= seconds

    def keeping(self, numbers: Sequence[int]) -> "Plan":
        """Return the plan with some of its steps only."""
        return replace(self, steps=tuple(self.steps[number] for number in numbers))


class _Author:
    """Draws a plan. Each has only some kinds of trouble, so that each gets its turn without the others."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(f"plan {seed}")  # noqa: S311  # nothing secret depends on it
        self.span_s = self.dice.choice((3.0, 30.0, 200.0, 900.0))
        self.tags = 0

    def plan(self) -> Plan:
        dice = self.dice
        names = "abcd"[: dice.choice((2, 2, 3, 3, 4))]
        self.names = names
        nodes = tuple(self.settings(name) for name in names)
        self.hosts = [node.name for node in nodes if node.host]
        self.manual = [node.name for node in nodes if node.accept_mode is AcceptMode.MANUAL]
        steps: list[Step] = []
        work: list[Callable[[], Step]] = [self.say, self.delegate, self.delegate, self.delegate, self.post]
        for _ in range(dice.randrange(2, 14)):
            steps.append(dice.choice(work)())
        later: list[Callable[[], Step]] = [
            make for make in (self.cancel, self.cancel, self.answer, self.resend, self.sweep)
            if dice.random() < 0.4
        ]  # fmt: skip
        if later:
            for _ in range(dice.randrange(1, 8)):
                steps.append(dice.choice(later)())
        for _ in self.manual * dice.randrange(4):
            steps.append(Decide(at=self.at(), node=dice.choice(self.manual), approve=dice.random() < 0.7))
        trouble: list[Callable[[], Step]] = [
            make for make in (self.crash, self.crash, self.stop, self.cut, self.storm, self.jump, self.fill,
                              self.end_host)
            if dice.random() < 0.4 and (make != self.end_host or self.hosts)
        ]  # fmt: skip
        if trouble:
            for _ in range(dice.randrange(1, 12)):
                steps.append(dice.choice(trouble)())
        steps.sort(key=lambda step: step.at)
        return Plan(self.seed, nodes, tuple(steps))

    def settings(self, name: str) -> Settings:
        dice = self.dice
        return Settings(
            name=name,
            accept_mode=dice.choices((AcceptMode.AUTO, AcceptMode.MANUAL, AcceptMode.OFF), (0.75, 0.2, 0.05))[
                0
            ],
            host=dice.random() < 0.4,
            repeatable=dice.random() < 0.3,
            concurrency=dice.choice((1, 2, 2, 8)),
            max_waiting=dice.choice((1000, 1000, 2)),
            proven=dice.random() < 0.7,
            strangers="".join(other for other in self.names if other != name and dice.random() < 0.1),
        )

    def at(self) -> float:
        return round(self.dice.random() * self.span_s, 3)

    def pair(self) -> tuple[str, str]:
        source, target = self.dice.sample(self.names, 2)
        return source, target

    def work(self, at: str, depth: int = 0) -> str:
        dice = self.dice
        self.tags += 1
        kind = dice.choices(tuple(Kind), (8, 2, 3, 1, 1, 3, 1))[0]
        seconds = dice.choice((0.0, 0.1, 1.0, 10.0, 60.0))
        onward = None
        if depth < 3 and dice.random() < 0.25:
            peer = dice.choice([name for name in self.names if name != at])
            onward = peer, self.work(peer, depth + 1)
        return str(Work(kind, f"w{self.tags}", seconds, onward))

    def say(self) -> Step:
        self.tags += 1
        source, target = self.pair()
        return Say(at=self.at(), node=source, peer=target, text=f"m{self.tags}")

    def delegate(self) -> Step:
        source, target = self.pair()
        return Delegate(
            at=self.at(),
            node=source,
            peer=target,
            work=self.work(target),
            timeout_s=self.dice.choice((600.0, 600.0, 30.0, 5.0)),
            wait_s=self.dice.choice((0.0, 0.0, 20.0, 480.0)),
            session=self.dice.choice((None, "main")),
        )

    def post(self) -> Step:
        node = self.dice.choice(self.names)
        work = self.work(node)
        return Post(at=self.at(), node=node, id=f"post-{self.tags}", work=work, timeout_s=600.0)

    def cancel(self) -> Step:
        return Cancel(at=self.at(), node=self.dice.choice(self.names), which=self.dice.random())

    def answer(self) -> Step:
        return Answer(at=self.at(), node=self.dice.choice(self.names))

    def resend(self) -> Step:
        return Resend(at=self.at(), node=self.dice.choice(self.names), which=self.dice.random())

    def sweep(self) -> Step:
        return Sweep(at=self.at(), node=self.dice.choice(self.names))

    def crash(self) -> Step:
        turns, operations = self.dice.choice(
            ((self.dice.randrange(40), None), (None, self.dice.randrange(30)))
        )
        return Crash(
            at=self.at(),
            node=self.dice.choice(self.names),
            loss=self.dice.choice(tuple(Loss)),
            down_s=self.down_s(),
            turns=turns,
            operations=operations,
        )

    def stop(self) -> Step:
        return Stop(at=self.at(), node=self.dice.choice(self.names), down_s=self.down_s())

    def cut(self) -> Step:
        source, target = self.pair()
        return Cut(at=self.at(), source=source, target=target, seconds=self.dice.choice((1.0, 20.0, 120.0)))

    def storm(self) -> Step:
        dice = self.dice
        weather = Weather(
            lose_request=dice.choice((0.0, 0.2, 0.7)),
            lose_answer=dice.choice((0.0, 0.2, 0.7)),
            double=dice.choice((0.0, 0.3)),
            slow_s=dice.choice((0.01, 0.5, 20.0)),
            stale_s=dice.choice((1.0, 60.0, 600.0)),
        )
        return Storm(at=self.at(), weather=weather, seconds=dice.choice((5.0, 60.0, 300.0)))

    def jump(self) -> Step:
        by_s = self.dice.choice((-26 * 3600.0, -3600.0, -60.0, -1.0, 1.0, 60.0, 3600.0, 26 * 3600.0))
        return Jump(at=self.at(), node=self.dice.choice(self.names), by_s=by_s)

    def fill(self) -> Step:
        return Fill(at=self.at(), node=self.dice.choice(self.names), seconds=self.dice.choice((1.0, 30.0)))

    def end_host(self) -> Step:
        return EndHost(at=self.at(), node=self.dice.choice(self.hosts), down_s=self.down_s())

    def down_s(self) -> float:
        return self.dice.choice((0.0, 1.0, 30.0))


def plan(seed: int) -> Plan:
    """Return the plan of a seed."""
    return _Author(seed).plan()
