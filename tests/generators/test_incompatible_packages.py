"""Packages that cannot work together: told in a line, with the remedy, before any work."""

import importlib
import json
import re
from pathlib import Path

import pytest
from aubench_baselines.fineface.generator import FineFace
from aubench_baselines.magicface.generator import VARIABLE, MagicFace
from aubench_baselines.sd15_lora.generator import SD15Lora
from aubench_baselines.uniportrait.generator import UniPortrait
from click.testing import CliRunner

from aubench.audit import doctor
from aubench.cli.main import cli
from aubench.generators import incompatible_packages as pairs

GOOD = {"transformers": "5.24.0", "diffusers": "0.42.1", "peft": "0.21.2"}


@pytest.fixture
def have(monkeypatch):
    """Pretend that other versions are installed."""

    def pretend(**versions):
        monkeypatch.setattr(pairs, "installed", {**GOOD, **versions}.get)

    return pretend


def test_what_is_installed_here_works_together():
    assert pairs.conflict() is None


@pytest.mark.parametrize(
    ("versions", "packages", "remedy"),
    [
        ({"peft": "0.17.1"}, "transformers 5.24.0 and peft 0.17.1", "peft>=0.18"),
        ({"diffusers": "0.34.0"}, "transformers 5.24.0 and diffusers 0.34.0", "diffusers>=0.35"),
        (
            {"peft": "0.14.0", "transformers": "4.57.1"},
            "diffusers 0.42.1 and peft 0.14.0",
            "peft>=0.15",
        ),
    ],
)
def test_a_bad_pair_is_one_line_with_its_remedy(have, versions, packages, remedy):
    have(**versions)
    line = pairs.conflict() or ""
    assert line.startswith(packages) and line.endswith(f"pip install -U '{remedy}'")
    assert "\n" not in line


@pytest.mark.parametrize(
    "versions",
    [
        {},
        {"peft": "0.18"},
        {"peft": "0.18.0"},
        {"transformers": "4.57.1", "peft": "0.17.1"},
        {"transformers": "4.57.1", "diffusers": "0.33.1"},
        {"peft": None},
        {"transformers": None},
        {"peft": "1.0.0"},
    ],
)
def test_a_good_pair_is_none(have, versions):
    have(**versions)
    assert pairs.conflict() is None


def test_of_named_packages_only_their_pairs_count(have):
    have(peft="0.14.0")
    assert pairs.conflict("transformers", "diffusers") is None
    assert (pairs.conflict("transformers", "diffusers", "peft") or "").count("pip install") == 2


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.18.0.dev1", (0, 18)),
        ("5.0.0rc1", (5,)),
        ("2.14.1+cpu", (2, 14, 1)),
        ("0.9", (0, 9)),
        ("0.10", (0, 10)),
    ],
)
def test_releases_are_compared_as_numbers(text, numbers):
    assert pairs.release(text) == numbers


@pytest.mark.parametrize(
    ("model", "needs"),
    [
        (SD15Lora, {"peft": "0.17.1"}),
        (FineFace, {"peft": "0.17.1"}),
        (UniPortrait, {"diffusers": "0.34.0"}),
        (MagicFace, {"diffusers": "0.34.0"}),
    ],
)
def test_generators_say_so(have, monkeypatch, tmp_path, model, needs):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    have()
    assert model.available() is None
    have(**needs)
    assert "do not work together" in (model.available() or "")


def test_models_doctor_run_and_train_say_so_before_any_work(have, tmp_path, monkeypatch):
    monkeypatch.setattr(SD15Lora, "fit", lambda *_: pytest.fail("work was begun"))
    have(peft="0.17.1")
    listed = CliRunner().invoke(cli, ["models", "--json"])
    rows = {row["name"]: row["reason"] for row in json.loads(listed.output)}
    assert "pip install -U 'peft>=0.18'" in rows["sd15-lora"]
    check = {c.name: c for c in doctor.examine()}["compatibility"]
    assert check.state == "bad" and "peft>=0.18" in check.what
    out = tmp_path / "out"
    for words in (
        ["train", "sd15-lora", "--out", str(out)],
        ["run", "--model", "sd15-lora", "--protocol", "test2k", "--limit", "6", "--out", str(out)],
    ):
        done = CliRunner().invoke(cli, words)
        assert re.search("'sd15-lora' is unavailable: transformers", str(done.exception)), words
        assert not list(out.rglob("*.safetensors"))


def test_the_doctor_is_content_with_a_good_pair(have):
    have()
    check = {c.name: c for c in doctor.examine()}["compatibility"]
    assert check.state == "ok"


def test_no_adapter_goes_through_another_librarys_integration():
    """Those check each other's versions, and refuse what would work."""
    policed = re.compile(
        r"\.(add_adapter|load_adapter|load_lora_weights|load_lora_adapter|load_ip_adapter|"
        r"set_adapters?|save_lora_weights|fuse_lora|unload_lora_weights)\("
    )
    for package in ("aubench", "aubench_baselines", "vqauface"):
        root = Path(importlib.import_module(package).__file__).parent
        for path in root.rglob("*.py"):
            assert not policed.search(path.read_text(encoding="utf-8")), path
