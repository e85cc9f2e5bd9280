"""Pictures that people hand in: one function that looks at what a file holds, not at its name."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.errors import AubenchError
from aubench.storage.files import check_png

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image as Pillow

    Image = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
HEADS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"RIFF", "WEBP"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
"""How a file of each format begins."""

ORIENTATION = 0x0112
"""EXIF's note of how pixels are turned."""

BITS_PER_SAMPLE = 258
"""TIFF's note of how many bits a channel has."""

LEAST_BITS = 15
"""Bits that the brightest pixel of 16 must use: a picture of fewer was never scaled to them."""


class PictureError(ValueError):
    """A picture that cannot be taken; says why, without the name of its file."""


@dataclass(frozen=True, eq=False)
class Picture:
    """What a file shows, and how it is stored.

    Attributes:
        pixels: uint8 RGB [H, W, 3], upright; what is transparent is put on black.
        format: True format, one of ``FORMATS``, whatever the name says.
        mode: Pillow's name of the channels as stored.
        turned: Whether it is stored turned, with a note of it.
        opaque: Whether no pixel is transparent.
        profile: Its colour profile, None without.
    """

    pixels: Image
    format: str
    mode: str
    turned: bool
    opaque: bool
    profile: bytes | None


def format_of(path: Path) -> str | None:
    """Return the true format of a file by its first bytes, None of any other or without a file."""
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError:
        return None
    return next((name for start, name in HEADS if head.startswith(start)), None)


def read_picture(
    source: Path | bytes, formats: Sequence[str] = FORMATS, *, deepest: int = 16
) -> Picture:
    """Return a picture as it is seen.

    Grey, palette and CMYK become RGB; 16 bits are scaled to 8.

    Args:
        source: The file, or its bytes.
        formats: Formats that are taken, by content.
        deepest: Bits that a channel may have, 8 or 16.

    Raises:
        PictureError: It is missing, of another format, damaged, cut short, animated, has pixels
            without end, too many bits a channel, or 16 of which it uses few.
    """
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
    except FileNotFoundError as error:
        raise PictureError("is not there") from error
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror}") from error
    known = next((name for start, name in HEADS if data.startswith(start)), None)
    if known is None or known not in formats:
        wanted = f"{', '.join(formats[:-1])} or {formats[-1]}"
        raise PictureError(f"cannot be decoded: it is no {wanted}")
    return _decoded(data, known, deepest)


def _decoded(data: bytes, known: str, deepest: int) -> Picture:
    from PIL import Image as Pillow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged notes; the pixels count
        warnings.simplefilter("error", Pillow.DecompressionBombWarning)
        try:
            if known == "PNG":
                check_png(data)
            with Pillow.open(io.BytesIO(data), formats=[known]) as opened:
                return _taken(opened, known, _bits(opened, data), deepest)
        except PictureError:
            raise
        except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
            raise PictureError("cannot be decoded: it has pixels without end") from error
        except Exception as error:  # whatever a decoder makes of a damaged file
            raise PictureError("cannot be decoded: it is damaged or cut short") from error


def _taken(opened: Pillow.Image, known: str, bits: int, deepest: int) -> Picture:
    import numpy as np
    from PIL import ImageOps

    frames = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)
    if frames > 1:
        raise PictureError(f"holds {frames} pictures, want one")
    if bits > deepest:
        raise PictureError(f"has {bits} bits a channel, want 8")
    turned = opened.getexif().get(ORIENTATION, 1) != 1
    upright = ImageOps.exif_transpose(opened)
    opaque = True
    if upright.mode.startswith("I"):
        grey = np.asarray(upright, np.int64)
        _check_depth(int(grey.max()))
        pixels = np.repeat((grey / 257).round().astype(np.uint8)[..., None], 3, 2)
    elif upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        whole = np.asarray(upright.convert("RGBA"), np.uint16)
        alpha = whole[..., 3:]
        opaque = bool((alpha == 255).all())
        pixels = ((whole[..., :3] * alpha + 127) // 255).astype(np.uint8)
    else:
        pixels = np.asarray(upright.convert("RGB"), np.uint8)
    if bits == 16 and not upright.mode.startswith("I"):
        _check_depth(int(pixels.max()) << 8 | 0xFF)
    profile = opened.info.get("icc_profile")
    return Picture(pixels, known, opened.mode, turned, opaque, profile)


def _bits(opened: Pillow.Image, data: bytes) -> int:
    """Return the bits of a channel, which Pillow's modes hide where it takes the upper eight."""
    if opened.mode == "F":
        return 32
    if opened.format == "PNG":
        return data[24]  # of the first chunk, the header
    tags = getattr(opened, "tag_v2", {})
    stored = tags.get(BITS_PER_SAMPLE, 8)
    deep = max(stored) if isinstance(stored, tuple) else int(stored)
    return max(deep, 16) if opened.mode.startswith("I") else deep


def _check_depth(brightest: int) -> None:
    """Refuse 16 bits of which a picture uses few: 8 or 12 that were not scaled look black."""
    if brightest > 0xFFFF:
        raise PictureError("has more than 16 bits a channel, want 8")
    if brightest.bit_length() < LEAST_BITS:
        raise PictureError(
            f"has 16 bits a channel and uses {brightest.bit_length()}, so that it would be black; "
            "scale it to 8"
        )


def is_plain(pixels: Image) -> bool:
    """Whether uint8 [H, W, 3] has one colour, such as the black of a camera or filter."""
    return bool((pixels == pixels[:1, :1]).all())


def holds_one_colour(path: Path) -> bool:
    """Whether a picture has one colour, without decoding those whose size says that it has more.

    False of what is no picture.
    """
    from PIL import Image as Pillow

    try:
        with warnings.catch_warnings(action="ignore"), Pillow.open(path) as opened:
            wide, high = opened.size
        small = path.stat().st_size < 1024 + wide * high // 16
        return small and is_plain(read_picture(path).pixels)
    except Exception:  # whatever a decoder makes of a damaged file; `read_picture` tells of it
        return False


def load_picture(path: Path, formats: Sequence[str] = FORMATS) -> Image:
    """Return uint8 RGB [H, W, 3] of a file, upright.

    Raises:
        AubenchError: It cannot be taken; see `read_picture`.
    """
    try:
        return read_picture(path, formats).pixels
    except PictureError as error:
        raise AubenchError(f"{path} {error}", "replace the image") from error
