"""Faces brought into place: known transforms, the renderer's points, a folder of photographs."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aubench.alignment import TEMPLATE, Face, FaceFinder, align, largest, similarity
from aubench.datasets.crops import crop_folder, read_photograph
from aubench.errors import AubenchError
from aubench.synfacs.points import face_points
from aubench.synfacs.render import render

SMILE = np.array([0, 0, 0, 3, 0, 0, 4, 0, 0, 0, 0, 0], np.float32)
NEUTRAL = np.zeros(12, np.float32)


@given(
    angle=st.floats(-3, 3), scale=st.floats(0.05, 20), x=st.floats(-500, 500),
    y=st.floats(-500, 500),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_similarity_is_found_again(angle, scale, x, y):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    known = np.concatenate([turn, [[x], [y]]], 1)
    moved = TEMPLATE.astype(np.float64) @ turn.T + [x, y]
    np.testing.assert_allclose(similarity(TEMPLATE, moved), known, rtol=1e-6, atol=1e-6 * scale)


def test_similarity_is_the_least_squares_one():
    """Any small change of the four parameters fits worse."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    best = similarity(a, b)

    def error(cos, sin, x, y):
        turn = np.array([[cos, -sin], [sin, cos]])
        return ((a @ turn.T + [x, y] - b) ** 2).sum()

    at = np.array([best[0, 0], best[1, 0], best[0, 2], best[1, 2]])
    for step in np.concatenate([np.eye(4), -np.eye(4)]) * 1e-3:
        assert error(*(at + step)) > error(*at)


def test_points_that_coincide_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.ones((5, 2), np.float32), TEMPLATE)


def test_template_is_the_mean_of_the_renderers_framing():
    subjects = range(0, 280, 5)
    found = [face_points(f"S{i:03d}", NEUTRAL, i * 100, size=1) for i in subjects]
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - TEMPLATE) < 3 * error + 0.001).all()


def test_points_lie_on_the_features():
    """Brighter or darker than their surroundings as eyes are, and moved as a smile moves them."""
    rest = face_points("S330", NEUTRAL, 4, size=256)
    smile = face_points("S330", SMILE, 4, size=256)
    np.testing.assert_allclose(smile[:2], rest[:2], atol=0.2)  # eyes stay
    assert (smile[3:, 1] < rest[3:, 1] - 2).all()  # mouth corners rise
    assert smile[3, 0] < rest[3, 0] and smile[4, 0] > rest[4, 0]  # and part
    image = render("S330", NEUTRAL, 4, size=256).astype(float).mean(2)
    for x, y in rest[:2].round().astype(int):
        assert image[y - 2 : y + 3, x - 2 : x + 3].mean() < 0.7 * image[y + 25, x]  # pupil, cheek


@pytest.mark.parametrize(("size", "turn"), [(300, 0), (700, 15), (150, -20)])
def test_aligning_a_wide_view_gives_the_tight_one(size, turn):
    wide = render("S341", NEUTRAL, 9, size=size, framing="head")
    points = face_points("S341", NEUTRAL, 9, size=size, framing="head")
    turned = np.asarray(Image.fromarray(wide).rotate(turn, Image.Resampling.BICUBIC))
    angle, centre = np.deg2rad(turn), np.array([size / 2, size / 2])
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    at = ((points - centre) @ back.T + centre).astype(np.float32)
    crop = align(turned, at, 128)
    tight = render("S341", NEUTRAL, 9, size=128)
    goal = face_points("S341", NEUTRAL, 9, size=128)
    # Exact up to what a mean template cannot know of this face: compare at the face's own points.
    own = similarity(goal, TEMPLATE * 128)
    moved = goal @ own[:, :2].T + own[:, 2]
    for (x, y), (u, v) in zip(goal.round().astype(int), moved.round().astype(int), strict=True):
        a = crop[v - 3 : v + 4, u - 3 : u + 4].astype(float).mean((0, 1))
        b = tight[y - 3 : y + 4, x - 3 : x + 4].astype(float).mean((0, 1))
        assert np.abs(a - b).max() < 14


def test_outside_is_black_and_types_are_checked():
    white = np.full((50, 50, 3), 255, np.uint8)
    crop = align(white, TEMPLATE * 50, 64)
    assert crop.min() > 250
    assert align(white, TEMPLATE * 50 + 40, 64)[0, 0].max() > 250
    assert align(white, TEMPLATE * 50 + 40, 64)[-1, -1].max() == 0
    with pytest.raises(TypeError, match="float64"):
        align(white / 255, TEMPLATE * 50, 64)


def test_the_largest_sure_face_is_taken():
    boxes = np.array([[0, 0, 50, 50], [0, 0, 20, 20], [0, 0, 30, 30]])
    points = np.arange(30).reshape(3, 5, 2)
    face = largest(boxes, [0.5, 0.99, 0.97], points)
    assert face is not None and face.count == 2 and face.score == 0.97
    np.testing.assert_array_equal(face.points, points[2])
    assert largest(boxes, [0.5, 0.2, None], points) is None


def test_finder_agrees_with_the_renderer():
    """MTCNN on rendered heads: every face found, points within a tenth of the eye distance."""
    finder, gaps = FaceFinder(), []
    for i in range(8):
        image = render(f"S{320 + 9 * i}", SMILE if i % 2 else NEUTRAL, i, size=200, framing="head")
        true = face_points(f"S{320 + 9 * i}", SMILE if i % 2 else NEUTRAL, i, size=200,
                           framing="head")  # fmt: skip
        face = finder(image)
        assert face is not None
        gaps.append(np.hypot(*(face.points - true).T) / np.hypot(*(true[1] - true[0])))
    assert np.mean(gaps) < 0.1
    assert finder(np.full((120, 120, 3), 90, np.uint8)) is None


def finder_by_colour(image):
    """Every picture has a face but the blue ones."""
    if image[..., 2].mean() > 200:
        return None
    side = image.shape[0]
    return Face(np.array([0, 0, side, side], np.float32), TEMPLATE * side, 0.99, 1)


@pytest.fixture
def album(tmp_path):
    """Photographs of every kind that a folder may hold."""
    folder = tmp_path / "album"
    (folder / "F001" / "T1").mkdir(parents=True)
    face = render("S321", NEUTRAL, 3, size=96)
    Image.fromarray(face).save(folder / "F001" / "T1" / "0001.jpg", quality=95)
    Image.fromarray(face).convert("L").save(folder / "grey.png")
    Image.fromarray(face).convert("CMYK").save(folder / "print.jpg")
    Image.fromarray(face[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.fromarray(np.rot90(face).copy()).save(folder / "side.jpg", exif=exif, quality=95)
    Image.fromarray(np.tile(np.uint8([0, 0, 255]), (40, 40, 1))).save(folder / "sky.png")
    (folder / "cut.png").write_bytes((folder / "grey.png").read_bytes()[:300])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    return folder


def test_every_photograph_has_a_row_and_none_is_dropped(album, tmp_path):
    crops = crop_folder(album, tmp_path / "out", finder_by_colour, 64)
    status = {crop.image: crop.status for crop in crops}
    assert status == {
        "F001/T1/0001.jpg": "found", "grey.png": "found", "print.jpg": "found",
        "deep.png": "found", "side.jpg": "found", "sky.png": "no face", "cut.png": "unreadable",
        "empty.jpg": "unreadable",
    }  # fmt: skip
    with (tmp_path / "out" / "alignment.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(crops)
    made = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")}
    assert made == {"F001/T1/0001.png", "grey.png", "print.png", "deep.png", "side.png"}
    crop = np.asarray(Image.open(tmp_path / "out" / "deep.png"))
    assert crop.shape == (64, 64, 3) and 20 < crop.mean() < 235  # 16 bits are scaled, not clipped


def test_side_lying_photograph_is_turned_upright(album):
    upright = read_photograph(album / "F001" / "T1" / "0001.jpg").astype(int)
    turned = read_photograph(album / "side.jpg").astype(int)
    assert np.abs(upright - turned).mean() < 4


def test_aligning_resumes_and_notices_changed_files(album, tmp_path):
    out = tmp_path / "out"
    first = crop_folder(album, out, finder_by_colour, 64)
    asked = []

    def counting(image):
        asked.append(image.shape)
        return finder_by_colour(image)

    assert crop_folder(album, out, counting, 64) == first and not asked
    (out / "grey.png").unlink()
    Image.fromarray(np.full((33, 33, 3), 90, np.uint8)).save(album / "sky.png")
    again = crop_folder(album, out, counting, 64)
    assert len(asked) == 2 and {c.status for c in again if c.image == "sky.png"} == {"found"}
    (out / "alignment.csv").write_text("image,status\nx,found\n")
    with pytest.raises(AubenchError, match="line 2"):
        crop_folder(album, out, counting, 64)


def test_bad_folders(tmp_path):
    with pytest.raises(AubenchError, match="no folder"):
        crop_folder(tmp_path / "nothing", tmp_path / "out", finder_by_colour)
    (tmp_path / "bare").mkdir()
    with pytest.raises(AubenchError, match="no image in"):
        crop_folder(tmp_path / "bare", tmp_path / "out", finder_by_colour)
    with pytest.raises(AubenchError, match="lies inside"):
        crop_folder(tmp_path / "bare", tmp_path / "bare" / "out", finder_by_colour)


def test_command(aubench, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    Image.fromarray(render("S322", NEUTRAL, 3, size=200, framing="head")).save(folder / "a.png")
    Image.fromarray(np.full((80, 80, 3), 50, np.uint8)).save(folder / "b.png")
    done = aubench("data", "align", folder, "--out", "out", "--size", 64, check=0)
    assert "1 found, 1 no face, 0 unreadable" in done.stdout and "no face: b.png" in done.stderr
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (64, 64)
