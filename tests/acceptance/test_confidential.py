"""The search for secrets finds one."""

from pathlib import Path

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
