"""Copies, links, and how a store is found by an address."""

import asyncio
import hashlib
import urllib.request
from datetime import timedelta

import pytest
from stores import KEY, MB, SECRET, body, keys, upload

from prefect_media.errors import DownloadCorrupt, StoreError
from prefect_media.storage.store import Storage, storage_at, storage_of


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kinds", ["folder folder", "folder bucket", "bucket folder", "bucket bucket"])
async def test_copy(request, kinds, known):
    """Any store to any store; the hash is true whether it was given or not."""
    source, target = (request.getfixturevalue(f"in_{kind}") for kind in kinds.split())
    stored = await upload(source, "a.mp4", body(12 * MB))
    copy = await source.copy(
        "a.mp4", target, "to/b.mp4", content_type="video/mp4", sha256=stored.sha256 if known else None
    )
    assert (copy.uri, copy.size_bytes, copy.sha256) == (target.uri("to/b.mp4"), stored.size_bytes, stored.sha256)
    assert await target.read("to/b.mp4") == await source.read("a.mp4")


async def test_copy_inside_a_bucket_moves_no_bytes(bucket, options, s3):
    """Two prefixes of one bucket: the server copies by itself and keeps the type."""
    source, target = storage_at(f"s3://{bucket}/one", options), storage_at(f"s3://{bucket}/two", options)
    await source.put("a.mp4", b"film", content_type="video/mp4")
    copy = await source.copy("a.mp4", target, "b.mp4", content_type="video/mp4", sha256="taken over")
    assert copy.sha256 == "taken over"  # nobody read the bytes
    assert s3.head_object(Bucket=bucket, Key="two/b.mp4")["ContentType"] == "video/mp4"


async def test_copy_of_something_else_than_recorded(in_folder, in_bucket, s3, bucket):
    """A source that was changed behind our back is not published."""
    await in_folder.put("a.mp4", b"changed", content_type="video/mp4")
    with pytest.raises(DownloadCorrupt, match="SHA-256"):
        await in_folder.copy("a.mp4", in_bucket, "b.mp4", content_type="video/mp4", sha256="0" * 64)
    assert await keys(in_bucket) == {}


async def test_copy_onto_itself(store):
    await store.put("a.mp4", b"film", content_type="video/mp4")
    copy = await store.copy("a.mp4", store, "a.mp4", content_type="video/mp4")
    assert copy.sha256 == hashlib.sha256(b"film").hexdigest()
    assert await store.read("a.mp4") == b"film"


async def test_sign(in_bucket, in_folder):
    """A signed link can be opened without credentials; a folder has none."""
    await in_bucket.put("v ü.mp4", b"film", content_type="video/mp4")
    link = await in_bucket.sign("v ü.mp4", timedelta(hours=1))
    with await asyncio.to_thread(urllib.request.urlopen, link) as answer:
        assert answer.read() == b"film"
        assert answer.headers["Content-Type"] == "video/mp4"
    assert SECRET not in link
    assert await in_folder.sign("v.mp4", timedelta(hours=1)) is None
    with pytest.raises(StoreError, match="7 days at most"):
        await in_bucket.sign("v.mp4", timedelta(days=8))


async def test_uris_round_trip(store):
    for key in ("a.mp4", "a b/ü#%?.mp4", "ledger/%20"):
        assert store.key_of(store.uri(key)) == key
    for foreign in ("s3://other/a", "file:///elsewhere/a", "nonsense://a", store.url, store.url + "/../a", ""):
        assert store.key_of(foreign) is None


async def test_storage_of_finds_the_narrowest_store(bucket, options, tmp_path):
    """Of nested stores the inner one answers; its credentials are the ones that fit."""
    outer, inner = storage_at(f"s3://{bucket}", options), storage_at(f"s3://{bucket}/in", options)
    assert storage_of(f"s3://{bucket}/in/a.mp4") == (inner, "a.mp4")
    assert storage_of(f"s3://{bucket}/other/a.mp4") == (outer, "other/a.mp4")
    assert storage_at(f"s3://{bucket}/in/", options) is inner


async def test_storage_of_something_never_opened(endpoint, bucket, s3, tmp_path, monkeypatch):
    """Another process reads an asset with what its own environment says."""
    s3.put_object(Bucket=bucket, Key="v/a.mp4", Body=b"film")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    store, key = storage_of(f"s3://{bucket}/v/a.mp4")
    assert (store.url, key) == (f"s3://{bucket}", "v/a.mp4")
    assert await store.read(key) == b"film"

    (tmp_path / "new" / "ü").mkdir(parents=True)
    (tmp_path / "new" / "ü" / "a b.mp4").write_bytes(b"film")
    store, key = storage_of((tmp_path / "new" / "ü" / "a b.mp4").as_uri())
    assert await store.read(key) == b"film"


def test_addresses(tmp_path, monkeypatch):
    """However a folder is written, it is one store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    url = tmp_path.as_uri() + "/media"
    for written in ("media", "./media/", "~/media", f"{tmp_path}/x/../media", url, url + "/", f"file:{url[5:]}"):
        assert Storage(written).url == url
    assert Storage("s3://bucket/").url == "s3://bucket"
    assert Storage("gs://bucket/a/").uri("b") == "gs://bucket/a/b"
    assert Storage("az://container/a").key_of("az://container/a/b/c") == "b/c"
