"""What the server says on stderr: one JSON object a line, of named values; never a body, a token or a secret."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime

from server.problems import printable

LOGGER = logging.getLogger("gridmark.server")
_OURS = ("gridmark", "scheduler", "uvicorn")


class JsonFormatter(logging.Formatter):
    """A record as one line; an exception by its type and where it was raised, for its text may quote what was sent."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": printable(record.getMessage()),
        }
        line |= getattr(record, "values", {})
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            line["error"] = kind.__name__
            line["raised_in"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)[-12:]
            ]
        return json.dumps(line, default=str)


def install(handler: logging.Handler) -> None:
    """Send our lines and uvicorn's to `handler`."""
    handler.setFormatter(JsonFormatter())
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False


def say(text: str, *, level: int = logging.INFO, raised: BaseException | None = None, **values: object) -> None:
    """One line; `values` are members of it."""
    LOGGER.log(level, text, exc_info=raised, extra={"values": values})
