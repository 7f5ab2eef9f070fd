"""Logs: one line an event on standard error, `key=value`, with every secret scrubbed from the finished line."""

import logging
import re
import sys
from types import TracebackType

import structlog

LEVELS = ("debug", "info", "warning", "error")

#: The key as it stands in the feed's address, wherever it comes from.
_KEY_IN_ADDRESS = re.compile(r"(cg-api-key=)[^&\s'\"]+", re.IGNORECASE)

_secrets: set[str] = set()


def hide(secret: str) -> None:
    """Scrub this text from every line that is logged from now on."""
    if secret:
        _secrets.add(secret)


def scrub(line: str) -> str:
    """Return the line without any secret."""
    for secret in _secrets:
        line = line.replace(secret, "***")
    return _KEY_IN_ADDRESS.sub(r"\1***", line)


class ScrubbingFormatter(structlog.stdlib.ProcessorFormatter):
    """Scrubs the finished line: whatever put a secret there, message, field or traceback, it does not get out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the scrubbed line."""
        return scrub(super().format(record))


def configure_logs(level: str) -> None:
    """Send structlog's and the standard library's logs to standard error in one form; `level` is one of LEVELS."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = ScrubbingFormatter(
        foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # What these tell at info is for their own developers; at debug everything is shown. aiokafka logs every attempt to
    # reach a broker as an error: we say ourselves, and once, when it is lost and when it is back.
    quiet = dict.fromkeys(("faust", "httpx", "mode", "schema_registry"), "WARNING")
    for library, least in {"aiokafka": "CRITICAL", **quiet}.items():
        logging.getLogger(library).setLevel("DEBUG" if level == "debug" else least)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _log_crash


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what nobody caught, so that it is scrubbed too."""
    logging.getLogger("coinglass_streams").critical("crashed", exc_info=(kind, error, trace))
