"""Samples and images: determinism, disjointness, the cache under damage and kills."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aubench.datasets import image_source
from aubench.datasets.samples import LABELS, SampleSet, seed_of
from aubench.datasets.synfacs import rendered_images as images_module
from aubench.datasets.synfacs.rendered_images import SynfacsImages
from aubench.datasets.synfacs.synfacs_dataset import (
    COUNTS,
    draw_labels,
    load_split,
    reserved,
    split_frame,
    train_combinations,
)
from aubench.errors import AubenchError
from aubench.protocols.protocol import load_protocol
from aubench.synfacs.render import render_key

KEYS = ["S001/100/neutral", "S001/100/12=4.0", "S002/200/1=2.0+4=3.0"]


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_frames_have_the_stated_sizes_and_disjoint_subjects():
    people = {}
    for split, count in COUNTS.items():
        frame = split_frame(split)
        assert len(frame) == count and frame["sample_id"].is_unique
        people[split] = set(frame["subject"])
    assert not people["train"] & people["test"] and not people["train"] & people["validation"]
    assert len(people["train"]) == 280


def test_train_leaves_half_of_the_combinations_out():
    names = train_combinations()
    assert 4096 - len(names) >= 2000
    assert not reserved() & set(names)


def test_aus_occur_together_as_stated():
    labels = split_frame("train")[list(LABELS)]
    assert labels.mean().min() > 0.12 and labels.mean().max() < 0.45
    assert labels["AU6"].corr(labels["AU12"]) > 0.25
    assert abs(labels["AU1"].corr(labels["AU23"])) < 0.05


def test_draws_are_seeded_and_obey_the_ban():
    first = draw_labels(np.random.default_rng(1), 300, ["12", "neutral"])
    again = draw_labels(np.random.default_rng(1), 300, ["12", "neutral"])
    np.testing.assert_array_equal(first, again)
    assert first.sum(1).min() >= 1


@given(st.integers(1, 9))
@settings(max_examples=9, deadline=None)
def test_shards_are_disjoint_and_complete(count):
    samples = load_protocol("conflict").samples()
    parts = [samples.shard(i, count) for i in range(count)]
    ids = [name for part in parts for name in part.frame["sample_id"]]
    assert sorted(ids) == sorted(samples.frame["sample_id"])


def test_sample_sets_check_themselves_and_digest_content(tmp_path):
    samples = load_protocol("conflict").samples()
    few = samples.limit(20)
    assert len(few) == 20 and few.sha256 != samples.sha256
    shuffled = SampleSet(few.frame.set_index(np.arange(100, 120)), "synfacs")
    assert shuffled.sha256 == few.sha256
    few.write(tmp_path / "s.parquet")
    import pandas as pd

    again = SampleSet(pd.read_parquet(tmp_path / "s.parquet"), "synfacs")
    assert again.sha256 == few.sha256
    with pytest.raises(AubenchError, match="not 0 or 1"):
        SampleSet(few.frame.assign(AU12=3), "synfacs")
    with pytest.raises(AubenchError, match="occurs twice"):
        SampleSet(few.frame.assign(sample_id="one"), "synfacs")
    with pytest.raises(AubenchError, match="lack the column 'text'"):
        SampleSet(few.frame.drop(columns="text"), "synfacs")


def test_seed_depends_on_id_and_protocol_seed():
    assert seed_of("a", 1) == seed_of("a", 1)
    assert len({seed_of(f"s{i}", 1) for i in range(1000)}) == 1000
    assert seed_of("a", 1) != seed_of("a", 2)


def test_cached_images_are_the_rendered_ones_and_damage_is_mended(own_home):
    source = SynfacsImages()
    source.prefetch(KEYS, 64, "test")
    expected = np.stack([render_key(key, size=64) for key in KEYS])
    np.testing.assert_array_equal(source.load_many(KEYS, 64), expected)
    files = sorted(own_home.rglob("*.png"))
    assert len(files) == 3
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].write_text("no picture")
    np.testing.assert_array_equal(source.load_many(KEYS, 64), expected)
    assert not list(own_home.rglob("*.tmp"))


def test_packs_gather_in_the_order_asked_and_mend_damage(own_home, monkeypatch):
    monkeypatch.setattr(images_module, "PACK", 2)
    monkeypatch.setattr(images_module, "workers", lambda: 1)
    asked = [KEYS[2], KEYS[0], KEYS[1], KEYS[0]]
    source = SynfacsImages()
    expected = np.stack([render_key(key, size=48) for key in asked])
    np.testing.assert_array_equal(source.packed(asked, 48, "test"), expected)
    packs = sorted(own_home.rglob("*.npy"))
    assert len(packs) == 2
    packs[0].write_bytes(packs[0].read_bytes()[:200])
    np.testing.assert_array_equal(source.packed(asked, 48, "test"), expected)


@pytest.mark.slow
def test_a_killed_build_resumes(own_home):
    code = (
        "from aubench.datasets.synfacs.rendered_images import SynfacsImages\n"
        "if __name__ == '__main__':\n"
        "    keys = [f'S{i:03d}/1/12={1 + i % 40 / 10:.1f}' for i in range(60)]\n"
        "    SynfacsImages().prefetch(keys, 48, 'test')\n"
    )
    script = own_home.parent / "build.py"
    script.write_text(code)
    for wait in (3.0, 5.0):
        process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, str(script)], check=True)
    keys = [f"S{i:03d}/1/12={1 + i % 40 / 10:.1f}" for i in range(60)]
    source = SynfacsImages()
    assert all(source._read(key, 48) is not None for key in keys)
    np.testing.assert_array_equal(source.load(keys[5], 48), render_key(keys[5], size=48))


def test_split_loads_targets_with_their_references(own_home):
    targets, references, rows, frame = load_split("test", 32, limit=4)
    np.testing.assert_array_equal(targets[2], render_key(frame["target"].iloc[2], size=32))
    np.testing.assert_array_equal(
        references[rows[2]], render_key(frame["reference"].iloc[2], size=32)
    )
    with pytest.raises(AubenchError, match="did you mean 'train'"):
        split_frame("trian")


def test_unknown_data_set():
    with pytest.raises(AubenchError, match="did you mean 'synfacs'"):
        image_source("synfac")


def test_data_commands(aubench, tmp_path):
    from PIL import Image

    text = aubench(
        "data", "show", "synfacs", "--aus", "6=3+12", "-o", "face.png", "--size", "64", check=0
    ).stdout
    assert "S320/0/6=3.0+12=4.0" in text
    with Image.open(tmp_path / "face.png") as image:
        assert image.size == (64, 64)
    aubench("data", "sheet", "-o", "sheet.png", "--subjects", "S320", "--size", "32", check=0)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (32 * 19, 32)
    done = aubench("data", "show", "synfacs", "--aus", "6=9", "-o", "face.png", check=2)
    assert "give 0 to 5" in done.stderr
    done = aubench("data", "show", "synfacs", "--subject", "S900", "-o", "x.png", check=2)
    assert "S900" in done.stderr and not (tmp_path / "x.png").exists()
