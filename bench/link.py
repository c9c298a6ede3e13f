"""how long a message takes to a peer and back over the live link, beside a bare TLS socket that syncs too"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.bare import Echo
from tests.acceptance.mesh import Mesh, pair
from tests.acceptance.node_process import NodeProcess
from tests.acceptance.test_live_link import linked


def main() -> int:
    """Measure in turns, one of each, and tell the medians."""
    asked = argparse.ArgumentParser(prog="scripts/bench link", description=__doc__)
    asked.add_argument("--messages", type=int, default=300)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="lanmesh-bench-") as name:
        folder = Path(name)
        mesh = Mesh(folder / "nodes")
        a, b = (mesh.lone({"profile": {"id": name}}) for name in ("a", "b"))
        asks, links, bare = [], [], []
        try:
            a.start()
            b.start()
            assert pair(a, b).status == 0
            linked(a, b)
            with Echo(folder / "bare").asked(folder) as asker:
                for number in range(options.messages):
                    bare.append(asker.round_trip(b"x" * 400))
                    asks.append(_asked(a))
                    links.append(_delivered(a, number))
        finally:
            mesh.end()
    for what, measured in (
        ("bare TLS socket: written, sent, kept, answered, noted", bare),
        ("asking a's operator port for nothing", asks),
        ("a message by a's operator port to b, acknowledged and noted", links),
    ):
        cuts = statistics.quantiles(measured, n=20)
        print(f"{what:60} median {_ms(statistics.median(measured))}, 95 % within {_ms(cuts[-1])}")
    own_s = statistics.median(links) - statistics.median(asks)
    times = own_s / statistics.median(bare)
    print(
        f"over the link {_ms(own_s)} at the median, {times:.1f} times the bare socket "
        f"({options.messages} in turns; load at the end {os.getloadavg()[0]:.1f})"
    )
    return 0


def _asked(node: NodeProcess) -> float:
    begun = time.perf_counter()
    node.op("GET", "/op/peers")
    return time.perf_counter() - begun


def _delivered(node: NodeProcess, number: int) -> float:
    begun = time.perf_counter()
    answer = node.op("POST", "/op/messages", {"peer": "b", "text": f"{number} " + "x" * 200})
    taken = time.perf_counter() - begun
    assert answer.json["state"] == "delivered", answer.body
    return taken


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
