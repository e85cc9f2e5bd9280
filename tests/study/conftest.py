"""A small study of three models whose images are painted here; the samples are the protocol's."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from aubench.protocols.protocol import load_protocol
from aubench.storage.run_folder import RunFolder
from aubench.study.design import trials
from aubench.study.design.creation import StudyConfig, create
from aubench.study.design.files import KEY, SECRETS, Design, Key, Rules, Secrets, read, read_design
from aubench.study.design.settings import BLANKS, Settings, read_settings

CONSENT = dict.fromkeys(BLANKS, "as stated")
MODELS = ("alpha-net", "beta-net", "gamma-net")
SIDES = {"alpha-net": 64, "beta-net": 80, "gamma-net": 64}


def _order(roots, **changes):
    settings = {
        "models": MODELS,
        "per_combination": 2,
        "raters": 6,
        "spare": 2,
        "gold": 2,
        "duplicates": 2,
        "seed": 5,
        "name": "study",
        "rules": Rules(min_seconds=0.0),
        "settings": Settings(consent=CONSENT),
        "roots": tuple(roots),
        "reference": False,  # each resting face costs half a second of rendering
    }
    return StudyConfig(**{**settings, **changes})


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
        stated = {
            "model": model,
            "protocol": "synfacs/conflict",
            "protocol sha256": protocol.sha256,
        }
        folder = RunFolder.create(root / f"synfacs-conflict-{model}", stated)
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
    small = _order([runs], per_combination=1, gold=1, duplicates=1, reference=True)
    made = create(small, tmp_path_factory.mktemp("studies") / "original")
    return made


def _copy(made, path):
    shutil.copytree(made.folder, path)
    return Made(
        path,
        read_design(path)[0],
        read(path / KEY, Key),
        read(path / SECRETS, Secrets),
        made.links,
        made.admin,
    )


@pytest.fixture
def study(_original, tmp_path):
    """A copy of the study, for one test to spoil."""
    return _copy(_original, tmp_path / "study")


RECRUITING = """
[consent]
CONSENT
[panel]
[exits.complete]
code = "C0DE"
url = "https://panel.example.org/done?pid={PROLIFIC_PID}"
[exits.screened]
code = "SCREENED"
[exits.full]
url = "https://panel.example.org/full"
[device]
min_width = 340
min_height = 500
[[questions]]
id = "age"
text = "Wie alt sind Sie?"
kind = "number"
least = 18
most = 99
[[questions]]
id = "gender"
text = "Ihr Geschlecht"
options = ["Frau", "Mann", "divers", "keine Angabe"]
screen_out = ["keine Angabe"]
[[questions]]
id = "work"
text = "Ihr Beruf"
kind = "text"
required = false
[[quotas]]
question = "gender"
answer = "Mann"
places = 1
[[pages]]
before = 2
title = "Pause"
text = "Machen Sie eine Pause."
[[statements]]
id = "natural"
text = "Das Gesicht wirkt natürlich."
"""


@pytest.fixture(scope="session")
def _recruiting(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    words = "\n".join(f'{name} = "{text}"' for name, text in CONSENT.items())
    (folder / "settings.toml").write_text(RECRUITING.replace("CONSENT", words), encoding="utf-8")
    changed = {
        "per_combination": 1,
        "gold": 1,
        "duplicates": 1,
        "task": "likert",
        "shown": 1,
        "reference": True,
        "language": "de",
        "settings": read_settings(folder / "settings.toml"),
    }
    return create(_order([runs], **changed), folder / "recruited")


@pytest.fixture
def recruited(_recruiting, tmp_path):
    """A copy of a study with all that recruiting needs, in German, its faces rated one by one."""
    return _copy(_recruiting, tmp_path / "recruited")
