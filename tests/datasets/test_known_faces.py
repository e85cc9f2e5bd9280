"""Faces that are there already, shown over what is known of them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from import_parts import bring
from PIL import Image

from aubench.cli.main import cli
from aubench.datasets.imported.files import read_index
from aubench.errors import AubenchError

HEAD = "image,subject,split,AU1,AU6,AU12,I12\n"
ROWS = (("anna", "calm", "0,0,0,0"), ("anna", "smile", "0,1,1,3.5"), ("ben", "grin", "1,,1,2"))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Return the grey of each face by key, of a data set that was imported."""
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    greys, lines = {}, [HEAD]
    for i, (subject, name, codes) in enumerate(ROWS):
        greys[name] = 60 + 60 * i
        image = np.full((64, 64, 3), greys[name], np.uint8)
        image[0] = 0  # a picture of one colour is left out
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        lines.append(f"{name}.png,{subject},train,{codes}\n")
    (tmp_path / "t.csv").write_text("".join(lines))
    bring("folder", tmp_path / "t.csv", "mine")
    return greys


def call(*words):
    asked = ["data", *map(str, words), "--json"]
    return CliRunner().invoke(cli, asked, standalone_mode=False)


def test_restricted_faces_want_consent(mine, tmp_path):
    for words in (("show", "mine"), ("sheet", "--data", "mine")):
        done = call(*words, "-o", tmp_path / "out.png")
        assert isinstance(done.exception, AubenchError)
        assert "restricted" in str(done.exception)
        assert "--restricted-faces" in str(done.exception)
    assert not (tmp_path / "out.png").exists()


def test_one_face_by_key_and_by_row(mine, tmp_path):
    keys = list(read_index("mine")["key"])
    key = next(key for key in keys if "grin" in key)
    for wanted in (key, keys.index(key) + 1):
        out = tmp_path / "a.png"
        words = ("mine", "--face", wanted, "--size", 64, "--restricted-faces", "-o", out)
        done = call("show", *words)
        told = json.loads(done.stdout)
        assert told["key"] == key and told["intensities"] == {"1": None, "12": 2.0}
        assert 6 in told["unknown"] and 1 not in told["unknown"] and told["absent"] == []
        sheet = np.asarray(Image.open(out))
        assert abs(int(sheet[32, 32, 0]) - mine["grin"]) < 6
        assert sheet.shape[1] == 64 and sheet[66:].min() < 100  # what is known stands below


def test_a_sheet_of_so_many_faces(mine, tmp_path):
    out = tmp_path / "sheet.png"
    ask = ("sheet", "--data", "mine", "--size", 64, "--restricted-faces", "-o", out)
    done = call(*ask, "--faces", 2)
    told = json.loads(done.stdout)
    assert len(told["faces"]) == 2 and np.asarray(Image.open(out)).shape[1] == 2 * 64 + 4
    whole = json.loads(call(*ask).stdout)
    assert len(whole["faces"]) == read_index("mine")["sample"].sum()
    person = whole["subjects"][0]
    assert json.loads(call(*ask, "--subjects", person).stdout)["subjects"] == [person]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "mine", "--face", "99"], "no row 99"),
        (["show", "mine", "--face", "nobody"], "no face 'nobody'"),
        (["show", "mine", "--aus", "12"], "--aus draws a face"),
        (["show", "min"], "did you mean 'mine'"),
        (["sheet", "--data", "mine", "--subjects", "carl"], "no subject 'carl'"),
        (["sheet", "--data", "mine", "--clay"], "--clay draws a face"),
    ],
)
def test_what_is_not_there_is_refused(mine, tmp_path, words, told):
    done = call(*words, "--restricted-faces", "-o", tmp_path / "a.png")
    assert isinstance(done.exception, AubenchError) and told in str(done.exception)
    assert not (tmp_path / "a.png").exists()


def test_a_rendered_face_by_its_row_is_labelled_too(tmp_path):
    done = call("show", "synfacs", "--face", 1, "--size", 32, "-o", tmp_path / "a.png")
    told = json.loads(done.stdout)
    assert told["unknown"] == [] and np.asarray(Image.open(tmp_path / "a.png")).shape[0] > 32
