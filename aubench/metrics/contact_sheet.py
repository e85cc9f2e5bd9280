"""Sheets of faces: ``grid.png``, and any other rows of images with two lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.facs import combination_name
from aubench.storage.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

COLUMNS = ("reference", "target", "generated")


def write_grid(
    path: Path,
    rows: Sequence[Sequence[npt.NDArray[np.uint8] | None]],
    commanded: Sequence[npt.NDArray[np.uint8]],
    detected: Sequence[npt.NDArray[np.bool_]] | None,
    title: str,
) -> None:
    """Write a contact sheet, two samples a line.

    Args:
        path: PNG to write.
        rows: For each sample the images of ``COLUMNS``, uint8 [H, W, 3], None where missing.
        commanded: Commanded AUs of each sample, 0/1 [12].
        detected: Detected AUs of each sample, 0/1 [12]: the independent detector on the generated
            image; None where no detector has looked.
        title: One line above the sheet.
    """
    found = ["" for _ in rows]
    if detected is not None:
        found = [f"detected  {combination_name(aus)}" for aus in detected]
    captions = [
        (f"commanded {combination_name(asked)}", text)
        for asked, text in zip(commanded, found, strict=True)
    ]
    write_rows(path, rows, captions, COLUMNS, title)


def write_rows(
    path: Path,
    rows: Sequence[Sequence[npt.NDArray[np.uint8] | None]],
    captions: Sequence[tuple[str, str]],
    columns: Sequence[str],
    title: str,
) -> None:
    """Write rows of images, two a line, each over its two lines of text.

    Args:
        path: PNG to write.
        rows: For each row the images of ``columns``, uint8 [H, W, 3], None where missing.
        captions: Caption of each row.
        columns: What the images are.
        title: One line above the sheet.
    """
    from PIL import Image, ImageDraw

    side = next(image.shape[0] for row in rows for image in row if image is not None)
    across, line, head = 2, 30, 34
    width = across * (len(columns) * side + 12)
    lines = -(-len(rows) // across)
    sheet = Image.new("RGB", (width, head + lines * (side + line)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 3), title, fill="black")
    draw.text((4, 18), "columns: " + ", ".join(columns), fill="black")
    for i, row in enumerate(rows):
        left = (i % across) * (len(columns) * side + 12)
        top = head + (i // across) * (side + line)
        for j, image in enumerate(row):
            if image is not None:
                sheet.paste(Image.fromarray(image), (left + j * side, top))
        for step, text in enumerate(captions[i]):
            draw.text((left + 2, top + side + 13 * step), text, fill="black")
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")
