"""Locations: which folder counts, and what is in it."""

import stat
import sys
from pathlib import Path

import pytest

from lanmesh.locations import StateFolder, dotenv, openclaw_state, state_folder, write_private


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the home of a user who has nothing yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_tokens_lie_beside_openclaw(home: Path) -> None:
    assert openclaw_state({}) == home / ".openclaw"
    assert dotenv({}) == home / ".openclaw" / ".env"
    assert dotenv({"OPENCLAW_STATE_DIR": "/srv/claw"}) == Path("/srv/claw/.env")
    assert dotenv({"OPENCLAW_STATE_DIR": "~/claw"}) == home / "claw" / ".env"
    assert dotenv({"OPENCLAW_STATE_DIR": ""}) == home / ".openclaw" / ".env"


def test_a_folder_chosen_by_flag_wins_over_all_variables() -> None:
    environ = {"LANMESH_STATE_DIR": "/b", "OPENCLAW_STATE_DIR": "/c", "XDG_STATE_HOME": "/d"}

    assert state_folder(environ, Path("/a")) == Path("/a")


def test_a_folder_chosen_by_variable_wins_over_the_one_beside_openclaw() -> None:
    environ = {"LANMESH_STATE_DIR": "/b", "OPENCLAW_STATE_DIR": "/c"}

    assert state_folder(environ) == Path("/b")


def test_a_chosen_folder_may_begin_in_the_home_folder_or_here(home: Path) -> None:
    assert state_folder({}, Path("~/mesh")) == home / "mesh"
    assert state_folder({"LANMESH_STATE_DIR": "~/mesh"}) == home / "mesh"
    assert state_folder({}, Path("mesh")) == Path.cwd() / "mesh"


def test_an_openclaw_elsewhere_has_the_node_s_folder_inside_even_if_it_is_not_there_yet() -> None:
    assert state_folder({"OPENCLAW_STATE_DIR": "/nowhere"}) == Path("/nowhere/lanmesh")


def test_an_openclaw_in_the_home_folder_has_the_node_s_folder_inside(home: Path) -> None:
    (home / ".openclaw").mkdir()

    assert state_folder({"XDG_STATE_HOME": "/d"}) == home / ".openclaw" / "lanmesh"


@pytest.mark.skipif(sys.platform == "darwin", reason="XDG is for Linux")
def test_without_openclaw_the_folder_is_where_xdg_says(home: Path) -> None:
    assert state_folder({}) == home / ".local" / "state" / "lanmesh"
    assert state_folder({"XDG_STATE_HOME": ""}) == home / ".local" / "state" / "lanmesh"
    assert state_folder({"XDG_STATE_HOME": "/d"}) == Path("/d/lanmesh")


@pytest.mark.skipif(sys.platform != "darwin", reason="macOS has a place of its own")
def test_without_openclaw_the_folder_is_where_macos_keeps_such_things(home: Path) -> None:
    assert state_folder({"XDG_STATE_HOME": "/d"}) == home / "Library" / "Application Support" / "lanmesh"


def test_every_file_of_a_state_folder_has_a_place_of_its_own_inside() -> None:
    folder = StateFolder(path=Path("/s"))
    files = [folder.config, folder.database, folder.lock, folder.node, folder.operator_token, folder.log]

    assert len(set(files)) == len(files)
    assert {file.parent for file in files} == {Path("/s")}


def test_a_new_state_folder_is_its_owner_s_alone(tmp_path: Path) -> None:
    folder = StateFolder(path=tmp_path / "a" / "b")
    folder.create()

    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_an_existing_state_folder_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    StateFolder(path=tmp_path).create()

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_a_secret_is_for_its_owner_only_even_where_the_file_was_open_to_all(tmp_path: Path) -> None:
    file = tmp_path / "operator.token"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")

    assert file.read_text("utf-8") == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
