"""Control generators: what they return, whatever the batch."""

import numpy as np
import pytest
from aubench_baselines import controls

from aubench.datasets.synfacs.rendered_images import SynfacsImages
from aubench.generators.contract import Request, WeightSource
from aubench.protocols.protocol import load_protocol


@pytest.fixture(scope="module")
def samples():
    return load_protocol("unseen").samples().limit(40)


def load(cls, samples):
    return cls.load(
        WeightSource(), device="cpu", dtype="float32", samples=samples, images=SynfacsImages()
    )


def request(sample_id):
    return Request(sample_id, "", np.zeros(12, np.uint8), None, None, 0, 64)


def test_oracle_and_copy_return_target_and_reference(samples):
    source, row = SynfacsImages(), samples.frame.iloc[3]
    for cls, column in ((controls.Oracle, "target"), (controls.CopyReference, "reference")):
        made = load(cls, samples).generate([request(row["sample_id"])])
        np.testing.assert_array_equal(made[0], source.load(row[column], 64))


def test_shuffled_is_a_derangement_of_the_targets(samples):
    chosen = load(controls.Shuffled, samples).chosen
    targets = dict(zip(samples.frame["sample_id"], samples.frame["target"], strict=True))
    assert sorted(chosen.values()) == sorted(targets.values())
    assert all(chosen[name] != targets[name] for name in targets)


def test_shuffled_does_not_depend_on_row_order(samples):
    from dataclasses import replace

    turned = replace(samples, frame=samples.frame.iloc[::-1].reset_index(drop=True))
    assert load(controls.Shuffled, samples).chosen == load(controls.Shuffled, turned).chosen


def test_nearest_is_the_brute_force_neighbour_in_train(samples):
    from aubench.datasets.samples import INTENSITIES
    from aubench.datasets.synfacs.synfacs_dataset import split_frame

    train = split_frame("train")
    known = train[list(INTENSITIES)].to_numpy(float)
    chosen = load(controls.Nearest, samples).chosen
    for i in (0, 7, 21):
        row = samples.frame.iloc[i]
        distance = np.linalg.norm(known - row[list(INTENSITIES)].to_numpy(float), axis=1)
        at = train.index[train["target"] == chosen[row["sample_id"]]][0]
        assert distance[at] == pytest.approx(distance.min(), abs=1e-6)
        assert int(chosen[row["sample_id"]][1:4]) < 280


def test_nearest_goes_by_labels_where_an_intensity_is_unknown(samples):
    """NaN would be the smallest distance, and the same first training face for all."""
    from dataclasses import replace

    from aubench.datasets.samples import LABELS
    from aubench.datasets.synfacs.synfacs_dataset import split_frame

    frame = samples.frame.copy()
    frame.loc[frame.index[5], "I12"] = np.nan
    train = split_frame("train")
    known = train[list(LABELS)].to_numpy(int)
    chosen = load(controls.Nearest, replace(samples, frame=frame)).chosen
    for i in (0, 5, 21):
        row = frame.iloc[i]
        off = np.abs(known - row[list(LABELS)].to_numpy(int)).sum(1)
        at = train.index[train["target"] == chosen[row["sample_id"]]][0]
        assert off[at] == off.min() and at == int(off.argmin())
