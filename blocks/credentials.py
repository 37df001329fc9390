"""Credentials of the account that pays: for OpenAI, for Azure OpenAI, and for any server with OpenAI's API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast
from urllib.parse import parse_qs, urlsplit

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, GetJsonSchemaHandler, HttpUrl, SecretStr, model_validator
from pydantic_core import CoreSchema

from prefect_media.errors import AuthenticationFailed, InvalidRequest
from prefect_media.form_schema import Schema, simplify
from prefect_media.providers.connection import Connection, async_client, sync_client
from prefect_media.providers.dialects import dialects
from prefect_media.user_input import redact_url

from .unknown_fields import warn_of_unknown_fields

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

OPENAI_URL = "https://api.openai.com/v1"

if TYPE_CHECKING:
    Dialect = str
else:
    Dialect = Literal[tuple(dialects())]
    """A table of providers/dialects.toml: a choice in the form, and anything else is refused."""


# Fields of both classes. They are declared last in each, so that the key comes first in the form.
RequestTimeout = Annotated[
    float,
    Field(gt=0, description="Seconds to wait for one whole HTTP answer; images are generated within one answer."),
]
MaxConcurrency = Annotated[int, Field(ge=1, description="Most paid requests that one process sends at once.")]


class MediaCredentials(CredentialsBlock):
    """The base of all credentials."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        json_schema = handler(schema)
        simplify(handler.resolve_ref_schema(json_schema))
        return json_schema

    @model_validator(mode="before")
    @classmethod
    def _accept_the_sdk_name_of_the_timeout(cls, data: Any) -> Any:
        if isinstance(data, dict):
            fields = dict(cast(dict[str, Any], data))
            if "timeout" in fields and "request_timeout" not in fields:
                fields["request_timeout"] = fields.pop("timeout")
            return fields
        return data

    @model_validator(mode="after")
    def _warn_of_unknown_fields(self) -> MediaCredentials:
        warn_of_unknown_fields(self)
        return self

    def connection(self) -> Connection:
        """The server and the account, from the fields and the environment."""
        raise TypeError(f"{type(self).__name__} is not a provider; use OpenAICredentials or AzureOpenAICredentials")

    def get_client(self) -> OpenAI:
        """A client of the openai SDK for this account, shared within the process.

        Raises:
            errors.AuthenticationFailed: There is no key.
        """
        return sync_client(self.connection())

    def get_async_client(self) -> AsyncOpenAI:
        """An async client of the openai SDK for this account, shared within the running event loop.

        Raises:
            errors.AuthenticationFailed: There is no key.
        """
        return async_client(self.connection())


class OpenAICredentials(MediaCredentials):
    """Credentials for OpenAI, or for any server that speaks its API.

    Example:
        Load saved credentials and use the SDK's client:
        ```python
        from prefect_media import OpenAICredentials

        credentials = OpenAICredentials.load("BLOCK_NAME")
        client = credentials.get_client()
        ```
    """

    _block_type_name = "OpenAI Media Credentials"
    _block_type_slug = "openai-media-credentials"
    _logo_url = HttpUrl("https://avatars.githubusercontent.com/u/14957082?s=200&v=4")
    _documentation_url = HttpUrl("https://platform.openai.com/docs/api-reference/authentication")

    provider: Literal["openai"] = Field(default="openai", description="The kind of credentials.")
    api_key: SecretStr | None = Field(
        default=None,
        title="API Key",
        description="The API key; OPENAI_API_KEY of the environment if left out.",
    )
    base_url: str | None = Field(
        default=None,
        title="Base URL",
        description="Root of the API, such as http://localhost:8000/v1; OpenAI's own if left out.",
    )
    organization: str | None = Field(default=None, description="OpenAI organization to bill.")
    project: str | None = Field(default=None, description="OpenAI project to bill.")
    dialect: Dialect | None = Field(
        default=None, description="The server's dialect of the Videos API; detected by a free request if left out."
    )
    request_timeout: RequestTimeout = 600.0
    max_concurrency: MaxConcurrency = 16

    def connection(self) -> Connection:
        """The server and the account, from the fields and the environment.

        Raises:
            errors.InvalidRequest: `base_url` is not an http(s) URL.
            errors.AuthenticationFailed: There is no key, and the server is OpenAI's own.
        """
        base_url = _check_base_url(self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")
        if "?" in base_url or "#" in base_url:
            raise InvalidRequest(f"base_url has a query or a fragment; leave out what follows {redact_url(base_url)}")
        api_key = _secret(self.api_key) or _environment("OPENAI_API_KEY")
        if not api_key and base_url == OPENAI_URL:
            raise AuthenticationFailed(
                "no OpenAI API key: set api_key on the credentials block, or OPENAI_API_KEY; to try without a key, run "
                "prefect-media demo"
            )
        return Connection(
            provider="openai",
            base_url=base_url,
            api_key=api_key or "no-key",  # self-hosted servers often need none, but the SDK requires a value
            organization=self.organization,
            project=self.project,
            dialect=self.dialect or ("openai" if base_url == OPENAI_URL else "auto"),
            request_timeout=self.request_timeout,
            max_concurrency=self.max_concurrency,
        )


class AzureOpenAICredentials(MediaCredentials):
    """Credentials for Azure OpenAI (Microsoft Foundry), with a key or an Entra bearer token.

    | `api_version` | images | videos |
    | --- | --- | --- |
    | none, `v1`, `latest` | `/openai/v1/images/...` | `/openai/v1/videos` |
    | `preview` | the same with `?api-version=preview` | the same with `?api-version=preview` |
    | with a date | `/openai/deployments/{model}/images/...?api-version=...` | `/openai/v1/videos` |

    Example:
        Load saved credentials and use the SDK's client:
        ```python
        from prefect_media import AzureOpenAICredentials

        credentials = AzureOpenAICredentials.load("BLOCK_NAME")
        client = credentials.get_client()
        ```
    """

    _block_type_name = "Azure OpenAI Media Credentials"
    _block_type_slug = "azure-openai-media-credentials"
    _logo_url = HttpUrl("https://avatars.githubusercontent.com/u/6844498?s=200&v=4")
    _documentation_url = HttpUrl("https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle")

    provider: Literal["azure"] = Field(default="azure", description="The kind of credentials.")
    base_url: str = Field(
        title="Base URL",
        description="The resource's endpoint, such as https://NAME.openai.azure.com, with or without /openai/v1.",
    )
    api_version: str | None = Field(
        default=None,
        title="API Version",
        description="Only for the older, dated API; an api-version in the base URL takes precedence.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        title="API Key",
        description="The resource's key; AZURE_OPENAI_API_KEY of the environment if left out.",
    )
    azure_ad_token: SecretStr | None = Field(
        default=None,
        title="Entra Bearer Token",
        description="A bearer token to use in place of a key; AZURE_OPENAI_AD_TOKEN if left out.",
    )
    use_entra_id: bool = Field(
        default=False,
        title="Use Entra ID",
        description="Log in with azure-identity (environment, workload or managed identity, az login) instead.",
    )
    model_family: str | None = Field(
        default=None,
        description="Model whose rules and prices apply to deployments with names of their own, such as gpt-image-2.",
    )
    request_timeout: RequestTimeout = 600.0
    max_concurrency: MaxConcurrency = 16

    def connection(self) -> Connection:
        """The server and the account, from the fields and the environment.

        Raises:
            errors.InvalidRequest: `base_url` is not an http(s) URL.
            errors.AuthenticationFailed: There is neither a key nor a token.
        """
        url = urlsplit(_check_base_url(self.base_url))
        in_query = parse_qs(url.query).get("api-version")
        api_version = in_query[0] if in_query else self.api_version
        if api_version in ("v1", "latest", ""):
            api_version = None
        root = f"{url.scheme}://{url.netloc}{_prefix(url.path)}"

        token = _secret(self.azure_ad_token)
        key = _secret(self.api_key)
        if not token and not key and not self.use_entra_id:
            token = _environment("AZURE_OPENAI_AD_TOKEN")
            key = _environment("AZURE_OPENAI_API_KEY")
        if not token and key and _is_token(key):
            token = key
        if not token and not key and not self.use_entra_id:
            raise AuthenticationFailed(
                "no Azure OpenAI key or token: set api_key, azure_ad_token or use_entra_id on the credentials "
                "block, or AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN"
            )
        return Connection(
            provider="azure",
            base_url=f"{root}/openai/v1",
            api_key=token or key or "",
            bearer=not key or bool(token),
            entra=not key and not token,
            api_version=api_version,
            dialect="azure",
            model_family=self.model_family,
            request_timeout=self.request_timeout,
            max_concurrency=self.max_concurrency,
        )


def _check_base_url(base_url: str) -> str:
    base_url = base_url.strip()
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(
            f"base_url={redact_url(base_url.rpartition('@')[2])!r} is not a URL; "
            "it has to look like https://NAME.example.com or http://localhost:8000/v1"
        )
    if parts.username or parts.password:
        raise InvalidRequest("base_url contains a password; set api_key instead")
    return base_url


def _prefix(path: str) -> str:
    """The path before /openai in a pasted endpoint: empty, or that of an API gateway.

    Foundry's project endpoints (/api/projects/NAME) and its /models path belong to other APIs of the same resource.
    """
    for other in ("/openai", "/api/projects", "/models"):
        path = path.partition(other)[0]
    return path.rstrip("/")


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value().strip() if value else None


def _environment(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _is_token(value: str) -> bool:
    """Entra tokens are JWTs: three base64 parts, the first of which is a JSON object."""
    return value.startswith("eyJ") and value.count(".") == 2
