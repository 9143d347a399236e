"""Logs: structlog over the standard library, so that our lines and the libraries' look alike.

People's phones, names and texts are personal data: below DEBUG they are masked, whoever logs them.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from connector.settings import LogSettings

_PERSONAL = frozenset(
    {
        "phone",
        "wa_id",
        "bsuid",
        "name",
        "username",
        "text",
        "body",
        "caption",
        "value",
        "payload",
        "original",
        "to",
    }
)
_SECRET = frozenset(
    {"token", "access_token", "secret", "client_secret", "password", "authorization", "signature"}
)
_REPEAT_AFTER = 10.0  # seconds
_KEPT = 2  # characters at the end of a masked value, enough to tell two values of one conversation apart

# Below WARNING these say nothing an operator can use. Faust and mode stay at INFO: set higher, their spinner
# switches the root logger to DEBUG and every aiokafka debug record is built (a tenth of the CPU).
_LEVELS = {
    "aiokafka": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "urllib3": logging.WARNING,
    "uvicorn": logging.WARNING,
    "alembic": logging.WARNING,
    "faust": logging.INFO,
    "mode": logging.INFO,
}


def configure_logging(settings: LogSettings, *, stream: Any = None) -> None:
    """Set up the process's logging. Called once, by the command line."""
    stream = stream or sys.stderr
    console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        mask_personal_data,
    ]
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setLevel(settings.level)
    if settings.level != "DEBUG":
        handler.addFilter(QuietRepeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(logging.NOTSET if settings.level == "DEBUG" else level)


class QuietRepeats(logging.Filter):
    """Lets a line of aiokafka or OpenTelemetry through once in ten seconds.

    A broker that is away makes fifty of them a second, a collector that is away one with its traceback each export.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is logged. Lines are told apart by their place in the source."""
        if not record.name.startswith(("aiokafka", "opentelemetry")):
            return True
        now, place = self._clock(), (record.name, record.lineno)
        if now - self._last.get(place, -_REPEAT_AFTER) < _REPEAT_AFTER:
            return False
        self._last[place] = now
        return True


def mask_personal_data(
    _logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: secrets are always masked, personal data unless the line is at DEBUG."""
    for key, value in event.items():
        if key in _SECRET:
            event[key] = "***"
        elif method != "debug" and key in _PERSONAL and value:
            event[key] = _masked(value)
    return event


def _masked(value: Any) -> str:
    text = str(value)
    return "***" + text[-_KEPT:] if len(text) > 3 * _KEPT else "***"
