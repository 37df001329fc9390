"""Spans for OpenTelemetry, where the application uses it; nothing is imported for it, and none holds a prompt.

Prefect brings OpenTelemetry's API, and the application its SDK. Without the SDK the API's spans are empty ones; a
process that has not even imported the API has none. Tracing never fails what it traces.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

Name = Literal["purchase", "submit", "wait", "download", "store"]

_logger = logging.getLogger("prefect_media")


class Span:
    """One span, or nothing where nobody traces.

    Args:
        span: OpenTelemetry's span.
    """

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, **attributes: str | float | None) -> None:
        """Set attributes, named `prefect_media.` and so on; None is left out. Raises nothing."""
        if self._span is None:
            return
        try:
            for name, value in attributes.items():
                if value is not None:
                    self._span.set_attribute(f"prefect_media.{name}", value)
        except Exception as error:  # of any SDK: what is traced goes on
            _logger.debug("A span could not be described: %s", error)

    def fail(self, error: BaseException) -> None:
        """Mark it as failed, by the kind of error alone: messages may quote a prompt. Raises nothing."""
        if self._span is None:
            return
        try:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(sys.modules["opentelemetry.trace"].StatusCode.ERROR)
        except Exception as broken:  # of any SDK: what is traced goes on
            _logger.debug("A span could not be marked as failed: %s", broken)


@contextmanager
def span(name: Name, **attributes: str | float | None) -> Generator[Span]:
    """A span around what happens in this context, below the one that is current."""
    opened, span = _open(name)
    span.set(**attributes)
    try:
        yield span
    except BaseException as error:
        span.fail(error)
        raise
    finally:
        _close(opened)


def _open(name: Name) -> tuple[Any, Span]:
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None, Span()
    try:
        opened = api.get_tracer("prefect_media").start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        )
        return opened, Span(opened.__enter__())
    except Exception as error:  # of any SDK: what is traced goes on
        _logger.debug("The span %s could not be opened: %s", name, error)
        return None, Span()


def _close(opened: Any) -> None:
    try:
        if opened is not None:
            opened.__exit__(None, None, None)
    except Exception as error:  # of any SDK: what is traced goes on
        _logger.debug("A span could not be closed: %s", error)
