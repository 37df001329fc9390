"""No answer takes more memory than what was asked for needs, or comes without end."""

import base64
import json
import os
import re
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path

import pytest
from buyer import clip, connection, terms
from faulty_server import head
from linked_server import Gateway, Stranger, answer, png

from prefect_media.errors import DownloadCorrupt
from prefect_media.media.facts import MOST_JUNK, Whole
from prefect_media.providers.limits import JSON_BYTES, TooLarge, image_bytes, parse_json
from prefect_media.providers.picture_decoder import LineReader, PictureReader
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest
from prefect_media.simulator import Simulator
from prefect_media.simulator.drawing.film import Film, shoot
from prefect_media.storage.store import storage_at

MB = 1024**2
PEAK_MB = 200
MAX_VIDEO = 300 * MB
FILM = shoot(Film("a paper boat", "boats-1", (64, 64), 1))


@cache
def zeros(nbytes):
    """A gzip body of so many zeros: a thousandth of that on the line. Its end is missing, nobody gets there."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(16 * MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + block * (nbytes // (16 * MB))


def bomb(status=200, start=b"", **headers):
    body = zeros(3000 * MB)
    rows = {name.replace("_", "-"): text for name, text in headers.items()}
    return head(status, Content_Encoding="gzip", Content_Length=len(body), **rows) + body


def endless(piece, start=b"", status=200, most=3000 * MB, **headers):
    """So much of it as somebody takes, 3 GB at most."""
    piece = piece * (64 * 1024 // len(piece))

    def pieces(_):
        yield head(status, **{name.replace("_", "-"): text for name, text in headers.items()}) + start
        for _ in range(most // len(piece)):
            yield piece

    return pieces


JSON = {"Content_Type": "application/json"}
EVENTS = {"Content_Type": "text/event-stream"}
LOOK, ORDER, CONTENT = r"GET .*/videos/video_1", r"POST .*/images/generations", r"GET .*/videos/video_1/content"
LINK = answer(body={"data": [{"url": "file"}]})
VALUES = b'{"id": "video_1", "status": "queued", "x": [' + b'{"":0},' * (2 * MB) + b"0]}"
TINY = json.dumps({"type": "image_generation.completed", "b64_json": "R0lGODlhAQABAAAAACw="})
SLOT = b'{"b64_json": "R0lGODlhAQABAAAAACw="}, '

# what is answered to what, the error, what it says
CASES = {
    "look-bomb": ({LOOK: bomb(**JSON)}, "ProviderUnavailable", "larger than 16,777,216"),
    "look-endless": ({LOOK: endless(b"a", b'{"id": "')}, "ProviderUnavailable", "larger than 16,777,216"),
    "look-values": ({LOOK: answer(body=VALUES)}, "ProviderUnavailable", "JSON was expected"),
    "look-nested": ({LOOK: answer(body=b"[" * (400_000))}, "ProviderUnavailable", "JSON was expected"),
    "look-error": ({LOOK: bomb(500)}, "ProviderUnavailable", "HTTP 500"),
    "look-error-endless": ({LOOK: endless(b"a ", status=404)}, "NotFound", "HTTP 404"),
    "look-brotli": ({LOOK: answer(body=b"{}", Content_Encoding="br")}, "ProviderUnavailable", "not asked for"),
    "look-broken": ({LOOK: answer(body=b"{}", Content_Encoding="gzip")}, "ProviderUnavailable", "decompressed"),
    "image-bomb": ({ORDER: bomb(**JSON)}, "SubmissionInDoubt", "larger than"),
    "image-endless": ({ORDER: endless(b"AAAA", b'{"data": [{"b64_json": "')}, "SubmissionInDoubt", "image is larger"),
    "image-many": ({ORDER: endless(SLOT, b'{"data": [')}, "SubmissionInDoubt", "more than 11 images"),
    "image-json": ({ORDER: endless(b" ", b'{"data": [')}, "SubmissionInDoubt", "JSON is larger"),
    "image-error": ({ORDER: bomb(500)}, "SubmissionInDoubt", "HTTP 500"),
    "image-event": ({ORDER: endless(b"AAAA", b'data: {"b64_json": "', **EVENTS)}, "SubmissionInDoubt", "line of the"),
    "image-events": (
        {ORDER: endless(f"event: x\ndata: {TINY}\n\n".encode(), **EVENTS)}, "SubmissionInDoubt", "more than 11 images"
    ),
    "image-link": ({ORDER: LINK, "GET .*/file": endless(b"a")}, "DownloadCorrupt", "larger than 41,472,000"),
    "image-link-bomb": ({ORDER: LINK, "GET .*/file": bomb()}, "DownloadCorrupt", "larger than 41,472,000"),
    "image-link-length": (
        {ORDER: LINK, "GET .*/file": endless(b"a", Content_Length=3000 * MB)}, "DownloadCorrupt", "larger than"
    ),
    "video-bomb": ({CONTENT: bomb()}, "DownloadCorrupt", "not a valid video"),
    "video-zeros": ({CONTENT: endless(b"\0", FILM)}, "DownloadCorrupt", "after its last box"),
    "video-zeros-length": (
        {CONTENT: endless(b"\0", FILM, Content_Length=3000 * MB)}, "DownloadCorrupt", "MAX_VIDEO_BYTES"
    ),
    "video-endless": (
        {CONTENT: endless(b"\0", FILM + b"\xff\xff\xff\xfffree")}, "DownloadCorrupt", "MAX_VIDEO_BYTES=314572800"
    ),
    "video-error": ({CONTENT: bomb(500)}, "ProviderUnavailable", "HTTP 500"),
    "video-redirect": ({CONTENT: endless(b"a", status=302, Location="gone")}, "JobExpired", "is gone"),
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of each case, by family in one process each."""
    server, sent = Stranger(host="127.0.0.1"), {}

    def given(asked):
        case = asked.path.split("/")[1]
        for pattern, what in CASES[case][0].items():
            if re.fullmatch(pattern, f"{asked.method} {asked.path}"):
                return counted(case, what(asked) if callable(what) else [what])
        return answer(404, {"detail": "not found"})

    def counted(case, pieces):
        for piece in pieces:
            yield piece
            sent[case] = sent.get(case, 0) + len(piece)

    server.given = given
    found = {}
    script = str(Path(__file__).parents[1] / "support" / "answer_reader.py")
    for family in ("look", "image", "video"):
        cases = [case for case in CASES if case.startswith(family)]
        done = subprocess.run(
            [sys.executable, script, server.url, str(tmp_path_factory.mktemp(family)), *cases],
            capture_output=True,
            text=True,
            timeout=500,
            env={**os.environ, "PREFECT_MEDIA_MAX_VIDEO_BYTES": str(MAX_VIDEO)},
        )
        for row in map(json.loads, done.stdout.splitlines()):
            found[row["case"]] = {**row, "sent": sent.get(row["case"], 0)}
        assert done.returncode == 0, done.stderr[-2000:]
    server.close()
    return found


@pytest.mark.parametrize("case", CASES)
def test_an_answer_without_end(results, case):
    result, (_, error, said) = results[case], CASES[case]
    assert result["error"] == error, result
    assert said in result["message"], result
    assert result["peak_mb"] < PEAK_MB, result
    most = MAX_VIDEO * 2 if case == "video-endless" else 150 * MB
    assert result["sent"] < most, "it is not taken to its end"


def test_what_is_too_large_does_not_come_again(results):
    """Fetched again it would be as large."""
    for case in ("video-endless", "video-zeros-length", "image-link", "image-link-length"):
        assert results[case]["transient"] is False


# ---------------------------------------------------------------- a film, and more


def walked(data, step):
    whole = Whole()
    for at in range(0, len(data), step):
        whole.feed(data[at : at + step])
    whole.feed(b"")
    return whole.warnings


@pytest.mark.parametrize("step", [1000, 4096, 10**6])
@pytest.mark.parametrize("junk", [1, 7, 8, 9, 5000])
def test_a_little_behind_a_film_is_a_warning(step, junk):
    assert walked(FILM, step) == ()
    assert walked(FILM + bytes(junk), step) == (f"The file goes on for {junk:,} bytes after its last box.",)


@pytest.mark.parametrize("step", [1000, 65536, 10**6])
def test_much_behind_a_film_is_no_film(step):
    with pytest.raises(DownloadCorrupt, match="after its last box"):
        walked(FILM + bytes(MOST_JUNK + 1), step)


def test_boxes_that_say_how_they_end_are_none_of_that():
    free = (5000).to_bytes(4, "big") + b"free" + bytes(4992)
    assert walked(FILM + free, 777) == ()
    assert walked(FILM + b"\0\0\0\0mdat" + bytes(5000), 777) == (), "up to the end of the file"
    assert walked(b"\x1aE\xdf\xa3" + bytes(5000), 777) == (), "another format"


async def test_a_film_with_a_little_behind_it_is_kept_as_it_came(tmp_path):
    with Simulator(latency=0.0) as simulator:
        gateway, place = Gateway(simulator), storage_at(str(tmp_path))
        gateway.answers = {CONTENT.replace("video_1", "[^/]+"): answer(body=FILM + bytes(100))}
        line = connection(simulator, base_url=f"{gateway.url}/v1")
        asset = await buy_video(line, clip(), place, terms())
        gateway.close()
    assert await place.read(place.key_of(asset.uri)) == FILM + bytes(100)
    assert asset.warnings == ("The file goes on for 100 bytes after its last box.",)


# ---------------------------------------------------------------- JSON, and pictures in it


def test_json_as_large_as_any_answer_is_read():
    rows = [{"id": f"video_{number}", "prompt": "a boat, " * 4000} for number in range(100)]
    assert parse_json(json.dumps({"data": rows}).encode())["data"] == rows
    with pytest.raises(TooLarge):
        parse_json(b'"' + b"a" * JSON_BYTES + b'"')
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(b"[" * 200_000)


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({}, 41_472_000),
        ({"size": "auto"}, 41_472_000),
        ({"size": "1024x1024"}, 32 * MB),
        ({"size": "3840x2160"}, 41_472_000),
        ({"size": "3840x2160", "output_format": "jpeg"}, 41_472_000),
        ({"output_format": "svg"}, 16 * MB),
        ({"size": "99999x99999"}, 8 * 41_472_000),
    ],
)
def test_images_may_be_as_large_as_their_pixels(fields, most):
    assert image_bytes(ImageRequest(prompt="a fox", model="foxes-1", **fields)) == most


def test_a_line_of_a_batch_that_does_not_end_is_left_out():
    reader = LineReader(1000, 2)
    good = b'{"custom_id": "a", "b64_json": "AAAA"}\n'
    for _ in range(40):
        assert reader.feed(b"a" * MB) == []
    assert reader._line is None
    assert [row["custom_id"] for row, _ in reader.feed(b"\n" + good)] == ["a"]
    large = b'{"custom_id": "b", "b64_json": "' + b"AAAA" * 400 + b'"}\n'
    many = b'{"custom_id": "c", "x": [' + b'{"b64_json": "AAAA"}, ' * 3 + b"0]}\n"
    assert [row["custom_id"] for row, _ in reader.feed(large + many + good)] == ["a"]


def test_a_picture_as_large_as_it_may_be_is_read():
    answered = b'{"data": [{"b64_json": "' + base64.b64encode(png()) + b'"}]}'
    assert PictureReader(len(png()), 1).feed(answered) == [png()]
    with pytest.raises(TooLarge):
        PictureReader(len(png()) - 1, 1).feed(answered)
