"""`prefect-media verify` as it is typed: a process of its own, with nothing but the environment's login."""

import json
import os
import subprocess
import sys

import pytest
from prefect_media.tasks import apublish

from prefect_media import Asset


@pytest.fixture
def verify(s3):
    def run(url, *options, **env):
        known = {**os.environ, **s3.env, **env}
        return subprocess.run(
            [sys.executable, "-c", "from prefect_media.cli.app import main; main()", "verify", url, *options],
            env={name: value for name, value in known.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
async def manifest(store, tmp_path):
    """Two films, published to a folder or to a bucket."""
    from prefect_media.storage.store import storage_at

    work, films = storage_at(str(tmp_path / "work")), []
    for name in ("fox", "[bold]owl"):
        stored = await work.put(f"{name}.mp4", b"\0\0\0\x20ftypisom" + name.encode() * 500, content_type="video/mp4")
        films.append(
            Asset(
                uri=stored.uri,
                kind="video",
                content_type="video/mp4",
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
            )
        )
    return await apublish.fn(films, store, prefix="autumn")


@pytest.mark.parametrize("address", ["manifest", "folder"])
def test_all_as_published(verify, manifest, address):
    done = verify(manifest.uri if address == "manifest" else manifest.uri.rpartition("/")[0])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["fox.mp4", str(manifest.assets[0].size_bytes), manifest.assets[0].sha256[:12], "ok"]
    assert "bold" in lines[2]
    assert lines[2].split()[-1] == "ok"
    assert lines[-1] == "2 assets, 0.0 MB: all as published"


async def test_something_is_wrong(verify, manifest, store):
    storage = store.storage()
    await storage.put("autumn/fox.mp4", b"\xff" * manifest.assets[0].size_bytes, content_type="video/mp4")
    await storage.delete(storage.key_of(manifest.assets[1].uri))
    done = verify(manifest.uri)
    assert done.returncode == 1
    assert [line.split()[3] for line in done.stdout.splitlines()[1:3]] == ["hash", "missing"]
    assert f"instead of {manifest.assets[0].sha256}" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 of 2 assets are not as published"

    done = verify(manifest.uri, "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["uri"]) == (1, False, manifest.uri)
    assert [(each["uri"], each["problem"]) for each in found["findings"]] == [
        (manifest.assets[0].uri, "hash"),
        (manifest.assets[1].uri, "missing"),
    ]
    assert manifest.assets[0].sha256 in found["findings"][0]["detail"]


@pytest.mark.parametrize(
    ("url", "env", "sentence"),
    [
        ("s3://no-such-bucket", {}, "the bucket s3://no-such-bucket does not exist"),
        ("/no/such/folder", {}, "there is no manifest at file:///no/such/folder/manifest.json"),
        ("ftp://films", {}, "can't be opened"),
        ("s3://films", {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no AWS credentials were found"),
    ],
)
def test_what_can_not_be_looked_at_is_one_sentence(verify, url, env, sentence):
    done = verify(url, **env)
    assert done.returncode == 1
    assert done.stdout == ""
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
