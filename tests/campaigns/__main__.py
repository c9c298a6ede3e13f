"""Campaigns against real nodes: scripts/campaign kills | connections | weather | probes."""

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.campaigns.connections import connections
from tests.campaigns.kills import kills
from tests.campaigns.probes import probes, table
from tests.campaigns.weather import weather
from tests.namespaces.hosts import why_not


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/campaign", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("kills", help="kill -9 of sender, receiver and both, under load")
    verb.add_argument("--rounds", type=int, default=100)
    verb = verbs.add_parser("connections", help="most connections between two nodes break")
    verb.add_argument("--tasks", type=int, default=600)
    verb = verbs.add_parser("weather", help="suspended, cut off, heard one way, lossy; and a file through it")
    verb.add_argument("--megabytes", type=int, default=1024)
    verbs.add_parser("probes", help="the nine probes of the README's table, against a node of ours")
    for each in verbs.choices.values():
        each.add_argument("--seed", type=int, default=None, help="default: a fresh one")
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="lanmesh-campaign."))
    if options.verb == "probes":
        print("\n".join(table(probes(folder))))
        shutil.rmtree(folder)
        return 0
    if options.verb == "weather" and (reason := why_not()) is not None:
        parser.error(reason)
    print(f"{options.verb}, seed {seed}", flush=True)

    def tell(line: str) -> None:
        print(line, flush=True)

    if options.verb == "kills":
        found = kills(folder, rounds=options.rounds, seed=seed, tell=tell)
    elif options.verb == "weather":
        found = weather(folder, megabytes=options.megabytes, tell=tell)
    else:
        found = connections(folder, tasks=options.tasks, seed=seed, tell=tell)
    print("\n".join(found.lines()))
    if found.violations:
        print(f"what the nodes left is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
