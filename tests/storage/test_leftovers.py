"""What killed processes leave in a store: parts are removed from folders, and buckets have rules for that."""

import json
import os
import re
import threading
import time
from pathlib import Path

from prefect_media.runtime import clock
from prefect_media.storage.part_files import PART, SWEPT, THREAD
from prefect_media.storage.store import Storage

DOCS = Path(__file__).parents[2] / "docs" / "storing.md"
DAY = 24 * 60 * 60


class Tomorrow(clock.System):
    def monotonic(self):
        return super().monotonic() + DAY + 60


def leave_part(folder, age):
    """A part that was last written to so many seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{PART}{age:.0f}"
    part.write_bytes(b"half a film")
    os.utime(part, (time.time() - age,) * 2)
    return part


async def write(folder):
    """Write something to a store, and wait until all is swept."""
    await Storage(str(folder)).put("media/a", b"1", content_type="text/plain")
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(30)


async def test_old_parts_are_removed_whatever_folder_they_lie_in(tmp_path):
    places = [tmp_path, tmp_path / "media/2026-01-01/storyboard-12345678", tmp_path / "ledger/purchases"]
    old = [leave_part(place, DAY + 60) for place in places]
    young = [leave_part(place, DAY - 60) for place in places]
    await write(tmp_path)
    assert [part.exists() for part in (*old, *young)] == [False] * 3 + [True] * 3
    assert (tmp_path / "media/a").read_bytes() == b"1"


async def test_one_process_a_day_looks_through_a_store(tmp_path, monkeypatch):
    part = leave_part(tmp_path / "ledger", DAY + 60)
    note = tmp_path / "ledger" / SWEPT
    note.touch()
    await write(tmp_path)
    assert part.exists()
    os.utime(note, (time.time() - DAY - 60,) * 2)
    await write(tmp_path)
    assert part.exists(), "nor does this process look twice a day"
    monkeypatch.setattr(clock, "source", Tomorrow())
    await write(tmp_path)
    assert not part.exists()
    assert time.time() - note.stat().st_mtime < 60


async def test_a_folder_without_a_ledger_gets_no_note(tmp_path):
    part = leave_part(tmp_path / "autumn", DAY + 60)
    await write(tmp_path)
    assert not part.exists()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a"]


def test_the_rules_in_the_docs_are_rules(s3, bucket):
    text = DOCS.read_text()
    [rules] = re.findall(r"--lifecycle-configuration '(.*?)'", text, re.S)
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=json.loads(rules))
    [rule] = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    [rules] = re.findall(r"echo '(.*?)' > rules.json", text)
    assert json.loads(rules)["rule"][0]["action"] == {"type": "AbortIncompleteMultipartUpload"}
