"""The samples on which two runs differ most, as a sheet and as a list."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aubench.comparison.comparison import Comparison, most_different
from aubench.errors import AubenchError
from aubench.facs import combination_name
from aubench.storage.files import atomic_path, write_text
from aubench.storage.run_folder import read_png

HEAD, LINE = 34, 44
Image_ = npt.NDArray[np.uint8]


def write_samples(path: Path, found: Comparison) -> None:
    """Write every sample's values of both runs, a line a sample and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["sample_id", "combination", "metric", "first", "second", "difference"])
    frame = found.first.samples.frame
    for metric, (one, two) in found.by_sample.items():
        for i, name in enumerate(found.first.ids):
            row = [f"{v:.6g}" for v in (one[i], two[i], one[i] - two[i])]
            writer.writerow([name, frame["combination"].iloc[i], metric, *row])
    write_text(path, out.getvalue())


def write_sheet(path: Path, found: Comparison, by: str, count: int) -> list[int]:
    """Write a sheet of the samples that differ most in one metric; return their rows.

    Each line holds reference, target, first and second; under them the commanded AUs, and what
    the second detector found in each.

    Raises:
        AubenchError: The metric has no value a sample.
    """
    from PIL import Image, ImageDraw

    if by not in found.by_sample:
        raise AubenchError(
            f"no values of '{by}' a sample", f"choose from {', '.join(found.by_sample)}"
        )
    rows = most_different(found.by_sample[by], count)
    one, two = found.by_sample[by]
    side = found.first.record.protocol.size
    labels, frame = found.first.samples.labels(), found.first.samples.frame
    width = 4 * side
    sheet = Image.new("RGB", (width + 8, HEAD + max(1, len(rows)) * (side + LINE)), "white")
    draw = ImageDraw.Draw(sheet)
    title = f"{found.first.protocol.name}: largest differences in {by}"
    draw.text((4, 3), title, fill="black")
    names = found.names
    draw.text((4, 18), f"reference, target, {names[0]}, {names[1]}", fill="black")
    images = found.first.images()
    for line, i in enumerate(rows):
        top = HEAD + line * (side + LINE)
        pictures: list[Image_ | None] = [
            images.load(str(frame[c].iloc[i]), side) for c in ("reference", "target")
        ]
        for run in (found.first, found.second):
            file = run.folder.image(found.first.ids[i])
            pictures.append(read_png(file) if file.is_file() else None)
        for j, picture in enumerate(pictures):
            if picture is not None:
                image = Image.fromarray(picture).resize((side, side))
                sheet.paste(image, (4 + j * side, top))
        texts = [f"{found.first.ids[i]}  commanded {combination_name(labels[i])}"]
        for k, (name, value) in enumerate(zip(names, (one[i], two[i]), strict=True)):
            seen = f", shows {combination_name(found.found[k][i])}" if found.found else ""
            texts.append(f"{name}: {by} {value:.3f}{seen}")
        for k, text in enumerate(texts):
            draw.text((6, top + side + 1 + 13 * k), text, fill="black")
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")
    return rows
