"""log lines: when, how bad, what, and the ids it is about, as key=value"""

import logging
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from textwrap import indent

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_MAX_BYTES = 5 * 1024 * 1024


class KeyValue(logging.Formatter):
    """One line a record: `2026-11-22T08:00:00.000Z level=info event="task claimed" task=k3f2aaaa`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; breaks in values are escaped, tracebacks indented: nobody can forge another."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {"level": record.levelname.lower(), "event": record.getMessage()}
        fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        line = " ".join(f"{key}={_value(str(value))}" for key, value in fields.items())
        trace = "\n" + indent(self.formatException(record.exc_info), "  ") if record.exc_info else ""
        return f"{at.replace('+00:00', 'Z')} {line}{trace}"


def to_terminal() -> None:
    """Log to standard error."""
    _use(logging.StreamHandler())


def to_file(path: Path) -> None:
    """Log to a file that is turned over at 5 MB, two old ones kept."""
    _use(RotatingFileHandler(path, maxBytes=_MAX_BYTES, backupCount=2, encoding="utf-8"))
    path.chmod(0o600)


def _use(handler: logging.Handler) -> None:
    handler.setFormatter(KeyValue())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _value(text: str) -> str:
    plain = text and text.isprintable() and not set(text) & set(' "=\\')
    escaped = text.encode("unicode_escape").decode() if not text.isprintable() else text.replace("\\", "\\\\")
    return text if plain else '"' + escaped.replace('"', '\\"') + '"'
