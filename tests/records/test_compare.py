"""Two runs compared: the statistics against closed forms, and the command end to end."""

import csv
import itertools
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from aubench.comparison.comparison import check, compare, most_different
from aubench.comparison.difference import (
    corrected,
    holm,
    of_f1,
    of_means,
    of_replicates,
    of_sums,
    p_value,
)
from aubench.comparison.runs import open_run
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.facs.f1 import f1_by_au
from aubench.metrics.statistics.groups import f1_sums
from aubench.metrics.statistics.means import mean_of, row_means
from aubench.metrics.statistics.resampling import draw_counts, resamples

SUBJECTS = [f"s{i // 4}" for i in range(200)]


def values(seed, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, 200)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_family_error_where_single_tests_do_not():
    """Of 400 families of 12 true null hypotheses, about 5 % reject any."""
    p = np.random.default_rng(1).uniform(size=(400, 12))
    single = (p.min(1) < 0.05).mean()
    family = np.mean([min(holm(list(row))) < 0.05 for row in p])
    assert single > 0.35 and family < 0.08


def test_a_paired_difference_of_independent_samples_is_the_paired_t_test():
    one, two = values(1), values(2, 0.15)
    found = of_means("x", one, two, list(range(200)), higher=True)
    expected = stats.ttest_rel(one, two)
    assert found.difference == pytest.approx(one.mean() - two.mean())
    assert found.p == pytest.approx(expected.pvalue, rel=0.1)
    low, high = expected.confidence_interval()
    assert found.interval == pytest.approx((low, high), abs=0.03)


def test_what_two_runs_have_in_common_drops_out():
    """Hard samples move both runs: the paired interval is far narrower than either run's."""
    common = 10 * values(3)
    found = of_means("x", common + 0.2, common, SUBJECTS, higher=True)
    assert found.difference == pytest.approx(0.2) and found.better == 1
    assert of_means("x", common, common, SUBJECTS, higher=True).better == 0
    assert of_means("x", common, common, SUBJECTS, higher=True).p == 1


@pytest.mark.parametrize(("higher", "better"), [(True, 2), (False, 1)])
def test_the_better_run_follows_the_direction(higher, better):
    assert of_means("x", values(1), values(2, 2.0), SUBJECTS, higher=higher).better == better


def test_a_difference_that_the_family_does_not_bear_is_no_win():
    """Of 40 differences that are none, chance makes some look real; corrected, none does."""
    null = [
        of_means(str(i), values(1000 + i), values(2000 + i), SUBJECTS, higher=True)
        for i in range(40)
    ]
    assert any(d.better for d in null)
    family = corrected([*null, of_means("real", values(1), values(2, 1.0), SUBJECTS, higher=True)])
    assert [d.name for d in family if d.better] == ["real"]


def test_one_subject_gives_no_interval():
    found = of_means("x", values(1), values(2), ["s"] * 200, higher=True)
    assert found.interval is None and found.p is None and found.better == 0
    empty = of_replicates("x", 1.0, 2.0, np.zeros(0), 5, 5, higher=True)
    assert empty.interval is None and empty.p is None and empty.detectable is None


def test_p_values():
    assert p_value(1.96, 1.0, 80) == pytest.approx(0.05, abs=1e-3)
    assert p_value(0.0, 0.0, 80) == 1 and p_value(1.0, 0.0, 80) == 2.0**-79
    assert p_value(1.0, float("nan"), 80) is None


def test_few_subjects_prove_little_however_well_they_agree():
    """What a test by changed signs of m subjects could say at best: 2 of 2^m ways."""
    for m in (1, 2, 5):
        ways = [sum(signs) for signs in itertools.product((-1, 1), repeat=m)]
        exact = np.mean(np.abs(ways) >= m)
        assert p_value(1.0, 0.0, m) == p_value(9.0, 1e-3, m) == exact
    labels = np.zeros((3, 12), np.uint8)
    labels[0, 0] = 1
    found = labels == 1
    (one, *_) = of_f1(found, ~found & False, labels, ["a", "b", "c"], [f"AU{k}" for k in range(12)])
    assert one.n == 1 and one.difference == 1 and one.p == 1 and one.better == 0
    assert one.detectable is None


def test_detectable_effect_is_found_at_the_power_it_claims():
    """In 400 simulations a true difference of that size is found in about 80 %."""
    rng = np.random.default_rng(5)
    draw = rng.normal(0, 1, 200)
    effect = of_means("x", draw, np.zeros(200), SUBJECTS, higher=True).detectable
    hits = 0
    for _ in range(400):
        gap = rng.normal(effect, draw.std(), 200)
        hits += of_means("x", gap, np.zeros(200), SUBJECTS, higher=True).p < 0.05
    assert 0.7 < hits / 400 < 0.9


def labels(seed):
    return (np.random.default_rng(seed).uniform(size=(200, 12)) < 0.3).astype(np.uint8)


def mean_f1(first, second, asked):
    sums = [f1_sums(found, asked, SUBJECTS) for found in (first, second)]
    return of_sums("au_f1", *sums, len(asked), higher=True)


def test_f1_from_sums_is_f1_of_the_resampled_rows():
    asked, found = labels(1), labels(2).astype(bool)
    sums = f1_sums(found, asked, SUBJECTS)
    assert sums(np.ones((1, 50)))[0] == pytest.approx(mean_of(f1_by_au(found, asked)))
    weights = draw_counts(50, 3, 4)
    rows = resamples(SUBJECTS, 3, 4)
    expected = np.array([f1_by_au(found[r], asked[r]) for r in rows])
    np.testing.assert_allclose(sums(weights), row_means(expected))
    for k in range(12):
        np.testing.assert_allclose(sums.term(k)(weights), expected[:, k])


def test_an_au_that_one_run_misses_is_the_one_that_differs():
    asked = labels(1)
    first, second = asked.astype(bool), asked.astype(bool)
    second[:, 3] &= labels(7)[:, 3].astype(bool)
    single = of_f1(first, second, asked, SUBJECTS, [f"AU{au}" for au in AUS])
    whole = mean_f1(first, second, asked)
    assert [d.name for d in single if d.better] == ["AU6"]
    assert whole.better == 1 and whole.first == 1
    nothing = np.zeros_like(asked)
    single = of_f1(nothing > 0, nothing > 0, nothing, SUBJECTS, [str(a) for a in AUS])
    whole = mean_f1(nothing > 0, nothing > 0, nothing)
    assert single == [] and whole.interval is None


def test_mean_f1_is_that_of_each_record_where_one_run_finds_what_was_never_asked():
    """One false alarm gives its run an F1 of 0 that counts; the other run has none there."""
    asked = labels(1)
    asked[:, 5] = 0
    clean, false = asked.astype(bool), asked.astype(bool)
    false[17, 5] = True
    names = [f"AU{au}" for au in AUS]
    single, whole = of_f1(clean, false, asked, SUBJECTS, names), mean_f1(clean, false, asked)
    assert whole.first == mean_of(f1_by_au(clean, asked)) == 1
    assert whole.second == mean_of(f1_by_au(false, asked)) == pytest.approx(11 / 12)
    assert whole.interval[0] <= whole.difference <= whole.interval[1]
    assert [d.name for d in single] == [name for name in names if name != "AU10"]


def test_most_different_samples_of_both_signs():
    pair = np.array([0.0, 5.0, 1.0, 0.0, 2.0]), np.array([0.0, 0.0, 4.0, 9.0, 2.0])
    assert most_different(pair, 4) == [1, 3, 2]
    assert most_different(pair, 2) == [1, 3]
    assert most_different((np.arange(9.0), np.zeros(9)), 4) == [8, 7, 6, 5]
    assert most_different((pair[0], pair[0]), 4) == []


@pytest.fixture(scope="module")
def runs(small_runs):
    return open_run(small_runs["oracle"]), open_run(small_runs["copy-reference"])


def test_values_are_those_of_the_records(runs):
    found = compare(*runs, minimum=4)
    witness = {"aaad_witness", "f1_witness"}
    names = {d.name for d in found.metrics}
    measured = "mp-zero" in runs[0].record.provenance.networks  # where its weights are
    assert names & witness == (witness if measured else set())
    assert names - witness == {
        "fid",
        "kid",
        "au_f1",
        "aaad",
        "aaad_second",
        "off_target",
        "rms",
        "ssim",
    }
    for d in found.metrics:
        for run, value in zip(runs, (d.first, d.second), strict=True):
            assert value == pytest.approx(run.record.score(d.name).value, abs=1e-9), d.name
        assert d.interval[0] <= d.difference <= d.interval[1]
    better = {d.name: d.better for d in found.metrics}
    assert better["aaad_second"] == better["au_f1"] == better["rms"] == 1
    for column, family in (("strata", found.strata), ("combination", found.combinations)):
        counts = runs[0].samples.frame[column].value_counts()
        assert {d.name: d.n for d in family} == dict(counts[counts >= 4])
    turned = compare(runs[1], runs[0], minimum=4)
    for a, b in zip(found.metrics, turned.metrics, strict=True):
        assert a.difference == pytest.approx(-b.difference) and a.p == pytest.approx(b.p)


def test_failed_samples_count_the_same_as_in_the_records(small_runs, runs, tmp_path, aubench):
    """AUs that nobody sees on a face that is not there are no clean face."""
    images = tmp_path / "images"
    shutil.copytree(small_runs["oracle"] / "images", images)
    for path in sorted(images.glob("*.png"))[:3]:
        path.unlink()
    aubench(
        "run",
        "--model",
        "images",
        "--images",
        images,
        "--allow-missing",
        "--protocol",
        "conflict",
        "--limit",
        24,
        "--out",
        tmp_path / "run",
    )
    holed = open_run(tmp_path / "run")
    assert holed.record.counts.failed == 3
    for d in compare(holed, runs[0]).metrics:
        assert d.first == pytest.approx(holed.record.score(d.name).value, abs=1e-9), d.name


def test_command(small_runs, tmp_path, monkeypatch, capsys):
    from aubench.cli.main import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    words = ["compare", str(small_runs["oracle"]), str(small_runs["copy-reference"])]
    words += ["--protocol", "conflict", "--minimum", "4", "--worst", "4"]
    cli.main(words, standalone_mode=False)
    assert "oracle − copy-reference on synfacs/conflict, N = 24" in capsys.readouterr().out
    place = tmp_path / "runs" / "compare-conflict-oracle-copy-reference"
    data = json.loads((place / "compare.json").read_text())
    assert {d["name"] for d in data["metrics"]} >= {"fid", "aaad_second"}
    with (place / "samples.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    gap = [float(r["difference"]) for r in rows if r["metric"] == "aaad_second"]
    stated = next(d for d in data["metrics"] if d["name"] == "aaad_second")
    assert np.mean(gap) == pytest.approx(stated["difference"], abs=1e-5) and len(gap) == 24
    sheet = np.asarray(Image.open(place / "sheet.png"))
    assert sheet.shape[0] > 4 * 128 and sheet.std() > 20


def test_models_of_one_name_are_told_apart_by_folder_and_no_result_is_lost(
    aubench, small_runs, tmp_path
):
    for name, run in (("a", "oracle"), ("b", "copy-reference"), ("c/b", "oracle")):
        shutil.copytree(
            small_runs[run], tmp_path / name, ignore=shutil.ignore_patterns("record.sha*")
        )
        path = tmp_path / name / "record.json"
        data = json.loads(path.read_text())
        data["model"]["name"] = "images"
        path.write_text(json.dumps(data))
    words = ("--protocol", "conflict", "--worst", 0)
    done = aubench("compare", "a", "b", *words, check=0)
    assert "a − b on" in done.stdout and "written to runs/compare-conflict-a-b:" in done.stdout
    first = (tmp_path / "runs/compare-conflict-a-b/compare.json").read_bytes()
    done = aubench("compare", "a", "c/b", *words, check=0)  # another run under the same names
    assert "written to runs/compare-conflict-a-b-2:" in done.stdout
    assert (tmp_path / "runs/compare-conflict-a-b/compare.json").read_bytes() == first
    done = aubench("compare", "b", "c/b", *words, check=0)  # one name of models and of folders
    assert "b − c/b on" in done.stdout and "compare-conflict-b-c_b:" in done.stdout
    done = aubench("compare", "a", "b", *words, check=0)
    assert "written to runs/compare-conflict-a-b:" in done.stdout  # the same pair stays in place


def test_the_sheet_is_of_a_metric_that_both_have(aubench, small_runs, tmp_path):
    """As where one model was given texts and the other labels: their AAADs have other targets."""
    for metrics, files in (("pixels", True), ("prdc", False)):
        aubench(
            "run",
            "--model",
            "copy-reference",
            "--protocol",
            "conflict",
            "--limit",
            24,
            "--metrics",
            metrics,
            "--out",
            metrics,
            check=0,
        )
        done = aubench("compare", small_runs["oracle"], metrics, "--out", f"{metrics}-out", check=0)
        assert ("sheet.png" in done.stdout) is files
        assert (tmp_path / f"{metrics}-out" / "sheet.png").is_file() is files


def test_bad_input(small_runs, tmp_path):
    from aubench.cli.results.compare import compare as command

    words = [str(small_runs["oracle"]), str(small_runs["copy-reference"]), "--out", str(tmp_path)]
    for more, message in [
        (("--protocol", "unseen"), "not 'unseen'"),
        (("--worst", "0", "--enter"), "--limit cannot be entered"),
        (("--by", "beauty"), "no values of 'beauty'"),
    ]:
        with pytest.raises(AubenchError, match=message):
            command.main([*words, *more], standalone_mode=False)


def test_folders_that_are_no_pair_are_refused(small_runs, runs, tmp_path):
    with pytest.raises(AubenchError, match=r"no record\.json"):
        open_run(tmp_path)
    other = tmp_path / "run"
    shutil.copytree(small_runs["oracle"], other)
    assert open_run(other / "record.json").name == "oracle"
    ledger = other / "ledger.jsonl"
    text = ledger.read_text()
    ledger.write_text(text.replace('"sha256": "', '"sha256": "0', 1))
    with pytest.raises(AubenchError, match="other images than the ledger"):
        open_run(other)
    ledger.write_text(text)
    record = json.loads((other / "record.json").read_text())
    record["protocol"]["sha256"] = "0" * 64
    (other / "record.json").write_text(json.dumps(record))
    with pytest.raises(AubenchError, match=r"record\.sha256 beside it"):
        open_run(other)
    (other / "record.sha256").unlink()
    with pytest.raises(AubenchError, match="another version of protocol"):
        open_run(other)
    from dataclasses import replace

    fewer = replace(runs[1], samples=runs[1].samples.limit(12))
    with pytest.raises(AubenchError, match="not of the same samples"):
        check(runs[0], fewer)


def test_numbers_measured_differently_are_not_compared(runs):
    from dataclasses import replace

    scores = [
        row.model_copy(update={"id": "aaad|x|target=labels"}) if row.metric == "aaad" else row
        for row in runs[1].record.scores
    ]
    other = replace(runs[1], record=runs[1].record.model_copy(update={"scores": scores}))
    found = compare(runs[0], other)
    assert (
        "aaad" not in {d.name for d in found.metrics} and "target=labels" in found.skipped["aaad"]
    )
    assert "aaad" not in found.by_sample


def test_differences_of_whole_runs_are_entered_beside_the_records(
    runs, small_runs, tmp_path, monkeypatch, capsys
):
    """The small runs stand in for whole ones: their records say no --limit."""
    from dataclasses import replace

    from aubench.cli.results.compare import compare as command
    from aubench.comparison.pairs import read_pairs

    def whole(path):
        run = open_run(path)
        counts = run.record.counts.model_copy(update={"limited": False})
        return replace(run, record=run.record.model_copy(update={"counts": counts}))

    monkeypatch.setattr("aubench.comparison.runs.open_run", whole)
    words = [str(small_runs["oracle"]), str(small_runs["copy-reference"]), "--worst", "0"]
    words += ["--enter", "--leaderboards", str(tmp_path / "boards"), "--out", str(tmp_path / "out")]
    command.main(words, standalone_mode=False)
    place = tmp_path / "boards" / "synfacs" / "conflict"
    assert f"entered into {place / 'pairs.toml'}" in capsys.readouterr().err
    (pair,) = read_pairs(place).pair
    assert (pair.first, pair.second) == ("oracle", "copy-reference")
    data = json.loads((tmp_path / "out" / "compare.json").read_text())
    for d in data["metrics"]:
        stated = pair.metrics[d["name"]]
        assert stated == pytest.approx((d["difference"], *d["interval"]), rel=1e-4, abs=1e-9)
    one, two = (run.record for run in runs)
    assert read_pairs(place).tie("aaad_second", one, two) is False
    assert read_pairs(place).tie("beauty", one, two) is None
    command.main([words[1], words[0], *words[2:]], standalone_mode=False)  # turned: replaced
    assert [p.first for p in read_pairs(place).pair] == ["copy-reference"]
