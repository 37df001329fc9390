"""`prefect-media recover-crashed`: the automation that runs crashed flow runs again."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from prefect_media.tasks.recovery import crash_recovery


def recover_crashed(
    flow: Annotated[
        str | None, typer.Option(help="Only runs of the flow of this name. Default: all.", show_default=False)
    ] = None,
) -> None:
    """Create the automation in Prefect and print its name and id.

    Args:
        flow: Only runs of the flow of this name; None for all.
    """
    automation = asyncio.run(crash_recovery(flow).acreate())
    typer.echo(f"Created the automation {automation.name!r} ({automation.id}); see prefect automation ls")
