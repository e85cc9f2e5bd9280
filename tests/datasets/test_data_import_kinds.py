"""Importing DISFA, folders and archives; what may leave the machine; the commands."""

import json
import zipfile

import numpy as np
import pytest
import trees
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from import_parts import PEOPLE, READERS, TASKS, bring, faults, psnr
from PIL import Image

from aubench.cli.main import cli
from aubench.datasets import image_source, restricted
from aubench.datasets.imported.files import folder_of, is_restricted, read_index, read_record
from aubench.datasets.imported.folds import BP4D, DISFA, part_of
from aubench.datasets.importing.import_dataset import ImportRequest, counts_of
from aubench.datasets.readers.codings import read_occurrence
from aubench.datasets.readers.disfa import DISFAReader
from aubench.datasets.readers.folder import FolderReader
from aubench.datasets.samples import LABELS
from aubench.errors import AubenchError
from aubench.facs import AUS


@pytest.fixture(scope="module")
def shots(aubench_home):
    return trees.shots(PEOPLE, TASKS)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_disfa(home, tmp_path):
    pytest.importorskip("av")
    shots = trees.shots(("SN001", "SN002"), ("x",), first=1)
    root = trees.write_disfa(tmp_path / "d", shots)
    (root / "ActionUnit_Labels/SN002/SN002_au4.txt").unlink()
    record = bring("disfa", root)
    assert record.coded == [1, 2, 4, 6, 12, 15, 17] and record.counts["coded frames"] == 20
    frame, images = read_index("disfa"), image_source("disfa")
    names = {f"{s.subject}/left/{s.frame}": s for s in shots}
    for key in frame["key"]:
        s = names[key.split("/", 1)[1]]
        assert psnr(images.load(key, 64), s.image) > 24
    row = frame.set_index("key").loc["disfa/SN001/left/3"]  # 6+12
    labels = dict(zip(AUS, row[list(LABELS)], strict=True))
    assert labels[6] == labels[12] == 1 and labels[4] == 0 and labels[7] == labels[14] == -1
    assert row["I12"] == 3 and row["I1"] == 0 and np.isnan(row["I7"])
    other = frame[(frame["subject"] == "disfa/SN002") & frame["sample"]]
    assert (other["AU4"] == -1).all() and ("missing label file", "SN002") in faults("disfa")
    both = bring("disfa", root, "both", camera="both")
    assert both.counts["sequences"] == 4
    left, right = (
        image_source("both").load(f"both/SN001/{side}/3", 64) for side in ("left", "right")
    )
    assert psnr(left[:, ::-1], right) > 24 > psnr(left, right)
    strong = DISFAReader(threshold=4).read(root)
    assert counts_of(strong)["with an active AU"] == 0


def test_a_video_that_ends_early(home, tmp_path):
    av = pytest.importorskip("av")
    assert av
    shots = trees.shots(("SN001",), ("x",), first=1)
    root = trees.write_disfa(tmp_path / "d", shots[:6], cameras=("Left",))
    trees.write_disfa(tmp_path / "more", shots, cameras=())
    for path in (tmp_path / "more").rglob("*.txt"):
        (root / path.relative_to(tmp_path / "more")).write_bytes(path.read_bytes())
    record = bring("disfa", root)
    lost = [where for kind, where in faults("disfa") if kind == "unreadable"]
    assert lost == [f"disfa/SN001/left/{n}" for n in range(7, 11)]
    assert record.counts["faces"] == 4  # 12, 6+12, 1+2, and 4 of 4+7
    with pytest.raises(AubenchError, match="no video of the right camera"):
        DISFAReader("right").read(root)


def test_folder(shots, home, tmp_path):
    path = trees.write_folder(
        tmp_path / "f",
        shots,
        sex=lambda s: "f" if s.subject[0] == "F" else "m",
        split=lambda s: "test" if s.subject == "M003" else "train",
        I12=lambda s: 4 * s.labels[6],
    )
    lines = path.read_text().splitlines()
    lines[2] = lines[2].rsplit(",", 1)[0] + ",9"  # AU24 of F001/T1-2441 is unknown
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    record = bring("folder", path, "mine", free=True)
    assert not record.restricted and not restricted("mine")
    assert record.counts["faces"] == 48 and record.counts["with an unknown AU"] == 1
    frame = read_index("mine").set_index("key")
    key = "mine/F001/F001/T1-2441.png"
    assert frame.loc[key, "AU24"] == -1 and frame.loc[key, "I12"] == 4
    np.testing.assert_array_equal(image_source("mine").load(key, 64), shots[1].image)
    assert record.splits == {"mine/F001": "train", "mine/F003": "train", "mine/M003": "test"}
    assert image_source("mine").attributes(["mine/M003"]) == {"sex": ["m"]}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.replace("subject", "person", 1), "no column 'subject'"),
        (lambda t: t.replace(",AU1,", ",AU2,", 1), "two columns 'AU2'"),
        (lambda t: t.replace(",AU12,", ",Au 12,", 1), "'Au 12' would be no AU; name it AU12"),
        (lambda t: t.replace(",AU1,", ",AU01_c,", 1), "'AU01_c' would be no AU; name it AU1"),
        (lambda t: t.replace("F001/T1-2440.png", "../x.png"), "line 2: '../x.png'"),
        (lambda t: t.replace("F001/T1-2440.png", ""), "line 2: it lacks image"),
        (lambda t: t.replace("2440.png,F001,f,0", "2440.png,F001,f,3"), "line 2: AU1 is '3'"),
        (
            lambda t: t.replace("2441.png,F001,f", "2441.png,F001,m"),
            "'F001' has sex 'm', before 'f'",
        ),
        (lambda t: t.replace("sex,", "split,").replace(",f,", ",tost,"), "split is 'tost'"),
        (lambda t: t.splitlines()[0], "has no rows"),
        (lambda t: "", "has no column 'image'"),
        (lambda t: t.replace("F001,f", "F001,\udce9", 1), "line 2 is not UTF-8"),
    ],
)
def test_a_folder_names_the_row_and_a_remedy(shots, tmp_path, change, why):
    one = [s for s in shots if s.subject == "F001" and s.task == "T1"]
    path = trees.write_folder(tmp_path / "f", one, sex=lambda s: "f")
    path.write_bytes(change(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(AubenchError, match=why) as caught:
        FolderReader().read(path)
    assert caught.value.hint


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_folder_of_a_spreadsheet_with_other_separators(shots, tmp_path, mark):
    path = trees.write_folder(tmp_path / "f", shots)
    with_commas = FolderReader().read(path)
    path.write_text(path.read_text().replace(",", mark))
    found = FolderReader().read(path)
    assert [s.labels.tolist() for s in found.sequences] == [
        s.labels.tolist() for s in with_commas.sequences
    ]


def test_empty_and_foreign_folders(tmp_path):
    for kind, what in (("bp4d", "AU_OCC"), ("bp4dplus", "AU_OCC"), ("disfa", "SN001_au1")):
        with pytest.raises(AubenchError, match=what):
            READERS[kind]().read(tmp_path)
        with pytest.raises(AubenchError, match="no folder"):
            READERS[kind]().read(tmp_path / "none")


def test_the_finder_and_landmarks_put_the_eyes_in_one_place(mp_face, home, tmp_path):
    """Heads of wide framing become aligned faces; no face in a blank picture."""
    (home / "weights").mkdir(parents=True)
    (home / "weights" / mp_face.name).symlink_to(mp_face)
    from aubench.datasets.alignment import TEMPLATE
    from aubench.facs import labels_of
    from aubench.synfacs.points import face_points
    from aubench.synfacs.render import render

    values = labels_of((12,)) * np.float32(3)
    head = render("S320", values, 0, size=192, framing="head")
    points = face_points("S320", values, 0, size=192, framing="head")
    large = np.asarray(Image.fromarray(head).resize((768, 768), Image.Resampling.BICUBIC))
    images = [render("S320", values * 0, 0, size=192, framing="head"), head, head * 0 + 128, large]
    rows = [
        trees.Shot("F001", "T1", i + 1, labels_of((12,) if i else ()), image)
        for i, image in enumerate(images)
    ]
    root = trees.write_bp4d(tmp_path / "a", rows)
    found = bring("bp4d", root, "found", align="mp-face", size=96)
    assert found.counts["faces"] == 2 and ("no face", "found/F001/T1/3") in faults("found")
    marks = tmp_path / "marks"
    cells = ",".join(f"{v:.2f}" for v in points.ravel())
    trees.write(marks / "F001_T1.csv", f"frame,x\n1,{cells}\n2,{cells}\n")
    given = bring("bp4d", root, "given", align="landmarks", size=96, landmarks=marks)
    assert given.counts["faces"] == 1 and given.counts["no landmarks"] == 2
    one = image_source("found").load("found/F001/T1/2", 96)
    two = image_source("given").load("given/F001/T1/2", 96)
    middle = (TEMPLATE.mean(0) * 96).astype(int)
    inner = np.s_[middle[1] - 20 : middle[1] + 20, middle[0] - 20 : middle[0] + 20]
    assert psnr(one[inner], two[inner]) > 15
    wide = image_source("found").load("found/F001/T1/4", 96)  # searched small, cut large
    assert psnr(one[inner], wide[inner]) > 15


def test_what_may_leave_the_machine(home):
    assert not restricted("synfacs")
    for name in ("bp4d", "bp4dplus", "disfa", "bp4d-autext", "never-heard-of"):
        assert is_restricted(name) and restricted(name)


def test_names_that_cannot_be(tmp_path):
    for name in ("synfacs", "", "../x", "Big", "a b"):
        with pytest.raises(AubenchError, match="cannot name a data set"):
            ImportRequest(name, FolderReader()).check()


def test_parts_are_those_of_the_field():
    assert [len(part.split()) for part in BP4D] == [14, 14, 13]
    assert sum(len(part.split()) for part in DISFA) == 27
    everyone = {name for part in BP4D for name in part.split()}
    assert everyone == {f"F{i:03d}" for i in range(1, 24)} | {f"M{i:03d}" for i in range(1, 19)}
    assert [part_of("bp4d", name) for name in ("F001", "F003", "F004")] == [3, 2, 1]
    plus = [
        part_of("bp4dplus", f"{s}{i:03d}")
        for s, n in (("F", 82), ("M", 58))
        for i in range(1, n + 1)
    ]
    assert [plus.count(fold) for fold in (1, 2, 3, 4)] == [35] * 4


def test_record_is_json_without_paths(shots, home, tmp_path):
    root = trees.write_bp4d(tmp_path / "a", [s for s in shots if s.subject == "F001"])
    bring("bp4d", root)
    text = (folder_of("bp4d") / "import.json").read_text()
    assert str(tmp_path) not in text and json.loads(text)["kind"] == "bp4d"
    (folder_of("bp4d") / "import.json").write_text("{}")
    with pytest.raises(AubenchError, match="no record of an import"):
        read_record("bp4d")


def test_everything_in_archives(shots, home, tmp_path):
    rows = [s for s in shots if s.subject == "F001"]
    plain = bring("bp4d", trees.write_bp4d(tmp_path / "a", rows))
    with zipfile.ZipFile(tmp_path / "AUCoding.zip", "w") as stream:
        for path in sorted((tmp_path / "a" / "AUCoding").rglob("*.csv")):
            stream.write(path, path.relative_to(tmp_path / "a"))
    with zipfile.ZipFile(tmp_path / "frames.zip", "w") as stream:
        for path in sorted((tmp_path / "a" / "F001").rglob("*.jpg")):
            stream.write(path, path.relative_to(tmp_path / "a"))
    for name in ("AUCoding.zip", "frames.zip"):
        (tmp_path / "z").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "z" / name)
    packed = bring("bp4d", tmp_path / "z")
    assert (packed.content, packed.fingerprint) == (plain.content, plain.fingerprint)


def test_commands(shots, home, tmp_path):
    root = trees.write_bp4d(tmp_path / "a", [s for s in shots if s.subject == "F001"])

    def call(*words):
        done = CliRunner().invoke(cli, [str(word) for word in words])
        if isinstance(done.exception, AubenchError):
            return f"error: {done.exception}"
        assert done.exit_code == 0, done.output
        return done.output

    words = ("data", "import", "bp4d", root, "--align", "none", "--size", "64", "--workers", "1")
    out = call(*words, "--dry-run")
    assert "coded frames                        20     146,847" in out and not home.exists()
    out = call(*words)
    assert "faces                               16" in out and "neutral references" in out
    out = call("data", "list")
    assert "bp4d" in out and "16 faces  restricted" in out
    assert "16 faces, 16 texts" in call("data", "text", "bp4d")
    assert "16 faces" in call("data", "list")
    assert "--fresh starts again" in call(*words, "--seed", "1")
    assert "neutral" in call(*words, "--seed", "1", "--fresh")
    for wrong, why in (
        (("folder", root), "a folder needs a name"),
        (("bp4d", root, "--free"), "is under an agreement"),
        (("bp4d", root, "--align", "landmarks"), "belong together"),
        (("bp4d", root, "--align", "none", "--landmarks", root), "belong together"),
        (("bp4d", root, "--columns", "a,b"), "are no AU numbers"),
        (("bp4d", tmp_path / "none"), "no folder"),
    ):
        assert why in call("data", "import", *wrong)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_codes_survive_any_spelling(data):
    """Order of lines, line ends, separator and header are no part of the codes."""
    count = data.draw(st.integers(1, 6))
    codes = data.draw(
        st.lists(
            st.lists(st.sampled_from([0, 1, 9]), min_size=12, max_size=12),
            min_size=count,
            max_size=count,
        )
    )
    rows = [[i + 1, *row] for i, row in enumerate(codes)]
    mark = data.draw(st.sampled_from([",", ";", "\t", " "]))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    header = [[0, *AUS]] if data.draw(st.booleans()) else []
    lines = [mark.join(map(str, row)) for row in [*header, *data.draw(st.permutations(rows))]]
    encoding = data.draw(st.sampled_from(["utf-8-sig", "utf-8"]))
    found = read_occurrence(end.join(lines).encode(encoding))
    want = np.where(np.array(codes) == 9, np.nan, codes)
    np.testing.assert_array_equal(found.values, want)
    assert found.frames.tolist() == list(range(1, count + 1))
