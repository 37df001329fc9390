"""Options that several commands share, and the check of an option that takes one of a few values."""

from __future__ import annotations

from typing import Annotated, TypeVar

import typer

from ..errors import InvalidRequest

C = TypeVar("C", bound=str)

StoreOption = Annotated[
    str | None,
    typer.Option(
        help="A URL such as s3://bucket/prefix, a folder, or the name of a saved MediaStore. "
        "Default: PREFECT_MEDIA_STORE, else the folder under the Prefect home.",
        show_default=False,
    ),
]
CredentialsOption = Annotated[
    str | None,
    typer.Option(help="Name of a saved block. Default: OPENAI_API_KEY and the like.", show_default=False),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def check_choice(name: str, value: str, possible: tuple[C, ...]) -> C:
    """Return the value of an option as the one of the possible values that it is.

    Raises:
        InvalidRequest: It is none of them.
    """
    if value not in possible:
        raise InvalidRequest(f"--{name} {value!r} is not possible; choose from {', '.join(possible)}")
    return possible[possible.index(value)]
