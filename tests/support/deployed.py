"""A run of a deployed flow, executed in this process whenever a worker would execute it."""

from __future__ import annotations

import asyncio

from prefect import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect_media.blocks import MediaStore
from prefect_media.tasks import wake

from prefect_media.waiting import records


class Deployed:
    """A run of a deployed flow, executed here whenever a worker would."""

    def __init__(self, flow, place: MediaStore, **parameters):
        self.flow, self.storage, self.parameters = flow, place.storage(), parameters
        self.id = None

    async def execute(self):
        """Execute the run once, as a worker does; its state afterwards."""
        async with get_client() as client:
            if self.id is None:
                flow_id = await client.create_flow(self.flow)
                deployment = await client.create_deployment(flow_id, "it")
                run = await client.create_flow_run_from_deployment(deployment, parameters=self.parameters)
                self.id = run.id
            run = await client.read_flow_run(self.id)
            try:
                self.result = await self._result(run)
            except Pause:  # the engine's way out of a suspended flow
                self.result = None
            return (await client.read_flow_run(self.id)).state

    async def _result(self, run):
        if self.flow.isasync:
            return await run_flow(self.flow, flow_run=run, parameters=self.parameters)
        return await asyncio.to_thread(run_flow, self.flow, flow_run=run, parameters=self.parameters)

    async def state(self):
        async with get_client() as client:
            return (await client.read_flow_run(self.id)).state

    async def records(self):
        return await records.read_all(self.storage)

    async def round(self):
        """A round of a waker, a minute after the last."""
        await self.storage.delete(await self._server_note())
        return await wake.make_round(self.storage)

    async def _server_note(self):
        return next(iter([path async for path, _ in self.storage.list("ledger/wakers/servers/")]), "none")
