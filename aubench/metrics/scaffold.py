"""A package with a metric to start from: it installs, scores and passes its tests as written."""

from __future__ import annotations

from pathlib import Path

from aubench.storage.template_package import PackageTemplate

MODULE = '''\
"""The metric $name for aubench."""

import numpy as np
from aubench.metrics.metric import Metric, Need, PairStep, ScoreFacts
from aubench.metrics.statistics.resampling import bootstrap_mean


def brightness_gap(generated, target):
    """Return how far the mean grey levels of pairs uint8 [N, H, W, 3] lie apart, float64 [N].

    >>> black, white = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)
    >>> brightness_gap(black, white).tolist()
    [255.0]
    """
    means = (side.reshape(len(side), -1).mean(1) for side in (generated, target))
    return np.abs(next(means) - next(means))


class $class_name(Metric):
    """Difference of brightness to the target: replace ``brightness_gap`` by your metric."""

    name = "$name"
    needs = frozenset({Need.PAIRS})  # see the members of Need for what else there is
    scores = {
        "$name": ScoreFacts(
            "$name", higher_is_better=False, digits=2, unit="grey levels", failed_value=255.0
        )
    }

    def pair_step(self, size, device):
        """Return what is computed on pairs of images; the values are cached under the key."""
        return PairStep(self._values, key="$name 1")  # another version, another key

    def _values(self, batch):
        gap = brightness_gap(batch.generated, batch.target)
        return {"$name": gap.astype(np.float32)}

    def score(self, data):
        """Return the mean over samples with its interval by subject."""
        values = self.per_sample(data)["$name"]
        return [
            self.row(
                "$name",
                f"$name|to=target|n={len(data)}",  # the id: whatever the number depends on
                float(values.mean()),
                len(data),
                ci=bootstrap_mean(values, data.subjects),
                note=self.failed_note(data, "$name"),
            )
        ]

    def per_sample(self, data):
        """Return the values behind the mean, for `aubench compare` and for groups of subjects."""
        return {"$name": self.pair_values(data, "$name")}
'''

TEST = '''\
"""What aubench asks of a metric; install the package first: pip install -e '.[test]'."""

import numpy as np
from aubench.metrics.conformance import check_metric
from $module import $class_name, brightness_gap


def test_conforms():
    assert check_metric("$name") == ["$name"]


def test_equal_images_are_not_apart():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    assert brightness_gap(images, images).tolist() == [0, 0, 0]
    assert brightness_gap(images, 255 - images).max() > 0


def test_brighter_by_one_is_apart_by_one():
    images = np.full((2, 8, 8, 3), 100, np.uint8)
    assert brightness_gap(images + 1, images).tolist() == [1, 1]
    assert not $class_name.scores["$name"].higher_is_better
'''

README = """\
# $name

A metric for aubench.

    pip install -e '.[test]'
    pytest
    aubench run --model copy-reference --protocol unseen --limit 20 --metrics $name
"""


TEMPLATE = PackageTemplate(
    "metric",
    "aubench.metrics",
    "$module.py",
    {"$module.py": MODULE, "tests/test_$module.py": TEST, "README.md": README},
)


def write_package(name: str, out: Path) -> list[Path]:
    """Write ``pyproject.toml``, the module, a test and a README; return the files.

    Args:
        name: Of metric and package: lower case letters, digits and hyphens.
        out: A folder that is absent or empty.

    Raises:
        AubenchError: The name will not do or is taken, or the folder holds something.
    """
    from aubench.metrics.registry import names, score_names

    return TEMPLATE.write(name, out, {*names(), *score_names()})
