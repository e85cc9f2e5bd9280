"""Only what is drawn: a plan lists samples, runs make just these, the study takes them."""

import json

import pytest

from aubench.cli.main import main
from aubench.errors import AubenchError
from aubench.protocols.protocol import load_protocol
from aubench.run.config import samples_of
from aubench.study.design.files import KEY, Key, read, read_design


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    return ended.value.code


def test_models_make_just_the_samples_that_a_study_draws(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "study"
    words = [
        "study",
        "create",
        "--models",
        "oracle,copy-reference",
        "--per-combination",
        1,
        "--seed",
        3,
    ]
    words += ["--gold", 1, "--duplicates", 1, "--raters", 4, "--min-seconds", 0, "--out", out]
    assert run(*words) == 2
    assert "--plan lists the samples it takes" in capsys.readouterr().err and not out.exists()
    assert run(*words, "--plan") == 0
    told = capsys.readouterr().out
    assert (
        "lists 6 samples" in told
        and f"aubench run --model copy-reference --for-study {out}" in told
    )
    samples = json.loads((out / "samples.json").read_text())["samples"]
    assert len(samples) == 6
    for model in ("oracle", "copy-reference"):
        assert run("run", "--model", model, "--for-study", out, "--metrics", "pixels") == 0
    capsys.readouterr()
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 2 and all("-study-" in folder.name for folder in folders)
    for folder in folders:
        assert sorted(path.stem for path in (folder / "images").glob("*.png")) == samples
        record = json.loads((folder / "record.json").read_text())
        assert record["counts"]["asked"] == 6 and record["counts"]["limited"] is True
    other = [3 if word == 3 else word for word in words]
    other[other.index("--seed") + 1] = 4
    assert run(*other) == 2  # another draw than was planned
    assert "was made for a study that draws other samples" in capsys.readouterr().err
    assert (out / "samples.json").is_file()
    assert run(*words) == 0
    design, _ = read_design(out)
    key = read(out / KEY, Key)
    drawn = {key.trials[t.id].sample for t in design.trials if key.trials[t.id].kind == "main"}
    assert sorted(drawn) == samples and not (out / "samples.json").exists()
    assert run("run", "--model", "oracle", "--for-study", out) == 2
    assert "is made already" in capsys.readouterr().err
    # The same runs, held against bots who like the oracle's faces.
    worths = ["--worth", "oracle=20", "--worth", "copy-reference=1"]
    assert run("study", "simulate", out, *worths) == 0
    assert run("study", "close", out) == 0
    given = [word for f in folders for word in ("--run", f"{_model(f)}={f}")]
    assert run("study", "calibrate", out, *given[:2]) == 2
    assert "no run of" in capsys.readouterr().err
    assert run("study", "calibrate", out, *given, "--draws", 100) == 0
    assert "reliability of the raters' means" in capsys.readouterr().out
    assert run("study", "calibrate", out, *given, "--draws", 100, "--json") == 0
    assert {"files", "reliability", "metrics"} == set(json.loads(capsys.readouterr().out))
    told = json.loads((out / "analysis" / "calibration.json").read_text())
    ssim = next(one for one in told["metrics"] if one["name"] == "ssim")
    assert ssim["sample"]["plain"] > 0.7 and ssim["system"]["plain"] is None  # two models


def _model(folder):
    return json.loads((folder / "record.json").read_text())["model"]["name"]


def test_what_does_not_fit_a_plan_is_said(tmp_path, capsys):
    assert run("run", "--model", "oracle", "--for-study", tmp_path) == 2
    assert "lists no samples (samples.json)" in capsys.readouterr().err
    assert run("run", "--model", "oracle") == 2
    assert "missing option '--protocol'" in capsys.readouterr().err
    with pytest.raises(AubenchError, match="no sample nowhere"):
        samples_of(load_protocol("conflict"), None, 0, ("nowhere",))
