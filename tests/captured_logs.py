"""What a role would log: the process's logging set up as the command line does, into memory."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from connector.settings import LogSettings
from connector.telemetry.logging import configure_logging

Lines = Callable[[], list[dict[str, Any]]]


@contextmanager
def captured_logs(**settings: Any) -> Iterator[Lines]:
    """JSON lines so far, at INFO unless said otherwise; logging is as before afterwards."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(LogSettings.model_validate({"format": "json"} | settings), stream=stream)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        structlog.configure(**before)
        root.handlers[:] = handlers
        root.setLevel(level)
