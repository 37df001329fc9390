"""What publishing checks: wrong copies, originals that changed, wishes that can't be met, servers that refuse."""

import pytest
from prefect_media.tasks.publish import apublish
from published_films import FILM, SERVED, keys, made, place, served

from prefect_media import MediaStore
from prefect_media.errors import DownloadCorrupt, InvalidRequest, StoreError
from prefect_media.storage.attributes import CAN, Attributes, check


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
