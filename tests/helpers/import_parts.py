"""Importing with small images, and what an import complained of."""

import csv

import numpy as np

from aubench.datasets.crop_jobs import Cropping
from aubench.datasets.imported import FAULTS, folder_of
from aubench.datasets.imports import import_found
from aubench.datasets.readers import Reading, asked_for, read_source

PEOPLE, TASKS = ("F001", "F003", "M003"), ("T1", "T2")


def bring(kind, source, name=None, processes=1, seed=0, align="none", size=64, **how):
    reading = Reading(**how)
    asked = asked_for(kind, name or kind, reading, Cropping(align, size), seed, processes)
    return import_found(asked, read_source(kind, source, reading))


def faults(name):
    with (folder_of(name) / FAULTS).open(newline="") as stream:
        return [(row["kind"], row["where"]) for row in csv.DictReader(stream)]


def psnr(a, b):
    return 10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2)))
