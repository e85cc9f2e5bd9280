"""The shuffled control over whole protocols, and controls given too little."""

from dataclasses import replace

import numpy as np
import pytest
from aubench_baselines.controls import Oracle, Shuffled

from aubench.datasets.synfacs.rendered_images import SynfacsImages
from aubench.errors import AubenchError
from aubench.generators.contract import WeightSource
from aubench.protocols.protocol import load_protocol


def shuffled(samples):
    return Shuffled.load(
        WeightSource(), device="cpu", dtype="float32", samples=samples, images=SynfacsImages()
    ).chosen


@pytest.mark.parametrize("name", ["test2k", "unseen", "conflict"])
def test_every_sample_gets_another_combination_and_every_target_goes_once(name):
    frame = load_protocol(name).samples().frame
    chosen = shuffled(load_protocol(name).samples())
    of = dict(zip(frame["target"], frame["combination"], strict=True))
    for row in frame.itertuples():
        assert of[chosen[row.sample_id]] != row.combination
    assert sorted(chosen.values()) == sorted(frame["target"])


def test_partners_share_aus_no_more_than_chance():
    """Neighbours in the order of names would share their first AUs."""
    samples = load_protocol("test2k").samples()
    chosen = shuffled(samples)
    labels, frame = samples.labels().astype(float), samples.frame
    where = {target: i for i, target in enumerate(frame["target"])}
    partner = np.array([where[chosen[name]] for name in frame["sample_id"]])
    overlap = (labels * labels[partner]).sum(1).mean()
    chance = (labels.mean(0) ** 2).sum()
    assert overlap < 1.1 * chance


def test_one_crowded_combination_still_gives_a_derangement():
    samples = load_protocol("unseen").samples()
    crowd = samples.subset(np.nonzero((samples.frame["combination"] == "2").to_numpy())[0][:20])
    few = samples.subset(np.nonzero((samples.frame["combination"] == "15").to_numpy())[0][:3])
    import pandas as pd

    mixed = replace(samples, frame=pd.concat([crowd.frame, few.frame], ignore_index=True))
    for part in (crowd, mixed):
        own = dict(zip(part.frame["sample_id"], part.frame["target"], strict=True))
        chosen = shuffled(part)
        assert sorted(chosen.values()) == sorted(own.values())
        assert all(chosen[name] != own[name] for name in own)


def test_controls_say_what_they_lack():
    samples = load_protocol("conflict").samples().limit(3)
    with pytest.raises(AubenchError, match="'oracle' was given no samples"):
        Oracle.load(WeightSource(), device="cpu", dtype="float32")
    without = replace(samples, frame=samples.frame.assign(target=None))
    with pytest.raises(AubenchError, match="has no target"):
        Oracle.load(
            WeightSource(), device="cpu", dtype="float32", samples=without, images=SynfacsImages()
        )
    with pytest.raises(AubenchError, match="needs two samples"):
        shuffled(samples.limit(1))
