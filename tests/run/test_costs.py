"""Costs of a run: closed forms under our own clocks, kills, damage, old records, a real resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aubench import stage_times as costs
from aubench.errors import AubenchError
from aubench.records.record import Record, StageCost, read_record
from aubench.report.leaderboards.record_page import record_page
from aubench.report.tables.costs import cost_line
from aubench.stage_times import Gauges, Meter, Spent, read_calls, totals, write_calls
from aubench.storage.files import sha256_json, shipped

LONG = 3600.0
OLD = shipped("leaderboards") / "synfacs" / "test2k" / "oracle.json"


class Machine:
    """Clocks and memory that stand still unless told to move."""

    def __init__(self):
        self.now = self.busy = 0.0
        self.held = self.top = 100.0

    def work(self, seconds, busy, held=100.0):
        self.now += seconds
        self.busy += busy
        self.held, self.top = held, max(self.top, held)

    def gauges(self):
        return Gauges(lambda: self.now, lambda: self.busy, lambda: self.held, lambda: self.top)


def test_stages_add_up_over_calls(tmp_path):
    path, machine = tmp_path / costs.COSTS, Machine()
    for call, images in enumerate((3, 4)):
        meter = Meter(path, machine.gauges(), LONG)
        with meter.stage("generate"):
            for _ in range(images):
                machine.work(2.0, 1.5, 300.0 + call)
                costs.count(1)
    with meter.stage("score"):
        machine.work(10.0, 20.0, 50.0)  # two cores, and no new peak: what was seen counts
        meter.count(7)
    assert meter.totals() == {
        "generate": StageCost(
            seconds=14, processor_seconds=10.5, images=7, peak_memory_mib=301, calls=2
        ),
        "score": StageCost(seconds=10, processor_seconds=20, images=7, peak_memory_mib=50, calls=1),
    }
    assert totals(read_calls(path)) == meter.totals()
    with meter.stage("score"):  # again in the same call
        machine.work(1.0, 1.0)
    assert meter.totals()["score"].calls == 1 and meter.totals()["score"].seconds == 11


def test_counting_outside_a_stage_is_nothing_and_stages_do_not_nest():
    costs.count(5)
    meter = Meter(None)
    meter.count(5)
    with meter.stage("load"), pytest.raises(ValueError, match="inside another"):
        meter.stage("other").__enter__()
    assert meter.totals()["load"].images == 0


def test_a_stage_that_fails_is_counted(tmp_path):
    machine = Machine()
    meter = Meter(tmp_path / "c.json", machine.gauges(), LONG)

    def fail():
        with meter.stage("generate"):
            machine.work(3.0, 1.0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert totals(read_calls(tmp_path / "c.json"))["generate"].seconds == 3


def test_clocks_that_jump_take_nothing_back(tmp_path, monkeypatch):
    assert Gauges().wall is time.monotonic
    monkeypatch.setattr(time, "time", lambda: 4e9)
    machine = Machine()
    meter = Meter(None, machine.gauges(), LONG)
    with meter.stage("generate"):
        machine.work(5.0, 5.0)
        meter._open.look()
        machine.work(-100.0, -100.0)  # such as after a machine was restored from a snapshot
        meter._open.look()
        machine.work(2.0, 2.0)
    assert meter.totals()["generate"].seconds == 7


def test_real_gauges():
    gauges = Gauges()
    assert 0 < gauges.resident() <= gauges.peak() * 1.01
    wall, busy = gauges.wall(), gauges.processor()
    while gauges.processor() - busy < 0.02:
        sum(range(1000))
    assert gauges.wall() > wall


def test_memory_of_a_stage_is_its_own(tmp_path):
    """What an earlier stage held is not the later one's peak."""
    code = (
        "import time, json, numpy as np; from pathlib import Path\n"
        "from aubench.stage_times import Meter\n"
        "m = Meter(Path('c.json'), interval=0.05)\n"
        "with m.stage('big'):\n    a = np.ones(25_000_000); del a\n"
        "with m.stage('small'):\n    time.sleep(0.3)\n"
        "with m.stage('huge'):\n    a = np.ones(50_000_000); del a\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    found = totals(read_calls(tmp_path / "c.json"))
    memory = {name: cost.peak_memory_mib for name, cost in found.items()}
    assert memory["big"] - memory["small"] > 150  # 200 MB were given back
    assert memory["huge"] - memory["big"] > 150


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_call_counts(tmp_path):
    code = (
        "import time; from pathlib import Path\n"
        "from aubench.stage_times import Meter\n"
        "m = Meter(Path('costs.json'), interval=0.05)\n"
        "with m.stage('generate'):\n    m.count(3); time.sleep(600)\n"
    )
    path = tmp_path / costs.COSTS
    for kill in (1, 2):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
        end = time.monotonic() + 120
        while time.monotonic() < end and len(read_calls(path)) < kill:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    found = totals(read_calls(path))["generate"]
    assert found.calls == 2 and found.images == 6 and found.seconds > 0


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_is_noticed(tmp_path_factory, capsys, data):
    calls = [
        {"generate": Spent(5, 1.25, 1.0, 300.5, None)},
        {"score": Spent(5, 2.5, 2.0, 1.0, 8.0)},
    ]
    path = tmp_path_factory.mktemp("damage") / costs.COSTS
    write_calls(path, calls)
    assert read_calls(path) == calls
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(whole))
    capsys.readouterr()
    found = read_calls(path)
    assert found == calls or (found == [] and str(path) in capsys.readouterr().err)


def test_a_full_disk_does_not_stop_at_the_books(tmp_path, monkeypatch):
    def full(*_):
        raise AubenchError("no space left to write costs.json")

    monkeypatch.setattr(costs, "write_text", full)
    meter = Meter(tmp_path / costs.COSTS, interval=0.01)
    with meter.stage("generate"):
        meter.count(2)
        time.sleep(0.05)
    assert meter.totals()["generate"].images == 2


def test_former_records_stay_as_they_are():
    paths = sorted((shipped("leaderboards") / "synfacs").rglob("*.json"))
    assert paths
    for path in paths:
        record = read_record(path)
        stated = json.loads(path.read_text(encoding="utf-8"))
        written = json.loads(record.model_dump_json())
        assert written["seconds"] == stated["seconds"]
        assert written.get("costs") == stated.get("costs")


def _with_costs(record, **costs):
    return Record.model_validate({**record.model_dump(), "costs": costs})


COST = StageCost(seconds=80, processor_seconds=130, images=1600, peak_memory_mib=900, calls=3)


def test_costs_are_no_part_of_what_makes_records_equal(tmp_path):
    old = read_record(OLD)
    new = _with_costs(old, generate=COST)
    assert new != old and new.content() == old.content()
    new.write(tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == new


def test_pages_show_costs_where_they_are_there():
    old = read_record(OLD)
    assert "call that finished the run" in record_page(old, "", "x.json")
    page = record_page(_with_costs(old, generate=COST), "", "x.json")
    assert "call that finished the run" not in page
    for text in ("50.0 ms", "130.0 s", "900 MiB", "1,600 of 2,000"):
        assert text in page, text


def test_a_line_after_the_run():
    old = read_record(OLD)
    assert cost_line(old) == ""
    line = cost_line(_with_costs(old, generate=COST))
    assert line == "wall (processor) generate 1.33 min (2.17 min) in 3 calls; peak 944 MB"


def test_a_resumed_run_counts_all_of_its_calls(aubench, tmp_path):
    words = (
        "run",
        "--model",
        "stranger",
        "--protocol",
        "unseen",
        "--limit",
        12,
        "--metrics",
        "kid",
        "--batch-size",
        4,
        "--out",
        "run",
    )
    aubench(*words, check=2, STRANGER_FAULT="raise", STRANGER_SLEEP="0.5")
    broken = totals(read_calls(Path(tmp_path / "run" / costs.COSTS)))["generate"]
    aubench(*words, check=0, STRANGER_SLEEP="0.1")
    record = read_record(tmp_path / "run" / "record.json")
    cost = record.costs["generate"]
    assert cost.calls == 2 and cost.images == 12
    assert record.seconds["generate"] == cost.seconds > broken.seconds
    assert set(record.costs) == {"load", "render", "generate", "measure", "score"}
    assert record.costs["measure"].images in (12, 24)  # targets may be in the cache
    assert all(c.peak_memory_mib > 50 for c in record.costs.values())


def test_rows_with_other_fields_are_lost_though_their_digest_fits(tmp_path, capsys):
    """As written by another version."""
    path = tmp_path / costs.COSTS
    rows = [{"generate": {"seconds": 1.0, "joules": 5.0}}]
    path.write_text(json.dumps({"calls": rows, "sha256": sha256_json(rows)}))
    assert read_calls(path) == [] and "costs of former calls are lost" in capsys.readouterr().err


def test_memory_without_proc_is_that_of_getrusage(monkeypatch, tmp_path):
    """As on macOS; the peak stands in for what is resident now."""
    import resource

    seen = costs.peak_memory(), costs.resident_memory()
    assert 5 < seen[1] <= seen[0] + 1  # MiB, in the order of this process
    monkeypatch.setattr(costs, "Path", lambda place: tmp_path / "none")
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(costs.sys, "platform", "linux")
    assert costs.peak_memory() == pytest.approx(held / 1024, rel=0.05)
    assert costs.resident_memory() == pytest.approx(held / 1024, rel=0.05)
    monkeypatch.setattr(costs.sys, "platform", "darwin")  # which counts in bytes
    assert costs.peak_memory() == pytest.approx(held / 2**20, rel=0.05)


def test_memory_of_the_gpu_is_the_largest_of_all_and_starts_anew(monkeypatch):
    used, reset = {0: 3 << 20, 1: 7 << 20}, []
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        max_memory_allocated=used.get,
        reset_peak_memory_stats=reset.append,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert costs.device_memory() == 7 and reset == []
    assert costs.device_memory(reset=True) == 7 and reset == [0, 1]
    spent = Spent(1, 1.0, 1.0, 5.0, None)
    for allocation, expected in ((None, None), (3.0, 3.0), (2.0, 3.0), (None, 3.0)):
        spent.saw(allocation)
        assert spent.device_memory == expected
    cuda.is_initialized = lambda: False  # no process of ours has touched a GPU
    assert costs.device_memory() is None
