"""Folders for the Hugging Face Hub, as the Hub's own library reads them."""

from dataclasses import replace

import pandas as pd
import pytest
import yaml
from huggingface_hub import DatasetCard

from aubench.cli.main import main
from aubench.comparison.runs import open_run
from aubench.datasets.synfacs.synfacs_dataset import SynfacsDataset
from aubench.errors import AubenchError
from aubench.protocols.cards.facts import Facts, read_facts
from aubench.protocols.protocol import load_protocol
from aubench.report.hub import write_benchmark, write_results


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
    assert config["config_name"] == "conflict" and not (out / "eval.yaml").exists()
    assert (out / "croissant.json").is_file() and not list(out.rglob("*.png"))
    assert run("export", "hub", "--protocol", "conflict", "--out", out) == 2  # it is there already


def test_results_name_tasks_of_the_benchmark_by_their_metric_ids(finished, tmp_path):
    files = write_results([finished], "lab/bench", tmp_path / "repo")
    results, page, space = files
    assert results == tmp_path / "repo" / "model" / ".eval_results" / "synfacs-conflict.yaml"
    assert "<html" in page.read_text(encoding="utf-8").lower()
    assert "sdk: static" in space.read_text() and page.parent == space.parent
    entries = yaml.safe_load(results.read_text())
    rows = {row.metric: row for row in finished.record.scores}
    for entry in entries:
        row = rows[entry["dataset"]["task_id"].removeprefix("conflict_").partition("-")[0]]
        assert entry["value"] == row.value and entry["dataset"]["id"] == "lab/bench"
        assert row.id in entry["notes"] and finished.record.protocol.sha256 in entry["notes"]
    facts = read_facts("synfacs")
    out = tmp_path / "bench"
    write_benchmark(finished.protocol, facts, out, images=False, runs=[finished])
    tasks = yaml.safe_load((out / "eval.yaml").read_text())["tasks"]
    assert {t["id"] for t in tasks} == {e["dataset"]["task_id"] for e in entries}


def test_numbers_of_two_ids_are_two_tasks(finished, tmp_path):
    other = [
        row.model_copy(update={"id": f"{row.id} other"}) if row.metric == "au_f1" else row
        for row in finished.record.scores
    ]
    record = finished.record.model_copy(update={"scores": other})
    told = []
    for name, one in (("a", finished), ("b", replace(finished, record=record))):
        path = write_results([one], "lab/bench", tmp_path / name)[0]
        told.append({e["dataset"]["task_id"] for e in yaml.safe_load(path.read_text())})
    assert len(told[0] ^ told[1]) == 2
    protocol, facts = load_protocol("test2k"), read_facts("synfacs")
    with pytest.raises(AubenchError, match="is a run on synfacs/conflict"):
        write_benchmark(protocol, facts, tmp_path / "c", images=False, runs=[finished])


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
    assert "give RUNS or --protocol" in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()


def test_faces_and_rows_under_an_agreement_stay_here(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(SynfacsDataset, "restricted", True)
    words = ("--protocol", "conflict", "--images", "--out", tmp_path / "repo")
    assert run("export", "hub", *words) == 2
    assert "must not leave your machines" in capsys.readouterr().err
    write_results([finished], "lab/bench", tmp_path / "results")
    written = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert [path.name for path in written] == ["synfacs-conflict.yaml"]
    text = written[0].read_text()
    assert not any(str(name) in text for name in finished.samples.frame["subject"])
    out = tmp_path / "closed"
    write_benchmark(load_protocol("conflict"), Facts(), out, images=False)
    card = DatasetCard.load(out / "README.md")
    assert card.data.license == "other" and "license_link" not in card.data.to_dict()
    assert not list(out.glob("*.csv")) and "configs" not in card.data.to_dict()
