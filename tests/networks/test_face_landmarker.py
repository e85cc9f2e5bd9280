"""The face landmarker: parity with LiteRT, any batch, bad pictures, damaged archives."""

import dataclasses
import shutil
import zipfile

import numpy as np
import pytest
import torch

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.face_landmarker import (
    BLENDSHAPE_POINTS,
    BLENDSHAPES,
    FaceLandmarker,
    five_points,
)
from aubench.networks.face_landmarker import archive as task
from aubench.networks.face_landmarker.detection import Detection, anchors, decode, joined
from aubench.networks.face_landmarker.flatbuffer import NotTFLite, read
from aubench.networks.face_landmarker.operators import Network, convolution, same_padding
from aubench.networks.face_landmarker.regions import Region, view
from aubench.synfacs.points import face_points
from aubench.synfacs.render import render


def drawn(count, seed, size, framing="face"):
    """Rendered faces of random people and AUs, and their true points."""
    rng = np.random.default_rng(seed)
    keys = []
    for _ in range(count):
        person = int(rng.integers(0, 400))
        values = np.where(rng.random(12) < 0.25, rng.uniform(1, 5, 12), 0).round(1)
        keys.append((f"S{person:03d}", values, person * 100 + int(rng.integers(0, 5))))
    images = np.stack([render(*key, size=size, framing=framing) for key in keys])
    return images, np.stack([face_points(*key, size=size, framing=framing) for key in keys])


@pytest.fixture(scope="module")
def faces():
    return drawn(24, 5, 192)


@pytest.fixture(scope="module")
def geometry(landmarker, faces):
    return landmarker.landmarks(faces[0])


class LiteRT(torch.nn.Module):
    """A network as Google's runtime runs it, one row after the other."""

    def __init__(self, model):
        super().__init__()
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_content=model, num_threads=1)
        self.interpreter.allocate_tensors()

    def forward(self, x):
        at = self.interpreter.get_input_details()[0]["index"]
        rows = []
        for row in x.numpy():
            self.interpreter.set_tensor(at, row[None])
            self.interpreter.invoke()
            outs = self.interpreter.get_output_details()
            # A network of one face may drop its batch of one.
            values = [self.interpreter.get_tensor(out["index"]) for out in outs]
            rows.append([v[None] if v.shape[0] != 1 else v for v in values])
        return [torch.from_numpy(np.concatenate(parts)) for parts in zip(*rows, strict=True)]


@pytest.fixture(scope="module")
def by_litert(landmarker, mp_face):
    names = {
        "face_detector": "detector",
        "face_landmarks_detector": "landmarks_network",
        "face_blendshapes": "blendshape_network",
    }
    networks = {names[name]: LiteRT(data) for name, data in task.members(mp_face).items()}
    return dataclasses.replace(landmarker, **networks)


def test_points_and_blendshapes_are_litert_s(by_litert, geometry, faces):
    theirs = by_litert.landmarks(faces[0])
    assert theirs.found.all() and geometry.found.all()
    away = np.linalg.norm(geometry.points[..., :2] - theirs.points[..., :2], axis=2)
    assert away.max() < 0.05
    assert np.abs(geometry.points[..., 2] - theirs.points[..., 2]).max() < 0.05
    assert np.abs(geometry.blendshapes - theirs.blendshapes).max() < 1e-3
    assert np.abs(geometry.presence - theirs.presence).max() < 1e-4
    # The faces differ by far more than that.
    assert geometry.blendshapes.std(0).max() > 0.1


def test_each_network_is_litert_s_on_noise(landmarker, by_litert):
    draw = np.random.default_rng(3)
    shapes = {
        "detector": (128, 128, 3),
        "landmarks_network": (256, 256, 3),
        "blendshape_network": (146, 2),
    }
    for name, shape in shapes.items():
        low = -1 if name == "detector" else 0
        x = torch.from_numpy(draw.uniform(low, 1, (3, *shape)).astype(np.float32))
        with torch.inference_mode():
            ours, theirs = getattr(landmarker, name)(x), getattr(by_litert, name)(x)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape
            assert (a - b).abs().max() < 1e-4 * max(1, b.abs().max())


def test_a_face_reads_the_same_in_any_batch(landmarker, geometry, faces):
    draw = np.random.default_rng(0)
    for count in (1, 7, 24):
        order = draw.permutation(len(faces[0]))[:count]
        other = landmarker.landmarks(faces[0][order])
        for name in ("points", "blendshapes", "presence", "box"):
            np.testing.assert_array_equal(getattr(other, name), getattr(geometry, name)[order])


@pytest.mark.parametrize(("size", "framing"), [(128, "face"), (192, "face"), (256, "head")])
def test_five_points_align_as_the_true_ones(landmarker, size, framing):
    """Crops, in shares of the eye distance: 2 % on average over faces and points."""
    from aubench.datasets.alignment import TEMPLATE, similarity

    images, truth = drawn(24, 7, size, framing)
    seen = landmarker.landmarks(images)
    assert seen.found.all()
    away = []
    for ours, true in zip(five_points(seen.points), truth, strict=True):
        at = [
            true @ m[:, :2].T + m[:, 2]
            for m in (similarity(ours, TEMPLATE), similarity(true, TEMPLATE))
        ]
        away.append(np.linalg.norm(at[0] - at[1], axis=1) / (TEMPLATE[1, 0] - TEMPLATE[0, 0]))
    assert np.mean(away) < 0.02 and np.percentile(away, 95) < 0.045


def test_the_finder_stands_in_for_mtcnn(landmarker, faces):
    """What ``aubench data align`` does with a photograph: a face beside another, then tilted."""
    from PIL import Image

    from aubench.datasets.alignment import TEMPLATE, align
    from aubench.networks.face_landmarker.finder import LandmarkFinder

    finder = LandmarkFinder(landmarker=landmarker)
    scene = np.full((300, 500, 3), 110, np.uint8)
    scene[60:252, 20:212] = faces[0][0]
    scene[100:196, 330:426] = faces[0][1][::2, ::2]
    face = finder(scene)
    assert face.count == 2 and 0.5 <= face.score <= 1
    assert face.box[0] < 116 < face.box[2] and face.box[1] < 156 < face.box[3]
    truth = faces[1][0] + (20, 60)
    eyes = np.linalg.norm(truth[1] - truth[0])
    assert np.linalg.norm(face.points - truth, axis=1).max() < 0.12 * eyes
    upright = finder(align(scene, face.points))
    tilted = np.asarray(Image.fromarray(scene).rotate(35, Image.Resampling.BICUBIC, expand=True))
    again = finder(align(tilted, finder(tilted).points))
    for one in (upright, again):
        assert np.abs(one.points / 256 - TEMPLATE).max() < 0.06
    assert finder(np.zeros((64, 64, 3), np.uint8)) is None


def test_points_turn_and_move_with_the_picture(landmarker, faces, geometry):
    from PIL import Image

    image, angle = faces[0][0], np.radians(40)
    turned = Image.fromarray(image).rotate(-40, Image.Resampling.BICUBIC)
    seen = landmarker.landmarks(np.asarray(turned)[None])
    cos, sin = np.cos(angle), np.sin(angle)
    expected = (geometry.points[0, :, :2] - 96) @ np.array([[cos, sin], [-sin, cos]]) + 96
    assert seen.found[0]
    assert np.linalg.norm(seen.points[0, :, :2] - expected, axis=1).mean() < 3
    scene = np.full((400, 600, 3), 90, np.uint8)
    scene[150:342, 380:572] = image
    moved = landmarker.landmarks(scene[None])
    assert moved.found[0]
    away = np.linalg.norm(moved.points[0, :, :2] - geometry.points[0, :, :2] - (380, 150), axis=1)
    assert away.mean() < 2


def test_bad_pictures_are_named(landmarker, faces):
    draw, image = np.random.default_rng(1), faces[0][0]
    noise = draw.integers(0, 256, (192, 192, 3)).astype(np.uint8)
    grey = np.repeat(image.mean(2).astype(np.uint8)[..., None], 3, 2)
    cut = np.roll(image, -70, 1)
    cut[:, 122:] = 128
    seen = landmarker.landmarks(np.stack([noise, np.zeros_like(noise), grey, cut]))
    assert seen.notes[0] == ("no face",) and seen.notes[1] == ("no face", "greyscale")
    assert not seen.found[:2].any() and np.isnan(seen.points[:2]).all()
    assert np.isnan(seen.blendshapes[:2]).all() and (seen.faces[:2] == 0).all()
    assert seen.found[2] and "greyscale" in seen.notes[2]
    assert seen.found[3] and "at the border" in seen.notes[3]
    assert seen.counts()["greyscale"] == 2
    two = np.full((256, 512, 3), 128, np.uint8)
    two[30:222, 30:222], two[30:222, 290:482] = image, faces[0][1]
    both = landmarker.landmarks(two[None])
    assert both.faces[0] == 2 and "several faces" in both.notes[0]
    from PIL import Image

    tiny = np.asarray(Image.fromarray(image).resize((32, 32)))
    small = landmarker.landmarks(tiny[None])
    assert small.found[0] and "small" in small.notes[0]
    assert len(landmarker.landmarks(np.zeros((0, 64, 64, 3), np.uint8))) == 0
    for shape in ((1, 1), (1, 300), (4000, 3)):
        assert not landmarker.landmarks(np.zeros((1, *shape, 3), np.uint8)).found[0]
    with pytest.raises(TypeError, match="uint8"):
        landmarker.landmarks(image[None].astype(np.float32))


def test_a_profile_is_named(landmarker):
    from aubench.networks.face_landmarker.landmarker import profile

    points = np.zeros((478, 3), np.float32)
    points[33], points[263] = (0, 0, 0), (100, 0, 0)
    points[4] = (50, 60, 0)
    assert not profile(points)
    points[4] = (92, 60, 0)
    assert profile(points)
    assert profile(points * [-1, 1, 1])


def test_names():
    assert len(BLENDSHAPES) == len(set(BLENDSHAPES)) == 52 and BLENDSHAPES[0] == "_neutral"
    assert len(BLENDSHAPE_POINTS) == len(set(BLENDSHAPE_POINTS)) == 146
    assert list(BLENDSHAPE_POINTS) == sorted(BLENDSHAPE_POINTS) and BLENDSHAPE_POINTS[-1] == 477
    assert len(AUS) == 12


def test_same_padding_is_tensorflow_s():
    # Even size, stride 2: nothing before, one after; the output is the ceiling of size / stride.
    assert same_padding(256, 3, 2) == (0, 1)
    assert same_padding(128, 5, 2) == (1, 2)
    assert same_padding(128, 3, 1) == (1, 1)
    assert same_padding(7, 2, 2) == (0, 1)
    x = torch.arange(16.0).reshape(1, 4, 4, 1)
    options = {"padding": 0, "stride_x": 2, "stride_y": 2, "dilation_x": 1, "dilation_y": 1}
    out = convolution(x, torch.ones(1, 1, 3, 3), None, options)[0, :, :, 0]
    # First window starts at the first pixel, since the odd zero goes last.
    assert out.tolist() == [[45.0, 39.0], [66.0, 50.0]]


def test_boxes_are_weighted_and_merged():
    assert anchors().shape == (896, 2)
    np.testing.assert_allclose(anchors()[[0, 1, 2, 512, 895]],
                               [[1 / 32] * 2, [1 / 32] * 2, [3 / 32, 1 / 32], [1 / 16] * 2,
                                [15 / 16] * 2], atol=1e-7)  # fmt: skip
    rows, logits = np.zeros((896, 16), np.float32), np.full(896, -20, np.float32)
    rows[:, 2:4] = 40
    for at, logit in ((100, 3.0), (101, 0.0), (700, 1.0), (0, -0.1)):
        logits[at] = logit
    rows[101, 0] = 8  # a second opinion of the same cell, moved
    found = decode(rows, logits)
    assert len(found) == 2 and found[0].score > found[1].score
    p = 1 / (1 + np.exp(-np.array([3.0, 0.0])))
    centre = (found[0].box[0] + found[0].box[2]) / 2
    assert centre == pytest.approx(anchors()[100, 0] + 8 / 128 * p[1] / p.sum(), abs=1e-6)
    assert decode(rows, np.full(896, -20, np.float32)) == []


def test_views_are_joined_without_counting_twice():
    def face(left, side, score=0.9):
        box = np.array([left, 0, left + side, side], np.float32)
        return Detection(box, np.zeros((6, 2), np.float32), score)

    out = joined([face(0, 50)], [face(5, 50), face(200, 80)])
    assert [one.box[0] for one in out] == [200, 0]
    assert joined([], []) == []


def test_regions_go_there_and_back():
    image = np.zeros((90, 200, 3), np.uint8)
    image[40:44, 120:124] = 255
    for side, angle in ((60.0, 0.0), (60.0, 0.7), (900.0, -2.0)):
        region = Region((110.0, 45.0), side, angle)
        x = region.pixels(image)[..., 0].double()
        where = (x.max(0).values * torch.arange(0.5, 256)).sum() / x.max(0).values.sum()
        row = (x.max(1).values * torch.arange(0.5, 256)).sum() / x.max(1).values.sum()
        back = region.to_image(np.array([[where, row, 0]], np.float32))[0]
        assert np.abs(back[:2] - (122, 42)).max() < 0.02 * side / 6
    seen = view(image, 0.45)
    assert seen.pixels.shape == (128, 128, 3)
    face = Detection(np.array([0.5] * 4, np.float32), np.full((6, 2), 0.5, np.float32), 1.0)
    np.testing.assert_allclose(seen.to_image(face).box, [100, 45, 100, 45], atol=1.6)


def test_damaged_and_foreign_archives_are_refused(mp_face, tmp_path):
    data = mp_face.read_bytes()
    short = tmp_path / "short.task"
    short.write_bytes(data[: len(data) // 2])
    with pytest.raises(AubenchError, match=r"short\.task is no whole archive"):
        FaceLandmarker.load(short)
    with pytest.raises(AubenchError, match=r"cannot read .*none\.task"):
        FaceLandmarker.load(tmp_path / "none.task")
    foreign = tmp_path / "foreign.task"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("hand_detector.tflite", b"x")
    with pytest.raises(AubenchError, match=r"foreign\.task holds no face_detector\.tflite"):
        FaceLandmarker.load(foreign)
    changed = tmp_path / "changed.task"
    with zipfile.ZipFile(mp_face) as given, zipfile.ZipFile(changed, "w") as archive:
        for name in given.namelist():
            part = given.read(name)
            archive.writestr(name, part[:-1] + b"\1" if "blendshapes" in name else part)
    with pytest.raises(
        AubenchError, match=r"face_blendshapes\.tflite in .*changed\.task has digest"
    ):
        FaceLandmarker.load(changed)


def test_the_kept_archive_is_checked(mp_face, tmp_path, monkeypatch):
    from aubench.networks import external_weights as weights

    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    with pytest.raises(weights.MissingWeightsError, match="aubench weights fetch mp-face"):
        FaceLandmarker.load()
    place = weights.place("mp-face")
    place.parent.mkdir(parents=True)
    place.write_bytes(mp_face.read_bytes()[:-1])
    with pytest.raises(AubenchError, match=r"mp-face\.task has digest"):
        FaceLandmarker.load()
    shutil.copy(mp_face, tmp_path / "given.task")
    assert weights.add("mp-face", tmp_path / "given.task") == place


def test_every_cut_of_a_network_is_refused_by_name(mp_face):
    data = task.members(mp_face)["face_blendshapes"]
    with pytest.raises(NotTFLite, match="not a TFLite file"):
        read(b"PK\3\4" + data)
    for cut in (8, 30, 1000, len(data) // 3, len(data) // 2):
        with pytest.raises(NotTFLite):
            Network(read(data[:cut]))
