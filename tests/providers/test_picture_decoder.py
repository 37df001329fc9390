"""Pictures are read out of an answer while it arrives, however it is cut and escaped."""

import base64
import json

import pytest

from prefect_media.providers.picture_decoder import LineReader, NotBase64, PictureReader

PICTURES = [bytes(range(256)), b"\xff\xfe\xfb" * 41, b"x"]


def read(raw, step):
    reader = PictureReader()
    pictures = [bytes(picture) for at in range(0, len(raw), step) for picture in reader.feed(raw[at : at + step])]
    return pictures, reader.finish()


def answer(pictures=PICTURES):
    rows = [
        {"b64_json": base64.b64encode(each).decode(), "revised_prompt": 'say "b64_json": "QUJD" aloud'}
        for each in pictures
    ]
    return json.dumps({"created": 1, "data": rows, "usage": {"total_tokens": 7}})


ESCAPED = {
    "plain": lambda text: text,
    "slashes": lambda text: text.replace("/", "\\/"),
    "unicode": lambda text: text.replace("+", "\\u002B").replace("/", "\\/"),
    "indented": lambda text: json.dumps(json.loads(text), indent=2),
}


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 64, 10_000])
@pytest.mark.parametrize("escaped", ESCAPED.values(), ids=ESCAPED)
def test_an_answer_in_any_pieces(step, escaped):
    pictures, body = read(escaped(answer()).encode(), step)
    assert pictures == PICTURES
    assert [row["b64_json"] for row in body["data"]] == [0, 1, 2]
    assert body["data"][0]["revised_prompt"] == 'say "b64_json": "QUJD" aloud'
    assert body["usage"] == {"total_tokens": 7}


def test_links_nothing_and_null_are_left_alone():
    body = {"data": [{"url": "http://x/y"}, {"b64_json": None}, {"b64_json": ""}]}
    pictures, read_body = read(json.dumps(body).encode(), 9)
    assert pictures == []
    assert read_body == {"data": [{"url": "http://x/y"}, {"b64_json": None}, {"b64_json": None}]}


@pytest.mark.parametrize("content", ["%%%%", "QUJDR", "QUJD=RAA", "QU JD"])
def test_what_is_not_base64_is_not_guessed_at(content):
    with pytest.raises(NotBase64):
        read(json.dumps({"data": [{"b64_json": content}]}).encode(), 1000)


@pytest.mark.parametrize("raw", ["<html>no</html>", answer()[:300], answer()[:-3], ""])
def test_what_is_cut_off_or_no_json_is_an_error(raw):
    with pytest.raises(ValueError):
        read(raw.encode(), 50)


def test_no_more_is_held_than_the_picture_itself():
    reader = PictureReader()
    assert not reader.feed(b'{"data": [{"b64_json": "')
    for _ in range(100):
        assert not reader.feed(b"QUJD" * 250)
        assert len(reader._encoded) < 8
    assert sum(map(len, reader._picture)) == 75_000
    assert len(reader._rest) < 100


@pytest.mark.parametrize("step", [1, 2, 7, 64, 100_000])
def test_lines_are_read_however_they_are_cut(step):
    lines = [
        {"custom_id": "1", "response": {"body": {"data": [{"b64_json": "AAAA"}, {"b64_json": "BBBBCCCC"}]}}},
        {"custom_id": 'say "b64_json": "x"\n', "error": {"code": "batch_expired"}, "response": None},
        {"custom_id": "3", "response": {"body": {"data": [{"b64_json": "DDDD"}]}}},
    ]
    broken = b'{"custom_id": "4", "b64_json": "!!!!"}\nnot json\n\n'
    text = [json.dumps(line).encode() for line in lines]
    content = text[0] + b"\n" + broken + b"\r\n".join(text[1:])
    reader = LineReader()
    found = [each for start in range(0, len(content), step) for each in reader.feed(content[start : start + step])]
    found += reader.finish()
    assert [row["custom_id"] for row, _ in found] == ["1", 'say "b64_json": "x"\n', "3"]
    assert [len(picture) for _, pictures in found for picture in pictures] == [3, 6, 3]
    assert reader.finish() == []
