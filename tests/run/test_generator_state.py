"""A run folder that holds all its images loads no generator; one that may not, does."""

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from aubench_baselines.controls import CopyReference

from aubench.cli.running.run import run as command
from aubench.errors import AubenchError
from aubench.generators.contract import Generator, GeneratorInfo
from aubench.run import generator_state
from aubench.run.build_record import GenerationResult
from aubench.run.distributed.shards import Shard, run_shard
from aubench.run.execute import RunConfig, execute
from aubench.storage.run_folder import RunFolder, read_png, write_png

METRICS = ("pixels",)


def config(out, **more):
    return RunConfig("copy-reference", "conflict", out, limit=8, metrics=METRICS, **more)


@pytest.fixture
def loads(monkeypatch):
    """Calls of the generator's ``load``, counted."""
    found, load = [], CopyReference.load.__func__

    def counted(cls, weights, **more):
        found.append(weights)
        return load(cls, weights, **more)

    monkeypatch.setattr(CopyReference, "load", classmethod(counted))
    return found


@pytest.fixture(scope="module")
def source(aubench_home, tmp_path_factory):
    out = tmp_path_factory.mktemp("stamp") / "run"
    execute(config(out))
    return out


@pytest.fixture
def folder(source, tmp_path):
    return shutil.copytree(source, tmp_path / "run")


def test_a_finished_folder_loads_no_generator_and_prints_the_same(folder, loads, capsys):
    words = [
        "--model",
        "copy-reference",
        "--protocol",
        "conflict",
        "--limit",
        "8",
        "--metrics",
        "pixels",
        "--out",
        str(folder),
    ]
    command.main([*words, "--fresh"], standalone_mode=False)
    first = capsys.readouterr().out
    assert len(loads) == 1 and "0 failed" in first
    command.main(words, standalone_mode=False)
    again = capsys.readouterr().out
    assert len(loads) == 1
    both = [
        [line for line in text.splitlines() if not line.startswith("cost")]
        for text in (first, again)
    ]
    assert both[0] == both[1]


def test_more_metrics_need_no_generator(folder, loads):
    record = execute(replace(config(folder), metrics=("pixels", "change")))
    assert not loads and record.score("outside_change").value is not None


def gone(folder):
    next((folder / "images").glob("*.png")).unlink()


def other_pixels(folder):
    path = next((folder / "images").glob("*.png"))
    write_png(path, 255 - read_png(path))


def damaged(folder):
    path = folder / generator_state.NAME
    path.write_text(path.read_text().replace('"size": 128', '"size": 64'))


@pytest.mark.parametrize("hurt", [gone, other_pixels, damaged], ids=lambda f: f.__name__)
def test_a_folder_that_is_not_whole_loads_it(folder, loads, hurt):
    before = execute(config(folder)).content()
    assert not loads
    hurt(folder)
    after = execute(config(folder)).content()
    assert len(loads) == 1 and after["scores"] == before["scores"]
    execute(config(folder))
    assert len(loads) == 1


def test_determinism_is_checked_by_the_generator(folder, loads):
    execute(config(folder, check_determinism=True))
    assert len(loads) == 1


def test_what_made_the_images_is_forgotten_before_any_is_made_anew(folder, monkeypatch):
    def broken(self, batch):
        raise RuntimeError("no more")

    gone(folder)
    monkeypatch.setattr(CopyReference, "generate", broken)
    with pytest.raises(AubenchError, match="no more"):
        execute(config(folder))
    assert not (folder / generator_state.NAME).exists()


def test_images_of_other_weights_are_refused_as_before(folder, tmp_path):
    """The weights of `images` are a folder of files, whose path stays the same."""
    made = tmp_path / "made"
    shutil.copytree(folder / "images", made)
    asked = RunConfig("images", "conflict", tmp_path / "r", weights=made, limit=8, metrics=METRICS)
    scores = execute(asked).content()["scores"]
    assert execute(asked).content()["scores"] == scores
    path = next(made.glob("*.png"))
    write_png(path, 255 - read_png(path))
    with pytest.raises(AubenchError, match="images made with other weights"):
        execute(asked)


def test_the_statement_of_weights_still_has_to_be_there(folder):
    (folder / "weights.sha256").unlink()
    with pytest.raises(AubenchError, match=r"weights\.sha256 is missing"):
        execute(config(folder))


def test_a_shard_that_is_whole_loads_none(tmp_path, loads):
    for _ in range(2):
        _, done = run_shard(config(tmp_path / "run"), Shard(1, 2))
        assert done.generated == 4
    assert len(loads) == 1


class Alone(Generator):
    info = GeneratorInfo("alone", frozenset(), 8, "none", (), (), "MIT", "nobody")

    @classmethod
    def load(cls, weights, **more):
        return cls()

    def generate(self, batch):
        return np.zeros((len(batch), 8, 8, 3), np.uint8)


def test_every_file_that_the_model_is_loaded_from_counts(tmp_path, monkeypatch):
    """A package, a module by itself, weights, files that options name; not what Python caches."""
    package = tmp_path / "ours"
    (package / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "model.py", "weights.bin", "__pycache__/model.pyc"):
        (package / name).write_text(name)
    single, neighbour = tmp_path / "single.py", tmp_path / "neighbour.py"
    weights, option = tmp_path / "w", tmp_path / "o.bin"
    weights.mkdir()
    for path in (single, neighbour, weights / "a.bin", option):
        path.write_text("1")
    for name, path in (
        ("ours", package / "__init__.py"),
        ("ours.model", package / "model.py"),
        ("single", single),
    ):
        module = type(sys)(name)
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, name, module)
    base = type("Base", (Alone,), {"__module__": "single"})
    child = type("Child", (base,), {"__module__": "ours.model"})
    monkeypatch.setattr("aubench.generators.registry.generator_class", lambda name: child)
    options = {"file": str(option), "steps": "4", "long": "x" * 5000}
    asked = RunConfig("alone", "conflict", tmp_path / "r", weights=weights, options=options)
    seen = generator_state.source_digest(asked)
    for path in (neighbour, package / "__pycache__" / "model.pyc"):
        path.write_text("other text")
    assert generator_state.source_digest(asked) == seen
    for path in (single, package / "weights.bin", weights / "a.bin", option):
        path.write_text("other text")
        assert generator_state.source_digest(asked) != seen, path
        seen = generator_state.source_digest(asked)
    (weights / "b.bin").write_text("1")
    assert generator_state.source_digest(asked) != seen


def test_it_comes_back_as_it_was_kept(tmp_path, monkeypatch):
    info = GeneratorInfo("copy-reference", frozenset({"au"}), 0, "t", ("a", "b"), (), "MIT", "c")
    made = GenerationResult(info, 64, "ab", ("one", "two"), "cuda")
    asked, folder = config(tmp_path), RunFolder(tmp_path)
    generator_state.save(folder, made, generator_state.source_digest(asked))
    assert generator_state.load_if_current(folder, asked, []) == made
    assert generator_state.load_if_current(folder, asked, ["not-made"]) is None
