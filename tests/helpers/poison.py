"""A generator that fails, raises or dies at samples named in files, in whatever process."""

import os
from pathlib import Path

SOURCE = """
import os
import sys
import time
from pathlib import Path

import numpy as np

from aubench.generators.contract import Generator, GeneratorInfo, SampleFailure, Unsupported

PLACE = Path(os.environ["POISON"])


def named(what):
    path = PLACE / what
    return path.read_text().split() if path.is_file() else []


def node():
    ray = sys.modules.get("ray")
    return ray.get_runtime_context().get_node_id() if ray and ray.is_initialized() else "here"


class Poisoned(Generator):
    info = GeneratorInfo(
        name="poisoned", inputs=frozenset({"au", "reference"}), size=64, training="none",
        trained_on=(), metrics_in_training=(), licence="MIT", citation="none", reads_ids=True,
    )

    @classmethod
    def load(cls, weights, *, device, dtype, **options):
        with (PLACE / "loads").open("a") as stream:
            stream.write(f"{os.getpid()}\\n")
        return cls()

    @property
    def weights_sha256(self):
        return "".join(named("weights")) or "a" * 64

    def generate(self, batch):
        for request in batch:
            if request.sample_id in named("kill"):
                with (PLACE / "killed").open("a") as stream:
                    stream.write(f"{request.sample_id} {len(batch)}\\n")
                os.kill(os.getpid(), 9)
            if request.sample_id in named("fail"):
                raise SampleFailure(request.sample_id, "no face")
            if request.sample_id in named("unsupported"):
                raise Unsupported(request.sample_id, "not for this")
            if request.sample_id in named("raise"):
                raise ValueError("out of ideas")
        time.sleep(float("".join(named("slow")) or 0) * len(batch))
        tints = [np.random.default_rng(r.seed).integers(0, 20, (64, 1, 3)) for r in batch]
        with (PLACE / "made").open("a") as stream:
            stream.write(f"{node()}\\n")
        images = [np.clip(r.reference + t, 0, 255) for r, t in zip(batch, tints)]
        return np.stack(images).astype(np.uint8)
"""


def install(folder: Path) -> Path:
    """Write the plug-in below a folder, ready for ``sys.path``; return that folder."""
    about = folder / "poisoned-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "poisoned.py").write_text(SOURCE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: poisoned\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[aubench.generators]\npoisoned = poisoned:Poisoned\n")
    return folder


class Flags:
    """The files that tell the generator what to do."""

    def __init__(self, place: Path) -> None:
        self.place = place
        os.environ["POISON"] = str(place)

    def set(self, **named: object) -> None:
        """Start anew with, for example, ``kill="a b"``."""
        for path in self.place.iterdir():
            path.unlink()
        for what, text in named.items():
            (self.place / what).write_text(str(text))

    def lines(self, what: str) -> list[str]:
        """Return what processes have told."""
        path = self.place / what
        return path.read_text().splitlines() if path.is_file() else []
