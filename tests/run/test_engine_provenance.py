"""What stands beside a number: versions, machine, revision."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from aubench.run import provenance


def git(folder, *words):
    done = subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree in git, in place of ours."""
    (tmp_path / "aubench" / "engine").mkdir(parents=True)
    module = tmp_path / "aubench" / "engine" / "provenance.py"
    module.write_text("one")
    monkeypatch.setattr(provenance, "__file__", str(module))
    return tmp_path


def test_the_revision_is_the_commit_and_tells_of_local_changes(tree, monkeypatch):
    assert provenance.revision() is None  # installed, without a source tree
    git(tree, "init", "-q")
    assert provenance.revision() is None  # nothing committed yet
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "first")
    head = git(tree, "rev-parse", "HEAD")
    (tree / "notes.txt").write_text("of no matter")
    assert provenance.revision() == head
    (tree / "aubench" / "engine" / "provenance.py").write_text("two")
    assert provenance.revision() == f"{head}+dirty"
    monkeypatch.setenv("PATH", str(tree))
    assert provenance.revision() is None  # no git on this machine


def test_versions_are_those_installed_and_what_is_not_has_none(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package-at-all", "pillow"))
    found = {"numpy": version("numpy"), "pillow": version("pillow")}
    assert provenance.package_versions() == found


def test_what_is_not_in_the_tested_version_is_named(monkeypatch, tmp_path):
    torch, numpy = version("torch").partition("+")[0], version("numpy")
    file = tmp_path / "constraints.txt"
    file.write_text(
        f"# a remark\ntorch=={torch}\nnumpy==1.2.3 ; python_full_version >= '3.11.5'\n"
        "no-such-package-at-all==1.0\npillow==1!2.post1\n"
    )
    monkeypatch.setattr(provenance, "shipped", lambda name: file)
    of_numpy = {"tested": "1.2.3", "installed": numpy}
    of_pillow = {"tested": "1!2.post1", "installed": version("pillow")}
    assert provenance.deviations(("torch", "numpy", "scipy")) == {"numpy": of_numpy}
    assert provenance.deviations() == {"numpy": of_numpy, "pillow": of_pillow}
    file.write_text(f"torch=={torch}\n")
    assert provenance.deviations() == {}
    monkeypatch.setattr(provenance, "version", lambda name: f"{torch}+cpu")
    assert provenance.deviations() == {}  # a build of the tested version
    file.unlink()
    assert provenance.deviations() is None


def test_a_record_says_what_deviates_and_a_former_one_stays_as_it_was():
    from aubench.records.record import Provenance

    fields = dict.fromkeys(Provenance.model_fields, "x") | {
        "seed": 0,
        "packages": {},
        "networks": {},
        "deviations": {},
    }
    assert Provenance(**fields).model_dump()["deviations"] == {}
    named = {"numpy": {"tested": "1", "installed": "2"}}
    assert Provenance(**fields | {"deviations": named}).model_dump()["deviations"] == named
    del fields["deviations"]
    assert Provenance(**fields).model_dump() == fields


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "processor : 0\nmodel name : Fast Chip 9 @ 2:1\nmodel name : other\n",
            "Fast Chip 9 @ 2:1",
        ),
        ("processor : 0\nBogoMIPS : 50\n", "machine-9"),  # as on many ARM machines
        (None, "machine-9"),  # no such file: macOS
    ],
)
def test_the_processor_has_a_name_wherever_it_runs(text, name, monkeypatch, tmp_path):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(provenance, "Path", lambda place: path)
    monkeypatch.setattr(provenance.platform, "machine", lambda: "machine-9")
    monkeypatch.setattr(provenance.os, "cpu_count", lambda: 3)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert provenance.hardware() == f"{name}, 3 cores"
