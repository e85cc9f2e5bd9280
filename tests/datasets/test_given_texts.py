"""Texts of others attached to imported faces: read, checked, frozen into protocols."""

import csv
import json

import pytest
import trees
from import_parts import PEOPLE, TASKS, bring

from aubench.cli.main import main
from aubench.datasets.imported.au_texts import STATISTICS, TEXTS, read_texts
from aubench.datasets.imported.files import folder_of, read_index
from aubench.datasets.imported.given_texts import GIVEN, attach_given, read_given
from aubench.datasets.registry import find_dataset
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.facs.describe import describe
from aubench.networks.textau.attached import CHECK, check_attached
from aubench.protocols.freeze import freeze_own
from aubench.protocols.protocol import load_protocol, verify


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    return trees.write_bp4d(root / "bp4d", trees.shots(PEOPLE, TASKS))


@pytest.fixture
def keys(source, tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    bring("bp4d", source)
    frame = read_index("bp4d")
    return [str(key) for key in frame["key"][frame["sample"]]]


def call(*words):
    with pytest.raises(SystemExit) as done:
        main(list(words))
    return done.value.code


def write(path, rows, header=("key", "text")):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def test_texts_of_others_stand_in_a_protocol_in_place_of_ours(keys, tmp_path):
    rows = [(key, f"She smiles, face {n}") for n, key in enumerate(keys)]
    rows += [(keys[0], "A second wording")]
    told = attach_given("bp4d", write(tmp_path / "t.csv", rows), seed=7)
    assert told["texts"] == len(keys) + 1 and told[GIVEN]["texts"] == len(keys) + 1
    given = find_dataset("bp4d").given_texts()
    assert given.texts[keys[0]] == ("She smiles, face 0", "A second wording")
    frozen = freeze_own("test2k", "bp4d", samples=4)
    protocol = load_protocol("test2k", "bp4d")
    assert protocol.definition.texts == told[GIVEN]["sha256"] and verify(protocol)["samples"] == 4
    frame = protocol.samples().frame
    for row in frame.itertuples():
        assert row.text in given.texts[row.target]
    attach_given("bp4d", write(tmp_path / "u.csv", [(k, "other") for k in keys]), seed=7)
    assert freeze_own("test2k", "bp4d", samples=4).sha256 != frozen.sha256
    faces = find_dataset("bp4d").faces("test", 1)
    assert set(faces.texts) == {"other"}


def test_our_texts_take_opposed_aus_together_unless_the_protocol_says_paper(keys):
    ours = freeze_own("test2k", "bp4d", samples=4)
    definition = load_protocol("test2k", "bp4d").definition
    assert definition.allocation == "conflicts" and not definition.texts
    assert 'allocation = "conflicts"' in (ours.place / "protocol.toml").read_text()
    paper = freeze_own("test2k", "bp4d", samples=4, allocation="paper")
    assert "allocation" not in (paper.place / "protocol.toml").read_text()
    assert paper.sha256 != ours.sha256


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        (("key", "words"), ("{key}", "x"), "has no column 'text', but key, words"),
        (("face", "text"), ("{key}", "x"), "it needs `key` or `image`, `text`"),
        (("key", "text"), ("bp4d/F999/T1/1", "x"), "line 2: no image 'bp4d/F999/T1/1'"),
        (("key", "text"), ("{key}", "  "), "line 2: the text of"),
        (("key", "text"), ("{key}", "smile"), "--fill"),
        (("key", "text"), None, "has no rows"),
    ],
)
def test_bad_files_are_named_and_nothing_is_written(keys, tmp_path, header, row, expected):
    rows = [] if row is None else [[cell.replace("{key}", keys[0]) for cell in row]]
    with pytest.raises(AubenchError) as error:
        attach_given("bp4d", write(tmp_path / "t.csv", rows, header), seed=1)
    assert expected in f"{error.value}" and "t.csv" in str(error.value)
    assert not (folder_of("bp4d") / TEXTS).exists() and read_given("bp4d") is None


def test_gaps_are_filled_in_our_words_when_asked(keys, tmp_path):
    image = keys[1].removeprefix("bp4d/")
    path = write(tmp_path / "t.csv", [(image, "She  smiles\nbroadly")], ("image", "text"))
    told = attach_given("bp4d", path, seed=7, fill=True)
    assert told[GIVEN]["faces described in our words"] == len(keys) - 1
    table = read_texts("bp4d")
    assert list(table["key"]) == keys and table["text"][1] == "She smiles broadly"


def test_changed_texts_are_refused(keys, tmp_path):
    attach_given("bp4d", write(tmp_path / "t.csv", [(k, "a smile") for k in keys]), seed=7)
    table = read_texts("bp4d")
    table.assign(text="a frown").to_parquet(folder_of("bp4d") / TEXTS, index=False)
    with pytest.raises(AubenchError, match="was changed since the texts were attached"):
        find_dataset("bp4d").given_texts()


def test_the_classifier_lists_texts_that_disagree_with_the_codes(keys, tmp_path, capsys):
    frame = read_index("bp4d").set_index("key").loc[keys]
    sets = [tuple(au for au in AUS if row[f"AU{au}"] == 1) for _, row in frame.iterrows()]
    texts = [describe(aus, variant=0).text for aus in sets]
    wrong = next(n for n, aus in enumerate(sets) if 4 not in aus and 1 not in aus and 2 not in aus)
    texts[wrong] += " " + describe((4,), variant=0).text
    path = write(tmp_path / "t.csv", zip(keys, texts, strict=True))
    assert call("data", "text", "bp4d", "--texts", str(path), "--json") == 0
    data = json.loads(capsys.readouterr().out)
    check = check_attached("bp4d")
    row = next(row for row in check.rows if row.key == keys[wrong])
    assert 4 in row.added and data["check"]["disagreements"] >= 1
    with (folder_of("bp4d") / CHECK).open(newline="") as stream:
        listed = {line["key"]: line["read and not coded"] for line in csv.DictReader(stream)}
    assert "4" in listed[keys[wrong]].split("+")
    assert json.loads((folder_of("bp4d") / STATISTICS).read_text())[GIVEN]["file"] == "t.csv"
    assert call("data", "text", "bp4d", "--fill") == 2
    assert "--fill needs --texts FILE" in capsys.readouterr().err
