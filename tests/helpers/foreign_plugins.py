"""Plug-ins of other people, written and registered without an installation."""

import sys

BASE = """
import os, signal, sys
import numpy as np
from aubench.generators.contract import Generator, GeneratorInfo


def info(name, **more):
    told = dict(
        name=name, inputs=frozenset({"text", "reference"}), size=0, training="none",
        trained_on=("nothing",), metrics_in_training=(), licence="MIT", citation="me 2026",
    )
    return GeneratorInfo(**{**told, **more})


class Base(Generator):
    @classmethod
    def load(cls, weights, *, device, dtype, **options):
        return cls()

    def generate(self, batch):
        return np.stack([request.reference for request in batch])


"""


def write_plugin(folder, monkeypatch, code, group="aubench.generators", **points):
    """Write a module, register what it holds, and put it on the path; return the module's file.

    Args:
        folder: Folder that is put on the path.
        monkeypatch: Of the test.
        code: Source of the module, behind ``BASE`` if it is one of generators.
        group: Group of the entry points.
        points: Name in the module by name of the entry point; ``_`` stands for ``-``.
    """
    first = next(iter(points))
    module = f"foreign_{first}"
    about = folder / f"{module}-0.1.dist-info"
    about.mkdir(parents=True)
    lines = [f"{name.replace('_', '-')} = {module}:{held}" for name, held in points.items()]
    (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]) + "\n")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 0.1\n")
    file = folder / f"{module}.py"
    file.write_text((BASE if group.endswith("generators") else "") + code)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.delitem(sys.modules, module, raising=False)
    return file


def forget(monkeypatch, file):
    """Let a module be imported anew, as a process of its own would."""
    monkeypatch.delitem(sys.modules, file.stem, raising=False)
