"""A manifest: a form that is described, read back from anywhere, and held against what is really there."""

import asyncio
import hashlib
import json
import pickle
import shutil
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from prefect_media import Asset, Manifest, MediaStore
from prefect_media.errors import StoreError
from prefect_media.runtime.sync import run_sync

CONTENTS = [b"\x89PNG\r\n\x1a\n" + bytes([n]) * 1000 for n in range(4)]


def asset_of(uri, data):
    return Asset(
        uri=uri,
        kind="image",
        content_type="image/png",
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


async def published(store, folder="autumn"):
    """Four pictures and their manifest, put there without any code of ours that publishes."""
    storage = store.storage()
    assets = []
    for number, data in enumerate(CONTENTS):
        stored = await storage.put(f"{folder}/{number}.png", data, content_type="image/png")
        assets.append(asset_of(stored.uri, data))
    manifest = Manifest(uri=storage.uri(f"{folder}/manifest.json"), assets=tuple(assets))
    text = manifest.model_dump_json(indent=2).encode()
    await storage.put(f"{folder}/manifest.json", text, content_type="application/json")
    return manifest


def test_its_form_is_described():
    """The schema tells readers in other languages what to expect, and says which version it is."""
    schema = Manifest.model_json_schema()
    assert schema["properties"]["schema_version"]["const"] == 1
    assert schema["required"] == ["uri", "assets"]
    assert schema["$defs"]["Asset"]["properties"]["sha256"]["type"] == "string"
    for form in (schema, *schema["$defs"].values()):
        for name, field in form["properties"].items():
            assert field.get("description"), name


@pytest.mark.parametrize("address", ["manifest", "folder", "folder with a slash"])
async def test_loaded_from_where_it_lies(store, address):
    manifest = await published(store)
    folder = manifest.uri.rpartition("/")[0]
    url = {"manifest": manifest.uri, "folder": folder, "folder with a slash": f"{folder}/"}[address]
    assert await Manifest.aload(url) == Manifest.load(url) == manifest
    assert pickle.loads(pickle.dumps(manifest)) == manifest


async def test_a_folder_by_its_path(tmp_path, monkeypatch):
    manifest = await published(MediaStore(url=str(tmp_path / "store")))
    monkeypatch.chdir(tmp_path)
    for path in (str(tmp_path / "store/autumn"), "store/autumn", "store/autumn/manifest.json"):
        assert await Manifest.aload(path) == manifest


async def test_all_as_it_was(store):
    manifest = await published(store)
    found = await manifest.averify()
    assert found.ok
    assert found == manifest.verify()
    assert [finding.uri for finding in found.findings] == [asset.uri for asset in manifest.assets]
    assert {finding.problem for finding in found.findings} == {None}


async def test_everything_that_can_be_wrong_at_once(store):
    """One is gone, one was cut, one was changed without changing its size; the fourth is fine."""
    manifest, storage = await published(store), store.storage()
    await storage.delete("autumn/0.png")
    await storage.put("autumn/1.png", CONTENTS[1][:-1], content_type="image/png")
    await storage.put("autumn/2.png", CONTENTS[2][:-1] + b"\xff", content_type="image/png")
    found = await manifest.averify(strict=False)
    assert [finding.problem for finding in found.findings] == ["missing", "size", "hash", None]
    assert [finding.uri for finding in found.wrong] == [asset.uri for asset in manifest.assets[:3]]
    assert "1007 bytes instead of 1008" in found.findings[1].detail
    assert manifest.assets[2].sha256 in found.findings[2].detail
    with pytest.raises(StoreError, match="3 of 4 assets are not as they were published") as caught:
        manifest.verify()
    assert not caught.value.transient
    assert [finding["problem"] for finding in caught.value.findings] == ["missing", "size", "hash"]
    assert pickle.loads(pickle.dumps(caught.value)).findings == caught.value.findings


async def test_what_can_not_be_read_is_not_taken_for_fine(tmp_path):
    manifest = await published(MediaStore(url=str(tmp_path / "store")))
    elsewhere = manifest.assets[0].model_copy(update={"uri": "s3://no-such-bucket-anywhere/0.png"})
    nowhere = manifest.assets[1].model_copy(update={"uri": "ftp://films/1.png"})
    shut = MediaStore(
        url="s3://no-such-bucket-anywhere",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="key",
        aws_secret_access_key="secret",  # noqa: S106
    )
    shut.storage()
    found = await manifest.model_copy(update={"assets": (elsewhere, nowhere)}).averify(strict=False)
    assert [finding.problem for finding in found.findings] == ["unreadable", "unreadable"]
    assert "can't be reached" in found.findings[0].detail
    assert "can't be opened" in found.findings[1].detail


async def test_a_folder_that_was_copied_elsewhere(store, tmp_path):
    """The copy is held against its own files, and what lies elsewhere is still looked for there."""
    manifest, storage = await published(store), store.storage()
    other = asset_of(storage.uri("elsewhere.png"), CONTENTS[0])
    await storage.put("elsewhere.png", CONTENTS[0], content_type="image/png")
    manifest = manifest.model_copy(update={"assets": (*manifest.assets, other)})
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "manifest.json").write_text(manifest.model_dump_json())
    for number, data in enumerate(CONTENTS):
        (copy / f"{number}.png").write_bytes(data)
    (copy / "3.png").write_bytes(b"spoiled")
    loaded = await Manifest.aload(str(copy))
    assert loaded.uri == (copy / "manifest.json").as_uri()
    assert [asset.uri for asset in loaded.assets] == [
        *((copy / f"{number}.png").as_uri() for number in range(4)),
        other.uri,
    ]
    found = await loaded.averify(strict=False)
    assert [finding.problem for finding in found.findings] == [None, None, None, "size", None]


async def test_there_is_none(store):
    with pytest.raises(
        StoreError, match=r"there is no manifest at .*/autumn/manifest\.json; give the address"
    ) as caught:
        await Manifest.aload(store.storage().uri("autumn"))
    assert not caught.value.transient


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<html>", "JSON"),
        ("{}", "uri: Field required"),
        ('{"uri": "s3://a/manifest.json", "assets": [{}]}', "assets.0.uri"),
        ('{"schema_version": 2, "uri": "s3://a/manifest.json", "assets": []}', "schema_version: Input should be 1"),
    ],
)
async def test_something_else_of_that_name(tmp_path, text, complaint):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match="is not a manifest that this version can read") as caught:
        await Manifest.aload(str(tmp_path))
    assert complaint in str(caught.value)


async def test_manifests_of_before_and_of_later_are_read(tmp_path):
    """Without a version, as the first ones were; and with fields that we don't know."""
    manifest = await published(MediaStore(url=str(tmp_path)))
    path = tmp_path / "autumn" / "manifest.json"
    values = json.loads(path.read_text())
    del values["schema_version"]
    path.write_text(json.dumps({**values, "mood": "sunny"}))
    assert await Manifest.aload(str(tmp_path / "autumn")) == manifest


async def test_links_are_made_when_asked_for(s3):
    manifest = await published(s3.store())
    links = await manifest.alinks(timedelta(minutes=5))
    assert list(links) == [asset.uri for asset in manifest.assets]
    for link, data in zip(links.values(), CONTENTS, strict=True):
        assert "Expires=300" in link
        assert await asyncio.to_thread(lambda link=link: urllib.request.urlopen(link).read()) == data
    assert set(links.values()).isdisjoint(manifest.links(timedelta(minutes=6)).values())
    assert "Signature" not in manifest.model_dump_json() + repr(manifest)
    with pytest.raises(StoreError, match="7 days at most"):
        await manifest.alinks(timedelta(days=8))


async def test_folders_have_no_links(tmp_path):
    manifest = await published(MediaStore(url=str(tmp_path)))
    assert set((await manifest.alinks()).values()) == {None}


def test_it_can_not_be_changed_unnoticed(tmp_path):
    manifest = run_sync(published(MediaStore(url=str(tmp_path))))
    with pytest.raises(ValidationError, match="frozen"):
        manifest.uri = "s3://other/manifest.json"
    shutil.rmtree(tmp_path / "autumn")
    assert [finding.problem for finding in manifest.verify(strict=False).findings] == ["missing"] * 4
    assert Path(manifest.uri).name == "manifest.json"
