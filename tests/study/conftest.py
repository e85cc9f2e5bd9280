"""A small study of three models whose images are painted here; the samples are the protocol's."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from aubench.engine.folder import RunFolder
from aubench.protocol import load_protocol
from aubench.study import trials
from aubench.study.creation import Order, create
from aubench.study.settings import KEY, SECRETS, Design, Key, Rules, Secrets, read, read_design

MODELS = ("alpha-net", "beta-net", "gamma-net")
SIDES = {"alpha-net": 64, "beta-net": 80, "gamma-net": 64}


def _order(roots, **changes):
    settings = {
        "models": MODELS, "per_combination": 2, "raters": 6, "spare": 2, "gold": 2, "duplicates": 2,
        "seed": 5, "name": "study", "rules": Rules(min_seconds=0.0), "roots": tuple(roots),
    }  # fmt: skip
    return Order(**{**settings, **changes})


@pytest.fixture(scope="session")
def order():
    """Return the function that orders the small study, with changes."""
    return _order


@pytest.fixture(scope="session")
def runs(tmp_path_factory, aubench_home):
    """Run folders with the images that the seed of ``order`` draws."""
    root = tmp_path_factory.mktemp("runs")
    protocol = load_protocol("conflict")
    main = trials.draw_main(protocol.samples().frame, 2, np.random.default_rng(5))
    for number, model in enumerate(MODELS):
        folder = RunFolder(root / f"synfacs-conflict-{model}")
        stated = {
            "model": model,
            "protocol": "synfacs/conflict",
            "protocol sha256": protocol.sha256,
        }
        folder.open(stated, fresh=False)
        painter = np.random.default_rng(number)
        side = SIDES[model]
        images = painter.integers(0, 256, (len(main), 8, 8, 3), dtype=np.uint8)
        images = images.repeat(side // 8, axis=1).repeat(side // 8, axis=2)
        folder.add([draft.sample for draft in main], images)
    return root


@dataclass(frozen=True)
class Made:
    path: Path
    design: Design
    key: Key
    secrets: Secrets
    links: tuple[str, ...]
    admin: str

    def link(self, number):
        return f"/s/{self.links[number]}/"


@pytest.fixture(scope="session")
def _original(runs, tmp_path_factory):
    small = _order([runs], per_combination=1, gold=1, duplicates=1)
    made = create(small, tmp_path_factory.mktemp("studies") / "original")
    return made


@pytest.fixture
def study(_original, tmp_path):
    """A copy of the study, for one test to spoil."""
    path = tmp_path / "study"
    shutil.copytree(_original.folder, path)
    return Made(
        path, read_design(path)[0], read(path / KEY, Key), read(path / SECRETS, Secrets),
        _original.links, _original.admin,
    )  # fmt: skip
