"""Faces brought into place: known transforms, the renderer's points, a folder of photographs."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aubench.datasets.alignment import TEMPLATE, Face, align, similarity
from aubench.datasets.face_finders import MtcnnFinder, largest, load_finder
from aubench.datasets.importing.crops import crop_folder
from aubench.errors import AubenchError
from aubench.storage.pictures import load_picture
from aubench.synfacs.points import face_points
from aubench.synfacs.render import render

SMILE = np.array([0, 0, 0, 3, 0, 0, 4, 0, 0, 0, 0, 0], np.float32)
NEUTRAL = np.zeros(12, np.float32)


@given(
    angle=st.floats(-3, 3),
    scale=st.floats(0.05, 20),
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
)
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


def test_crops_agree_with_the_renderers_points(mp_face):
    """The five points after alignment, by finder and renderer: within 2 % of the eyes."""
    finder, gaps = load_finder(), []
    for i in range(10):
        values, size = SMILE if i % 2 else NEUTRAL, 192
        framing = "head" if i % 3 else "face"
        image = render(f"S{320 + 7 * i}", values, i, size=size, framing=framing)
        true = face_points(f"S{320 + 7 * i}", values, i, size=size, framing=framing)
        face = finder(image)
        assert face is not None and face.score > 0.5 and face.count == 1
        ours, theirs = (similarity(p, TEMPLATE * 128) for p in (face.points, true))
        places = [true @ m[:, :2].T + m[:, 2] for m in (ours, theirs)]
        gaps.append(np.hypot(*(places[0] - places[1]).T).mean() / (0.31 * 128))
    assert np.mean(gaps) < 0.02
    assert finder(np.full((120, 120, 3), 90, np.uint8)) is None


def test_a_photograph_is_found_at_any_size_and_place(mp_face):
    """scikit-image's astronaut: as it is, large, and small in a large picture, the same points."""
    from skimage import data

    photograph, finder = data.astronaut(), load_finder()
    face = finder(photograph)
    assert face.count == 1 and face.notes == ()
    eyes = np.hypot(*(face.points[1] - face.points[0]))
    grey = np.full((1200, 1600, 3), 120, np.uint8)
    scene = grey.copy()
    scene[500:1012, 900:1412] = photograph  # the face takes 6 % of the longer side
    large = np.asarray(Image.fromarray(photograph).resize((1536, 1536), Image.Resampling.BICUBIC))
    for image, scale, shift in ((scene, 1, (900, 500)), (large, 3, (0, 0))):
        found = finder(image)
        off = np.hypot(*((found.points - shift) / scale - face.points).T)
        assert off.max() < 0.05 * eyes and "at the border" not in found.notes
    assert finder(grey) is None


def test_what_is_odd_of_a_face_is_noted(mp_face):
    from skimage import data

    photograph, finder = data.astronaut(), load_finder()
    head = photograph[:220, 110:330]
    assert finder(np.repeat(head[..., :1], 3, 2)).notes == ("greyscale",)
    assert "at the border" in finder(photograph[:220, 200:420]).notes
    small = np.asarray(Image.fromarray(head).resize((32, 32), Image.Resampling.BICUBIC))
    assert "small" in finder(small).notes
    several = finder(np.concatenate([head, head[:, ::-1]], 1))
    assert several.count == 2 and several.notes == ("several faces",)


def test_mtcnn_is_a_choice_and_says_how_it_is_had(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    with pytest.raises(AubenchError, match="mtcnn needs the package facenet-pytorch"):
        MtcnnFinder()
    with pytest.raises(AubenchError, match="did you mean 'mtcnn'"):
        load_finder("mtcn")


def test_mtcnn_searches_a_large_picture_small(monkeypatch):
    """Points come back in pixels of the picture; where the small one shows none, the whole does."""
    asked = []

    class Stand:
        def __init__(self, **_):
            self.least = 0

        def detect(self, image, landmarks):
            asked.append(image.shape[:2])
            if max(image.shape[:2]) < self.least:
                return None, [None], None
            box = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
            return box, [0.99], np.ones((1, 5, 2), np.float32) * image.shape[0] / 2

    stand = Stand()
    monkeypatch.setattr(MtcnnFinder, "__init__", lambda self: setattr(self, "_finder", stand))
    finder, picture = MtcnnFinder(), np.zeros((1280, 960, 3), np.uint8)
    face = finder(picture)
    assert asked == [(640, 480)] and face.box.tolist() == [0, 0, 960, 1280]
    np.testing.assert_allclose(face.points, 640)
    stand.least = 1000
    assert finder(picture).box.tolist() == [0, 0, 960, 1280] and asked[1:] == [
        (640, 480),
        (1280, 960),
    ]


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
        "F001/T1/0001.jpg": "found",
        "grey.png": "found",
        "print.jpg": "found",
        "deep.png": "found",
        "side.jpg": "found",
        "sky.png": "no face",
        "cut.png": "unreadable",
        "empty.jpg": "unreadable",
    }
    with (tmp_path / "out" / "alignment.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(crops)
    made = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")}
    assert made == {"F001/T1/0001.png", "grey.png", "print.png", "deep.png", "side.png"}
    crop = np.asarray(Image.open(tmp_path / "out" / "deep.png"))
    assert crop.shape == (64, 64, 3) and 20 < crop.mean() < 235  # 16 bits are scaled, not clipped


def test_side_lying_photograph_is_turned_upright(album):
    upright = load_picture(album / "F001" / "T1" / "0001.jpg").astype(int)
    turned = load_picture(album / "side.jpg").astype(int)
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
    Image.fromarray(render("S322", NEUTRAL, 3, size=33)).save(album / "sky.png")
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


def test_command(aubench, tmp_path, mp_face):
    folder = tmp_path / "faces"
    folder.mkdir()
    Image.fromarray(render("S322", NEUTRAL, 3, size=200, framing="head")).save(folder / "a.png")
    Image.fromarray(np.full((80, 80, 3), 50, np.uint8)).save(folder / "b.png")
    done = aubench("data", "align", folder, "--out", "out", "--size", 64, check=0)
    assert "1 found, 1 no face, 0 unreadable" in done.stdout and "no face: b.png" in done.stderr
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (64, 64)
    (folder / "a.png").unlink()
    done = aubench("data", "align", folder, "--out", "none", check=2)
    assert "no face in" in done.stderr and "alignment.csv" in done.stderr
