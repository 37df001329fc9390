"""How a bucket is reached: endpoint, region, credentials, and what to say when it can't be."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import StoreError
from ..user_input import redact_url
from .setup import azure_login, check_aws, endpoint_from_environment

if TYPE_CHECKING:
    from obstore.store import (
        AzureStore,
        ClientConfig,
        GCSConfig,
        GCSStore,
        RetryConfig,
        S3Config,
        S3Credential,
        S3Store,
    )

    from .base import StorageOptions
from .explain import login_failed

_KEYS = ("access_key_id", "secret_access_key", "session_token")


def endpoint_of(scheme: str, options: "StorageOptions") -> str | None:
    """The server to talk to, where it is not the cloud's own."""
    login = azure_login(options.azure_connection_string) if scheme == "az" else None
    endpoint = options.endpoint_url or (login or {}).get("endpoint") or endpoint_from_environment(scheme)
    if not endpoint:
        return None
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", endpoint):
        raise StoreError(
            f"the endpoint {redact_url(endpoint)} is not the address of a server; write it like https://host:9000",
            transient=False,
        )
    return endpoint.rstrip("/")


def open_bucket(
    scheme: str, name: str, options: "StorageOptions", endpoint: str | None, kms_key_id: str | None = None
) -> "S3Store | GCSStore | AzureStore":
    from obstore.store import AzureStore, GCSStore

    plain_http = bool(endpoint and endpoint.startswith("http://"))
    client: ClientConfig = {
        "allow_http": plain_http,
        "connect_timeout": timedelta(seconds=5),
        "read_timeout": timedelta(minutes=2),
        "timeout": timedelta(minutes=10),
    }
    # short: the task that stores something is retried as a whole
    retry: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
    if scheme == "gs":
        server: GCSConfig = {"base_url": endpoint} if endpoint else {}
        if options.google_service_account_key:
            server["service_account_key"] = options.google_service_account_key
        return GCSStore(name, config=server, client_options=client, retry_config=retry)
    if scheme == "az":
        login = azure_login(options.azure_connection_string) or {}
        if endpoint:
            login["endpoint"] = endpoint
        return AzureStore(name, config=login, client_options=client, retry_config=retry)
    return _open_s3(name, options, endpoint, client, retry, kms_key_id)


def _open_s3(
    name: str,
    options: "StorageOptions",
    endpoint: str | None,
    client: "ClientConfig",
    retry: "RetryConfig",
    kms_key_id: str | None,
) -> "S3Store":
    from obstore.store import S3Store

    credentials, region = _aws_login(options)
    config: S3Config = {
        "region": region or "us-east-1",
        # the content is protected by TLS there, and hashing it again would cost more than sending it
        "unsigned_payload": not client["allow_http"],  # type: ignore[typeddict-item]
        "virtual_hosted_style_request": options.path_style is False,
        "conditional_put": "etag",  # or AWS_CONDITIONAL_PUT of the environment could switch it off
    }
    if endpoint:
        host = endpoint.replace("://", f"://{name}.", 1) if options.path_style is False else endpoint
        config["endpoint"] = host
        config["aws_endpoint_url_s3"] = host  # type: ignore[typeddict-unknown-key]  # or the environment's goes before
    if kms_key_id:
        config |= {"server_side_encryption": "aws:kms", "sse_kms_key_id": kms_key_id}
    return S3Store(name, config=config, client_options=client, retry_config=retry, credential_provider=credentials)


def boto3_client(options: "StorageOptions", endpoint: str | None, *, connections: int) -> "tuple[Any, datetime | None]":
    """An S3 client of boto3 with the same login, for what obstore can't do; and until when it works, if not always."""
    from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs]

    login, region = _aws_login(options)
    expires_at: datetime | None = None
    if options.role_arn:
        lent = login()
        expires_at = lent["expires_at"]
        keys = lent["access_key_id"], lent["secret_access_key"], lent.get("token")
        session = _session(replace(options, **dict(zip(_KEYS, keys, strict=True))), region)
    else:
        session = _session(options, region)
    config = Config(
        s3={"addressing_style": "virtual" if options.path_style is False else "path"},
        retries={"mode": "standard", "max_attempts": 4},
        max_pool_connections=connections,
        connect_timeout=5,
        read_timeout=300,  # a copy of a gigabyte answers when it is made
    )
    client = session.client("s3", region_name=region or "us-east-1", endpoint_url=endpoint, config=config)
    return client, expires_at


def _session(options: "StorageOptions", region: str | None) -> Any:
    import boto3  # pyright: ignore[reportMissingTypeStubs]

    return boto3.Session(
        aws_access_key_id=options.access_key_id,
        aws_secret_access_key=options.secret_access_key,
        aws_session_token=options.session_token,
        profile_name=None if options.access_key_id else options.profile,
        region_name=region,
    )


def _aws_login(options: "StorageOptions") -> "tuple[Callable[[], S3Credential], str | None]":
    login, region = _own_login(options)
    return (_as_role(options, region) if options.role_arn else login), region


def _as_role(options: "StorageOptions", region: str | None) -> "Callable[[], S3Credential]":
    """What the role lends to the login, asked for again when it is about to expire."""
    from obstore.auth.boto3 import StsCredentialProvider

    more: Any = {"ExternalId": options.external_id} if options.external_id else {}
    ask = StsCredentialProvider(
        _session(options, region or "us-east-1"),
        RoleArn=options.role_arn or "",
        RoleSessionName="prefect-media",
        **more,
    )

    def credentials() -> "S3Credential":
        lent = ask()
        ends = lent["expires_at"]
        lent["expires_at"] = ends and ends.astimezone(UTC)  # botocore's own time zones are not understood by obstore
        return lent

    return credentials


def _own_login(options: "StorageOptions") -> "tuple[Callable[[], S3Credential], str | None]":
    region = options.region or os.environ.get("AWS_REGION")
    if options.access_key_id:
        check_aws(region, options.access_key_id, options.session_token)
    else:
        check_aws(region, os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SESSION_TOKEN"))
    if options.access_key_id and options.secret_access_key:
        return _fixed_credentials(options), region or os.environ.get("AWS_DEFAULT_REGION")
    if options.access_key_id or options.secret_access_key:
        raise StoreError(
            "only half of the AWS credentials is set; give the access key id and the secret access key",
            transient=False,
        )
    import boto3  # pyright: ignore[reportMissingTypeStubs]
    from botocore.exceptions import BotoCoreError  # pyright: ignore[reportMissingTypeStubs]
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session: Any = boto3.Session(profile_name=options.profile, region_name=region)
        # short: botocore renews what is about to expire only when it is asked
        return Boto3CredentialProvider(session, ttl=timedelta(minutes=5)), region or session.region_name
    except ValueError:
        raise StoreError(
            "no AWS credentials were found; set them on the MediaStore block, in AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or log in with a profile",
            transient=False,
        ) from None
    except BotoCoreError as error:
        raise login_failed(type(error).__name__, options.profile) from None


def _fixed_credentials(options: "StorageOptions") -> "Callable[[], S3Credential]":
    # a provider instead of settings: these would be mixed with AWS_SESSION_TOKEN of the environment
    def credentials() -> "S3Credential":
        never: datetime | None = None
        return {
            "access_key_id": options.access_key_id or "",
            "secret_access_key": options.secret_access_key or "",
            "token": options.session_token,
            "expires_at": never,
        }

    return credentials
