"""Pictures that people hand in: what a file holds counts, not its name."""

import io
import zlib

import numpy as np
import pytest
from aubench_baselines.precomputed import list_folder, read_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aubench.datasets.alignment import TEMPLATE, Face
from aubench.datasets.importing.crops import crop_folder
from aubench.datasets.readers.trees import read_tree
from aubench.errors import AubenchError
from aubench.storage.files import check_png
from aubench.storage.pictures import (
    PictureError,
    format_of,
    holds_one_colour,
    is_plain,
    load_picture,
    read_picture,
)

SIZE = 24
FACE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)


def _saved(image, form, **more):
    stream = io.BytesIO()
    image.save(stream, form, **more)
    return stream.getvalue()


def _chunk(kind, data):
    whole = kind + data
    return len(data).to_bytes(4, "big") + whole + zlib.crc32(whole).to_bytes(4, "big")


def _png(pixels, colour, size=None):
    """Return a PNG of 16 bits a channel, which Pillow does not write in colours."""
    high, wide = size or pixels.shape[:2]
    header = wide.to_bytes(4, "big") + high.to_bytes(4, "big") + bytes([16, colour, 0, 0, 0])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _tiff(pixels, **more):
    return _saved(Image.fromarray(pixels), "TIFF", **more)


def _turned(form):
    note = Image.Exif()
    note[0x0112] = 6
    return _saved(
        Image.fromarray(np.rot90(FACE).copy()), form, exif=note, quality=100, subsampling=0
    )


RGB = Image.fromarray(FACE)
GREY = np.asarray(RGB.convert("L"))
CLEAR = RGB.convert("RGBA")
CLEAR.putalpha(Image.fromarray(np.where(FACE[..., 0] > 128, 255, 0).astype(np.uint8)))
WIDE = FACE.astype(np.uint16) * 257

TAKEN = {
    "PNG": (_saved(RGB, "PNG"), FACE, 0),
    "BMP": (_saved(RGB, "BMP"), FACE, 0),
    "TIFF": (_saved(RGB, "TIFF", compression="tiff_lzw"), FACE, 0),
    "WebP": (_saved(RGB, "WEBP", lossless=True), FACE, 0),
    "JPEG": (_saved(RGB, "JPEG", quality=100, subsampling=0), FACE, 4),
    "grey": (_saved(Image.fromarray(GREY), "PNG"), GREY[..., None], 0),
    "16 bits of grey": (_saved(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"), None, 0),
    "16 bits of grey, TIFF": (_tiff(GREY.astype(np.uint16) * 257), GREY[..., None], 0),
    "16 bits of RGB": (_png(WIDE, 2), FACE, 0),
    "one bit": (_saved(RGB.convert("1"), "PNG"), None, 0),
    "palette": (_saved(RGB.quantize(256), "PNG"), None, 0),
    "opaque": (_saved(RGB.convert("RGBA"), "PNG"), FACE, 0),
    "clear on black": (_saved(CLEAR, "PNG"), FACE * (FACE[..., :1] > 128), 0),
    "turned JPEG": (_turned("JPEG"), FACE, 4),
    "turned PNG": (_turned("PNG"), FACE, 0),
    "turned WebP": (_turned("WEBP"), None, 0),
}


@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x"])
def test_a_picture_is_what_it_shows_whatever_its_name(tmp_path, kind, name):
    data, wanted, off = TAKEN[kind]
    (tmp_path / name).write_bytes(data)
    found = load_picture(tmp_path / name)
    assert found.shape == (SIZE, SIZE, 3) and found.dtype == np.uint8 and not is_plain(found)
    if wanted is not None:
        assert np.abs(found.astype(int) - wanted).max() <= off
    assert format_of(tmp_path / name) == read_picture(data).format


BOMB = _png(np.zeros((1, 1, 3), np.uint16), 2, (60_000, 60_000))
FRAMES = [RGB, Image.fromarray(255 - FACE)]
REFUSED = {
    "16 bits of RGB that hold 8": (_png(FACE.astype(np.uint16), 2), "uses 8"),
    "16 bits of RGB that hold 12": (_png(FACE.astype(np.uint16) * 16, 2), "uses 12"),
    "16 bits with alpha that hold 8": (_png(np.dstack([FACE, GREY]).astype(np.uint16), 6), "uses"),
    "16 bits of grey that hold 12": (_tiff(GREY.astype(np.uint16) * 16), "uses 12"),
    "16 bits that hold 8, PNG": (_saved(Image.fromarray(GREY.astype(np.uint16)), "PNG"), "uses 8"),
    "floats": (_tiff(GREY.astype(np.float32) / 255), "has 32 bits a channel, want 8"),
    "32 bits": (_tiff(GREY.astype(np.int32) * 65793), "has more than 16|has 32 bits"),
    "an animated PNG": (
        _saved(RGB, "PNG", save_all=True, append_images=FRAMES[1:]),
        "holds 2 pictures",
    ),
    "an animated WebP": (
        _saved(RGB, "WEBP", save_all=True, append_images=FRAMES[1:]),
        "holds 2 pictures",
    ),
    "pages": (_saved(RGB, "TIFF", save_all=True, append_images=FRAMES[1:]), "holds 2 pictures"),
    "a GIF": (_saved(RGB, "GIF"), "it is no PNG, JPEG, WEBP, BMP or TIFF"),
    "a bomb": (BOMB, "pixels without end"),
    "text": (b"no image", "it is no PNG"),
    "nothing": (b"", "it is no PNG"),
    **{
        f"half a {form}": (_saved(RGB, form)[: len(_saved(RGB, form)) // 2], "damaged or cut short")
        for form in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
    },
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_no_face_is_refused_alike_everywhere(tmp_path, kind):
    data, why = REFUSED[kind]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "x.png"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=why):
        read_picture(data)
    with pytest.raises(AubenchError, match=rf"x\.png .*(?:{why})"):
        load_picture(path)
    with pytest.raises(PictureError):
        read_image(path, SIZE)
    (crop,) = crop_folder(tmp_path / "in", tmp_path / "out", _whole, 16)
    assert crop.status == "unreadable" and crop.notes
    assert not (tmp_path / "out" / "x.png").exists()


def _whole(image):
    side = image.shape[0]
    return Face(np.array([0, 0, side, side], np.float32), TEMPLATE * side, 0.9, 1)


def test_photographs_from_telephones_with_a_second_picture_are_taken():
    data = _saved(RGB, "MPO", save_all=True, append_images=FRAMES[1:], subsampling=0)
    found = read_picture(data)
    assert found.format == "JPEG" and np.abs(found.pixels.astype(int) - FACE).mean() < 30


def test_one_colour_is_told_from_nearly_one(tmp_path):
    plain = np.full((SIZE, SIZE, 3), 7, np.uint8)
    assert is_plain(plain)
    plain[3, 4, 1] = 8
    assert not is_plain(plain)
    (tmp_path / "in").mkdir()
    Image.new("RGB", (SIZE, SIZE), "navy").save(tmp_path / "in" / "x.png")
    (crop,) = crop_folder(tmp_path / "in", tmp_path / "out", _whole, 16)
    assert crop.status == "one colour" and not (tmp_path / "out" / "x.png").exists()
    assert holds_one_colour(tmp_path / "in" / "x.png")
    (tmp_path / "in" / "x.png").write_bytes(BOMB)
    assert not holds_one_colour(tmp_path / "in" / "x.png")


@pytest.mark.parametrize(
    "names", [("a.png", "a.jpg"), ("a.jpeg", "a.jpg"), ("b.PNG", "b.webp"), ("d/a.png", "d/a.bmp")]
)
def test_crops_that_would_have_one_name_are_refused_before_any_work(tmp_path, names):
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(TAKEN["PNG"][0])
    with pytest.raises(AubenchError, match=r"the crops of .* and .* would both be") as caught:
        crop_folder(tmp_path / "in", tmp_path / "out", _whole, 16)
    assert all(name in str(caught.value) for name in names) and not (tmp_path / "out").exists()


def test_a_crop_may_have_a_name_as_long_as_the_disk_allows(tmp_path):
    name = "é" * 125 + ".png"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(TAKEN["PNG"][0])
    (crop,) = crop_folder(tmp_path / "in", tmp_path / "out", _whole, 16)
    assert crop.status == "found" and (tmp_path / "out" / name).is_file()


def test_photographs_whose_names_are_not_utf_8_are_refused_before_any_work(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "caf\udce9.png").write_bytes(TAKEN["PNG"][0])
    with pytest.raises(AubenchError, match=r"caf\\xe9\.png' is not UTF-8"):
        crop_folder(tmp_path / "in", tmp_path / "out", _whole, 16)
    assert not (tmp_path / "out").exists()
    for look in (list_folder, lambda folder: read_tree(folder, lambda name: True)):
        with pytest.raises(AubenchError, match=r"caf\\xe9\.png' is not UTF-8"):
            look(tmp_path / "in")


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: p.symlink_to(p), lambda p: None])
def test_what_is_no_file_is_no_picture(tmp_path, make):
    make(tmp_path / "x.png")
    with pytest.raises(AubenchError, match=r"x\.png (?:is not there|cannot be read)"):
        load_picture(tmp_path / "x.png")
    assert list_folder(tmp_path).files == {} and format_of(tmp_path / "x.png") is None


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(TAKEN)), data=st.data())
def test_damage_ends_in_a_picture_or_one_line_and_never_in_other_pixels_of_a_png(kind, data):
    whole, _, _ = TAKEN[kind]
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    spoilt = whole[:at] if cut else whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]
    try:
        found = read_picture(spoilt)
    except PictureError as error:
        found = str(error)
    if whole.startswith(b"\x89PNG"):
        assert isinstance(found, str)
        if at > 8:
            with pytest.raises(ValueError, match=r"cut short|damaged"):
                check_png(spoilt)
