"""Reference images: fitted to the size of the video, upright, and untouched where they fit already."""

import io

import pytest
from PIL import Image

from prefect_media.errors import InvalidRequest
from prefect_media.reference import fitted, shown


def picture(size=(100, 50), mode="RGB", kind="PNG", **options):
    """Left half red, right half blue."""
    image = Image.new(mode, size, "red")
    image.paste(Image.new(mode, (size[0] // 2, size[1]), "blue"), (size[0] // 2, 0))
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(upload):
    return Image.open(io.BytesIO(upload[1]))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", ["100x50", None])
def test_what_fits_is_passed_on_byte_for_byte(kind, size):
    data = picture(kind=kind)
    assert fitted(data, size, "error") == (f"reference.{kind.lower()}", data, f"image/{kind.lower()}")


def test_crop_fills_the_size_and_keeps_the_middle():
    image = opened(fitted(picture(), "50x50", "crop"))
    assert image.size == (50, 50)
    assert image.getpixel((2, 25)) == (255, 0, 0)
    assert image.getpixel((47, 25)) == (0, 0, 255)


def test_pad_shows_everything_on_black():
    image = opened(fitted(picture(), "50x50", "pad"))
    assert image.size == (50, 50)
    assert image.getpixel((25, 2)) == (0, 0, 0)
    assert image.getpixel((5, 25)) == (255, 0, 0)


def test_error_names_both_sizes():
    with pytest.raises(InvalidRequest, match=r"100x50.*50x50"):
        fitted(picture(), "50x50", "error")


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    data = picture(kind="JPEG", exif=exif)
    name, content, _ = fitted(data, None, "error")
    image = Image.open(io.BytesIO(content))
    assert image.size == (50, 100)
    assert name == "reference.png"
    assert image.convert("RGB").getpixel((25, 10))[0] > 200, "what was left is on top now"


@pytest.mark.parametrize("mode", ["P", "L", "RGBA", "CMYK", "1"])
def test_every_kind_of_colours_becomes_something_a_server_reads(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    image = Image.new("RGB", (64, 64), "red").convert(mode)
    out = io.BytesIO()
    image.save(out, kind)
    upload = fitted(out.getvalue(), "32x48", "crop")
    assert (opened(upload).format, opened(upload).size) == ("PNG", (32, 48))


def test_an_animation_gives_its_first_picture():
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    image = opened(fitted(out.getvalue(), None, "crop"))
    assert image.format == "PNG"
    assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)


def test_what_is_shown_of_a_reference_has_no_content_and_no_query():
    assert shown("data:image/png;base64," + "A" * 100) == "data:image/png;base64,AA..."
    assert shown("https://x.example/a.png?token=secret") == "https://x.example/a.png"
    assert shown(b"123") == "3 bytes"
