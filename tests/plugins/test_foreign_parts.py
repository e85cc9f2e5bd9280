"""Metrics, data sets, networks of other people: behind the same wall, on copies, by name."""

import ctypes
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from foreign_plugins import write_plugin

from aubench.cli.exit_codes import run_to_end
from aubench.cli.output import Result, results
from aubench.datasets import registry as datasets
from aubench.errors import AubenchError
from aubench.evaluate.pairs import ImagePairs, Side, measure_pairs
from aubench.metrics import registry as metrics
from aubench.metrics.conformance import _measurements
from aubench.networks.detectors import registry as detectors
from aubench.networks.extractors import registry as extractors
from aubench.networks.inference import measure
from aubench.plugins import PluginError, at_fault
from aubench.storage.folder_lock import locked

METRICS = """
import os, sys
import numpy as np
from aubench.metrics.metric import Metric, PairStep, ScoreFacts


class Quits(Metric):
    name = "quits"
    scores = {"quits": ScoreFacts("Quits", True)}
    def score(self, data): sys.exit(0)
    def pair_step(self, size, device): os._exit(0)
    def artefacts(self, data, folder): raise KeyboardInterrupt


class Writes(Metric):
    name = "writes"
    scores = {"writes": ScoreFacts("Writes", True)}
    def score(self, data):
        data.labels[:] = 0
        data.generated["net"]["features"][:] = 0
        os.chdir("/")
        return [self.row("writes", "writes|1", 1.0, 2)]
    def pair_step(self, size, device):
        kept = np.zeros(2)
        def compute(batch):
            kept[:] = batch.generated.reshape(2, -1).mean(1)
            batch.generated[:] = 0
            return {"writes": kept}
        return PairStep(compute, "writes")


class Strings(Metric):
    name = "strings"
    files = "one.csv"
    scores = {"strings": ScoreFacts("Strings", True)}
    def score(self, data): return []


class Listed(Metric):
    name = "listed"
    scores = ["listed"]
    def score(self, data): return []


class Needs(Metric):
    name = "needs"
    needs = frozenset({"pairs"})
    scores = {"needs": ScoreFacts("Needs", True)}
    def score(self, data): return []


class Unmade(Metric):
    name = "unmade"
    scores = {"unmade": ScoreFacts("Unmade", True)}
    def __init__(self): sys.exit("no licence")
    def score(self, data): return []
"""


@pytest.fixture
def foreign_metrics(tmp_path, monkeypatch):
    """Register the metrics of ``METRICS`` beside ours."""
    points = {
        n: n.capitalize() for n in ("quits", "writes", "strings", "listed", "needs", "unmade")
    }
    write_plugin(tmp_path / "metrics", monkeypatch, METRICS, "aubench.metrics", **points)
    caches = (metrics.metric, metrics.installed, metrics._facts)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def test_a_metric_that_leaves_is_told_by_name(foreign_metrics, tmp_path):
    found = metrics.metric("quits")
    data = _measurements(metrics.metric("pixels"))
    for call, told in (
        (lambda: found.score(data), r"metric 'quits' raised SystemExit in score\(\)"),
        (lambda: metrics.pair_step_of(found, 64, "cpu"), "it called os._exit"),
        (lambda: found.artefacts(data, tmp_path), "raised KeyboardInterrupt"),
    ):
        with pytest.raises(PluginError, match=told):
            call()


def test_a_metric_reads_copies_and_leaves_no_trace(foreign_metrics, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, data = metrics.metric("writes"), _measurements(metrics.metric("pixels"))
    labels, features = data.labels.copy(), data.generated["net"]["features"].copy()
    assert found.score(data)[0].value == 1
    np.testing.assert_array_equal(data.labels, labels)
    np.testing.assert_array_equal(data.generated["net"]["features"], features)
    assert Path.cwd() == tmp_path


def test_a_step_on_pairs_may_reuse_its_buffer_and_write_to_its_batch(foreign_metrics, tmp_path):
    images = np.arange(130, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    side = Side([str(i) for i in range(130)], lambda keys: images[[int(k) for k in keys]].copy())
    pairs = ImagePairs(side, side, side, np.zeros((130, 12), np.uint8), "content")
    steps = {name: metrics.pair_step_of(metrics.metric("writes"), 8, "cpu") for name in ("a", "b")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aubench.evaluate.pairs.BATCH", 2)
        found = measure_pairs(pairs, steps, tmp_path)
    np.testing.assert_array_equal(found["writes"], np.arange(130))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("strings", "files is 'one.csv'; it should be a tuple of names"),
        ("listed", r"scores is \['listed'\]; it should be a mapping"),
        ("needs", "needs is .*'pairs'.*; it should be a frozenset of Need"),
        ("unmade", "raised SystemExit in being made: no licence"),
    ],
)
def test_facts_of_another_type_are_refused_by_name(foreign_metrics, name, told):
    with pytest.raises(AubenchError, match=f"metric '{name}'.*{told}"):
        metrics.metric(name)


def test_broken_metrics_hide_no_other(foreign_metrics, capsys):
    names = [one.name for one in metrics.installed()]
    assert {"fid", "pixels", "writes"} <= set(names) and "unmade" not in names
    assert capsys.readouterr().err.count("warning: metric") == 4


DATASETS = """
import sys
import numpy as np
from aubench.datasets.dataset import Dataset


class Images:
    fingerprint = "faces-1"
    kept = np.zeros((4, 4, 3), np.uint8)
    def load(self, key, size):
        if key == "leave": sys.exit(0)
        if key == "grey": return self.kept[..., 0]
        self.kept[:] = int(key)
        return self.kept
    def load_many(self, keys, size): return np.stack([self.load(k, size) for k in keys]) * 1.0
    def prefetch(self, keys, size, label): raise SystemExit("no disk")
    def attributes(self, subjects): return {}


class Faces(Dataset):
    name = "faces"
    def images(self, processes=None): return Images()
    def split_faces(self, split): sys.exit(split)
"""


def test_a_data_set_is_called_behind_the_wall(tmp_path, monkeypatch):
    write_plugin(tmp_path / "d", monkeypatch, DATASETS, "aubench.datasets", faces="Faces")
    datasets.load_installed.cache_clear()
    found = datasets.find_dataset("faces")
    images = found.images()
    one, two = images.load("1", 4), images.load("2", 4)
    assert one.max() == 1 and two.min() == 2
    for call, told in (
        (lambda: found.split_faces("train"), r"data set 'faces' raised SystemExit in split_faces"),
        (lambda: images.load("leave", 4), r"raised SystemExit in load\(\) of leave"),
        (lambda: images.prefetch(["1"], 4, ""), "no disk"),
        (lambda: images.load("grey", 4), r"gives uint8 \[4, 4\] for grey; uint8 \[4, 4, 3\]"),
        (lambda: images.load_many(["1", "2"], 4), r"gives float64 \[2, 4, 4, 3\] for 1"),
    ):
        with pytest.raises(AubenchError, match=told):
            call()


NETWORKS = """
import os, sys
import numpy as np


class Blackens:
    name, id, sha256 = "blackens", "blackens.1", "0" * 64
    def __call__(self, images):
        found = {"mean": images.reshape(len(images), -1).mean(1).astype(np.float32)}
        images[:] = 0
        os.chdir("/")
        return found


class Leaves(Blackens):
    name = "leaves"
    def __call__(self, images): sys.exit(0)


def load(name, device, **more): sys.exit("no GPU here")
"""


def test_networks_are_called_behind_the_wall_on_images_of_their_own(tmp_path, monkeypatch):
    file = write_plugin(tmp_path / "n", monkeypatch, NETWORKS, "aubench.extractors", looks="load")
    points = next(file.parent.glob("*.dist-info")) / "entry_points.txt"
    points.write_text(points.read_text() + f"[aubench.detectors]\nsees = {file.stem}:load\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError, match="extractor 'looks' raised SystemExit in loading: no GPU"):
        extractors.load_extractor("looks")
    with pytest.raises(PluginError, match="detector 'sees' raised SystemExit in loading: no GPU"):
        detectors.load_any("sees")
    module = sys.modules[file.stem]
    second = type("Second", (module.Blackens,), {"name": "second"})()
    images = np.full((3, 4, 4, 3), 7, np.uint8)
    found = measure(["a", "b", "c"], lambda keys: images, [module.Blackens(), second])
    assert found["blackens"]["mean"].tolist() == found["second"]["mean"].tolist() == [7, 7, 7]
    assert Path.cwd() == tmp_path
    with pytest.raises(PluginError, match="network 'leaves' raised SystemExit in a pass"):
        measure(["a"], lambda keys: images[:1], [module.Leaves()])
    with pytest.raises(SystemExit) as left:
        module.load("x", "cpu")
    told = str(at_fault(left.value))
    assert "extractor 'looks', detector 'sees' raised SystemExit in load: no GPU here" in told


def ends(statement, capsys):
    command = click.Command("x", callback=lambda: statement())
    code = run_to_end(command, [], "aubench")
    return code, capsys.readouterr().err


def test_a_command_that_somebody_ends_has_no_result(capsys):
    for status in (0, None, 3, "text"):
        code, told = ends(lambda status=status: sys.exit(status), capsys)
        assert code == 2 and told.count("\n") == 1 and "ended before there was a result" in told


def test_json_keeps_what_children_and_c_code_write_out_of_stdout(capfd):
    @click.command()
    @results
    def loud():
        sys.stdout.write("python\n")
        os.write(1, b"system\n")
        subprocess.run(["echo", "child"], check=True)
        ctypes.CDLL(None).printf(b"C\n")
        return Result({"a": 1}, lambda: None)

    assert run_to_end(loud, ["--json"], "aubench") == 0
    shown = capfd.readouterr()
    assert shown.out == '{\n "a": 1\n}\n'
    assert sorted(shown.err.split()) == ["C", "child", "python", "system"]


def test_a_forked_child_holds_no_lock_beyond_its_parent(tmp_path):
    reading, writing = os.pipe()
    holder = os.fork()
    if not holder:
        with locked(tmp_path):
            if not os.fork():
                os.close(writing)
                os.read(reading, 1)  # lives on until the test ends
                os._exit(0)
            os._exit(0)  # as a kill does, without freeing anything
    os.waitpid(holder, 0)
    with locked(tmp_path):
        pass
    os.close(writing)
    os.close(reading)


def test_a_lock_that_outlives_its_holder_is_told_as_such(tmp_path):
    """As where C code has forked, of which Python learns nothing."""
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    path = tmp_path / ".lock"
    path.write_text(f"process {gone} on {os.uname().nodename}\n")
    with path.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(AubenchError, match=rf"process {gone} .*ended, but a child.*fuser"):
            locked(tmp_path).__enter__()
        path.write_text(f"process {os.getpid()} on {os.uname().nodename}\n")
        with pytest.raises(AubenchError, match="wait for its end"):
            locked(tmp_path).__enter__()
