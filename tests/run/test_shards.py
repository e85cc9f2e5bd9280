"""Shards and their merge: the record of a local run, or a refusal that names the shard."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import poison
import pytest
from PIL import Image

from aubench.errors import AubenchError
from aubench.records.record import read_record
from aubench.run.distributed.merge import merge
from aubench.run.distributed.shards import Shard, parse_shard, run_shard
from aubench.run.execute import RunConfig, execute
from aubench.storage.files import sha256_bytes

METRICS = ("fid", "kid", "is", "pixels", "aaad", "au")
CHEAP = ("pixels",)


def content(record):
    """What must agree; the tests' source tree may change while they run."""
    data = record.content()
    data["provenance"].pop("revision")
    return data


def shards_of(config, count):
    return [run_shard(config, Shard(i, count))[0] for i in range(1, count + 1)]


@pytest.fixture
def flags(tmp_path_factory, monkeypatch):
    """The poisoned plug-in, importable, and the switches of its faults."""
    monkeypatch.setenv("POISON", "")
    monkeypatch.syspath_prepend(poison.install(tmp_path_factory.mktemp("site")))
    yield poison.Flags(tmp_path_factory.mktemp("flags"))
    sys.modules.pop("poisoned", None)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_shards_give_the_record_of_a_local_run(small_runs, tmp_path, count):
    config = RunConfig("copy-reference", "conflict", tmp_path / "run", limit=24, metrics=METRICS)
    shards_of(config, count)
    _, record = merge([tmp_path / "run"])
    local = read_record(small_runs["copy-reference"] / "record.json")
    assert content(record) == content(local)
    assert record.provenance.images_sha256 == local.provenance.images_sha256
    # Each shard has measured its share; the merge measured nothing.
    assert record.costs["measure"].images == 24 and record.costs["generate"].calls == count
    ledger = (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()
    assert len(ledger) == 24 == len(list((tmp_path / "run" / "images").iterdir()))
    merge([tmp_path / "run"])  # again: nothing is entered twice
    assert (tmp_path / "run" / "ledger.jsonl").read_text().splitlines() == ledger
    assert content(execute(config)) == content(local)  # an ordinary run folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Two shards of a small run; read only."""
    folder = tmp_path_factory.mktemp("base") / "run"
    shards_of(RunConfig("copy-reference", "conflict", folder, limit=12, metrics=CHEAP), 2)
    return folder


@pytest.fixture
def run(base, tmp_path):
    return shutil.copytree(base, tmp_path / "run")


def edit(path, **changes):
    data = json.loads(path.read_text())
    data.pop("sha256")
    data |= changes
    whole = sha256_bytes(json.dumps(data, sort_keys=True).encode())
    path.write_text(json.dumps({**data, "sha256": whole}))


def change_identity(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def image_of(shard):
    return sorted((shard / "images").iterdir())[0]


DAMAGE = {
    "missing": (lambda s: shutil.rmtree(s), "shard 2 of 2 is missing.*--shard 2/2"),
    "unfinished": (lambda s: (s / "shard.json").unlink(), "shard 2/2 in .* is unfinished"),
    "twice": (lambda s: shutil.copytree(s, s.parent / "2-of-2b-of-2"), "shard 2/2 is there twice"),
    "other count": (lambda s: change_identity(s / "run.json", shard="2/3"), "shard of 2, .* of 3"),
    "seed": (lambda s: change_identity(s / "run.json", seed=4), "seed = 0, shard 2/2 .* 4"),
    "protocol": (
        lambda s: change_identity(s / "run.json", **{"protocol sha256": "0" * 64}),
        "protocol sha256",
    ),
    "samples": (lambda s: change_identity(s / "run.json", limit=14), "limit = 12, .* 14"),
    "options": (lambda s: change_identity(s / "run.json", options={"a": "b"}), "options"),
    "weights": (lambda s: edit(s / "shard.json", weights_sha256="ff"), "weights' sha256 = None"),
    "versions": (
        lambda s: edit(s / "shard.json", versions={"torch": "1.0"}),
        "has aubench = 0.*|has torch = ",
    ),
    "no json": (lambda s: (s / "run.json").write_text("{"), "2-of-2 is no shard"),
    "cut": (
        lambda s: (s / "shard.json").write_text((s / "shard.json").read_text()[:90]),
        "shard.json is damaged",
    ),
    "ledger": (lambda s: (s / "ledger.jsonl").write_text(""), "ledger.jsonl does not hold"),
    "image": (lambda s: image_of(s).write_bytes(image_of(s).read_bytes()[:99]), "damaged"),
    "other image": (
        lambda s: Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(image_of(s)),
        "damaged",
    ),
    "no image": (lambda s: image_of(s).unlink(), "missing or damaged.*run shard 2/2 again"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_whole_or_of_another_run_is_refused_by_name(run, damage):
    change, expected = DAMAGE[damage]
    change(run / "shards" / "2-of-2")
    with pytest.raises(AubenchError, match=expected):
        merge([run])
    assert not (run / "record.json").exists()


def test_both_shards_of_another_protocol_are_refused_here(run):
    for name in ("1-of-2", "2-of-2"):
        change_identity(run / "shards" / name / "run.json", **{"protocol sha256": "0" * 64})
    with pytest.raises(AubenchError, match=r"protocol sha256.*this machine"):
        merge([run])


def test_shards_come_from_anywhere_and_are_copied_where_links_cannot_be(
    run, tmp_path, monkeypatch, base
):
    def refuse(source, target):
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    places = [run / "shards" / "2-of-2", base / "shards" / "1-of-2"]
    with pytest.raises(AubenchError, match="--out"):
        merge(places)
    _, record = merge(places, tmp_path / "whole")
    assert record.counts.generated == 12
    with pytest.raises(AubenchError, match="holds no shards"):
        merge([tmp_path])


@pytest.mark.parametrize("where", ["run", "shard"])
def test_a_merge_heals_an_image_that_was_damaged_since_the_last_one(run, base, tmp_path, where):
    out = tmp_path / "whole"
    _, before = merge([run], out)
    shard = image_of(run / "shards" / "2-of-2")
    path = {"run": out / "images" / shard.name, "shard": shard}[where]
    whole = path.read_bytes()
    path.unlink()  # the two are links of one file
    path.write_bytes(whole[:99])
    _, after = merge([run], out)
    assert after.content() == before.content()
    assert (out / "images" / shard.name).read_bytes() == whole


def test_damaged_features_are_measured_again(run, base, tmp_path):
    _, whole = merge([base], tmp_path / "whole")
    path = run / "shards" / "1-of-2" / "features" / "pixels.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    _, record = merge([run])
    assert content(record) == content(whole)
    assert (run / "features" / "pixels.safetensors").is_file()


def test_local_runs_leave_shards_alone_and_keep_out_of_theirs(run):
    config = RunConfig("copy-reference", "conflict", run, limit=12, metrics=CHEAP, fresh=True)
    execute(config)
    execute(config)
    merge([run])
    inside = RunConfig("copy-reference", "conflict", run / "shards" / "1-of-2", limit=12)
    with pytest.raises(AubenchError, match="shard = 1/2"):
        execute(inside)


def test_failures_of_shards_count_as_those_of_a_local_run(flags, tmp_path):
    few = RunConfig("poisoned", "conflict", tmp_path / "all", limit=12, metrics=CHEAP)
    execute(few)
    rows = (tmp_path / "all" / "ledger.jsonl").read_text().splitlines()
    ids = [json.loads(row)["id"] for row in rows]
    flags.set(fail=f"{ids[2]} {ids[3]}", unsupported=ids[7])
    local = execute(RunConfig(**{**vars(few), "out": tmp_path / "local"}))
    sharded = RunConfig(**{**vars(few), "out": tmp_path / "run", "batch_size": 3})
    shards_of(sharded, 3)
    _, record = merge([tmp_path / "run"])
    assert content(record) == content(local)
    assert (record.counts.failed, record.counts.unsupported) == (2, 1)


def test_an_interrupted_shard_goes_on_where_it_stopped(flags, tmp_path):
    config = RunConfig(
        "poisoned", "conflict", tmp_path / "run", limit=12, metrics=CHEAP, batch_size=2
    )
    shard, folder = Shard(2, 2), tmp_path / "run" / "shards" / "2-of-2"
    run_shard(config, Shard(1, 2))
    from aubench.run.config import prepare

    last = prepare(config).samples.shard(1, 2).frame["sample_id"].iloc[-1]
    flags.set(**{"raise": last})
    with pytest.raises(AubenchError, match="raised ValueError"):
        run_shard(config, shard)
    with pytest.raises(AubenchError, match=r"2/2 in .* is unfinished"):
        merge([tmp_path / "run"])
    before = {p: p.stat().st_mtime_ns for p in (folder / "images").iterdir()}
    assert len(before) == 4
    flags.set()
    run_shard(config, shard)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    _, record = merge([tmp_path / "run"])
    assert record.counts.generated == 12


@pytest.mark.slow
def test_the_slurm_script_of_the_page_makes_a_shard(tmp_path, base):
    page = Path(__file__).parents[2] / "docs" / "cluster.md"
    (script,) = re.findall(r"```text\n(#!/bin/bash.*?)```", page.read_text(), re.S)
    (tmp_path / "shards.sbatch").write_text(script)
    words = [
        "--model",
        "copy-reference",
        "--protocol",
        "conflict",
        "--limit",
        "12",
        "--metrics",
        "pixels",
        "--out",
        "run",
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def submit(**told):
        return subprocess.run(
            ["bash", "shards.sbatch", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path, **told},
        )

    assert "set SHARDS to N" in submit(SLURM_ARRAY_TASK_ID="2").stderr
    done = submit(SLURM_ARRAY_TASK_ID="2", SHARDS="2", SLURM_CPUS_PER_TASK="1")
    assert done.returncode == 0, done.stderr
    one, two = base / "shards" / "1-of-2", tmp_path / "run" / "shards" / "2-of-2"
    assert merge([one, two], tmp_path / "whole")[1].counts.generated == 12


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/2", "1/2/3", "1.5/2"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(AubenchError, match="--shard"):
        parse_shard(text)


def test_more_shards_than_samples_are_refused(tmp_path):
    config = RunConfig("copy-reference", "conflict", tmp_path / "run", limit=12, metrics=CHEAP)
    with pytest.raises(AubenchError, match="only 12 samples"):
        run_shard(config, Shard(13, 13))


def test_options_that_do_not_belong_together(capsys):
    from aubench.cli.main import main

    words = ["run", "--model", "oracle", "--protocol", "conflict"]
    for more, expected in (
        (["--shard", "9"], "is not I/N"),
        (["--shards", "2"], "--engine ray"),
        (["--shard", "1/2", "--engine", "ray"], "exclude"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*words, *more])
        assert ended.value.code == 2 and expected in capsys.readouterr().err
