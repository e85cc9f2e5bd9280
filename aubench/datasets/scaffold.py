"""A package with a data set to start from: it installs, runs and passes its tests as written."""

from __future__ import annotations

from pathlib import Path

from aubench.storage.template_package import PackageTemplate

MODULE = '''\
"""The data set $name for aubench: drawn squares, to be replaced by your faces."""

from pathlib import Path

import numpy as np
from aubench.datasets.dataset import Dataset, DefaultNetworks
from aubench.datasets.labelled_faces import LabelledFaces
from aubench.facs import AUS

PEOPLE = {"train": range(8), "validation": range(8, 10), "test": range(10, 14)}
EACH = 30


def labels_of(person, number):
    """Return which AUs a face shows, int8 [12]; number 0 is neutral."""
    rng = np.random.default_rng([person, number])
    return (rng.random(len(AUS)) < 0.3 * (number > 0)).astype(np.int8)


class Images:
    """Images by key, such as $name/P03/7: read your files here."""

    fingerprint = "$name-1"  # change it whenever a pixel changes

    def load(self, key, size):
        """Return uint8 [size, size, 3] RGB."""
        _, person, number = key.split("/")
        person, number = int(person[1:]), int(number)
        image = np.full((size, size, 3), 60 + 10 * person, np.uint8)
        for place, on in enumerate(labels_of(person, number)):
            row, column = (part * size // 4 for part in divmod(place, 4))
            square = image[row : row + size // 4, column : column + size // 4]
            square[..., place % 3] += np.uint8(80 * on)
        return image

    def load_many(self, keys, size):
        """Return uint8 [N, size, size, 3] RGB."""
        return np.stack([self.load(key, size) for key in keys])

    def prefetch(self, keys, size, label):
        """Bring images into a cache beforehand, or check that they are there."""

    def attributes(self, subjects):
        """Return by attribute, such as age, the group of each subject; {} if unknown."""
        return {}


class $class_name(Dataset):
    """Say here what the faces are and who may have them."""

    name = "$name"
    restricted = False  # True: no image leaves the machine unless the user says so
    default_networks = DefaultNetworks("nano-a,nano-b", "efficientnet-lite0", "nano-id")
    description = "$name, drawn squares"

    def images(self, processes=None):
        """Return where the images come from."""
        return Images()

    def split_faces(self, split):
        """Return keys, references, subjects, AUs and intensities of a split."""
        rows = [(who, number) for who in PEOPLE[split] for number in range(1, EACH + 1)]
        labels = np.stack([labels_of(*row) for row in rows])
        return LabelledFaces(
            dataset=self.name,
            split=split,
            keys=tuple(f"{self.name}/P{who:02d}/{number}" for who, number in rows),
            references=tuple(f"{self.name}/P{who:02d}/0" for who, _ in rows),
            subjects=tuple(f"P{who:02d}" for who, _ in rows),
            labels=labels,  # -1 where unknown
            intensities=3.0 * labels.astype(np.float32),  # NaN where unknown
        )

    @property
    def protocols(self):
        """Folder that `aubench protocol freeze NAME --data $name --out FOLDER` wrote into."""
        return Path(__file__).parent / "protocols"
'''

TEST = '''\
"""What aubench asks of a data set; install the package first: pip install -e '.[test]'."""

import pytest
from aubench.datasets.conformance import check_dataset
from aubench.datasets.registry import find_dataset


@pytest.fixture(scope="module")
def dataset():
    return find_dataset("$name")


def test_conforms(dataset):
    assert check_dataset(dataset)["test"] >= 2


def test_a_protocol_can_be_frozen_and_verified(dataset, tmp_path):
    from aubench.protocols.freeze import freeze_own
    from aubench.protocols.protocol import load_protocol, verify

    freeze_own("test2k", "$name", samples=20, size=64, root=tmp_path)
    assert verify(load_protocol("test2k", "$name", tmp_path))["samples"] == 20
'''

README = """\
# $name

A data set for aubench.

    pip install -e '.[test]'
    pytest
    aubench protocol freeze test2k --data $name --samples 20 --size 64 --no-statistics \\
        --out $module/protocols
    aubench run --model copy-reference --data $name --protocol test2k --metrics pixels
"""


TEMPLATE = PackageTemplate(
    "data set",
    "aubench.datasets",
    "$module",
    {"$module/__init__.py": MODULE, "tests/test_$module.py": TEST, "README.md": README},
)


def write_package(name: str, out: Path) -> list[Path]:
    """Write ``pyproject.toml``, a package with a data set, a test and a README; return the files.

    Args:
        name: Of data set and package: lower case letters, digits and hyphens.
        out: A folder that is absent or empty.

    Raises:
        AubenchError: The name will not do or is taken, or the folder holds something.
    """
    from aubench.datasets.registry import dataset_names

    return TEMPLATE.write(name, out, dataset_names())
