"""one node: the world around its engine, and the order in which its parts start and stop"""

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor as Pool
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from lanmesh import __version__
from lanmesh.beside import Beside
from lanmesh.broom import Broom
from lanmesh.config import Config
from lanmesh.engine.assembly import Engine, World
from lanmesh.engine.callers import Caller
from lanmesh.engine.events import Events
from lanmesh.engine.node import Node
from lanmesh.engine.presence import Presences
from lanmesh.engine.retention import Keep, Retention
from lanmesh.engine.roster import Roster
from lanmesh.engine.sightings import Sightings
from lanmesh.errors import StorageFailed
from lanmesh.faces.blobs import Blobs
from lanmesh.faces.commands import Commands
from lanmesh.faces.description import Description
from lanmesh.faces.http import Route, application, guarded
from lanmesh.faces.operator import Operator
from lanmesh.faces.pairing import Pairing
from lanmesh.faces.rest import Rest
from lanmesh.faces.tools import Tools
from lanmesh.home import Home
from lanmesh.listening import Listening
from lanmesh.locations import StateFolder, dotenv, write_private
from lanmesh.machine import LocalMachine, SystemClock, SystemRandom
from lanmesh.model.ids import NodeId
from lanmesh.model.peer import PairingState
from lanmesh.net.calls import Calls
from lanmesh.net.dialling import Ways
from lanmesh.net.files import HttpFiles
from lanmesh.net.identity import NodeIdentity
from lanmesh.net.inward import App
from lanmesh.net.link import HttpLink
from lanmesh.net.live import Links
from lanmesh.net.strangers import TlsStrangers
from lanmesh.shelf import Shelf
from lanmesh.status import Status
from lanmesh.store.database import Change, Database, Topic
from lanmesh.tokens import EnvironmentTokens, operator_token

log = logging.getLogger(__name__)

T = TypeVar("T")

FORWARDING = "x-lanmesh-forwarding"
"""Header that opens `/lan/*` on the operator port to the gateway's plugin."""


class Composition:
    """One node with one set of settings."""

    def __init__(
        self, folder: StateFolder, settings: Config, take: Callable[[bytes], None], home: Home
    ) -> None:
        """Take settings as they are; new ones that arrive are handed to `take`."""
        self._folder = folder
        self._config = settings
        self._take = take
        self._boot = secrets.token_hex(8)
        self._events = Events()
        self._clock = SystemClock()
        self._chance = SystemRandom()
        self._tokens = EnvironmentTokens(dotenv(os.environ), os.environ, settings.peer_tokens)
        self._status = Status(folder, settings, self._tokens, home)
        self._token = ""
        self._links: Links | None = None
        self._link: HttpLink | None = None

    async def serve(self, stop: asyncio.Event) -> None:
        """Be the node until `stop` is set."""
        self._token = operator_token(self._folder.operator_token)
        self._identity = NodeIdentity.kept_in(self._folder.identity)
        self._listening = Listening(
            self._config
        )  # before any task is begun, which a port in use would interrupt
        async with AsyncExitStack() as parts:
            writer = parts.enter_context(ThreadPoolExecutor(1, "writer"))
            spare = parts.enter_context(ThreadPoolExecutor(1, "checkpoints"))
            database = Database(
                self._folder.database,
                in_writer=lambda work: _in_pool(writer, work),
                on_commit=self._committed,
            )
            parts.callback(database.release)
            self._roster = Roster(
                database=database,
                clock=self._clock,
                tokens=self._tokens,
                configured=self._config.peers,
                with_own_token=frozenset(
                    peer for peer, tokens in self._config.peer_tokens.items() if tokens.inbound_token_env_var
                ),
                me=self._config.identity.id,
                node_id=self._identity.node_id,
            )
            self._calls = await parts.enter_async_context(Calls())
            # The writer outlives all that writes: even what ends by a fault can settle its claims.
            async with asyncio.TaskGroup() as foundation:
                foundation.create_task(database.serve())
                tidying = foundation.create_task(
                    database.keep_small(lambda work: _in_pool(spare, work), self._clock.sleep)
                )
                try:
                    async with asyncio.TaskGroup() as group:
                        await self._live(database, stop, group)
                finally:
                    tidying.cancel()
                    database.close()

    def _committed(self, changes: Iterable[Change]) -> None:
        """Let the ports and all who wait know what is different, before the caller goes on."""
        self._roster.note(changes)
        for topic, key in changes:
            if topic is Topic.DISTRUST:
                self._listening.drop(NodeId(key))
                for outward in (self._links, self._link):
                    if outward is not None:
                        outward.drop(NodeId(key))
            if topic is Topic.PAIRING:
                for certificate in self._trusted():
                    self._listening.trust(certificate)
        self._events.publish(changes)

    def _trusted(self) -> list[bytes]:
        """Return the certificates that peers may show."""
        known = self._roster.pairings(PairingState.PENDING, PairingState.PAIRED)
        return [pairing.certificate for pairing in known]

    async def _live(self, database: Database, stop: asyncio.Event, group: asyncio.TaskGroup) -> None:
        settings, clock, chance = self._config, self._clock, self._chance
        beside = Beside.of(settings, self._folder, events=self._events, clock=clock, chance=chance)
        roster = self._roster
        sightings = Sightings(
            node_id=roster.node_id, peer_of=roster.peer_of, events=self._events, clock=clock
        )
        ways = Ways(sightings.places, roster.moved)
        machine = LocalMachine()
        presences = Presences(roster, machine, clock)
        links = self._links = Links(
            roster,
            roster,
            calls=self._calls,
            identity=self._identity,
            ways=ways,
            events=self._events,
            clock=clock,
            chance=chance,
            boot=self._boot,
            met=lambda peer, boot: engine.node.peers.met(peer, boot),  # noqa: PLW0108  # made of links
            parted=lambda peer: engine.node.peers.parted(peer),  # noqa: PLW0108  # so too
            heard=presences.heard,
            look=lambda peer: link.look(peer),  # noqa: PLW0108  # that uses them where they are open
            profile=lambda peer: engine.node.peers.own_profile(Caller(peer=peer)),
            told=lambda peer, body: engine.node.peers.told(peer, body),  # noqa: PLW0108  # so too
        )
        link = self._link = HttpLink(
            roster,
            roster,
            calls=self._calls,
            identity=self._identity,
            pin=roster.pin,
            ways=ways,
            live=links.to,
            heard=presences.heard,
        )
        engine = Engine(
            World(
                database=database,
                events=self._events,
                clock=clock,
                chance=chance,
                roster=roster,
                presences=presences,
                sightings=sightings,
                link=link,
                file_link=HttpFiles(link),
                strangers=TlsStrangers(self._calls, self._identity),
                shelf=Shelf(self._folder.blobs, self._folder.work),
                broom=Broom(self._folder.blobs, self._folder.work),
                machine=machine,
                surroundings=beside.surroundings,
                executor=beside.executor,
                identity=settings.identity,
                certificate=self._identity.certificate,
                version=__version__,
                boot=self._boot,
                port=0 if settings.node.dial_only else self._listening.addresses["mesh"][1],
                limits=settings.limits,
            )
        )
        node = engine.node
        await engine.begin(settings.accept_mode)
        keep = Keep(age_s=settings.node.keep_days * 24 * 3600.0, count=settings.node.keep_count)
        retention = Retention(database=database, clock=clock, keep=keep, clearance=engine.clearance)
        works = (
            *(work.run() for work in engine.works),
            retention.run(),
            presences.run(),
            *beside.works(node),
        )
        working = [group.create_task(work) for work in works]
        blobs = Blobs(node).routes()
        rest = Rest(node, blobs).routes()
        mesh, tls = links.beside(application(rest)), self._identity.serving(self._trusted())
        listening = self._listening.serve(mesh, self._operator(node, rest), tls)
        serving = [group.create_task(work) for work in listening]
        # The bytes of files have connections of their own: a link carries what fits into a frame.
        answering = application([route for route in rest if route not in blobs])
        reaching = (links.run(answering), *self._seeking(node))
        working += [group.create_task(work) for work in reaching]
        self._announce(node)
        try:
            await stop.wait()
        finally:
            log.info("stopping")
            self._folder.node.unlink(missing_ok=True)
            node.tasks.stop()
            self._listening.stop()
            for work in working:
                work.cancel()
            await asyncio.gather(*serving, *working, return_exceptions=True)

    def _seeking(self, node: Node) -> list[Coroutine[Any, Any, None]]:
        """Return what finds other nodes, and lets them find this one, if that is wanted."""
        if not self._config.node.discovery:
            return []
        from lanmesh.net.discovery import Discovery, interfaces_of  # noqa: PLC0415  # 3 MB, and not needed to listen

        keys = self._config.node
        host, port = (keys.listen, None) if keys.dial_only else self._listening.addresses["mesh"]
        discovery = Discovery(
            node_id=self._identity.node_id,
            boot=self._boot,
            name=self._config.identity.name,
            port=port,
            interfaces=lambda: interfaces_of(host),
            sightings=node.pairing.sightings,
            clock=self._clock,
        )
        return [discovery.run(), node.pairing.announce(discovery.show_code)]

    def _operator(self, node: Node, rest: list[Route]) -> App:
        """Return what answers on the operator port: the owner's faces, and to the plugin that of peers."""
        addresses = self._listening.addresses
        local = [
            *Operator(
                node, lambda: self._status.view(node, addresses), self._status.settings, self._take
            ).routes(),
            *Pairing(node, addresses["mesh"]).routes(),
            *Tools(node).routes(),
            *Commands(node).routes(),
        ]
        title = "OpenClaw LAN Mesh: the operator port"
        local += Description("/op/openapi.json", title, __version__, local).routes()
        return application([*guarded(local, self._token), *guarded(rest, self._token, FORWARDING)])

    def _announce(self, node: Node) -> None:
        addresses = self._listening.addresses
        listening = {name: {"host": host, "port": port} for name, (host, port) in addresses.items()}
        about = {"pid": os.getpid(), "boot": self._boot, "version": __version__, **listening}
        try:
            write_private(self._folder.node, json.dumps(about) + "\n")
        except OSError as fault:
            raise StorageFailed(
                f"{self._folder.node} cannot be written: {fault.strerror or fault}"
            ) from fault
        for name, (host, port) in addresses.items():
            log.info("listening", extra={"port": port, "host": host, "face": name})
        for sentence in self._status.warnings(node):
            log.warning(sentence)


async def _in_pool(pool: Pool, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, work)
