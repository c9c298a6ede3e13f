"""what an agent says and does in its turn, out of the gateway's events, line by line"""

from typing import Any

from lanmesh.engine.ports import Progress
from lanmesh.openclaw.gateway import Json

_LONGEST_LINE = 1000
"""Characters that are gathered of a line that does not end: the latest."""


class Words:
    """Tells the lines that an agent writes in one session, and the names of the tools that it calls.

    Of a tool its name only: what it is called with and what it finds may be the owner's own affair.
    """

    def __init__(self, session: str, said: Progress) -> None:
        """Listen to one session of the gateway; it has its keys in lower case."""
        self._session = session.lower()
        self._said = said
        self._run: Any = None
        self._length = 0
        self._line = ""

    def hear(self, event: str, payload: Json) -> None:
        """Take an event of the gateway."""
        if event != "agent" or str(payload.get("sessionKey")).lower() != self._session:
            return
        data = payload.get("data")
        if not isinstance(data, dict):
            return
        match payload.get("stream"):
            case "assistant":
                self._write(payload.get("runId"), data)
            case "tool" if data.get("phase") == "start":
                self._end_line()
                self._said(f"calls the tool {data.get('name') or '?'}")
            case "lifecycle":
                self._end_line()
            case _:
                pass

    def _write(self, run: Any, data: Json) -> None:
        """Take what was added to the text: `delta`, or what `text` has beyond what it had."""
        delta, text = data.get("delta"), data.get("text")
        if not isinstance(delta, str):
            if not isinstance(text, str):
                return
            begun = run != self._run or len(text) < self._length
            delta = text if begun else text[self._length :]
            self._run, self._length = run, len(text)
        *lines, self._line = (self._line + delta).split("\n")
        for line in lines:
            self._say(line)
        self._line = self._line[-_LONGEST_LINE:]

    def _end_line(self) -> None:
        self._say(self._line)
        self._line = ""

    def _say(self, line: str) -> None:
        if text := line.strip():
            self._said(text[-_LONGEST_LINE:])
