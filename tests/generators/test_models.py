"""Cards, the conformance suite, and a stranger's package from scaffold to score."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from aubench.cli.main import cli
from aubench.errors import AubenchError, CheckFailed
from aubench.generators import registry
from aubench.generators.cards import count_parameters, shipped_card
from aubench.generators.conformance import Subject, check_generator
from aubench.generators.scaffold import write_package
from aubench.plugins import PluginGroup

ODD = '''
import os
import random
import zlib

import numpy as np
from aubench.datasets import image_source
from aubench.errors import AubenchError, CheckFailed
from aubench.generators.contract import Generator, GeneratorInfo, SampleFailure, Unsupported
from aubench.protocols.protocol import load_protocol

CALLS = []


class Odd(Generator):
    """Fills the reference with noise of its seed; FAULT spoils one part of the contract."""

    FAULT = ""
    info = GeneratorInfo(
        name="odd", inputs=frozenset({"au", "reference"}), size=64, training="none",
        trained_on=(), metrics_in_training=(), licence="MIT", citation="none",
    )

    @classmethod
    def load(cls, weights, *, device, dtype, **options):
        CALLS.append(cls.FAULT)
        if cls.FAULT == "load":
            raise RuntimeError("no weights here")
        return cls()

    @classmethod
    def available(cls):
        if cls.FAULT == "available":
            raise OSError("no driver")
        return "needs a GPU" if cls.FAULT == "gpu" else None

    def begin(self, plan):
        if self.FAULT == "begin":
            raise AubenchError("cannot do these")

    def generate(self, batch):
        made = np.stack([self.one(r, i, batch) for i, r in enumerate(batch)])
        if self.FAULT == "dtype":
            return made.astype(np.float32)
        if self.FAULT == "shape":
            return made[:, :32]
        if self.FAULT == "unit":
            return made // 200
        return made

    def one(self, request, index, batch):
        fault, seed = self.FAULT, request.seed
        if fault == "one fails" and request is batch[0] and len(batch) == 4:
            raise SampleFailure(request.sample_id, "too odd")
        if fault == "singles only" and request.aus.sum() != 1:
            raise Unsupported(request.sample_id, "more than one AU")
        if fault == "alien":
            raise SampleFailure("nobody", "not asked")
        if fault == "all fail":
            raise SampleFailure(request.sample_id, "never")
        if fault == "global":
            seed = np.random.randint(1000)
        if fault == "entropy":
            seed = random.SystemRandom().randrange(1000)
        if fault == "names":
            seed = zlib.crc32(request.sample_id.encode())
        if fault == "targets":  # the seed tells which sample is meant, as text and face do
            frame = load_protocol("test2k").samples().frame
            for target in frame["target"][frame["seed"] == seed]:
                return image_source("synfacs").load(target, 64)
        if fault == "batch":
            seed += len(batch)
        if fault == "order":
            seed += index if len(batch) > 1 else batch[0].seed
        if fault == "reload":
            seed += len(CALLS)
        if fault == "writes":
            request.reference[0, 0, 0] += 1
        if fault == "flat":
            return np.full((64, 64, 3), 7, np.uint8)
        noise = np.random.default_rng(seed).integers(0, 200, (64, 64, 3))
        return (noise + request.aus.sum()).astype(np.uint8)
'''


def register(monkeypatch, name, value):
    """Let one generator be registered, and no other."""
    of_group, group = PluginGroup._points, registry.GROUP.group
    point = EntryPoint(name, value, group)

    def points(self):
        return {name: {name: point}} if self.group == group else of_group(self)

    monkeypatch.setattr(PluginGroup, "_points", points)


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """Register the generator of ``ODD``; returns its class, made anew for each test."""
    (tmp_path / "odd_generator.py").write_text(ODD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_generator", raising=False)
    register(monkeypatch, "odd", "odd_generator:Odd")
    return registry.generator_class("odd")


def verdicts(count=4):
    return {v.name: v for v in check_generator(Subject("odd", count=count))}


def test_a_sound_generator_conforms(odd):
    found = verdicts()
    assert not [v for v in found.values() if v.passed is False], found
    assert list(found) == [
        "entry point",
        "card",
        "load",
        "images",
        "range",
        "failures",
        "speed",
        "determinism",
        "batch",
        "order",
        "names",
        "reload",
        "requests",
        "seeds",
        "commands",
        "targets",
        "adversarial gap",
        "memory",
    ]
    assert found["images"].detail == "uint8 [4, 64, 64, 3]"
    assert found["seeds"].detail == "another seed changes 4 of 4 images"


@pytest.mark.parametrize(
    ("fault", "failing", "match"),
    [
        ("load", {"load"}, "no weights here"),
        ("begin", {"load"}, "cannot do these"),
        ("gpu", {"available"}, "needs a GPU"),
        ("available", {"available"}, "no driver"),
        ("dtype", {"images"}, "dtype float32"),
        ("shape", {"images"}, "(32, 64, 3)"),
        ("unit", {"range"}, "scaled"),
        ("flat", {"range"}, "one colour"),
        ("alien", {"failures"}, "nobody was not asked for"),
        ("all fail", {"failures"}, "every sample"),
        ("global", {"determinism", "batch", "order", "names", "reload"}, "differ"),
        ("entropy", {"determinism", "batch", "order", "names", "reload"}, "differ"),
        ("batch", {"batch"}, "alone"),
        ("order", {"batch", "order"}, "order"),
        ("reload", {"reload"}, "reloaded"),
        ("writes", {"requests"}, "changed"),
        ("names", {"names"}, "under another name"),
        ("targets", {"targets"}, "2 of 2 images are their targets"),
    ],
)
def test_each_breach_is_found(odd, fault, failing, match):
    odd.FAULT = fault
    found = verdicts(2 if fault not in ("order", "global", "entropy") else 4)
    failed = {name: v.detail for name, v in found.items() if v.passed is False}
    assert set(failed) == failing, failed
    assert any(match in detail for detail in failed.values()), failed


def test_a_declared_failure_is_no_breach(odd):
    odd.FAULT = "one fails"
    found = verdicts(4)
    assert found["failures"].passed and "1 given up on" in found["failures"].detail
    assert found["images"].detail == "uint8 [3, 64, 64, 3]"
    assert not [v for v in found.values() if v.passed is False], found


def test_a_generator_of_few_aus_is_shown_samples_it_supports(odd):
    odd.FAULT = "singles only"
    found = verdicts(2)
    assert found["failures"].passed and "more than one AU" in found["failures"].detail
    assert found["images"].detail in ("uint8 [2, 64, 64, 3]", "uint8 [3, 64, 64, 3]")
    assert not [v for v in found.values() if v.passed is False], found


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": "other"}, "info.name is 'other'"),
        ({"licence": " "}, "lacks licence"),
        ({"training": "GAN"}, "trained_on"),
        ({"inputs": frozenset()}, "inputs"),
        ({"size": 8}, "size"),
    ],
)
def test_an_incomplete_card_is_found(odd, change, match):
    from dataclasses import replace

    odd.info = replace(odd.info, **change)
    if "size" in change:
        odd.FAULT = "load"  # eight pixels cannot be rendered
    details = [v.detail for v in verdicts(2).values() if v.passed is False]
    assert any(match in detail for detail in details), details


def test_a_class_without_info_is_listed_and_judged(odd):
    del odd.info
    assert "no GeneratorInfo" in registry.listing("odd").reason
    found = verdicts()
    assert found["card"].passed is False and "images" not in found


def test_parameters_are_counted_from_the_header(tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5), "a:scale": torch.zeros(9)}, path)
    assert count_parameters(path) == 17
    card = tmp_path / "w.card.json"
    card.write_text(json.dumps({"scale": "nano", "sha256": "ab" * 32, "command": "train it"}))
    found = shipped_card(card)
    assert found.parameters == 17 and found.scale == "nano" and "abababababab" in found.weights
    assert found.details == {"command": "train it"}
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(AubenchError, match="cannot read the card"):
        shipped_card(card)


def test_every_generator_has_a_complete_card():
    """Ours and whatever else is installed: what a reader needs to judge a row of a table."""
    for row in registry.listings():
        if row.info is None:
            continue
        assert row.info.training and row.info.licence and row.info.citation, row.name
        card = registry.generator_class(row.name).card()
        assert card.weights
        shipped = card.weights.startswith("shipped")
        assert not shipped or (card.parameters and card.scale), row.name


@pytest.mark.parametrize("words", ["models", "models show vqauface", "protocols", "weights list"])
def test_what_only_lists_imports_nothing_heavy(words):
    """torch alone takes seconds and half a gigabyte."""
    code = (
        "import sys\nfrom aubench.cli.exit_codes import run_to_end\n"
        "from aubench.cli.main import cli\n"
        f"assert not run_to_end(cli, {words.split()}, 'aubench')\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'scipy'} & set(sys.modules)\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_cards_are_printed_also_of_what_is_broken(aubench):
    rows = json.loads(aubench("models", "--json", check=0).stdout)
    found = {row["name"]: row for row in rows}
    assert found["vqauface"]["inputs"] == ["reference", "text"] and not found["oracle"]["reason"]
    assert found["stranger"]["package"] == "stranger 0.3"
    assert "a_package_that_is_not_there" in found["stranger-broken"]["reason"]


def test_a_card_is_printed(monkeypatch, capsys):
    cli.main(["models", "show", "vqauface"], standalone_mode=False)
    text = capsys.readouterr().out
    for word in (
        "inputs",
        "training",
        "trained on",
        "metrics in training",
        "licence",
        "citation",
        "weights",
        "parameters",
        "scale",
        "nano-a",
        "scores",
    ):
        assert word in text
    with pytest.raises(AubenchError, match="did you mean 'vqauface'"):
        cli.main(["models", "show", "vqaufac"], standalone_mode=False)
    register(monkeypatch, "broken", "a_package_that_is_not_there:Model")
    cli.main(["models", "show", "broken"], standalone_mode=False)
    text = capsys.readouterr().out
    with pytest.raises(CheckFailed, match="broken fails 1 of 1 checks"):
        cli.main(["check-generator", "broken"], standalone_mode=False)
    text += capsys.readouterr().out
    assert "FAIL  entry point" in text
    assert "unavailable" in text and "No module named 'a_package_that_is_not_there'" in text


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["check-generator", "oracle", "--option", "blur"], "--option blur is not NAME=VALUE"),
        (
            ["run", "--model", "oracle", "--protocol", "unseen", "--option", "a b=1"],
            "not NAME=VALUE",
        ),
        (
            [
                "run",
                "--model",
                "oracle",
                "--protocol",
                "unseen",
                "--limit",
                "6",
                "--option",
                "blur=1",
            ],
            "has no option 'blur'",
        ),
        (
            [
                "run",
                "--model",
                "ganimation",
                "--protocol",
                "unseen",
                "--limit",
                "6",
                "--option",
                "saturate=maybe",
            ],
            "neither true nor false",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, monkeypatch, words, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AubenchError, match=match):
        cli.main(words, standalone_mode=False)


def test_the_suite_tells_by_its_exit_code(aubench):
    done = aubench(
        "models", "check", "stranger", "--samples", 2, "--json", check=1, STRANGER_FAULT="random"
    )
    found = json.loads(done.stdout)
    words = {row["check"]: row["verdict"] for row in found["checks"]}
    assert words["determinism"] == "FAIL" and words["load"] == "pass"
    assert found["failed"] == sum(word == "FAIL" for word in words.values())


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("My Model", "will not do"),
        ("class", "will not do"),
        ("-x", "will not do"),
        ("oracle", "installed already"),
        ("../up", "will not do"),
    ],
)
def test_names_that_will_not_do_are_refused(tmp_path, name, match):
    with pytest.raises(AubenchError, match=match):
        write_package(name, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_that_is_taken_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(AubenchError, match="is there already"):
        write_package("new-model", tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A fresh virtual environment that sees this one's packages, as one that has aubench would."""
    place = tmp_path_factory.mktemp("fresh")
    venv.create(place, with_pip=False, symlinks=True)
    words = {"base": str(place), "platbase": str(place)}
    theirs = sysconfig.get_path("purelib", "venv", vars=words)
    ours = sysconfig.get_path("purelib")
    # addsitedir, not a plain path: aubench may itself be installed by a .pth file there.
    with open(os.path.join(theirs, "host.pth"), "w", encoding="utf-8") as stream:  # noqa: PTH118, PTH123
        stream.write(f"import site; site.addsitedir({ours!r})\n")
    return place / ("Scripts" if os.name == "nt" else "bin") / "python"


def test_a_scaffolded_package_installs_runs_and_conforms(environment, tmp_path):
    def call(*words, check=0):
        done = subprocess.run(
            [str(environment), *map(str, words)],
            cwd=tmp_path,
            timeout=600,
            capture_output=True,
            text=True,
        )
        assert done.returncode == check, done.stdout + done.stderr
        return done.stdout

    main = ("-c", "from aubench.cli.main import main; main()")
    assert "my_model.py" in call(*main, "new-generator", "my-model")
    assert "my-model" not in [row.name for row in registry.listings()]
    said = tomllib.loads((tmp_path / "my-model" / "pyproject.toml").read_text())["project"]
    assert said["optional-dependencies"] == {"test": ["pytest"]}
    assert "pip install -e '.[test]'" in (tmp_path / "my-model" / "README.md").read_text()
    source = shutil.copytree(tmp_path / "my-model", tmp_path / "source")  # pip builds inside
    call(
        "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", source
    )
    tested = call("-m", "pytest", "-q", "-p", "no:cacheprovider", "my-model/tests")
    assert "2 passed" in tested
    call(
        *main,
        "run",
        "--model",
        "my-model",
        "--protocol",
        "label-input",
        "--limit",
        6,
        "--metrics",
        "au",
        "--check-determinism",
    )
    record = json.loads(next((tmp_path / "runs").glob("*/record.json")).read_text())
    assert record["model"]["name"] == record["model"]["package"] == "my-model"
    assert record["model"]["package_version"] == "0.1"
    assert record["counts"]["generated"] == 6
    # Its images are its own: brighter than the faces they come from.
    from PIL import Image

    image = next((tmp_path / "runs").glob("*/images/*.png"))
    assert np.asarray(Image.open(image)).shape == (128, 128, 3)
