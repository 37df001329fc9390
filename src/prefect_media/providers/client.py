"""Connections to a provider, and the SDK clients that serve them.

Clients are shared by everything in one process that uses the same event loop and the same connection, so
a second call pays for no second TLS set-up. They live here and not in the blocks, which stay picklable.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ..errors import AuthenticationFailed
from ..per_loop import shared
from ..transport import tls
from .entra import DATED_SCOPE, V1_SCOPE, async_token_provider, token_provider

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI, OpenAI

    from ..catalog import Host

AZURE_DOMAINS = (
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
    ".azure-api.net",
)


ONE_PIECE_BYTES = 4 * 1024 * 1024
"""A request body up to this size is put together before it is sent."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where to send requests and as whom. The key is in it, but in no repr of it."""

    provider: Literal["openai", "azure"]
    base_url: str
    """Root of the API without a trailing slash, such as "https://api.openai.com/v1"."""
    api_key: str = field(repr=False)
    bearer: bool = True
    """Whether the key goes into `Authorization: Bearer`; otherwise into Azure's `api-key` header."""
    entra: bool = False
    """Whether azure-identity provides the bearer token in place of a key."""
    api_version: str | None = None
    organization: str | None = None
    project: str | None = None
    dialect: str = field(default="openai", compare=False)
    """How the server speaks, a name in dialects.toml or "auto"; the same connection whatever it says."""
    model_family: str | None = None
    request_timeout: float = 600.0
    """Seconds to wait for one HTTP answer, the whole of it."""
    max_concurrency: int = 16
    """Paid requests in the air at once, in one process."""

    def __post_init__(self) -> None:
        for name, text in (("key", self.api_key), ("organization", self.organization), ("project", self.project)):
            if text and not (text.isascii() and text.isprintable()):
                raise AuthenticationFailed(
                    f"the {name} has a line break or a letter in it that no {name} has; copy it anew. Nothing was sent"
                )

    @property
    def host(self) -> str:
        """Host name (and port, if unusual) of the server."""
        return urlsplit(self.base_url).netloc

    @property
    def catalog_host(self) -> Host:
        """Whose rules and retirement dates apply."""
        name = urlsplit(self.base_url).hostname or ""
        if name == "api.openai.com" or name.endswith(".api.openai.com"):
            return "openai"
        return "azure" if self.provider == "azure" and name.endswith(AZURE_DOMAINS) else "other"

    @property
    def account(self) -> dict[str, str | None]:
        """Who pays: part of a purchase's identity. Deliberately not the key, which may be rotated."""
        return {
            "provider": self.provider,
            "host": self.host,
            "organization": self.organization,
            "project": self.project,
        }

    def images_url(self, operation: Literal["generations", "edits"], model: str) -> str:
        """Full URL of an image operation; Azure's dated api-versions only know it per deployment."""
        if self.provider == "azure" and is_dated(self.api_version):
            root = self.base_url.removesuffix("/v1")
            return f"{root}/deployments/{model}/images/{operation}?api-version={self.api_version}"
        return self.url(f"/images/{operation}")

    def url(self, path: str) -> str:
        """Full URL of a path of the v1 API (the client adds `api-version=preview` where it is asked for)."""
        return f"{self.base_url}{path}"

    def download_url(self, path: str) -> str:
        """Full URL of a path of the v1 API for requests that don't go through the SDK's client."""
        return self.url(path) + ("?api-version=preview" if self.asks_for_preview else "")

    @property
    def asks_for_preview(self) -> bool:
        return self.provider == "azure" and self.api_version == "preview"


def is_dated(api_version: str | None) -> bool:
    """Whether an Azure api-version is of the older kind that carries a date, such as "2025-04-01-preview"."""
    return bool(api_version) and api_version[:2] == "20"  # pyright: ignore[reportOptionalSubscript]


def wire_client(connection: Connection) -> AsyncOpenAI:
    """The client our own requests go through: always the plain one, because URLs are built here."""
    return shared(("wire", connection), lambda: _plain_async(connection, bounded=True))


async def headers_of(connection: Connection) -> dict[str, str]:
    """What a request has to carry that doesn't go through the SDK's client."""
    secret = await async_token_provider(_scope(connection))() if connection.entra else connection.api_key
    headers = {"Authorization": f"Bearer {secret}"} if connection.bearer or connection.entra else {"api-key": secret}
    if connection.organization:
        headers["OpenAI-Organization"] = connection.organization
    if connection.project:
        headers["OpenAI-Project"] = connection.project
    return headers


def paid_slots(connection: Connection) -> asyncio.Semaphore:
    """Holds back paid requests beyond the connection's `max_concurrency`."""
    return shared(("slots", connection), lambda: asyncio.Semaphore(connection.max_concurrency))


def async_client(connection: Connection) -> AsyncOpenAI:
    """The SDK client a user gets: shared on the running event loop, a new one outside of any."""
    from openai import AsyncAzureOpenAI

    def make() -> AsyncOpenAI:
        if is_dated(connection.api_version):
            return AsyncAzureOpenAI(**_azure_options(connection), http_client=_http_async(connection))
        return _plain_async(connection)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return make()
    return shared(("user", connection), make)


@lru_cache(maxsize=64)
def sync_client(connection: Connection) -> OpenAI:
    """The blocking SDK client a user gets, made once."""
    from openai import AzureOpenAI, OpenAI

    if is_dated(connection.api_version):
        return AzureOpenAI(**_azure_options(connection), http_client=_http(connection))
    secret = token_provider(_scope(connection)) if connection.entra else connection.api_key
    return OpenAI(api_key=secret, **_plain_options(connection), http_client=_http(connection))


def _plain_async(connection: Connection, *, bounded: bool = False) -> AsyncOpenAI:
    from openai import AsyncOpenAI

    secret = async_token_provider(_scope(connection)) if connection.entra else connection.api_key
    return AsyncOpenAI(
        api_key=secret, **_plain_options(connection), http_client=_http_async(connection, bounded=bounded)
    )


def _plain_options(connection: Connection) -> dict[str, Any]:
    options: dict[str, Any] = {
        "base_url": connection.base_url,
        "organization": connection.organization,
        "project": connection.project,
        "timeout": connection.request_timeout,
    }
    if connection.asks_for_preview:
        options["default_query"] = {"api-version": "preview"}
    return options


def _scope(connection: Connection) -> str:
    return DATED_SCOPE if is_dated(connection.api_version) else V1_SCOPE


def _http(connection: Connection) -> httpx2.Client:
    """An HTTP client that sends the key as Azure wants it; the SDK's plain clients can only send a bearer."""
    from openai import DefaultHttpxClient

    def key_alone(request: httpx2.Request) -> None:
        _send_as_api_key(request, connection)

    return DefaultHttpxClient(verify=tls(), event_hooks={"request": [] if connection.bearer else [key_alone]})


def _http_async(connection: Connection, *, bounded: bool = False) -> httpx2.AsyncClient:
    """The async twin of `_http`; `bounded` ends each answer after the connection's `request_timeout`.

    The SDK's own would close itself when it is garbage, on whatever event loop is running by then.
    """
    from openai import DefaultAsyncHttpxClient

    from .bounded_client import BoundedClient

    async def key_alone(request: httpx2.Request) -> None:
        _send_as_api_key(request, connection)

    async def in_one_piece(request: httpx2.Request) -> None:
        # A form would be sent field by field, each with a system call and perhaps a packet of its own.
        if int(request.headers.get("Content-Length", 0)) <= ONE_PIECE_BYTES:
            await request.aread()

    hooks = [in_one_piece] if connection.bearer else [key_alone, in_one_piece]
    options: dict[str, Any] = {"verify": tls(), "event_hooks": {"request": hooks}}
    return BoundedClient(connection.request_timeout, **options) if bounded else DefaultAsyncHttpxClient(**options)


def _send_as_api_key(request: httpx2.Request, connection: Connection) -> None:
    if "Authorization" in request.headers:
        del request.headers["Authorization"]
    if request.url.netloc.decode() == connection.host:  # a redirect may lead to a stranger
        request.headers["api-key"] = connection.api_key
    elif "api-key" in request.headers:
        del request.headers["api-key"]


def _azure_options(connection: Connection) -> dict[str, Any]:
    if connection.entra:
        secret = {"azure_ad_token_provider": token_provider(_scope(connection))}
    else:
        secret = {"azure_ad_token" if connection.bearer else "api_key": connection.api_key}
    return {
        **secret,
        "azure_endpoint": connection.base_url.removesuffix("/openai/v1"),
        "api_version": connection.api_version,
        "timeout": connection.request_timeout,
    }
