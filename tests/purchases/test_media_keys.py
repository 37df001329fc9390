"""Where media go: readable names, the same for all who work on a purchase, never shared by two."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from pydantic import ValidationError

from prefect_media.key_template import DEFAULT_TEMPLATE, KEY_MOST, LONGEST, check_template
from prefect_media.ledger.record import Record
from prefect_media.purchases.media_keys import media_key, short_id, slug
from prefect_media.settings import Settings
from prefect_media.storage.store import storage_at

RUN = "019ab8a2-5d7e-7c31-b1a4-3f0e9d2c7b61"


def record(**changes):
    now = datetime(2026, 11, 22, 9, 30, 15, 123456, tzinfo=UTC)
    fields = {
        "key": "9f8e7d6c" * 8,
        "scope": f"run:{RUN}",
        "kind": "video",
        "operation": "generate",
        "account": {},
        "fingerprint": "0" * 64,
        "request": {"prompt": "A neon fox, running!", "model": "sora-2"},
        "created_at": now,
        "updated_at": now,
        "flow_run_id": RUN,
        "flow_name": "storyboard",
    }
    return Record(**{**fields, **changes})


def hash_in(key):
    return key.rpartition(".")[0][-8:]


def test_the_default_is_for_people():
    key = media_key(record(), "mp4")
    assert key == f"media/2026-11-22/storyboard-9d2c7b61/a-neon-fox-running-{hash_in(key)}.mp4"
    assert media_key(record(), "png", 2) == key.replace("/a-neon", "/02-a-neon").replace("mp4", "png")


def test_every_machine_finds_the_same_key():
    """From the record as it was written, and as it is read back."""
    first = record()
    again = Record.model_validate_json(first.model_dump_json())
    submitted = again.model_copy(update={"state": "submitted", "updated_at": datetime.now(UTC)})
    assert media_key(first, "mp4") == media_key(again, "mp4") == media_key(submitted, "mp4")


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": datetime(2026, 11, 22, 9, 30, 15, 123457, tzinfo=UTC)},  # forgotten and bought anew
        {"attempt": 2},  # asked for again after a doubt, while the first may still be stored
        {"key": "0" * 64},
    ],
)
def test_no_two_times_that_were_paid_for_share_a_key(changes):
    assert media_key(record(**changes), "mp4") != media_key(record(), "mp4")


@pytest.mark.parametrize(
    ("changes", "folder"),
    [
        ({}, "storyboard-9d2c7b61"),
        ({"flow_name": "Große Kampagne №1/../x"}, "grosse-kampagne-no1-x-9d2c7b61"),
        ({"flow_name": None}, "run-9d2c7b61"),
        ({"flow_run_id": None, "scope": "forever"}, "forever"),
        ({"flow_run_id": None, "scope": "named:Autumn 2026"}, "autumn-2026"),
        ({"flow_run_id": None, "scope": "named:秋"}, "named"),
        ({"flow_run_id": None, "scope": "process:0123456789abcdef"}, "process-89abcdef"),
    ],
)
def test_the_folder_says_what_it_belongs_to(changes, folder):
    assert media_key(record(**changes), "mp4").split("/")[2] == folder


def test_runs_that_begin_together_have_folders_of_their_own():
    """Prefect's ids begin with the time: their first eight letters stay the same for a minute."""
    near = [UUID(int=(0x019AB8A25D7E << 80) + (7 << 76) + (0b10 << 62) + n) for n in (1, 2)]
    assert str(near[0])[:8] == str(near[1])[:8]
    assert short_id(str(near[0])) != short_id(str(near[1]))


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("Une forêt d'été", "une-foret-d-ete"),
        ("狐狸在奔跑", "video"),
        ("🦊", "video"),
        ("../../etc/passwd\0\n", "etc-passwd"),
        ("one two three four five six seven eight nine ten", "one-two-three-four-five-six-seven-eight"),
        ("a" * 100, "a" * 40),
    ],
)
def test_words_of_the_prompt(prompt, words):
    name = media_key(record(request={"prompt": prompt}), "mp4").rpartition("/")[2]
    assert name == f"{words}-{hash_in(name)}.mp4"


def test_images_of_a_request_that_is_several_purchases():
    parts = [
        media_key(record(kind="image", request={"prompt": "x", "part": part, "of": 12}), "png", index)
        for part in (1, 2)
        for index in (1, 2)
    ]
    assert [key.rpartition("/")[2][:8] for key in parts] == ["01-01-x-", "01-02-x-", "02-01-x-", "02-02-x-"]
    assert parts == sorted(parts)
    alone = media_key(record(request={"prompt": "x", "part": 3, "of": 11}), "png")
    assert alone.rpartition("/")[2].startswith("03-01-x-")


def test_a_template_of_ones_own():
    key = media_key(
        record(), "mp4", 1, template="{flow}/{year}/{month}/{day}/{kind}s/{model}_{operation}/{hash}.{index}"
    )
    assert key == f"media/storyboard/2026/11/22/videos/sora-2_generate/{key.split('/')[-1].split('.')[0]}.01.mp4"
    assert media_key(record(), "mp4", template="{hash}.{index}") == f"media/{hash_in(media_key(record(), 'mp4'))}.mp4"
    assert media_key(record(), "mp4", template="{hash}/{index}").endswith("/-.mp4")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{date}/{prompt}-{hash}-{index}", "unknown fields: prompt; choose from {date}"),
        ("{hash}-{index}.{ext}", "the ending, such as .mp4, is added by itself"),
        ("{}-{hash}-{index}", "unknown fields"),
        ("{date.year}-{hash}-{index}", "unknown fields: date.year"),
        ("{hash[0]}-{hash}-{index}", "unknown fields"),
        ("{hash:>20}-{index}", "formats a field"),
        ("{hash!r}-{index}", "formats a field"),
        ("{hash:{index}}", "formats a field"),
        ("{hash-{index}", "not a valid template"),
        ("}{hash}{index}", "not a valid template"),
        ("{date}/{index}-{words}", "lacks {hash}"),
        ("{date}/{hash}", "lacks {index}"),
        ("", "lacks {hash}"),
        ("../{hash}-{index}", "begins or ends with a dot"),
        ("a/..{hash}-{index}", "begins or ends with a dot"),
        (".{hash}-{index}", "begins or ends with a dot"),
        ("{hash}./{index}", "begins or ends with a dot"),
        ("/{hash}-{index}", "begins or ends with a slash"),
        ("{hash}-{index}/", "begins or ends with a slash"),
        ("{hash}//{index}", "two in a row"),
        ("{hash}\\{index}", "characters that not every store takes"),
        ("{hash} {index}", "characters that not every store takes"),
        ("{hash}?{index}", "characters that not every store takes: '?'"),
        ("{hash}\0{index}", "characters that not every store takes"),
        ("fuchs-ä-{hash}-{index}", "characters that not every store takes"),
        ("{words}{words}{words}{words}{words}{hash}{index}", "200 between slashes"),
        ("/".join(["{words}"] * 15) + "/{hash}-{index}", "at most 600 are allowed"),
    ],
)
def test_templates_that_can_not_work_are_refused(template, complaint):
    with pytest.raises(ValueError, match=r"\{|not a valid template") as refusal:
        check_template(template)
    assert complaint in str(refusal.value)


def test_the_setting_is_checked_before_anything_is_bought(monkeypatch, configure):
    monkeypatch.setenv("PREFECT_MEDIA_KEY_TEMPLATE", "{date}/{words}")
    with pytest.raises(ValidationError, match=r"lacks \{hash\}"):
        Settings()
    configure(key_template="mine/{hash}-{index}")
    assert media_key(record(), "mp4").startswith("media/mine/")


def test_no_key_gets_longer_than_thought():
    """Whatever the record holds, each field keeps to its length."""
    long = record(
        request={"prompt": "w" * 500, "model": "m" * 500, "part": 1000, "of": 1000},
        flow_name="f" * 500,
        operation="o" * 50,
    )
    for name, most in LONGEST.items():
        key = media_key(long, "mp4", 1000, template=f"X{{{name}}}X")
        assert len(key) - len("media/XX.mp4") <= most, name
    assert len(media_key(long, "mp4", 1000)) <= KEY_MOST
    assert check_template(DEFAULT_TEMPLATE) == DEFAULT_TEMPLATE


def test_stores_take_every_key(tmp_path):
    """The store's own check of keys has nothing against what comes out for awkward records."""
    storage = storage_at(str(tmp_path))
    for text in ("...", "--", "/", "\\", "", ".hidden", "con", "a" * 300, "\u202e"):
        awkward = record(request={"prompt": text, "model": text}, flow_name=text)
        for template in (DEFAULT_TEMPLATE, "{flow}/{model}/{words}/{index}/{hash}"):
            storage.uri(media_key(awkward, "mp4", template=template))


def test_what_is_fetched_again_keeps_its_key(tmp_path):
    """Also when the template was changed since: the record knows where its media are."""
    storage = storage_at(str(tmp_path))
    asset = {"uri": storage.uri("media/old/fox.mp4"), "kind": "video", "content_type": "video/mp4"}
    done = record(state="done", assets=[{**asset, "size_bytes": 1, "sha256": "0" * 64}])
    assert media_key(done, "mp4", storage=storage) == "media/old/fox.mp4"
    assert media_key(done, "webm", storage=storage) != "media/old/fox.mp4"
    assert media_key(done, "mp4", storage=storage_at(str(tmp_path / "other"))) != "media/old/fox.mp4"


def test_slug_cuts_between_words():
    assert slug("hello big world", 9) == "hello-big"
    assert slug("hello big world", 8) == "hello"
