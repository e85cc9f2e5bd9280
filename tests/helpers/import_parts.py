"""Importing with small images, and what an import complained of."""

import csv
from functools import partial

import numpy as np

from aubench.datasets.imported.files import FAULTS, folder_of
from aubench.datasets.importing.crop_jobs import Cropping
from aubench.datasets.importing.import_dataset import ImportRequest, import_found
from aubench.datasets.readers.bp4d import BP4DReader
from aubench.datasets.readers.disfa import DISFAReader
from aubench.datasets.readers.folder import FolderReader
from aubench.datasets.readers.landmarks import Landmarks

PEOPLE, TASKS = ("F001", "F003", "M003"), ("T1", "T2")


READERS = {
    "bp4d": BP4DReader,
    "bp4dplus": partial(BP4DReader, "bp4dplus"),
    "disfa": DISFAReader,
    "folder": FolderReader,
}


def bring(kind, source, name=None, processes=1, seed=0, align="none", size=64, **how):
    marks = Landmarks(how.pop("landmarks")) if "landmarks" in how else None
    reader = READERS[kind](**how)
    request = ImportRequest(name or kind, reader, Cropping(align, size), seed, processes, marks)
    request.check()
    return import_found(request, reader.read(source))


def faults(name):
    with (folder_of(name) / FAULTS).open(newline="") as stream:
        return [(row["kind"], row["where"]) for row in csv.DictReader(stream)]


def psnr(a, b):
    return 10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2)))
