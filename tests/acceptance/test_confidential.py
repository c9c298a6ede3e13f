"""The search for secrets finds one."""

from pathlib import Path

import pytest

from lanmesh.net import identity
from tests.acceptance import confidential
from tests.acceptance.node_process import new_token


def test_a_secret_in_a_log_is_found_alone_or_among_other_characters(tmp_path: Path) -> None:
    secret = new_token()
    shown = tmp_path / "log"
    shown.write_text(f"event=called token={secret}\n")
    alone = confidential.leaked(tmp_path)
    shown.write_text(f"x{secret}y\n")
    inside = confidential.leaked(tmp_path)
    shown.unlink()  # else the whole suite would tell of it
    (tmp_path / ".env").write_text(secret)

    assert alone == inside == ["log"]
    assert confidential.leaked(tmp_path) == []


@pytest.mark.parametrize("spelled", ["K7QF-2M9X", "K7QF2M9X"])
def test_a_code_that_was_shown_is_found_wherever_it_is_kept(tmp_path: Path, spelled: str) -> None:
    confidential.hand_out_code(b'{"code":"K7QF-2M9X"}')
    shown = tmp_path / "log"
    shown.write_text(f"event=pairing code={spelled}\n")
    kept = confidential.leaked(tmp_path)
    shown.unlink()

    assert kept == ["log"]


def test_a_token_that_two_nodes_agreed_on_is_found_outside_of_their_databases(tmp_path: Path) -> None:
    token = confidential.hand_out_token("t" * 43)
    (tmp_path / "mesh.db-wal").write_text(token)
    (tmp_path / "log").write_text(token)
    kept = confidential.leaked(tmp_path)
    (tmp_path / "log").unlink()

    assert kept == ["log"]


def test_a_private_key_is_found_outside_of_its_file_in_any_spelling(tmp_path: Path) -> None:
    file = tmp_path / "identity.pem"
    identity.make(file)
    spelled = confidential.hand_out_key(file)
    copies = {"a copy": file.read_bytes(), "hex": spelled[0].encode(), "base64": spelled[1].encode()}
    for name, content in copies.items():
        (tmp_path / name).write_bytes(content)
    kept = confidential.leaked(tmp_path)
    for name in copies:
        (tmp_path / name).unlink()

    assert sorted(kept) == sorted(copies)
