"""how fast a file goes from node to node, and how long one waits for it, beside a bare TLS socket"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from bench.bare import LONG_S, PIECE, Taken, file_over_it
from tests.acceptance.mesh import Mesh, pair
from tests.acceptance.node_process import NodeProcess, until


def main() -> int:
    """Measure in turns, and tell the ratio of the medians."""
    asked = argparse.ArgumentParser(prog="scripts/bench files", description=__doc__)
    asked.add_argument("--megabytes", type=int, default=1024)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--least", type=float, default=0.7, help="fail below this ratio")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="lanmesh-bench-") as folder:
        mesh = Mesh(Path(folder) / "nodes")
        a, b = (mesh.lone({"profile": {"id": name}}) for name in ("a", "b"))
        meshed: list[Taken] = []
        bare: list[Taken] = []
        try:
            a.start()
            b.start()
            assert pair(a, b).status == 0
            for number in range(options.rounds):
                path = _file(Path(folder) / f"file-{number}", options.megabytes)
                # Neither always has the caches, or the quieter moment, that comes first.
                for way in (0, 1) if number % 2 else (1, 0):
                    if way:
                        bare.append(file_over_it(path, Path(folder) / "bare"))
                    else:
                        meshed.append(_over_the_mesh(a, b, path))
                path.unlink()
        finally:
            mesh.end()
    for name, measured in (("bare TLS socket", bare), ("mesh", meshed)):
        speeds = ", ".join(f"{options.megabytes / each.way:.0f}" for each in measured)
        waits = ", ".join(f"{each.wait:.1f}" for each in measured)
        processors = _median(measured, lambda each: each.processors) / options.megabytes * 1024
        print(f"{name:16} {speeds} MB/s on the way; {waits} s in all; {processors:.1f} s of processors a GB")
    on_the_way = _median(bare, lambda each: each.way) / _median(meshed, lambda each: each.way)
    in_all = _median(bare, lambda each: each.wait) / _median(meshed, lambda each: each.wait)
    print(
        f"the mesh has {on_the_way:.0%} of the throughput of the bare socket, {in_all:.0%} with the copies "
        f"on both sides (medians of {options.rounds} rounds; load at the end {os.getloadavg()[0]:.1f})"
    )
    return 0 if on_the_way >= options.least else 1


def _file(path: Path, megabytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(PIECE))
        os.fsync(file.fileno())
    return path


def _median(measured: Iterable[Taken], span: Callable[[Taken], float]) -> float:
    return statistics.median(map(span, measured))


def _over_the_mesh(a: NodeProcess, b: NodeProcess, path: Path) -> Taken:
    asked = time.monotonic()
    (kept,) = a.op("POST", "/op/files", {"paths": [str(path)]}).json
    whole = b.state / "blobs" / kept["sha256"][:2] / kept["sha256"][2:]
    before, begun = _processors(a, b), time.monotonic()
    a.op("POST", "/op/messages", {"peer": "b", "text": "see", "files": [kept]})
    until(whole.exists, b.log.read_text, LONG_S)
    came, processors = time.monotonic(), _processors(a, b) - before
    until(lambda: _laid_out(b, kept["sha256"]), b.log.read_text, LONG_S)
    return Taken(way=came - begun, wait=time.monotonic() - asked, processors=processors)


def _laid_out(node: NodeProcess, sha256: str) -> bool:
    files = [file for message in node.op("GET", "/op/messages").json for file in message["files"]]
    return any(file["sha256"] == sha256 and file["place"] for file in files)


def _processors(*nodes: NodeProcess) -> float:
    times = [psutil.Process(node.process.pid).cpu_times() for node in nodes if node.process is not None]
    return sum(each.user + each.system for each in times)


if __name__ == "__main__":
    sys.exit(main())
