"""OpenClaw's files, changed by the installer: tokens, links, modes and backups."""

import json
from pathlib import Path

import pytest

from lanmesh.cli.installation import NOTE, Installation
from lanmesh.errors import InvalidConfig


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    for name in ("OPENCLAW_LAN_TOKEN", "OPENCLAW_NIX_MODE", "OPENCLAW_HOME", "OPENCLAW_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(tmp_path / "state"))
    return Installation.of_this_user()


@pytest.mark.parametrize(
    "text", [b"", b"A=1", b"A=1\r\nB='x'\r\n", b"\xef\xbb\xbfA=1\n", b"A=\xff\xfe\n", b"A='never closed\n"]
)
def test_a_token_is_added_and_taken_away_without_touching_a_byte(here: Installation, text: bytes) -> None:
    here.state.mkdir()
    dotenv = here.state / ".env"
    dotenv.write_bytes(text)
    dotenv.chmod(0o644)

    assert here.write_token() == ["written"]
    assert dotenv.read_bytes().endswith(text.removeprefix(b"\xef\xbb\xbf"))
    assert dotenv.stat().st_mode & 0o777 == 0o600
    written = dotenv.read_bytes()
    assert here.write_token() == ["kept"]
    assert dotenv.read_bytes() == written
    assert here.forget_token() == ["removed"]
    assert (dotenv.read_bytes() if dotenv.exists() else b"") == text


@pytest.mark.parametrize(
    "line", ["OPENCLAW_LAN_TOKEN=mine", "export OPENCLAW_LAN_TOKEN = 'mine'", 'OPENCLAW_LAN_TOKEN="a b"']
)
def test_a_token_of_the_users_is_kept_and_never_forgotten(here: Installation, line: str) -> None:
    here.state.mkdir()
    dotenv = here.state / ".env"
    dotenv.write_text(line)
    dotenv.chmod(0o644)

    assert here.write_token() == ["kept"]
    assert here.forget_token() == ["kept"]
    assert dotenv.read_text() == line
    assert dotenv.stat().st_mode & 0o777 == 0o600


def test_an_empty_token_is_filled_where_it_stands(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCLAW_LAN_TOKEN", "from-the-shell")
    here.state.mkdir()
    (here.state / ".env").write_bytes(b"A=1\r\nOPENCLAW_LAN_TOKEN=\r\nB=2")

    assert here.write_token() == ["written"]
    assert (here.state / ".env").read_bytes() == b"A=1\r\nOPENCLAW_LAN_TOKEN=from-the-shell\r\nB=2"


def test_a_line_added_to_ours_by_the_user_stays(here: Installation) -> None:
    here.write_token()
    dotenv = here.state / ".env"
    assert dotenv.read_text().startswith(NOTE)
    dotenv.write_text(dotenv.read_text() + "LAN_PEER_B_TOKEN=b\n")

    assert here.forget_token() == ["removed"]
    assert dotenv.read_text() == "LAN_PEER_B_TOKEN=b\n"
    assert here.forget_token() == ["absent"]


def test_links_stay_links_and_modes_stay(here: Installation, tmp_path: Path) -> None:
    here.state.mkdir()
    real, shared = tmp_path / "dotfiles.json5", tmp_path / "secrets"
    real.write_text("{ a: 1 }\n")
    real.chmod(0o640)
    shared.write_text("A=1\n")
    here.config.symlink_to(real)
    (here.state / ".env").symlink_to(shared)

    assert here.register("/d")[0] == "changed"
    here.write_token()

    assert here.config.is_symlink()
    assert (here.state / ".env").is_symlink()
    assert "lan-mesh" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640
    assert shared.read_text().endswith("A=1\n")


def test_the_first_state_of_the_config_is_backed_up_once(here: Installation) -> None:
    here.state.mkdir()
    here.config.write_text("{ a: 1 }\n")
    backup = here.state / "openclaw.json.before-lan-mesh"

    here.register("/d")
    here.register("/other")
    assert backup.read_text() == "{ a: 1 }\n"
    here.unregister("/other")
    here.config.write_text(here.config.read_text().replace("1", "2"))
    assert here.unregister("/d") == ["changed", f"backup {backup}"]
    assert here.config.read_text() == "{ a: 2 }\n"
    assert here.unregister("/d", forget=True) == ["unchanged"]
    assert not backup.exists()


def test_a_plugin_that_the_user_has_linked_stays_the_one_that_is_loaded(
    here: Installation, tmp_path: Path
) -> None:
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "openclaw.plugin.json").write_text('{"id": "openclaw-lan-mesh"}')
    here.state.mkdir()
    here.config.write_text(json.dumps({"plugins": {"load": {"paths": [str(tmp_path / "clone")]}}}))

    assert f"linked {tmp_path}/clone" in here.register("/d")
    assert '"/d"' not in here.config.read_text()
    registered = here.config.read_text()
    assert here.unregister("/d") == ["unchanged", f"linked {tmp_path}/clone"]
    assert here.config.read_text() == registered


def test_a_plugins_section_in_a_file_of_its_own_is_changed_there(here: Installation) -> None:
    here.state.mkdir()
    here.config.write_text('{ plugins: { $include: "./plugins.json5" } }\n')
    part = here.state / "plugins.json5"
    part.write_text("{} // plugins\n")

    assert here.register("/d") == ["changed", f"file {part}"]
    assert here.config.read_text() == '{ plugins: { $include: "./plugins.json5" } }\n'
    assert here.unregister("/d") == ["changed"]
    assert part.read_text() == "{} // plugins\n"
    part.unlink()
    with pytest.raises(InvalidConfig, match="which is not there"):
        here.register("/d")


def test_a_config_that_only_we_have_written_to_goes_again(here: Installation) -> None:
    assert here.unregister("/d") == ["unchanged"]
    assert here.register("/d") == ["created", f"file {here.config}"]
    assert here.unregister("/d") == ["deleted"]
    assert not here.config.exists()


@pytest.mark.parametrize("name", ["OPENCLAW_NIX_MODE", "OPENCLAW_HOME"])
def test_where_the_config_is_not_ours_to_change(
    here: Installation, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.delenv("OPENCLAW_STATE_DIR")

    with pytest.raises(InvalidConfig):
        here.register("/d")
