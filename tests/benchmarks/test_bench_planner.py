"""A run's metrics in one pass, against one tool after the other on the same images and weights.

    tox -e bench -- tests/benchmarks/test_bench_planner.py -s

Networks: AUBENCH_BENCH_IMAGES faces of synfacs against as many targets. Inception and AlexNet have
random weights of the true shape, the same for both sides; all networks are built beforehand. The
tools: torch-fidelity, told to use Inception for FID, KID, IS and PRC alike (its default for PRC is
a VGG16 more); clean-fid with the same Inception; lpips, pair by pair as its script does; the two AU
detectors, batched. Algebra: 2,000 rows of 2,048 features. The last table puts both together for
2,000 images, the networks in proportion. Times are processor seconds, children included; what is
here called a run includes decoding, algebra, intervals, the text classifier and the sheet.
"""

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from random_weights import alexnet_file, inception_file
from sizes import size

IMAGES = int(os.environ.get("AUBENCH_BENCH_IMAGES", size(64, 8)))
ROWS, WIDTH = size(2000, 200), size(2048, 64)
METRICS = ("fid", "kid", "is", "lpips", "aaad", "au", "prdc")
SPENT: dict[str, list[float]] = {}
"""Processor seconds by name."""


def processor_seconds():
    return sum(os.times()[:4])


def group(name):
    return pytest.mark.benchmark(group=name, timer=processor_seconds)


NETWORKS = group("1 networks and metrics")
ALGEBRA = group("2 algebra, N = 2,000, 2,048 features")


def timed(benchmark, name, function):
    """Run once; print processor and wall seconds, and remember the former."""

    def run():
        before = processor_seconds(), time.perf_counter()
        out = function()
        spent, wall = processor_seconds() - before[0], time.perf_counter() - before[1]
        SPENT.setdefault(name, []).append(spent)
        benchmark.extra_info["wall"] = round(wall, 2)
        print(f"\n{name}: {spent:.2f} s of processor, {wall:.2f} s of wall clock")  # noqa: T201
        return out

    return benchmark.pedantic(run, rounds=1)


@pytest.fixture(scope="module", autouse=True)
def own_weights(tmp_path_factory):
    """Random weights in the place of those that no registry carries; a cache of our own."""
    from aubench.evaluate import feature_cache as features
    from aubench.metrics.faces.lpips import load_lpips
    from aubench.networks import external_weights as weights
    from aubench.networks.extractors.registry import load_extractor

    folder = tmp_path_factory.mktemp("weights")
    files = {
        "inception-2015-12-05": inception_file(folder / "inception.pt"),
        "lpips-alexnet": alexnet_file(folder / "alexnet.safetensors"),
    }
    real, own = weights.path, pytest.MonkeyPatch()
    own.setattr(weights, "path", lambda name: files.get(name) or real(name))
    own.setattr(features, "home", lambda: folder)
    load_extractor.cache_clear()
    load_lpips.cache_clear()
    yield files
    own.undo()
    load_extractor.cache_clear()
    load_lpips.cache_clear()


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A run folder, and the same images in two folders of PNG."""
    from aubench.protocols.protocol import load_protocol
    from aubench.run.execute import image_source
    from aubench.storage.run_folder import RunFolder, write_png

    root = tmp_path_factory.mktemp("faces")
    protocol, images = load_protocol("test2k", "synfacs"), image_source("synfacs")
    samples = protocol.samples().limit(IMAGES)
    frame = samples.frame
    keys = [*frame["reference"], *frame["target"]]
    images.prefetch(list(dict.fromkeys(keys)), protocol.size, "faces")
    loaded = images.load_many(keys, protocol.size)
    for side, part in (("made", loaded[:IMAGES]), ("real", loaded[IMAGES:])):
        (root / side).mkdir()
        for i, image in enumerate(part):
            write_png(root / side / f"{i:04d}.png", image)
    folder = RunFolder.create(root / "run", {})
    folder.add([str(name) for name in frame["sample_id"]], loaded[:IMAGES])
    return root, folder, samples, images, protocol


def scored(faces):
    """All metrics of a run, as the engine computes them."""
    from aubench.evaluate.collect import Evaluation
    from aubench.evaluate.evaluate import score
    from aubench.networks.network_choice import NetworkChoice

    _, folder, samples, images, protocol = faces
    choice = NetworkChoice("inception-2015-12-05")
    return score(
        Evaluation(folder, samples, images, protocol, METRICS, protocol.size, choice=choice)
    )


def value(found, metric):
    return next(row.value for row in found.rows if row.metric == metric)


@NETWORKS
def test_here_first_run(benchmark, faces):
    from aubench.metrics.faces.lpips import load_lpips
    from aubench.networks.extractors.registry import load_extractor
    from aubench.networks.textau import load_text_au

    load_extractor("inception-2015-12-05"), load_lpips(), load_text_au()
    found = timed(benchmark, "here, first run", lambda: scored(faces))
    assert value(found, "fid") > 0 and value(found, "lpips") > 0 and value(found, "aaad") > 0


@NETWORKS
def test_torch_fidelity(benchmark, faces, own_weights):
    from torch_fidelity.utils import create_feature_extractor, extract_featuresdict_from_input_id

    asked = {
        "input1": str(faces[0] / "made"),
        "input2": str(faces[0] / "real"),
        "cuda": False,
        "verbose": False,
    }
    network = create_feature_extractor(
        "inception-v3-compat",
        ["2048", "logits_unbiased"],
        cuda=False,
        verbose=False,
        feature_extractor_weights_path=str(own_weights["inception-2015-12-05"]),
    )

    def theirs():
        with warnings.catch_warnings():  # it asks for more processes than a small machine has
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            return [extract_featuresdict_from_input_id(i, network, **asked) for i in (1, 2)]

    out = timed(benchmark, "torch-fidelity", theirs)
    assert out[0]["2048"].shape == (IMAGES, 2048)


@NETWORKS
def test_here_targets_known(benchmark, faces):
    """As every run after the first: the protocol's targets are in the cache."""
    for file in (faces[1].path / "features").iterdir():
        file.unlink()
    timed(benchmark, "here, targets known", lambda: scored(faces))


@NETWORKS
def test_clean_fid(benchmark, faces, own_weights):
    fid = pytest.importorskip("cleanfid.fid", reason="pip install clean-fid")
    from safetensors.numpy import load_file

    from aubench.networks.extractors.inception import _inception_network, inception_outputs

    network = _inception_network(own_weights["inception-2015-12-05"])

    def theirs():
        return [
            fid.get_folder_features(
                str(faces[0] / side),
                lambda x: inception_outputs(network, x)["features"],
                num_workers=2,
                device="cpu",
                verbose=False,
            )
            for side in ("made", "real")
        ]

    out = timed(benchmark, "clean-fid", theirs)
    ours = load_file(faces[1].path / "features" / "inception-2015-12-05.safetensors")["features"]
    # Its workers open the files in the order of their names, as they were written.
    gap = np.linalg.norm(out[0] - ours, axis=1) / np.linalg.norm(ours, axis=1)
    assert gap.max() < 1e-4


@NETWORKS
def test_here_again(benchmark, faces):
    """Everything is in the cache: re-scoring."""
    timed(benchmark, "here, again", lambda: scored(faces))


@NETWORKS
def test_lpips(benchmark, faces):
    import lpips

    from aubench.metrics.faces.lpips import load_lpips
    from aubench.storage.run_folder import read_png

    metric, root = load_lpips(), faces[0]
    files = [(path, root / "real" / path.name) for path in sorted((root / "made").iterdir())]

    def theirs():
        out = []
        for pair in files:
            with torch.no_grad():
                out.append(float(metric.network(*(lpips.im2tensor(read_png(p)) for p in pair))))
        return np.array(out)

    out = timed(benchmark, "lpips", theirs)
    made, real = (np.stack([read_png(p) for p in side]) for side in zip(*files[:8], strict=True))
    np.testing.assert_allclose(metric(made, real), out[:8], rtol=1e-4)


@NETWORKS
@pytest.mark.parametrize("name", ["nano-a", "nano-b"])
def test_detector(benchmark, faces, name):
    from aubench.networks.detectors import load_detector
    from aubench.storage.run_folder import read_png

    def theirs():
        detector, out = load_detector(name), []
        for side in ("made", "real"):
            files: list[Path] = sorted((faces[0] / side).iterdir())
            for i in range(0, len(files), 32):
                out.append(
                    detector.probabilities(np.stack([read_png(f) for f in files[i : i + 32]]))
                )
        return np.concatenate(out)

    assert len(timed(benchmark, f"detector {name}", theirs)) == 2 * IMAGES


def cloud(seed, shift=0.0):
    """Non-negative features with a falling spectrum, float32 [ROWS, WIDTH]."""
    draw, axes = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(256, WIDTH))
    hidden = draw.normal(size=(ROWS, 256)) * np.arange(1, 257) ** -0.5 + shift
    out = np.abs(hidden @ axes / 16 + 0.02 * draw.normal(size=(ROWS, WIDTH)))
    return out.astype(np.float32)


@pytest.fixture(scope="module")
def features():
    draw = np.random.default_rng(5)
    logits = (2 * draw.normal(size=(ROWS, 1008))).astype(np.float32)
    return {"features": cloud(1, 0.1), "logits": logits}, {"features": cloud(2), "logits": logits}


@ALGEBRA
def test_algebra_here(benchmark, features):
    """FID, FD∞, KID, IS, PRDC, all with intervals over 80 subjects, which theirs do not give."""
    from dataclasses import replace

    from aubench.metrics.distributions.fid import distance_of
    from aubench.metrics.distributions.frechet import gram_frechet_infinity
    from aubench.metrics.distributions.grams import grams_of
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.metrics.registry import metric

    made, real = features
    found = EvaluationData(
        {"inception": made},
        {"inception": real},
        np.arange(ROWS),
        np.zeros((ROWS, 12), np.uint8),
        np.zeros((ROWS, 12), np.float32),
        [f"S{i % 80}" for i in range(ROWS)],
        {},
        {},
        "bench",
        "inception|clean",
        {},
        "labels",
        ["all"] * ROWS,
    )

    def ours():
        fresh = replace(found)  # nothing computed yet
        scorers = [metric(name) for name in ("fid", "kid", "is", "prdc")]
        return {row.metric: row.value for scorer in scorers for row in scorer.score(fresh)}

    assert timed(benchmark, "algebra here", ours)["fid"] > 0
    grams, whole = grams_of(found), distance_of(found).value
    before = processor_seconds()
    gram_frechet_infinity(grams, whole=whole)
    benchmark.extra_info["of it FD∞"] = round(processor_seconds() - before, 2)
    print(f"of it FD∞, which no tool gives: {benchmark.extra_info['of it FD∞']} s")  # noqa: T201


@ALGEBRA
def test_algebra_torch_fidelity(benchmark, features):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    from aubench.metrics.distributions.frechet import frechet_distance

    made, real = [torch.from_numpy(side["features"]) for side in features]

    def theirs():
        quiet = {"verbose": False}
        stats = [fid_features_to_statistics(x) for x in (made, real)]
        out = fid_statistics_to_metric(*stats, **quiet)
        kid_features_to_metric(made, real, kid_subsets=100, kid_subset_size=ROWS // 2, **quiet)
        isc_features_to_metric(torch.from_numpy(features[0]["logits"]))
        prc_features_to_metric(made, real, **quiet)
        return out["frechet_inception_distance"]

    out = timed(benchmark, "algebra torch-fidelity", theirs)
    assert frechet_distance(*(side["features"] for side in features)) == pytest.approx(
        out, rel=1e-4
    )


@ALGEBRA
def test_algebra_clean_fid(benchmark, features):
    fid = pytest.importorskip("cleanfid.fid", reason="pip install clean-fid")
    sides = [side["features"].astype(np.float64) for side in features]

    def theirs():
        stats = [(x.mean(0), np.cov(x, rowvar=False)) for x in sides]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fid.frechet_distance(*stats[0], *stats[1])

    assert timed(benchmark, "algebra clean-fid", theirs) > 0


@group("3 sums")
def test_sums(benchmark):
    """Print what all of it comes to; measures nothing of its own."""
    benchmark.pedantic(lambda: None, rounds=1)
    networks = ("torch-fidelity", "clean-fid", "lpips", "detector nano-a", "detector nano-b")
    algebra = ("algebra torch-fidelity", "algebra clean-fid")
    if not SPENT.keys() >= {*networks, *algebra, "here, again", "algebra here"}:
        pytest.skip("needs the whole file and clean-fid")
    spent = {name: times[0] for name, times in SPENT.items()}
    tools = sum(spent[name] for name in networks)
    whole = tools * ROWS / IMAGES + sum(spent[name] for name in algebra)
    print(f"\n{'networks, images':44}{IMAGES:10}{ROWS:10}")  # noqa: T201
    lines = {"tools": (tools, whole)}
    for name in ("here, first run", "here, targets known"):
        # What does not grow with the images, algebra apart, is what the third run takes.
        grown = (spent[name] - spent["here, again"]) * ROWS / IMAGES
        lines[name] = spent[name], grown + spent["here, again"] + spent["algebra here"]
    for name, (few, many) in lines.items():
        print(f"{name:44}{few:10.2f}{many:10.2f}{many / whole:8.3f} of the tools")  # noqa: T201
    benchmark.extra_info |= {name: round(many / whole, 3) for name, (_, many) in lines.items()}
