"""Keeps what opens a link without a login out of the logs of the HTTP libraries."""

from __future__ import annotations

import logging
import re

SIGNATURE = re.compile(r"(?i)([?&](?:[^=&\s]*(?:signature|credential|token)|sig)=)[^&\s'\"]+")
"""Query parameters that grant access to a signed link."""


class _Unsigned(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                SIGNATURE.sub(r"\1***", str(arg)) if SIGNATURE.search(str(arg)) else arg for arg in record.args
            )
        return True


_unsigned = _Unsigned()


def keep_signatures_out_of(*loggers: str) -> None:
    """Take signatures out of what these loggers say: redirects and retries as warnings, requests at INFO.

    Args:
        loggers: Names of the loggers themselves; those below them are not covered.
    """
    for name in loggers:
        logging.getLogger(name).addFilter(_unsigned)
