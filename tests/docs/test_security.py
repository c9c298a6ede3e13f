"""What SECURITY.md says of the command line's guard."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("variable", ["LANMESH_TASK_ID", "OPENCLAW_SHELL"])
@pytest.mark.parametrize("verb", [("approve", "k3f2aaaa"), ("deny", "k3f2aaaa"), ("accept", "auto")])
def test_the_program_of_a_task_does_not_decide_in_its_owners_place(
    tmp_path: Path, verb: tuple[str, str], variable: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lanmesh", *verb],
        env={"HOME": str(tmp_path), "LANMESH_STATE_DIR": str(tmp_path), variable: "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 4
    assert f"an agent may not take it ({variable} is set)" in done.stderr
