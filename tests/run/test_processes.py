"""Runs in several processes give what one gives, and choose their number with sense."""

import operator
from dataclasses import replace

import pytest

from aubench.errors import AubenchError
from aubench.records.record import read_record
from aubench.run.config import RunConfig
from aubench.run.distributed import processes
from aubench.run.distributed.processes import processes_of, run_in_processes
from aubench.run.execute import execute
from aubench.worker_processes import workers, working


def test_numbers_do_not_depend_on_the_number_of_processes(tmp_path):
    config = RunConfig(
        "copy-reference",
        "conflict",
        tmp_path / "one",
        limit=12,
        metrics=("lpips", "au", "control"),
        witness="none",
    )
    one = execute(config)
    two = run_in_processes(replace(config, out=tmp_path / "two"), 2)
    assert [row.model_dump() for row in one.scores] == [row.model_dump() for row in two.scores]
    assert one.provenance.images_sha256 == two.provenance.images_sha256
    assert two == read_record(tmp_path / "two" / "record.json")
    assert not (tmp_path / "two" / "shards").exists()
    # A finished folder resumes in this process, and a fresh one starts again in several.
    done = replace(config, out=tmp_path / "two")
    assert processes_of(done, 2) == 1 and processes_of(replace(done, fresh=True), 2) == 2


def test_as_many_as_there_are_cores_if_the_samples_repay_it(tmp_path, monkeypatch):
    config = RunConfig("oracle", "unseen", tmp_path / "run")
    monkeypatch.setattr(processes, "workers", lambda: 4)
    assert processes_of(config, None) == 4  # 2,000 samples
    assert processes_of(replace(config, limit=24), None) == 1
    assert processes_of(replace(config, limit=24), 3) == 3
    assert processes_of(replace(config, limit=2), 3) == 2
    assert processes_of(replace(config, device="cuda"), 3) == 1
    assert processes_of(replace(config, check_determinism=True), 3) == 1
    (tmp_path / "run" / "shards" / "2-of-7").mkdir(parents=True)
    assert processes_of(config, 3) == 7  # what was interrupted goes on


def test_workers_are_for_either_engine(aubench):
    done = aubench("run", "--model", "nothing", "--protocol", "unseen", "--workers", "2", check=2)
    assert "unknown" in done.stderr and "belongs to" not in done.stderr


def test_shards_need_samples(tmp_path):
    config = RunConfig("oracle", "conflict", tmp_path / "x", limit=6)
    with pytest.raises(AubenchError, match="there are only 6 samples"):
        run_in_processes(config, 7)


def test_a_process_at_work_starts_none_of_its_own():
    with working(operator.call, [(workers,), (workers,)], 2, "counting") as found:
        assert list(found) == [1, 1]
    assert workers() >= 1


@pytest.mark.parametrize("workers", [1, 2])
def test_too_few_samples_are_refused_before_any_is_made(aubench, tmp_path, workers):
    words = ("run", "--model", "oracle", "--protocol", "conflict", "--limit", 5, "--out", "few")
    done = aubench(*words, "--workers", workers, check=2)
    assert "only 5 samples to measure; ask for at least 6" in done.stderr
    assert not (tmp_path / "few").exists()


def test_the_quick_profile_is_chosen_alone(aubench):
    words = ("run", "--quick", "--model", "oracle", "--protocol", "conflict", "--limit", 6)
    for more in (("--profile", "paper"), ("--metrics", "fid")):
        done = aubench(*words, *more, check=2)
        assert "--quick chooses the metrics itself" in done.stderr


def test_the_demo_writes_into_no_folder_of_something_else(aubench, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    done = aubench("demo", "--out", "mine", check=2)
    assert "holds files of something else" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
