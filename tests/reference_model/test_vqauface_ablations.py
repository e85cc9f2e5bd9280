"""VQ-AUFace, from the command line to a generator: weights, stages, ablations."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from vqauface.generator import VQAUFace
from vqauface.presets import preset
from vqauface.training.ablation import OPTIONS, ROWS, codec_of
from vqauface.training.fit import fit
from vqauface.weights import export, load
from vqauface_parts import TRAIN, loop, pixels, write_folder

from aubench.cli.main import cli
from aubench.errors import AubenchError
from aubench.generators.contract import Ablatable, Trainable, Training, WeightSource
from aubench.records.record import read_record


def test_trained_weights_make_faces(tmp_path):
    data = write_folder(tmp_path / "data")
    words = [*TRAIN, "--data", str(data), "--out", str(tmp_path / "out"), "--set", "input=labels"]
    found = CliRunner().invoke(cli, words, catch_exceptions=False)
    weights = tmp_path / "out" / "tiny.safetensors"
    assert found.exit_code == 0 and found.output.strip().endswith(f"weights {weights}")
    card = json.loads((tmp_path / "out" / "tiny.card.json").read_text())
    assert card["preset"]["input"] == "labels" and card["data"]["name"] == "data"
    assert card["commands"][0] == "aubench train vqauface --preset tiny --stage 1 --data data"
    assert "--set" not in card["commands"][1] and len(card["log"]) == 3
    model = VQAUFace.load(WeightSource(weights), device="cpu", dtype="float32")
    assert model.info.inputs == {"au", "reference"} and "text" in VQAUFace.info.inputs
    (trained_on,) = model.info.trained_on
    assert trained_on == f"data/train, {card['data']['fingerprint'][:16]}"
    assert model.info.metrics_in_training == ()
    assert VQAUFace.info.trained_on == ("synfacs/train",)
    from aubench.generators.contract import Request

    def asked(on):
        labels = np.full(12, on, np.uint8)
        return Request(f"s{on}", "", labels, None, pixels(1)[0], 5, 32)

    both = model.generate([asked(0), asked(1)])
    assert both.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(model.generate([asked(1)])[0], both[1])


def test_weights_round_trip_and_damage(tmp_path):
    two = loop(tmp_path, 2, "tiny-flat")
    two.run()
    file = export(tmp_path)
    codec, transformer, shape, card, digest = load(file)
    assert shape == preset("tiny-flat") and card["sha256"] == digest
    assert "not the paper's model" in card["scale"]
    for key, value in transformer.state_dict().items():
        torch.testing.assert_close(value, two.average[key], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(codec.codebooks(), two.codebooks.half().float())
    data = file.read_bytes()
    file.write_bytes(data[:500])
    with pytest.raises(AubenchError, match="sha256"):
        load(file)
    file.write_bytes(data)
    path = file.with_name("tiny-flat.card.json")
    changed = json.loads(path.read_text())
    changed["preset"]["hidden"] = 64
    path.write_text(json.dumps(changed))
    with pytest.raises(AubenchError, match="does not hold VQ-AUFace"):
        load(file)
    path.write_text("{}")
    with pytest.raises(AubenchError, match="not a card"):
        load(file)


def test_stages_must_fit(tmp_path):
    training = Training("tiny", str(write_folder(tmp_path / "data")), tmp_path / "out", stage=2)
    with pytest.raises(AubenchError, match=r"no stage I at .*train --stage 1 first"):
        fit(training)
    fit(replace(training, stage=1))
    with pytest.raises(AubenchError, match="has another shape"):
        fit(replace(training, options={"entries": "32"}))
    fit(training)
    for name in ("stage1.checkpoint.pt", "stage1.log.jsonl"):
        (tmp_path / "out" / name).unlink()
    fit(replace(training, stage=1, options={"rate": "0.002"}))
    with pytest.raises(AubenchError, match="belongs to another stage I"):
        export(tmp_path / "out")


def test_ablations_are_the_papers_rows():
    assert isinstance(VQAUFace, Trainable) and isinstance(VQAUFace, Ablatable)
    assert [row.table for row in ROWS].count("Table 3") == 10
    assert len({row.name for row in ROWS}) == len(ROWS) == 11
    left = {OPTIONS[row.name].get("without", "") for row in ROWS if row.table == "Table 3"}
    assert left == {"", "appearance", "structure", "vae", "appearance+structure+vae"}
    assert sum(codec_of(row) == "plain" for row in ROWS) == 5


def test_rows_share_first_stages_and_differ_in_what_is_left_out(tmp_path):
    data = write_folder(tmp_path / "data")
    options = {"codec.anatomical": "0.5", "codec.steps": "1"}
    training = Training("tiny", str(data), tmp_path / "out", None, 1, 0, "cpu", options)
    chosen = [row for row in ROWS if row.name in {"plain-no-vae", "plain-all", "labels"}]
    made = [VQAUFace.fit_row(row, training) for row in chosen]
    shapes = [json.loads(p.with_suffix(".card.json").read_text())["preset"] for p in made]
    assert [(s["without"], s["input"]) for s in shapes] == [
        ("", "text"),
        ("vae", "text"),
        ("", "labels"),
    ]
    firsts = {p.parent.name: (p.parent / "stage1.checkpoint.pt").resolve() for p in made}
    assert firsts["plain-all"] == firsts["plain-no-vae"] != firsts["labels"]
    told = [
        torch.load(firsts[name], weights_only=True)["settings"] for name in ("plain-all", "labels")
    ]
    assert [t["anatomical"] for t in told] == [0.0, 0.5] and told[0]["steps"] == 1
    kept = {path.parent for path in (tmp_path / "out").rglob("codes-*.pt")}
    assert kept == {first.parent for first in firsts.values()}  # encoded once for all rows
    before = made[0].stat().st_mtime_ns
    assert VQAUFace.fit_row(chosen[0], training) == made[0]
    assert json.loads(made[0].with_suffix(".card.json").read_text())["sha256"]
    assert made[0].stat().st_mtime_ns >= before


def test_ablate_command_refuses_unknown_rows_and_lists_them():
    found = CliRunner().invoke(cli, ["ablate", "vqauface", "--list"])
    assert len(found.output.splitlines()) == 11 and "Table 5" in found.output
    for words, expected in (
        (["vqauface", "--rows", "plain-vae"], "no row 'plain-vae'"),
        (["oracle"], "has no ablations"),
        (["vqauface", "--preset", "nanno"], "did you mean 'nano'"),
        (["vqauface", "--protocol", "tst2k"], "did you mean 'test2k'"),
        (["vqauface", "--protocol-data", "sinfacs"], "sinfacs"),
    ):
        done = CliRunner().invoke(cli, ["ablate", *words])
        assert isinstance(done.exception, AubenchError) and expected in str(done.exception)


def test_what_scoring_needs_is_checked_before_anything_is_trained(tmp_path, monkeypatch):
    """Whatever a run would refuse, and encoders of stage II before stage I."""
    monkeypatch.setattr(VQAUFace, "fit_row", lambda *a: pytest.fail("it trained"))
    data = str(write_folder(tmp_path / "data"))
    base = ["ablate", "vqauface", "--preset", "tiny", "--data", data, "--out", str(tmp_path / "o")]
    for words, expected in (
        (["--detectors", "me-graphau=nowhere.pth"], "nowhere.pth"),
        (["--detectors", "nano-c"], "did you mean 'nano-"),
        (["--extractor", "inceptoin"], "inceptoin"),
        (["--metrics", "fit"], "did you mean 'fid'"),
        (["--text-au", "nowhere"], "nowhere"),
        (["--option", "steps"], "--option steps is not NAME=VALUE"),
        (["--protocol", "unsene"], "did you mean 'unseen'"),
    ):
        done = CliRunner().invoke(cli, [*base, *words])
        assert isinstance(done.exception, AubenchError) and expected in str(done.exception)
    assert not (tmp_path / "o").exists()
    monkeypatch.undo()
    asked = Training("tiny", data, tmp_path / "o", options={"text_source": "nowhere"})
    with pytest.raises(AubenchError, match="nowhere"):
        VQAUFace.fit_row(ROWS[0], asked)
    with pytest.raises(AubenchError, match="nowhere"):
        fit(asked)
    assert not list(tmp_path.rglob("stage1*"))


@pytest.mark.slow
def test_ablate_trains_scores_and_prints_its_rows(tmp_path):
    """The records have the rows' names, inputs and detectors; labels have their own protocol."""
    data, out = write_folder(tmp_path / "data"), tmp_path / "out"
    words = "ablate vqauface --preset tiny --rows anatomical-no-vae,plain-no-vae,labels "
    words += "--limit 8 --steps 1 --set codec.steps=2 --set batch=8 --option steps=1 "
    words += "--set codec.anatomical=0.5 --set codec.detector=me-graphau:resnet18:anfl "
    words += "--set codec.detector_file=random --set codec.batch=2 "
    words += f"--metrics pixels,aaad --witness none --data {data} --out {out}"
    found = CliRunner().invoke(cli, words.split(), catch_exceptions=False)
    assert found.exit_code == 0
    assert "Table 3, test2k" in found.output and "Table 5, label-input" in found.output
    place = out / "records" / "synfacs"
    names = {
        "test2k": ("vqauface-anatomical-no-vae", "vqauface-plain-no-vae"),
        "label-input": ("vqauface-labels",),
    }
    records = [read_record(place / p / f"{name}.json") for p, own in names.items() for name in own]
    assert [r.model.name for r in records] == [name for own in names.values() for name in own]
    inputs = [["reference", "text"], ["reference", "text"], ["au", "reference"]]
    assert [r.model.inputs for r in records] == inputs
    used = ["me-graphau:resnet18:anfl"]
    text = "text-nano"  # what reads texts reads them by the classifier's encoder
    told = [[*used, text], [text], used]
    assert [r.model.metrics_in_training for r in records] == told
    assert records[2].provenance.target_source == "labels" and records[2].counts.limited
    assert (
        records[1].model.training == "tiny preset, 1 steps; "
        "ablation, Table 3: without anatomical loss, without VAE tokens"
    )
    assert {"aaad", "fid"} & {row.metric for row in records[0].scores} == {"aaad"}
    assert len({r.model.weights_sha256 for r in records}) == 3
