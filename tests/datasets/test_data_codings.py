"""AU codes as files hold them; trees of files, unpacked or not."""

import os
import zipfile

import numpy as np
import pytest

from aubench.datasets.readers.codings import (
    BP4D_PLUS,
    CodingError,
    read_intensities,
    read_intensity,
    read_occurrence,
)
from aubench.datasets.readers.landmarks import Landmarks, five
from aubench.datasets.readers.sequences import match_images, spans, twelve
from aubench.datasets.readers.trees import read_entry, read_tree
from aubench.errors import AubenchError
from aubench.facs import AUS

HEAD = "0," + ",".join(map(str, AUS))
ROW = "7,1,0,9,0,0,0,1,0,0,0,0,9"
VALUES = [1, 0, np.nan, 0, 0, 0, 1, 0, 0, 0, 0, np.nan]


@pytest.mark.parametrize(
    "data",
    [
        f"{HEAD}\n{ROW}\n".encode(),
        f"{ROW}\n".encode(),  # no header
        b"\xef\xbb\xbf" + f"{HEAD}\r\n{ROW}\r\n\r\n".encode(),  # BOM, CRLF, an empty line
        f"{HEAD}\n{ROW}\n".encode("utf-16"),
        f"{HEAD}\n{ROW},,\n".encode(),  # empty cells at the end
        f"Frame,{','.join(f'AU{au:02d}' for au in AUS)}\n{ROW}".encode(),
        HEAD.replace(",", "\t").encode() + b"\n" + ROW.replace(",", "\t").encode(),
        ROW.replace(",", "  ").encode(),
        f"{HEAD}\n{ROW}\n{ROW}\n".encode(),  # the same line twice
    ],
)
def test_one_coding_in_many_spellings(data):
    coding = read_occurrence(data)
    assert coding.aus == AUS and coding.frames.tolist() == [7] and coding.repeated == ()
    np.testing.assert_array_equal(coding.values, [VALUES])


def test_unknown_is_never_absent():
    _, labels, values, _, _ = twelve(read_occurrence(f"{HEAD}\n{ROW}".encode()), [])
    assert labels[0].tolist() == [1, 0, -1, 0, 0, 0, 1, 0, 0, 0, 0, -1]
    assert np.isnan(values).all()


def test_columns_without_header_follow_from_their_number():
    row = ",".join(["3", *("1" if au in (6, 12, 39) else "0" for au in BP4D_PLUS)])
    coding = read_occurrence(row.encode())
    assert coding.aus == BP4D_PLUS
    _, labels, _, others, _ = twelve(coding, [])
    assert [au for au, on in zip(AUS, labels[0], strict=True) if on] == [6, 12]
    assert others.tolist() == [True]  # AU39
    assert read_occurrence(b"3,1,0", (12, 6)).aus == (12, 6)
    with pytest.raises(CodingError, match="no header and 2 columns"):
        read_occurrence(b"3,1,0")


def test_frames_are_sorted_and_contradictions_unknown():
    coding = read_occurrence(b"0,6,12,2\n9,1,0,0\n8,0,0,0\n9,1,1,0\n")
    assert coding.frames.tolist() == [8, 9] and coding.repeated == (9,)
    np.testing.assert_array_equal(coding.values, [[0, 0, 0], [1, np.nan, 0]])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\r\n \r\n", "is empty"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is not UTF-8 text"),
        (HEAD.encode(), "holds no frame"),
        (f"{HEAD}\n7,1,0".encode(), "line 2 has 3 cells"),
        (f"{HEAD}\n{ROW.replace('1', '2')}".encode(), "line 2: '2' is no code of AU1"),
        (f"{HEAD}\nx{ROW}".encode(), "line 2: 'x7' is no frame"),
        (f"{HEAD}\nnan{ROW[1:]}".encode(), "is no frame"),
        (f"{HEAD}\n-{ROW}".encode(), "is no frame"),
        (b"0,6,6\n1,0,0", "one twice"),
        (b"0,6,x\n1,0,0", "'x' is no AU"),
    ],
)
def test_a_file_that_is_no_coding_says_why(data, why):
    with pytest.raises(CodingError, match=why):
        read_occurrence(data)


def test_intensities_of_both_kinds_agree():
    one = read_intensities(b"0,6,12\n5,0,3\n6,9,5\n")
    for au, column in zip((6, 12), one.values.T, strict=True):
        rows = "".join(
            f"{f},{9 if np.isnan(v) else int(v)}\n" for f, v in zip((5, 6), column, strict=True)
        )
        for data in (rows, "frame,intensity\n" + rows):
            found = read_intensity(data.encode(), au)
            np.testing.assert_array_equal(found.values[:, 0], column)
    with pytest.raises(CodingError, match="'6' is no code"):
        read_intensity(b"5,6\n", 6)


def test_an_intensity_against_its_label_is_unknown_and_counted():
    occurrence = read_occurrence(f"{HEAD}\n{ROW}".encode())
    graded = [
        read_intensity(b"7,3\n8,1\n", 12),
        read_intensity(b"7,2\n", 6),
        read_intensity(b"7,2\n", 4),
    ]
    frames, _, values, _, against = twelve(occurrence, graded)
    assert frames.tolist() == [7]  # a frame without occurrence is no frame
    assert values[0, AUS.index(12)] == 3
    assert against == 1 and np.isnan(values[0, AUS.index(6)])  # AU6 is absent, yet graded
    assert np.isnan(values[0, AUS.index(4)])  # AU4 is unknown


def test_labels_from_intensities_take_a_threshold():
    graded = [read_intensity(b"1,0\n2,1\n3,2\n4,9\n", 12), read_intensity(b"1,0\n2,3\n", 25)]
    frames, labels, values, others, _ = twelve(None, graded, 2)
    at = AUS.index(12)
    assert labels[:, at].tolist() == [0, 0, 1, -1]
    np.testing.assert_array_equal(values[:, at], [0, 1, 2, np.nan])
    assert others.tolist() == [False, True, False, False]
    assert (labels[:, AUS.index(7)] == -1).all() and frames.tolist() == [1, 2, 3, 4]


def test_spans():
    assert spans([3]) == "1: 3"
    assert spans([1, 2, 3, 7, 9, 10]) == "6: 1-3, 7, 9-10"


def _zip(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as stream:
        for name, data in members.items():
            stream.writestr(name, data)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    members = {
        "F001/T1/1": "one",
        "F001/T1/2": "two",
        "F001/T1/3": "three",
        "__MACOSX/._1": "x",
        "F001/Thumbs.db": "x",
        "F001/notes": "x",
        "../out": "x",
    }
    _zip(root / "2D" / "F001.zip", members)
    for name, data in {"1": "one", "2": "tw", ".DS_Store": "x", "Thumbs.db": "x"}.items():
        path = root / "2D" / "F001" / "T1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data)
    return root


def test_a_half_unpacked_archive_is_whole(tree):
    found = read_tree(tree, lambda path: "/T1/" in path)
    images = {n: [e for e in found.entries if e.path.endswith(f"/{n}")] for n in (1, 2, 3)}
    assert {n: len(e) for n, e in images.items()} == {1: 2, 2: 2, 3: 1}
    chosen, faults = match_images(tree, "F001/T1", np.array([1, 2, 3, 4], np.int32), images)
    assert [read_entry(tree, e) for e in chosen[:3]] == [b"one", b"two", b"three"]
    assert chosen[0].archive is None and chosen[1].archive == "2D/F001.zip"  # "tw" was cut short
    assert chosen[3] is None and [f.kind for f in faults] == ["label without frame"]


def test_strays_are_not_listed(tree):
    names = {e.path.rsplit("/", 1)[1] for e in read_tree(tree, lambda path: True).entries}
    assert names == {"1", "2", "3", "notes"}


def test_the_order_of_the_file_system_does_not_matter(tree, monkeypatch):
    plain = read_tree(tree, lambda path: True).entries
    walk = os.walk

    def backwards(*args, **more):
        for folder, folders, names in walk(*args, **more):
            folders.reverse()
            yield folder, folders, names[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    assert read_tree(tree, lambda path: True).entries == plain


def test_links_in_a_circle_end(tree):
    (tree / "2D" / "again").symlink_to(tree, target_is_directory=True)
    assert len(read_tree(tree, lambda path: True).entries) == 6


def test_archives_that_cannot_be_read_are_named(tree):
    whole = (tree / "2D" / "F001.zip").read_bytes()
    (tree / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tree / "zero.zip").write_bytes(b"")
    found = read_tree(tree, lambda path: True)
    assert set(found.broken) == {"cut.zip", "zero.zip"}
    assert len(found.entries) == 6


def test_two_images_of_a_frame(tmp_path):
    for name, data in {"a1": "x", "a01": "x", "b1": "x", "b01": "y"}.items():
        (tmp_path / name).write_text(data)
    entries = {e.path: e for e in read_tree(tmp_path, lambda path: True).entries}
    same = {1: [entries["a01"], entries["a1"]], 2: [entries["b01"], entries["b1"]]}
    chosen, faults = match_images(tmp_path, "F001/T1", np.array([1, 2], np.int32), same)
    assert chosen == (entries["a01"], None)
    assert [(f.kind, f.where) for f in faults] == [("duplicated frame", "F001/T1/2")]


def test_five_points_of_many(tmp_path):
    points = np.arange(136, dtype=float)
    found = np.array(five(points.tolist())).reshape(5, 2)
    whole = points.reshape(68, 2)
    np.testing.assert_allclose(found[0], whole[36:42].mean(0))
    np.testing.assert_allclose(found[2:], whole[[30, 48, 54]])
    assert five(list(range(10))) == tuple(map(float, range(10)))
    with pytest.raises(ValueError, match="7 numbers"):
        five([0.0] * 7)
    with pytest.raises(AubenchError, match="no folder"):
        Landmarks(tmp_path / "none")
