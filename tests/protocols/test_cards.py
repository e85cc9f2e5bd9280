"""Cards: valid Croissant 1.1 that loads what it names; nothing of persons under an agreement."""

import json
import warnings

import mlcroissant
import numpy as np
import pandas as pd
import pytest
import trees
from import_parts import bring

from aubench.cli.main import cli
from aubench.datasets.dataset import Dataset
from aubench.datasets.labelled_faces import LabelledFaces
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.protocols.cards.contents import COLUMNS, of_dataset, of_protocol
from aubench.protocols.cards.croissant import RESPONSIBLE, document
from aubench.protocols.cards.facts import OURS, Facts, read_facts
from aubench.protocols.cards.sheet import SECTIONS, datasheet
from aubench.protocols.freeze import freeze_own
from aubench.protocols.protocol import load_protocol
from aubench.storage.files import sha256_bytes, shipped


def issues(folder):
    """Return what the reference implementation has against a card, and the data set it reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of rdflib, in its own parser
        read = mlcroissant.Dataset(jsonld=folder / "croissant.json")
    return {*read.metadata.ctx.issues.errors, *read.metadata.ctx.issues.warnings}, read


def make(out, *words):
    cli.main(["data", "card", *words, "--out", str(out)], standalone_mode=False)
    return json.loads((out / "croissant.json").read_text("utf-8"))


def test_a_protocol_s_card_is_valid_and_loads_its_samples(tmp_path, capsys):
    facts = tmp_path / "facts.toml"
    facts.write_text('url = "https://example.org/faces"\npublished = "2026-11-30"\n')
    card = make(tmp_path / "card", "synfacs2", "--protocol", "conflict", "--facts", str(facts))
    told = capsys.readouterr()
    assert "not stated" not in told.err
    found, read = issues(tmp_path / "card")
    assert not found
    frozen = pd.read_csv(load_protocol("conflict", "synfacs2").folder / "samples.csv")
    rows = [
        {key.split("/")[1]: value.decode() for key, value in row.items()}
        for row in read.records("samples")
    ]
    assert rows == frozen.to_dict("records")
    assert card["conformsTo"] == [
        "http://mlcommons.org/croissant/1.1",
        "http://mlcommons.org/croissant/RAI/1.0",
    ]
    for file in card["distribution"]:
        data = (tmp_path / "card" / file["contentUrl"]).read_bytes()
        assert (file["sha256"], file["contentSize"]) == (sha256_bytes(data), f"{len(data)} B")
    sheet = (tmp_path / "card" / "README.md").read_text("utf-8")
    assert "| samples | 1,200 |" in sheet and "Page: https://example.org/faces" in sheet
    with pytest.raises(AubenchError, match="is there already"):
        make(tmp_path / "card", "synfacs2", "--protocol", "conflict")


def test_every_shipped_table_has_columns_that_a_card_explains():
    tables = list(shipped("protocols").glob("*/*/samples.csv"))
    assert len(tables) > 10
    for table in tables:
        header = table.read_text("utf-8").partition("\n")[0]
        assert set(header.split(",")) <= set(COLUMNS), table


class Squares(Dataset):
    """Four faces of a package: one AU unknown in two of them, no two splits with one subject."""

    name = "squares"
    restricted = False
    description = "grey squares."

    def images(self, processes=None):
        return type("Images", (), {"fingerprint": "squares-1"})()

    def split_faces(self, split):
        keys = {"train": ("a", "b", "b"), "test": ("c",)}.get(split, ())
        labels = np.zeros((len(keys), len(AUS)), np.int8)
        labels[:, 6] = 1
        labels[:2, 0] = -1 if split == "train" else 0
        levels = np.where(labels == 1, 2.5, np.nan).astype(np.float32)
        who = tuple(f"{split}<i>" for _ in keys)
        return LabelledFaces("squares", split, keys, keys, who, labels, levels)


def test_a_data_set_of_others_is_counted_face_by_face_and_unknown_is_neither_0_nor_1():
    found = of_dataset(Squares())
    assert found.composition["faces"] == "4" and found.composition["train"] == "3 faces"
    assert "validation" not in found.composition
    assert (found.shares[1], found.shares[12]) == (0.0, 1.0)
    rows = found.table.file.data.decode().splitlines()
    assert rows[1] == "a,train<i>,train,a,,0,0,0,0,0,1,0,0,0,0,0,,,,,,,2.5,,,,,"
    assert found.version == ""
    card = document(found, read_facts("squares"))
    assert card["description"] == "grey squares."
    assert not {"license", "creator", "version", "datePublished"} & set(card)  # nobody told


def test_of_data_under_an_agreement_a_card_holds_no_row_and_names_no_person(
    aubench_home, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    shots = trees.shots(("F001", "F003", "F004", "M003"), ("T1",))
    bring("bp4d", trees.write_bp4d(tmp_path / "tree", shots))
    freeze_own("label-input", "bp4d", samples=6)
    capsys.readouterr()
    for out, words in (("p", ["--protocol", "label-input"]), ("d", [])):
        make(tmp_path / out, "bp4d", *words)
        assert "not stated" in capsys.readouterr().err
        written = {path.name for path in (tmp_path / out).iterdir()}
        assert written <= {"croissant.json", "README.md", "protocol.toml"}
        for path in (tmp_path / out).iterdir():
            text = path.read_text("utf-8")
            assert not [name for name in ("F001", "F003", "F004", "M003", "2440") if name in text]
        found, _ = issues(tmp_path / out)
        assert not [issue for issue in found if "recommended" not in issue]
        assert "Stays with the data." in (tmp_path / out / "README.md").read_text("utf-8")
    frozen = (load_protocol("label-input", "bp4d").folder / "samples.csv").read_bytes()
    assert of_protocol(load_protocol("label-input", "bp4d")).table.file.sha256 == sha256_bytes(
        frozen
    )


@pytest.mark.parametrize("name", OURS)
def test_all_that_a_card_can_ask_is_stated_of_our_own_data(name):
    facts = read_facts(name)
    empty = {field for field in Facts.model_fields if not getattr(facts, field)}
    assert empty <= {"url", "published"}  # told by whoever publishes


def test_every_fact_reaches_both_cards():
    found = of_dataset(Squares())
    values = {
        field: f"of {field}" if info.annotation is str else (f"of {field}",)
        for field, info in Facts.model_fields.items()
    }
    facts = Facts(**{**values, "url": "https://of.url", "published": "2026-01-02"})
    machine, sheet = json.dumps(document(found, facts)), datasheet(found, facts)
    shown = {name for _, answers in SECTIONS for _, name in answers} | {"citation", "description"}
    for field in Facts.model_fields:
        value = getattr(facts, field)
        text = value if isinstance(value, str) else value[0]
        assert field in {"motivation", "distribution"} or text in machine, field
        assert field in {"collection_type", "tools"} or (field in shown and text in sheet), field
    assert set(RESPONSIBLE.values()) <= set(Facts.model_fields)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('licens = "MIT"', "'licens'"),
        ('published = "soon"', "'published'"),
        ("biases = 3", "'biases'"),
        ("biases = [", "facts.toml"),
    ],
)
def test_facts_that_a_card_cannot_take_are_named(text, words, tmp_path):
    file = tmp_path / "facts.toml"
    file.write_text(text)
    with pytest.raises(AubenchError, match=words):
        read_facts("synfacs", file)


def test_facts_of_the_user_stand_in_place_of_ours(tmp_path):
    file = tmp_path / "facts.toml"
    file.write_text('licence = "https://spdx.org/licenses/MIT"')
    assert read_facts("synfacs", file).licence.endswith("MIT")
    assert read_facts("synfacs", file).biases == read_facts("synfacs").biases
    assert read_facts("synfacs-mine").licence == ""
