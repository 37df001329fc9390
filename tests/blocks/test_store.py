"""The MediaStore block: to Prefect's standards, and a plain value that opens one shared store."""

import logging
import pickle
import warnings
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import boto3
import cloudpickle
import pytest
from moto.server import ThreadedMotoServer
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect.testing.utilities import prefect_test_harness
from prefect_media.blocks import OpenAICredentials, VideoJobBlock
from prefect_media.blocks.store import MediaStore
from prefect_media.tasks.context import storage_for
from pydantic import SecretStr

from prefect_media.cli.targets import storage_of_name
from prefect_media.errors import InvalidRequest, StoreError
from prefect_media.requests import VideoRequest
from prefect_media.storage.attributes import Attributes
from prefect_media.storage.store import storage_of

pytestmark = pytest.mark.prefect

KEY, SECRET, TOKEN = "AKIAWATCHED", "secret-never-shown", "token-never-shown"


class TestStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self):
        return MediaStore

    def test_has_a_valid_image(self, block):
        """Prefect's own test downloads the picture; ours has to pass without a network."""
        assert str(block._logo_url).startswith("https://")


@pytest.fixture(scope="module")
def endpoint():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET
    ).create_bucket(Bucket="films")
    yield url
    server.stop()


def in_bucket(endpoint):
    return MediaStore(
        url="s3://films/some prefix",
        endpoint_url=endpoint,
        aws_access_key_id=SecretStr(KEY),
        aws_secret_access_key=SecretStr(SECRET),
    )


def test_slug_is_for_ever():
    assert MediaStore.get_block_type_slug() == "media-store"


@pytest.mark.parametrize("kind", ["folder", "bucket"])
async def test_check(kind, endpoint, tmp_path):
    store = MediaStore(url=str(tmp_path / "new")) if kind == "folder" else in_bucket(endpoint)
    store.check()  # from async code too
    await store.acheck()


def test_check_says_what_is_wrong(endpoint, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="a file stands where a folder is needed"):
        MediaStore(url=str(tmp_path / "file")).check()
    with pytest.raises(StoreError, match="s3://no-such does not exist"):
        in_bucket(endpoint).model_copy(update={"url": "s3://no-such"}).check()


async def test_one_storage_per_place(endpoint):
    """Equal blocks share one storage, which is also found by an address in it."""
    storage = in_bucket(endpoint).storage()
    assert in_bucket(endpoint).storage() is storage
    await storage.put("a.txt", b"text", content_type="text/plain")
    found, key = storage_of("s3://films/some prefix/a.txt")
    assert found is storage and await found.read(key) == b"text"


async def test_is_picklable_after_use(endpoint):
    """Nothing of an open store stays on the block, so other processes can have it."""
    store = in_bucket(endpoint)
    await store.acheck()
    for library in (pickle, cloudpickle):
        assert library.loads(library.dumps(store)).storage() is store.storage()


def test_secrets_are_not_shown(endpoint):
    store = in_bucket(endpoint).model_copy(update={"aws_session_token": SecretStr(TOKEN)})
    for shown in (repr(store), str(store), store.model_dump_json(), repr(store.storage())):
        assert SECRET not in shown and TOKEN not in shown and KEY not in shown


def test_saved_and_loaded(endpoint):
    """What comes back from Prefect opens the same place with the same credentials."""
    with prefect_test_harness(server_startup_timeout=60):
        in_bucket(endpoint).save("films", _sync=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            loaded = MediaStore.load("films", _sync=True)
    assert loaded.storage() is in_bucket(endpoint).storage()
    loaded.check()


def test_unknown_fields_are_reported_and_kept_harmless():
    with pytest.warns(UserWarning, match="no field 'endpoint'.*endpoint_url"):
        store = MediaStore(url="s3://films", endpoint="http://minio:9000")
    assert store.storage().options.endpoint_url is None


def test_an_address_that_names_no_place():
    with pytest.raises(StoreError, match="can't be opened"):
        MediaStore(url="ftp://films")


def test_empty_fields_of_a_form_count_as_left_out():
    store = MediaStore(url="s3://films", endpoint_url="", region="", profile="", aws_access_key_id=SecretStr(""))
    assert store.storage() is MediaStore(url="s3://films").storage()


def client(**settings):
    return SimpleNamespace(
        **{"endpoint_url": None, "config": None, "verify": None, "verify_cert_path": None} | settings
    )


def test_from_a_bucket_with_aws_credentials():
    """The shape of prefect-aws' S3Bucket and AwsCredentials."""
    credentials = SimpleNamespace(
        aws_access_key_id=KEY,
        aws_secret_access_key=SecretStr(SECRET),
        aws_session_token=TOKEN,
        profile_name="films",
        region_name="eu-west-1",
        aws_client_parameters=client(config={"s3": {"addressing_style": "virtual"}}),
    )
    bucket = SimpleNamespace(bucket_name="films", bucket_folder="a/b/", credentials=credentials)
    storage = MediaStore.from_bucket(bucket).storage()
    assert storage.url == "s3://films/a/b"
    options = storage.options
    assert (options.access_key_id, options.secret_access_key, options.session_token) == (KEY, SECRET, TOKEN)
    assert (options.profile, options.region, options.path_style) == ("films", "eu-west-1", False)


def test_from_a_bucket_with_minio_credentials(endpoint):
    """The shape of prefect-aws' MinIOCredentials; the store that comes out works."""
    credentials = SimpleNamespace(
        minio_root_user=KEY,
        minio_root_password=SecretStr(SECRET),
        region_name=None,
        aws_client_parameters=client(endpoint_url=endpoint, config={"s3": {"addressing_style": "path"}}),
    )
    store = MediaStore.from_bucket(SimpleNamespace(bucket_name="films", bucket_folder="", credentials=credentials))
    assert (store.url, store.path_style) == ("s3://films", True)
    store.check()


def test_from_a_bucket_with_a_private_certificate():
    """What we can't take over is said aloud."""
    credentials = SimpleNamespace(aws_client_parameters=client(verify=False))
    with pytest.warns(UserWarning, match="SSL_CERT_FILE"):
        MediaStore.from_bucket(SimpleNamespace(bucket_name="films", credentials=credentials))


ROLE = "arn:aws:iam::123456789012:role/media"


async def test_a_role(endpoint, monkeypatch):
    """What the role lends is used for everything, and the login's own keys for nothing."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoint)
    store = in_bucket(endpoint).model_copy(update={"role_arn": ROLE, "external_id": SecretStr("given-by-them")})
    await store.acheck()
    storage = store.storage()
    link = await storage.sign("a.txt", timedelta(minutes=1))
    assert "X-Amz-Security-Token=" in link
    assert KEY not in link
    await storage.put("a.txt", b"text", content_type="text/plain")
    made = Attributes(cache_control="no-cache")
    await storage.copy("a.txt", storage, "b.txt", content_type="text/plain", attributes=made)
    assert await storage.read("b.txt") == b"text"
    assert (await storage.fetch_metadata("b.txt"))["Cache-Control"] == "no-cache"
    assert "given-by-them" not in repr(store) + repr(storage.options)
    assert in_bucket(endpoint).storage() is not storage


async def test_a_role_that_is_refused(endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = in_bucket(endpoint).model_copy(update={"role_arn": ROLE})
    with pytest.raises(StoreError, match="can't be used") as caught:
        await store.acheck()
    assert SECRET not in str(caught.value)


def test_from_a_bucket_with_a_role():
    """The shape of prefect-aws' AssumeRoleParameters: what is left out is None."""
    terms = SimpleNamespace(
        model_dump=lambda: {"ExternalId": "theirs", "RoleSessionName": None, "DurationSeconds": None}
    )
    credentials = SimpleNamespace(
        aws_access_key_id=KEY,
        aws_secret_access_key=SecretStr(SECRET),
        aws_client_parameters=client(),
        assume_role_arn=ROLE,
        assume_role_kwargs=terms,
    )
    bucket = SimpleNamespace(bucket_name="films", credentials=credentials)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = MediaStore.from_bucket(bucket).storage().options
    assert (options.role_arn, options.external_id) == (ROLE, "theirs")
    credentials.assume_role_kwargs = {"DurationSeconds": 900, "Policy": "{}"}
    with pytest.warns(UserWarning, match="does not take over DurationSeconds, Policy of `assume_role_kwargs`"):
        MediaStore.from_bucket(bucket)


def test_from_something_else():
    with pytest.raises(TypeError, match="SimpleNamespace is not a bucket block"):
        MediaStore.from_bucket(SimpleNamespace())


@pytest.mark.parametrize("name", ["slack-webhook/films", "MediaStore/films", "some_type/films-2"])
async def test_a_block_of_another_type_is_no_folder(name, tmp_path, monkeypatch, configure):
    """Whoever resolves a store: tasks, the block of a video, the command line; by argument or by environment."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest, match=f"names a block of the type .*, which is not a store.* a folder ./{name}"):
        await storage_for(name)
    with pytest.raises(InvalidRequest, match="which is not a store"):
        await storage_of_name(name)
    configure(store=name)
    request = VideoRequest(prompt="a paper boat", model="boats-1")
    credentials = OpenAICredentials(api_key=SecretStr("sk-none"), base_url="http://127.0.0.1:9/v1")
    for resolve in (lambda: storage_for(None), lambda: storage_of_name(None)):
        with pytest.raises(InvalidRequest, match="which is not a store"):
            await resolve()
    job = VideoJobBlock(credentials=credentials, request=request, scope="forever")
    with pytest.raises(InvalidRequest, match="which is not a store"):
        await job.atrigger()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["./s3-bucket/films", "films/2026/autumn", "films/", "out.d/films", "/mnt/films"])
async def test_what_is_clearly_a_path_is_a_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (await storage_for(path)).url == (tmp_path / path).as_uri().rstrip("/")
    assert (await storage_for(Path("some/films"))).url == (tmp_path / "some/films").as_uri()
