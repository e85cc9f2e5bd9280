"""Folders for the Hugging Face Hub, as the Hub's own library reads them."""

from dataclasses import replace

import pandas as pd
import pytest
import yaml
from huggingface_hub import DatasetCard, parse_eval_result_entries

from aubench.cli.main import main
from aubench.comparison.runs import open_run
from aubench.datasets.synfacs.synfacs_dataset import SynfacsDataset
from aubench.errors import AubenchError
from aubench.protocols.protocol import load_protocol
from aubench.report.hub import write_results


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    return ended.value.code


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run, with its record as that of a whole one."""
    out = tmp_path_factory.mktemp("runs") / "one"
    words = ("--model", "copy-reference", "--protocol", "conflict", "--limit", "12")
    assert run("run", *words, "--metrics", "lpips,au", "--out", out) == 0
    one = open_run(out)
    counts = one.record.counts.model_copy(update={"limited": False})
    return replace(one, record=one.record.model_copy(update={"counts": counts}))


def test_a_protocol_is_a_benchmark_data_set(tmp_path):
    out = tmp_path / "repo"
    assert run("export", "hub", "--protocol", "conflict", "--out", out) == 0
    card = DatasetCard.load(out / "README.md")
    protocol = load_protocol("conflict")
    assert card.data.license == "apache-2.0" and card.data.size_categories == ["1K<n<10K"]
    assert protocol.sha256 in card.text
    (config,) = card.data.configs
    (part,) = config["data_files"]
    assert len(pd.read_csv(out / part["path"])) == 1200 and part["split"] == "test"
    told = yaml.safe_load((out / "eval.yaml").read_text())
    assert {task["config"] for task in told["tasks"]} == {"conflict"} == {config["config_name"]}
    assert (out / "croissant.json").is_file() and not list(out.rglob("*.png"))
    assert run("export", "hub", "--protocol", "conflict", "--out", out) == 2  # it is there already


def test_results_are_read_by_the_hubs_library_and_name_their_metrics(finished, tmp_path):
    files = write_results([finished], "lab/bench", tmp_path / "repo")
    assert [path.name for path in files] == ["synfacs-conflict.yaml", "index.html"]
    entries = parse_eval_result_entries(yaml.safe_load(files[0].read_text()))
    rows = {row.metric: row for row in finished.record.scores}
    assert {entry.task_id for entry in entries} >= {"conflict_au_f1"}
    for entry in entries:
        row = rows[entry.task_id.removeprefix("conflict_")]
        assert entry.value == row.value and entry.dataset_id == "lab/bench"
        assert row.id in entry.notes and finished.record.protocol.sha256 in entry.notes
    assert "<html" in files[1].read_text(encoding="utf-8").lower()


def test_what_is_no_result_is_refused(finished, tmp_path, capsys):
    limited = ("export", "hub", finished.folder.path, "--out", tmp_path / "repo")
    assert run(*limited) == 2 and "--dataset-id is missing" in capsys.readouterr().err
    assert run(*limited, "--dataset-id", "a/b") == 2
    assert "only whole runs are results" in capsys.readouterr().err
    with pytest.raises(AubenchError, match="'bench' is no repository of the Hub"):
        write_results([finished], "bench", tmp_path / "repo")
    model = finished.record.model.model_copy(update={"name": "other"})
    other = replace(finished, record=finished.record.model_copy(update={"model": model}))
    with pytest.raises(AubenchError, match="runs of several models: copy-reference, other"):
        write_results([finished, other], "a/b", tmp_path / "repo")
    assert run("export", "hub", "--out", tmp_path / "repo") == 2
    assert "either RUNS or --protocol" in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()


def test_faces_under_an_agreement_stay_here(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(SynfacsDataset, "restricted", True)
    words = ("--protocol", "conflict", "--images", "--out", tmp_path / "repo")
    assert run("export", "hub", *words) == 2
    assert "must not leave your machines" in capsys.readouterr().err
    files = write_results([finished], "lab/bench", tmp_path / "results")
    assert all(path.suffix not in (".png", ".webp") for path in files[1].parent.rglob("*"))
