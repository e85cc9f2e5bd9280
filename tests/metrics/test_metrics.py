"""Metrics against closed forms, direct sums and the libraries users know."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aubench.metrics.action_units import aaad, au_scores
from aubench.metrics.distributions import frechet
from aubench.metrics.distributions.frechet import (
    Moments,
    frechet_distance,
    frechet_infinity,
    frechet_of_moments,
)
from aubench.metrics.distributions.inception_score import inception_score
from aubench.metrics.distributions.kernel import (
    kernel_distance,
    kernel_distance_subsets,
)
from aubench.metrics.distributions.neighbourhoods import prdc
from aubench.metrics.statistics import resampling as bootstrap
from aubench.networks.extractors.extractor import clean_resize
from aubench.networks.extractors.registry import load_extractor
from aubench.networks.inference import measure


def cloud(seed, n, d, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, d)).astype(np.float32)


def with_moments(mean, root, n, seed):
    """Features whose sample mean and unbiased covariance are exactly ``mean`` and root rootᵀ."""
    x = np.random.default_rng(seed).normal(size=(n, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / (n - 1))).T
    return x @ root.T + mean


def test_frechet_of_two_gaussians_is_the_closed_form():
    a = with_moments(np.array([0.0, 1, 2]), np.diag([1.0, 2, 3]), 50, 0)
    b = with_moments(np.array([1.0, 1, 0]), np.diag([2.0, 2, 1]), 70, 1)
    expected = (1 + 0 + 4) + (1 - 2) ** 2 + 0 + (3 - 1) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(40, 100), (100, 40), (60, 60)])
def test_frechet_of_a_set_with_itself_vanishes(n, d):
    x = cloud(3, n, d)
    assert abs(frechet_distance(x, x)) < 1e-6


@pytest.mark.parametrize(("n", "m", "d"), [(30, 50, 80), (200, 150, 20)])
def test_frechet_gram_route_equals_moment_route_and_torch_fidelity(n, m, d):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    a, b = cloud(4, n, d), cloud(5, m, d, 0.3, 1.4)
    ours = frechet_distance(a, b)
    assert ours == pytest.approx(frechet_of_moments(Moments.of(a), Moments.of(b)), rel=1e-6)
    stats = [fid_features_to_statistics(torch.from_numpy(x.astype(np.float64))) for x in (a, b)]
    theirs = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    assert ours == pytest.approx(theirs, rel=1e-3)


@given(st.integers(2, 20), st.integers(2, 20), st.integers(2, 20), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_moments_merge_associatively(i, j, k, seed):
    x = np.random.default_rng(seed).normal(size=(i + j + k, 5))
    a, b, c = (Moments.of(part) for part in np.split(x, [i, i + j]))
    whole = Moments.of(x)
    for merged in (a.merge(b).merge(c), a.merge(b.merge(c)), c.merge(a).merge(b)):
        assert merged.n == whole.n
        np.testing.assert_allclose(merged.mean, whole.mean, atol=1e-12)
        np.testing.assert_allclose(merged.scatter, whole.scatter, atol=1e-9)


def test_frechet_refuses_what_is_no_feature_set():
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(np.full((4, 3), np.nan), np.zeros((5, 3)))


def test_frechet_infinity_takes_out_the_bias_of_small_n():
    a, b = cloud(6, 600, 30), cloud(7, 600, 30)
    biased, limit = frechet_distance(a, b), frechet_infinity(a, b)
    assert abs(limit) < 0.35 * biased
    assert limit == frechet_infinity(a, b)


def test_kid_is_the_direct_double_sum():
    x, y = cloud(8, 23, 11).astype(float), cloud(9, 31, 11, 0.2).astype(float)
    k = lambda a, b: (a @ b / 11 + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(k(a, b) for a in x for b in y) / (n * m)
    assert kernel_distance(x, y) == pytest.approx(xx + yy - 2 * xy, rel=1e-9)


def test_kid_equals_torch_fidelity_on_one_full_subset():
    from torch_fidelity.metric_kid import kid_features_to_metric

    x, y = cloud(10, 40, 16), cloud(11, 40, 16, 0.5)
    theirs = kid_features_to_metric(
        torch.from_numpy(x).double(),
        torch.from_numpy(y).double(),
        kid_subsets=1,
        kid_subset_size=40,
        verbose=False,
    )["kernel_inception_distance_mean"]
    assert kernel_distance(x, y) == pytest.approx(theirs, rel=1e-6)
    mean, spread = kernel_distance_subsets(x, y, subsets=5, size=40)
    assert mean == pytest.approx(theirs, rel=1e-6) and spread < 1e-9


def test_kid_subsets_are_seeded_and_centre_on_the_full_value():
    x, y = cloud(12, 120, 8), cloud(13, 120, 8, 0.3)
    mean, _ = kernel_distance_subsets(x, y, subsets=400, size=60)
    assert mean == kernel_distance_subsets(x, y, subsets=400, size=60)[0]
    assert mean == pytest.approx(kernel_distance(x, y), rel=0.1)


def test_kid_may_be_negative_for_equal_distributions():
    values = [kernel_distance(cloud(s, 30, 5), cloud(s + 100, 30, 5)) for s in range(30)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(30)


def test_inception_score_bounds_and_torch_fidelity():
    from torch_fidelity.metric_isc import isc_features_to_metric

    assert inception_score(np.zeros((40, 7)))[0] == pytest.approx(1)
    certain = np.eye(5)[np.arange(50) % 5] * 1e3
    assert inception_score(certain, splits=1)[0] == pytest.approx(5, rel=1e-6)
    logits = cloud(14, 200, 10, 0, 2)
    theirs = isc_features_to_metric(torch.from_numpy(logits).double(), splits=1, shuffle=False)
    ours = inception_score(logits, splits=1)[0]
    assert ours == pytest.approx(theirs["inception_score_mean"], rel=1e-6)


def test_prdc_is_the_brute_force_count():
    real, fake = cloud(15, 30, 4).astype(float), cloud(16, 25, 4, 0.4).astype(float)

    def distance(a, b):
        return np.linalg.norm(a - b)

    def radius(points, i):
        return sorted(distance(points[i], p) for j, p in enumerate(points) if j != i)[4]

    inside = [[distance(r, f) < radius(real, i) for f in fake] for i, r in enumerate(real)]
    back = [[distance(r, f) < radius(fake, j) for j, f in enumerate(fake)] for r in real]
    expected = {
        "precision": np.any(inside, 0).mean(),
        "recall": np.any(back, 1).mean(),
        "density": np.sum(inside, 0).mean() / 5,
        "coverage": np.mean(
            [min(distance(r, f) for f in fake) < radius(real, i) for i, r in enumerate(real)]
        ),
    }
    assert prdc(real, fake) == pytest.approx(expected)
    swapped = prdc(fake, real)
    assert swapped["precision"] == pytest.approx(expected["recall"])


def test_aaad_by_hand():
    image = np.array([[1.0, 0], [0, 1], [1, 1]])
    text = np.array([[1.0, 0], [1, 1], [0, 1]])
    cosine = aaad.cosines(image, text)
    np.testing.assert_allclose(cosine, [1, 1 / np.sqrt(2), 1 / np.sqrt(2)])
    scale = aaad.Constants(0.2, 0.9)
    mean = (1 + 2 / np.sqrt(2)) / 3
    assert aaad.aaad(cosine, scale) == pytest.approx((mean - 0.2) / 0.7)
    assert aaad.cosines(np.zeros((1, 2)), text[:1])[0] == 0
    with pytest.raises(ValueError, match="no range"):
        aaad.aaad(cosine, aaad.Constants(0.5, 0.5))


@given(st.integers(2, 300), st.integers(0, 50))
def test_shuffled_pairs_have_no_fixed_point(n, seed):
    partner = aaad.shuffled(n, seed)
    assert sorted(partner) == list(range(n)) and (partner != np.arange(n)).all()


def test_aaad_constants_come_from_true_and_shuffled_pairs():
    rng = np.random.default_rng(0)
    truth = rng.random((50, 12))
    scale = aaad.constants(truth, truth)
    assert scale.high == pytest.approx(1)
    partner = aaad.shuffled(50, 2020)
    assert scale.low == pytest.approx(aaad.cosines(truth, truth[partner]).min())


def test_au_scores_equal_scikit_learn():
    from sklearn.metrics import f1_score, roc_auc_score

    from aubench.facs.f1 import f1_by_au

    rng = np.random.default_rng(1)
    labels = (rng.random((80, 12)) < 0.3).astype(np.uint8)
    p = np.clip(labels * 0.4 + rng.random((80, 12)) * 0.6, 0, 1)
    found = p >= 0.5
    np.testing.assert_allclose(f1_by_au(found, labels), f1_score(labels, found, average=None))
    np.testing.assert_allclose(au_scores.auc(p, labels), roc_auc_score(labels, p, average=None))
    labels[:, 3] = 0
    assert np.isnan(au_scores.auc(p, labels)[3])
    leak = au_scores.off_target(np.ones((2, 12), bool), np.eye(2, 12, dtype=np.uint8))
    np.testing.assert_allclose(leak, 1)


def test_a_probability_that_is_no_number_is_no_zero():
    bad = np.full((2, 12), 0.5)
    bad[1, 3] = np.nan
    found = aaad.cosines(bad, np.ones((2, 12)))
    assert found[0] == pytest.approx(1) and np.isnan(found[1])


def test_a_single_image_has_no_distance(monkeypatch):
    """Of many images moments are taken, which of one image would be 0 / 0."""
    monkeypatch.setattr(frechet, "GRAM_LIMIT", 10)
    many = np.random.default_rng(0).normal(size=(20, 3))
    for pair in ((many, many[:1]), (many[:1], many)):
        with pytest.raises(ValueError, match="at least two rows"):
            frechet.frechet_distance(*pair)


def test_icc_of_constants_is_undefined_though_their_means_are_rounded():
    assert np.isnan(au_scores.icc(np.full(3, 0.1), np.full(3, 0.3)))


def test_icc_closed_cases():
    x = np.array([1.0, 2, 3, 4])
    assert au_scores.icc(x, x + 5) == pytest.approx(1)  # consistency ignores a shift
    assert au_scores.icc(x, -x) == pytest.approx(-1)
    assert np.isnan(au_scores.icc(x[:1], x[:1]))


def test_bootstrap_covers_the_mean_and_respects_clusters():
    hits = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        effect = np.repeat(rng.normal(size=30), 5)
        low, high = bootstrap.bootstrap_mean(effect, np.repeat(np.arange(30), 5), count=300)
        hits += low < 0 < high
    assert hits >= 50
    alone = bootstrap.bootstrap_mean(effect, np.arange(150), count=300)
    together = bootstrap.bootstrap_mean(effect, np.repeat(np.arange(30), 5), count=300)
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])
    assert bootstrap.bootstrap_mean(effect, ["one"] * 150) is None


def test_bootstrap_of_a_statistic_is_paired_by_its_seed():
    x, who = np.arange(20.0), np.repeat(np.arange(10), 2)
    one = bootstrap.bootstrap(lambda rows: float(x[rows].mean()), who)
    two = bootstrap.bootstrap(lambda rows: float(x[rows].mean() + 1), who)
    np.testing.assert_allclose(np.array(two) - np.array(one), 1)


def test_clean_resize_is_pillows_float_bicubic():
    from PIL import Image

    image = np.random.default_rng(3).integers(0, 256, (128, 128)).astype(np.float32)
    pillow = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC))
    ours = clean_resize(torch.from_numpy(image)[None, None], 224)[0, 0].numpy()
    np.testing.assert_allclose(ours, pillow.clip(0, 255), atol=6e-3)


def test_extractor_is_independent_of_the_batch_and_strict():
    images = np.random.default_rng(4).integers(0, 256, (35, 64, 64, 3)).astype(np.uint8)
    extractor = load_extractor("efficientnet-lite0")
    whole = extractor(images)
    assert whole["features"].shape == (35, 1280) and whole["logits"].shape == (35, 1000)
    np.testing.assert_array_equal(extractor(images[33:])["features"], whole["features"][33:])
    with pytest.raises(TypeError, match="uint8"):
        extractor(images.astype(np.float32))


def test_inception_is_never_replaced_when_missing(tmp_path, monkeypatch):
    from aubench.networks.external_weights import MissingWeightsError

    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="weights fetch inception-2015-12-05"):
        load_extractor("inception-2015-12-05")


def test_measure_decodes_each_image_once():
    asked = []

    class Network:
        id = sha256 = "x"

        def __init__(self, name):
            self.name = name

        def __call__(self, images):
            return {"mean": images.reshape(len(images), -1).mean(1, dtype=np.float32)}

    def load(keys):
        asked.extend(keys)
        return np.stack([np.full((8, 8, 3), int(k), np.uint8) for k in keys])

    keys = [str(i) for i in range(200)]
    found = measure(keys, load, [Network("a"), Network("b")])
    assert asked == keys
    np.testing.assert_allclose(found["b"]["mean"], np.arange(200))
