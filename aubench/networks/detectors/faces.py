"""Faces with labels, read one at a time, and how a training looks at them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from aubench.networks.detectors.preparation import CROP, SHORTER, SIDE, crop_pixels, normalise
from aubench.storage.pictures import load_picture

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int8]

UNKNOWN = -1
JITTER = 0.4
"""Brightness, contrast and saturation change by up to this share."""


@dataclass(frozen=True)
class Faces:
    """Images with labels; an image is read when it is asked for.

    Attributes:
        labels: int8 [N, 12], 1, 0, or -1 for unknown.
        subjects: Person seen in each image.
        rows: int64 [N], the images' numbers for ``read``.
        read: Returns the image of a number, uint8 RGB [H, W, 3].
        lazy: Whether reading takes long enough to be done by other processes.
    """

    labels: Labels
    subjects: npt.NDArray[np.str_]
    rows: npt.NDArray[np.int64]
    read: Callable[[int], Images]
    lazy: bool = True

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, i: int) -> Images:
        """Return uint8 RGB [H, W, 3]."""
        return self.read(int(self.rows[i]))

    def subset(self, which: npt.NDArray[Any]) -> Self:
        """Return the given images, numbers or a mask bool [N]."""
        return replace(
            self,
            labels=self.labels[which],
            subjects=self.subjects[which],
            rows=self.rows[which],
        )

    def limit(self, count: int | None) -> Self:
        """Return ``count`` images spread evenly over them; all if None."""
        if count is None or count >= len(self):
            return self
        return self.subset(np.linspace(0, len(self) - 1, count).round().astype(np.int64))


def _array_image(images: Images, row: int) -> Images:
    image: Images = images[row]
    return image


def in_memory(images: Images, labels: Labels, subjects: Sequence[str]) -> Faces:
    """Return faces of an array uint8 [N, H, W, 3]."""
    read = partial(_array_image, images)
    return Faces(labels, np.array(subjects, np.str_), np.arange(len(images)), read, lazy=False)


def _file_image(folder: Path, names: Sequence[str], row: int) -> Images:
    return load_picture(folder / names[row])


def from_files(
    folder: Path, names: Sequence[str], labels: Labels, subjects: Sequence[str]
) -> Faces:
    """Return faces in image files, by their paths relative to a folder."""
    read = partial(_file_image, folder, names)
    return Faces(labels, np.array(subjects, np.str_), np.arange(len(names)), read)


def square(image: Images) -> Images:
    """Return uint8 [128, 128, 3], resized as the nano networks do it themselves."""
    if image.shape[:2] == (SIDE, SIDE):
        return image
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    x = normalise(x)[0] * 0.25 + 0.5
    return np.asarray((x * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy(), np.uint8)


def random_view(image: Images, rng: np.random.Generator) -> Images:
    """Return uint8 [224, 224, 3]: shorter side to 256, random crop, flip, changed colours."""
    from PIL import Image, ImageEnhance

    picture = Image.fromarray(image)
    short = min(picture.size)
    if short != SHORTER:
        width, height = (side * SHORTER // short for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (int(rng.integers(0, side - CROP + 1)) for side in picture.size)
    picture = picture.crop((left, top, left + CROP, top + CROP))
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    changes = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    factors = rng.uniform(1 - JITTER, 1 + JITTER, len(changes))
    for k in rng.permutation(len(changes)):
        picture = changes[k](picture).enhance(float(factors[k]))
    return np.asarray(picture, np.uint8)


class Views(Dataset[Tensor]):
    """Images as a network takes them, uint8 [3, side, side].

    Args:
        faces: Where the faces come from.
        nano: 128 px as they are; else 224 px crops.
        key: Seed and epoch of random crops and colours, drawn for each image by itself; None for
            the centre crop.
    """

    faces: Faces
    nano: bool
    key: tuple[int, int] | None

    def __init__(self, faces: Faces, nano: bool, key: tuple[int, int] | None = None) -> None:
        self.faces, self.nano, self.key = faces, nano, key

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, i: int) -> Tensor:
        """Return one image."""
        image = self.faces.image(i)
        if self.nano:
            seen = square(image)
        elif self.key is None:
            seen = crop_pixels(image[None])[0]
        else:
            seen = random_view(image, np.random.default_rng([*self.key, i]))
        return torch.from_numpy(np.array(seen)).permute(2, 0, 1)


def default_workers() -> int:
    """Return how many processes read images: one a core but one, at most eight."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return min(8, cores - 1)


@dataclass(frozen=True)
class Changes:
    """Random changes of a batch of nano images: a common flip and shift, light by image."""

    flip: bool
    shift: tuple[int, int]
    gain: Tensor
    offset: Tensor
    noise: Tensor

    @classmethod
    def drawn(cls, count: int, draw: torch.Generator) -> Changes:
        """Draw the changes of ``count`` images."""
        flip = bool(torch.rand((), generator=draw) < 0.5)
        dx, dy = (int(v) for v in torch.randint(-4, 5, (2,), generator=draw))
        gain = 1 + 0.25 * (torch.rand(count, 3, 1, 1, generator=draw) - 0.5)
        offset = 0.15 * (torch.rand(count, 1, 1, 1, generator=draw) - 0.5)
        noise = 0.02 * torch.randn((count, 3, SIDE, SIDE), generator=draw)
        return cls(flip, (dy, dx), gain, offset, noise)

    def apply(self, x: Tensor, rows: slice) -> Tensor:
        """Return the changed images ``rows`` of the batch, float [B, 3, 128, 128] in 0..1."""
        if self.flip:
            x = x.flip(-1)
        x = torch.roll(x, self.shift, (-2, -1))
        gain, offset, noise = (
            part[rows].to(x.device) for part in (self.gain, self.offset, self.noise)
        )
        return (x * gain + offset + noise).clamp(0, 1)
