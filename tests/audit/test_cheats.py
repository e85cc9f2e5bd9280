"""Metrics of the audit by condition against the plain ones, cheats, the balanced yardstick."""

import numpy as np
import pytest

from aubench.audit.cheats import _share, blend, edges
from aubench.audit.corrupt import balanced_error
from aubench.audit.scores import Correlation, Ratio, Smallest
from aubench.audit.witness.pictures import Samples
from aubench.metrics.action_units.au_skill import correlation, skill


@pytest.fixture(scope="module")
def read():
    draw = np.random.default_rng(0)
    labels = (draw.random((20, 12)) < 0.3).astype(np.int64)
    labels[:, 0] = 1 - labels[:, 1]
    p = np.clip(draw.random((3, 20, 12)) * 0.5 + 0.5 * labels, 0, 1)
    return p, labels


def ratio(p, labels, name="skill"):
    top = (labels**2 - (p - labels) ** 2).sum(-1)
    bottom = np.broadcast_to((labels**2).sum(-1).astype(float), top.shape)
    return Ratio(name, "", top, bottom)


def test_skill_and_correlation_of_conditions_are_those_of_their_faces(read):
    p, labels = read
    asked = np.broadcast_to(labels, p.shape)  # the same command in every condition
    found, r = ratio(p, labels), Correlation("pearson", "", p, asked)
    for weights, rows in ((np.ones(20), range(20)), (np.repeat([2.0, 0], 10), [*range(10)] * 2)):
        at, by = found.conditions(weights[None])[0], r.conditions(weights[None])[0]
        for c in range(3):
            assert at[c] == pytest.approx(skill(p[c][list(rows)], labels[list(rows)]))
            assert by[c] == pytest.approx(correlation(p[c][list(rows)], labels[list(rows)]))
    assert r.faces[1, 4] == pytest.approx(np.corrcoef(p[1, 4], labels[4])[0, 1])
    assert Correlation("x", "", np.full((1, 20, 12), 0.3), labels[None]).faces.tolist() == [
        [0.0] * 20
    ]


def test_the_smallest_is_of_the_shares_of_what_the_faithful_faces_reach(read):
    p, labels = read
    one, two = ratio(p, labels), ratio(p[::-1].copy(), labels)
    weights = np.ones((1, 20))
    shares = [part.conditions(weights)[0] / part.conditions(weights)[0, 0] for part in (one, two)]
    found = Smallest("skill-smallest", "", (one, two)).conditions(weights)[0]
    assert found == pytest.approx(np.min(shares, 0)) and found[0] == 1


def test_the_balanced_error_weighs_commanded_aus_and_others_alike():
    asked = np.zeros((1, 12))
    asked[0, :3] = 4.0
    missing, added = asked.copy(), asked.copy()
    missing[0, :3] = 0
    added[0, 3:] = 4.0
    for wrong in (missing, added):
        assert balanced_error(wrong, asked) == pytest.approx([0.4])
    assert balanced_error(asked, asked) == [0]


def test_cheats_are_drawn_on_the_reference_or_mixed_with_it():
    reference = np.full((1, 32, 32, 3), 100, np.uint8)
    target = reference.copy()
    target[0, :, 16:] = 140
    samples = Samples(target, reference, np.ones((1, 12), np.uint8), ["a"])
    drawn = edges(samples).astype(int)
    dark = np.abs(drawn[0, 16, :, 0] - 100) > 2
    assert dark[14:18].any() and not dark[:10].any() and not dark[22:].any()
    assert (drawn <= 100).all()
    assert blend(samples)[0, 0, 0, 0] == 100 and blend(samples)[0, 0, 31, 0] == 120
    assert _share(np.array([[1.0, 0.2, 0.6]]), 2) == pytest.approx([0.5])
    assert np.isnan(_share(np.array([[0.2, 0.2, 0.6]]), 2)).all()
