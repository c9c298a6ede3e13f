"""scripts/demo: what a person sees first."""

import os
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.acceptance.node_process import REPOSITORY

DEFAULT_PORTS = (18760, 18761)


def demo(
    folder: Path, path: str = os.environ.get("PATH", os.defpath), **environ: str
) -> tuple[int, str, str]:
    """Run the demo with an empty home, from another folder; see that it leaves nothing."""
    home, temporary = folder / "home", folder / "tmp"
    home.mkdir()
    temporary.mkdir()
    done = subprocess.run(
        [REPOSITORY / "scripts" / "demo"],
        env={"PATH": path, "HOME": str(home), "TMPDIR": str(temporary), **environ},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert not list(temporary.iterdir())
    assert not list(home.iterdir())
    assert not nodes_in(temporary)
    return done.returncode, done.stdout, done.stderr


def nodes_in(folder: Path) -> list[psutil.Process]:
    """Return the processes whose state lies in a folder."""

    def state_of(process: psutil.Process) -> str:
        try:
            return process.environ().get("OPENCLAW_STATE_DIR", "")
        except (psutil.Error, OSError):
            return ""

    return [process for process in psutil.process_iter() if state_of(process).startswith(str(folder))]


def words_of_the_readme(**environ: str) -> str:
    """Return the number; what a word is depends on the locale, where the machine knows that."""
    with (REPOSITORY / "README.md").open("rb") as text:
        counted = subprocess.run(
            ["wc", "-w"],
            stdin=text,
            env={"PATH": os.environ["PATH"], **environ},
            capture_output=True,
            check=True,
        )
    return counted.stdout.decode().strip()


def test_the_demo_shows_a_task_go_out_get_done_and_come_back(tmp_path: Path) -> None:
    with ExitStack() as taken:
        for port in DEFAULT_PORTS:
            holder = taken.enter_context(socket.socket())
            if holder.connect_ex(("127.0.0.1", port)):  # else somebody else holds it, which will do
                holder.close()
                listener = taken.enter_context(socket.socket())
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", port))
                listener.listen()

        status, out, err = demo(tmp_path)

    assert (status, err) == (0, "")
    assert words_of_the_readme() in out.split("\n")
    for told in (
        "paired with b (node ",
        "submitted",
        "working",
        "completed",
        "task to b",
        "result to a",
        "delivery-delivered",
    ):
        assert told in out


def test_the_demo_agrees_with_the_shell_on_what_a_word_is(tmp_path: Path) -> None:
    status, out, err = demo(tmp_path, LC_ALL="C.UTF-8")

    assert (status, err) == (0, "")
    assert words_of_the_readme(LC_ALL="C.UTF-8") in out.split("\n")


def test_the_demo_speaks_chinese_to_those_who_do_and_minds_no_settings_of_theirs(tmp_path: Path) -> None:
    status, out, err = demo(
        tmp_path,
        LANG="zh_CN.UTF-8",
        LANMESH_STATE_DIR="/nonexistent",
        LANMESH_TASK_ID="task-of-another",
        LANMESH_PORT="1",
        OPENCLAW_LAN_TOKEN="inherited",
        LAN_PEER_B_TOKEN="inherited",
        http_proxy="http://127.0.0.1:1",
    )

    assert (status, err) == (0, "")
    assert "启动两个节点" in out
    assert words_of_the_readme(LANG="zh_CN.UTF-8") in out.split("\n")


def test_a_demo_that_fails_says_so_with_the_logs_of_its_nodes(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "wc"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)

    status, out, err = demo(tmp_path, f"{broken.parent}{os.pathsep}{os.environ['PATH']}")

    assert status != 0
    assert "exit status 3" in out
    assert "level=info event=listening" in err
