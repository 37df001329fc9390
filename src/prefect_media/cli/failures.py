"""What the command line prints about an error that a user can do something about."""

from __future__ import annotations

from httpx import HTTPStatusError, TransportError
from pydantic import ValidationError

from ..errors import MediaError
from ..requests import problems_of


def describe_error(error: Exception) -> str | None:
    """One sentence for an error that a user can mend; None for one that needs a traceback."""
    if isinstance(error, ValidationError):
        return f"{error.title} is not valid: {problems_of(error)}"
    if isinstance(error, TransportError):  # of Prefect's client: what goes to providers and stores has errors of ours
        return f"{_address_of(error)} could not be reached ({error}); check PREFECT_API_URL, and that the server is up"
    if isinstance(error, HTTPStatusError):
        answer = error.response
        return (
            f"Prefect's server answered HTTP {answer.status_code} to {answer.request.url.path}; try again; see its log"
        )
    if isinstance(error, RuntimeError) and "ephemeral Prefect API server" in str(error):
        return (
            "Prefect's temporary server did not start in time; set PREFECT_API_URL to one that runs (prefect server "
            "start), or PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS to more"
        )
    return error.message if isinstance(error, MediaError) else None


def _address_of(error: TransportError) -> str:
    try:
        return f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
    except RuntimeError:  # it was raised before there was a request
        return "Prefect's server"
