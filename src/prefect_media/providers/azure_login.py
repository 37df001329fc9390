"""Logging in to Azure with Entra ID: environment, workload or managed identity, `az login`; tokens are refreshed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache

from ..errors import AuthenticationFailed

V1_SCOPE = "https://ai.azure.com/.default"
DATED_SCOPE = "https://cognitiveservices.azure.com/.default"
"""Token scopes of the v1 API and of the older, dated API (Microsoft's API version page of 2026-03-19)."""


@lru_cache(maxsize=4)
def token_provider(scope: str) -> Callable[[], str]:
    """A function that returns a valid token; it asks Entra only when the last token is about to expire.

    Raises:
        errors.AuthenticationFailed: azure-identity is not installed. The function raises it when there is no login.
    """
    try:
        from azure.core.exceptions import AzureError
        from azure.identity import DefaultAzureCredential, get_bearer_token_provider
    except ImportError:
        raise AuthenticationFailed(
            "use_entra_id needs azure-identity; pip install 'prefect-media[azure]', or set api_key or azure_ad_token"
        ) from None
    get_token = get_bearer_token_provider(DefaultAzureCredential(), scope)

    def token() -> str:
        try:
            return get_token()
        except AzureError as error:
            reason = str(error).strip().partition("\n")[0]
            raise AuthenticationFailed(f"no Azure login was accepted: {reason}; run az login") from None

    return token


def async_token_provider(scope: str) -> Callable[[], Awaitable[str]]:
    """The async twin of `token_provider`."""
    provider = token_provider(scope)

    async def token() -> str:
        return await asyncio.to_thread(provider)

    return token
