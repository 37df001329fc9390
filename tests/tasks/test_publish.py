"""Publishing: copies that are whole, served as asked, made once, and a manifest that is written last."""

import asyncio
import hashlib
import json
import sys
from pathlib import Path

import pytest
from prefect import flow
from prefect.runtime import flow_run
from prefect_media.tasks.publish import apublish, publish
from watched_bucket import WatchedBuckets

from prefect_media import Asset, ImageRequest, Manifest, MediaStore, generate_images
from prefect_media.errors import DownloadCorrupt, InvalidRequest, StoreError
from prefect_media.manifest import NAME
from prefect_media.storage import s3_copy as storage_copy
from prefect_media.storage.attributes import CAN, Attributes, check

FILM = b"\0\0\0\x20ftypisom" + bytes(range(256)) * 40
MB = 1024 * 1024
SERVED = {
    "cache_control": "public, max-age=86400",
    "tags": {"campaign": "autumn 2026", "who": "us"},
    "storage_class": "STANDARD_IA",
    "kms_key_id": "arn:aws:kms:us-east-1:123456789012:key/abc",
}


@pytest.fixture
def watched(s3):
    watched = WatchedBuckets(s3)
    yield watched
    watched.close()


async def made(store, key="media/fox.mp4", data=FILM):
    stored = await store.storage().put(key, data, content_type="video/mp4")
    return Asset(
        uri=stored.uri,
        kind="video",
        content_type="video/mp4",
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
    )


def place(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def served(watched, uri):
    """What the server says of an object: content, headers, tags."""
    found = watched.client.get_object(**place(uri))
    tags = watched.client.get_object_tagging(**place(uri))["TagSet"]
    return found["Body"].read(), found, {tag["Key"]: tag["Value"] for tag in tags}


async def keys(store):
    return sorted([key async for key, _ in store.storage().list()])


def assert_served_as_asked(watched, uri, data=FILM):
    content, found, tags = served(watched, uri)
    assert content == data
    assert (found["ContentType"], found["CacheControl"]) == ("video/mp4", SERVED["cache_control"])
    assert found["StorageClass"] == SERVED["storage_class"]
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", SERVED["kms_key_id"])
    assert tags == SERVED["tags"]


@pytest.mark.parametrize("where", ["same bucket", "other bucket"])
async def test_the_server_copies_inside_one_login(watched, where):
    """No byte of the film passes here, and the copy is served as asked."""
    work = watched.store("work")
    bucket = place(work.url)["Bucket"] if where == "same bucket" else None
    fox, target = await made(work), watched.store("out", bucket)
    watched.requests.clear()
    manifest = await apublish.fn(fox, target, prefix="autumn", **SERVED)

    assert [asset.uri for asset in manifest.assets] == [f"{target.url}/autumn/fox.mp4"]
    assert_served_as_asked(watched, manifest.assets[0].uri)
    assert [asked.is_copy for asked in watched.asked("PUT")] == [True, False]  # the film, then the manifest
    assert not [asked for asked in watched.asked("GET") if asked.path.endswith(".mp4")]


async def test_a_copy_without_wishes_keeps_what_the_original_has(watched):
    work = watched.store("work")
    fox = await made(work)
    original = place(fox.uri)
    watched.client.put_object(
        **original,
        Body=FILM,
        ContentType="application/octet-stream",
        CacheControl="no-store",
        ContentDisposition="attachment",
        Metadata={"mine": "kept"},
        Tagging="mine=kept",
    )
    manifest = await apublish.fn(fox, watched.store("out", original["Bucket"]), prefix="a")
    _, found, tags = served(watched, manifest.assets[0].uri)
    assert (found["CacheControl"], found["ContentDisposition"]) == ("no-store", "attachment")
    assert found["Metadata"] == {"mine": "kept", "sha256": fox.sha256}
    assert found["ContentType"] == "video/mp4", "the type on record, whatever it was stored with"
    assert tags == {"mine": "kept"}


async def test_a_login_that_may_not_copy_across_buckets_streams(watched):
    def refuse(asked):
        if asked.is_copy:
            return 403, b"<Error><Code>AccessDenied</Code></Error>"
        return None

    watched.refuse = refuse
    fox = await made(watched.store())
    manifest = await apublish.fn(fox, watched.store(), prefix="a", **SERVED)
    assert_served_as_asked(watched, manifest.assets[0].uri)
    with pytest.raises(StoreError, match="do not allow this"):
        await apublish.fn(fox, watched.store("out", place(fox.uri)["Bucket"]), prefix="a")


@pytest.mark.parametrize("size", [len(FILM), 12 * MB])
async def test_from_a_folder_it_is_streamed(watched, tmp_path, size):
    data = (FILM * (size // len(FILM) + 1))[:size]
    fox = await made(MediaStore(url=str(tmp_path)), data=data)
    manifest = await apublish.fn(fox, watched.store(), prefix="a", **SERVED)
    assert_served_as_asked(watched, manifest.assets[0].uri, data)


async def test_with_another_login_it_is_streamed(watched):
    """One login may not see what the other wrote, so the server is not asked to copy."""
    fox = await made(watched.store())
    target = watched.store(aws_access_key_id="AKIAOTHER", aws_secret_access_key=watched.s3.secret)
    watched.requests.clear()
    manifest = await apublish.fn(fox, target, prefix="a")
    assert served(watched, manifest.assets[0].uri)[0] == FILM
    assert not [asked for asked in watched.requests if asked.is_copy]


async def test_large_copies_are_made_in_parts(watched, monkeypatch):
    monkeypatch.setattr(storage_copy, "PARTS_ABOVE", 6 * MB)
    monkeypatch.setattr(storage_copy, "PART_BYTES", 5 * MB)
    data = bytes(range(256)) * (12 * MB // 256)
    fox = await made(watched.store(), data=data)
    manifest = await apublish.fn(fox, watched.store(), prefix="a", reread=True, **SERVED)
    assert len([asked for asked in watched.requests if asked.is_copy]) == 3
    assert_served_as_asked(watched, manifest.assets[0].uri, data)


async def test_the_manifest_is_for_everybody(watched):
    """Encrypted and tagged like the media, but neither cached for long nor put away."""
    fox = await made(watched.store())
    manifest = await apublish.fn([fox, fox], watched.store(), prefix="a", **SERVED)
    content, found, tags = served(watched, manifest.uri)
    assert Manifest.model_validate_json(content) == manifest
    assert (found["ContentType"], found["SSEKMSKeyId"], tags) == (
        "application/json",
        SERVED["kms_key_id"],
        SERVED["tags"],
    )
    assert "CacheControl" not in found
    assert found.get("StorageClass", "STANDARD") == "STANDARD"
    assert b"X-Amz-Signature" not in content


@pytest.mark.parametrize("source", ["folder", "bucket"])
async def test_doing_it_again_copies_nothing(watched, tmp_path, source):
    work = MediaStore(url=str(tmp_path)) if source == "folder" else watched.store()
    films = [await made(work, f"media/{n}.mp4", FILM + bytes([n])) for n in range(4)]
    target = watched.store()
    for wishes in ({}, SERVED):
        first = await apublish.fn(films, target, prefix="a", **wishes)
        watched.requests.clear()
        assert await apublish.fn(films, target, prefix="a", **wishes) == first
        assert watched.asked("PUT", "POST", "DELETE") == []


@pytest.mark.parametrize("source", ["folder", "bucket"])
async def test_what_was_interrupted_goes_on(watched, tmp_path, source):
    """Without any manifest, each object says for itself whether it is the one."""
    work = MediaStore(url=str(tmp_path)) if source == "folder" else watched.store()
    films = [await made(work, f"media/{n}.mp4", FILM + bytes([n])) for n in range(4)]
    target = watched.store()

    def refuse(asked):
        if "/3.mp4" in asked.path and asked.method in ("PUT", "POST"):
            return 403, b"<Error><Code>AccessDenied</Code></Error>"
        return None

    watched.refuse = refuse
    with pytest.raises(StoreError, match="do not allow this"):
        await apublish.fn(films[:3] + films[3:], target, prefix="a")
    assert "a/manifest.json" not in await keys(target), "it is written last"
    before = set(await keys(target))
    watched.refuse = lambda asked: None
    watched.requests.clear()
    await apublish.fn(films, target, prefix="a")
    put = {asked.path.rpartition("/")[2].partition("?")[0] for asked in watched.asked("PUT", "POST")}
    assert put == {"0.mp4", "1.mp4", "2.mp4", "3.mp4", NAME} - {key.rpartition("/")[2] for key in before}
    assert "3.mp4" in put


async def test_other_wishes_are_carried_out(watched):
    """What is there is the same film, but not served as asked now."""
    fox, target = await made(watched.store()), watched.store()
    await apublish.fn(fox, target, prefix="a", cache_control="no-cache")
    manifest = await apublish.fn(fox, target, prefix="a", **SERVED)
    assert_served_as_asked(watched, manifest.assets[0].uri)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
async def test_what_was_replaced_by_others_is_published_again(watched, tmp_path, kind):
    target = MediaStore(url=str(tmp_path / "out")) if kind == "folder" else watched.store()
    fox = await made(watched.store())
    first = await apublish.fn(fox, target, prefix="a")
    await target.storage().put("a/fox.mp4", b"\xff" * len(FILM), content_type="video/mp4")
    again = await apublish.fn(fox, target, prefix="a")
    assert again.assets == first.assets
    assert await again.assets[0].aread_bytes() == FILM


def spoil(watched, size, parts=False):
    """Let the server's copies come out as something else, of the same size."""

    def meddle(asked):
        if asked.is_copy:
            bucket, _, key = asked.path.lstrip("/").partition("/")
            if not parts:
                tag = watched.client.put_object(Bucket=bucket, Key=key, Body=b"\xff" * size)["ETag"]
                return f"<CopyObjectResult><ETag>{tag}</ETag></CopyObjectResult>".encode()
            upload = watched.client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            which = {"Bucket": bucket, "Key": key, "UploadId": upload}
            part = watched.client.upload_part(**which, PartNumber=1, Body=b"\xff" * size)
            watched.client.complete_multipart_upload(
                **which, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
            )
        return None

    watched.meddle = meddle


async def test_a_copy_that_came_out_wrong_is_seen_by_its_etag(watched):
    fox, target = await made(watched.store()), watched.store()
    spoil(watched, len(FILM))
    with pytest.raises(DownloadCorrupt, match="does not match its SHA-256 and was not kept"):
        await apublish.fn(fox, target, prefix="a")
    assert await keys(target) == []
    watched.meddle = lambda asked: None
    manifest = await apublish.fn(fox, target, prefix="a")
    assert await manifest.assets[0].aread_bytes() == FILM


async def test_a_copy_that_has_no_telling_etag_is_seen_when_it_is_read(watched):
    """As of everything that was uploaded in parts: only its size is compared, unless asked."""
    fox, target = await made(watched.store()), watched.store()
    spoil(watched, len(FILM), parts=True)
    with pytest.raises(DownloadCorrupt):
        await apublish.fn(fox, target, prefix="a", reread=True)
    assert await keys(target) == []


async def test_a_copy_of_another_size_is_refused(watched):
    """Even if the server said that it copied everything, a look at the folder shows it."""
    fox, target = await made(watched.store()), watched.store()
    spoil(watched, len(FILM) - 1, parts=True)
    with pytest.raises(
        StoreError, match=rf"fox.mp4 has {len(FILM) - 1} bytes instead of {len(FILM)}; publish it again"
    ):
        await apublish.fn(fox, target, prefix="a")
    assert await keys(target) == ["a/fox.mp4"], "and no manifest, which would call it published"


async def test_a_copy_costs_two_requests(watched):
    """One to the original, one that copies; the folder is listed before and after, the manifest read and written."""
    films = [await made(watched.store(), f"media/{n}.mp4", FILM + bytes([n])) for n in range(40)]
    target = watched.store()
    watched.requests.clear()
    await apublish.fn(films, target, prefix="a")
    assert len(watched.requests) <= 2 * len(films) + 4
    watched.requests.clear()
    await apublish.fn(films, target, prefix="a")
    assert len(watched.requests) <= len(films) + 4, "and to see that it is there takes one"


async def test_many_copies_make_one_client_of_boto3(watched, monkeypatch):
    """It takes a third of a second of CPU to make one."""
    clients, make = [], storage_copy.boto3_client

    def make_and_count(*args, **more):
        clients.append(make(*args, **more))
        return clients[-1]

    monkeypatch.setattr(storage_copy, "boto3_client", make_and_count)
    films = [await made(watched.store(), f"media/{n}.mp4", FILM + bytes([n])) for n in range(8)]
    await apublish.fn(films, watched.store(), prefix="a")
    assert len(clients) == 1


async def test_what_lies_beside_is_not_listed_for_ever(watched, monkeypatch):
    monkeypatch.setattr(sys.modules["prefect_media.tasks.publish"], "LISTED_MOST", 5)
    target = watched.store()
    for n in range(20):
        await target.storage().put(f"a/old-{n}.txt", b"old", content_type="text/plain")
    fox = await made(watched.store())
    first = await apublish.fn(fox, target, prefix="a")
    watched.requests.clear()
    assert await apublish.fn(fox, target, prefix="a") == first
    assert not [asked for asked in watched.requests if asked.is_copy]


@pytest.mark.parametrize("kind", ["folder", "bucket"])
async def test_an_original_that_changed_is_not_published(watched, tmp_path, kind):
    work, target = MediaStore(url=str(tmp_path / "work")), watched.store()
    if kind == "folder":
        work, target = watched.store(), MediaStore(url=str(tmp_path / "out"))
    fox = await made(work)
    await work.storage().put("media/fox.mp4", b"\xff" * len(FILM), content_type="video/mp4")
    with pytest.raises(DownloadCorrupt, match="SHA-256"):
        await apublish.fn(fox, target, prefix="a")
    assert await keys(target) == []


async def test_an_original_that_is_gone(watched):
    fox, target = await made(watched.store()), watched.store()
    watched.client.delete_object(**place(fox.uri))
    with pytest.raises(StoreError, match="there is nothing at") as caught:
        await apublish.fn(fox, target, prefix="a")
    assert not caught.value.transient
    assert await keys(target) == []


async def test_rereading_what_is_there_already(watched):
    fox, target = await made(watched.store()), watched.store()
    first = await apublish.fn(fox, target, prefix="a")
    wrong = place(first.assets[0].uri)
    watched.client.put_object(
        **wrong, Body=b"\xff" * len(FILM), ContentType="video/mp4", Metadata={"sha256": fox.sha256}
    )
    await apublish.fn(fox, target, prefix="a")
    assert served(watched, first.assets[0].uri)[0] != FILM, "believed, because it says so itself"
    await apublish.fn(fox, target, prefix="a", reread=True)
    assert served(watched, first.assets[0].uri)[0] == FILM


async def test_publishing_in_place(store):
    """The destination is where it already lies: served as asked from now on, and still there."""
    fox = await made(store, "a/fox.mp4")
    manifest = await apublish.fn(fox, store, prefix="a")
    assert manifest.assets == (fox,)
    assert await fox.aread_bytes() == FILM


async def test_equal_names_do_not_overwrite_each_other(store, tmp_path):
    work = MediaStore(url=str(tmp_path / "work"))
    films = [await made(work, f"{n}/fox.mp4", FILM + bytes([n % 2])) for n in range(3)]
    films += [await made(work, "x/fox"), await made(work, "x/manifest.json")]
    manifest = await apublish.fn(films, store, prefix="a")
    names = [asset.uri.rpartition("/")[2] for asset in manifest.assets]
    assert names == [
        f"fox-{films[0].sha256[:8]}.mp4",
        f"fox-{films[1].sha256[:8]}.mp4",
        f"fox-{films[0].sha256[:8]}.mp4",
        "fox",
        f"manifest-{films[4].sha256[:8]}.json",
    ]
    for film, copy in zip(films, manifest.assets, strict=True):
        assert hashlib.sha256(await copy.aread_bytes()).hexdigest() == film.sha256


@pytest.mark.parametrize("scheme", ["gs", "az", "file"])
@pytest.mark.parametrize("name", list(SERVED))
async def test_what_a_store_can_not_do_is_refused_first(scheme, name, tmp_path):
    attributes = Attributes(**{name: SERVED[name]})
    if name in CAN[scheme]:
        check(attributes, scheme)
        return
    with pytest.raises(InvalidRequest, match=f"{name} can't be set in .*; leave it out"):
        check(attributes, scheme)
    if scheme == "file":
        fox = await made(MediaStore(url=str(tmp_path / "work")))
        target = MediaStore(url=str(tmp_path / "out"))
        with pytest.raises(InvalidRequest, match="a folder, which takes none of these"):
            await apublish.fn(fox, target, **{name: SERVED[name]})
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"cache_control": ""}, "cache_control='' can't be sent"),
        ({"cache_control": "no-cache\r\nX-Mine: 1"}, "can't be sent"),
        ({"storage_class": "KÄLTE"}, "can't be sent"),
        ({"kms_key_id": " key"}, "can't be sent"),
        ({"tags": {f"t{n}": "" for n in range(11)}}, "11 tags are too many; give 10"),
        ({"tags": {"": "x"}}, "the tag '': 'x' can't be set"),
        ({"tags": {"a": "b&c=d"}}, "the tag 'a'"),
        ({"tags": {"a": "b" * 257}}, "the tag 'a'"),
    ],
)
async def test_wishes_that_no_store_takes(watched, options, complaint):
    fox = await made(watched.store())
    watched.requests.clear()
    with pytest.raises(InvalidRequest) as caught:
        await apublish.fn(fox, watched.store(), **options)
    assert complaint in str(caught.value)
    assert watched.requests == []


async def test_a_server_that_does_not_know_tags(watched):
    def refuse(asked):
        if "x-amz-tagging" in asked.headers:
            return 501, b"<Error><Code>NotImplemented</Code></Error>"
        return None

    watched.refuse = refuse
    fox = await made(watched.store())
    with pytest.raises(StoreError, match=r"can't do this \(501 NotImplemented\); leave out .* tags") as caught:
        await apublish.fn(fox, watched.store("a", place(fox.uri)["Bucket"]), tags={"a": "b"})
    assert not caught.value.transient


async def test_a_server_that_is_down(watched):
    fox = await made(watched.store())
    target = watched.store("out", place(fox.uri)["Bucket"])
    watched.refuse = lambda asked: (503, b"<Error><Code>SlowDown</Code></Error>") if asked.is_copy else None
    with pytest.raises(StoreError, match="try again") as caught:
        await apublish.fn(fox, target, prefix="a")
    assert caught.value.transient


@pytest.mark.usefixtures("prefect")
def test_runs_of_one_minute_do_not_share_a_folder(store, tmp_path):
    """Two runs of one flow, one after the other: two manifests."""
    work = MediaStore(url=str(tmp_path / "work"))

    @flow
    def campaign(word: str) -> Manifest:
        return publish(asyncio.run(made(work, f"{word}.mp4", FILM + word.encode())), store)

    manifests = [campaign(word) for word in ("one", "two")]
    assert len({manifest.uri for manifest in manifests}) == 2
    assert all("/campaign-" in manifest.uri for manifest in manifests)
    for manifest in manifests:
        assert Manifest.load(manifest.uri) == manifest
        assert manifest.verify().ok


@pytest.mark.usefixtures("prefect")
def test_names_say_which_flow_and_run(media_credentials, store):
    """In the run's own task, in a submitted one and in a subflow: the folder is of the outermost run."""
    request = ImageRequest(prompt="a paper boat", model="gpt-image-2")

    @flow
    def scene() -> Asset:
        return generate_images(media_credentials, request.model_copy(update={"variant": 2}), store=store)[0]

    @flow
    def campaign() -> tuple[str, list[Asset]]:
        called = generate_images(media_credentials, request, store=store)
        submitted = generate_images.submit(media_credentials, request.model_copy(update={"variant": 1}), store=store)
        return str(flow_run.id), [*called, *submitted.result(), scene()]

    run_id, assets = campaign()
    folders = [asset.uri.rpartition("/")[0].rpartition("/")[2] for asset in assets]
    assert folders == [f"{name}-{run_id[-8:]}" for name in ("campaign", "campaign", "scene")]


async def test_nothing_of_a_login_is_in_what_is_published(watched):
    fox, target = await made(watched.store()), watched.store()
    manifest = await apublish.fn(fox, target, prefix="a", **SERVED)
    _, found, _ = served(watched, manifest.assets[0].uri)
    for text in (manifest.model_dump_json(), repr(manifest), json.dumps(found["Metadata"])):
        assert watched.s3.key not in text
        assert watched.s3.secret not in text
    assert Path(manifest.uri).name == NAME
