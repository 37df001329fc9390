"""Buckets that are saved as blocks of Prefect's integrations, as the fields of a `MediaStore`.

Everything is read from the block as it stands, or from its saved document, so their packages are not needed here.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prefect import get_client
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from prefect_media.errors import InvalidRequest

BUCKET_TYPES = ("s3-bucket", "gcs-bucket", "azure-blob-storage-container")
"""Slugs of `S3Bucket` (prefect-aws), `GcsBucket` (prefect-gcp) and `AzureBlobStorageContainer` (prefect-azure)."""

NESTED = ("credentials", "gcp_credentials", "aws_client_parameters")


def fields_of_bucket(block: Any) -> dict[str, Any]:
    """The fields of a `MediaStore` for a bucket block.

    Raises:
        TypeError: It is not a bucket block.
        errors.InvalidRequest: It logs in in a way that a `MediaStore` has no field for.
    """
    for name, fields in (("bucket_name", _of_s3), ("container_name", _of_azure), ("gcp_credentials", _of_google)):
        if getattr(block, name, None) is not None:
            return fields(block)
    raise TypeError(
        f"{type(block).__name__} is not a bucket block; pass an S3Bucket of prefect-aws, a GcsBucket of prefect-gcp, "
        "an AzureBlobStorageContainer of prefect-azure or a MediaStore"
    )


async def fields_of_saved_bucket(slug: str, name: str) -> dict[str, Any] | None:
    """The fields of a `MediaStore` for a saved block of one of `BUCKET_TYPES`; None if there is none of that name."""
    async with get_client() as client:
        try:
            document = await client.read_block_document_by_name(name, slug)
        except ObjectNotFound:
            return None
    return fields_of_bucket(_as_block(document.data))


def _as_block(data: dict[str, Any]) -> SimpleNamespace:
    """A document's data with the attributes that its block would have."""
    nested = {name: data[name] for name in NESTED if isinstance(data.get(name), dict)}
    return SimpleNamespace(**{**data, **{name: _as_block(fields) for name, fields in nested.items()}})


def _of_s3(bucket: Any) -> dict[str, Any]:
    """AWS or MinIO credentials."""
    credentials = getattr(bucket, "credentials", None)
    client = getattr(credentials, "aws_client_parameters", None)
    if getattr(client, "verify", None) is False or getattr(client, "verify_cert_path", None):
        warnings.warn(
            "MediaStore does not take over `verify` and `verify_cert_path`; "
            "make the certificate known to the system, for example with SSL_CERT_FILE",
            stacklevel=4,
        )
    role = getattr(credentials, "assume_role_arn", None)
    terms = _set_values(getattr(credentials, "assume_role_kwargs", None)) if role else {}
    external_id = terms.pop("ExternalId", None)
    if terms:
        warnings.warn(
            f"MediaStore does not take over {', '.join(sorted(terms))} of `assume_role_kwargs`; "
            "put them into a profile of the AWS config, and name that",
            stacklevel=4,
        )
    return {
        "url": _url("s3", bucket.bucket_name, getattr(bucket, "bucket_folder", None)),
        "endpoint_url": getattr(client, "endpoint_url", None),
        "region": getattr(credentials, "region_name", None),
        "profile": getattr(credentials, "profile_name", None),
        "aws_access_key_id": _secret(credentials, "aws_access_key_id", "minio_root_user"),
        "aws_secret_access_key": _secret(credentials, "aws_secret_access_key", "minio_root_password"),
        "aws_session_token": _secret(credentials, "aws_session_token"),
        "role_arn": role,
        "external_id": SecretStr(external_id) if external_id else None,
        "path_style": _path_style(getattr(client, "config", None)),
    }


def _of_google(bucket: Any) -> dict[str, Any]:
    """A service account by its content or its file; otherwise the environment's login."""
    login = bucket.gcp_credentials
    content, file = getattr(login, "service_account_info", None), getattr(login, "service_account_file", None)
    if content is not None and hasattr(content, "get_secret_value"):
        content = content.get_secret_value()
    if file and not content:
        try:
            content = Path(file).expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"the service account's file {file} can't be read: {error}") from None
    return {
        "url": _url("gs", bucket.bucket, getattr(bucket, "bucket_folder", None)),
        "google_service_account_key": (content if isinstance(content, str) else json.dumps(content))
        if content
        else None,
    }


def _of_azure(container: Any) -> dict[str, Any]:
    """A connection string; otherwise the environment's login at the account of that address."""
    login = getattr(container, "credentials", None)
    connection_string = _secret(login, "connection_string")
    if getattr(login, "client_secret", None) and not connection_string:
        raise InvalidRequest(
            "an AzureBlobStorageContainer that logs in with client_id and client_secret can't be taken over; set "
            "AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET in the environment and pass az://CONTAINER"
        )
    return {
        "url": _url("az", container.container_name, getattr(container, "base_folder", None)),
        "endpoint_url": None if connection_string else getattr(login, "account_url", None),
        "azure_connection_string": connection_string,
    }


def _url(scheme: str, bucket: str, folder: object) -> str:
    prefix = str(folder or "").strip("/")
    return f"{scheme}://{bucket}/{prefix}" if prefix else f"{scheme}://{bucket}"


def _secret(credentials: Any, *names: str) -> SecretStr | None:
    for name in names:
        value = getattr(credentials, name, None)
        if value:
            return value if isinstance(value, SecretStr) else SecretStr(str(value))
    return None


def _set_values(parameters: Any) -> dict[str, Any]:
    """What is set in parameters of prefect-aws, which are a model, or in a dict."""
    if parameters is None:
        return {}
    values = cast(dict[str, Any], parameters if isinstance(parameters, dict) else parameters.model_dump())
    return {name: value for name, value in values.items() if value is not None}


def _path_style(config: Any) -> bool | None:
    """What botocore's `{"s3": {"addressing_style": ...}}` says, given as a dict or a `Config`."""
    s3: object = cast(dict[str, Any], config).get("s3") if isinstance(config, dict) else getattr(config, "s3", None)
    style = cast(dict[str, Any], s3).get("addressing_style") if isinstance(s3, dict) else None
    return {"path": True, "virtual": False}.get(str(style))
