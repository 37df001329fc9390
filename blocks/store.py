"""Where media and the ledger go: a bucket or a folder, saved in Prefect under a name."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import Field, GetJsonSchemaHandler, HttpUrl, SecretStr, field_validator, model_validator
from pydantic_core import CoreSchema

from prefect_media.errors import InvalidRequest
from prefect_media.form_schema import Schema, simplify
from prefect_media.runtime.sync import run_sync
from prefect_media.storage.address import parse_address
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import storage_at
from prefect_media.user_input import brief_repr, brief_text

from .bucket_blocks import BUCKET_TYPES, fields_of_bucket, fields_of_saved_bucket
from .unknown_fields import warn_of_unknown_fields

if TYPE_CHECKING:
    from prefect_media.storage.store import Storage


class MediaStore(Block):
    """The bucket or folder that holds the media and the ledger of purchases.

    AWS credentials that are left out are found as boto3 finds them: environment, profile, single sign-on, role of the
    machine.

    Example:
        Load a saved store and use it in a flow:
        ```python
        from prefect_media import MediaStore, OpenAICredentials, VideoRequest, generate_video

        store = MediaStore.load("BLOCK_NAME")
        credentials = OpenAICredentials.load("BLOCK_NAME")
        video = generate_video(credentials, VideoRequest(prompt="A paper boat", model="wan-2.2"), store=store)
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
    azure_connection_string: SecretStr | None = Field(
        default=None,
        title="Azure Connection String",
        description="Of the storage account of an az:// container; AZURE_STORAGE_CONNECTION_STRING and the like of the "
        "environment if left out.",
    )
    google_service_account_key: SecretStr | None = Field(
        default=None,
        title="Google Service Account Key",
        description="Content of the JSON file of the key, for a gs:// bucket; GOOGLE_APPLICATION_CREDENTIALS and the "
        "like of the environment if left out.",
    )
    public_url_base: str | None = Field(
        default=None,
        title="Public URL",
        description="Where anybody can open what is in this store, such as https://media.example.com; galleries then "
        "have links that do not expire.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        json_schema = handler(schema)
        simplify(handler.resolve_ref_schema(json_schema))
        return json_schema

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
                f"{brief_text(base)} is not a public address; pass one such as https://media.example.com/films"
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
                azure_connection_string=_plain(self.azure_connection_string),
                google_service_account_key=_plain(self.google_service_account_key),
                public_url_base=self.public_url_base or None,
            ),
        )

    def check(self) -> None:
        """Write and delete a test object, so that problems show before anything is paid for.

        Raises:
            errors.StoreError: The store can't be used, and why.
        """
        run_sync(self.acheck())

    async def acheck(self) -> None:
        """Write and delete a test object, so that problems show before anything is paid for.

        Raises:
            errors.StoreError: The store can't be used, and why.
        """
        await self.storage().check()

    @classmethod
    def from_bucket(cls, bucket: Any) -> MediaStore:
        """The store for a bucket block of Prefect's integrations, whose packages are not needed here.

        Args:
            bucket: An `S3Bucket` of prefect-aws with AWS or MinIO credentials, a `GcsBucket` of prefect-gcp or an
                `AzureBlobStorageContainer` of prefect-azure.

        Raises:
            TypeError: It is not a bucket block.
            errors.InvalidRequest: It logs in in a way that a `MediaStore` has no field for.
        """
        return cls(**fields_of_bucket(bucket))


async def saved_store(name: str) -> MediaStore:
    """The saved block that a store is given by, as NAME, media-store/NAME, or with the type of another bucket block.

    Raises:
        errors.InvalidRequest: There is none, or it is of another type.
    """
    slug, _, plain = name.rpartition("/")
    slug = slug or MediaStore.get_block_type_slug()
    folder = f"a bucket is s3://{brief_text(plain)}, a folder ./{brief_text(name)}"
    if slug in BUCKET_TYPES:
        if (fields := await fields_of_saved_bucket(slug, plain)) is not None:
            return MediaStore(**fields)
    elif slug == MediaStore.get_block_type_slug():
        with suppress(ValueError):
            return await MediaStore.aload(plain)
    else:
        raise InvalidRequest(
            f"store={brief_repr(name)} names a block of the type {brief_repr(slug)}, which is not a store; allowed: "
            f"media-store, {', '.join(BUCKET_TYPES)}; {folder}"
        )
    raise InvalidRequest(
        f"there is no saved block {brief_repr(name)} of the type {slug}; save one, or see prefect block ls; {folder}"
    )


def _plain(secret: SecretStr | None) -> str | None:
    return (secret.get_secret_value() or None) if secret else None
