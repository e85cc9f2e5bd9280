"""AUs from geometry: what moved, zero-shot and fitted readings, textures without motion."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from aubench.errors import AubenchError
from aubench.facs import AUS, labels_of
from aubench.networks.face_landmarker import BLENDSHAPES, FaceGeometry
from aubench.networks.face_landmarker.change import Change, change, moved, rigid
from aubench.networks.face_landmarker.head import GeometryHead, best_threshold, logistic
from aubench.networks.face_landmarker.readers import (
    SHAPES,
    geometry_reader,
    load_reader,
    zero_reader,
)
from aubench.synfacs.render import render

SIZE = 160


def geometry(points, shapes, found=True):
    count = len(points)
    return FaceGeometry(
        np.asarray(points, np.float32),
        np.asarray(shapes, np.float32),
        np.ones(count, np.float32),
        np.full(count, found),
        np.ones(count, np.int64),
        np.zeros((count, 4), np.float32),
        ((),) * count,
    )


def turn(angle, about):
    c, s = np.cos(angle), np.sin(angle)
    return {
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
    }[about]


@pytest.fixture(scope="module")
def head_shape():
    draw = np.random.default_rng(2)
    points = draw.normal(size=(478, 3)) * [40, 50, 20] + [90, 90, 0]
    points[33], points[263] = (60, 80, 0), (120, 80, 0)
    return points


def test_a_turned_head_is_no_motion(head_shape):
    other = 1.3 * (head_shape @ (turn(0.3, "z") @ turn(0.4, "y")).T) + [15, -40, 7]
    assert np.abs(moved(other, head_shape)).max() < 1e-5
    matrix, shift = rigid(other, head_shape)
    np.testing.assert_allclose(other @ matrix.T + shift, head_shape, atol=1e-8)
    assert np.linalg.det(matrix) > 0


def test_motion_is_measured_on_the_head(head_shape):
    """A corner of the mouth 6 px up on a face whose eyes are 60 px apart, however it is turned."""
    up = head_shape.copy()
    up[61] += (0, -6, 0)
    expected = np.zeros((478, 2))
    expected[61] = (0, -0.1)
    np.testing.assert_allclose(moved(up, head_shape), expected, atol=1e-6)
    whirled = turn(0.5, "z")
    np.testing.assert_allclose(moved(up @ whirled.T, head_shape @ whirled.T), expected, atol=1e-5)
    with pytest.raises(ValueError, match="coincide"):
        moved(np.ones((478, 3)), head_shape)


def test_faces_without_reference_are_unknown_and_named(head_shape, landmarker):
    shapes = np.zeros((3, 52))
    shapes[:, BLENDSHAPES.index("browInnerUp")] = (0.0, 0.3, 0.3)
    faces = geometry([head_shape] * 3, shapes)
    references = geometry([head_shape] * 2, np.zeros((2, 52)))
    references = dataclasses.replace(references, found=np.array([True, False]))
    rows = np.array([0, 0, 1])
    reading = zero_reader(landmarker).of_geometry(faces, references, rows)
    assert reading.found.tolist() == [True, True, False]
    assert reading.notes == ((), (), ("no face in the reference",))
    assert np.isnan(reading.probabilities[2]).all()
    expected = 1 / (1 + np.exp([(0.1 - 0.0) / 0.05, (0.1 - 0.3) / 0.05]))
    np.testing.assert_allclose(reading.probabilities[:2, 0], expected, rtol=1e-6)
    with pytest.raises(ValueError, match="3 faces, but 2 references"):
        change(faces, references)


def test_zero_masks_what_no_blendshape_follows(landmarker):
    reader = load_reader("mp-zero", landmarker=landmarker)
    assert [au for au, known in zip(AUS, reader.mask, strict=True) if not known] == [6, 14, 23]
    assert reader.id.startswith("mp-zero@") and reader.id.endswith("/mp-face@64184e229b26")
    assert {name for names in SHAPES.values() for name in names} <= set(BLENDSHAPES)
    flat = geometry(np.random.default_rng(0).normal(size=(2, 478, 3)), np.full((2, 52), 0.4))
    reading = reader.of_geometry(flat, flat)
    assert reading.unknown() == (6, 14, 23)
    assert (np.isnan(reading.probabilities) == ~reader.mask).all()
    assert (reading.probabilities[:, reader.mask] < 0.15).all()  # nothing moved
    with pytest.raises(AubenchError, match="did you mean 'mp-zero'"):
        load_reader("mp-zer0", landmarker=landmarker)


def planted(people, each, seed):
    """Changes in which AU k moves points 40 k to 40 k + 24 down; AU14 never occurs."""
    draw = np.random.default_rng(seed)
    count = people * each
    labels = (draw.random((count, 12)) < 0.3).astype(np.int64)
    labels[:, AUS.index(14)] = 0
    labels[:, AUS.index(24)] = draw.integers(0, 2, count)  # nothing to be seen of it
    points = draw.normal(size=(count, 478, 2)) * 0.01
    for k in range(11):
        points[:, 40 * k : 40 * k + 25, 1] += 0.04 * labels[:, k, None]
    shapes = draw.normal(size=(count, 52)) * 0.02
    found = draw.random(count) > 0.05
    points[~found] = np.nan
    subjects = np.repeat([f"{seed}-{i}" for i in range(people)], each)
    return Change(points.astype(np.float32), shapes.astype(np.float32), found), labels, subjects


@pytest.fixture(scope="module")
def fitted():
    moved_, labels, subjects = planted(20, 12, 1)
    labels[::7, 0] = -1  # unknown
    return GeometryHead.fit(moved_, labels, subjects)


def test_a_head_finds_what_was_planted(fitted):
    test, labels, _ = planted(10, 20, 2)
    p, seen = fitted.probabilities(test), test.found
    assert np.isnan(p[~seen]).all() and not fitted.mask[AUS.index(14)]
    assert np.isnan(p[:, AUS.index(14)]).all()
    areas = {
        au: roc_auc_score(labels[seen, k], p[seen, k])
        for k, au in enumerate(AUS)
        if au not in (14, 24)
    }
    assert min(areas.values()) > 0.9
    for k, au in enumerate(AUS):
        if au in areas:  # calibrated: says as often yes as it is so
            assert abs(p[seen, k].mean() - labels[seen, k].mean()) < 0.1
            found = p[seen, k] >= fitted.thresholds[k]
            assert (found == labels[seen, k]).mean() > 0.8


def test_a_head_reads_a_face_the_same_in_any_company(fitted):
    test, _, _ = planted(5, 8, 3)
    some = Change(test.points[7:8], test.blendshapes[7:8], test.found[7:8])
    np.testing.assert_array_equal(fitted.probabilities(some), fitted.probabilities(test)[7:8])


def test_unknown_labels_do_not_count():
    moved_, labels, subjects = planted(12, 10, 4)
    some = labels.copy()
    some[60:, 0] = -1
    half = GeometryHead.fit(
        Change(moved_.points[:60], moved_.blendshapes[:60], moved_.found[:60]),
        labels[:60],
        subjects[:60],
    )
    whole = GeometryHead.fit(moved_, some, subjects)
    # Folds go by subject and differ; the penalty may too. What is fitted is the same rows.
    assert half.card["penalties"]["AU1"] == whole.card["penalties"]["AU1"]
    np.testing.assert_allclose(half.weight[0], whole.weight[0], atol=1e-6)
    assert np.abs(whole.weight[1] - half.weight[1]).max() > 1e-3


def test_a_head_needs_subjects_and_classes():
    moved_, labels, subjects = planted(4, 10, 5)
    with pytest.raises(AubenchError, match="needs faces of 5 subjects, 4 have any"):
        GeometryHead.fit(moved_, labels, subjects)
    moved_, labels, subjects = planted(6, 10, 5)
    with pytest.raises(AubenchError, match="no AU has both"):
        GeometryHead.fit(moved_, np.zeros_like(labels), subjects)


def test_a_head_is_kept_with_its_card(fitted, tmp_path, landmarker):
    path = tmp_path / "mine.safetensors"
    kept = fitted.save(path, {"command": "as in this test", "seed": None})
    again, digest = GeometryHead.load(path, "fit it")
    for name in ("weight", "bias", "slope", "offset", "thresholds", "mask"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted, name))
    card = json.loads((tmp_path / "mine.card.json").read_text())
    assert card == again.card == kept.card and card["sha256"] == digest
    assert card["command"] == "as in this test" and "AU14" not in card["penalties"]
    reader = load_reader("mp-geo", head=path, landmarker=landmarker)
    assert reader.id == f"mp-geo@{digest[:12]}/{landmarker.id}"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(AubenchError, match=r"mine"):
        GeometryHead.load(path, "fit it")
    with pytest.raises(AubenchError, match="no weights of 'none'"):
        GeometryHead.load(tmp_path / "none.safetensors", "fit it")
    from safetensors.numpy import save_file

    from aubench.storage.files import sha256_file

    save_file({"weight": np.zeros((12, 3), np.float32)}, path)
    card["sha256"] = sha256_file(path)
    (tmp_path / "mine.card.json").write_text(json.dumps(card))
    with pytest.raises(AubenchError, match="is no head of face geometry"):
        GeometryHead.load(path, "fit it")


def test_logistic_and_threshold():
    draw = np.random.default_rng(0)
    score = draw.normal(size=20000) * 0.2
    on = (draw.random(20000) < 1 / (1 + np.exp(-(6 * score - 1)))).astype(int)
    slope, offset = logistic(score, on)
    assert slope == pytest.approx(6, rel=0.06) and offset == pytest.approx(-1, abs=0.06)
    assert best_threshold(np.array([0.1, 0.3, 0.62, 0.9]), np.array([0, 0, 1, 1])) == 0.5
    assert best_threshold(np.array([0.1, 0.3, 0.9]), np.array([0, 1, 1])) == 0.3


def rendered(people, each, seed):
    """Faces, references, rows, labels and subjects: each person in one scene."""
    draw = np.random.default_rng(seed)
    faces, references, labels, rows = [], [], [], []
    for row, person in enumerate(people):
        name, scene = f"S{person:03d}", person * 100 + 1
        references.append(render(name, np.zeros(12), scene, size=SIZE))
        for _ in range(each):
            on = (draw.random(12) < 0.25).astype(np.int64)
            faces.append(render(name, on * draw.uniform(2, 5, 12).round(1), scene, size=SIZE))
            labels.append(on)
            rows.append(row)
    return (
        np.stack(faces),
        np.stack(references),
        np.array(rows),
        np.array(labels),
        np.array([f"S{people[row]:03d}" for row in rows]),
    )


@pytest.fixture(scope="module")
def unseen():
    return rendered(range(330, 342), 5, 8)


@pytest.fixture(scope="module")
def readers(landmarker):
    faces, references, rows, labels, subjects = rendered(range(0, 28), 6, 7)
    moved_ = change(landmarker.landmarks(faces), landmarker.landmarks(references), rows)
    assert moved_.found.all()
    head = GeometryHead.fit(moved_, labels, subjects)
    return {
        "mp-zero": zero_reader(landmarker),
        "mp-geo": geometry_reader(landmarker, head, "0" * 64),
    }


def areas_of(reading, labels):
    known = [k for k in range(12) if reading.mask[k]]
    return {AUS[k]: roc_auc_score(labels[:, k], reading.probabilities[:, k]) for k in known}


@pytest.mark.slow
def test_readers_on_people_that_none_was_fitted_on(readers, unseen):
    faces, references, rows, labels, _ = unseen
    areas = {
        name: areas_of(reader.read(faces, references, rows), labels)
        for name, reader in readers.items()
    }
    assert np.mean([areas["mp-zero"][au] for au in SHAPES if au != 24]) > 0.85
    assert len(areas["mp-geo"]) >= 10 and np.mean(list(areas["mp-geo"].values())) > 0.85
    # The head reads from the points what no blendshape follows.
    assert areas["mp-geo"][6] > 0.6


@pytest.mark.slow
def test_a_copied_reference_has_no_au(readers, unseen):
    _, references, rows, _, _ = unseen
    for reader in readers.values():
        p = reader.read(references[rows], references, rows).probabilities
        assert np.ptp(p[:, reader.mask], axis=0).max() < 1e-6
        assert (p[:, reader.mask] < 0.5).all()


def blurred(images, sigma):
    return gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0))


@pytest.fixture(scope="module")
def strong():
    """Single strong AUs of eight persons: targets, references, rows, the columns of the AUs."""
    aus, people = (1, 2, 4, 10, 12, 15, 17), range(342, 350)
    keys = [(f"S{person:03d}", au, person * 100 + 1) for person in people for au in aus]
    targets = [render(name, labels_of([au]) * 4.5, scene, size=SIZE) for name, au, scene in keys]
    references = [render(f"S{p:03d}", np.zeros(12), p * 100 + 1, size=SIZE) for p in people]
    columns = np.array([AUS.index(au) for _, au, _ in keys])
    return (
        np.stack(targets),
        np.stack(references),
        np.repeat(np.arange(len(people)), len(aus)),
        columns,
    )


def as_pixels(values):
    return np.clip(values, 0, 255).round().astype(np.uint8)


def decals(targets, base, people, sigma):
    """What an AU does to the pixels of the other persons on average, pasted onto each reference.

    Without what is coarser than ``sigma`` pixels.
    """
    gone = (targets - base).reshape(people, -1, *targets.shape[1:])
    others = ((gone.sum(0) - gone) / (people - 1)).reshape(targets.shape)
    return as_pixels(base + others - blurred(others, sigma))


@pytest.mark.slow
def test_texture_without_motion_moves_the_readings_little(readers, strong):
    """Mean gain of the asked AU's probability over a copy of the reference, by what was pasted.

    Fine detail of the target (finer than 1 px; coarser detail holds the moved contours) and decals
    gain a fraction of what the true target gains, and decals with their shading less than what they
    gain of the detectors that see pixels.
    """
    from aubench.networks.detectors.registry import load

    targets, references, rows, columns = strong
    base = references[rows].astype(np.float32)
    kinds = {
        "copy": references[rows],
        "true": targets,
        "detail": as_pixels(base + targets - blurred(targets, 1)),
        "decals": decals(targets, base, len(references), 2),
        "shaded decals": decals(targets, base, len(references), 8),
    }
    assert (np.abs(kinds["detail"] - base).mean() > 2).all()  # it is plain to see

    def shares(read):
        p = {kind: read(images)[np.arange(len(rows)), columns] for kind, images in kinds.items()}
        true = (p["true"] - p["copy"]).mean()
        assert true > 0.6
        return {kind: float((p[kind] - p["copy"]).mean() / true) for kind in kinds}

    pixels = [shares(load(name).probabilities)["shaded decals"] for name in ("nano-a", "nano-b")]
    for reader in readers.values():
        found = shares(lambda images: reader.read(images, references, rows).probabilities)  # noqa: B023
        assert found["detail"] < 0.3 and found["decals"] < 0.25
        assert found["shaded decals"] < min(pixels) - 0.1


def test_the_head_is_solved_and_takes_no_option_of_a_training(aubench):
    words = ("train-au-detector", "--preset", "mp-geo", "--rate", 0.1)
    done = aubench(*words, check=2)
    assert "--rate is not for --preset mp-geo" in done.stderr and "--limit" in done.stderr


@pytest.mark.slow
def test_one_command_fits_a_head_and_scores_it_on_unseen_subjects(landmarker, tmp_path, aubench):
    words = ("train-au-detector", "--preset", "mp-geo", "--limit", 64, "--out", "head")
    done = aubench(*words, check=0)
    assert "mean  AUC" in done.stdout
    path = tmp_path / "head" / "mp-geo.safetensors"
    head, _ = GeometryHead.load(path, "fit it")
    card = json.loads(path.with_suffix(".card.json").read_text())
    scores = card["scores on unseen subjects"]
    assert card["command"] == "aubench train-au-detector --preset mp-geo --limit 64"
    assert card["data"]["faces"] == card["data"]["subjects"] == 64
    assert card["data"]["name"] == "synfacs" and card["data"]["split"] == "train"
    assert scores["faces"] + scores["faces not found"] == scores["subjects"] == 21
    assert set(scores["AUC"]) <= {
        f"AU{au}" for au, known in zip(AUS, head.mask, strict=True) if known
    }
    assert scores["mean AUC"] > 0.75 and scores["mean correlation with intensity"] > 0.35
    assert load_reader("mp-geo", head=path, landmarker=landmarker).card == card


def test_unknown_labels_count_for_no_score():
    from aubench.networks.face_landmarker.train import Pairs, scores_on

    draw = np.random.default_rng(5)
    labels = (draw.random((40, 12)) < 0.5).astype(np.int64)
    levels = np.where(labels == 1, 3.0, 0.0).astype(np.float32)
    p = np.where(labels == 1, 0.9, 0.1).astype(np.float32)
    labels[:10], levels[:10], p[:10] = -1, np.nan, 1 - p[:10]
    levels[:, 1] = np.nan
    seen = type("Moved", (), {"found": np.ones(40, np.bool_)})()
    scores = scores_on(p, Pairs(seen, labels, levels, np.array(["S1"] * 40)), p)
    assert scores["mean AUC"] == 1 and len(scores["AUC"]) == 12
    assert scores["mean correlation with intensity"] == pytest.approx(1)
    assert "AU2" not in scores["correlation with intensity"]
