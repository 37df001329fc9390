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
from published_films import FILM, SERVED, keys, made, place, served

from prefect_media import Asset, ImageRequest, Manifest, MediaStore, generate_images
from prefect_media.errors import StoreError
from prefect_media.manifest import NAME
from prefect_media.storage import s3_copy as storage_copy

MB = 1024 * 1024


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
