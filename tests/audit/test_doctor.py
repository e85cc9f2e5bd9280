"""The doctor: what it finds, and that drift beyond the limits is told."""

import copy
import json
import re

import pytest

from aubench.audit import doctor
from aubench.cli.main import cli
from aubench.errors import AubenchError, CheckFailed


@pytest.fixture(scope="module")
def measured():
    return doctor.measure()


def states(checks):
    return {check.name.removeprefix("drift of "): check.state for check in checks}


def test_this_machine_compares(measured):
    checks = doctor.drift(found=measured)
    names = ("faces", "features", "nano-a", "nano-b", "neighbourhoods")
    assert states(checks) == dict.fromkeys(names, "ok")
    assert doctor.verdict(checks) == "numbers of this machine compare with the leaderboard's"
    assert doctor.as_dict(checks)["comparable"] is True


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("faces", 3.0),
        ("features", 0.1),
        ("nano-a", 0.02),
        ("nano-b", -0.02),
    ],
)
def test_drift_is_told(measured, name, step):
    other = copy.deepcopy(measured)
    other[name][1] = [value + step for value in other[name][1]]
    checks = doctor.drift(found=other)
    assert [key for key, state in states(checks).items() if state == "bad"] == [name]
    assert "NOT compare" in doctor.verdict(checks) and name in doctor.verdict(checks)
    assert doctor.as_dict(checks)["comparable"] is False


def test_other_neighbourhoods_are_drift(measured, monkeypatch):
    """As where distances from products decide by themselves."""
    from aubench.metrics.distributions import neighbourhoods, ties

    def alone(away, limit, *_):
        return away < limit

    expected = doctor.decisions()
    monkeypatch.setattr(neighbourhoods, "nearer", alone)
    assert ties.nearer is not alone and doctor.decisions() != expected
    checks = doctor.drift(found=measured)
    assert [key for key, state in states(checks).items() if state == "bad"] == ["neighbourhoods"]
    assert "NOT compare with the leaderboard's: neighbourhoods" in doctor.verdict(checks)


def test_what_is_beyond_count_or_finite_is_drift(measured):
    other = copy.deepcopy(measured)
    other["features"] = other["features"][:1]
    other["nano-a"][0][0] = float("nan")
    found = states(doctor.drift(found=other))
    assert found["features"] == found["nano-a"] == "bad"


def test_values_of_other_networks_are_not_compared(measured, tmp_path):
    data = json.loads(doctor.REFERENCE.read_text())
    data["networks"]["nano-a"] = "nano-a@000000000000"
    path = tmp_path / "drift.json"
    path.write_text(json.dumps(data))
    check = next(c for c in doctor.drift(path, measured) if c.name == "drift of nano-a")
    assert check.state == "bad" and "the reference by nano-a@000000000000" in check.what
    path.write_text("{}")
    with pytest.raises(AubenchError, match="no reference values"):
        doctor.drift(path, measured)


def test_the_shipped_values_are_of_the_shipped_networks():
    """If this fails after a new release of a network, freeze the values anew (docs)."""
    data = json.loads(doctor.REFERENCE.read_text())
    assert data["networks"] == doctor.networks() and data["keys"] == list(doctor.KEYS)


def test_a_broken_part_is_a_finding_and_not_a_crash(monkeypatch, tmp_path):
    def broken():
        raise RuntimeError("no such thing\nsecond line")

    assert doctor.look("x", broken) == doctor.Check("x", "bad", "RuntimeError: no such thing")
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "file" / "home"))
    (tmp_path / "file").write_text("")
    found = {check.name: check for check in doctor.examine()}
    assert found["cache"].state == "bad" and found["python"].state == "ok"


def test_a_full_disk_is_warned_of(monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(2**40, 2**40, 2**20))
    found = {check.name: check.state for check in doctor.examine()}
    assert found["disk"] == "warn"


@pytest.mark.parametrize(
    ("deviating", "state", "what"),
    [
        ({}, "ok", r"is as tested"),
        (None, "warn", r"constraints\.txt is not there"),
        (
            {"numpy": {"tested": "1", "installed": "2"}, "ruff": {"tested": "3", "installed": "4"}},
            "warn",
            r"tested: numpy 2 \(tested 1\), 1 that touch no number$",
        ),
    ],
)
def test_versions_other_than_tested_are_told(monkeypatch, deviating, state, what):
    from aubench.run import provenance

    monkeypatch.setattr(provenance, "deviations", lambda names=None: deviating)
    check = {check.name: check for check in doctor.examine()}["tested set"]
    assert check.state == state and re.search(what, check.what)


def test_command(monkeypatch, capsys, measured):
    monkeypatch.setattr(doctor, "measure", lambda: measured)
    code = cli.main(["doctor", "--json"], standalone_mode=False)
    data = json.loads(capsys.readouterr().out)
    assert code in (None, 0) and data["comparable"] is True
    assert {check["name"] for check in data["checks"]} >= {"gpu", "disk", "weights", "packages"}
    other = copy.deepcopy(measured)
    other["faces"][0][0] += 5000
    monkeypatch.setattr(doctor, "measure", lambda: other)
    with pytest.raises(CheckFailed):
        cli.main(["doctor"], standalone_mode=False)
    assert "NOT compare" in capsys.readouterr().out
    cli.main(["doctor", "--quick"], standalone_mode=False)
    assert "not tested whether" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (RuntimeError("weights of another shape\nTraceback"), "weights of another shape"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_self_test_that_breaks_is_what_is_wrong(monkeypatch, capsys, error, what):
    def broken():
        raise error

    monkeypatch.setattr(doctor, "drift", broken)
    with pytest.raises(CheckFailed, match=r"something is wrong with .*drift of everything"):
        cli.main(["doctor"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert f"✗ drift of everything: {what}" in lines
    assert any(line.startswith("✓ python: ") for line in lines)  # the rest is told all the same
