"""One door from data to training: every trainer reads an imported data set by name."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from import_parts import bring
from PIL import Image

from aubench.cli.main import cli
from aubench.datasets.imported.au_texts import attach_text, read_texts
from aubench.datasets.registry import find_dataset
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.generators.contract import Training

SIDE = 64


def write_faces(folder, people=9, each=9, graded=True, unknown=True):
    """Write faces.csv: a neutral face of each person first; AU24 of one face is unknown."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    graded = [f"I{au}" for au in AUS] if graded else []
    with (folder / "faces.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "subject", *(f"AU{au}" for au in AUS), *graded])
        for person in range(people):
            for k in range(each):
                name = f"p{person}_{k}.png"
                pixels = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / name)
                on = rng.integers(0, 2, len(AUS)) if k else np.zeros(len(AUS), int)
                on[k % len(AUS)] = int(k > 0)
                labels = [*map(str, on)]
                if unknown and (person, k) == (2, 3):
                    labels[-1] = ""
                values = [3 * int(v) if v else "" for v in labels] if graded else []
                writer.writerow([name, f"p{person}", *labels, *values])
    return folder / "faces.csv"


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """An imported folder called mine, in a home of its own."""
    root = tmp_path_factory.mktemp("door")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUBENCH_HOME", str(root / "home"))
        bring("folder", write_faces(root / "source"), "mine", free=True)
        bring("folder", write_faces(root / "plain", graded=False), "plain", free=True)
        attach_text("plain", 7)
        yield root


def call(*words, code=0):
    done = CliRunner().invoke(cli, [*map(str, words)])
    assert done.exit_code == code, done.output + repr(done.exception)
    return done.output


def test_folds_are_exclusive_and_those_of_frozen_protocols(mine):
    source = find_dataset("mine")
    tested = []
    for fold in (1, 2, 3):
        train, test = (source.faces(split, fold) for split in ("train", "test"))
        assert train.fold == fold and not set(train.subjects) & set(test.subjects)
        assert len(train) + len(test) == 9 * 8  # neutral faces are references and no samples
        assert train.digest != test.digest
        tested += sorted(set(test.subjects))
    assert len(tested) == len(set(tested)) == 9
    with pytest.raises(AubenchError, match="no fold 4 of 'mine'; choose 1 to 3"):
        source.faces("train", 4)
    with pytest.raises(AubenchError, match="no split of its own; --fold 1 to 3"):
        source.faces("train")


def test_vqauface_trains_all_its_stages(mine, tmp_path):
    from vqauface.generator import VQAUFace
    from vqauface.training.data import open_faces
    from vqauface.training.fit import fit

    from aubench.generators.contract import WeightSource

    faces, data = find_dataset("mine").faces("train", 2), open_faces("mine", 32, None, 2, 0)
    assert len(data) == len(faces) and np.isnan(data.labels).sum() == (faces.labels < 0).sum()
    logged = data.references.take([int(data.rows[4])])[0]
    np.testing.assert_array_equal(
        logged, find_dataset("mine").images().load(faces.references[4], 32)
    )
    weights = fit(Training("tiny", "mine", tmp_path, steps=2, fold=2))
    card = json.loads(weights.with_name("tiny.card.json").read_text())
    assert card["data"]["name"] == "mine" and card["data"]["fold"] == 2
    assert card["data"]["fingerprint"].endswith(faces.digest)
    assert all("--data mine" in line and "--fold 2" in line for line in card["commands"])
    made = VQAUFace.load(WeightSource(weights), device="cpu", dtype="float32")
    assert made.info.trained_on == (f"mine/train of fold 2, {faces.digest}",)


def test_attached_texts_are_what_is_trained_on(mine):
    from aubench_baselines.sd15_lora.data import load_pictures
    from aubench_baselines.sd15_lora.loop import Settings
    from vqauface.training.data import open_faces

    from aubench.networks.textau.settings import Settings as TextSettings
    from aubench.networks.textau.train import open_corpus

    told = dict(zip(*(read_texts("plain")[column] for column in ("key", "text")), strict=True))
    faces = find_dataset("plain").faces("train", 1)
    assert faces.texts == tuple(told[key] for key in faces.keys)
    assert [texts for texts in open_faces("plain", 32, None, 1, 0).texts] == [
        (text,) for text in faces.texts
    ]
    pictures = load_pictures(Settings(3, data="plain", fold=1), 32)
    assert list(pictures.texts(5)) == [faces.texts[5]]
    np.testing.assert_array_equal(
        pictures.images(np.array([5]))[0], find_dataset("plain").images().load(faces.keys[5], 32)
    )
    corpus = open_corpus(TextSettings(data="plain", fold=1))
    assert set(corpus.training_texts()) <= set(faces.texts) and faces.digest in corpus.name
    ours = open_corpus(TextSettings(data="mine", fold=1))  # no texts: our wordings of its AU sets
    assert len(ours.labels) == len(set(find_dataset("mine").combinations(1)))


def test_ganimation_wants_every_intensity_or_labels(mine, tmp_path):
    from aubench_baselines.ganimation.data import load_faces
    from aubench_baselines.ganimation.train import fit

    graded, faces = (
        load_faces("mine", "intensities", 64, 0, 3),
        find_dataset("mine").faces("train", 3),
    )
    whole = int(faces.complete.sum())
    assert graded.aus.shape == (whole + len(set(faces.references)), 12)
    assert set(np.unique(graded.aus)) == {0.0, np.float32(0.6)}
    with pytest.raises(AubenchError, match=r"intensity of AU.* is unknown .*; --set kind=labels"):
        load_faces("plain", "intensities", 64, 0, 3)
    small = {
        "kind": "labels",
        "size": "64",
        "width": "8",
        "critic_width": "8",
        "blocks": "1",
        "batch": "2",
    }
    weights = fit(Training("nano", "plain", tmp_path, steps=2, options=small, fold=3))
    card = json.loads(weights.with_name("ganimation-nano.card.json").read_text())
    assert card["data"]["name"] == "plain" and card["data"]["fold"] == 3
    assert "plain/train of fold 3" in card["data"]["fingerprint"]
    assert "--data plain --fold 3" in card["command"]


def test_stages_of_stable_diffusion_read_references(mine):
    from aubench_baselines.sd15_lora.data import au_faces, neutral_faces
    from aubench_baselines.sd15_lora.loop import Settings

    faces, settings = find_dataset("mine").faces("train", 1), Settings(2, data="mine", fold=1)
    neutral = neutral_faces(settings, 32)
    count = len(set(faces.references))
    assert len(neutral) == 2 * count
    first, mirrored = neutral.images(np.array([1, 1 + count]))
    np.testing.assert_array_equal(first[:, ::-1], mirrored)
    both = au_faces(settings, 32, references=True)
    assert len(both) == len(faces) + count and len(both.texts(0)) == 6
    one = both.images(np.array([len(faces) + 1]))[0]
    np.testing.assert_array_equal(one, first)
    with pytest.raises(AubenchError, match="stage 2 reads a data set, not the folder"):
        neutral_faces(Settings(2, data=str(mine)), 32)


def test_detectors_learn_and_are_judged_by_fold(mine, tmp_path):
    told = call(
        "train-au-detector",
        "--preset",
        "nano-b",
        "--data",
        "mine",
        "--fold",
        "1",
        "--epochs",
        "1",
        "--batch",
        "8",
        "--limit",
        "64",
        "--device",
        "cpu",
        "--workers",
        "0",
        "--out",
        tmp_path,
    )
    assert "AU12" in told
    card = json.loads(next(tmp_path.glob("*.card.json")).read_text())
    source = find_dataset("mine")
    assert card["data"]["source"] == "mine" and card["data"]["fold"] == "1 of 3"
    assert card["data"]["digest"] == source.content[:16]
    assert "--data mine" in card["command"] and "--fold 1" in card["command"]
    from aubench.networks.detectors.training.folds import open_parts, test_faces
    from aubench.networks.detectors.training.settings import Settings

    parts = open_parts(Settings("nano-b", "mine", 1))
    test = source.faces("test", 1)
    np.testing.assert_array_equal(parts.test.labels, test.labels)
    assert not set(parts.train.subjects) & set(parts.validation.subjects)
    judged, about = test_faces("mine", 1, None, packed=True)
    np.testing.assert_array_equal(judged.image(2), source.images().load(test.keys[2], 128))
    assert about["fold"] == "1 of 3"


def test_the_nearest_face_is_one_of_train(mine, tmp_path):
    source = find_dataset("mine")
    call(
        "protocol",
        "freeze",
        "test2k",
        "--data",
        "mine",
        "--fold",
        "2",
        "--samples",
        "8",
        "--size",
        "64",
        "--no-statistics",
    )
    call(
        "run",
        "--model",
        "nearest",
        "--protocol",
        "test2k",
        "--data",
        "mine",
        "--metrics",
        "pixels",
        "--out",
        tmp_path / "run",
    )
    from aubench_baselines.controls import Nearest

    from aubench.protocols.protocol import load_protocol

    samples = load_protocol("test2k", "mine").samples()
    train = source.faces("train", 2)
    chosen = Nearest(samples, source.images()).chosen
    assert set(chosen.values()) <= set(train.keys)
    labels = dict(zip(train.keys, train.labels, strict=True))
    for name, asked in zip(samples.ids, samples.labels(), strict=True):
        off = np.abs(train.labels[train.complete] - asked.astype(int)).sum(1).min()
        assert np.abs(labels[chosen[name]] - asked.astype(int)).sum() == off


def test_unknown_data_name_what_there_is(mine, tmp_path):
    from vqauface.training.fit import fit

    with pytest.raises(AubenchError, match=r"no data 'mein' .did you mean 'mine'") as caught:
        fit(Training("tiny", "mein", tmp_path))
    assert all(name in caught.value.hint for name in ("synfacs", "mine", "plain"))


@pytest.fixture
def exported(mine, tmp_path):
    """Return what writes a data set in a layout."""

    def write(name, layout, *more):
        call(
            "data",
            "export",
            name,
            "--as",
            layout,
            "--out",
            tmp_path / layout,
            "--size",
            "64",
            *more,
        )
        return tmp_path / layout

    return write


def test_lists_of_me_graphau_are_read_as_the_folds_they_were_written_from(exported):
    from aubench.networks.detectors.training.lists import read_fold

    folder, source = exported("mine", "me-graphau"), find_dataset("mine")
    for fold in (1, 2, 3):
        read = read_fold(folder, fold)
        for split, part in (("train", read.train), ("test", read.test)):
            faces = source.faces(split, fold)
            np.testing.assert_array_equal(part.labels, faces.labels)
            np.testing.assert_array_equal(part.image(3), source.images().load(faces.keys[3], 64))


def test_ganimation_and_image_folders_are_read_back(exported):
    from aubench_baselines.ganimation.data import load_faces
    from aubench_baselines.sd15_lora.data import folder_faces

    source = find_dataset("mine")
    faces = source.faces("train", 2)
    whole = faces.rows(faces.complete)
    read = load_faces(str(exported("mine", "ganimation", "--fold", "2")), "intensities", 64, 0)
    np.testing.assert_allclose(read.aus, np.nan_to_num(whole.intensities) / 5)
    np.testing.assert_array_equal(
        read.images(np.array([1]))[0], source.images().load(whole.keys[1], 64)
    )
    told = find_dataset("plain").faces("train", 1)
    folder = exported("plain", "imagefolder")
    assert folder_faces(folder / "train", 64, 0).words == told.texts


def test_the_table_is_what_the_importer_reads(exported, mine, monkeypatch):
    folder, source = exported("mine", "csv", "--fold", "1"), find_dataset("mine")
    from aubench.datasets.export import Export, export

    with pytest.raises(AubenchError, match="is there already"):
        export(Export(source), "csv", folder)
    bring("folder", folder / "samples.csv", "again", free=True)
    again = find_dataset("again")
    assert again.own_split and again.faces("test").title == "again/test"
    for split in ("train", "test"):
        was, now = source.faces(split, 1), again.faces(split)
        order = np.argsort(was.keys)
        images, others = source.images(), again.images()
        pixels = {images.load(key, 64).tobytes(): row for row, key in enumerate(was.keys)}
        assert len(now) == len(was) == len(order)
        for row, key in enumerate(now.keys):
            same = pixels[others.load(key, 64).tobytes()]
            np.testing.assert_array_equal(now.labels[row], was.labels[same])
            face = others.load(now.references[row], 64)
            np.testing.assert_array_equal(face, images.load(was.references[same], 64))


def test_nothing_is_left_of_an_export_that_fails(mine, tmp_path, monkeypatch):
    from aubench.datasets import export as module

    def broken(*_):
        raise AubenchError("the disk is full")

    monkeypatch.setattr(module, "_write_images", broken)
    with pytest.raises(AubenchError, match="full"):
        module.export(module.Export(find_dataset("mine")), "csv", tmp_path / "out")
    assert not list(tmp_path.iterdir())
    with pytest.raises(AubenchError, match=r"unknown layout 'cvs' .did you mean 'csv'"):
        module.export(module.Export(find_dataset("mine")), "cvs", tmp_path / "out")


def test_trainers_see_of_synfacs_what_they_always_saw(aubench_home):
    from aubench_baselines.ganimation.data import load_faces, shrink
    from aubench_baselines.sd15_lora.data import au_faces, neutral_faces
    from aubench_baselines.sd15_lora.loop import Settings
    from vqauface.training.data import open_faces, wordings

    from aubench.datasets.samples import INTENSITIES, LABELS
    from aubench.datasets.synfacs.synfacs_dataset import load_split

    targets, references, rows, frame = load_split("train", 32, 12)
    data = open_faces("synfacs", 32, 12, None, 0)
    np.testing.assert_array_equal(data.targets.images, targets)
    np.testing.assert_array_equal(data.references.images, references)
    np.testing.assert_array_equal(data.rows, rows)
    np.testing.assert_array_equal(data.labels, frame[list(LABELS)].to_numpy(np.float32))
    assert list(data.texts) == wordings(list(frame["combination"])) and data.name == "synfacs/train"
    settings = Settings(1, limit=12)
    both = au_faces(settings, 32, references=True)
    np.testing.assert_array_equal(both.pixels, np.concatenate([targets, references]))
    assert both.texts(3)[0] in data.texts[3]
    neutral = neutral_faces(settings, 32)
    mirrored = np.concatenate([references, references[:, :, ::-1]])
    np.testing.assert_array_equal(neutral.pixels, mirrored)
    targets, references, _, frame = load_split("train", 128, 12)
    seen = load_faces("synfacs", "intensities", 64, 12)
    rows = np.arange(12 + len(references))
    whole = np.concatenate([shrink(targets, 2), shrink(references, 2)])
    np.testing.assert_array_equal(seen.images(rows), whole)
    known = frame[list(INTENSITIES)].to_numpy(np.float32) / 5
    np.testing.assert_array_equal(seen.aus[:12], known)
    assert not seen.aus[12:].any()


def test_a_fold_of_synfacs_comes_from_the_packs_of_its_split(monkeypatch):
    from aubench.datasets.synfacs.rendered_images import SynfacsImages

    asked = []

    def packed(self, keys, size, label):
        asked.append(len(keys))
        return np.array([int(key[1:4]) for key in keys])[:, None, None, None]

    monkeypatch.setattr(SynfacsImages, "packed", packed)
    source = find_dataset("synfacs")
    tested = []
    for fold in (1, 2, 3):
        train, test = (source.faces(split, fold) for split in ("train", "test"))
        assert len(train) + len(test) == 20_000 and test.title == f"synfacs/test of fold {fold}"
        people = source.pictures(test, 32, "faces").images.ravel()
        assert people.tolist() == [int(name[1:]) for name in test.subjects]
        tested.append(set(test.subjects))
    assert asked == [20_000] * 3 and len(set.union(*tested)) == 280
