"""Bad inputs of files: their names, sizes, hashes and ranges."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.acceptance.hostile import DESK, DOG, LAPTOP, ME, PATIENCE_S, Target, bad, bearer, refused
from tests.acceptance.node_process import Answer, envelope, until

CONTENT = b"0123456789" * 100


def put(target: Target, content: bytes, sha256: str, token: str, offset: int = 0) -> Answer:
    headers = {**bearer(token), "Content-Type": "application/octet-stream"}
    return target.ask("PUT", f"/lan/blob/{sha256}?offset={offset}", content, headers)


def named(content: bytes, name: str, size: int | None = None) -> dict[str, object]:
    size = len(content) if size is None else size
    return {"name": name, "size": size, "sha256": hashlib.sha256(content).hexdigest()}


@bad(29, "ranges of a file that are none")
def _(target: Target) -> None:
    path = target.node.home / "ten"
    path.write_bytes(CONTENT)
    (kept,) = target.node.op("POST", "/op/files", {"paths": [str(path)]}).json
    target.node.op("POST", "/op/messages", {"peer": "desk", "text": "see", "files": [kept]})
    at = f"/lan/blob/{kept['sha256']}"
    digits = "bytes=\u0661-\u0663".encode().decode("latin-1")
    for nonsense in (digits, "bytes=-", "bytes=9-1", "bytes=0-1,5-6", "lines=0-1", "bytes=0x1-2", "b" * 5000):
        whole = target.ask("GET", at, headers={**bearer(DESK), "Range": nonsense})
        assert (whole.status, whole.body) == (200, CONTENT)
    for beyond in ("bytes=1000-", "bytes=99999999-", "bytes=-0"):
        refused(target.ask("GET", at, headers={**bearer(DESK), "Range": beyond}), 416)
    part = target.ask("GET", at, headers={**bearer(DESK), "Range": "bytes=990-"})
    assert (part.status, part.body) == (206, CONTENT[990:])
    refused(target.ask("GET", at, headers=bearer(DOG)), 404)
    refused(target.ask("GET", "/lan/blob/..%2f..%2fmesh.db", headers=bearer(DESK)), 404)


@bad(81, "files with names, sizes and hashes that lie")
def _(target: Target) -> None:
    names = ["../../.ssh/authorized_keys", "/etc/passwd", "C:\\x", "CON", "a\x00.txt", "n" * 300, "CON"]
    task = envelope(from_="laptop", to=ME)
    task["payload"]["files"] = [named(CONTENT, name) for name in names]
    assert target.post(task, LAPTOP).status == 202
    sha256 = str(named(CONTENT, "")["sha256"])
    with ThreadPoolExecutor(8) as pool:
        several = list(pool.map(lambda _: put(target, CONTENT, sha256, LAPTOP), range(8)))
    assert {answer.status for answer in several} <= {200, 409, 429}

    def laid_out() -> list[Path] | None:
        places = [file["place"] for file in target.node.task(task["id"])["files"]]
        return [Path(place) for place in places] if all(places) else None

    places = until(laid_out, lambda: json.dumps(target.node.task(task["id"])), PATIENCE_S) or []
    assert len(set(places)) == len(names)
    work = (target.node.state / "work").resolve()
    for place in places:
        assert place.resolve().is_relative_to(work)
        assert place.read_bytes() == CONTENT
        assert not place.stat().st_mode & 0o111

    lie = envelope(from_="laptop", to=ME)
    lie["payload"]["files"] = [named(b"true", "x"), named(b"long", "y", size=2)]
    assert target.post(lie, LAPTOP).status == 202
    refused(put(target, b"lies", str(named(b"true", "")["sha256"]), LAPTOP), 422)
    refused(put(target, b"long", str(named(b"long", "")["sha256"]), LAPTOP), 422)
    refused(put(target, b"lies", str(named(b"true", "")["sha256"]), LAPTOP), 422)
    assert target.node.final(lie["id"], PATIENCE_S)["error"]["code"] == "incomplete"
    strange: list[list[dict[str, object]]] = [
        [{}],
        [named(b"", "")],
        [{**named(b"", "x"), "sha256": "A" * 64}],
        [named(b"", "x")] * 300,
    ]
    for files in strange:
        odd = envelope(from_="laptop", to=ME)
        odd["payload"]["files"] = files
        refused(target.post(odd, LAPTOP), 400)
    refused(put(target, b"x", "0" * 64, LAPTOP), 404)
    refused(put(target, CONTENT, sha256, DOG), 404)
