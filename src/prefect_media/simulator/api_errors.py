"""How the two providers say no: one error, in OpenAI's shape or in Azure's."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse


class ApiError(Exception):
    """A refusal with everything the wire format can carry."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        type: str = "invalid_request_error",
        details: dict[str, Any] | None = None,
        azure: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.openai: dict[str, Any] = {"message": message, "type": type, "param": param, "code": code}
        self.openai.update(details or {})
        self.azure = azure or self.openai  # Azure's v1 surface repeats OpenAI's errors but for its own gateway's


def is_azure(path: str) -> bool:
    """Whether a path belongs to the Azure face of the server."""
    return path.startswith("/openai/")


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """Starlette's exception handler for `ApiError`."""
    assert isinstance(error, ApiError)
    body = error.azure if is_azure(request.url.path) else error.openai
    return JSONResponse({"error": body}, status_code=error.status)


def missing(param: str) -> ApiError:
    return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def unknown(param: str) -> ApiError:
    return ApiError(400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def invalid(param: str, message: str, *, code: str = "invalid_value") -> ApiError:
    return ApiError(400, message, param=param, code=code)


def bad_value(param: str, value: object, allowed: list[str]) -> ApiError:
    """A value outside an enumeration, in the provider's words."""
    listed = ", ".join(f"'{each}'" for each in allowed)
    return invalid(param, f"Invalid value: '{value}'. Supported values are: {listed}.")


def bad_key(key: str) -> ApiError:
    """HTTP 401, as each provider words it."""
    if key:
        shown = f"{key[:8]}{'*' * 8}{key[-4:]}" if len(key) > 12 else "*" * len(key)
        message = (
            f"Incorrect API key provided: {shown}. "
            "You can find your API key at https://platform.openai.com/account/api-keys."
        )
    else:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using "
            "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
    azure = {
        "code": "401",
        "message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
        "valid key for an active subscription and use a correct regional API endpoint for your resource.",
    }
    return ApiError(401, message, code="invalid_api_key", azure=azure)


def no_such_model(model: str) -> ApiError:
    azure = {
        "code": "DeploymentNotFound",
        "message": "The API deployment for this resource does not exist. If you created the deployment within "
        "the last 5 minutes, please wait a moment and try again.",
    }
    message = f"The model `{model}` does not exist or you do not have access to it."
    return ApiError(404, message, param="model", code="model_not_found", azure=azure)


def moderated() -> ApiError:
    """What the image endpoints answer when moderation objects to the prompt."""
    return ApiError(
        400,
        "Your request was rejected by the safety system. If you believe this is an error, contact us at "
        "help.openai.com and include the request ID. safety_violations=[violence].",
        type="image_generation_user_error",
        code="moderation_blocked",
        details={"moderation_details": {"moderation_stage": "input", "categories": ["violence"]}},
    )


def not_found_here() -> JSONResponse:
    """What a server built on FastAPI says of a route it lacks."""
    return JSONResponse({"detail": "Not Found"}, status_code=404)
