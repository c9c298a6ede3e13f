"""What schemathesis is kept from, whichever requests it makes up: other machines, and long waits.

It loads this by itself, as its hooks; `LANMESH_NEARBY` has the ports that a node may be told to dial.
"""

import os
from typing import Any

import schemathesis

LOOPBACK = "127.0.0.1"
CODE = "AAAA-AAAA"
LONGEST_WAIT_S = 0.1
PORTS = [int(port) for port in os.environ["LANMESH_NEARBY"].split()]


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Let a request go to a node of this test alone, and be answered soon; what is wrong in it stays so."""
    if case.path == "/op/pairing":
        case.query = soon(case.query or {})
    if case.path == "/op/pairing/dial" and isinstance(case.body, dict):
        case.body = near(case.body)


def soon(query: dict[str, Any]) -> dict[str, Any]:
    """Return a query that is held for a moment at most."""
    try:
        long = float(query.get("wait", 0)) > LONGEST_WAIT_S
    except (TypeError, ValueError):
        return query
    return {**query, "wait": LONGEST_WAIT_S} if long else query


def near(said: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a node dial, so that it stays on this machine; of every other, a code and a place."""
    host, port, code = (said.get(key) for key in ("host", "port", "code"))
    if not isinstance(code, str) or not isinstance(host, str | None) or "\0" in (host or ""):
        return said  # refused as it is, or no address anywhere
    often = len(code) % 2 == 0
    if host is None and not often:
        return said  # the one node on the network, of which this node sees none
    changed = {**said, "host": LOOPBACK, "code": CODE if often else code}
    if "port" not in said or (isinstance(port, int) and 0 < port < 1 << 16):
        changed["port"] = PORTS[(port or 0) % len(PORTS)]
    return changed
