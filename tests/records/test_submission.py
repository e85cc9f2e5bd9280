"""Bundles: that an honest one verifies, that no forged one does, and what a leaderboard keeps."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from aubench.comparison.runs import open_run
from aubench.errors import AubenchError
from aubench.generators.contract import SampleFailure, Unsupported
from aubench.metrics import registry
from aubench.protocols.protocol import load_protocol
from aubench.records.record import ModelInfo, ScoreRow, read_record
from aubench.storage.run_folder import RunFolder, pixel_digest, read_png
from aubench.submission import bundle as bundles
from aubench.submission import remake as remakes
from aubench.submission.bundle import (
    changed_files,
    image_name,
    read_bundle,
    write_bundle,
    write_sums,
)
from aubench.submission.verification import _case, _disagreement, verify


@pytest.fixture(scope="module")
def original(small_runs, tmp_path_factory):
    """An honest bundle; copy it before touching it."""
    run = open_run(small_runs["copy-reference"])
    return write_bundle(run, tmp_path_factory.mktemp("bundles") / "honest", limited=True)


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bundle")


def failures(path, **more):
    return verify(path, **{"images": 2, "seed": 1, **more}).failures


def edit_record(path, edit):
    data = json.loads((path / "record.json").read_text())
    edit(data)
    (path / "record.json").write_text(json.dumps(data))
    write_sums(path)


def edit_ledger(path, edit):
    with (path / "samples.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    edit(rows)
    with (path / "samples.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, bundles.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    write_sums(path)


def restate(path):
    """Let the ledger and the record speak of the images that are there, as a forger does."""

    def digests(rows):
        for place, row in enumerate(rows):
            file = path / image_name(place)
            if file.is_file():
                row["pixels_sha256"] = pixel_digest(read_png(file))

    edit_ledger(path, digests)
    read = read_bundle(path)
    digest = RunFolder(path, dict(read.digests), dict(read.failures)).digest(read.measured)
    counts = {
        "asked": len(read.ids),
        "generated": len(read.digests),
        "failed": len(read.failures),
        "unsupported": len(read.unsupported),
    }

    def edit(data):
        data["provenance"]["images_sha256"] = digest
        data["counts"] |= counts

    edit_record(path, edit)


def score(data, metric):
    return next(row for row in data["scores"] if row["metric"] == metric)


def test_an_honest_bundle_holds_and_its_images_are_made_again(bundle):
    done = verify(bundle, images=24, seed=1)
    assert {one.verdict for one in done.findings} == {"holds", "open"}
    text = " ".join(one.what for one in done.findings)
    assert "24 images made again, 24 with the same pixels" in text
    assert "--limit" in text and "numbers recomputed from the pixels agree" in text
    sent = read_record(bundle / "record.json")
    assert done.record.scores == sent.scores and done.record.subsets == sent.subsets
    assert done.record.verified.same_pixels == 24


def test_a_bundle_without_images_has_all_of_them_made_again(small_runs, tmp_path):
    run = open_run(small_runs["copy-reference"])
    path = write_bundle(run, tmp_path / "lean", limited=True, images=False)
    assert not (path / "images").exists()
    done = verify(path, images=0)
    assert done.failures == [] and done.record.verified.made_again == 24
    edit_ledger(path, lambda rows: [row.update(pixels_sha256="0" * 64) for row in rows])
    restate(path)
    assert any("look otherwise" in what for what in failures(path))


# Forged records: the numbers are better than the images, or not of them.


def better(metric, by):
    return lambda data: score(data, metric).update(value=score(data, metric)["value"] + by)


def hide(metric):
    def edit(data):
        data["scores"] = [row for row in data["scores"] if row["metric"] != metric]

    return edit


def doubled(data):
    row = score(data, "fid")
    data["scores"].insert(0, {**row, "id": row["id"] + "|mine", "value": 0.5, "ci": None})


def unknown(data):
    row = score(data, "fid")
    data["scores"].append({**row, "metric": "beauty", "id": "beauty|x"})


def group(data):
    data["groups"] = {"sex=female": [score(data, "fid")]}


FORGED = {
    "fid": (better("fid", -0.05), "fid is stated as"),
    "kid": (better("kid", -0.001), "kid is stated as"),
    "inception score": (better("is", 0.002), "is is stated as"),
    "aaad": (better("aaad", 0.001), "aaad is stated as"),
    "second detector": (better("aaad_second", 0.001), "aaad_second is stated as"),
    "f1": (better("au_f1", 0.001), "au_f1 is stated as"),
    "f1 of one AU": (better("au_f1_12", 0.001), "au_f1_12 is stated as"),
    "rms, never recomputed before": (better("rms", -0.01), "rms is stated as"),
    "ssim": (better("ssim", 0.001), "ssim is stated as"),
    "off-target": (better("off_target", -0.001), "off_target is stated as"),
    "interval": (lambda d: score(d, "fid").update(ci=[0.0, 1.0]), "the interval is stated as"),
    "interval gone": (lambda d: score(d, "fid").update(ci=None), "the interval is stated as None"),
    "n": (lambda d: score(d, "fid").update(n=2000), "n, direction or informative differ"),
    "direction": (
        lambda d: score(d, "fid").update(higher_is_better=True),
        "n, direction or informative differ",
    ),
    "not informative": (
        lambda d: score(d, "fid").update(informative=False),
        "n, direction or informative differ",
    ),
    "stratum": (
        lambda d: next(iter(d["subsets"].values()))[0].update(value=0.99),
        "is stated as 0.99",
    ),
    "hidden": (hide("off_target"), "the record hides off_target"),
    "renamed": (
        lambda d: score(d, "fid").update(id="fid|inception-2015-12-05|clean|n=24"),
        "another metric id than its images give",
    ),
    "a row before the true one": (doubled, "fid is stated 2 times"),
    "unknown row": (unknown, "beauty is no score of an installed metric"),
    "invented group": (group, "sex=female fid has another metric id"),
    "limited": (lambda d: d["counts"].update(limited=False), "1176 samples .* are missing"),
    "counts": (lambda d: d["counts"].update(generated=23), "counts other samples"),
    "texts": (lambda d: d["counts"].update(unsure_texts=-3), "unsure_texts is stated as -3"),
    "copies": (lambda d: d["counts"].update(like_targets=9), "like_targets is stated as 9"),
    "protocol": (lambda d: d["protocol"].update(sha256="0" * 64), "another version of protocol"),
    "version": (lambda d: d["protocol"].update(version="9.9"), "another version of protocol"),
    "size": (lambda d: d["protocol"].update(size=64), "images of 64 px, the model makes 128"),
    "data": (
        lambda d: d["protocol"].update(dataset_fingerprint="0" * 64),
        "another fingerprint here",
    ),
    "networks": (
        lambda d: d["provenance"]["networks"].update({"nano-a": "nano-a mine"}),
        "other networks than are installed here: nano-a",
    ),
    "source of AAAD": (lambda d: d["provenance"].update(target_source="labels"), "AAAD is said"),
    "weights": (
        lambda d: d["model"].update(weights_sha256="0" * 64),
        "weights_sha256 of 'copy-reference' is stated as 0000.* give its --weights",
    ),
    "inputs": (lambda d: d["model"].update(inputs=["text"]), "inputs of 'copy-reference'"),
    "dagger": (
        lambda d: d["model"].update(metrics_in_training=["nano-a"]),
        "metrics_in_training of 'copy-reference'",
    ),
    "control": (lambda d: d["model"].update(control=False), "control of 'copy-reference'"),
    "licence": (lambda d: d["model"].update(licence="mine"), "licence of 'copy-reference'"),
    "stranger": (lambda d: d["model"].update(name="stranger-to-us"), "cannot be asked"),
    "another model": (
        lambda d: d["model"].update(name="shuffled", citation="aubench"),
        "24 images made again, 0 with the same pixels; 24 look otherwise",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_record_is_found_though_its_checksums_are_right(bundle, name, monkeypatch):
    edit, message = FORGED[name]
    measured_once(monkeypatch)
    edit_record(bundle, edit)
    done = verify(bundle, images=24 if name == "another model" else 1, seed=2)
    assert any(re.search(message, what) for what in done.failures), done.findings
    assert done.record is None


MEASURED = {}


def measured_once(monkeypatch):
    """Measure equal images once for all tests of this module: forging a number changes none."""
    from aubench.submission import verification

    measure = verification._measured

    def once(case, model, place):
        images = tuple(case.bundle.digests.values())
        for name, digest in case.bundle.digests.items():
            assert pixel_digest(case.bundle.image(name)) == digest
        key = images, verification._metrics(case)
        if key not in MEASURED:
            MEASURED[key] = measure(case, model, place)
        return MEASURED[key]

    monkeypatch.setattr(verification, "_measured", once)


# Forged images and ledgers.


def swap(path):
    """Put the target in the place of an image."""
    run = _case(read_bundle(path))
    from aubench.datasets import image_source

    for place in range(8):
        target = image_source("synfacs").load(run.asked.frame["target"].iloc[place], 128)
        Image.fromarray(target).save(path / image_name(place))
    restate(path)


def one_pixel(path):
    image = read_png(path / image_name(3)).copy()
    image[0, 0] ^= 1
    Image.fromarray(image).save(path / image_name(3))
    write_sums(path)


def drop(column):
    def forge(path):
        """Keep the first 20 samples, and say of the others that they cannot be made."""

        def edit(rows):
            for place, row in enumerate(rows):
                if place >= 20:
                    row.update({"pixels_sha256": "", column: "not for this"})
                    (path / image_name(place)).unlink()

        edit_ledger(path, edit)
        restate(path)

    return forge


def in_ledger(**changes):
    return lambda path: edit_ledger(path, lambda rows: rows[2].update(changes))


def noise(path):
    """Lower the images by a few grey levels, within what another machine might do in looks."""
    for place in range(24):
        image = read_png(path / image_name(place)).astype(int) + 2
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path / image_name(place))
    restate(path)


FORGED_IMAGES = {
    "targets in place of images": (swap, "look otherwise|fid is stated"),
    "one pixel": (one_pixel, "is not that of the ledger"),
    "left out as unsupported": (drop("unsupported"), "is stated as unsupported, and is not"),
    "left out as failed": (drop("failed"), "is stated as failed, and is not"),
    "brighter by two levels": (noise, "24 look otherwise"),
    "digest": (in_ledger(pixels_sha256="0" * 64), "other images than the ledger"),
    "stranger's id": (in_ledger(sample_id="conflict-99999"), "is not of protocol"),
    "id twice": (in_ledger(sample_id="conflict-00000"), "occurs twice"),
    "order": (lambda p: edit_ledger(p, lambda rows: rows.reverse()), "not in the order"),
    "fewer": (lambda p: edit_ledger(p, lambda rows: rows.pop()), "other images than the ledger"),
}


@pytest.mark.parametrize("name", FORGED_IMAGES)
def test_forged_images_and_ledgers_are_found(bundle, name):
    forge, message = FORGED_IMAGES[name]
    forge(bundle)
    done = verify(bundle, images=24, seed=2)
    assert any(re.search(message, what) for what in done.failures), done.findings
    assert done.record is None


# Files that no bundle has.


def link_out(path):
    (path / image_name(2)).unlink()
    (path / image_name(2)).symlink_to(path / image_name(3))


def link_folder(path):
    (path / "images").rename(path.parent / "elsewhere")
    (path / "images").symlink_to(path.parent / "elsewhere")


def write(name, text):
    def forge(path):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)

    return forge


def in_record(old, new):
    def forge(path):
        text = (path / "record.json").read_text()
        assert old in text
        (path / "record.json").write_text(text.replace(old, new, 1))

    return forge


def large(path):
    with (path / "bundle.json").open("w") as stream:
        stream.truncate(1 << 20)


ILL_FORMED = {
    "link to a file": (link_out, "'images/00002.png' is a link"),
    "link to a folder": (link_folder, "'images' is a link"),
    "link of the record": (
        lambda p: (
            (p / "record.json").rename(p.parent / "r"),
            (p / "record.json").symlink_to(p.parent / "r"),
        ),
        "'record.json' is a link",
    ),
    "pipe": (lambda p: os.mkfifo(p / "images" / "00099.png"), "is no file"),
    "deeper folder": (write("images/more/a.png", "x"), "'images/more' is no file"),
    "program": (write("run.sh", "x"), "'run.sh' is no file of a bundle"),
    "large file": (large, "at most 65,536"),
    "key twice": (in_record('"fid"', '"fid", "metric": "kid"'), "key 'metric' twice"),
    "not a number": (in_record('"value": ', '"value": NaN, "x": '), "NaN is no number"),
    "infinite": (in_record('"value": ', '"value": -Infinity, "x": '), "Infinity is no number"),
    "deep": (in_record('"subsets": {', '"subsets": {"a": ' + "[" * 10**5 + ", "), "not a record"),
    "foreign schema": (in_record('"schema_version": 1', '"schema_version": 99'), "schema 99"),
    "huge images": (in_record('"size": 128', '"size": 99999'), "images of 99999 px"),
    "ledger": (write("samples.csv", "sample_id\n1\n"), "columns are not"),
    "line of two states": (
        in_ledger(failed="gave up"),
        "samples.csv line 4 tells not one thing of one sample",
    ),
    "bundle": (write("bundle.json", "[]"), "cannot be read"),
    "former bundle": (write("bundle.json", '{"schema": 1, "images": true}'), "schema 1"),
}


@pytest.mark.parametrize("name", ILL_FORMED)
def test_a_bundle_that_is_none_is_refused_in_a_line(bundle, name):
    forge, message = ILL_FORMED[name]
    forge(bundle)
    with pytest.raises(AubenchError, match=message):
        verify(bundle)


def test_checksums_tell_of_every_file(bundle):
    image = bundle / image_name(5)
    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(data)
    (bundle / image_name(7)).unlink()
    (bundle / "images" / "00099.png").write_text("x")
    assert changed_files(bundle) == [
        "images/00007.png is missing",
        "images/00099.png is not covered by SHA256SUMS",
        "images/00005.png was changed after it was written",
    ]
    (bundle / "SHA256SUMS").unlink()
    assert changed_files(bundle) == ["SHA256SUMS is missing"]


def test_a_tolerance_does_not_grow_with_what_was_stated(original):
    """One image on the edge of a radius is tolerated and two are not, however large the value."""
    row = read_bundle(original).record.score("fid")
    row = row.model_copy(update={"metric": "coverage", "value": 0.5, "ci": None})
    assert isinstance(row, ScoreRow) and row.n == 24
    for images, found in ((1, False), (2, True)):
        other = row.model_copy(update={"value": 0.5 + images / 24})
        assert bool(_disagreement(other, row)) is found
    for one in registry.installed():
        for name, facts in one.scores.items():
            tolerance = facts.tolerance
            assert tolerance.relative <= 1e-3, name
            assert tolerance.far(1e9, 1.0, 24) and tolerance.far(None, 1.0, 24)


def test_pixels_must_be_the_same_where_hardware_and_versions_are(bundle, monkeypatch):
    """Half a grey level passes for another machine, and not for this one."""
    measured_once(monkeypatch)
    from aubench_baselines.controls import CopyReference

    made = CopyReference.generate

    def otherwise(self, batch):
        images = made(self, batch).copy()
        images[:, ::4] ^= 1
        return images

    monkeypatch.setattr(CopyReference, "generate", otherwise)
    assert any("though hardware and versions are the record's" in w for w in failures(bundle))
    here = remakes.machine_here()
    monkeypatch.setattr(remakes, "machine_here", lambda: ("another", *here[1:]))
    done = verify(bundle, images=4, seed=1)
    assert done.failures == []
    assert any("the others look alike" in f.what for f in done.findings if f.verdict == "open")


def test_what_a_model_refuses_is_asked_of_it(bundle, monkeypatch):
    measured_once(monkeypatch)
    from aubench_baselines.controls import CopyReference

    made, names = CopyReference.generate, read_bundle(bundle).ids

    def refuses(self, batch):
        if batch[0].sample_id in names[20:22]:
            raise Unsupported(batch[0].sample_id, "not for this")
        if batch[0].sample_id in names[22:]:
            raise SampleFailure(batch[0].sample_id, "no luck")
        return made(self, batch)

    def edit(rows):
        for place, row in enumerate(rows[20:], 20):
            row.update({"pixels_sha256": "", ("unsupported" if place < 22 else "failed"): "so"})
            (bundle / image_name(place)).unlink()

    edit_ledger(bundle, edit)
    restate(bundle)
    monkeypatch.setattr(CopyReference, "generate", refuses)
    found = [one.what for one in verify(bundle, images=24).findings if one.verdict == "holds"]
    assert "2 unsupported samples are so here too" in found
    assert "2 failed samples are so here too" in found
    assert any("no model was asked whether rightly" in what for what in failures(bundle, images=0))


def test_seeds_of_a_run_with_its_own_are_those_that_made_the_images(bundle):
    edit_record(bundle, lambda data: data["provenance"].update(seed=7))
    usual = load_protocol("conflict").samples().limit(24).frame["seed"]
    assert (_case(read_bundle(bundle)).asked.frame["seed"].to_numpy() == usual.to_numpy() + 7).all()


def test_a_model_that_returns_targets_raises_an_alarm(small_runs, tmp_path, monkeypatch):
    """The pixels are its own, and so are all numbers; nobody but a control is shown targets."""
    run = open_run(small_runs["oracle"])
    path = write_bundle(run, tmp_path / "bundle", limited=True)
    own = {"control": False, "inputs": ["text"]}
    info = ModelInfo.model_validate(read_bundle(path).record.model.model_dump())
    monkeypatch.setattr(remakes, "model_info", lambda *_: info.model_copy(update=own))
    edit_record(path, lambda data: data["model"].update(own))
    assert failures(path) == ["24 of 24 images are their targets, or nearly"]


def test_commands(small_runs, aubench, tmp_path):
    run = small_runs["oracle"]
    done = aubench("submit", run, "--out", "out", check=2)
    assert "leaderboards take whole protocols" in done.stderr
    assert "MiB; check it" in aubench("submit", run, "--out", "out", "--limited", check=0).stdout
    assert "is not empty" in aubench("submit", run, "--out", "out", "--limited", check=2).stderr
    words = ("verify", "out", "--images", 1)
    shown = json.loads(aubench(*words, "--json", "--record", "kept.json", check=0).stdout)
    assert {row["verdict"] for row in shown} == {"holds", "open"}
    assert read_record(tmp_path / "kept.json").verified is not None
    assert "kept.json exists" in aubench(*words, "--record", "kept.json", check=2).stderr
    done = aubench("report", "--add", "out/record.json", "--leaderboards", "boards", check=2)
    assert "as it was sent in a bundle" in done.stderr
    edit_record(tmp_path / "out", lambda data: score(data, "fid").update(value=-1.0))
    done = aubench("verify", "out", "--images", 0, "--record", "forged.json", check=1)
    assert "fails 1 checks, first: fid is stated as -1.0" in done.stderr
    assert not (tmp_path / "forged.json").exists()
    assert "is no bundle" in aubench("verify", tmp_path, check=2).stderr


def test_control_characters_of_a_bundle_reach_no_line_of_a_log(bundle, aubench):
    """A new line in a sample id would begin a line of a log, where CI systems take commands."""
    bad = "x\n::add-mask::\x1b[31m\u202e"
    edit_ledger(bundle, lambda rows: rows[2].update(sample_id=bad))
    done = aubench("verify", bundle, "--images", 0, check=1)
    told = done.stdout + done.stderr
    assert "\n::" not in told and "\x1b" not in told and "\u202e" not in told
    assert r"x\n::add-mask::\x1b[31m\u202e" in done.stdout
    edit_ledger(bundle, lambda rows: rows[2].update(sample_id="conflict-00100"))
    edit_record(bundle, lambda data: data["model"].update(name=bad))
    done = aubench("verify", bundle, "--images", 1, check=1)
    assert "\n::" not in done.stdout + done.stderr and "\x1b" not in done.stdout + done.stderr
