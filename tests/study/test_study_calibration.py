"""Bots with known tastes: the metric that they follow is found, however noisy they are."""

import asyncio

import numpy as np
import pytest

from aubench.errors import AubenchError
from aubench.study.analysis import answers, calibration
from aubench.study.analysis.answers import Ranked
from aubench.study.analysis.scoring import kept
from aubench.study.server.local import running
from aubench.study.server.server import application
from aubench.study.simulation import bots


def panel(raters, items, models, noise, seed=0):
    """Return rankings of raters whose taste is a known value, and that value [items, models]."""
    generator = np.random.default_rng(seed)
    taste = generator.standard_normal((items, models)) + np.linspace(1, -1, models)
    utility = taste + noise * generator.standard_normal((raters, items, models))
    ranks = models - np.argsort(np.argsort(utility, axis=2), axis=2).astype(float)
    names = tuple(f"m{i}" for i in range(models))
    found = Ranked(
        tuple(map(str, range(raters))),
        tuple(f"s{i}" for i in range(items)),
        tuple(str(i // 4) for i in range(items)),
        names,
        ranks,
    )
    return found, taste, generator


def test_the_metric_that_raters_follow_comes_first_and_noise_is_taken_out():
    plain, corrected = [], []
    for noise in (0.3, 2.0):
        ranked, taste, generator = panel(5, 24, 4, noise)
        near = taste + 0.8 * generator.standard_normal(taste.shape)
        values = {
            "nothing": generator.standard_normal(taste.shape),
            "near": near,
            "taste": taste,
            "against": -taste,
        }
        found, sure = calibration.calibrate(ranked, values, 150)
        assert [one.name for one in found] == ["taste", "near", "nothing", "against"]
        assert abs(found[2].sample.plain) < 0.3 and found[3].sample.plain < -0.5
        best = found[0]
        assert best.sample.low <= best.sample.corrected <= best.sample.high + 0.05
        assert best.system.plain > 0.9 and 0 < sure.sample < 1
        plain.append(best.sample.plain)
        corrected.append(best.sample.corrected)
    assert plain[0] - plain[1] > 0.08  # noisy raters agree less with what they follow
    assert abs(corrected[0] - corrected[1]) < 0.1  # the correction takes that out
    assert 0.85 < corrected[1] < 1.1


def test_intervals_hold_what_endless_raters_would_say():
    ranked, taste, _ = panel(600, 24, 4, 1.0)
    truth, _ = calibration.calibrate(ranked, {"taste": taste}, 20)
    held = []
    for seed in range(20):
        few = np.random.default_rng(seed).choice(600, 12, replace=False)
        part = ranked.keep([str(i) for i in few])
        (one,), _ = calibration.calibrate(part, {"taste": taste}, 100, seed)
        held.append(one.sample.low <= truth[0].sample.corrected <= one.sample.high)
    assert np.mean(held) > 0.85


def test_two_models_and_metrics_of_some_models_alone():
    ranked, taste, _ = panel(6, 8, 2, 0.5)
    per_model = {
        model: {
            "taste": {item: taste[i, m] for i, item in enumerate(ranked.items)},
            **({"alone": {}} if m else {}),
        }
        for m, model in enumerate(ranked.models)
    }
    values = calibration.by_item(ranked, per_model)
    assert set(values) == {"taste"} and values["taste"] == pytest.approx(taste)
    (one,), _ = calibration.calibrate(ranked, values, 50)
    assert one.system.plain is None and one.sample.plain > 0.5
    with pytest.raises(AubenchError, match="no metric has values of every model"):
        calibration.by_item(ranked, {"m0": {"a": {}}, "m1": {"b": {}}})


def test_bots_who_follow_a_metric_over_http_are_found_out(study):
    value = {
        name: float(np.random.default_rng(int(name[:8], 16)).normal()) for name in study.key.images
    }

    class Taste(bots.World):
        def utility(self, rater, name):
            if self.key.images[name].source in ("target", "wrong"):
                return super().utility(rater, name)
            return 4 * value[name]

    trials = {name: trial.images for name, trial in study.design.by_id.items()}
    names = bots.look_at(study.path, study.design)
    world = Taste(study.key, dict.fromkeys(study.key.models, 1.0), names, trials)
    links = [study.link(i) for i in range(4)]
    with running(application(study.path, rate=1e6, burst=1e6)) as url:
        secret = study.secrets.image_secret
        asyncio.run(bots.run_bots(url, links, world, server_secret=secret))
    answers.open_store(study.path).close()
    ranked = kept(study.path)
    of = {(image.sample, image.source): value[name] for name, image in study.key.images.items()}
    taste = np.array([[of[item, model] for model in ranked.models] for item in ranked.items])
    other = np.random.default_rng(1).standard_normal(taste.shape)
    found, sure = calibration.calibrate(ranked, {"other": other, "taste": taste}, 100)
    assert found[0].name == "taste" and found[0].sample.corrected > 0.7 > found[1].sample.plain
    assert 0.5 < sure.sample <= 1
