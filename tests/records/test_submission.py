"""Bundles: what they hold, that an honest one verifies, and that tampering is found."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from aubench.cli.results.submit import submit
from aubench.cli.results.verify import verify as command
from aubench.comparison.runs import open_run
from aubench.errors import AubenchError
from aubench.generators.contract import SampleFailure
from aubench.protocols.protocol import load_protocol
from aubench.submission.bundle import (
    WIDE,
    changed_files,
    read_bundle,
    write_bundle,
    write_sums,
)
from aubench.submission.verification import _disagreement, _open, verify


@pytest.fixture(scope="module")
def original(small_runs, tmp_path_factory):
    """An honest bundle; copy it before touching it."""
    run = open_run(small_runs["copy-reference"])
    return write_bundle(run, tmp_path_factory.mktemp("bundles") / "honest", limited=True)


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bundle")


def failures(path, **more):
    return [f.what for f in verify(path, **{"images": 0, **more}) if f.verdict == "fails"]


def edit_record(path, edit):
    data = json.loads((path / "record.json").read_text())
    edit(data)
    (path / "record.json").write_text(json.dumps(data))
    write_sums(path)


def edit_feature(path, network, name, edit):
    file = path / "features" / f"{network}.000.safetensors"
    with safe_open(file, framework="numpy") as stream:
        meta, arrays = stream.metadata(), {k: stream.get_tensor(k).copy() for k in stream.keys()}  # noqa: SIM118
    edit(arrays[name])
    save_file(arrays, file, metadata=meta)
    write_sums(path)


def score(data, metric):
    return next(row for row in data["scores"] if row["metric"] == metric)


def test_an_honest_bundle_holds_and_its_images_are_made_again(bundle):
    found = verify(bundle, images=24, seed=1)
    assert {f.verdict for f in found} == {"holds", "open"}
    text = " ".join(f.what for f in found)
    assert "24 images made again, 24 with the same pixels" in text
    assert "--limit" in text and "numbers recomputed from the features agree" in text


@pytest.fixture(scope="module")
def tied(small_runs, tmp_path_factory):
    """A bundle of images that are their own targets: every distance ties with a radius."""
    from aubench.run.execute import RunConfig, execute

    place = tmp_path_factory.mktemp("tied")
    shutil.copytree(small_runs["oracle"], place / "run")
    execute(RunConfig("oracle", "conflict", place / "run", limit=24, metrics=("prdc", "identity")))
    return write_bundle(open_run(place / "run"), place / "bundle", limited=True)


def test_images_that_are_their_own_targets_hold_though_all_their_distances_tie(tied, monkeypatch):
    """Rounded on one side alone, the ties break: the interval moves by more than is tolerated."""
    from aubench.metrics import registry
    from aubench.metrics.distributions.prdc import PRDC
    from aubench.metrics.metric import Tolerance
    from aubench.submission import verification

    assert failures(tied) == []
    facts = PRDC.scores | {
        name: replace(PRDC.scores[name], tolerance=Tolerance(0.0, 1e-9))
        for name in ("density", "recall")
    }
    monkeypatch.setattr(PRDC, "scores", facts)
    registry._facts.cache_clear()
    assert not any(what.startswith(("density", "recall")) for what in failures(tied))
    monkeypatch.setattr(verification, "_rounded", lambda m: m)
    assert any(what.startswith("density") for what in failures(tied))
    monkeypatch.undo()
    registry._facts.cache_clear()


def test_one_image_on_the_edge_is_tolerated_and_two_are_not(original):
    row = (
        read_bundle(original)
        .record.score("fid")
        .model_copy(update={"metric": "coverage", "value": 0.5, "ci": None})
    )
    assert row.n == 24
    for images, found in ((1, False), (2, True)):
        other = row.model_copy(update={"value": 0.5 + images / 24})
        assert bool(_disagreement(other, row)) is found


def test_wide_arrays_are_halved_and_narrow_ones_exact(bundle, small_runs):
    run = small_runs["copy-reference"] / "features"
    read = read_bundle(bundle)
    assert {"efficientnet-lite0", "nano-a", "nano-b", "pixels"} <= set(read.networks())
    for network in read.networks():
        _, arrays = read.features(network)
        with safe_open(run / f"{network}.safetensors", framework="numpy") as stream:
            for name, array in arrays.items():
                own = stream.get_tensor(name)
                if own.ndim == 2 and own.shape[1] >= WIDE:
                    np.testing.assert_array_equal(array, own.astype(np.float16))
                    np.testing.assert_allclose(array, own, rtol=2**-11, atol=1e-6)
                else:
                    np.testing.assert_array_equal(array, own)


@pytest.mark.parametrize(
    ("metric", "change"),
    [
        ("fid", -0.05),
        ("kid", -0.001),
        ("is", 0.002),
        ("aaad", 0.001),
        ("aaad_second", 0.001),
        ("au_f1", 0.001),
        ("au_f1_12", 0.001),
        ("rms", -0.01),
        ("off_target", -0.001),
    ],
)
def test_a_better_number_is_found(original, metric, change):
    """By recomputing; the checksums are those of the edited file."""
    from aubench.records.record import ScoreRow

    row = read_bundle(original).record.score(metric)
    assert isinstance(row, ScoreRow) and not _disagreement(row, row)
    assert metric in _disagreement(row.model_copy(update={"value": row.value + change}), row)
    if row.ci:
        ci = (row.ci[0] + change, row.ci[1])
        assert "interval" in _disagreement(row.model_copy(update={"ci": ci}), row)
    assert "n or direction" in _disagreement(row.model_copy(update={"n": row.n + 1}), row)


def test_an_edited_record_is_found_with_and_without_new_checksums(bundle):
    def better(data):
        score(data, "aaad_second")["value"] += 0.01
        next(iter(data["subsets"].values()))[0]["value"] += 0.01

    edit_record(bundle, better)
    found = failures(bundle)
    assert len(found) == 2 and any(what.startswith("aaad_second is stated as") for what in found)
    (bundle / "record.json").write_text((bundle / "record.json").read_text() + " ")
    assert changed_files(bundle) == ["record.json was changed after it was written"]


def test_hidden_invented_and_renamed_numbers_are_found(bundle):
    def edit(data):
        data["scores"] = [row for row in data["scores"] if row["metric"] != "off_target"]
        score(data, "fid")["id"] = "fid|inception-2015-12-05|clean|n=24"

    edit_record(bundle, edit)
    found = " ".join(failures(bundle))
    assert "hides off_target" in found and "hides fid" in found and "another metric id" in found


def test_one_feature_is_found_when_its_sample_is_drawn(bundle):
    """A single value moves no metric beyond its tolerance; making the image again tells."""

    def bend(array):
        array[7, 100] += np.float16(0.5)

    edit_feature(bundle, "efficientnet-lite0", "features", bend)
    name = read_bundle(bundle).made[7]
    found = failures(bundle, images=24)
    assert len([what for what in found if f"features of {name} differ" in what]) == 1
    assert not any("nano" in what for what in found)


def test_one_probability_is_found_by_recomputing(bundle):
    def bend(array):
        array[3] = 1 - array[3]

    edit_feature(bundle, "nano-b", "probabilities", bend)
    assert any("aaad_second" in what for what in failures(bundle))


def test_checksums_tell_of_every_file(bundle):
    shard = bundle / "features" / "nano-b.000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    (bundle / "thumbnails" / "000.webp").unlink()
    (bundle / "extra.txt").write_text("x")
    assert changed_files(bundle) == [
        "thumbnails/000.webp is missing",
        "extra.txt is not covered by SHA256SUMS",
        "features/nano-b.000.safetensors was changed after it was written",
    ]
    (bundle / "SHA256SUMS").unlink()
    assert changed_files(bundle) == ["SHA256SUMS is missing"]


def ledger(path, edit):
    with (path / "samples.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    edit(rows)
    with (path / "samples.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    write_sums(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[2].update(sample_id="conflict-99999"), "is not of protocol"),
        (lambda rows: rows[2].update(sample_id=rows[1]["sample_id"]), "occurs twice"),
        (lambda rows: rows[2].update(sample_id="conflict-00001"), "not in the order|other images"),
        (lambda rows: rows.reverse(), "not in the order"),
        (lambda rows: rows[2].update(pixels_sha256="0" * 64), "other images than the ledger"),
        (lambda rows: rows.pop(), "other images than the ledger"),
        (lambda rows: rows[2].update(failed="gave up"), "other images than the ledger"),
    ],
)
def test_one_sample_id_is_found(bundle, edit, message):
    ledger(bundle, edit)
    found = failures(bundle)
    assert any(re.search(message, what) for what in found), found


def test_a_ledger_and_record_of_other_images_do_not_go_with_the_features(bundle):
    ledger(bundle, lambda rows: rows[2].update(pixels_sha256="0" * 64))
    read = read_bundle(bundle)
    from aubench.storage.run_folder import RunFolder

    digest = RunFolder(bundle, dict(read.digests), {}).digest(read.ids)
    edit_record(bundle, lambda data: data["provenance"].update(images_sha256=digest))
    assert any("features are not those of these images" in what for what in failures(bundle))


def test_a_record_of_another_protocol_version_is_found(bundle):
    edit_record(bundle, lambda data: data["protocol"].update(sha256="0" * 64))
    assert any("another version of protocol" in what for what in failures(bundle))


def test_an_unknown_model_is_said_to_be_unchecked(bundle):
    edit_record(bundle, lambda data: data["model"].update(name="stranger-to-us"))
    found = verify(bundle, images=2)
    assert any(f.verdict == "open" and "no image was made again" in f.what for f in found)
    with pytest.raises(AubenchError, match="no image was made again"):
        command.main([str(bundle), "--images", "2", "--require-images"], standalone_mode=False)


def test_commands(small_runs, tmp_path, capsys):
    run, out = str(small_runs["oracle"]), tmp_path / "out"
    with pytest.raises(AubenchError, match="leaderboards take whole protocols"):
        submit.main([run, "--out", str(out)], standalone_mode=False)
    submit.main([run, "--out", str(out), "--limited"], standalone_mode=False)
    assert "MiB; check it" in capsys.readouterr().out
    with pytest.raises(AubenchError, match="is not empty"):
        submit.main([run, "--out", str(out), "--limited"], standalone_mode=False)
    command.main([str(out), "--images", "1", "--json"], standalone_mode=False)
    shown = json.loads(capsys.readouterr().out)
    assert {row["verdict"] for row in shown} == {"holds", "open"}
    edit_record(out, lambda data: score(data, "fid").update(value=-1.0))
    with pytest.raises(AubenchError, match=r"fails 1 checks, first: fid is stated as -1\.0"):
        command.main([str(out), "--images", "0"], standalone_mode=False)
    with pytest.raises(AubenchError, match="is no bundle"):
        verify(tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["counts"].update(limited=False), "1176 samples of the protocol are missing"),
        (lambda d: d["protocol"].update(dataset_fingerprint="0" * 64), "another fingerprint here"),
        (lambda d: d["counts"].update(generated=23), "counts other samples than the ledger"),
        (lambda d: score(d, "fid").update(ci=[0.0, 1.0]), r"fid: the interval is stated as \(0"),
        (lambda d: score(d, "fid").update(n=23), "fid: n or direction differ"),
    ],
)
def test_a_record_that_the_bundle_does_not_bear_is_found(bundle, edit, message):
    edit_record(bundle, edit)
    found = failures(bundle)
    assert len(found) == 1 and re.search(message, found[0]), found


def test_an_interval_that_nothing_gives_is_found(original):
    row = read_bundle(original).record.score("fid")
    assert row.ci is not None and _disagreement(row, row) == ""
    assert "should be None" in _disagreement(row, row.model_copy(update={"ci": None}))
    assert _disagreement(row.model_copy(update={"ci": None}), row) == ""  # told as open


def test_what_was_not_recomputed_is_said_to_be_open(bundle):
    def more(data):
        row = score(data, "fid")
        data["scores"].append({**row, "metric": "beauty", "id": "beauty|x"})
        data["groups"] = {"sex=female": [row]}

    edit_record(bundle, more)
    found = [f.what for f in verify(bundle, images=0) if f.verdict == "open"]
    assert "not recomputed: beauty" in found and failures(bundle) == []
    assert "scores of groups were not recomputed" in found


def test_seeds_of_a_run_with_its_own_are_those_that_made_the_images(bundle):
    edit_record(bundle, lambda data: data["provenance"].update(seed=7))
    read = read_bundle(bundle)
    usual = load_protocol("conflict").samples().limit(24).frame["seed"]
    assert (_open(read).samples.frame["seed"].to_numpy() == usual.to_numpy() + 7).all()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"weights_sha256": "0" * 64}, "the weights of 'copy-reference' here are not the record's"),
        ({"inputs": ["text"]}, "'copy-reference' here reads other inputs than the record says"),
    ],
)
def test_images_of_another_model_are_not_made_in_its_name(bundle, edit, message):
    edit_record(bundle, lambda data: data["model"].update(edit))
    found = [f.what for f in verify(bundle, images=2, seed=1) if f.verdict == "open"]
    assert any(what.startswith(f"no image was made again: {message}") for what in found), found


def test_images_that_cannot_be_made_again_or_look_otherwise_fail(bundle, monkeypatch):
    from aubench_baselines.controls import CopyReference

    made = CopyReference.generate
    name = read_bundle(bundle).made[5]

    def gives_up(self, batch):
        if batch[0].sample_id == name:
            raise SampleFailure(name, "no luck")
        return made(self, batch)

    monkeypatch.setattr(CopyReference, "generate", gives_up)
    assert failures(bundle, images=24) == [f"{name} could not be made again: no luck"]
    monkeypatch.setattr(CopyReference, "generate", lambda self, batch: 255 - made(self, batch))
    found = failures(bundle, images=2, seed=3)
    assert len([what for what in found if "made again looks otherwise" in what]) == 2
    assert any("efficientnet-lite0 features" in what for what in found)
