"""What the command line prints about an error that a user can do something about."""

from __future__ import annotations

from pydantic import ValidationError

from ..errors import MediaError
from ..requests import problems_of


def describe_error(error: Exception) -> str | None:
    """One sentence for an error that a user can mend; None for one that needs a traceback."""
    if isinstance(error, ValidationError):
        return f"{error.title} is not valid: {problems_of(error)}"
    return error.message if isinstance(error, MediaError) else None
