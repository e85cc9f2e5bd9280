"""DISFA and BP4D that came incomplete, double or broken: what is told, and what is left unknown."""

import zipfile

import numpy as np
import pytest
import trees

from aubench.datasets.readers.bp4d import BP4DReader
from aubench.datasets.readers.disfa import CODED, DISFAReader
from aubench.errors import AubenchError
from aubench.facs import AUS


def told(found):
    return [(fault.kind, fault.where) for fault in found.faults]


def codes(root, subject, frames=4, aus=CODED, level=3):
    for au in aus:
        lines = [f"{frame},{level if frame == 2 else 0}\n" for frame in range(1, frames + 1)]
        trees.write(root / f"ActionUnit_Labels/{subject}/{subject}_au{au}.txt", "".join(lines))


def video(root, subject, side="Left", name="comp"):
    """The reader looks at names alone; frames are decoded when faces are cut."""
    return trees.write(root / f"{side}/{side}Video{subject}_{name}.avi", b"RIFF")


def test_disfa_whole(tmp_path):
    codes(tmp_path, "SN001")
    video(tmp_path, "SN001")
    video(tmp_path, "SN001", "Right")
    found = DISFAReader().read(tmp_path)
    assert found.faults == () and found.images == 4
    (one,) = found.sequences
    assert one.labels[:, AUS.index(12)].tolist() == [0, 1, 0, 0]
    assert (one.labels[:, AUS.index(7)] == -1).all()  # DISFA does not code it
    assert not (DISFAReader(threshold=4).read(tmp_path).sequences[0].labels == 1).any()
    assert [s.task for s in DISFAReader(camera="both").read(tmp_path).sequences] == [
        "left",
        "right",
    ]


def test_disfa_tells_who_lacks_codes_or_video(tmp_path):
    codes(tmp_path, "SN001")
    video(tmp_path, "SN001")
    codes(tmp_path, "SN002")
    video(tmp_path, "SN003")
    found = DISFAReader().read(tmp_path)
    assert [s.subject for s in found.sequences] == ["SN001"]
    assert told(found) == [("label without frame", "SN002"), ("missing label file", "SN003")]
    with pytest.raises(AubenchError, match="no video of the right camera") as caught:
        DISFAReader(camera="right").read(tmp_path)
    assert caught.value.hint == "try --camera"


def test_disfa_codes_that_cannot_be_read_are_unknown(tmp_path):
    codes(tmp_path, "SN001")
    video(tmp_path, "SN001")
    place = tmp_path / "ActionUnit_Labels/SN001"
    (place / "SN001_au4.txt").write_text("no coding at all")
    with (place / "SN001_au6.txt").open("a") as stream:
        stream.write("3,4\n")  # 0 before
    found = DISFAReader().read(tmp_path)
    assert told(found) == [
        ("unreadable label file", "ActionUnit_Labels/SN001/SN001_au4.txt"),
        ("label twice", "SN001 AU6"),
    ]
    (one,) = found.sequences
    assert (one.labels[:, AUS.index(4)] == -1).all()
    assert one.labels[:, AUS.index(6)].tolist() == [0, 1, -1, 0]
    for au in CODED:
        (place / f"SN001_au{au}.txt").write_text("")
    assert DISFAReader().read(tmp_path).sequences == ()  # nothing is known of any frame


def test_disfa_videos_in_an_archive_or_double(tmp_path):
    codes(tmp_path, "SN001")
    codes(tmp_path, "SN002")
    first = video(tmp_path, "SN001")
    second = video(tmp_path, "SN001", name="copy")
    with zipfile.ZipFile(tmp_path / "Left.zip", "w") as stream:
        stream.writestr("LeftVideoSN002_comp.avi", b"RIFF")
    found = DISFAReader().read(tmp_path)
    assert told(found) == [("video twice", "SN001/left"), ("video in an archive", "SN002/left")]
    assert found.faults[1].detail == "inside Left.zip; unpack it"
    assert {entry.path for entry in found.sequences[0].images} == {
        min(path.relative_to(tmp_path).as_posix() for path in (first, second))
    }


@pytest.fixture
def bp4d(tmp_path):
    """One sequence of four frames; AU 12 in frame 2, at level 3."""
    lines = ["0," + ",".join(map(str, AUS))]
    lines += [
        f"{f}," + ",".join("1" if f == 2 and au == 12 else "0" for au in AUS) for f in range(1, 5)
    ]
    trees.write(tmp_path / "AU_OCC/F001_T1.csv", "\n".join(lines) + "\n")
    trees.write(tmp_path / "AU_INT/AU12/F001_T1_AU12.csv", "1,0\n2,3\n3,0\n4,0\n")
    for frame in range(1, 5):
        trees.write(tmp_path / f"F001/T1/{frame}.jpg", b"picture")
    return tmp_path


def test_bp4d_codes_without_images_are_no_data_set(bp4d):
    assert BP4DReader().read(bp4d).faults == ()
    for path in (bp4d / "F001/T1").iterdir():
        path.unlink()
    trees.write(bp4d / "Thermal/F001/T1/1.jpg", b"picture")  # not of the camera that was coded
    with pytest.raises(AubenchError, match=r"no F001/T1/\*\.jpg"):
        BP4DReader().read(bp4d)


def test_bp4d_a_frame_coded_twice_is_unknown_where_the_codes_differ(bp4d):
    path = bp4d / "AU_OCC/F001_T1.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "3,1" + ",0" * (len(AUS) - 1)]) + "\n")
    found = BP4DReader().read(bp4d)
    assert told(found) == [("label twice", "F001/T1/3")]
    labels = found.sequences[0].labels
    assert labels[2].tolist() == [-1] + [0] * (len(AUS) - 1)
    assert labels[1, AUS.index(12)] == 1


def test_bp4d_intensities_that_are_broken_or_contradict(bp4d):
    path = bp4d / "AU_INT/AU12/F001_T1_AU12.csv"
    path.write_text("1,2\n2,3\n3,0\n4,0\n")  # frame 1 has AU 12 by this file alone
    found = BP4DReader().read(bp4d)
    assert told(found) == [("intensity against label", "F001/T1")]
    one = found.sequences[0]
    column = one.intensities[:, AUS.index(12)]
    assert np.isnan(column[0]) and column[1:].tolist() == [3, 0, 0]
    assert one.labels[:, AUS.index(12)].tolist() == [0, 1, 0, 0]
    path.write_bytes(b"\x00\x01")
    found = BP4DReader().read(bp4d)
    assert told(found) == [("unreadable intensities", "AU_INT/AU12/F001_T1_AU12.csv")]
    assert np.isnan(found.sequences[0].intensities[:, AUS.index(12)]).all()


def test_bp4d_codes_inside_a_damaged_archive_are_told(bp4d):
    """The archive lists its files, and their bytes are broken."""
    path = bp4d / "AU_OCC/F001_T1.csv"
    with zipfile.ZipFile(bp4d / "codes.zip", "w", zipfile.ZIP_STORED) as stream:
        stream.writestr("AU_OCC/F002_T1.csv", path.read_text())
    data = (bp4d / "codes.zip").read_bytes()
    (bp4d / "codes.zip").write_bytes(data.replace(b"\n3,", b"\n5,", 1))
    found = BP4DReader().read(bp4d)
    assert told(found) == [("unreadable label file", "codes.zip:AU_OCC/F002_T1.csv")]
    assert found.faults[0].detail == "cannot be read; left out"
    assert [s.subject for s in found.sequences] == ["F001"]
