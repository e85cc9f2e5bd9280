"""Metrics of third parties: scaffolded, installed, run, compared, handed in; broken ones told."""

import doctest
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from importlib.metadata import EntryPoint

import forked
import pytest

import aubench.metrics
from aubench.errors import AubenchError
from aubench.metrics import registry
from aubench.metrics.conformance import check_metric
from aubench.metrics.metric import Metric, ScoreFacts
from aubench.metrics.scaffold import write_package
from aubench.plugins import group as plugins


class Twice(Metric):
    name = "twice"
    scores = {"fid": ScoreFacts("FID again", False)}  # noqa: RUF012

    def score(self, data):
        return []


@pytest.fixture
def registered(monkeypatch):
    """Return what registers entry points beside ours."""
    real = plugins.entry_points

    def forget():
        for cached in (
            plugins._registered,
            registry.metric,
            registry.installed,
            registry._facts,
        ):
            cached.cache_clear()

    def register(**points):
        def more(*, group):
            mine = [EntryPoint(name, value, group) for name, value in points.items()]
            return [*real(group=group), *(mine if group == registry.GROUP.group else [])]

        monkeypatch.setattr(plugins, "entry_points", more)
        forget()

    yield register
    monkeypatch.undo()
    forget()


def test_a_broken_package_is_one_line_and_hides_none(registered, capsys, monkeypatch):
    monkeypatch.setattr("aubench.metrics.twice", sys.modules[__name__], raising=False)
    monkeypatch.setitem(sys.modules, "aubench_twice", sys.modules[__name__])
    registered(
        broken="no_such_module:Metric", strange="json:JSONDecoder", twice="aubench_twice:Twice"
    )
    assert {"broken", "strange", "twice", "fid"} <= set(registry.names())
    names = [one.name for one in registry.installed()]
    assert "fid" in names and not {"broken", "strange", "twice"} & set(names)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3 and all(line.startswith("warning: metric '") for line in told)
    assert "ModuleNotFoundError" in told[0] and "gives the score 'fid' of 'fid'" in told[2]
    registry.installed()
    assert capsys.readouterr().err == ""
    with pytest.raises(AubenchError, match=r"metric 'broken' .* cannot be imported"):
        registry.metric("broken")
    with pytest.raises(AubenchError, match=r"metric 'strange' .* is not an aubench"):
        registry.metric("strange")


def test_two_packages_of_one_name_are_refused(registered):
    registered(fid="elsewhere:FID")
    with pytest.raises(AubenchError, match="metric 'fid' is registered twice"):
        registry.metric("fid")


@pytest.mark.parametrize(
    "name",
    [
        "fid",
        "kid",
        "is",
        "prdc",
        "aaad",
        "au",
        "control",
        "pixels",
        "change",
        "identity",
        "legibility",
        "skill",
        "motion",
        "adversarial",
    ],
)
def test_ours_keep_to_what_strangers_must_keep_to(name):
    assert check_metric(name) == list(registry.metric(name).scores)


def test_what_a_metric_must_keep_to(registered, monkeypatch):
    monkeypatch.setitem(sys.modules, "aubench_twice", sys.modules[__name__])
    registered(twice="aubench_twice:Twice")
    with pytest.raises(AubenchError, match="metric 'twice' gives no row"):
        check_metric("twice")


def test_every_metric_says_what_it_is_and_how_it_is_shown():
    for one in registry.installed():
        assert one.__doc__ and one.order < 1000
        for facts in one.scores.values():
            assert facts.title and (facts.arrow in "↑↓" or facts.arrow == f"→ {facts.ideal:g}")
    kid = registry.facts_of("kid")
    assert (kid.heading, kid.text(0.00123), kid.scale) == ("KID ×10³", "1.23", 1000)
    assert registry.heading("of-nobody") == "of-nobody"


def test_names_that_are_taken_or_will_not_do_are_refused(tmp_path):
    for name, why in (("fid", "installed already"), ("psnr", "installed already"), ("A", "a-z")):
        with pytest.raises(AubenchError, match=why):
            write_package(name, tmp_path / "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    "module",
    [
        "aubench.facs.f1",
        *(
            m.name
            for m in pkgutil.walk_packages(aubench.metrics.__path__, "aubench.metrics.")
            if not m.ispkg
        ),
    ],
)
def test_the_examples_of_docstrings_hold(module):
    loaded = importlib.import_module(module)
    assert doctest.testmod(loaded).failed == 0


@pytest.mark.slow
def test_a_scaffolded_package_goes_the_whole_way(aubench_home, tmp_path):
    """Written, installed, run, reported, compared, published, handed in, verified."""
    site, out = tmp_path / "site", tmp_path / "glow"

    def python(*words):
        subprocess.run(
            [sys.executable, *map(str, words)],
            check=True,
            timeout=900,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
        )

    def call(*words, check=0):
        done = forked.call(words, folder=tmp_path, path=[site])
        assert done.returncode == check, done.stdout + done.stderr
        return done.stdout + done.stderr

    call("new-metric", "glow", "--out", out)
    python(
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        site,
        out,
    )
    python("-m", "pytest", "-q", "-p", "no:cacheprovider", out / "tests")
    for model in ("copy-reference", "oracle"):
        told = call(
            "run",
            "--model",
            model,
            "--protocol",
            "conflict",
            "--limit",
            "12",
            "--metrics",
            "glow,fid,groups",
            "--out",
            tmp_path / model,
        )
        assert "glow, grey levels ↓" in told
    record = json.loads((tmp_path / "copy-reference/record.json").read_text())
    rows = {row["metric"]: row for row in record["scores"]}
    assert rows["glow"]["value"] > 0 and rows["glow"]["ci"] and rows["glow"]["n"] == 12
    assert any(row["metric"] == "glow" for row in record["groups"]["sex=female"])
    boards = tmp_path / "boards"
    for name in ("copy-reference", "oracle"):  # leaderboards take whole protocols
        path = tmp_path / name / "whole.json"
        whole = json.loads((tmp_path / name / "record.json").read_text())
        whole["counts"] |= {"limited": False, "asked": 1200, "unsupported": 1188}
        path.write_text(json.dumps(whole))
        call("report", "--leaderboards", boards, "--add", path)
    told = call("report", "--leaderboards", boards, "--protocol", "conflict", "--columns", "glow")
    assert "glow, grey levels ↓" in told
    call("compare", tmp_path / "oracle", tmp_path / "copy-reference", "--out", tmp_path / "cmp")
    found = {
        d["name"]: d for d in json.loads((tmp_path / "cmp/compare.json").read_text())["metrics"]
    }
    assert found["glow"]["first"] == 0 and found["glow"]["higher"] is False
    call("leaderboard", "build", "--leaderboards", boards, "--out", tmp_path / "pages")
    assert "glow, grey levels" in (tmp_path / "pages/index.html").read_text()
    call("submit", tmp_path / "copy-reference", "--limited", "--out", tmp_path / "bundle")
    assert "fails" not in call("verify", tmp_path / "bundle", "--images", "1")
    told = call("run", "--model", "oracle", "--protocol", "conflict", "--metrics", "glw", check=2)
    assert "did you mean 'glow'?" in told
