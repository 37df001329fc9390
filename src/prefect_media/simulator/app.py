"""The routes: one set of handlers under OpenAI's prefix and under Azure's two."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .api_errors import ApiError, bad_key, is_azure, refuse
from .batches import Batches
from .fault_middleware import FrontDesk
from .images import Images
from .models import Models
from .profiles import PROFILES, Profile
from .state import State
from .videos import Videos


def build_app(state: State) -> ASGIApp:
    """The whole provider as one ASGI application."""
    images, videos, models = Images(state), Videos(state), Models(state)
    batches = Batches(state, images)
    doors = {
        "create": ("POST", "/videos", videos.create),
        "list": ("GET", "/videos", videos.list),
        "edit": ("POST", "/videos/edits", videos.edit),
        "extend": ("POST", "/videos/extensions", videos.extend),
        "look": ("GET", "/videos/{id}", videos.retrieve),
        "delete": ("DELETE", "/videos/{id}", videos.delete),
        "content": ("GET", "/videos/{id}/content", videos.content),
        "remix": ("POST", "/videos/{id}/remix", videos.remix),
    }
    crowded = state.profile.no_cluster and state.api_servers > 1
    batch_doors = [
        Route("/files", batches.upload, methods=["POST"]),
        Route("/files", batches.files, methods=["GET"]),
        Route("/files/{id}", batches.file, methods=["GET"]),
        Route("/files/{id}", batches.delete, methods=["DELETE"]),
        Route("/files/{id}/content", batches.content, methods=["GET"]),
        Route("/batches", batches.create, methods=["POST"]),
        Route("/batches", batches.list, methods=["GET"]),
        Route("/batches/{id}", batches.retrieve, methods=["GET"]),
        Route("/batches/{id}/cancel", batches.cancel, methods=["POST"]),
    ]
    api = [
        Route("/images/generations", images.generate, methods=["POST"]),
        Route("/images/edits", images.edit, methods=["POST"]),
        *(
            Route(path, videos.refuse if crowded else answer, methods=[method])
            for name, (method, path, answer) in doors.items()
            if name in state.profile.routes
        ),
        *([Route("/images/{id}/content", images.content, methods=["GET"])] if state.profile.image_links else ()),
        *(batch_doors if state.profile.batches else ()),
        Route("/models", models.list, methods=["GET"]),
        Route("/models/{id:path}", models.retrieve, methods=["GET"]),
    ]
    classic = [  # Azure before its v1: the deployment in the path stands for the model
        Route("/images/generations", images.generate, methods=["POST"]),
        Route("/images/edits", images.edit, methods=["POST"]),
    ]
    azure = PROFILES["azure"]
    app = Starlette(
        routes=[
            Mount("/v1", app=_Gate(_route(api, state.profile))),
            Mount("/api/v1", app=_Gate(_route(api, state.profile))),  # where OpenRouter has it
            Mount("/openai/v1", app=_Gate(_route(api, state.profile))),
            Mount("/openai/deployments/{deployment}", app=_Gate(_route(classic, azure), needs_api_version=True)),
            Route("/files/{name}", images.file, methods=["GET"]),  # no key: such links are signed
            Route("/cloud/{id}/{number:int}.mp4", videos.cloud, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _no_such_route},
    )
    return FrontDesk(app, state)


def _route(routes: list[Route], profile: Profile) -> Starlette:
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        if is_azure(request.url.path):
            return await refuse(request, error)
        return JSONResponse(profile.error_body(error), status_code=error.status)

    async def no_such_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if profile.fastapi:
            return JSONResponse({"detail": error.detail}, status_code=error.status_code)
        return await _no_such_route(request, error)

    return Starlette(routes=routes, exception_handlers={ApiError: refused, HTTPException: no_such_route})


class _Gate:
    """Lets in those who show a key, before anything else is looked at."""

    def __init__(self, app: ASGIApp, *, needs_api_version: bool = False) -> None:
        self._app = app
        self._needs_api_version = needs_api_version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        bearer = request.headers.get("authorization", "")
        key = bearer[7:].strip() if bearer.lower().startswith("bearer ") else ""
        if not key and is_azure(request.url.path):
            key = request.headers.get("api-key", "")
        answer: Response | None = None
        if not key or key.startswith("sk-invalid"):
            answer = await refuse(request, bad_key(key))
        elif self._needs_api_version and "api-version" not in request.query_params:
            answer = _azure_not_found()
        await (answer or self._app)(scope, receive, send)


def _azure_not_found() -> JSONResponse:
    return JSONResponse({"error": {"code": "404", "message": "Resource not found"}}, status_code=404)


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if is_azure(request.url.path):
        return _azure_not_found()
    message = f"Invalid URL ({request.method} {request.url.path})"
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": body}, status_code=error.status_code)
