"""Predicted costs: closed forms, coverage of the intervals, a generator under our own clock."""

import json
import os
from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from click.testing import CliRunner

from aubench import stage_times as costs
from aubench.cli.main import cli
from aubench.errors import AubenchError
from aubench.generators.contract import Generator, GeneratorInfo
from aubench.records.record import Record, read_record
from aubench.report.tables.estimate import as_data, duration, lines, size
from aubench.run.config import RunConfig
from aubench.run.cost.cost_curves import Curve, Line, Range, fit_line, total, without_spread
from aubench.run.cost.estimate import Machine, Rates, StageRate, estimate, parse_machines
from aubench.run.cost.probe import batch_sizes, probe
from aubench.run.cost.probe_scoring import enlarged, score_curves
from aubench.run.cost.record_rates import rates_of
from aubench.run.execute import execute
from aubench.storage.files import home, shipped

OLD = shipped("leaderboards") / "synfacs" / "test2k" / "oracle.json"


def test_a_line_is_found_exactly():
    line = fit_line([(k, 3 + 0.25 * k) for k in (4, 12, 4, 12)])
    assert (line.fixed, line.each) == pytest.approx((3, 0.25))
    found = line.of(200, 7)
    assert found.value == pytest.approx(7 * 3 + 200 * 0.25)
    assert found.below == pytest.approx(0, abs=1e-6)


def test_lines_that_points_do_not_settle():
    one = fit_line([(10, 5.0)])
    assert (one.fixed, one.each, one.noise) == (0, 0.5, None) and one.of(100, 1).below is None
    same = fit_line([(10, 4.0), (10, 6.0)])
    assert same.fixed == 0 and same.each == pytest.approx(0.5) and same.of(100, 1).below > 0
    falling = fit_line([(1, 0.0), (4, 4.1), (8, 8.2)])  # would cost less than nothing at zero
    assert falling.fixed == 0 and falling.each == pytest.approx(82 / 81)
    constant = fit_line([(1, 2.0), (4, 1.9)])
    assert constant.each == 0 and constant.fixed == pytest.approx(1.95)
    with pytest.raises(ValueError, match="no images"):
        fit_line([(0, 1.0)])


def test_intervals_cover():
    """The cost of a run of 20 calls, noise included, lies inside in 95 % of probes."""
    draw = np.random.default_rng(4)
    inside = 0
    for _ in range(600):
        points = [(k, 1 + 0.2 * k + draw.normal(0, 0.1)) for k in (4, 12, 4, 12)]
        found = fit_line(points).of(240, 20)
        truth = 20 * 1 + 240 * 0.2 + draw.normal(0, 0.1, 20).sum()
        inside += found.low <= truth <= found.high
    assert 0.92 < inside / 600 < 0.98


def test_parabolas():
    sizes = (125.0, 250.0, 500.0, 1000.0)
    curve = Curve(sizes, tuple(2 + 0.01 * n + 3e-6 * n * n for n in sizes))
    assert curve.coefficients == pytest.approx((2, 0.01, 3e-6), rel=1e-6)
    found = curve.of(20_000)
    assert found.value == pytest.approx(2 + 200 + 1200, rel=1e-6)
    assert found.below == pytest.approx(0, abs=1e-3) and found.above == pytest.approx(0, abs=1e-3)
    bent = Curve(sizes, tuple(np.sqrt(n) for n in sizes))
    assert min(bent.coefficients) >= 0
    noisy = Curve(sizes, (1.0, 2.2, 3.9, 8.1))
    assert noisy.of(10_000).low < 80 < noisy.of(10_000).high


def test_ranges():
    both = Range(10, 3, 6) + Range(1, 4, 8)
    assert (both.value, both.below, both.above) == (11, 5, 10)
    assert (Range(1, 5, 1).low, Range(2, 1, 1).times(3).high) == (0, 9)
    assert (Range(1) + without_spread(2)).high is None
    assert total([]) == without_spread(0)


GENERATE = StageRate("generate", Line(2, 0.5, 0), Line(4, 1, 0), 10, 20, batch=32, memory=500)
MEASURE = StageRate("measure", Line(3, 0.1, 0), Line(3, 0.1, 0), 1, 1, memory=700)
SIZES = (10.0, 20.0, 40.0, 80.0)
SCORE = Curve(SIZES, tuple(1 + 0.01 * n + 1e-4 * n * n for n in SIZES))
RATES = Rates(
    "a table",
    "paper",
    2000,
    (GENERATE, MEASURE),
    {"kid": SCORE},
    {"kid": SCORE},
    Curve(SIZES, (1e6, 2e6, 4e6, 8e6)),
    300.0,
    {"images": 30_000.0},
    1.0,
)


def test_one_machine():
    found = estimate(RATES, 1000)
    calls = ceil(1000 / 32)
    scored = 1 + 10 + 100
    assert found.seconds.value == pytest.approx(10 + 2 * calls + 500 + 1 + 3 + 100 + scored)
    assert found.processor.value == pytest.approx(20 + 4 * calls + 1000 + 1 + 3 + 100 + scored)
    assert found.serial.value == pytest.approx(scored)
    assert found.stages[-1].each == pytest.approx(0.01 + 2e-4 * 1000)
    assert found.stages[-1].quadratic == pytest.approx(100 / scored)
    assert found.memory["worker"] == 700
    assert found.memory["scoring"] == pytest.approx(300 + 1e8 / 2**20, rel=1e-6)
    assert found.disk == {"images": 3e7}
    assert found.seconds.low == pytest.approx(found.seconds.high, rel=1e-6)


def test_many_machines():
    machines = (Machine(8, "a", 4.0), Machine(16, "b"))
    found = estimate(RATES, 100_000, machines)
    calls, speed = 100_000 / 32, 8 * 4 + 16
    # Start-up is that of the slowest; the rest is divided by speed; scoring stays alone.
    divided = 10 + (2 * calls + 0.5 * 100_000) / speed + 1 + 3 + 0.1 * 100_000 / speed
    assert found.seconds.value - found.serial.value == pytest.approx(divided)
    assert found.processor.value - found.serial.value == pytest.approx(
        24 * 20 + 4 * calls + 100_000 + 24 * (1 + 3) + 10_000
    )
    double = estimate(RATES, 100_000, (Machine(1, "a", 2.0),))
    single = estimate(RATES, 100_000)
    ratio = (single.seconds.value - single.serial.value) / (
        double.seconds.value - double.serial.value
    )
    assert ratio == pytest.approx(2)


def test_shards_are_put_together_by_one_machine():
    rates = replace(RATES, merge=StageRate("merge", Line(1, 0.01, 0), Line(1, 0.02, 0)))
    assert estimate(rates, 1000) == replace(estimate(RATES, 1000), rates=rates)
    machines = (Machine(4, "a", 2.0),)
    found, plain = estimate(rates, 1000, machines), estimate(RATES, 1000, machines)
    assert found.serial.value - plain.serial.value == pytest.approx(1 + 10)
    assert found.processor.value - plain.processor.value == pytest.approx(1 + 20)
    idle = estimate(rates, 1000, machines, idle=True)
    assert idle.serial.value - estimate(RATES, 1000, machines, idle=True).serial.value == (
        pytest.approx(21)
    )


def test_machines_without_a_batch_are_idle():
    stage = estimate(RATES, 64, (Machine(1000, "many"),)).stages[0]
    assert stage.seconds.value == pytest.approx(10 + (2 * 2 + 32) / 2)
    assert stage.processor.value == pytest.approx(2 * 20 + 2 * 4 + 64)


def test_idle_cores():
    found = estimate(RATES, 32, idle=True)
    assert found.stages[0].seconds.value == pytest.approx(20 + 4 + 32)
    with pytest.raises(AubenchError, match="no processor seconds"):
        estimate(rates_of(read_record(OLD), "old"), 10, idle=True)


def test_machines_are_read():
    assert parse_machines("8x a100:4.0, 16x cpu,big-1:2") == (
        Machine(8, "a100", 4.0),
        Machine(16, "cpu"),
        Machine(1, "big-1", 2.0),
    )
    for words in ("", "8", "8x", "0x a", "2x a:0", "2x a:fast", "-1x a"):
        with pytest.raises(AubenchError, match="--machines"):
            parse_machines(words)


def test_batches_of_a_probe():
    for images in (8, 32, 33, 100):
        for batch in (1, 4, 32, 512):
            sizes = batch_sizes(images, batch)
            assert len(sizes) >= 4 and max(sizes) <= max(2, batch) and min(sizes) >= 1
            assert abs(sum(sizes) - images) <= max(4, max(sizes) + min(sizes))
            assert len(set(sizes)) == 2
            if images >= 3 * batch > 3:
                assert max(sizes) == batch


class Clock:
    def __init__(self):
        self.now = 0.0

    def gauges(self):
        def read():
            return self.now

        return costs.Gauges(read, read, lambda: 100.0, lambda: 100.0)


@pytest.fixture
def sleeper(monkeypatch):
    """A control that sleeps by our own clock: 5 s to load, 7 to begin, 1 a call, 0.25 an image."""
    clock = Clock()

    class Sleeper(Generator):
        info = GeneratorInfo(
            "sleeper", frozenset({"reference"}), 128, "none", (), (), "MIT", "none"
        )
        woken = False

        @classmethod
        def load(cls, weights, *, device, dtype, **options):
            clock.now += 5
            return cls()

        def generate(self, batch):
            clock.now += 1 + 0.25 * len(batch) + (0 if self.woken else 7)
            self.woken = True
            return np.stack([request.reference for request in batch])

    monkeypatch.setattr("aubench.generators.registry.generator_class", lambda name: Sleeper)
    return clock


def test_a_probe_predicts_a_generator_whose_cost_is_known(sleeper, tmp_path, monkeypatch):
    config = RunConfig(
        "sleeper", "unseen", tmp_path / "run", limit=40, metrics=("pixels",), batch_size=16
    )
    before = sorted(home().rglob("*.safetensors")), os.environ["AUBENCH_HOME"]
    rates = probe(config, 8, gauges=sleeper.gauges())
    assert (sorted(home().rglob("*.safetensors")), os.environ["AUBENCH_HOME"]) == before
    stages = {stage.name: stage for stage in estimate(rates, 40).stages}
    assert stages["load"].seconds.value == pytest.approx(5)
    assert stages["generate"].seconds.value == pytest.approx(7 + 3 * 1 + 40 * 0.25)
    assert stages["generate"].seconds.below == pytest.approx(0, abs=1e-6)
    assert estimate(rates, 2000).stages[-1].divided is False
    assert rates.disk["images"] > 1000 and rates.images == 40

    gauges = sleeper.gauges()
    monkeypatch.setattr(costs, "Gauges", lambda: gauges)
    record = execute(config)  # the same clock in a whole run
    for name in ("load", "generate"):
        assert record.costs[name].seconds == pytest.approx(stages[name].seconds.value)


def test_a_probe_that_is_too_small_or_too_large(sleeper, tmp_path):
    config = RunConfig("sleeper", "unseen", tmp_path / "run", limit=9, metrics=("pixels",))
    with pytest.raises(AubenchError, match="too few"):
        probe(config, 4)
    with pytest.raises(AubenchError, match="the protocol has 9"):
        probe(config, 8)


def test_scoring_of_repeated_images(small_runs):
    from aubench.comparison.runs import open_run
    from aubench.metrics.distributions.fid import distance_of

    metrics = ("fid", "kid", "is", "pixels", "aaad", "au")
    measured = open_run(small_runs["copy-reference"]).evaluation_data(metrics)
    whole = enlarged(measured, 60)
    assert len(whole.generated_rows) == len(whole.labels) == len(whole.subjects) == 60
    made, real = whole.extracted("features")
    assert made.shape == real.shape == (60, measured.extracted("features")[0].shape[1])
    assert distance_of(whole).value > 0
    clock = Clock()

    def observed(n, call):
        call()
        clock.now += 1
        return costs.Spent(n, 1e-4 * n * n, 2e-4 * n * n), None

    found = score_curves(measured, metrics, 64, observed)
    assert {"fid", "kid", "pixels"} <= set(found.seconds)
    assert found.seconds["fid"].of(640).value == pytest.approx(1e-4 * 640**2, rel=1e-6)
    assert found.processor["fid"].of(640).value == pytest.approx(2e-4 * 640**2, rel=1e-6)
    assert found.memory.of(10_000).value > found.memory.of(100).value > 64 * 1280 * 4


def _record(**stages):
    data = read_record(OLD).model_dump()
    default = {"processor_seconds": 0.0, "images": 0, "peak_memory_mib": 9.0, "calls": 1}
    data["costs"] = {name: default | cost for name, cost in stages.items()}
    return Record.model_validate(data)


def test_rates_of_a_record():
    record = _record(
        load={"seconds": 12.0, "calls": 3},
        generate={"seconds": 400.0, "images": 2000},
        measure={"seconds": 80.0, "images": 4000},
        score={"seconds": 30.0, "images": 6000, "calls": 3},
    )
    found = estimate(rates_of(record, "r"), 4000, (Machine(2, "worker"),))
    assert [stage.seconds.value for stage in found.stages] == pytest.approx([4, 400, 80, 40])
    assert found.seconds.low is None and any("spread" in text for text in found.rates.unknown)
    cached = _record(generate={"seconds": 400.0, "images": 1000}, measure={"seconds": 1.0})
    rates = rates_of(cached, "r")
    assert [rate.name for rate in rates.stages] == ["generate"]
    assert estimate(rates, 10).stages[0].each == pytest.approx(0.4)
    assert any("measure: no image" in text for text in rates.unknown)
    with pytest.raises(AubenchError, match="nothing of generation"):
        rates_of(_record(measure={"seconds": 1.0, "images": 5}), "r")


def test_what_is_printed():
    text = "\n".join(lines(estimate(RATES, 10_000_000, parse_machines("8x a100:4"))))
    assert "8 x a100 at 4 times its speed" in text and "grows with the square" in text
    assert "images 300 GB" in text and "hours of cores" in text
    assert (duration(0.02), duration(90), duration(4e8)) == ("0.02 s", "1.5 min", "12.7 years")
    assert (size(999), size(2.5e9)) == ("999 B", "2.5 GB")
    data = as_data(estimate(RATES, 100))
    assert json.loads(json.dumps(data))["stages"][0]["fixed_seconds"] == 10


def test_command():
    run = CliRunner().invoke
    words = ["estimate", "--from", str(OLD), "--samples", "4000"]
    done = run(cli, [*words, "--workers", "4", "--json"], standalone_mode=False)
    data = json.loads(done.stdout)
    assert data["images"] == 4000 and data["machines"][0]["count"] == 4
    former = read_record(OLD).seconds
    measured = next(stage for stage in data["stages"] if stage["name"] == "measure")
    assert measured["seconds"]["value"] == pytest.approx(2 * former["measure"] / 4)
    assert "former version" in run(cli, words, standalone_mode=False).output
    for more, wrong in (
        (["estimate"], "--model and --protocol"),
        ([*words, "--machines", "2x a", "--workers", "2"], "two ways"),
        ([*words, "--machines", "2"], "--machines"),
        (["estimate", "--model", "oracle", "--protocol", "unseen", "--metrics", "fud"], "fud"),
    ):
        assert wrong in str(run(cli, more).exception)
