"""VQ-AUFace, training data and settings: folders, lists, references, appendix D."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from vqauface.networks.encoders import load_encoders
from vqauface.presets import preset
from vqauface.settings import SCHEDULES, settings_for
from vqauface.training.data import (
    FilePictures,
    open_faces,
    read_image,
    reference_rows,
)
from vqauface.training.fit import planned
from vqauface.training.stage_one import encode_all
from vqauface_parts import faces, loop, pixels, write_folder

from aubench.datasets.labelled_faces import ArrayPictures
from aubench.errors import AubenchError
from aubench.generators.contract import Training


def test_appendix_d_is_the_paper_preset():
    first, second, _ = SCHEDULES["paper"]
    assert (first.rate, first.batch, first.steps, first.adamw) == (3e-4, 240, 150_000, False)
    assert (second.rate, second.batch, second.epochs, second.adamw) == (3e-4, 16, 8, False)
    assert second.counted(302_169).steps == 8 * 18_886
    assert (first.perceptual, first.detector) == ("vgg16", "me-graphau:resnet50:mefl")


def test_settings_are_checked(tmp_path):
    with pytest.raises(AubenchError, match=r"no setting 'bacth' \(did you mean 'batch'"):
        settings_for("nano", 1, {"bacth": "3"})
    with pytest.raises(AubenchError, match="--set batch=many is not a whole number"):
        settings_for("nano", 1, {"batch": "many"})
    with pytest.raises(AubenchError, match="batch is 0"):
        settings_for("nano", 1, {"batch": "0"})
    with pytest.raises(AubenchError, match="float16 needs a GPU"):
        loop(tmp_path, 1, given={"precision": "float16"})
    with pytest.raises(AubenchError, match="cannot be cut into 32 parts"):
        loop(tmp_path, 1, given={"accumulate": "32"})
    shape, settings = settings_for("nano", 1, {"widths": "32,64,64", "betas": "0.5,0.9"}, steps=7)
    assert shape.steps == 6 and shape.widths == (32, 64, 64)  # decoding steps are others
    assert settings.betas == (0.5, 0.9) and settings.steps == 7
    assert settings_for("nano", 1, {"decoding_steps": "9"})[0].steps == 9


def test_folders_are_read_with_the_papers_reference_rule(tmp_path):
    data = open_faces(str(write_folder(tmp_path / "data")), 32, None, 1, 0)
    assert len(data) == 20 and data.targets.take([3]).shape == (1, 32, 32, 3)
    assert isinstance(data.targets, FilePictures) and len(data.references) == 2
    assert data.references.names == ("01.png", "06.png")  # B's first, A's neutral one
    assert [data.references.names[r] for r in data.rows[:2]] == ["06.png", "01.png"]
    assert len(data.texts[0]) == 6 and data.texts[0][0] != ""
    other = open_faces(str(tmp_path / "data"), 24, None, 1, 0)
    assert other.fingerprint != data.fingerprint


def test_reference_is_neutral_or_the_first():
    labels = np.array([[1] * 12, [0] * 12, [1] * 12, [np.nan] * 12, [0] * 12], np.float32)
    rows = reference_rows(["a", "a", "b", "b", "a"], labels, 0)
    assert rows[0] in (1, 4) and rows[0] == rows[1] == rows[4] and list(rows[2:4]) == [2, 2]
    drawn = {int(reference_rows(["a"] * 5, labels, seed)[0]) for seed in range(20)}
    assert drawn == {1, 4}


FAULTS = [
    ("AU12", "AU13", r"has no column 'AU12'"),
    ("05.png", "55.png", r"line 7: no image .*55.png"),
    (",1,", ",2,", r"line 2: AU\d+ is '2'; write 0, 1, or 9"),
]


@pytest.mark.parametrize(("old", "new", "expected"), FAULTS)
def test_faults_of_a_folder_name_file_and_row(tmp_path, old, new, expected):
    folder = write_folder(tmp_path / "data")
    path = folder / "samples.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(AubenchError, match=expected):
        open_faces(str(folder), 32, None, 1, 0)


def test_images_of_another_shape_name_the_remedy(tmp_path):
    folder = write_folder(tmp_path / "data", size=24)
    with pytest.raises(AubenchError, match=r"00.png has 24 x 24 .*aubench data align"):
        open_faces(str(folder), 32, None, 1, 0).targets.take([0])
    (folder / "00.png").write_bytes(b"no image")
    with pytest.raises(AubenchError, match=r"00.png cannot be decoded"):
        open_faces(str(folder), 24, None, 1, 0).targets.take([0])
    with pytest.raises(AubenchError, match=r"no data 'synfac' .did you mean 'synfacs'"):
        open_faces("synfac", 32, None, 1, 0)
    with pytest.raises(AubenchError, match=r"neither samples.csv nor list/"):
        open_faces(str(tmp_path), 32, None, 1, 0)


def test_lists_of_me_graphau_are_read(tmp_path):
    folder = tmp_path / "bp4d"
    (folder / "list").mkdir(parents=True)
    for part, who in (("train", "F001"), ("test", "M001")):
        (folder / "img" / who).mkdir(parents=True)
        for k, image in enumerate(pixels(3, size=32)):
            Image.fromarray(image).save(folder / "img" / who / f"{k}.png")
        stem = folder / "list" / f"BP4D_{part}"
        Path(f"{stem}_img_path_fold1.txt").write_text("".join(f"{who}/{k}.png\n" for k in range(3)))
        rows = ["1 0 0 0 0 0 0 0 0 0 0 9", "0 " * 11 + "0", "0 0 0 1 0 0 1 0 0 0 0 0"]
        Path(f"{stem}_label_fold1.txt").write_text("\n".join(rows) + "\n")
    data = open_faces(str(folder), 32, None, 1, 0)
    assert len(data) == 3 and len(data.references) == 1
    np.testing.assert_array_equal(data.references.take([0])[0], pixels(3, size=32)[1])
    assert np.isnan(data.labels[0, 11]) and data.labels[2, 6] == 1


def test_encoders_are_frozen_and_see_an_image_once(tmp_path):
    given = {"appearance": "nano-id", "structure": "clip", "clip": "tiny", "clip_file": "random"}
    two = loop(tmp_path, 2, "tiny-flat", given)
    before = {k: v.clone() for k, v in two.encoders.clip.state_dict().items()}
    calls = []
    real = two.encoders.features
    two.encoders.features = lambda image: calls.append(len(image)) or real(image)
    two.run()
    assert sum(calls) == 5  # references, not samples
    assert all(torch.equal(v, before[k]) for k, v in two.encoders.clip.state_dict().items())
    assert not any(p.requires_grad for p in two.encoders.clip.parameters())
    shape = preset("tiny-flat")
    assert load_encoders(shape, "cpu").ids.keys() == {"text encoder"}


def test_planned_settings_take_the_seed_once():
    training = Training("tiny", "synfacs", Path("x"), 1, 9, 0)
    assert planned(training, 1)[1].seed == SCHEDULES["tiny"][0].seed
    assert planned(replace(training, seed=8), 1)[1].seed == 8
    assert planned(training, 2)[1].steps == 9
    assert asdict(planned(training, 2)[0]) == asdict(preset("tiny"))


def test_stage_one_draws_from_targets_and_references():
    images = pixels(6)
    found = faces(images).either(np.array([7, 0, 5, 6]))
    np.testing.assert_array_equal(found, images[[1, 0, 5, 0]])


def test_a_photograph_that_is_stored_turned_is_set_upright(tmp_path):
    """By every reader of training images: cameras store a note in place of turned pixels."""
    from aubench_baselines.sd15_lora.data import read_image as of_stable_diffusion

    from aubench.networks.detectors.faces import from_files

    rng = np.random.default_rng(0)
    upright = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    note = Image.Exif()
    note[0x0112] = 6  # to be turned clockwise by a quarter
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=note)
    listed = from_files(tmp_path, ["a.png"], np.zeros((1, 12), np.int8), ["s"])
    for found in (
        read_image(tmp_path / "a.png", 64),
        of_stable_diffusion(tmp_path / "a.png", 64),
        listed.image(0),
    ):
        np.testing.assert_array_equal(found, upright)


@pytest.mark.parametrize(("entries", "kind"), [(2**15, torch.int16), (2**16, torch.int32)])
def test_codes_of_large_books_do_not_overflow(entries, kind):
    class Codec(torch.nn.Module):
        def codes(self, x):
            return torch.full((len(x), 4, 2), entries - 1)

    codec = Codec()
    codec.entries = entries
    images = ArrayPictures(np.zeros((3, 8, 8, 3), np.uint8))
    found = encode_all(codec, images)
    assert found.dtype == kind and (found == entries - 1).all()
