"""Importing BP4D and BP4D+ from trees in their layouts: faults, resume, kills."""

import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import trees
from import_parts import PEOPLE, TASKS, bring, faults, psnr
from PIL import Image

import aubench.datasets.importing.import_dataset as imports
from aubench.datasets import image_source
from aubench.datasets.imported.files import read_index
from aubench.datasets.samples import INTENSITIES, LABELS
from aubench.errors import AubenchError
from aubench.facs import AUS


@pytest.fixture(scope="module")
def shots(aubench_home):
    return trees.shots(PEOPLE, TASKS)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_bp4d(shots, home, tmp_path):
    record = bring("bp4d", trees.write_bp4d(tmp_path / "a", shots))
    active = [s for s in shots if s.labels.any()]
    assert record.counts["faces"] == len(active) == 48
    assert record.counts["coded frames"] == len(shots) and record.counts["neutral references"] == 3
    assert record.published["coded frames"] == 146_847
    frame = read_index("bp4d")
    samples = frame[frame["sample"]].set_index("key")
    images = image_source("bp4d")
    assert images.fingerprint == record.fingerprint
    for s in active[::7]:
        key = f"bp4d/{s.subject}/{s.task}/{s.frame}"
        row = samples.loc[key]
        assert row[list(LABELS)].tolist() == s.labels.tolist()
        graded = dict(zip(AUS, row[list(INTENSITIES)], strict=True))
        assert all(graded[au] == 3 * trees.code(s.labels, au) for au in trees.GRADED)
        assert np.isnan(graded[1])
        assert psnr(images.load(key, 64), s.image) > 30
        assert row["reference"].startswith(f"bp4d/{s.subject}/")
    neutral = {f"bp4d/{s.subject}/{s.task}/{s.frame}" for s in shots if not s.labels.any()}
    assert set(samples["reference"]) <= neutral
    assert images.load_many(list(samples["reference"][:3]), 32).shape == (3, 32, 32, 3)
    assert images.attributes(["bp4d/M003", "bp4d/F001"]) == {"sex": ["male", "female"]}
    with pytest.raises(AubenchError, match="bp4d/F001/T1/1 is not in bp4d"):
        images.prefetch(["bp4d/F001/T1/1"], 64, "faces")


def test_spelling_and_place_do_not_change_the_content(shots, home, tmp_path):
    """Padding, header and the folder it lies in are no part of the data."""
    one = bring("bp4d", trees.write_bp4d(tmp_path / "a", shots), "one")
    other = trees.write_bp4d(tmp_path / "b" / "deep" / "er", shots, padded=True, header=False)
    two = bring("bp4d", tmp_path / "b", "two")
    assert other.is_dir()
    frames = [read_index(name) for name in ("one", "two")]
    for frame in frames:
        frame["key"] = frame["key"].str.slice(3)
        frame["reference"] = frame["reference"].astype(str).str.slice(3)
    kept = ["key", "frame", "sample", *LABELS, *INTENSITIES, "reference", "source", "pixels"]
    assert frames[0][kept].equals(frames[1][kept])
    again = bring("bp4d", tmp_path / "b", "one")
    assert (again.content, again.fingerprint) == (one.content, one.fingerprint)
    assert one.content != two.content  # keys tell the name


def test_bp4dplus_from_archives(home, tmp_path):
    shots = trees.shots(("F001", "F041"), ("T1", "T7"), 6)
    root = trees.write_bp4dplus(tmp_path / "plus", shots, unpacked=("F001",))
    record = bring("bp4dplus", root)
    kinds = faults("bp4dplus")
    assert kinds == [("known mismatch", "F041/T7")]
    assert record.counts["sequences"] == 3 and record.counts["with an unknown AU"] == 0
    packed = record.content
    for archive in sorted((root / "2D+3D").glob("*.zip")):
        with zipfile.ZipFile(archive) as stream:
            stream.extractall(root / "2D+3D")
        archive.unlink()
    assert bring("bp4dplus", root).content == packed  # unpacked later: the same files
    assert bring("bp4dplus", root, "all", mismatched=True).counts["sequences"] == 4


def test_faults_are_told_and_nothing_is_invented(shots, home, tmp_path):
    root = trees.write_bp4d(tmp_path / "a", shots)
    codes = root / "AUCoding" / "AU_OCC"
    (codes / "F001_T2.csv").unlink()  # missing label file
    (codes / "F003_T1.csv").write_bytes(b"")  # zero bytes
    (root / "F001/T1/2441.jpg").unlink()  # label without frame
    trees.write(root / "F001/T1/9999.jpg", b"x")  # frame without label
    trees.write(root / "F003/T2/02442.jpg", trees.jpeg(shots[0].image))  # another image of 2442
    (root / "F003/T2/002443.jpg").write_bytes((root / "F003/T2/2443.jpg").read_bytes())
    (root / "M003/T1/2442.jpg").write_bytes((root / "M003/T1/2442.jpg").read_bytes()[:900])
    (root / "M003/T1/2443.jpg").write_bytes(b"")
    Image.fromarray(shots[0].image[:40]).save(root / "M003/T1/2445.jpg")
    text = (codes / "M003_T2.csv").read_text().replace("\n", "\r\n")
    (codes / "M003_T2.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())  # BOM, CRLF
    for stray in (".DS_Store", "Thumbs.db", "._2440.jpg"):
        trees.write(root / "F001/T1" / stray, b"\0\1")
    trees.write(codes / "._F001_T1.csv", b"\0\1")
    record = bring("bp4d", root)
    assert sorted(faults("bp4d")) == [
        ("duplicated frame", "F003/T2/2442"),
        ("frame without label", "F001/T1"),
        ("label without frame", "F001/T1"),
        ("missing label file", "F001/T2"),
        ("not square", "bp4d/M003/T1/2445"),
        ("unreadable", "bp4d/M003/T1/2442"),
        ("unreadable", "bp4d/M003/T1/2443"),
        ("unreadable label file", "AUCoding/AU_OCC/F003_T1.csv"),
    ]
    # T1 of F001 lacks one of 8 active frames, T2 of F003 one, T1 of M003 three.
    assert record.counts["faces"] == 7 + 7 + 5 + 8
    assert record.counts["unreadable"] == 2 and record.counts["not square"] == 1


def test_pictures_of_every_kind(shots, home, tmp_path):
    """Grey, 16 bits, CMYK, palette, and turned by EXIF: each is the picture it shows."""
    rows = [s for s in shots if s.subject == "F001" and s.task == "T1"]
    root = trees.write_bp4d(tmp_path / "a", rows)
    folder, image = root / "F001" / "T1", {s.frame: s.image for s in rows}
    picture = {n: Image.fromarray(image[n]) for n in image}

    def put(frame, made, suffix="png", **more):
        (folder / f"{frame}.jpg").unlink()
        made.save(folder / f"{frame}.{suffix}", **more)

    grey = np.asarray(picture[2441].convert("L"), np.uint16)
    put(2441, Image.fromarray(grey * 257))
    put(2442, picture[2442].convert("L"))
    put(2443, picture[2443].convert("CMYK"), "jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    put(2445, picture[2445].transpose(Image.Transpose.ROTATE_90), "jpg", exif=exif, quality=95)
    put(2446, picture[2446].quantize(256))
    put(2447, picture[2447].convert("RGBA"), "webp", lossless=True)
    record = bring("bp4d", root)
    assert record.counts["faces"] == 8 and faults("bp4d") == []
    images = image_source("bp4d")
    face = {n: images.load(f"bp4d/F001/T1/{n}", 64) for n in range(2441, 2450) if n != 2444}
    for n in (2441, 2442):
        flat = np.repeat(np.asarray(picture[n].convert("L"))[..., None], 3, 2)
        np.testing.assert_array_equal(face[n], flat)
    assert psnr(face[2443], image[2443]) > 25 and psnr(face[2445], image[2445]) > 30
    assert psnr(face[2446], image[2446]) > 28
    np.testing.assert_array_equal(face[2447], image[2447])


def test_the_reference_shows_no_au_and_is_drawn_by_seed(shots, home, tmp_path):
    rows = [s for s in shots if s.task == "T1"]
    neutral = {f"b/{s.subject}/{s.task}/{s.frame}" for s in shots if not s.labels.any()}
    whole = trees.write_bp4d(tmp_path / "whole", shots)
    drawn = set()
    for seed in range(6):
        bring("bp4d", whole, "b", seed=seed)
        drawn |= set(read_index("b")["reference"].astype(str))
        imports.remove("b")
    assert drawn <= neutral and len(drawn) > 4  # of 12; each seed draws three
    # Without a neutral frame it is the one of the smallest index.
    none = trees.write_bp4d(tmp_path / "none", [s for s in rows if s.labels.any()])
    record = bring("bp4d", none, "n")
    frame = read_index("n")
    assert set(frame["reference"].astype(str)) == {f"n/{name}/T1/2441" for name in PEOPLE}
    assert record.counts["neutral references"] == 0 and frame["sample"].all()
    assert [kind for kind, _ in faults("n")] == ["no neutral frame"] * 3


def test_a_neutral_frame_without_face_is_not_the_reference(shots, home, tmp_path):
    rows = [s for s in shots if s.subject == "F001"]
    root = trees.write_bp4d(tmp_path / "a", rows)
    bring("bp4d", root, "before")
    first = read_index("before")["reference"].astype(str).iloc[0]
    path = root.joinpath(*first.split("/")[1:]).with_suffix(".jpg")
    path.write_bytes(b"no image")
    bring("bp4d", root, "after")
    second = read_index("after")["reference"].astype(str).iloc[0]
    assert second.split("/")[1:] != first.split("/")[1:]
    assert ("unreadable", f"after/{'/'.join(first.split('/')[1:])}") in faults("after")


def test_an_import_goes_on_where_it_was_left(shots, home, tmp_path, monkeypatch):
    root = trees.write_bp4d(tmp_path / "a", shots)
    whole = bring("bp4d", root)
    imports.remove("bp4d")
    crop, calls = imports.crop, []

    def counted(job):
        calls.append(job.path.name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return crop(job)

    monkeypatch.setattr(imports, "crop", counted)
    with pytest.raises(KeyboardInterrupt):
        bring("bp4d", root)
    again = bring("bp4d", root)
    assert (again.content, again.fingerprint) == (whole.content, whole.fingerprint)
    assert len(calls) == 4 + 6 + 3 - 3  # six sequences, three references; three were done
    calls.clear()
    bring("bp4d", root)
    assert calls == []


def test_only_what_is_new_is_done(shots, home, tmp_path, monkeypatch):
    less = [s for s in shots if s.subject != "M003" and (s.subject, s.frame) != ("F001", 2445)]
    root = trees.write_bp4d(tmp_path / "a", less)
    bring("bp4d", root)
    trees.write_bp4d(root, shots)
    for path in root.rglob("F003/*/*.jpg"):
        os.utime(path, ns=(1, 1))  # copied anew: another time, the same bytes
    decoded = []
    read = imports.crop.__globals__["_cropped"]
    monkeypatch.setitem(
        imports.crop.__globals__,
        "_cropped",
        lambda job, frame, *rest: decoded.append(frame.name) or read(job, frame, *rest),
    )
    record = bring("bp4d", root)
    assert record.counts["faces"] == 48
    monkeypatch.undo()
    new = [s for s in shots if s not in less and s.labels.any()]
    references = [name for name in decoded if name.endswith(("2440", "2444", "2449", "2443"))]
    assert len(decoded) - len(references) <= len(new) < 20


def test_processes_do_not_matter(shots, home, tmp_path):
    root = trees.write_bp4d(tmp_path / "a", shots)
    one = bring("bp4d", root)
    imports.remove("bp4d")
    two = bring("bp4d", root, processes=2)
    assert (one.content, one.fingerprint, one.counts) == (two.content, two.fingerprint, two.counts)


def test_a_killed_import_resumes(shots, home, tmp_path):
    root = trees.write_bp4d(tmp_path / "a", shots)
    words = [
        "data",
        "import",
        "bp4d",
        str(root),
        "--align",
        "none",
        "--workers",
        "1",
        "--size",
        "64",
    ]
    command = [sys.executable, "-c", "from aubench.cli.main import main; main()", *words]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    packs = home / "data" / "bp4d" / "packs"
    while running.poll() is None and len(list(packs.glob("*.zip"))) < 2:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    killed = bring("bp4d", root)
    assert not [path for path in packs.iterdir() if path.suffix != ".zip"]
    imports.remove("bp4d")
    assert bring("bp4d", root).fingerprint == killed.fingerprint


def test_another_way_to_crop_is_refused(shots, home, tmp_path):
    root = trees.write_bp4d(tmp_path / "a", [s for s in shots if s.subject == "F001"])
    bring("bp4d", root)
    for other in ({"size": 32}, {"seed": 1}, {"mismatched": True}):
        with pytest.raises(AubenchError, match="was imported with"):
            bring("bp4d", root, **other)


def test_damaged_packs_are_told_and_made_again(shots, home, tmp_path):
    root = trees.write_bp4d(tmp_path / "a", [s for s in shots if s.subject == "F001"])
    bring("bp4d", root)
    pack = home / "data" / "bp4d" / "packs" / "F001_T1-000.zip"
    pack.write_bytes(pack.read_bytes()[:5000])
    with pytest.raises(AubenchError, match=r"F001_T1-000\.zip does not hold"):
        image_source("bp4d").load("bp4d/F001/T1/2441", 64)
    bring("bp4d", root)
    assert image_source("bp4d").load("bp4d/F001/T1/2441", 64).shape == (64, 64, 3)
