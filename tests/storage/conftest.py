"""A folder and a bucket of a real S3 server, to store things in."""

import uuid

import boto3
import pytest
from stores import KEY, SECRET, path_of

from prefect_media.cli.demo_servers import BucketServer
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import storage_at


@pytest.fixture(scope="session")
def endpoint():
    with BucketServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def s3(endpoint):
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET
    )


@pytest.fixture
def bucket(s3):
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def options(endpoint):
    return StorageOptions(endpoint_url=endpoint, access_key_id=KEY, secret_access_key=SECRET)


@pytest.fixture
def in_bucket(bucket, options):
    return storage_at(f"s3://{bucket}/some prefix/ü", options)


@pytest.fixture
def in_folder(tmp_path):
    return storage_at(str(tmp_path / "some folder" / "ü#%20"))


@pytest.fixture(params=["folder", "bucket"])
def store(request):
    return request.getfixturevalue(f"in_{request.param}")


@pytest.fixture
def nothing_left(request, store):
    """After the test, the store holds neither parts of uploads nor files that are no content."""
    yield
    if store.scheme == "s3":
        s3, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
        assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    else:
        assert not list(path_of(store).rglob(".prefect-media-part-*"))
