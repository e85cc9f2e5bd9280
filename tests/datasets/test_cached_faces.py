"""What lies in a cache is believed for its content: key and pixels, never for its place."""

import io
import json
import shutil
import zipfile
from functools import partial

import numpy as np
import pandas as pd
import pytest
import trees
from import_parts import PEOPLE, TASKS, bring
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from aubench.datasets import image_source
from aubench.datasets.imported.au_texts import TEXTS, attach_text, read_texts
from aubench.datasets.imported.files import INDEX, RECORD, folder_of, read_index, read_record
from aubench.datasets.synfacs.rendered_images import KEY, PIXELS, SynfacsImages
from aubench.errors import AubenchError
from aubench.evaluate.feature_cache import PixelReader, features
from aubench.protocols.protocol import load_protocol
from aubench.run.execute import RunConfig, execute
from aubench.storage.run_folder import pixel_digest
from aubench.synfacs.render import render_key

SIZE = 32


@pytest.fixture(scope="module")
def keys():
    """Two faces of one subject."""
    return [str(key) for key in load_protocol("conflict").samples().frame["target"][:2]]


@pytest.fixture
def faces(tmp_path):
    return SynfacsImages(1, cache=tmp_path)


def told_in(path):
    with Image.open(path) as opened:
        return dict(opened.text), np.asarray(opened)


def write_as(path, pixels, told):
    """Write a picture that says of itself what it is told to."""
    about = PngInfo()
    for name, text in told.items():
        about.add_text(name, text)
    Image.fromarray(pixels).save(path, pnginfo=about)


def test_a_whole_picture_of_something_else_is_made_again(faces, keys):
    a, b = keys
    one, other = faces.load(a, SIZE), faces.load(b, SIZE)
    shutil.copy(faces._path(b, SIZE), faces._path(a, SIZE))
    np.testing.assert_array_equal(faces.load(a, SIZE), one)
    np.testing.assert_array_equal(faces._read(a, SIZE), one)
    assert (one != other).any()


def test_a_picture_without_key_or_with_other_pixels_is_made_again(faces, keys):
    one, path = faces.load(keys[0], SIZE), faces._path(keys[0], SIZE)
    told, _ = told_in(path)
    assert set(told) == {KEY, PIXELS} and keys[0] in told[KEY]
    for claims in ({}, {KEY: told[KEY]}, told):
        write_as(path, 255 - one, claims)
        np.testing.assert_array_equal(faces.load(keys[0], SIZE), one)
        assert told_in(path)[0] == told


def test_a_pack_of_other_faces_is_made_again(faces, keys):
    a, b = ([key] for key in keys)
    one, path = faces.packed(a, SIZE, ""), faces._pack_path(a, SIZE)
    faces.packed(b, SIZE, "")
    shutil.copy(faces._pack_path(b, SIZE), path)
    np.testing.assert_array_equal(faces.packed(a, SIZE, ""), one)
    with path.open("wb") as stream:
        np.save(stream, 255 - one)  # a whole array, and nothing that says of what
    np.testing.assert_array_equal(faces.packed(a, SIZE, ""), one)
    np.testing.assert_array_equal(one[0], render_key(a[0], size=SIZE))


class Mean:
    name, id, sha256 = "mean", "mean.1", "0" * 64
    passes = 0

    def __call__(self, images):
        self.passes += 1
        return {"mean": images.reshape(len(images), -1).mean(1, dtype=np.float32)}


class Source:
    """One-coloured pictures, whatever their values under one fingerprint."""

    fingerprint = "always the same"

    def __init__(self, *values):
        self.values = values

    def load_many(self, keys, size):
        out = np.empty((len(keys), size, size, 3), np.uint8)
        out[:] = np.array([self.values[int(key)] for key in keys])[:, None, None, None]
        return out


def test_features_are_kept_for_the_pixels_that_were_read(tmp_path):
    network, keys = Mean(), ["0", "1"]

    def seen(source):
        reader = PixelReader(source, 4)
        paths = {"mean": tmp_path / "mean.safetensors"}
        digest = partial(reader.digest, keys)
        return features(keys, reader.load, [network], paths, digest, "")["mean"]["mean"].tolist()

    assert seen(Source(1, 2)) == [1, 2] == seen(Source(1, 2)) and network.passes == 1
    assert seen(Source(9, 2)) == [9, 2] and network.passes == 2
    assert seen(Source(1, 2)) == [1, 2] and network.passes == 3


def test_a_picture_that_changes_while_it_is_measured_is_refused():
    source = Source(1, 2)
    reader = PixelReader(source, 4)
    reader.load(["0"])
    source.values = (3, 2)
    with pytest.raises(AubenchError, match="image 0 changed while it was measured"):
        reader.load(["0"])


def test_scores_do_not_stay_poisoned_once_a_face_is_mended(tmp_path, monkeypatch):
    """A forged face, its key and digest made to fit, misleads one run and none after it."""
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))

    def scored(name):
        metrics = ("fid", "pixels")
        asked = RunConfig("oracle", "conflict", tmp_path / name, limit=6, metrics=metrics)
        return execute(asked).content()["scores"]

    clean = scored("clean")
    target = str(load_protocol("conflict").samples().limit(6).frame["target"].iloc[0])
    path = image_source("synfacs")._path(target, 128)
    whole, (told, pixels) = path.read_bytes(), told_in(path)
    write_as(path, 255 - pixels, told | {PIXELS: pixel_digest(255 - pixels)})
    shutil.copytree(tmp_path / "clean", tmp_path / "poisoned")
    assert scored("poisoned") != clean
    path.write_bytes(whole)
    assert scored("poisoned") == clean == scored("mended")


@pytest.fixture(scope="module")
def brought(aubench_home, tmp_path_factory):
    """The folder of a home with an import of three subjects."""
    home = tmp_path_factory.mktemp("imported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUBENCH_HOME", str(home))
        bring("bp4d", trees.write_bp4d(home / "source", trees.shots(PEOPLE, TASKS, 4)))
        attach_text("bp4d", 1)
    return home


@pytest.fixture
def imported(brought, tmp_path, monkeypatch):
    shutil.copytree(brought, tmp_path / "home")
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    return folder_of("bp4d")


def test_a_whole_import_is_read(imported):
    frame = read_index("bp4d")
    assert len(read_texts("bp4d")) == frame["sample"].sum() > 0
    assert image_source("bp4d").load_many(list(frame["key"][:2]), 32).shape == (2, 32, 32, 3)


def test_an_index_that_was_changed_is_refused(imported):
    path = imported / INDEX
    frame = pd.read_parquet(path)
    frame["AU12"] = np.int8(1) - frame["AU12"].abs()
    frame.to_parquet(path, index=False)
    with pytest.raises(AubenchError, match=rf"{INDEX} was changed since the import; import again"):
        read_index("bp4d")


def test_a_record_of_an_import_that_was_changed_is_refused(imported):
    path = imported / RECORD
    data = json.loads(path.read_text())
    data["attributes"] = {}
    path.write_text(json.dumps(data))
    with pytest.raises(AubenchError, match=rf"{RECORD} was changed since the import"):
        read_record("bp4d")


def test_texts_that_were_changed_are_refused(imported):
    table = pd.read_parquet(imported / TEXTS)
    table["text"] = table["text"].iloc[::-1].to_numpy()
    table.to_parquet(imported / TEXTS, index=False)
    with pytest.raises(AubenchError, match=rf"{TEXTS} was changed since the texts were attached"):
        read_texts("bp4d")


def test_a_face_that_is_another_one_is_refused(imported):
    frame = read_index("bp4d")
    pack = imported / "packs" / str(frame["pack"].iloc[0])
    with zipfile.ZipFile(pack) as stream:
        held = {name: stream.read(name) for name in stream.namelist()}
    name = next(name for name in held if name.startswith("faces/"))
    with Image.open(io.BytesIO(held[name])) as opened:
        other, turned = io.BytesIO(), opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned.save(other, format="PNG")
    held[name] = other.getvalue()
    with zipfile.ZipFile(pack, "w") as stream:
        for name, data in held.items():
            stream.writestr(name, data)
    images = image_source("bp4d")
    with pytest.raises(AubenchError, match=r"holds another picture as bp4d/.*; import again"):
        images.load_many([str(key) for key in frame["key"]], 32)
