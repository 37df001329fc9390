"""What goes wrong with a store, in one sentence each."""

import asyncio
import errno
import json
import os
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from stores import KEY, MB, SECRET, TOKEN, address, body, child, complaint, keys, path_of, upload

from prefect_media.errors import StoreError
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.folder import explain
from prefect_media.storage.store import Storage


async def test_check(store, nothing_left):
    await store.check()
    assert await keys(store) == {}


async def test_missing_bucket(endpoint, options):
    said = await complaint(Storage("s3://never-made", options))
    assert "s3://never-made does not exist" in said and endpoint in said
    with pytest.raises(StoreError, match="does not exist"):
        await Storage("s3://never-made", options).fetch("a")


async def test_unreachable_endpoint():
    """Not reachable is known within seconds and may pass."""
    started = time.monotonic()
    for host in ("127.0.0.1:1", "no-such-host.invalid"):
        options = StorageOptions(endpoint_url=f"http://{host}", access_key_id=KEY, secret_access_key=SECRET)
        said = await complaint(Storage("s3://bucket", options), transient=True)
        assert host in said and "can't be reached" in said
    assert time.monotonic() - started < 15


@pytest.fixture
def guarded(endpoint, bucket):
    """The same server, asking for credentials from now on; moto's own way to switch that on."""
    login = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    iam = boto3.client("iam", **login, aws_access_key_id=KEY, aws_secret_access_key=SECRET)
    iam.create_user(UserName="user-" + bucket)
    key = iam.create_access_key(UserName="user-" + bucket)["AccessKey"]

    def allow(*actions):
        rights = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}}
        ask_after("inf")
        iam.put_user_policy(UserName="user-" + bucket, PolicyName="p", PolicyDocument=json.dumps(rights))
        ask_after(0)

    def ask_after(requests):
        url, headers = f"{endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, str(requests).encode(), headers, method="POST")).close()

    ask_after(0)
    yield key["AccessKeyId"], key["SecretAccessKey"], allow
    ask_after("inf")


async def test_credentials_that_are_refused(guarded, bucket, endpoint):
    """Unknown key, wrong secret, no right: three sentences, none of them with the key in it."""
    user, secret, _ = guarded
    for key, password, expected in (
        ("AKUNKNOWN", SECRET, "were refused"),
        (user, SECRET, "were refused"),
        (user, secret, "do not allow"),
    ):
        known = StorageOptions(endpoint_url=endpoint, access_key_id=key, secret_access_key=password)
        said = await complaint(Storage(f"s3://{bucket}", known))
        assert expected in said and f"s3://{bucket}" in said
        assert user not in said and secret not in said


async def test_rights_that_are_missing(guarded, bucket, endpoint):
    """Where signatures are really checked: all rights will do, and one too few is told."""
    user, secret, allow = guarded
    store = Storage(
        f"s3://{bucket}", StorageOptions(endpoint_url=endpoint, access_key_id=user, secret_access_key=secret)
    )
    allow("s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject")
    await store.check()
    await upload(store, "v ü.mp4", body(12 * MB))
    assert await keys(store) == {"v ü.mp4": 12 * MB}
    allow("s3:PutObject", "s3:GetObject")
    assert "do not allow this" in await complaint(store)


ANSWERS = {
    "region": (301, "<Code>PermanentRedirect</Code>", "another region; set `region`", False),
    "region named": (400, "<Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region>", "eu-west-1", False),
    "expired": (400, "<Code>ExpiredToken</Code>", "correct or renew", False),
    "token": (401, "<Code>InvalidToken</Code>", "correct or renew", False),
    "signature": (
        403,
        f"<Code>SignatureDoesNotMatch</Code><StringToSign>{SECRET}</StringToSign>",
        "correct or renew",
        False,
    ),
    "full": (507, "<Code>XMinioStorageFull</Code>", "full", False),
    "odd": (418, "", "refused the request", False),
    "busy": (503, "<Code>SlowDown</Code>", "try again", True),
    "broken": (500, "", "try again", True),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_answers_moto_never_gives(case):
    """A server of our own gives the answers of AWS that moto has no occasion for."""
    status, content, expected, transient = ANSWERS[case]

    class Answer(BaseHTTPRequestHandler):
        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = f"<Error>{content}<Message>m</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_HEAD = do_DELETE = do_POST = do_PUT

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = StorageOptions(f"http://127.0.0.1:{server.server_port}", "us-east-1", None, None, KEY, SECRET, TOKEN)
        assert expected in await complaint(Storage("s3://bucket", options), transient)
        server.shutdown()


async def test_upload_that_fails_halfway(in_bucket, bucket, s3, nothing_left_in_bucket):
    """A bucket that disappears during an upload ends the upload, though its source would go on."""

    def endless():
        for chunk in body(12 * MB):
            yield chunk
        s3.delete_bucket(Bucket=bucket)
        for chunk in body(1000 * MB):
            yield chunk

    with pytest.raises(StoreError, match="does not exist"):
        await asyncio.wait_for(upload(in_bucket, "v.mp4", endless()), 30)


@pytest.fixture
def nothing_left_in_bucket(s3, bucket):
    yield
    assert bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}


async def test_path_is_a_file(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for path in ("file", "file/below"):
        assert "a file stands where a folder is needed" in await complaint(Storage(str(tmp_path / path)))


async def test_folder_without_permission(tmp_path):
    """Also as root, who may write everywhere: as somebody else then."""
    (tmp_path / "closed").mkdir(mode=0o555)
    store, root = Storage(str(tmp_path / "closed")), os.geteuid() == 0
    await store.size("a")
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match="this user may not use") as caught:
            await store.put("a", b"1", content_type="text/plain")
    finally:
        if root:
            os.seteuid(0)
    assert not caught.value.transient


def test_disk_full(tmp_path):
    """The kernel's own word for a full device."""
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"film")
    error = explain(caught.value, tmp_path / "v.mp4")
    assert "no room left" in str(error) and not error.transient
    assert "try again" in str(explain(OSError(errno.EIO, "Input/output error"), tmp_path))


async def test_upload_that_meets_a_limit(in_folder):
    """A quota that is hit halfway leaves nothing behind."""
    script = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
def body():
    for _ in range(20):
        yield bytes(1024 * 1024)
try:
    asyncio.run(upload("v.mp4", body()))
except Exception as error:
    print(error)
"""
    with child(script, address(in_folder)) as process:
        assert "no room left" in await asyncio.to_thread(process.stdout.read)
    root = path_of(in_folder)
    assert [path for path in root.rglob("*") if path.is_file()] == []
