"""Memorisation: exact neighbours, closed forms, copies caught, caches that resume."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aubench.datasets.registry import training_faces
from aubench.datasets.training_faces import TrainingFaces
from aubench.evaluate import train_neighbours as training_module
from aubench.evaluate.train_neighbours import (
    FeatureSpace,
    NeighbourQuery,
    UnknownTrainingError,
    find_train_neighbours,
)
from aubench.metrics.distributions.memorisation import (
    CHUNK,
    MINIMUM,
    authentic,
    distance_ratio,
    memorised_share,
    nearest,
)
from aubench.metrics.evaluation_data import Neighbours, TrainNeighbours
from aubench.metrics.registry import metric

SYNFACS = SimpleNamespace(dataset="synfacs", subjects=lambda: ["S330"])
PHOTOGRAPHS = SimpleNamespace(dataset="photographs", subjects=lambda: ["S330"])


def cloud(seed, n, d=6, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (n, d)).astype(np.float32)


@given(st.integers(1, 30), st.integers(2, 40), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_nearest_is_the_brute_force_search(m, t, d, seed):
    queries, base = cloud(seed, m, d), cloud(seed + 1, t, d)
    every = np.linalg.norm(queries[:, None].astype(float) - base[None].astype(float), axis=2)
    found = nearest(queries, base)
    np.testing.assert_allclose(found.distance, every.min(1), rtol=1e-12)
    np.testing.assert_array_equal(found.index, every.argmin(1))
    among = np.linalg.norm(base[:, None].astype(float) - base[None].astype(float), axis=2)
    np.fill_diagonal(among, np.inf)
    own = nearest(base, base, np.arange(t))
    np.testing.assert_allclose(own.distance, among.min(1), rtol=1e-12)


def test_a_copy_has_distance_zero_even_far_from_the_origin_and_across_chunks():
    base = cloud(2, 700, 16, shift=1000.0)
    pick = np.random.default_rng(3).permutation(700)[: CHUNK + 40]
    found = nearest(base[pick], base)
    np.testing.assert_array_equal(found.index, pick)
    np.testing.assert_array_equal(found.distance, 0)
    twice = np.concatenate([base[:3], base[:3]])
    np.testing.assert_array_equal(nearest(base[:3], twice).index, [0, 1, 2])  # ties: the first


@pytest.mark.parametrize(
    ("queries", "base", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), "want"),
        (np.zeros((2, 3)), np.zeros((0, 3)), "nothing to compare"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), "not finite"),
        (np.zeros((2, 3)), np.full((2, 3), np.inf), "not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_has_no_neighbours_is_refused(queries, base, message):
    with pytest.raises(ValueError, match=message):
        nearest(queries, base)


def test_shares_and_ratios_by_hand():
    targets = np.arange(1.0, 201)  # 1st percentile 2.99
    made = np.array([0.0, 2.9, 3.0, 500])
    assert memorised_share(made, targets) == 0.5
    assert distance_ratio(made, targets) == pytest.approx(126.475 / 100.5)
    assert np.isnan(memorised_share(made, targets[: MINIMUM - 1]))
    assert np.isnan(distance_ratio(made, np.zeros(4)))
    found = Neighbours(np.array([0, 0, 1]), np.array([1.0, 3.0, 2.0]))
    assert authentic(found, np.array([2.0, 2.0])).tolist() == [False, True, False]


def test_new_faces_pass_and_copies_are_caught():
    base, held_out, new = cloud(4, 3000), cloud(5, 2000), cloud(6, 2000)
    real = nearest(held_out, base).distance
    fresh = nearest(new, base).distance
    assert memorised_share(fresh, real) == pytest.approx(0.01, abs=0.008)
    assert distance_ratio(fresh, real) == pytest.approx(1, abs=0.03)
    half = np.concatenate([new[:1000], base[:1000] + 1e-3 * cloud(7, 1000)])
    assert memorised_share(nearest(half, base).distance, real) == pytest.approx(0.505, abs=0.01)
    gaps = nearest(base, base, np.arange(3000)).distance
    # Of new faces about half are nearer to their neighbour than that is to its own: the two are
    # drawn alike. This is the bias of authenticity, and why it is read beside the targets'.
    assert authentic(nearest(held_out, base), gaps).mean() == pytest.approx(0.5, abs=0.2)
    assert not authentic(nearest(base[:50], base), gaps).any()


def scored(made, targets, gaps, subjects=None):
    n = len(made)
    recall = TrainNeighbours(
        [f"train/{i}" for i in range(len(gaps))],
        Neighbours(np.arange(n) % len(gaps), np.asarray(made, float)),
        Neighbours(np.arange(n) % len(gaps), np.asarray(targets, float)),
        np.asarray(gaps, float),
        "net|clean",
    )
    who = subjects or [f"S{i % 10}" for i in range(n)]
    m = SimpleNamespace(
        train_neighbours={"memorisation": recall, "lookalikes": recall},
        generated_rows=np.arange(n),
        unavailable={},
        generated_subjects=lambda: who,
        extractor="net|clean",
        reference_set="synfacs-1.0/x",
    )
    return {row.metric: row for row in metric("memorisation").score(m)}


def test_a_generator_that_returns_training_faces_is_caught():
    targets = np.random.default_rng(8).uniform(4, 8, 200)
    rows = scored(np.zeros(200), targets, np.full(50, 2.0))
    assert rows["memorised"].value == 1 and rows["memorised"].ci == (1, 1)
    assert rows["memory_ratio"].value == 0 and rows["authenticity"].value == 0
    assert rows["authenticity"].note == "targets reach 1.000"
    assert rows["memorised"].id == (
        "memorised|1st percentile|net|clean|train=50|ref=synfacs-1.0/x|n=200"
    )
    assert rows["memorised_person"].value == 1
    assert rows["memorised_person"].id.startswith("memorised-person|1st percentile|net|clean|")
    honest = scored(targets, targets, np.full(50, 2.0))
    assert honest["memorised"].value == pytest.approx(0.01)
    assert honest["memory_ratio"].value == 1 and honest["authenticity"].value == 1


def test_too_few_targets_and_one_subject_are_a_dash_and_no_interval():
    targets = np.random.default_rng(9).uniform(4, 8, 30)
    rows = scored(targets, targets, np.full(50, 2.0), ["S1"] * 30)
    assert rows["memorised"].value is None and "100 targets" in rows["memorised"].note
    assert rows["memory_ratio"].value == 1
    assert all(row.ci is None for row in rows.values())


class Eye:
    """An extractor that sees means of colour, and counts what it sees."""

    name, id, sha256 = "eye", "eye|clean", "0" * 64

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        return {"features": images.reshape(len(images), -1, 3).mean(1).astype(np.float32)}


@pytest.fixture
def colours(monkeypatch, tmp_path):
    """Three packs of plain images as training faces; the last repeats a face of the first."""
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    packs = (("a", "b"), ("c", "d"), ("a", "e"))
    shade = {key: np.full((4, 4, 3), 20 * i, np.uint8) for i, key in enumerate("abcde")}
    monkeypatch.setattr(TrainingFaces, "rendered", lambda self, size: True)
    monkeypatch.setattr(
        TrainingFaces, "load", lambda self, pack, size: np.stack([shade[key] for key in pack])
    )
    monkeypatch.setattr(
        training_module, "training_faces", lambda samples: TrainingFaces(packs, None, "synfacs")
    )
    return Eye()


def ask(eye, made=((41.0, 41, 41),), content="made", path=None):
    targets = NeighbourQuery(np.array([[61.0, 60, 60]], np.float32), "targets")
    return find_train_neighbours(
        FeatureSpace(SYNFACS, "fingerprint", eye, "features", 4),
        NeighbourQuery(np.array(made, np.float32), content, path),
        targets,
    )


def test_training_faces_are_measured_once_and_each_counts_once(colours):
    found = ask(colours)
    assert found.keys == ["a", "b", "c", "d", "e"]
    assert found.generated.index.tolist() == [2] and found.targets.index.tolist() == [3]
    np.testing.assert_allclose(found.generated.distance, [np.sqrt(3)], rtol=1e-6)
    np.testing.assert_allclose(found.gaps, 20 * np.sqrt(3), rtol=1e-6)  # not 0, though 'a' is twice
    assert colours.seen == 6
    again = ask(colours)
    assert colours.seen == 6
    np.testing.assert_array_equal(again.gaps, found.gaps)
    other = ask(colours, ((1.0, 0, 0),), "others")
    assert other.generated.index.tolist() == [0] and colours.seen == 6


def test_an_interrupted_measurement_goes_on_where_it_was(colours, monkeypatch, tmp_path):
    load = TrainingFaces.load

    def killed(self, pack, size):
        if pack[0] == "c":
            raise KeyboardInterrupt
        return load(self, pack, size)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingFaces, "load", killed)
        with pytest.raises(KeyboardInterrupt):
            ask(colours)
    assert colours.seen == 2
    found = ask(colours)
    assert colours.seen == 6 and found.generated.index.tolist() == [2]
    for file in (tmp_path / "features").iterdir():  # cut short, as by a full disk
        file.write_bytes(file.read_bytes()[:50])
    np.testing.assert_array_equal(ask(colours).generated.distance, found.generated.distance)
    assert colours.seen == 12


def test_answers_for_images_are_kept_in_their_run_folder(colours, tmp_path):
    path = tmp_path / "run" / "memorisation.safetensors"
    ask(colours, path=path)
    assert path.is_file()
    changed = ask(colours, ((1.0, 0, 0),), "new images", path)
    assert changed.generated.index.tolist() == [0]


def test_faces_that_are_not_rendered_are_a_reason_with_a_remedy(colours, monkeypatch):
    monkeypatch.setattr(TrainingFaces, "rendered", lambda self, size: False)
    with pytest.raises(UnknownTrainingError, match="data build synfacs --split train --size 4"):
        ask(colours)
    assert training_faces(PHOTOGRAPHS) is None
    monkeypatch.setattr(training_module, "training_faces", training_faces)
    with pytest.raises(UnknownTrainingError, match="photographs are not known"):
        find_train_neighbours(
            FeatureSpace(PHOTOGRAPHS, "f", colours, "features", 4),
            *(NeighbourQuery(np.zeros((1, 3), np.float32), "x"),) * 2,
        )


def test_training_faces_of_synfacs_are_the_packs_that_data_build_renders(monkeypatch, tmp_path):
    from aubench.datasets.synfacs.rendered_images import SynfacsImages
    from aubench.datasets.synfacs.synfacs_dataset import SynfacsDataset, split_frame

    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    faces = SynfacsDataset().training_faces()
    frame = split_frame("train")
    assert set(faces.keys) == set(frame["target"]) | set(frame["reference"])
    assert len(faces.first_rows()) == len(set(faces.keys))
    assert not faces.rendered(32)
    pack = faces.packs[0][:2]
    source = SynfacsImages(1)
    images = source.packed(pack, 32, "faces")
    assert source.has_pack(pack, 32) and not source.has_pack(pack, 64)
    np.testing.assert_array_equal(faces.load(pack, 32), images)


@pytest.mark.slow
def test_nearest_control_is_caught_in_a_run(tmp_path, monkeypatch):
    """The whole way: a control that returns training faces, and the renderer that does not."""
    from aubench_baselines.controls import Nearest

    from aubench.datasets.synfacs.rendered_images import SynfacsImages
    from aubench.datasets.synfacs.synfacs_dataset import split_frame
    from aubench.protocols.protocol import load_protocol
    from aubench.run.execute import RunConfig, execute

    samples = load_protocol("conflict", "synfacs").samples().limit(8)
    known = Nearest(samples, SynfacsImages()).keys()
    others = list(split_frame("train")["target"][:4])
    faces = TrainingFaces((tuple(sorted({*known, *others})),), SynfacsImages(), "synfacs")
    monkeypatch.setattr(TrainingFaces, "rendered", lambda self, size: True)
    monkeypatch.setattr(
        TrainingFaces, "load", lambda self, pack, size: SynfacsImages().load_many(pack, size)
    )
    monkeypatch.setattr(training_module, "training_faces", lambda samples: faces)
    values = {}
    for name in ("nearest", "oracle"):
        config = RunConfig(name, "conflict", tmp_path / name, limit=8, metrics=("memorisation",))
        record = execute(config)
        values[name] = {row.metric: row for row in record.scores}
        assert (tmp_path / name / "memorised.png").stat().st_size > 10_000
    assert values["nearest"]["memory_ratio"].value == 0
    assert values["nearest"]["authenticity"].value == 0
    assert values["oracle"]["memory_ratio"].value == 1
    assert values["oracle"]["memorised"].value is None  # 8 targets have no 1st percentile
    assert f"train={len(faces.keys)}" in values["oracle"]["authenticity"].id
    assert "nano-id" in values["oracle"]["memorised_person"].id


def test_memorisation_without_an_answer_is_a_dash_with_its_reason():
    reasons = {"memorisation": "not rendered", "lookalikes": "no network"}
    rows = metric("memorisation").score(
        SimpleNamespace(train_neighbours={}, generated_rows=np.arange(3), unavailable=reasons)
    )
    notes = {row.metric: row.note for row in rows if row.value is None}
    assert notes == dict.fromkeys(["memorised", "memory_ratio", "authenticity"], "not rendered") | {
        "memorised_person": "no network"
    }


def test_the_list_of_all_training_faces_is_made_once():
    """Asked for face by face, 20,000 lists of 20,000 names took longer than all other scores."""
    faces = TrainingFaces((("a", "b"), ("b", "c")), None, "synfacs")
    assert faces.keys == ["a", "b", "b", "c"] and faces.first_rows() == [0, 1, 3]
    assert faces.keys is faces.keys
