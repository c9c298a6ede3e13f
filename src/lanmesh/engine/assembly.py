"""all parts of the engine, made of what the world gives it"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lanmesh.engine.admission import Limits
from lanmesh.engine.allowance import Allowance
from lanmesh.engine.approvals import Approvals
from lanmesh.engine.arrivals import Arrivals
from lanmesh.engine.cancel import Cancels
from lanmesh.engine.carriage import Carriage
from lanmesh.engine.clearance import Clearance
from lanmesh.engine.delivery import Deliveries
from lanmesh.engine.drafts import Drafts
from lanmesh.engine.envelopes import Envelopes
from lanmesh.engine.events import Events
from lanmesh.engine.files import Files
from lanmesh.engine.layout import Layout
from lanmesh.engine.mail import Mailroom
from lanmesh.engine.modes import AcceptModes
from lanmesh.engine.node import Node
from lanmesh.engine.outcomes import Outcomes
from lanmesh.engine.pairing import Pairings
from lanmesh.engine.parting import Partings
from lanmesh.engine.peers import Peers
from lanmesh.engine.ports import (
    Broom,
    Clock,
    Executor,
    FileLink,
    Machine,
    PeerLink,
    Random,
    Shelf,
    Strangers,
    Surroundings,
)
from lanmesh.engine.presence import Presences
from lanmesh.engine.pull import Pull
from lanmesh.engine.questions import Questions
from lanmesh.engine.roster import Roster
from lanmesh.engine.runner import Runner
from lanmesh.engine.sightings import Sightings
from lanmesh.engine.tasks import Tasks
from lanmesh.engine.watching import Watching
from lanmesh.model.profile import Identity
from lanmesh.model.task import AcceptMode
from lanmesh.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the engine is given: the store, the ports, and who this node is."""

    database: Database
    events: Events
    clock: Clock
    chance: Random
    roster: Roster
    presences: Presences
    sightings: Sightings
    link: PeerLink
    file_link: FileLink
    strangers: Strangers
    shelf: Shelf
    broom: Broom
    machine: Machine
    surroundings: Surroundings
    executor: Executor
    identity: Identity
    certificate: bytes
    """That of this node, in DER."""
    version: str
    boot: str
    """This life of the node."""
    port: int
    """Where other nodes dial this one; 0 if they cannot."""
    limits: Limits = field(default_factory=Limits)


class Work(Protocol):
    """A part that works by itself."""

    async def run(self) -> None:
        """Work until cancelled."""


class Engine:
    """The parts, wired to one another."""

    def __init__(
        self,
        world: World,
        *,
        cancels: type[Cancels] = Cancels,
        runner: type[Runner] = Runner,
        deliveries: type[Deliveries] = Deliveries,
    ) -> None:
        """Make them; nothing works yet. A test of the tests puts a faulty kind of a part in."""
        database, events, clock, chance = world.database, world.events, world.clock, world.chance
        roster, me = world.roster, world.identity.id
        allowance = Allowance(roster, world.limits, clock)
        modes = AcceptModes(database, roster)
        envelopes = Envelopes(me, clock, chance)
        outcomes = Outcomes(envelopes, roster, clock)
        canceling = cancels(envelopes, outcomes, clock)
        questions = Questions(
            database=database, events=events, clock=clock, envelopes=envelopes, outcomes=outcomes
        )
        peers = Peers(
            database=database,
            clock=clock,
            link=world.link,
            machine=world.machine,
            surroundings=world.surroundings,
            presences=world.presences,
            roster=roster,
            modes=modes,
            identity=world.identity,
            version=world.version,
        )
        files = Files(database=database, clock=clock, shelf=world.shelf, allowance=allowance)
        layout = Layout(
            database=database, events=events, clock=clock, shelf=world.shelf, room=files, outcomes=outcomes
        )
        self.clearance = Clearance(database=database, events=events, clock=clock, broom=world.broom)
        """What gives room back; its sweeps are asked for from outside."""
        carriage = Carriage(
            database=database,
            events=events,
            clock=clock,
            chance=chance,
            link=world.file_link,
            shelf=world.shelf,
            room=files,
            peers=roster,
            dialled=bool(world.port),
        )
        drafts = Drafts(events)
        watching = Watching(database=database, events=events, clock=clock, drafts=drafts)
        pull = Pull(
            database=database,
            events=events,
            clock=clock,
            chance=chance,
            link=world.link,
            drafts=drafts,
            allowance=allowance,
        )
        pairing = Pairings(
            database=database,
            events=events,
            clock=clock,
            chance=chance,
            roster=roster,
            strangers=world.strangers,
            sightings=world.sightings,
            partings=Partings(roster, canceling, modes, peers, clock),
            certificate=world.certificate,
            port=world.port,
        )
        self.node = Node(
            tasks=Tasks(
                database=database,
                clock=clock,
                chance=chance,
                watching=watching,
                pull=pull,
                peers=peers,
                envelopes=envelopes,
                outcomes=outcomes,
                cancels=canceling,
                questions=questions,
            ),
            arrivals=Arrivals(
                database=database,
                clock=clock,
                chance=chance,
                watching=watching,
                peers=peers,
                modes=modes,
                allowance=allowance,
                cancels=canceling,
                questions=questions,
                limits=world.limits,
            ),
            modes=modes,
            mail=Mailroom(
                database=database,
                events=events,
                clock=clock,
                peers=peers,
                allowance=allowance,
                envelopes=envelopes,
            ),
            files=files,
            peers=peers,
            pairing=pairing,
            allowance=allowance,
            roster=roster,
            clock=clock,
            database=database,
            version=world.version,
        )
        self.runner = runner(
            database=database,
            events=events,
            clock=clock,
            executor=world.executor,
            outcomes=outcomes,
            boot=world.boot,
            concurrency=world.limits.concurrency,
            files=files,
            drafts=drafts,
        )
        self._deliveries = deliveries(
            database=database,
            events=events,
            clock=clock,
            chance=chance,
            link=world.link,
            allowance=allowance,
        )
        approvals = Approvals(database=database, events=events, clock=clock, outcomes=outcomes, me=me)
        self.works: Sequence[Work] = (
            self.runner,
            self._deliveries,
            pull,
            approvals,
            questions,
            layout,
            self.clearance,
            carriage,
            pairing,
        )
        """What works by itself, once the engine has begun."""

    async def begin(self, mode: AcceptMode) -> None:
        """Settle what an earlier life has left, and take the configured accept modes.

        Raises:
            StorageFailed: The disk does not take it.
        """
        await self.node.modes.configure(mode)
        await self._deliveries.recover()
