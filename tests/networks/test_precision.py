"""The tolerances of docs/precision.md, and the quick ways of computing against the plain ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_weights import he, inception_file
from sklearn.metrics import roc_auc_score

from aubench.evaluate import collect as measured
from aubench.evaluate.feature_cache import FeatureCache
from aubench.metrics.action_units.au_scores import auc
from aubench.metrics.distributions.frechet import frechet, frechet_infinity, gram_frechet_infinity
from aubench.metrics.distributions.grams import Grams
from aubench.metrics.distributions.kernel import cubed, kernel_distance_subsets
from aubench.metrics.distributions.neighbourhoods import neighbourhoods, prdc
from aubench.metrics.faces.lpips import Lpips
from aubench.networks.detectors import load_detector
from aubench.networks.extractors import efficientnet, inception
from aubench.networks.extractors import extractor as extractors
from aubench.networks.extractors.registry import load_extractor
from aubench.networks.identity import load_identity
from aubench.networks.textau import load_text_au

FEATURES, PROBABILITIES, DISTANCES = 1e-5, 1e-5, 1e-4
"""As docs/precision.md states them: relative, absolute, relative."""


def pictures(n, side=128, seed=0):
    """Smooth noise, uint8 [N, side, side, 3]."""
    draw = np.random.default_rng(seed)
    coarse = torch.from_numpy(draw.uniform(0, 255, (n, 3, 9, 9)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return fine.clamp(0, 255).permute(0, 2, 3, 1).numpy().astype(np.uint8)


def gap(a, b):
    """The largest relative distance of two rows."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)).max()


def cloud(seed, n, d, shift=0.0):
    draw = np.random.default_rng(seed)
    return np.abs(draw.normal(size=(n, d)) * np.linspace(1, 0.01, d) + shift).astype(np.float32)


def test_features_do_not_depend_on_the_batch(monkeypatch):
    faces, extractor = pictures(5), efficientnet.load("efficientnet-lite0", "cpu")
    found = []
    for size in (1, 4, 8):
        monkeypatch.setattr(extractors, "MICRO_BATCH", size)
        found.append(extractor(faces))
    for other in found[1:]:
        assert gap(other["features"], found[0]["features"]) < FEATURES
        assert gap(other["logits"], found[0]["logits"]) < FEATURES


def test_company_and_place_in_a_batch_change_nothing(monkeypatch):
    monkeypatch.setattr(extractors, "MICRO_BATCH", 4)
    faces, extractor = pictures(4), efficientnet.load("efficientnet-lite0", "cpu")
    whole = extractor(faces)["features"]
    for rows in ([0], [1, 2, 3], [3, 0]):
        np.testing.assert_array_equal(extractor(faces[rows])["features"], whole[rows])


def test_folded_batch_norms_give_the_same_features(monkeypatch):
    faces = pictures(2)
    monkeypatch.setattr(extractors, "MICRO_BATCH", 2)
    quick = efficientnet.load("efficientnet-lite0", "cpu")(faces)
    monkeypatch.setattr(efficientnet, "_quicken", lambda network: None)
    plain = efficientnet.load("efficientnet-lite0", "cpu")(faces)
    assert gap(quick["features"], plain["features"]) < FEATURES


def test_folded_inception_is_torch_fidelitys(tmp_path):
    file, faces = inception_file(tmp_path / "inception.pt"), pictures(2, 299)
    x = torch.from_numpy(faces).permute(0, 3, 1, 2)
    network = inception._inception_network(file)
    theirs, other = network(x)
    inception.folded_inception(network)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    with torch.inference_mode():
        x = x.float().contiguous(memory_format=torch.channels_last)
        ours = inception.inception_outputs(network.to(memory_format=torch.channels_last), x)
    assert theirs.std(0).max() > 1e-3  # the random network tells images apart
    assert gap(ours["features"], theirs) < FEATURES
    assert gap(ours["logits"], other) < FEATURES


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_lpips_does_not_depend_on_the_batch(monkeypatch):
    import lpips

    network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    he(network.net, 1)
    metric = Lpips("lpips", "alex-v0.1", "", "cpu", network.eval())
    pair = pictures(3, 64), pictures(3, 64, 1)
    found = []
    for size in (1, 4):
        monkeypatch.setattr(extractors, "MICRO_BATCH", size)
        found.append(metric(*pair))
    assert found[0].min() > 1e-4
    np.testing.assert_allclose(found[0], found[1], rtol=DISTANCES)


@pytest.mark.parametrize("name", ["nano-a", "nano-b"])
def test_probabilities_do_not_depend_on_the_batch(name):
    faces, detector = pictures(3), load_detector(name)
    one = replace(detector, micro_batch=1).probabilities(faces)
    four = replace(detector, micro_batch=4).probabilities(faces)
    np.testing.assert_allclose(one, four, atol=PROBABILITIES)


def dead(x):
    """The same features with units that answer to nothing, or to one image."""
    out = x.copy()
    out[:, ::3] = 0
    out[1:, 1] = 0
    return out


@pytest.fixture
def coarse():
    """A process set up for speed, as a training would be."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn
    former = cudnn.benchmark, cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium")
    cudnn.benchmark = cudnn.allow_tf32 = True
    with torch.autocast("cpu", torch.bfloat16):
        yield
    assert cudnn.benchmark and cudnn.allow_tf32, "settings of the process were not put back"
    assert torch.get_float32_matmul_precision() == "medium"
    torch.set_float32_matmul_precision(matmul)
    cudnn.benchmark, cudnn.allow_tf32 = former


TEXTS = ["The inner brows rise.", "The lip corners are pulled up and the cheeks are lifted."]
MEASURES = {
    "extractor": lambda: load_extractor("efficientnet-lite0")(pictures(3))["features"],
    "nano-a": lambda: load_detector("nano-a").probabilities(pictures(3)),
    "nano-b": lambda: load_detector("nano-b").probabilities(pictures(3)),
    "identity": lambda: load_identity("nano-id").embeddings(pictures(3)),
    "text": lambda: load_text_au().probabilities(TEXTS),
}


@pytest.mark.parametrize("name", MEASURES)
def test_measures_are_deaf_to_the_process(name, request):
    """Autocast around them and products in bfloat16 change no bit: they switch both off."""
    plain = MEASURES[name]()
    request.getfixturevalue("coarse")
    np.testing.assert_array_equal(MEASURES[name](), plain)


def test_networks_measure_without_tf32(monkeypatch):
    seen = {}

    def look(x):
        backends = torch.backends
        seen.update(tf32=backends.cudnn.allow_tf32, race=backends.cudnn.benchmark)
        seen.update(fixed=backends.cudnn.deterministic, grad=torch.is_grad_enabled())
        return {"features": x.mean((2, 3))}

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    extractors.in_micro_batches(pictures(2), "cpu", look)
    assert seen == {"tf32": False, "race": False, "fixed": True, "grad": False}
    assert torch.backends.cudnn.allow_tf32 and not torch.backends.cudnn.deterministic


@pytest.mark.parametrize(("n", "m", "d"), [(60, 50, 20), (30, 40, 64), (40, 30, 35)])
@pytest.mark.parametrize("change", [lambda x: x, dead], ids=["full", "dead units"])
def test_one_decomposition_gives_distance_and_influence(n, m, d, change):
    x, y = change(cloud(0, n, d, 0.1)), change(cloud(1, m, d))
    a, b = (z.astype(np.float64) - z.mean(0, dtype=np.float64) for z in (x, y))
    left, values, _ = np.linalg.svd(a @ b.T, full_matrices=False)
    scale = np.sqrt((n - 1) * (m - 1))
    gap_ = x.mean(0, dtype=np.float64) - y.mean(0, dtype=np.float64)
    spread = (a**2).sum(1) / (n - 1)
    expected = gap_ @ gap_ + spread.sum() + (b**2).sum() / (m - 1) - 2 * values.sum() / scale
    effect = 2 * (a @ gap_) / n + spread - (left**2 @ values) / scale
    found = frechet(x, y)
    assert found.value == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(found.influence, n * (effect - effect.mean()), atol=1e-7 * n)
    assert abs(frechet(x, x).value) < 1e-9


@pytest.mark.parametrize("change", [lambda x: x, dead], ids=["full", "dead units"])
def test_the_quick_points_of_fd_infinity_lie_on_the_exact_ones(change):
    x, y = change(cloud(0, 90, 64, 0.1)), change(cloud(1, 90, 64))
    draw, sizes = np.random.default_rng(2020), np.unique(np.linspace(45, 90, 8).astype(int))
    exact = [
        frechet(x[draw.choice(90, k, replace=False)], y[draw.choice(90, k, replace=False)]).value
        for k in sizes
    ]
    expected = np.polyfit(1 / sizes, exact, 1)[1]
    assert frechet_infinity(x, y) == pytest.approx(expected, rel=1e-4)
    known = gram_frechet_infinity(Grams.of(x, y), whole=frechet(x, y).value)
    assert known == pytest.approx(expected, rel=1e-4)


def test_threads_change_nothing():
    x, y = cloud(0, 80, 40, 0.1), cloud(1, 80, 40)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append((frechet_infinity(x, y), frechet(x, y).value))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_distances_within_a_set_and_between_equal_sets_are_equal():
    """Else images as near as the k-th neighbour would count or not by their rounding."""
    x = cloud(3, 101, 37)
    near = neighbourhoods(x, x.copy(), k=5)
    assert (near.inside.sum(1) == 5).all() and (near.reached.sum(0) == 5).all()


def test_prdc_moves_by_two_images_at_most_where_features_move_as_versions_move_them():
    draw = np.random.default_rng(8)
    real, fake = draw.gamma(0.6, size=(2, 150, 64)).astype(np.float32)
    before = prdc(real, fake)
    moved = [x + 1e-5 * np.abs(x) * draw.normal(size=x.shape) for x in (real, fake)]
    after = prdc(*moved)
    assert all(abs(after[name] - value) <= 2 / 150 for name, value in before.items())


def test_subsets_come_from_the_kernel_matrices():
    x, y = cloud(0, 30, 8), cloud(1, 25, 8)
    grams = Grams.of(x, y)
    matrices = [cubed(products, 8) for products in (grams.xx, grams.yy, grams.xy)]
    np.testing.assert_allclose(matrices[2], (x @ y.T.astype(np.float64) / 8 + 1) ** 3, rtol=1e-6)
    draw, values = np.random.default_rng(2020), []
    for _ in range(4):
        i, j = draw.choice(30, 10, replace=False), draw.choice(25, 10, replace=False)
        kxx, kyy, kxy = (
            matrices[0][np.ix_(i, i)],
            matrices[1][np.ix_(j, j)],
            matrices[2][np.ix_(i, j)],
        )
        within = [(k.sum() - np.trace(k)) / 90 for k in (kxx, kyy)]
        values.append(sum(within) - 2 * kxy.mean())
    mean, spread = kernel_distance_subsets(x, y, subsets=4, size=10)
    assert (mean, spread) == pytest.approx((np.mean(values), np.std(values)), rel=1e-9)


def test_auc_by_ranks_is_scikit_learns():
    draw = np.random.default_rng(0)
    p = draw.integers(0, 7, (50, 3)).astype(np.float32) / 7  # many ties
    labels = draw.integers(0, 2, (50, 3)).astype(np.uint8)
    labels[:, 2] = 1
    found = auc(p, labels)
    assert np.isnan(found[2])
    for k in range(2):
        assert found[k] == pytest.approx(roc_auc_score(labels[:, k], p[:, k]), rel=1e-12)


def test_texts_are_read_once_and_without_loading_the_classifier(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    texts = ["The inner brows rise.", "The lip corners are pulled up."]
    classifier = load_text_au()
    expected = classifier.probabilities(texts)
    cache = FeatureCache()
    first, name = measured._aus_of_texts(texts, cache, None)
    assert name == f"text-{classifier.id}"
    np.testing.assert_array_equal(first, expected)

    def asked(*_):
        raise LookupError

    monkeypatch.setattr("aubench.networks.textau.load_text_au", asked)
    np.testing.assert_array_equal(measured._aus_of_texts(texts, cache, None)[0], expected)
    with pytest.raises(LookupError):
        measured._aus_of_texts([*texts, "The jaw drops."], cache, None)
    (file,) = (tmp_path / "features").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(LookupError):
        measured._aus_of_texts(texts, cache, None)
