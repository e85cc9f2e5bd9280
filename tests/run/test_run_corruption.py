"""Damage to a file of a run folder or cache: healed, or refused by its name; no other number.

Each file is cut, emptied, removed, or has a byte changed, at places that hypothesis chooses.
"""

import json
import os
import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from aubench.datasets.synfacs import rendered_images as cached_images
from aubench.errors import AubenchError
from aubench.evaluate import collect as measured
from aubench.networks.network_choice import CHOSEN, NetworkChoice, chosen
from aubench.records.record import read_record
from aubench.run.execute import RunConfig, execute
from aubench.storage import array_files as arrays_module
from aubench.storage.array_files import read_arrays, write_arrays
from aubench.storage.run_folder import WRITTEN, RunFolder, ledger_line, read_png, write_png

SAMPLES = 12
METRICS = ("kid", "pixels", "change", "au")
SLOW = settings(
    max_examples=16,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FAST = settings(SLOW, max_examples=300)
REFUSED = ("run.json", "weights.sha256")
"""What only the user can know; all else is made again."""

damages = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.just(0)),
    st.tuples(st.sampled_from(["empty", "remove"]), st.just(0.0), st.just(0)),
)


def damaged(data, damage):
    """Return the bytes of a file after a damage, None where it is gone."""
    kind, where, change = damage
    at = int(where * len(data))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
    return {"cut": data[:at], "empty": b"", "remove": None}[kind]


def damage_file(path, damage):
    data = damaged(path.read_bytes(), damage)
    path.unlink()
    if data is not None:
        path.write_bytes(data)


def attempt(call):
    """Return what a call returns, or the line of its refusal."""
    try:
        return call(), ""
    except AubenchError as error:
        return None, str(error)


def content_of(record):
    content = record.content()
    content["provenance"].pop("revision")
    return content


def config(out):
    return RunConfig("copy-reference", "conflict", out, limit=SAMPLES, metrics=METRICS)


@pytest.fixture(scope="module")
def whole(aubench_home, tmp_path_factory):
    """A run folder, and the content of its record; networks are loaded once in this module."""
    load = measured.load_networks
    measured.load_networks = lru_cache(load)
    out = tmp_path_factory.mktemp("whole") / "run"
    record = execute(config(out))
    yield out, content_of(record)
    measured.load_networks = load


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def held(path):
    """Return what a file holds; the order of notes in a file of arrays is the library's."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    key, arrays = arrays_module.read_whole(path)
    return key, {name: array.tobytes() for name, array in arrays.items()}


def pick(folder, share):
    """Return a file, each kind of file being as likely as any other."""
    kinds = {}
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix()
        kinds.setdefault("images" if name.startswith("images/") else name, []).append(path)
    at = share * len(kinds)
    group = list(kinds.values())[int(at)]
    return group[int(at % 1 * len(group))]


@pytest.mark.slow
@SLOW
@given(share=st.floats(0, 1, exclude_max=True), damage=damages)
def test_a_damaged_file_of_a_run_is_healed_or_refused_by_name(
    whole, tmp_path_factory, share, damage
):
    source, expected = whole
    folder = tmp_path_factory.mktemp("hurt") / "run"
    shutil.copytree(source, folder)
    path = pick(folder, share)
    before = held(path)
    damage_file(path, damage)
    record, refusal = attempt(lambda: execute(config(folder)))
    kept = {p.relative_to(folder): held(p) for p in files_of(folder)}
    shutil.rmtree(folder.parent)
    if record is None:
        assert path.name in REFUSED and path.name in refusal and "\n" not in refusal
        return
    name = path.relative_to(folder)
    assert content_of(record) == expected
    assert {p.relative_to(source) for p in files_of(source)} == set(kept)
    if name.suffix in (".png", ".safetensors") or name.name in ("samples.parquet", "leakage.csv"):
        assert kept[name] == before


@pytest.mark.parametrize("gone", ["images", "features", "ledger.jsonl", "everything but run.json"])
def test_whole_parts_of_a_run_may_go(whole, tmp_path, gone):
    source, expected = whole
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    for path in folder.iterdir():
        if path.name == gone or (gone.startswith("everything") and path.name != "run.json"):
            (shutil.rmtree if path.is_dir() else os.unlink)(path)
    assert content_of(execute(config(folder))) == expected


@pytest.mark.parametrize("text", ["[]", "{", "", '{"model": "copy-reference"}', "\xff"])
def test_a_foreign_run_json_is_refused(whole, tmp_path, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(AubenchError, match=r"run\.json"):
        execute(config(tmp_path / "run"))


READERS = ("record.json", "record.sha256", "samples.parquet", "ledger.jsonl")


@SLOW
@given(name=st.sampled_from(READERS), damage=damages)
def test_who_reads_a_finished_run_meets_the_truth_or_a_refusal(
    whole, tmp_path_factory, name, damage
):
    """`compare`, `submit` and the study open a run without running it."""
    from aubench.comparison.runs import open_run

    source, expected = whole
    folder = tmp_path_factory.mktemp("read") / "run"
    folder.mkdir()
    for path in source.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    damage_file(folder / name, damage)
    run, refusal = attempt(lambda: open_run(folder))
    shutil.rmtree(folder.parent)
    if run is None:
        assert str(folder) in refusal
        return
    assert content_of(run.record) == expected
    assert run.samples.sha256 == open_run(source).samples.sha256
    assert run.folder.digest(run.ids) == expected["provenance"]["images_sha256"]


def test_an_image_that_changed_is_not_measured(whole, tmp_path):
    """Features that lack are measured anew when a run is read: from the images of the ledger."""
    from aubench.comparison.runs import open_run

    source, _ = whole
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "features")
    assert open_run(folder).evaluation_data(["pixels"]).pairs["rms"].shape == (SAMPLES,)
    shutil.rmtree(folder / "features")
    hurt = sorted((folder / "images").iterdir())[3]
    Image.fromarray(255 - read_png(hurt)).save(hurt)
    with pytest.raises(AubenchError, match=f"{hurt.name} is not the image of the ledger"):
        open_run(folder).evaluation_data(["pixels"])
    assert not (folder / "features").exists()


ROWS = [{"id": f"s-{i}", "sha256": f"{i:064x}"} for i in range(5)]
ROWS += [{"id": "s-5", "failed": "no face"}, {"id": "s-6", "unsupported": "zu blaß"}]
ROWS += [{"id": "s-1", "failed": "later"}, {"id": "s-5", "sha256": "ab"}]


def states(folder):
    opened = RunFolder.read_only(folder)
    return opened.digests, opened.failures, opened.unsupported


@FAST
@given(damage=damages, old=st.booleans())
def test_a_damaged_ledger_forgets_but_never_lies(tmp_path_factory, damage, old):
    """What is entered of a sample is what some whole line says, and never of another sample."""
    folder = tmp_path_factory.mktemp("ledger")
    text = "".join(ledger_line(row) + "\n" for row in ROWS)
    (folder / "run.json").write_text("{}")
    (folder / "ledger.jsonl").write_text(text)
    digests, failures, unsupported = states(folder)
    assert set(digests) == {"s-0", "s-2", "s-3", "s-4", "s-5"} and digests["s-5"] == "ab"
    assert failures == {"s-1": "later"} and unsupported == {"s-6": "zu blaß"}
    damage_file(folder / "ledger.jsonl", damage)
    said = {tuple(row.items()) for row in ROWS}
    for key, found in zip(("sha256", "failed", "unsupported"), states(folder), strict=True):
        assert {(("id", name), (key, value)) for name, value in found.items()} <= said
    shutil.rmtree(folder)


def test_a_ledger_without_checksums_is_read(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    lines = [json.dumps(row) for row in ROWS] + ["[]", "5", '{"id": 5, "sha256": "a"}', '{"id":']
    (tmp_path / "ledger.jsonl").write_text("\n".join(lines))
    digests, failures, _ = states(tmp_path)
    assert len(digests) == 5 and failures == {"s-1": "later"}


@FAST
@given(damage=damages)
def test_damaged_arrays_are_not_read(tmp_path_factory, damage):
    path = tmp_path_factory.mktemp("arrays") / "a.safetensors"
    draw = np.random.default_rng(0)
    arrays = {
        "distance": draw.normal(size=7),
        "features": draw.normal(size=(7, 9)).astype(np.float32),
        "index": draw.integers(0, 9, 7),
    }
    write_arrays(path, "key", arrays)
    damage_file(path, damage)
    found = read_arrays(path, "key", 7)
    if found is not None:
        assert found.keys() == arrays.keys()
        assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
        assert all(found[name].dtype == arrays[name].dtype for name in arrays)
    shutil.rmtree(path.parent)


def test_arrays_of_another_key_or_without_digest_are_not_read(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    array = np.ones((3, 2), np.float32)
    write_arrays(path, "key", {"a": array})
    assert read_arrays(path, "key", 3) is not None
    assert read_arrays(path, "other", 3) is None and read_arrays(path, "key", 4) is None
    save_file({"a": array}, path, metadata={"key": "key"})
    assert read_arrays(path, "key", 3) is None
    told = arrays_module.arrays_digest("key", {"a": array})
    assert told != arrays_module.arrays_digest("key", {"a": array.reshape(2, 3)})
    assert told != arrays_module.arrays_digest("key", {"a": array.view(np.int32)})
    assert told != arrays_module.arrays_digest("key", {"b": array})


@FAST
@given(damage=damages)
def test_a_damaged_png_is_never_another_picture(tmp_path_factory, damage):
    path = tmp_path_factory.mktemp("png") / "a.png"
    image = np.random.default_rng(1).integers(0, 256, (9, 9, 3), np.uint8)
    write_png(path, image)
    damage_file(path, damage)
    try:
        found = read_png(path)
    except (OSError, ValueError, SyntaxError):
        found = image
    assert np.array_equal(found, image)
    shutil.rmtree(path.parent)


def paint(keys, size, renderer=""):
    seeds = [sum(map(ord, key)) for key in keys]
    return [np.random.default_rng(s).integers(0, 256, (size, size, 3), np.uint8) for s in seeds]


@settings(FAST, max_examples=100)
@given(damage=damages, packed=st.booleans())
def test_damaged_faces_of_the_cache_are_rendered_again(tmp_path_factory, damage, packed):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUBENCH_HOME", str(home))
        patch.setattr(cached_images, "_render", paint)
        source, keys = cached_images.SynfacsImages(1), ["a", "b", "c"]
        load = (lambda: source.packed(keys, 8, "")) if packed else lambda: source.load_many(keys, 8)
        assert np.array_equal(load(), paint(keys, 8))
        damage_file(files_of(home)[0], damage)
        assert np.array_equal(load(), paint(keys, 8))
        assert np.array_equal(load(), paint(keys, 8))
    shutil.rmtree(home)


@FAST
@given(damage=damages)
def test_damaged_choices_are_refused(tmp_path_factory, damage):
    folder = tmp_path_factory.mktemp("choices")
    words = NetworkChoice(detectors="nano-a,nano-b=some/file.pth")
    words.write(folder)
    assert chosen(folder) == words
    damage_file(folder / CHOSEN, damage)
    found, refusal = attempt(lambda: chosen(folder))
    assert found == words or damage[0] == "remove" or CHOSEN in refusal
    shutil.rmtree(folder)


def test_choices_of_a_former_call_are_forgotten(tmp_path):
    NetworkChoice(detectors="a,b").write(tmp_path)
    NetworkChoice().write(tmp_path)
    assert chosen(tmp_path) == NetworkChoice() and not (tmp_path / CHOSEN).exists()


@FAST
@given(damage=damages)
def test_a_damaged_record_is_no_record(whole, tmp_path_factory, damage):
    source, expected = whole
    folder = tmp_path_factory.mktemp("record")
    for name in ("record.json", "record.sha256"):
        shutil.copy(source / name, folder)
    damage_file(folder / "record.json", damage)
    record, refusal = attempt(lambda: read_record(folder / "record.json"))
    assert "record.json" in refusal if record is None else content_of(record) == expected
    shutil.rmtree(folder)


def test_the_files_of_a_run_are_all_known(whole):
    """A new file of a run belongs into this page's tests and into docs/records.md."""
    source, _ = whole
    found = {p.relative_to(source).parts[0] for p in files_of(source)}
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    assert all(f"`{name}" in text for name in found), found
    assert found <= WRITTEN


def test_a_fresh_start_removes_what_runs_have_written_and_nothing_else(whole, tmp_path):
    """Another tool's folder may hold a run.json too, and a run's folder somebody's notes."""
    source, expected = whole
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("mine")
    before = {path: held(path) for path in files_of(folder)}
    with pytest.raises(AubenchError, match="notes is no file of a run: nothing is removed"):
        execute(replace(config(folder), fresh=True))
    assert {path: held(path) for path in files_of(folder)} == before
    shutil.rmtree(folder / "notes")
    (folder / ".hidden").write_text("mine")
    assert content_of(execute(replace(config(folder), fresh=True))) == expected
    assert (folder / ".hidden").read_text() == "mine"
