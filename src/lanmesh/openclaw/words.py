"""what an agent writes and does in its turn, out of the gateway's events"""

from typing import Any

from lanmesh.engine.ports import Progress
from lanmesh.openclaw.gateway import Json


class Words:
    """Tells what an agent writes in one session, as it comes, and the names of the tools that it calls.

    Of a tool its name only: what it is called with and what it finds may be the owner's own affair.
    """

    def __init__(self, session: str, said: Progress) -> None:
        """Listen to one session of the gateway; it has its keys in lower case."""
        self._session = session.lower()
        self._said = said
        self._run: Any = None
        self._length = 0
        self._in_line = False

    def hear(self, event: str, payload: Json) -> None:
        """Take an event of the gateway."""
        if event != "agent" or str(payload.get("sessionKey")).lower() != self._session:
            return
        data = payload.get("data")
        if not isinstance(data, dict):
            return
        match payload.get("stream"):
            case "assistant":
                self._write(self._added(payload.get("runId"), data))
            case "tool" if data.get("phase") == "start":
                self._end_line()
                self._said(f"calls the tool {data.get('name') or '?'}")
            case "lifecycle":
                self._end_line()
            case _:
                pass

    def _added(self, run: Any, data: Json) -> str:
        """Return what was added to the text: `delta`, or what `text` has beyond what it had."""
        delta, text = data.get("delta"), data.get("text")
        if isinstance(delta, str) or not isinstance(text, str):
            return delta if isinstance(delta, str) else ""
        begun = run != self._run or len(text) < self._length
        delta = text if begun else text[self._length :]
        self._run, self._length = run, len(text)
        return delta

    def _write(self, text: str) -> None:
        if text:
            self._said.write(text)
            self._in_line = not text.endswith("\n")

    def _end_line(self) -> None:
        if self._in_line:
            self._write("\n")
