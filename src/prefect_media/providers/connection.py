"""Connections to a provider, and the SDK clients that serve them.

Clients are shared by all code of a process that uses the same event loop and the same connection, so a second call
needs no second TLS handshake. They are kept here and not in the blocks, which stay picklable.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode, urlsplit

import httpx2

from ..cleaning import cleaner_of, keep_secrets_out_of_logs
from ..errors import AuthenticationFailed
from ..runtime.per_loop import shared
from ..runtime.transfers import tls
from ..runtime.unpacking import ACCEPTED
from .address import segment
from .azure_login import DATED_SCOPE, V1_SCOPE, async_token_provider, token_provider
from .bounded_client import BoundedClient
from .bounds import bind, keep_secrets_home, refuse_redirect
from .error_mapping import keep_secrets_out_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

    from ..catalog.data import Host

AZURE_DOMAINS = (
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
    ".azure-api.net",
)


keep_secrets_out_of_logs(
    *("httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2", "httpcore2.proxy"),
    *("openai._base_client", "urllib3.connectionpool"),
)

ONE_PIECE_BYTES = 4 * 1024 * 1024
"""A request body up to this size is assembled in memory before it is sent."""

IDLE_SECONDS = 2.0
"""How long an idle connection is kept. Many servers close theirs after 5 s (uvicorn, Node.js), as the SDK's client does
by default. A paid request that is on its way just then is lost, and nobody can say whether it was taken."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The server that requests go to, and the account that pays. Holds the key, which no repr shows."""

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
    """A name of dialects.toml, or "auto" to detect it; connections that differ only in it are equal."""
    model_family: str | None = None
    request_timeout: float = 600.0
    """Seconds to wait for one whole HTTP answer."""
    max_concurrency: int = 16
    """Most paid requests at once, in one process."""

    def __post_init__(self) -> None:
        for name, text in (("key", self.api_key), ("organization", self.organization), ("project", self.project)):
            if text and not (text.isascii() and text.isprintable()):
                raise AuthenticationFailed(
                    f"the {name} contains an invalid character, such as a line break; paste it again; nothing was sent"
                )

    @property
    def host(self) -> str:
        """Host name (and port, if unusual) of the server."""
        return urlsplit(self.base_url).netloc

    @property
    def catalog_host(self) -> Host:
        """The host whose rules and retirement dates of the catalog apply."""
        name = urlsplit(self.base_url).hostname or ""
        if name == "api.openai.com" or name.endswith(".api.openai.com"):
            return "openai"
        return "azure" if self.provider == "azure" and name.endswith(AZURE_DOMAINS) else "other"

    @property
    def account(self) -> dict[str, str | None]:
        """The account that pays: part of a purchase's identity. Without the key, because keys are rotated."""
        return {
            "provider": self.provider,
            "host": self.host,
            "organization": self.organization,
            "project": self.project,
        }

    def images_url(self, operation: Literal["generations", "edits"], model: str) -> str:
        """Full URL of an image operation; Azure's dated api-versions have it per deployment only.

        Raises:
            errors.InvalidRequest: The name of the deployment is malformed.
        """
        if self.provider == "azure" and is_dated(self.api_version):
            root = self.base_url.removesuffix("/v1")
            query = urlencode({"api-version": self.api_version})
            return f"{root}/deployments/{segment('deployment name', model)}/images/{operation}?{query}"
        return self.url(f"/images/{operation}")

    def url(self, path: str) -> str:
        """Full URL of a path of the v1 API (the client adds `api-version=preview` where the connection has it)."""
        return f"{self.base_url}{path}"

    def download_url(self, path: str) -> str:
        """Full URL of a path of the v1 API for requests that don't go through the SDK's client."""
        return self.url(path) + ("?api-version=preview" if self.asks_for_preview else "")

    @property
    def asks_for_preview(self) -> bool:
        return self.provider == "azure" and self.api_version == "preview"


def is_dated(api_version: str | None) -> bool:
    """Whether an Azure api-version is of the older kind that carries a date, such as "2025-04-01-preview"."""
    return api_version is not None and api_version.startswith("20")


def wire_client(connection: Connection, *, retries: int | None = None) -> AsyncOpenAI:
    """The client for this package's own requests: never the Azure client, because URLs are built here.

    Args:
        connection: The server and the account.
        retries: How often it sends a request again that failed; None leaves it to the SDK.
    """
    if retries is not None:  # kept, because the SDK looks up its platform in a thread for each new client
        return shared(("wire", connection, retries), lambda: wire_client(connection).with_options(max_retries=retries))
    return shared(("wire", connection), lambda: _plain_async(connection, ours=True))


async def headers_of(connection: Connection) -> dict[str, str]:
    """The headers with the secrets, for requests that don't go through the SDK's client."""
    secret = await async_token_provider(_scope(connection))() if connection.entra else connection.api_key
    headers = {"Authorization": f"Bearer {secret}"} if connection.bearer or connection.entra else {"api-key": secret}
    if connection.organization:
        headers["OpenAI-Organization"] = connection.organization
    if connection.project:
        headers["OpenAI-Project"] = connection.project
    return headers


def paid_slots(connection: Connection) -> asyncio.Semaphore:
    """Limits the paid requests at once to the connection's `max_concurrency`."""
    return shared(("slots", connection), lambda: asyncio.Semaphore(connection.max_concurrency))


def async_client(connection: Connection) -> AsyncOpenAI:
    """The SDK client for users: shared on the running event loop, a new one without a loop."""
    from openai import AsyncAzureOpenAI

    def make() -> AsyncOpenAI:
        if is_dated(connection.api_version):
            return AsyncAzureOpenAI(**_azure_options(connection), http_client=_http_async(connection, ours=False))
        return _plain_async(connection, ours=False)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return make()
    return shared(("user", connection), make)


@lru_cache(maxsize=64)
def sync_client(connection: Connection) -> OpenAI:
    """The blocking SDK client for users, made once."""
    from openai import AzureOpenAI, OpenAI

    if is_dated(connection.api_version):
        return AzureOpenAI(**_azure_options(connection), http_client=_http(connection))
    secret = token_provider(_scope(connection)) if connection.entra else connection.api_key
    return OpenAI(api_key=secret, **_plain_options(connection), http_client=_http(connection))


def _plain_async(connection: Connection, *, ours: bool) -> AsyncOpenAI:
    from openai import AsyncOpenAI

    secret = async_token_provider(_scope(connection)) if connection.entra else connection.api_key
    return AsyncOpenAI(api_key=secret, **_plain_options(connection), http_client=_http_async(connection, ours=ours))


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
    """An HTTP client that sends the key in the header its server expects, and to no other server."""
    from openai import DefaultHttpxClient

    def protect_secrets(request: httpx2.Request) -> None:
        _keep_home(request, connection)

    def check_redirect(response: httpx2.Response) -> None:
        refuse_redirect(response, leaves_home=True)

    return DefaultHttpxClient(verify=tls(), event_hooks={"request": [protect_secrets], "response": [check_redirect]})


def _http_async(connection: Connection, *, ours: bool) -> httpx2.AsyncClient:
    """The async twin of `_http`. The SDK's default client would be closed on whatever event loop runs by then.

    Args:
        connection: The server and the account.
        ours: Whether this package reads the answers; then they are bounded, and no redirect leaves the origin.
    """
    from openai import DEFAULT_CONNECTION_LIMITS, DEFAULT_TIMEOUT, DefaultAsyncHttpxClient

    async def protect_secrets(request: httpx2.Request) -> None:
        _keep_home(request, connection)

    async def read_body(request: httpx2.Request) -> None:
        cleaner_of(request.headers)  # from now on, its secrets are removed from logs
        # Unread, a form would be sent field by field: a system call each, and perhaps a packet.
        if int(request.headers.get("Content-Length", 0)) <= ONE_PIECE_BYTES:
            await request.aread()

    async def check_redirect(response: httpx2.Response) -> None:
        refuse_redirect(response, leaves_home=not ours)

    async def clean_headers(response: httpx2.Response) -> None:
        keep_secrets_out_of(response)

    hooks = {
        "request": [protect_secrets, read_body],
        "response": [clean_headers, check_redirect, *([bind] if ours else [])],
    }
    if not ours:
        return DefaultAsyncHttpxClient(verify=tls(), event_hooks=hooks)
    return BoundedClient(
        connection.request_timeout,
        verify=tls(),
        headers={"Accept-Encoding": ACCEPTED},
        event_hooks=hooks,
        timeout=DEFAULT_TIMEOUT,
        limits=httpx2.Limits(
            max_connections=DEFAULT_CONNECTION_LIMITS.max_connections,
            max_keepalive_connections=DEFAULT_CONNECTION_LIMITS.max_keepalive_connections,
            keepalive_expiry=IDLE_SECONDS,
        ),
        follow_redirects=True,
    )


def _keep_home(request: httpx2.Request, connection: Connection) -> None:
    """Put the key into the header that this server expects, and remove all secrets on the way to another server."""
    if not connection.bearer:
        request.headers.pop("Authorization", None)
        request.headers["api-key"] = connection.api_key
    keep_secrets_home(request, connection.base_url)


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
