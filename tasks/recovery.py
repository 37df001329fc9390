"""Running crashed flow runs again, which the ledger makes safe: what was paid for is found, not bought."""

from __future__ import annotations

from typing import Any

from prefect.automations import Automation, EventTrigger, Posture
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState

RECOVERY = "prefect-media: run crashed flow runs again"


def crash_recovery(flow_name: str | None = None, *, name: str = RECOVERY) -> Automation:
    """An automation that schedules a flow run again when it crashed; `.create()` saves it.

    Prefect's own retries happen inside a process, so they do not survive its death. With this a worker picks the same
    run up again, and every generation in it resumes where it was.

    Example:
        ```python
        crash_recovery("storyboard").create()  # or: prefect-media recover-crashed --flow storyboard
        ```

    Args:
        flow_name: Only runs of this flow; runs of all flows if left out.
        name: The automation's name.
    """
    which: dict[str, Any] = (
        {"prefect.resource.role": "flow", "prefect.resource.name": flow_name} if flow_name is not None else {}
    )
    return Automation(
        name=name,
        description="The same run again, on a worker. Safe with prefect-media: its ledger buys nothing twice.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},  # pyright: ignore[reportArgumentType]
            match_related=which,  # pyright: ignore[reportArgumentType]
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED, name="AwaitingRetry", message="Crashed; run again", force=True
            )
        ],
    )
