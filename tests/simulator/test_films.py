"""The clips the simulator makes: playable, of the right size and length, showing what was asked."""

import io
import time
from collections.abc import Iterator
from itertools import pairwise

import av
import openai
import pytest
from PIL import Image, ImageChops, ImageStat

from prefect_media.simulator import Simulator

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

SIZE = (320, 180)


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with Simulator(latency=0) as simulator:
        yield openai.OpenAI(api_key="any", base_url=simulator.url, max_retries=0)


def asked(client: openai.OpenAI, prompt: str, size: tuple[int, int] = SIZE, **fields) -> str:
    fields = {"model": "open-video", "seconds": "2"} | fields
    return client.videos.create(prompt=prompt, size=f"{size[0]}x{size[1]}", **fields).id


def downloaded(client: openai.OpenAI, job_id: str) -> bytes:
    return client.videos.download_content(job_id).content


def frames(clip: bytes) -> list[Image.Image]:
    with av.open(io.BytesIO(clip)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures, from 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean) / 3


def photograph(size: tuple[int, int] = SIZE) -> Image.Image:
    red, green = Image.linear_gradient("L").resize(size), Image.radial_gradient("L").resize(size)
    return Image.merge("RGB", (red, green, ImageChops.invert(red)))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("size", "seconds"), [((320, 180), 1), ((180, 320), 4), ((64, 64), 9)])
def test_a_clip_is_h264_of_exactly_the_size_and_length_asked_for(client, size, seconds):
    clip = downloaded(client, asked(client, "a boat", size, seconds=str(seconds)))
    with av.open(io.BytesIO(clip)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == size
        assert container.duration / av.time_base == pytest.approx(seconds, abs=0.01)
        assert stream.average_rate * seconds == len(list(container.decode(stream)))
    assert clip.index(b"moov") < clip.index(b"mdat")  # plays before it is downloaded whole


def test_odd_sides_become_even_as_the_codec_demands(client):
    assert frames(downloaded(client, asked(client, "a boat", (65, 63), seconds="1")))[0].size == (66, 64)


def test_the_same_request_gives_the_same_bytes_and_another_seed_others(client):
    same = [downloaded(client, asked(client, "a boat")) for _ in range(2)]
    assert same[0] == same[1]
    assert downloaded(client, asked(client, "a boat", extra_body={"seed": "2"})) != same[0]


def test_the_bytes_do_not_depend_on_what_was_filmed_before(client):
    from prefect_media.simulator.drawing import film

    before = downloaded(client, asked(client, "a lighthouse"))
    film._shoot.cache_clear()
    time.sleep(1.1)  # no time of creation may get into the file
    assert downloaded(client, asked(client, "a lighthouse")) == before


def test_a_film_from_text_moves(client):
    shown = frames(downloaded(client, asked(client, "a boat at sunset")))
    assert difference(shown[0], shown[-1]) > 3
    assert all(difference(one, other) > 0.1 for one, other in pairwise(shown))


def test_a_film_from_a_picture_begins_with_it_and_moves_on(client):
    reference = photograph()
    shown = frames(downloaded(client, asked(client, "a slow push in", input_reference=png(reference))))
    assert difference(shown[0], reference) < 3
    assert difference(shown[-1], reference) > 3 * difference(shown[0], reference)


def test_a_remix_keeps_its_source_and_changes_its_light(client):
    source = asked(client, "a boat at sunset")
    remix = client.videos.remix(source, prompt="the same on a winter morning").id
    before, after = (frames(downloaded(client, each)) for each in (source, remix))
    assert len(before) == len(after)
    assert difference(before[12], after[12]) > 10
    # The outlines are still those of the source, and not those of any other film.
    stranger = frames(downloaded(client, asked(client, "a city at night")))[12]
    assert alike(before[12], after[12]) > 0.8 > alike(stranger, after[12]) + 0.2


def alike(one: Image.Image, other: Image.Image) -> float:
    """Correlation of the brightness of two pictures' upper halves, where no caption is."""
    box = (0, 0, SIZE[0], SIZE[1] // 2)
    pixels = [list(each.convert("L").crop(box).tobytes()) for each in (one, other)]
    means = [sum(each) / len(each) for each in pixels]
    off = [[pixel - mean for pixel in each] for each, mean in zip(pixels, means, strict=True)]
    squares = [sum(pixel * pixel for pixel in each) for each in off]
    return sum(a * b for a, b in zip(*off, strict=True)) / (squares[0] * squares[1]) ** 0.5


def test_an_extension_goes_on_where_its_source_ends(client):
    source = asked(client, "a boat at sunset")
    body = {"prompt": "and it sails away", "seconds": "1", "video": {"id": source}}
    longer = client.post("/videos/extensions", body=body, cast_to=openai.types.Video)
    before, after = (frames(downloaded(client, each)) for each in (source, longer.id))
    assert len(after) == len(before) + 12
    assert max(difference(one, other) for one, other in zip(before, after, strict=False)) < 3
    assert difference(after[-1], before[-1]) > 3


def test_an_uploaded_clip_is_what_is_edited(client):
    clip = downloaded(client, asked(client, "a boat at sunset"))
    edit = client.videos.edit(prompt="in winter", video=("clip.mp4", clip)).id
    assert alike(frames(clip)[12], frames(downloaded(client, edit))[12]) > 0.8


def test_the_thumbnail_is_the_first_frame(client):
    job = asked(client, "a boat at sunset")
    small = Image.open(io.BytesIO(client.videos.download_content(job, variant="thumbnail").content))
    assert small.size == SIZE
    assert difference(small, frames(downloaded(client, job))[0]) < 4


def test_any_language_and_length_can_be_written_on_it(client):
    for prompt in ("x" * 5000, "word " * 2000, "Привет\nмир 你好 🎬", " "):
        assert frames(downloaded(client, asked(client, prompt, (96, 64), seconds="1")))
