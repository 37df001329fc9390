"""The models endpoint: what is served, and until when."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from .api_errors import no_such_model
from .rules import SHUTDOWN_DATES
from .state import State

_CREATED = 1_760_000_000  # Unix seconds; any constant does


class Models:
    """Handlers of /models."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def list(self, _: Request) -> JSONResponse:
        names = self._state.models if self._state.models is not None else SHUTDOWN_DATES
        return JSONResponse({"object": "list", "data": [self._model(name) for name in names]})

    async def retrieve(self, request: Request) -> JSONResponse:
        name: str = request.path_params["id"]
        self._state.serve(name)
        if self._state.models is None and name not in SHUTDOWN_DATES:
            raise no_such_model(name)
        return JSONResponse(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        owner = "openai" if name in SHUTDOWN_DATES else "simulator"
        row = {"id": name, "object": "model", "created": _CREATED, "owned_by": owner}
        others = self._state.profile.models
        return {**row, **others} if others else {**row, "shutdown_date": SHUTDOWN_DATES.get(name)}
