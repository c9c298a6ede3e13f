"""Tokens: where they are found, what beats what, and what opens no door."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path, PosixPath
from typing import Any

import pytest

from lanmesh.engine.callers import InboundToken, digest_of
from lanmesh.errors import InvalidConfig
from lanmesh.model.ids import PeerId
from lanmesh.tokens import EnvironmentTokens, PeerTokens, parse_dotenv

A, B = PeerId("server-219"), PeerId("laptop")
NOWHERE = Path("/nonexistent/.env")
DERIVED = PeerTokens()


def tokens(
    environ: Mapping[str, str] | None = None, dotenv: Path = NOWHERE, **peers: PeerTokens
) -> EnvironmentTokens:
    """Return tokens for two usual peers, or for peers by name; `_` stands for `-` in a name."""
    named = {PeerId(name.replace("_", "-")): entry for name, entry in peers.items()}
    return EnvironmentTokens(dotenv, environ or {}, named or {A: DERIVED, B: DERIVED})


class CountingPath(PosixPath):
    """A path that counts how often its file is read."""

    reads = 0

    def read_text(self, *args: Any, **kwargs: Any) -> str:
        self.reads += 1
        return super().read_text(*args, **kwargs)


def opens(token: str, peer: PeerId | None = None) -> InboundToken:
    return InboundToken(digest=digest_of(token), peer=peer)


@pytest.mark.parametrize("variable", ["LAN_PEER_SERVER_219_TOKEN", "LAN_PEER_SERVER219_TOKEN"])
def test_a_peer_s_token_is_found_under_either_spelling_of_its_name(variable: str) -> None:
    held = tokens({variable: "t1"})

    assert held.outbound(A) == "t1"
    assert held.outbound(B) is None
    assert held.missing() == [B]
    assert held.check() == []


def test_both_spellings_with_one_token_are_no_clash() -> None:
    held = tokens({"LAN_PEER_SERVER_219_TOKEN": "t1", "LAN_PEER_SERVER219_TOKEN": "t1"})

    assert held.outbound(A) == "t1"
    assert held.check() == []


def test_both_spellings_with_different_tokens_clash_and_only_the_variables_are_named() -> None:
    held = tokens({"LAN_PEER_SERVER_219_TOKEN": "hush-1", "LAN_PEER_SERVER219_TOKEN": "hush-2"})

    with pytest.raises(InvalidConfig) as clash:
        held.outbound(A)
    assert "LAN_PEER_SERVER219_TOKEN and LAN_PEER_SERVER_219_TOKEN" in clash.value.detail
    assert "hush" not in clash.value.detail
    assert held.check() == [clash.value.detail]
    assert held.missing() == [B]


def test_a_variable_that_the_owner_names_wins() -> None:
    environ = {"LAN_PEER_SERVER_219_TOKEN": "t1", "LAN_PEER_SERVER219_TOKEN": "t2", "MINE": "t3"}

    assert tokens(environ, server_219=PeerTokens(token_env_var="MINE")).outbound(A) == "t3"
    assert tokens(environ, server_219=PeerTokens(token_env_var="UNSET")).outbound(A) is None


def test_a_name_with_other_characters_is_spelled_with_underscores_or_without_them() -> None:
    peer = PeerId("Büro.2".replace("ü", "ue"))

    for variable in ("LAN_PEER_BUERO_2_TOKEN", "LAN_PEER_BUERO2_TOKEN"):
        assert EnvironmentTokens(NOWHERE, {variable: "t"}, {peer: DERIVED}).outbound(peer) == "t"


@pytest.mark.parametrize(
    ("one", "other", "variable"),
    [
        ("a-b", "a_b", "LAN_PEER_A_B_TOKEN"),
        ("ab", "a-b", "LAN_PEER_AB_TOKEN"),
        ("a", "A", "LAN_PEER_A_TOKEN"),
    ],
)
def test_a_variable_that_two_peers_derive_clashes_once_it_is_set(one: str, other: str, variable: str) -> None:
    peers = {PeerId(one): DERIVED, PeerId(other): DERIVED}

    assert EnvironmentTokens(NOWHERE, {}, peers).check() == []
    held = EnvironmentTokens(NOWHERE, {variable: "hush"}, peers)
    for peer in peers:
        with pytest.raises(InvalidConfig, match=variable):
            held.outbound(peer)
    assert len(held.check()) == 1
    assert "hush" not in held.check()[0]


def test_a_variable_named_for_one_peer_is_not_derived_for_another() -> None:
    named = tokens(
        {"LAN_PEER_AB_TOKEN": "for ab"}, ab=PeerTokens(token_env_var="LAN_PEER_AB_TOKEN"), a_b=DERIVED
    )
    inbound = tokens(
        {"LAN_PEER_AB_TOKEN": "from ab"},
        ab=PeerTokens(inbound_token_env_var="LAN_PEER_AB_TOKEN"),
        a_b=DERIVED,
    )

    assert named.outbound(PeerId("ab")) == "for ab"
    assert named.missing() == inbound.missing() == [PeerId("a-b")]
    assert named.check() == inbound.check() == []


def test_two_peers_may_share_a_variable_that_the_owner_names_for_both() -> None:
    held = tokens({"CLUB": "t"}, a=PeerTokens(token_env_var="CLUB"), b=PeerTokens(token_env_var="CLUB"))

    assert held.outbound(PeerId("a")) == held.outbound(PeerId("b")) == "t"
    assert held.check() == []


def test_who_is_no_peer_gets_no_token() -> None:
    assert tokens({"LAN_PEER_STRANGER_TOKEN": "t"}).outbound(PeerId("stranger")) is None


@pytest.mark.parametrize("token", ["two\nlines", "bell\a", "b\udcffyte"])
def test_a_token_that_no_header_can_carry_is_an_error(token: str) -> None:
    with pytest.raises(InvalidConfig, match="LAN_PEER_LAPTOP_TOKEN") as fault:
        tokens({"LAN_PEER_LAPTOP_TOKEN": token}).outbound(B)
    assert token not in fault.value.detail


def test_whitespace_around_a_token_does_not_count_and_a_blank_one_is_none() -> None:
    held = tokens({"LAN_PEER_LAPTOP_TOKEN": " t \r\n", "OPENCLAW_LAN_TOKEN": "  "})

    assert held.outbound(B) == "t"
    assert held.inbound() == []


def test_the_shared_token_comes_first_then_each_peer_s_own() -> None:
    held = tokens(
        {"IN_A": "t1", "OPENCLAW_LAN_TOKEN": "t0"},
        a=PeerTokens(inbound_token_env_var="IN_A"),
        b=PeerTokens(inbound_token_env_var="IN_B"),
        c=DERIVED,
    )

    assert held.inbound() == [opens("t0"), opens("t1", PeerId("a"))]


def test_an_own_token_equal_to_the_shared_one_proves_nobody() -> None:
    held = tokens({"IN_A": "hush", "OPENCLAW_LAN_TOKEN": "hush"}, a=PeerTokens(inbound_token_env_var="IN_A"))

    assert held.inbound() == [opens("hush")]
    assert len(held.check()) == 1
    assert "IN_A and OPENCLAW_LAN_TOKEN" in held.check()[0]
    assert "hush" not in held.check()[0]


@pytest.mark.parametrize("second", ["IN_A", "IN_B"])
def test_one_token_for_two_peers_opens_for_neither(second: str) -> None:
    held = tokens(
        {"IN_A": "t", "IN_B": "t", "OPENCLAW_LAN_TOKEN": "t0"},
        a=PeerTokens(inbound_token_env_var="IN_A"),
        b=PeerTokens(inbound_token_env_var=second),
    )

    assert held.inbound() == [opens("t0")]
    assert [sentence for sentence in held.check() if "a and b" in sentence and second in sentence]


def test_the_file_beats_the_inherited_environment(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("LAN_PEER_LAPTOP_TOKEN=new\nLAN_PEER_SERVER_219_TOKEN=\n")
    held = tokens({"LAN_PEER_LAPTOP_TOKEN": "old", "LAN_PEER_SERVER_219_TOKEN": "taken away"}, file)

    assert held.outbound(B) == "new"
    assert held.outbound(A) is None


def test_a_token_that_changes_needs_no_restart(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    held = tokens({}, file)
    seen = [held.inbound()]
    for text in ("OPENCLAW_LAN_TOKEN=one", "OPENCLAW_LAN_TOKEN=two"):  # of one length, at once
        file.write_text(text)
        seen.append(held.inbound())
    file.unlink()
    seen.append(held.inbound())

    assert seen == [[], [opens("one")], [opens("two")], []]


def test_a_file_that_has_settled_is_not_read_again() -> None:
    old = CountingPath(os.__file__)  # no file of ours can look old: nothing sets the time of its last chmod
    held = tokens({}, old)

    assert held.inbound() == held.inbound() == []
    assert old.reads == 1


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_file_that_cannot_be_read_is_told_once_and_the_environment_counts(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / ".env"
    file.mkdir() if kind == "folder" else os.mkfifo(file)
    held = tokens({"OPENCLAW_LAN_TOKEN": "t0"}, file)

    with caplog.at_level(logging.WARNING):
        assert held.inbound() == held.inbound() == [opens("t0")]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert vars(caplog.records[0])["file"] == file


def test_a_file_with_a_line_that_is_not_utf_8_keeps_its_other_lines(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"\xef\xbb\xbfOPENCLAW_LAN_TOKEN=t0\r\nNAME=caf\xe9\r\nLAN_PEER_LAPTOP_TOKEN=t1\r\n")
    held = tokens({}, file)

    assert held.inbound() == [opens("t0")]
    assert held.outbound(B) == "t1"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("K=v", "v"),
        ("  export  K = v  ", "v"),
        ("K=", ""),
        ("K= # nothing", ""),
        ("K=v # why", "v"),
        ("K=v#1", "v#1"),
        ("K=#1", "#1"),
        ("K=a=b==", "a=b=="),
        ("K='v # 1' # why", "v # 1"),
        (r"K='a\nb'", r"a\nb"),
        (r'K="a\nb\"c\\d\$"', 'a\nb"c\\d\\$'),
        ('K=" v "', " v "),
        ("K=it's", "it's"),
        ("K=1\nK=2", "2"),
        ("# K=1\n\nK=2\n", "2"),
        ('OTHER="open\nK=v\n', "v"),
    ],
)
def test_an_assignment_is_read_as_dotenv_reads_it(line: str, value: str) -> None:
    assert parse_dotenv(line)["K"] == value


@pytest.mark.parametrize("line", ["", "K", "=v", "1K=v", "K='open", 'K="a"b', "K v", "# K=v", "export K"])
def test_what_is_no_assignment_is_skipped(line: str) -> None:
    assert parse_dotenv(line) == {}
