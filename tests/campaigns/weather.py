"""Hosts that are suspended, cut off, heard one way only, or on a network that loses every tenth packet."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from tests.acceptance.node_process import NodeProcess, until
from tests.campaigns.ledger import Findings, Ledger
from tests.namespaces.cable import Way
from tests.namespaces.hosts import MESH_PORT, Host, Networks

RIGHT_S = 30.0
"""So long after something has begun or ended, presence is right."""

LOOK_S = 0.25
SLOW_S = 60.0
MB = 1024 * 1024

MOST_CARRIED = 1.1
"""Times the bytes of a file; the heads of packets and records are a twentieth."""

LOST_WITH_EACH = 3 * MB // 2
"""Bytes that had come when a fault did, and were not kept yet."""


@dataclass(frozen=True)
class Spell:
    """Bad weather, so long at least and until it is told; and what each side may say meanwhile, in order."""

    name: str
    seconds: float
    begin: Callable[[], None]
    end: Callable[[], None]
    a_says: tuple[str, ...]
    b_says: tuple[str, ...]
    b_answers: bool = True
    """Whether its owner can ask anything of b."""


@dataclass
class Watch:
    """Looks all the time what a node says of a peer."""

    node: NodeProcess
    peer: str
    seen: list[tuple[float, str]] = field(default_factory=list)

    def run(self, over: threading.Event) -> None:
        """Note each change, until it is over."""
        while not over.wait(LOOK_S):
            with suppress(OSError, HTTPException):  # it is suspended
                views = {view["id"]: str(view["presence"]) for view in self.node.op("GET", "/op/peers").json}
                if self.now != views[self.peer]:
                    self.seen.append((time.monotonic(), views[self.peer]))

    @property
    def now(self) -> str | None:
        return self.seen[-1][1] if self.seen else None

    def since(self, moment: float) -> list[tuple[float, str]]:
        """Return what it said anew after a moment, and how many seconds after."""
        return [(at - moment, state) for at, state in self.seen if at >= moment]


class Weather:
    """Two hosts on one network, with a cable between them that the campaign has in its hand."""

    def __init__(
        self, folder: Path, parts: ExitStack, tell: Callable[[str], None], right_s: float = RIGHT_S
    ) -> None:
        """Start and pair them; presence has so long to be right."""
        self.tell = tell
        self.right_s = right_s
        self.ledger = Ledger(folder / "effects")
        self.found = Findings()
        networks = parts.enter_context(Networks(folder / "hosts"))
        keys = {"command": self.ledger.command, "concurrency": 4, "repeatable": False}
        self._host: Host = networks.host("a", {"lan": "10.77.0.1"}, **keys)
        other = networks.host("b", {"lan": "10.77.0.2"}, **keys)
        self.cable = self._host.cable("lan")
        self._host.start()
        other.start()
        self.a, self.b = self._host.node, other.node
        code = self.b.lanmesh("pair", "--json").json["code"]
        said = self.a.lanmesh("pair", code, "--at", f"10.77.0.2:{MESH_PORT}")
        assert said.status == 0, said.err
        self._views = (Watch(self.a, "b"), Watch(self.b, "a"))
        over = threading.Event()
        watching = ThreadPoolExecutor(len(self._views))
        parts.callback(watching.shutdown)
        parts.callback(over.set)
        for view in self._views:
            watching.submit(view.run, over)
        self._here()

    # --- the kinds of weather ---------------------------------------------------------------------

    def suspended(self, seconds: float) -> Spell:
        return Spell(
            f"b suspended by SIGSTOP, {seconds:g} s or more",
            seconds,
            lambda: self.b.signal(signal.SIGSTOP),
            lambda: self.b.signal(signal.SIGCONT),
            a_says=("quiet", "gone", "here"),
            b_says=(),
            b_answers=False,
        )

    def unplugged(self, seconds: float) -> Spell:
        """A's own network is down, which it knows: so it judges nobody."""
        return Spell(
            f"a's interface down, {seconds:g} s or more",
            seconds,
            lambda: self._host.unplug("lan"),
            lambda: self._host.plug_in("lan"),
            a_says=("quiet", "here"),
            b_says=("quiet", "gone", "here"),
        )

    def one_way(self, way: Way, seconds: float) -> Spell:
        return Spell(
            f"nothing passes {way} of a, {seconds:g} s or more",
            seconds,
            lambda: self.cable.cut.add(way),
            self.cable.mend,
            a_says=("quiet", "gone", "here"),
            b_says=("quiet", "gone", "here"),
        )

    def lossy(self, share: float, seconds: float) -> Spell:
        def begin() -> None:
            self.cable.loss = share

        return Spell(
            f"{share:.0%} of all packets lost, {seconds:g} s or more",
            seconds,
            begin,
            self.cable.mend,
            a_says=(),
            b_says=(),
        )

    # --- what is done in it -----------------------------------------------------------------------

    def live_through(self, spell: Spell, tasks: int) -> None:
        """Ask for tasks and send messages before, in and after it, and look what each says of the other."""
        name = f"s{len(self.found.figures)}"
        with ThreadPoolExecutor(tasks * 8) as callers:  # each of its own: some wait for long
            self._load(callers, f"{name}-before", tasks)
            began = time.monotonic()
            spell.begin()
            try:
                self._load(callers, f"{name}-in", tasks, b_answers=spell.b_answers)
                time.sleep(max(0.0, began + spell.seconds - time.monotonic()))  # no wait: the spell
                self._told(spell)
            finally:
                ended = time.monotonic()
                spell.end()
            self._load(callers, f"{name}-after", tasks)
            self._here()
        self._judge(spell, began, ended)

    def _load(self, callers: ThreadPoolExecutor, name: str, tasks: int, *, b_answers: bool = True) -> None:
        for number in range(tasks):
            for asker, doer in ((self.a, self.b), (self.b, self.a)) if b_answers else ((self.a, self.b),):
                each = f"{name}-{asker.settings['profile']['id']}-{number}"
                callers.submit(self.ledger.ask, asker, doer, each)
                callers.submit(self.ledger.say, asker, doer, f"{each}-says")

    def _here(self) -> None:
        until(
            lambda: all(view.now == "here" for view in self._views),
            lambda: [view.seen for view in self._views] + [self.a.log.read_text(), self.b.log.read_text()],
            SLOW_S,
        )

    def _told(self, spell: Spell) -> None:
        """Return once each side that can be asked says what it should by then."""
        asked = [(self._views[0], spell.a_says)]
        if spell.b_answers:
            asked.append((self._views[1], spell.b_says))
        for view, expected in asked:
            worst = expected[-2] if expected else "here"
            until(lambda view=view, worst=worst: view.now == worst, lambda view=view: view.seen, SLOW_S)  # type: ignore[misc]  # bound at once

    def _judge(self, spell: Spell, began: float, ended: float) -> None:
        told = []
        for view, expected in zip(self._views, (spell.a_says, spell.b_says), strict=True):
            said = view.since(began)
            states = tuple(state for _, state in said)
            who = "a" if view.peer == "b" else "b"
            told.append(f"{who}: " + (", ".join(f"{state} {at:.1f} s" for at, state in said) or "here"))
            self._see(states == expected, f"{spell.name}: {who} said {states}, not {expected}")
            for at, state in said:
                late = at - (ended - began) if state == "here" else at
                self._see(late <= self.right_s, f"{spell.name}: {who} said {state} only after {late:.1f} s")
        self.found.figures[spell.name] = "; ".join(told)
        self.tell(f"  {spell.name}: {'; '.join(told)}")

    def file(self, megabytes: int, *faults: Callable[[], None], way: Way = Way.OUT) -> None:
        """Carry a file whose way is cut in the middle, once for each fault, which then happens.

        Out of a it is brought. Into it, it has to be fetched: nobody can dial a for as long.
        """
        size = megabytes * MB
        sender, receiver = (self.a, self.b) if way is Way.OUT else (self.b, self.a)
        path, sha256 = random_file(sender.home / f"of-{megabytes}-mb", size)
        if way is Way.IN:
            self.cable.walled = True
            self.a.restart()  # what was open before the wall is not
        before = self.cable.passed[way]
        began = time.monotonic()
        (kept,) = sender.op("POST", "/op/files", {"paths": [str(path)]}).json
        self.cable.cut_at = way, before + size // (len(faults) + 1)
        to = receiver.settings["profile"]["id"]
        sender.op("POST", "/op/messages", {"peer": to, "text": "see", "files": [kept]})
        for number, fault in enumerate(faults, 2):
            until(lambda: self.cable.cut, sender.log.read_text, self._patience(megabytes))
            fault()
            further = before + size * number // (len(faults) + 1)
            self.cable.mend()
            self.cable.cut_at = (way, further) if number <= len(faults) else None
        found = until(lambda: _came(receiver, sha256), receiver.log.read_text, self._patience(megabytes))
        took_s = time.monotonic() - began
        carried = self.cable.passed[way] - before
        self.cable.walled = False
        fits = sha256_of(Path(found)) == sha256
        name = (
            f"a file of {megabytes} MB {'brought' if way is Way.OUT else 'fetched'}, cut {len(faults)} times"
        )
        self._see(fits, f"{name}: its hash does not fit")
        most = MOST_CARRIED * size + len(faults) * LOST_WITH_EACH
        self._see(carried <= most, f"{name}: {carried / size:.2f} times its bytes passed")
        self.found.figures[name] = (
            f"{carried / size:.3f} times its bytes on the wire, {took_s:.0f} s, sha256 fits: {fits}"
        )
        self.tell(f"  {name}: {self.found.figures[name]}")
        self._here()

    def _patience(self, megabytes: int) -> float:
        return 600.0 + megabytes

    def cut_for(self, seconds: float) -> Callable[[], None]:
        """Return a fault: the cable is out for a time."""
        return lambda: time.sleep(seconds)  # no wait: the fault

    def account(self) -> Findings:
        """Return what was counted, once all is done that was acknowledged."""
        if not self.ledger.settle((self.a, self.b)):
            self.found.violations.append("tasks or deliveries were still open long after the last spell")
        counted = self.ledger.account((self.a, self.b))
        self.found.figures |= counted.figures
        self.found.violations += counted.violations
        return self.found

    def _see(self, good: bool, otherwise: str) -> None:
        if not good:
            self.found.violations.append(otherwise)


def weather(folder: Path, *, megabytes: int, tell: Callable[[str], None]) -> Findings:
    """Run the campaign, and say what came of it."""
    with ExitStack() as parts:
        all_weather = Weather(folder, parts, tell)
        for spell in (
            all_weather.lossy(0.1, 120),
            all_weather.unplugged(60),
            all_weather.one_way(Way.OUT, 60),
            all_weather.one_way(Way.IN, 60),
            all_weather.suspended(120),
        ):
            all_weather.live_through(spell, tasks=10)

        def suspended() -> None:
            all_weather.b.signal(signal.SIGSTOP)
            time.sleep(120)  # no wait: the fault
            all_weather.b.signal(signal.SIGCONT)

        faults = all_weather.cut_for(75), suspended, all_weather.a.restart, all_weather.b.restart
        for way in Way:
            all_weather.file(megabytes, *faults, way=way)
        return all_weather.account()


def _came(node: NodeProcess, sha256: str) -> str:
    files = [file for message in node.op("GET", "/op/messages").json for file in message["files"]]
    return next((file["place"] for file in files if file["sha256"] == sha256 and file["place"]), "")


def random_file(path: Path, size: int) -> tuple[Path, str]:
    """Write a file of bytes that nobody has seen; return it and its sha256."""
    with path.open("wb") as file:
        for begin in range(0, size, MB):
            file.write(os.urandom(min(MB, size - begin)))
    return path, sha256_of(path)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
