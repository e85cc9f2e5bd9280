"""Imports look at pixels: one picture of two people, no picture at all, pictures of one colour."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from import_parts import bring, faults
from PIL import Image

from aubench.datasets.frozen_splits import check_pixels
from aubench.datasets.imported.files import INDEX, folder_of, read_index, read_record
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.protocols.freeze import freeze_own
from aubench.protocols.protocol import load_protocol, verify
from aubench.storage.files import sha256_file

PEOPLE = ("ann", "ben", "cem", "dea", "eva", "fay")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))


def _album(folder, people=PEOPLE, each=4, active=lambda i: i > 0):
    """Write a picture of noise for each row, the first of a person neutral; return the table."""
    rng, rows = np.random.default_rng(1), []
    for name in people:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
            codes = [int(active(i) and k % each == i) for k in range(len(AUS))]
            rows.append((f"{name}/{i}.png", name, *codes))
    table = folder / "faces.csv"
    _write(table, rows)
    return table


def _write(table, rows):
    columns = ["image", "subject", *(f"AU{au}" for au in AUS)]
    pd.DataFrame(rows, columns=columns).to_csv(table, index=False)


def _rows(table):
    return list(pd.read_csv(table).itertuples(index=False, name=None))


@pytest.mark.parametrize("copied", [False, True])
def test_a_picture_of_two_people_is_left_out_for_both(home, tmp_path, copied):
    table = _album(tmp_path / "f")
    rows = _rows(table)
    for image in ("ann/1.png", "ann/0.png"):  # a sample and a reference
        twin = image
        if copied:
            twin = image.replace("/", "/again-")
            shutil.copy(table.parent / image, table.parent / twin)
        codes = next(row[2:] for row in rows if row[0] == image)
        rows.append((twin, "thief", *codes))
    _write(table, rows)
    record = bring("folder", table, "mine")
    told = faults("mine")
    assert [kind for kind, _ in told].count("image of two subjects") == 4
    assert ("image of two subjects", "mine/ann/ann/1.png") in told
    assert ("subject without face", "thief") in told
    assert record.counts["faces"] == 3 * len(PEOPLE) - 1
    frame = read_index("mine")
    assert frame["pixels"].is_unique and "mine/thief" not in set(frame["subject"].astype(str))


def test_a_protocol_with_one_picture_in_train_and_test_is_refused(home, tmp_path):
    bring("folder", _album(tmp_path / "f"), "mine")
    frozen = freeze_own("test2k", "mine", samples=2)
    place = load_protocol("test2k", "mine", frozen.place.parents[1])
    assert verify(place)["samples"] == 2
    frame = read_index("mine")
    train, test = (
        frame["subject"].isin(names) for names in (frozen.split.train, frozen.split.test)
    )
    frame.loc[frame[test].index[0], "pixels"] = frame.loc[frame[train].index[0], "pixels"]
    index = folder_of("mine") / INDEX
    frame.to_parquet(index, index=False)  # as an older import had left it
    replace(read_record("mine"), index_sha256=sha256_file(index)).write()
    for check in (lambda: freeze_own("test2k", "mine", samples=2), lambda: verify(place)):
        with pytest.raises(AubenchError, match=r"of train and mine/.* of test are the same image"):
            check()
    check_pixels(frame, frozen.split.train, frozen.split.train[:0])
    check_pixels(frame.drop(columns="pixels"), frozen.split.train, frozen.split.test)


def test_an_import_of_no_face_is_an_error_that_says_what_was_there(home, tmp_path):
    table = _album(tmp_path / "f", active=lambda i: False)
    with pytest.raises(AubenchError, match="of 24 coded frames 24 have an image, 0 of these an ac"):
        bring("folder", table, "mine")
    table.write_text(table.read_text().replace(".png", ".PNG").replace("0\n", "1\n"))
    with pytest.raises(AubenchError, match="of 24 coded frames 0 have an image"):
        bring("folder", table, "mine")


def test_names_too_long_for_a_file_are_refused_before_any_work(home, tmp_path):
    table = _album(tmp_path / "f", people=("x" * 120,))
    assert bring("folder", table, "mine").counts["faces"] == 3
    table.write_text(table.read_text().replace(f",{'x' * 120},", f",{'x' * 300},"))
    with pytest.raises(AubenchError, match=r"line 2: subject 'x+…' is too long for a file"):
        bring("folder", table, "long")
    assert not folder_of("long").exists()


def test_pictures_of_one_colour_are_left_out_and_the_reason_is_told(home, tmp_path):
    table = _album(tmp_path / "f")
    Image.new("RGB", (64, 64)).save(table.parent / "ann" / "1.png")
    Image.new("RGB", (64, 64), "grey").save(table.parent / "ben" / "0.png")
    deep = np.full((64, 64), 9, np.uint16)
    Image.fromarray(deep).save(table.parent / "cem" / "1.png")
    record = bring("folder", table, "mine")
    told = faults("mine")
    lost = {where for kind, where in told if kind == "one colour"}
    assert lost == {"mine/ann/ann/1.png", "mine/ben/ben/0.png"}  # the second is a reference
    assert ("no neutral frame", "ben") in told and ("unreadable", "mine/cem/cem/1.png") in told
    assert record.counts["one colour"] == 1 and record.counts["unreadable"] == 1
    assert "uses 4" in (folder_of("mine") / "faults.csv").read_text()
