"""Pairing between nodes with real databases: every way to break off, and what is left on both sides."""

import asyncio
import logging
from contextlib import suppress

import apsw
import pytest

from lanmesh.errors import (
    AnswerLost,
    CertMismatch,
    ClientCertRequired,
    InvalidRequest,
    MeshError,
    NotAuthenticated,
    PairingClosed,
    PairingFailed,
    PeerNotFound,
)
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import DEFAULT_PORT, PENDING_S, Pairing, PairingState, Sighting, Wire
from lanmesh.protocol.pairing import PROOF_S, WINDOW_S
from tests.fakes import Fault, Mesh, NodeUnderTest, a_task, settle, soon, until

START, FINISH, WHOAMI = "/lan/pair/start", "/lan/pair/finish", "/lan/whoami"


async def two(mesh: Mesh) -> tuple[NodeUnderTest, NodeUnderTest]:
    """Return two nodes that do not know each other."""
    a, b = mesh.describe("a"), mesh.describe("b")
    await a.start()
    await b.start()
    return a, b


async def dial(a: NodeUnderTest, b: NodeUnderTest) -> Pairing:
    code = b.node.pairing.invite().code
    return await soon(a.node.pairing.dial(code, f"{b.name}.lan", DEFAULT_PORT))


def known(node: NodeUnderTest) -> list[tuple[str, PairingState]]:
    return [(pairing.peer, pairing.state) for pairing in node.roster.pairings(*PairingState)]


def are_paired(a: NodeUnderTest, b: NodeUnderTest) -> bool:
    """Return whether both count on the other, under the same credentials."""
    if len(known(a)) != 1 or len(known(b)) != 1:
        return False
    (at_a,), (at_b,) = a.roster.pairings(*PairingState), b.roster.pairings(*PairingState)
    return (
        at_a.state == at_b.state == PairingState.PAIRED
        and (at_a.node_id, at_b.node_id) == (b.node_id, a.node_id)
        and at_a.session == at_b.session
    )


async def test_one_code_makes_peers_of_two_nodes(mesh: Mesh) -> None:
    a, b = await two(mesh)

    pairing = await dial(a, b)

    assert are_paired(a, b)
    assert (pairing.peer, pairing.state) == ("b", PairingState.PAIRED)
    assert a.roster[PeerId("b")].wire is b.roster[PeerId("a")].wire is Wire.PAIRED
    guest = b.node.pairing.invitation().guest
    assert guest is not None
    assert guest.peer == "a"
    assert a.roster.outbound(PeerId("b")) not in (None, b.roster.outbound(PeerId("a")))


async def test_whoever_showed_the_code_hears_who_used_it(mesh: Mesh) -> None:
    a, b = await two(mesh)
    code = b.node.pairing.invite().code
    assert not (await soon(b.node.pairing.expected(0))).guest

    await soon(a.node.pairing.dial(code.lower(), "b.lan", DEFAULT_PORT))

    told = await soon(b.node.pairing.expected(50))
    assert told.guest is not None
    assert told.guest.node_id == a.node_id


async def test_without_a_window_or_with_a_wrong_code_nothing_is_stored(mesh: Mesh) -> None:
    a, b = await two(mesh)
    with pytest.raises(PairingClosed):
        b.node.pairing.invitation()
    with pytest.raises(PairingClosed):
        await soon(a.node.pairing.dial("AAAA-AAAA", "b.lan", DEFAULT_PORT))

    b.node.pairing.invite()
    with pytest.raises(PairingFailed):
        await soon(a.node.pairing.dial("AAAA-AAAA", "b.lan", DEFAULT_PORT))

    assert known(a) == known(b) == []


async def use_up(mesh: Mesh, b: NodeUnderTest) -> None:
    """Let two machines begin all the tries of a code, and prove nothing."""
    for name, tries in (("mallory", 2), ("marvin", 1)):
        machine = mesh.describe(name)
        await machine.start()
        machine.strangers.faults[FINISH] = Fault.LOSE_REQUEST
        for _ in range(tries):
            with pytest.raises(AnswerLost):
                await soon(machine.node.pairing.dial("AAAA-AAAA", "b.lan", DEFAULT_PORT))


async def test_a_code_that_strangers_have_used_up_is_told_with_where_they_are(mesh: Mesh) -> None:
    a, b = await two(mesh)
    code = b.node.pairing.invite().code
    waiting = asyncio.create_task(b.node.pairing.expected(WINDOW_S))
    await use_up(mesh, b)
    with pytest.raises(PairingClosed):
        await soon(a.node.pairing.dial(code, "b.lan", DEFAULT_PORT))
    assert b.node.pairing.used_up() is None  # the last of them may still prove itself

    await mesh.clock.advance(PROOF_S + 1)

    told = await soon(waiting)
    assert (told.open, told.guest) == (False, None)
    assert told.in_vain == ("mallory.lan", "mallory.lan", "marvin.lan")
    assert "from mallory.lan, marvin.lan" in str(b.node.pairing.used_up())
    await soon(a.node.pairing.dial(b.node.pairing.invite().code, "b.lan", DEFAULT_PORT))
    assert (are_paired(a, b), b.node.pairing.used_up()) == (True, None)


async def test_one_machine_that_guesses_keeps_nobody_else_from_pairing(mesh: Mesh) -> None:
    a, b = await two(mesh)
    mallory = mesh.describe("mallory")
    await mallory.start()
    code = b.node.pairing.invite().code
    refusals = []
    for _ in range(5):
        with pytest.raises((PairingFailed, PairingClosed)) as refused:
            await soon(mallory.node.pairing.dial("AAAA-AAAA", "b.lan", DEFAULT_PORT))
        refusals.append(refused.type)

    await soon(a.node.pairing.dial(code, "b.lan", DEFAULT_PORT))

    assert are_paired(a, b)
    assert refusals == [PairingFailed] * 2 + [PairingClosed] * 3


async def test_whoever_waits_with_a_code_hears_of_each_wrong_one(mesh: Mesh) -> None:
    a, b = await two(mesh)
    b.node.pairing.invite()
    waiting = asyncio.create_task(b.node.pairing.expected(50))
    await settle()

    with pytest.raises(PairingFailed):
        await soon(a.node.pairing.dial("AAAA-AAAA", "b.lan", DEFAULT_PORT))

    told = await soon(waiting)
    assert (told.open, told.in_vain) == (True, ("a.lan",))


async def test_a_node_that_stops_lets_go_of_whoever_waits_with_a_code(mesh: Mesh) -> None:
    a, b = await two(mesh)
    b.node.pairing.invite()
    a.sightings.looking = True
    waiting = asyncio.create_task(b.node.pairing.expected(50))
    looking = asyncio.create_task(a.node.pairing.find("ABCD-EFGH"))
    await settle()

    for node in (a, b):
        node.node.tasks.stop()

    assert (await soon(waiting)).open
    with pytest.raises(PairingClosed):
        await soon(looking)


async def test_a_new_code_takes_the_place_of_the_old_one(mesh: Mesh) -> None:
    a, b = await two(mesh)
    old = b.node.pairing.invite().code
    new = b.node.pairing.invite().code

    with pytest.raises(PairingFailed):
        await soon(a.node.pairing.dial(old, "b.lan", DEFAULT_PORT))
    await soon(a.node.pairing.dial(new, "b.lan", DEFAULT_PORT))

    assert are_paired(a, b)


async def test_somebody_in_between_gets_nothing_and_neither_side_stores_a_peer(mesh: Mesh) -> None:
    a, b = await two(mesh)
    mallory = mesh.describe("mallory")
    a.strangers.between = mallory

    with pytest.raises(PairingFailed):
        await dial(a, b)

    assert known(a) == known(b) == []
    assert not any(b"token" in body for _, body in a.strangers.said)


async def test_a_lost_last_answer_is_asked_again(mesh: Mesh) -> None:
    a, b = await two(mesh)
    a.strangers.faults[FINISH] = Fault.LOSE_ANSWER

    await dial(a, b)

    assert are_paired(a, b)
    assert [path for path, _ in a.strangers.said].count(FINISH) == 2


async def test_a_last_answer_that_never_comes_leaves_none_on_either_side(mesh: Mesh) -> None:
    a, b = await two(mesh)
    a.strangers.faults[FINISH] = Fault.LOSE_REQUEST
    with pytest.raises(AnswerLost):
        await dial(a, b)

    assert known(a) == known(b) == []


async def crash_before(a: NodeUnderTest, b: NodeUnderTest, path: str, victim: NodeUnderTest) -> None:
    """Let a node dial another, one of which loses its power before a request goes out."""

    def power_cut(about: str) -> None:
        if about == path:
            victim.writer.broken = True
            victim.running = False
            raise AnswerLost("the power is gone")

    a.strangers.before = power_cut
    code = b.node.pairing.invite().code
    with pytest.raises((AnswerLost, PairingFailed, PairingClosed)):
        await soon(a.node.pairing.dial(code, "b.lan", DEFAULT_PORT))
        if path == WHOAMI:
            raise AnswerLost("what is stored there counts when it is back")
    a.strangers.before = lambda _: None
    await victim.crash()
    await victim.start()


@pytest.mark.parametrize("path", [START, FINISH])
@pytest.mark.parametrize("victim", ["a", "b"])
async def test_a_crash_before_the_proof_has_arrived_leaves_none(mesh: Mesh, path: str, victim: str) -> None:
    a, b = await two(mesh)

    await crash_before(a, b, path, mesh.nodes[victim])

    assert known(a) == known(b) == []


async def test_a_crash_of_the_dialler_before_it_stored_leaves_none_after_the_pending_time(mesh: Mesh) -> None:
    a, b = await two(mesh)
    a.strangers.faults[FINISH] = Fault.LOSE_ANSWER

    def power_cut(path: str) -> None:
        if path == FINISH and FINISH not in a.strangers.faults:
            raise AnswerLost("the power is gone")  # before it asks again

    a.strangers.before = power_cut
    with pytest.raises(AnswerLost):
        await dial(a, b)
    await a.crash()
    await a.start()

    assert (known(a), known(b)) == ([], [("a", PairingState.PENDING)])
    await mesh.clock.advance(PENDING_S + 1)
    assert known(b) == []


@pytest.mark.parametrize("victim", ["a", "b"])
async def test_a_crash_before_the_first_call_ends_paired_on_both_sides(mesh: Mesh, victim: str) -> None:
    a, b = await two(mesh)

    await crash_before(a, b, WHOAMI, mesh.nodes[victim])
    await mesh.clock.advance(20)

    await until(lambda: are_paired(a, b))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("name", ["a", "b"])
async def test_a_crash_at_any_commit_of_a_ceremony_ends_alike_on_both_sides(
    mesh: Mesh, name: str, number: int, moment: str
) -> None:
    a, b = await two(mesh)
    victim = mesh.nodes[name]
    crash = victim.writer.commits + number

    def power_cut(commit: int) -> None:
        if commit == crash:
            victim.writer.broken = True
            victim.running = False
            raise apsw.IOError("the power is gone")

    if moment == "before":
        victim.writer.committing = power_cut
    else:
        victim.writer.committed = power_cut
    with suppress(MeshError):
        await dial(a, b)
    await settle()
    await victim.crash()
    await victim.start()
    for _ in range(3):
        await mesh.clock.advance(20)
    await mesh.clock.advance(PENDING_S + 20)

    assert are_paired(a, b) or known(a) == known(b) == []
    for node in (a, b):  # and nothing of it stands in the way of the next code
        if known(node):
            await soon(node.node.pairing.unpair(known(node)[0][0]))
    await dial(b, a)
    assert are_paired(a, b)


async def test_a_lost_answer_to_the_first_call_ends_paired_on_both_sides(mesh: Mesh) -> None:
    a, b = await two(mesh)
    a.strangers.faults[WHOAMI] = Fault.LOSE_ANSWER

    await dial(a, b)
    await mesh.clock.advance(20)

    await until(lambda: are_paired(a, b))


async def test_a_dialler_that_was_away_for_long_asks_before_it_gives_up(mesh: Mesh) -> None:
    a, b = await two(mesh)
    a.strangers.faults[WHOAMI] = Fault.LOSE_REQUEST
    await dial(a, b)
    assert known(a) == [("b", PairingState.PENDING)]
    await mesh.clock.advance(PENDING_S + 1)
    assert (known(a), known(b)) == ([("b", PairingState.PENDING)], [])

    a.strangers.faults.clear()
    await mesh.clock.advance(20)

    await until(lambda: known(a) == [])


async def test_a_paired_peer_s_token_opens_nothing_without_its_key(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)
    stolen = a.roster.outbound(PeerId("b"))

    assert (await b.node.identify(stolen, a.node_id)).peer == "a"
    with pytest.raises(ClientCertRequired):
        await b.node.identify(stolen)
    with pytest.raises(CertMismatch):
        await b.node.identify(stolen, b.node_id)
    with pytest.raises(NotAuthenticated):
        await a.node.identify(stolen, a.node_id)  # its own, sent back to it


async def test_nobody_gets_a_name_that_another_has(mesh: Mesh) -> None:
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b")
    await a.start()
    await b.start()

    pairing = await dial(a, b)

    assert pairing.peer == f"b-{b.node_id[:8]}"
    assert a.roster[PeerId("b")].wire is Wire.CLEARTEXT


async def test_a_node_that_was_set_up_anew_is_paired_again_once_the_old_one_is_unpaired(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)
    await b.stop()
    anew = mesh.describe("b")
    anew.path.unlink()
    anew.certificate, anew.node_id = mesh.describe("other").certificate, mesh.nodes["other"].node_id
    await anew.start()

    assert (await dial(a, anew)).peer == f"b-{anew.node_id[:8]}"
    await soon(a.node.pairing.unpair(f"b-{anew.node_id[:8]}"))
    await soon(a.node.pairing.unpair("b"))
    assert (await dial(a, anew)).peer == "b"


async def test_the_same_two_nodes_may_pair_again(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)
    before = a.roster.outbound(PeerId("b"))

    await dial(b, a)

    assert are_paired(a, b)
    assert a.roster.outbound(PeerId("b")) != before


async def test_an_unpaired_peer_is_not_known_from_the_same_moment_on(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)
    token = a.roster.outbound(PeerId("b"))

    await soon(b.node.pairing.unpair("a"))

    with pytest.raises(NotAuthenticated):
        await b.node.identify(token, a.node_id)
    assert known(b) == []
    with pytest.raises(PeerNotFound):
        await soon(b.node.pairing.unpair("a"))


async def test_an_answer_asked_again_does_not_bring_an_unpaired_peer_back(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)
    proof = next(body for path, body in a.strangers.said if path == FINISH)

    await soon(b.node.pairing.unpair("a"))

    with pytest.raises(PairingClosed):
        await soon(b.node.pairing.finish(proof, "a.lan"))
    assert known(b) == []


async def test_a_blocked_node_is_no_peer_until_its_owner_unpairs_it(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)
    token = a.roster.outbound(PeerId("b"))

    await soon(b.node.pairing.block("a"))

    with pytest.raises(NotAuthenticated):
        await b.node.identify(token, a.node_id)
    assert PeerId("a") not in b.roster
    with pytest.raises(PairingClosed):
        await dial(a, b)
    with pytest.raises(PairingClosed):
        await dial(b, a)
    await soon(b.node.pairing.unpair("a"))
    await soon(a.node.pairing.unpair("b"))
    await dial(a, b)
    assert are_paired(a, b)


async def test_peers_with_tokens_by_hand_pair_without_a_code_and_the_tokens_count_no_more(mesh: Mesh) -> None:
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b", peers=["a"])
    await a.start()
    await b.start()
    assert (await b.node.identify("a@b")).peer == "a"

    await soon(a.node.pairing.renew("b"))

    assert are_paired(a, b)
    assert a.roster[PeerId("b")].wire is Wire.PAIRED
    with pytest.raises(NotAuthenticated):
        await b.node.identify("a@b")
    assert (await b.node.identify(a.roster.outbound(PeerId("b")), a.node_id)).peer == "a"


async def test_whoever_has_stolen_the_tokens_of_a_paired_peer_does_not_get_new_ones(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)
    a.strangers.said.clear()
    a.strangers.between = mesh.describe("mallory")

    with pytest.raises(PairingFailed, match="another key"):
        await soon(a.node.pairing.renew("b"))

    assert a.strangers.said == []
    assert are_paired(a, b)


async def test_two_nodes_that_share_the_tokens_of_one_peer_do_not_both_become_it(mesh: Mesh) -> None:
    b, first = mesh.describe("b", peers=["a"]), mesh.describe("a", peers=["b"])
    second = mesh.describe("c", peers=["b"])
    second.name, second.tokens = first.name, first.tokens
    for node in (b, first, second):
        await node.start()
        node.strangers.faults[WHOAMI] = Fault.LOSE_REQUEST
    for node in (first, second):
        await soon(node.node.pairing.renew("b"))
    assert known(b) == [("a", PairingState.PENDING)] * 2

    for node in (first, second):
        node.strangers.faults.clear()
    await mesh.clock.advance(20)

    await until(lambda: known(b) == [("a", PairingState.PAIRED)])
    assert [state for node in (first, second) for _, state in known(node)] == [PairingState.PAIRED]


async def test_a_pairing_that_is_taken_back_while_its_first_call_comes_opens_nothing(mesh: Mesh) -> None:
    a, b = await two(mesh)
    a.strangers.faults[WHOAMI] = Fault.LOSE_REQUEST
    pending = await dial(a, b)

    unpaired, called = await soon(
        asyncio.gather(
            b.node.pairing.unpair("a"), b.node.identify(pending.token, a.node_id), return_exceptions=True
        )
    )

    assert unpaired is None
    assert isinstance(called, NotAuthenticated)
    assert known(b) == []


async def test_nothing_of_a_ceremony_that_is_secret_is_logged_or_said(
    mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    a, b = await two(mesh)
    code = b.node.pairing.invite().code
    with pytest.raises(PairingFailed):
        await soon(a.node.pairing.dial("AAAA-AAAA", "b.lan", DEFAULT_PORT))
    assert "a wrong code was tried" in caplog.text

    await soon(a.node.pairing.dial(code, "b.lan", DEFAULT_PORT))
    tokens = [a.roster.outbound(PeerId("b")), b.roster.outbound(PeerId("a"))]
    await soon(a.node.pairing.renew("b"))
    tokens += [a.roster.outbound(PeerId("b")), b.roster.outbound(PeerId("a"))]

    told = caplog.text + "".join(f"{record.__dict__}" for record in caplog.records)
    told += "".join(body.decode() for _, body in (*a.strangers.said, *b.strangers.said))
    for secret in (code, code.replace("-", ""), "AAAA-AAAA", *tokens):
        assert secret
        assert secret not in told


async def test_paired_peers_get_new_tokens_and_the_old_ones_count_no_more(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)
    old = a.roster.outbound(PeerId("b"))

    await soon(b.node.pairing.renew("a"))

    assert are_paired(a, b)
    with pytest.raises(NotAuthenticated):
        await b.node.identify(old, a.node_id)
    assert (await b.node.identify(a.roster.outbound(PeerId("b")), a.node_id)).peer == "a"


async def test_a_renewal_that_breaks_off_leaves_the_old_tokens(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)
    old = a.roster.outbound(PeerId("b"))
    a.strangers.faults[FINISH] = Fault.LOSE_REQUEST

    with pytest.raises(AnswerLost):
        await soon(a.node.pairing.renew("b"))

    assert are_paired(a, b)
    assert (await b.node.identify(old, a.node_id)).peer == "a"


async def test_other_tokens_pair_nobody(mesh: Mesh) -> None:
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b", peers=["a"])
    await a.start()
    await b.start()
    a.tokens.outbound_tokens["b"] = "guessed"

    for _ in range(2):
        with pytest.raises(PairingFailed):
            await soon(a.node.pairing.renew("b"))
    with pytest.raises(PairingClosed, match="two tries came from this address"):
        await soon(a.node.pairing.renew("b"))
    with pytest.raises(PeerNotFound):
        await soon(a.node.pairing.renew("nobody"))
    a.tokens.outbound_tokens.clear()
    with pytest.raises(InvalidRequest):
        await soon(a.node.pairing.renew("b"))
    assert known(a) == known(b) == []


async def test_a_paired_peer_s_name_can_not_be_used_under_the_shared_token(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)

    with pytest.raises(Exception, match="has a token of its own"):
        await b.receive(a_task(sender="a"))


async def test_the_keys_of_the_wire_are_names_here(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)

    assert b.node.local_name(a.node_id) == "a"
    assert b.node.local_name(b.node_id) == "b"
    assert b.node.local_name("c") == "c"
    assert b.node.local_name("a" * 52) == "a" * 52


async def test_what_came_to_nothing_is_swept_out(mesh: Mesh) -> None:
    a, b = await two(mesh)
    a.strangers.faults[WHOAMI] = Fault.LOSE_REQUEST
    await dial(a, b)
    await mesh.clock.advance(PENDING_S + 1)
    await b.restart()
    await settle()

    assert b.database.read.rows("SELECT peer FROM pairings") == []


# --- a code without an address --------------------------------------------------------------------


def see(a: NodeUnderTest, b: NodeUnderTest, *places: str, shows_code: bool = True) -> None:
    """Let a node see another on the network."""
    a.sightings.looking = True
    a.sightings.note(
        Sighting(
            node_id=b.node_id,
            name=f"the node {b.name}",
            places=tuple((place, DEFAULT_PORT) for place in places or (f"{b.name}.lan",)),
            shows_code=shows_code,
            seen_at=a.clock.now(),
        )
    )


async def test_a_code_alone_finds_the_node_that_shows_it(mesh: Mesh) -> None:
    a, b = await two(mesh)
    see(a, mesh.describe("c"), shows_code=False)
    finding = asyncio.create_task(a.node.pairing.find(b.node.pairing.invite().code))
    await settle()
    see(a, b, "a.lan", "nowhere.lan", "b.lan")

    await soon(finding)

    assert are_paired(a, b)
    assert a.roster[PeerId("b")].host == "b.lan"


async def test_a_code_that_nobody_shows_is_told_after_a_while(mesh: Mesh) -> None:
    a, b = await two(mesh)
    see(a, b, shows_code=False)
    a.sightings.trouble = "no multicast here"
    finding = asyncio.create_task(a.node.pairing.find("ABCD-EFGH"))
    await mesh.clock.advance(60)

    with pytest.raises(PairingClosed, match="no multicast here"):
        await soon(finding)


async def test_of_several_nodes_that_show_a_code_none_is_tried(mesh: Mesh) -> None:
    a, b = await two(mesh)
    code = b.node.pairing.invite().code
    see(a, mesh.describe("c"))
    see(a, b)

    with pytest.raises(InvalidRequest, match=r"the node c .* at c.lan:18760; the node b .* at b.lan:18760"):
        await soon(a.node.pairing.find(code))

    assert known(b) == []
    await soon(a.node.pairing.dial(code, "b.lan", DEFAULT_PORT))  # no try is lost


async def test_whoever_claims_to_show_a_code_gets_nothing_by_it(mesh: Mesh) -> None:
    a, b = await two(mesh)
    mallory = mesh.describe("mallory")
    await mallory.start()
    mallory.node.pairing.invite()
    see(a, mallory)

    with pytest.raises(PairingFailed):
        await soon(a.node.pairing.find(b.node.pairing.invite().code))

    assert known(a) == known(mallory) == []


async def test_a_node_announces_a_code_while_it_can_be_used(mesh: Mesh) -> None:
    a, b = await two(mesh)
    told: list[bool] = []
    announcing = asyncio.create_task(b.node.pairing.announce(told.append))
    await settle()
    await dial(a, b)
    await settle()
    used = list(told)
    told.clear()
    b.node.pairing.invite()
    await mesh.clock.advance(WINDOW_S + 1)
    announcing.cancel()

    assert (used[0], True in used, used[-1]) == (False, True, False)
    assert (told[0], told[-1]) == (True, False)


async def test_a_peer_that_moved_is_dialled_there_first_and_where_it_was_too(mesh: Mesh) -> None:
    a, b = await two(mesh)
    await dial(a, b)

    await a.roster.moved(PeerId("b"), ("elsewhere.lan", 4001))
    await a.restart()

    peer = a.roster[PeerId("b")]
    assert (peer.host, peer.port, peer.also) == ("elsewhere.lan", 4001, (("b.lan", DEFAULT_PORT),))
    assert a.roster.peer_of(b.node_id) == "b"
    assert a.roster.peer_of(a.node_id) is None
