"""Where media and the ledger go: a bucket or a folder, saved in Prefect under a name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator

from prefect_media.errors import InvalidRequest
from prefect_media.runtime.sync import run_sync
from prefect_media.storage.address import parse_address
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import storage_at
from prefect_media.user_input import brief_repr, brief_text

from .unknown_fields import warn_of_unknown_fields

if TYPE_CHECKING:
    from prefect_media.storage.store import Storage


class MediaStore(Block):
    """A bucket or a folder that media and the ledger of purchases are kept in.

    What is left out is found as boto3 finds it: environment, profile, single sign-on, role of the machine.

    Example:
        Load a saved store and use it in a flow:
        ```python
        from prefect_media import MediaStore, OpenAICredentials, VideoRequest, generate_video

        store = MediaStore.load("BLOCK_NAME")
        credentials = OpenAICredentials.load("BLOCK_NAME")
        video = generate_video(credentials, VideoRequest(prompt="A paper boat", model="sora-2"), store=store)
        ```
    """

    _block_type_name = "Media Store"
    _block_type_slug = "media-store"
    _logo_url = HttpUrl(
        "https://raw.githubusercontent.com/PrefectHQ/prefect/420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/"
        "assets/block-logos/filesystem.png"
    )
    _documentation_url = HttpUrl("https://developmentseed.org/obstore/latest/")

    url: str = Field(
        title="URL",
        description="The bucket or folder, such as s3://bucket/prefix, gs://bucket, az://container or /mnt/media.",
    )
    endpoint_url: str | None = Field(
        default=None,
        title="Endpoint URL",
        description="Server to use instead of the cloud's own, such as http://minio:9000; "
        "AWS_ENDPOINT_URL_S3, AZURE_STORAGE_ENDPOINT, GOOGLE_BASE_URL or the like of the environment if left out.",
    )
    region: str | None = Field(
        default=None, description="The bucket's AWS region; AWS_REGION or the profile's if left out."
    )
    profile: str | None = Field(
        default=None, description="Name of the AWS profile to log in with, where no keys are given."
    )
    aws_access_key_id: SecretStr | None = Field(
        default=None, title="AWS Access Key ID", description="AWS access key ID; found by boto3 if left out."
    )
    aws_secret_access_key: SecretStr | None = Field(
        default=None, title="AWS Secret Access Key", description="The secret that goes with the access key ID."
    )
    aws_session_token: SecretStr | None = Field(
        default=None, title="AWS Session Token", description="Needed only with temporary credentials."
    )
    role_arn: str | None = Field(
        default=None,
        title="Role ARN",
        description="AWS role to take on with that login, such as arn:aws:iam::123456789012:role/media.",
    )
    external_id: SecretStr | None = Field(
        default=None, title="External ID", description="What the role asks for, if it was given by another account."
    )
    path_style: bool | None = Field(
        default=None,
        description="Whether the bucket is named in the path or, if false, in the host; in the path if left out.",
    )
    public_url_base: str | None = Field(
        default=None,
        title="Public URL",
        description="Where anybody can open what is in this store, such as https://media.example.com; galleries then "
        "have links that do not expire.",
    )

    @field_validator("url")
    @classmethod
    def _refuse_what_names_no_place(cls, url: str) -> str:
        parse_address(url)
        return url

    @field_validator("public_url_base")
    @classmethod
    def _refuse_bases_that_are_no_address(cls, base: str | None) -> str | None:
        parts = urlsplit(base or "")
        if parts.username or parts.password:
            raise ValueError("it carries a password, which everybody would see; leave it out")
        if base and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
            raise ValueError(
                f"{brief_text(base)} is no public address; pass one such as https://media.example.com/films"
            )
        return base or None

    @model_validator(mode="after")
    def _warn_of_unknown_fields(self) -> MediaStore:
        warn_of_unknown_fields(self)
        return self

    def storage(self) -> Storage:
        """The store itself, shared by everything in this process that names the same place."""
        return storage_at(
            self.url,
            StorageOptions(
                endpoint_url=self.endpoint_url or None,
                region=self.region or None,
                path_style=self.path_style,
                profile=self.profile or None,
                access_key_id=_plain(self.aws_access_key_id),
                secret_access_key=_plain(self.aws_secret_access_key),
                session_token=_plain(self.aws_session_token),
                role_arn=self.role_arn or None,
                external_id=_plain(self.external_id),
                public_url_base=self.public_url_base or None,
            ),
        )

    def check(self) -> None:
        """Write and delete a probe, to know before anything is paid for.

        Raises:
            errors.StoreError: The store can't be used, and why.
        """
        run_sync(self.acheck())

    async def acheck(self) -> None:
        """Write and delete a probe, to know before anything is paid for.

        Raises:
            errors.StoreError: The store can't be used, and why.
        """
        await self.storage().check()

    @classmethod
    def from_bucket(cls, bucket: Any) -> MediaStore:
        """The store for a bucket block of prefect-aws: `S3Bucket` with AWS or MinIO credentials.

        Everything is read from the block as it stands, so prefect-aws itself is not needed here.
        """
        name = getattr(bucket, "bucket_name", None)
        if not name:
            raise TypeError(
                f"{type(bucket).__name__} is no bucket block; give an S3Bucket of prefect-aws or a MediaStore"
            )
        folder = str(getattr(bucket, "bucket_folder", None) or "").strip("/")
        credentials = getattr(bucket, "credentials", None)
        client = getattr(credentials, "aws_client_parameters", None)
        if getattr(client, "verify", None) is False or getattr(client, "verify_cert_path", None):
            warnings.warn(
                "MediaStore does not take over `verify` and `verify_cert_path`; "
                "make the certificate known to the system, for example with SSL_CERT_FILE",
                stacklevel=2,
            )
        role = getattr(credentials, "assume_role_arn", None)
        terms = _given(getattr(credentials, "assume_role_kwargs", None)) if role else {}
        external_id = terms.pop("ExternalId", None)
        if terms:
            warnings.warn(
                f"MediaStore does not take over {', '.join(sorted(terms))} of `assume_role_kwargs`; "
                "put them into a profile of the AWS config, and name that",
                stacklevel=2,
            )
        return cls(
            url=f"s3://{name}/{folder}" if folder else f"s3://{name}",
            endpoint_url=getattr(client, "endpoint_url", None),
            region=getattr(credentials, "region_name", None),
            profile=getattr(credentials, "profile_name", None),
            aws_access_key_id=_secret(credentials, "aws_access_key_id", "minio_root_user"),
            aws_secret_access_key=_secret(credentials, "aws_secret_access_key", "minio_root_password"),
            aws_session_token=_secret(credentials, "aws_session_token"),
            role_arn=role,
            external_id=SecretStr(external_id) if external_id else None,
            path_style=_path_style(getattr(client, "config", None)),
        )


async def saved_store(name: str) -> MediaStore:
    """The saved block that a store is given by, as NAME or media-store/NAME.

    Raises:
        errors.InvalidRequest: There is none, or it is of another type.
    """
    kind, _, plain = name.rpartition("/")
    folder = f"A bucket is s3://{brief_text(plain)}, a folder ./{brief_text(name)}"
    if kind not in ("", MediaStore.get_block_type_slug()):
        raise InvalidRequest(
            f"store={brief_repr(name)} names a block of the type {brief_repr(kind)}, which is no store; "
            f"pass the name of a saved MediaStore, which MediaStore.from_bucket makes of an S3Bucket. {folder}"
        )
    try:
        return await MediaStore.aload(plain)
    except ValueError:
        raise InvalidRequest(
            f"there is no saved block {brief_repr(name)} of the type media-store; save one, or see prefect block "
            f"ls. {folder}"
        ) from None


def _plain(secret: SecretStr | None) -> str | None:
    return (secret.get_secret_value() or None) if secret else None


def _secret(credentials: Any, *names: str) -> SecretStr | None:
    for name in names:
        value = getattr(credentials, name, None)
        if value:
            return value if isinstance(value, SecretStr) else SecretStr(str(value))
    return None


def _given(parameters: Any) -> dict[str, Any]:
    """What is set in parameters of prefect-aws, which are a model, or in a dict."""
    if parameters is None:
        return {}
    values = cast(dict[str, Any], parameters if isinstance(parameters, dict) else parameters.model_dump())
    return {name: value for name, value in values.items() if value is not None}


def _path_style(config: Any) -> bool | None:
    """What botocore's `{"s3": {"addressing_style": ...}}` says, given as a dict or a `Config`."""
    s3 = config.get("s3") if isinstance(config, dict) else getattr(config, "s3", None)  # pyright: ignore
    style = s3.get("addressing_style") if isinstance(s3, dict) else None  # pyright: ignore
    return {"path": True, "virtual": False}.get(str(style))  # pyright: ignore
