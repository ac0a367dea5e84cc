"""Structured logs: one event a line, as text for people or as JSON, on standard error."""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SECRET = ("key", "password", "secret", "token")


def _hide(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """No secret leaves by a log, not even by a mistake in what was handed to it."""
    for name in event:
        if name in _SECRET or name.endswith(tuple(f"_{word}" for word in _SECRET)):
            event[name] = "(hidden)"
    return event


def configure(form: str = "console", level: str = "info", stream: TextIO | None = None) -> None:
    """Set the process's logging up. form: "console" or "json"; level: one of LEVELS."""
    out = stream if stream is not None else sys.stderr
    render: structlog.typing.Processor
    if form == "json":
        render = structlog.processors.JSONRenderer()
    else:
        # Not the pretty tracebacks: they print local variables, and a key may be among them.
        render = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _hide,
            *([structlog.processors.format_exc_info] if form == "json" else []),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def get(station: str) -> structlog.typing.FilteringBoundLogger:
    """The log of a station."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(station=station)
    return log
