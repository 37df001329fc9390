"""Logins, endpoints and other clouds; keeping secrets, and starting fast."""

import base64
import json
import os
import pickle
import re
import subprocess
import sys
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from stores import KEY, SECRET, TOKEN, address, child, complaint

from prefect_media.errors import StoreError
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import Storage


@pytest.fixture
def no_login(monkeypatch, tmp_path):
    """A machine on which nobody is logged in to AWS."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


async def test_logins(no_login, endpoint, bucket, monkeypatch):
    """Nothing found, half a login, an unknown profile; then the ways of boto3 that work."""
    url, options = f"s3://{bucket}", StorageOptions(endpoint_url=endpoint)
    assert "no AWS credentials were found" in await complaint(Storage(url + "/1", options))
    half = StorageOptions(endpoint_url=endpoint, access_key_id=KEY)
    assert "only half" in await complaint(Storage(url, half))
    nobody = StorageOptions(endpoint_url=endpoint, profile="nobody")
    assert "profile nobody" in await complaint(Storage(url, nobody))

    (no_login / "credentials").write_text(
        f"[films]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\nregion = eu-west-1\n"
    )
    await Storage(url, StorageOptions(endpoint_url=endpoint, profile="films")).check()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    store = Storage(url)
    await store.check()
    assert "%2Feu-central-1%2Fs3%2F" in await store.sign("a", timedelta(minutes=1))


async def test_the_endpoint_of_a_store_goes_before_that_of_the_environment(no_login, endpoint, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    options = StorageOptions(endpoint_url=endpoint, access_key_id=KEY, secret_access_key=SECRET)
    store = Storage(f"s3://{bucket}", options)
    await store.check()
    assert (await store.sign("a", timedelta(minutes=1))).startswith(endpoint)


async def test_a_login_that_expired(no_login, endpoint, bucket):
    """Single sign-on and helper programs fail when they are asked, not when they are set up."""
    (no_login / "config").write_text("[profile helper]\ncredential_process = false\n")
    said = await complaint(Storage(f"s3://{bucket}", StorageOptions(endpoint_url=endpoint, profile="helper")))
    assert "profile helper" in said and "log in again" in said


async def test_given_credentials_are_not_mixed_with_the_environment(bucket, options, monkeypatch):
    """A session token of somebody else's login must not go with our keys."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    link = await Storage(f"s3://{bucket}/mixed", StorageOptions(**_fields(options), region="us-east-2")).sign(
        "a", timedelta(minutes=1)
    )
    assert "Security-Token" not in link and TOKEN not in link


def _fields(options):
    return {name: getattr(options, name) for name in ("endpoint_url", "access_key_id", "secret_access_key")}


@pytest.mark.parametrize(
    ("endpoint_url", "path_style", "expected"),
    [
        (None, None, "https://s3.eu-west-1.amazonaws.com/films/a?"),
        (None, False, "https://films.s3.eu-west-1.amazonaws.com/a?"),
        ("https://minio:9000/", None, "https://minio:9000/films/a?"),
        ("https://minio:9000", False, "https://films.minio:9000/a?"),
    ],
)
async def test_how_the_bucket_is_named(no_login, endpoint_url, path_style, expected):
    options = StorageOptions(endpoint_url, "eu-west-1", path_style, None, KEY, SECRET)
    assert (await Storage("s3://films", options).sign("a", timedelta(minutes=1))).startswith(expected)


@pytest.fixture
def no_cloud(monkeypatch):
    """A machine on which nobody is logged in to Azure or Google; to set variables on."""
    for name in list(os.environ):
        if name.startswith(("AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
    return monkeypatch


async def test_other_clouds_without_a_login(no_cloud):
    assert "no credentials for az://container" in await complaint(Storage("az://container"))


AZURE_KEY = base64.b64encode(b"secret-never-shown").decode()
ACCOUNT = {"AZURE_STORAGE_ACCOUNT_NAME": "films", "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY}
CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"

MISTAKES = {
    "key": ("az", {**ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": SECRET + "!"}, "account key is not base64"),
    "sas": ("az", {"AZURE_STORAGE_ACCOUNT_NAME": "films", "AZURE_STORAGE_SAS_TOKEN": SECRET}, "SAS token is no query"),
    "sas bytes": (
        "az",
        {"AZURE_STORAGE_ACCOUNT_NAME": "films", "AZURE_STORAGE_SAS_TOKEN": f"sig=%ff{SECRET}"},
        "SAS token is not percent-encoded",
    ),
    "kind of login": ("az", {**ACCOUNT, "AZURE_CREDENTIAL_TYPE": SECRET}, "AZURE_CREDENTIAL_TYPE is unknown"),
    "switch": ("az", {**ACCOUNT, "AZURE_STORAGE_USE_EMULATOR": SECRET}, "value of the wrong kind"),
    "azure endpoint": ("az", {**ACCOUNT, "AZURE_STORAGE_ENDPOINT": "films:10000"}, "not the address of a server"),
    "connection string": ("az", {CONNECTION_STRING: SECRET}, "no list of Name=value"),
    "no account": ("az", {CONNECTION_STRING: f"AccountKey={AZURE_KEY}"}, "has no AccountName"),
    "no key": ("az", {CONNECTION_STRING: "AccountName=films;AccountKey"}, "no list of Name=value"),
    "neither": ("az", {CONNECTION_STRING: "AccountName=films"}, "neither AccountKey nor SharedAccessSignature"),
    "broken key": ("az", {CONNECTION_STRING: f"AccountName=films;AccountKey={SECRET}!"}, "account key is not base64"),
    "no file": ("gs", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}, "can't be opened; correct its path"),
    "no account file": ("gs", {"GOOGLE_SERVICE_ACCOUNT": "/nowhere.json"}, "can't be opened; correct its path"),
    "no json": ("gs", {"GOOGLE_SERVICE_ACCOUNT_KEY": SECRET}, "is no JSON of a service account"),
    "no private key": (
        "gs",
        {
            "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(
                {"client_email": "films@cloud", "private_key": SECRET, "private_key_id": "1"}
            )
        },
        "holds no usable private key",
    ),
    "google endpoint": ("gs", {"GOOGLE_BASE_URL": "films"}, "not the address of a server"),
    "region": ("s3", {"AWS_REGION": "eu west"}, "AWS region has a space"),
    "key id": ("s3", {"AWS_ACCESS_KEY_ID": KEY + "\n", "AWS_SECRET_ACCESS_KEY": SECRET}, "AWS access key id has"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_settings_that_no_retry_mends(mistake, no_login, no_cloud):
    """They are told for what they are, at once, and count as permanent; no value is quoted."""
    scheme, variables, expected = MISTAKES[mistake]
    for name, value in variables.items():
        no_cloud.setenv(name, value)
    said = await complaint(Storage(f"{scheme}://{mistake.replace(' ', '-')}"))
    assert expected in said and AZURE_KEY not in said


class Listener:
    """A server that refuses everything, and writes down what for."""

    def __enter__(self):
        listener, self.asked = self, []

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                listener.asked.append((self.path, self.headers.get("Authorization", "")))
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


AT = "{url}/films"
WAYS = {
    "az variable": ("az", {**ACCOUNT, "AZURE_STORAGE_ENDPOINT": AT}, None, "/films/box", "SharedKey films:"),
    "az field": (
        "az",
        {**ACCOUNT, "AZURE_STORAGE_ENDPOINT": "http://no.invalid"},
        AT,
        "/films/box",
        "SharedKey films:",
    ),
    "connection string": (
        "az",
        {
            CONNECTION_STRING: f"AccountName=films;AccountKey={AZURE_KEY};BlobEndpoint={AT};",
            "AZURE_STORAGE_ACCOUNT_NAME": "another",
            "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=another",
            "AZURE_STORAGE_ENDPOINT": "http://no.invalid",
        },
        None,
        "/films/box",
        "SharedKey films:",
    ),
    "connection string with a signature": (
        "az",
        {
            CONNECTION_STRING: f"BlobEndpoint={AT};AccountName=films;SharedAccessSignature=sv=2022&sig=abc%2B",
            "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY,
        },
        None,
        "sig=abc%2B",
        "",
    ),
    "gs variable": ("gs", {"GOOGLE_BEARER_TOKEN": "given", "GOOGLE_BASE_URL": "{url}"}, None, "/box", "Bearer given"),
    "gs field": ("gs", {"GOOGLE_BEARER_TOKEN": "given"}, "{url}", "/box", "Bearer given"),
    "s3 variable": (
        "s3",
        {"AWS_ENDPOINT_URL_S3": "{url}", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
        None,
        "/box",
        f"AWS4-HMAC-SHA256 Credential={KEY}/",
    ),
}


@pytest.mark.parametrize("way", WAYS)
async def test_which_server_is_asked(way, no_login, no_cloud):
    """By the field of the store, else by the environment, also by plain http where that is said."""
    scheme, variables, field, path, login = WAYS[way]
    with Listener() as listener:
        for name, value in variables.items():
            no_cloud.setenv(name, value.replace("{url}", listener.url))
        field = field and field.replace("{url}", listener.url)
        storage = Storage(f"{scheme}://box", StorageOptions(endpoint_url=field, profile=way))
        if scheme == "s3":
            storage = Storage("s3://box", StorageOptions(external_id=way))
        assert "do not allow this" in await complaint(storage)
    assert listener.asked
    for asked, authorization in listener.asked:
        assert path in asked and authorization.startswith(login)
        assert "another" not in asked + authorization


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ftp://user:secret-never-shown@host/a", "ftp://host/a can't be opened"),
        ("s3://key:secret-never-shown@bucket/a", "names no bucket"),
        ("https://bucket.s3.amazonaws.com/a?X-Amz-Signature=secret-never-shown", "can't be opened"),
        ("s3://", "names no bucket"),
        ("s3://two words", "names no bucket"),
        ("file://host/share", "another machine"),
        ("~nobody-of-that-name/a", "home folder"),
        ("", "is empty"),
    ],
)
def test_addresses_that_name_no_place(url, expected):
    with pytest.raises(StoreError, match=re.escape(expected)) as caught:
        Storage(url)
    assert SECRET not in str(caught.value) and not caught.value.transient


@pytest.mark.parametrize(
    "endpoint_url", ["minio:9000", "ftp://minio", "http://", f"http://user:{SECRET}@minio", "http://a b", "http://h:x"]
)
async def test_endpoints_that_are_none(endpoint_url):
    options = StorageOptions(endpoint_url=endpoint_url, access_key_id=KEY, secret_access_key=SECRET)
    assert "is not the address of a server" in await complaint(Storage("s3://bucket", options))


# Keeping secrets, starting fast


def test_secrets_are_not_shown(options):
    known = StorageOptions(access_key_id=KEY, secret_access_key=SECRET, session_token=TOKEN)
    for shown in (repr(known), str(known), repr(Storage("s3://bucket", known)), repr([Storage("s3://b", known)])):
        assert SECRET not in shown and TOKEN not in shown and KEY not in shown


def test_a_storage_can_be_sent_to_another_process(store):
    assert pickle.loads(pickle.dumps(store)) is store


def test_imports_nothing_heavy(tmp_path):
    """Importing the module, and using a folder, loads no storage library and no Prefect."""
    script = """
import sys, asyncio
from prefect_media.storage.store import storage_at
asyncio.run(storage_at(sys.argv[1]).check())
print({"obstore", "boto3", "botocore", "prefect", "openai"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, "store"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "set()\n"


def test_boto3_is_not_needed_with_given_keys(bucket, options, in_bucket):
    script = "asyncio.run(store.check()); print({'boto3', 'botocore'} & set(sys.modules))"
    assert child(script, address(in_bucket)).communicate()[0] == "set()\n"
