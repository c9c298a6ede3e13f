"""Campaigns against real nodes: scripts/campaign kills | connections."""

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.campaigns.kills import kills


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/campaign", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("kills", help="kill -9 of sender, receiver and both, under load")
    verb.add_argument("--rounds", type=int, default=100)
    for each in verbs.choices.values():
        each.add_argument("--seed", type=int, default=None, help="default: a fresh one")
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="lanmesh-campaign."))
    print(f"{options.verb}, seed {seed}", flush=True)

    def tell(line: str) -> None:
        print(line, flush=True)

    found = kills(folder, rounds=options.rounds, seed=seed, tell=tell)
    print("\n".join(found.lines()))
    if found.violations:
        print(f"what the nodes left is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
