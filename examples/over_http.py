"""Give a task to any node with nothing but HTTP: LAN_TOKEN=… python examples/over_http.py URL TEXT"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

FINAL = {"completed", "failed", "rejected"}
TRIES = 5


def ask(url: str, envelope: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the node's answer; an HTTP error is raised."""
    body = None if envelope is None else json.dumps(envelope).encode()
    headers = {"Authorization": f"Bearer {os.environ['LAN_TOKEN']}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the caller's own address
    with urllib.request.urlopen(request, timeout=60, context=trust()) as answer:  # noqa: S310
        said: dict[str, Any] = json.load(answer)
        return said


def trust() -> ssl.SSLContext:
    """Return whom to believe: the certificate in the file LAN_CERT; else anybody, for loopback only."""
    context = ssl.create_default_context(cafile=os.environ.get("LAN_CERT"))
    context.check_hostname = False
    if "LAN_CERT" not in os.environ:
        context.verify_mode = ssl.CERT_NONE
    return context


def main(url: str, text: str) -> int:
    """Send the task until the node has it, then ask until it has ended."""
    envelope = {
        "id": str(uuid.uuid4()),  # made once: every retry is the same task
        "protocolVersion": "1.0",
        "type": "task",
        "from": "over-http",
        "payload": {"description": text},
    }
    for attempt in range(1, TRIES + 1):
        try:
            task = ask(f"{url}/lan/task", envelope)
            break
        except urllib.error.HTTPError as refusal:
            sys.stderr.write(f"{json.load(refusal)['detail']}\n")
            return 1
        except OSError as fault:  # it may have arrived or not; sending again does no harm
            sys.stderr.write(f"try {attempt}: {fault}\n")
            time.sleep(attempt)
    else:
        return 1
    while task["state"] not in FINAL:
        task = ask(f"{url}/lan/task/{envelope['id']}?wait=25&version={task['version']}")
    sys.stdout.write(f"{task.get('result') or task['error']['detail']}\n")
    return 0 if task["state"] == "completed" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
