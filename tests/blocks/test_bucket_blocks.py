"""Buckets saved as blocks of Prefect's integrations, taken as a store: as they are, and by TYPE/NAME."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow
from prefect.blocks.core import Block
from prefect_media.tasks.context import storage_for
from pydantic import BaseModel, SecretStr

from prefect_media import ImageRequest, MediaStore, generate_images
from prefect_media.errors import InvalidRequest
from prefect_media.storage.login import endpoint_of, open_bucket

CONNECTION_STRING = "AccountName=films;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:10000/films"
KEY_FILE = {"type": "service_account", "client_email": "films@cloud", "private_key_id": "1", "private_key": "secret"}


class ClientParameters(BaseModel):
    """The shape of prefect-aws' AwsClientParameters."""

    endpoint_url: str | None = None
    config: dict[str, Any] | None = None
    verify: bool | None = True
    verify_cert_path: str | None = None


class MinIOCredentials(Block):
    """The shape of prefect-aws' block of this name."""

    _block_type_slug = "minio-credentials"

    minio_root_user: str
    minio_root_password: SecretStr
    region_name: str | None = None
    aws_client_parameters: ClientParameters = ClientParameters()


class S3Bucket(Block):
    """The shape of prefect-aws' block of this name."""

    _block_type_slug = "s3-bucket"

    bucket_name: str
    credentials: MinIOCredentials
    bucket_folder: str = ""


@pytest.fixture
def bucket(s3, prefect):
    parameters = ClientParameters(endpoint_url=s3.url, config={"s3": {"addressing_style": "path"}})
    login = MinIOCredentials(minio_root_user=s3.key, minio_root_password=s3.secret, aws_client_parameters=parameters)
    return S3Bucket(bucket_name=s3.bucket(), credentials=login, bucket_folder="films/")


def test_pictures_land_in_a_bucket_given_as_a_block_and_by_its_saved_name(bucket, media_simulator):
    bucket.credentials.save("a-login", overwrite=True)
    S3Bucket(**{**dict(bucket), "credentials": MinIOCredentials.load("a-login")}).save("films", overwrite=True)

    @flow
    def still(store):
        request = ImageRequest(prompt="a boat", model="gpt-image-2", size="1024x1024")
        return generate_images(media_simulator.credentials, request, store=store, scope="forever")

    assert still(bucket) == still("s3-bucket/films"), "one store, and one purchase"
    assert len(media_simulator.images) == 1
    assert still("s3-bucket/films")[0].uri.startswith(f"s3://{bucket.bucket_name}/films/media/")


async def test_a_saved_bucket_that_is_not_there(prefect):
    for name in ("s3-bucket/none", "gcs-bucket/none", "azure-blob-storage-container/none"):
        with pytest.raises(InvalidRequest, match=rf"no saved block '{name}' of the type {name.partition('/')[0]}"):
            await storage_for(name)


async def test_a_block_that_is_no_bucket(prefect):
    class Notes(Block):
        text: str = ""

    with pytest.raises(InvalidRequest, match="store is a Notes: Notes is not a bucket block"):
        await storage_for(Notes())


def container(**login):
    return SimpleNamespace(container_name="films", base_folder="a/", credentials=SimpleNamespace(**login))


def test_a_container_of_azure_with_a_connection_string(monkeypatch):
    """The shape of prefect-azure's AzureBlobStorageContainer. Nothing of the environment's account is used."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", CONNECTION_STRING.replace("films", "another"))
    store = MediaStore.from_bucket(container(connection_string=SecretStr(CONNECTION_STRING), account_url="x"))
    assert store.storage().url == "az://films/a"
    assert CONNECTION_STRING not in repr(store) + repr(store.storage().options)
    endpoint = endpoint_of("az", store.storage().options)
    assert endpoint == "http://127.0.0.1:10000/films"
    opened = open_bucket("az", "films", store.storage().options, endpoint)
    assert opened.config["account_name"] == "films"


def test_a_container_of_azure_with_the_environments_login():
    store = MediaStore.from_bucket(container(connection_string=None, account_url="https://films.blob.core.windows.net"))
    assert (store.endpoint_url, store.azure_connection_string) == ("https://films.blob.core.windows.net", None)
    with pytest.raises(InvalidRequest, match="can't be taken over; set AZURE_CLIENT_ID"):
        MediaStore.from_bucket(container(connection_string=None, client_secret=SecretStr("x")))


@pytest.mark.parametrize("given", ["content", "secret content", "file"])
def test_a_bucket_of_google_with_a_service_account(given, tmp_path):
    """The shape of prefect-gcp's GcsBucket and GcpCredentials."""
    (tmp_path / "key.json").write_text(json.dumps(KEY_FILE))
    login = {
        "content": {"service_account_info": KEY_FILE},
        "secret content": {"service_account_info": SimpleNamespace(get_secret_value=lambda: KEY_FILE)},
        "file": {"service_account_info": None, "service_account_file": tmp_path / "key.json"},
    }[given]
    bucket = SimpleNamespace(bucket="films", bucket_folder="a/b", gcp_credentials=SimpleNamespace(**login))
    options = MediaStore.from_bucket(bucket).storage().options
    assert MediaStore.from_bucket(bucket).url == "gs://films/a/b"
    assert json.loads(options.google_service_account_key) == KEY_FILE
    assert "films@cloud" not in repr(options)


def test_a_bucket_of_google_whose_file_is_not_there():
    login = SimpleNamespace(service_account_info=None, service_account_file="/nowhere.json")
    with pytest.raises(InvalidRequest, match=r"service account's file /nowhere.json can't be read"):
        MediaStore.from_bucket(SimpleNamespace(bucket="films", gcp_credentials=login))
