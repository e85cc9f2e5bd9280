"""GANimation, data files: pickles read with care, folders, tables of labels."""

import os
import pickle
import struct

import numpy as np
import pytest
import torch.nn.functional as F
from aubench_baselines.ganimation import data as ganimation_data
from aubench_baselines.ganimation import generator as ganimation
from aubench_baselines.ganimation.data import load_faces, read_openface
from aubench_baselines.ganimation.networks import (
    to_float,
)
from ganimation_parts import Bomb
from PIL import Image

from aubench.errors import AubenchError
from aubench.facs import AUS


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    place = tmp_path / "faces"
    (place / "imgs").mkdir(parents=True)
    for i in range(4):
        noise = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(noise).save(place / "imgs" / f"f{i}.png")
    (place / "train_ids.csv").write_text("\n".join(f"f{i}.png" for i in range(4)) + "\n")
    table = {f"f{i}": np.full(17, float(i)) for i in range(4)}
    (place / "aus_openface.pkl").write_bytes(pickle.dumps(table, 2))
    return place


def written_by_python_2(name, values):
    """The bytes Python 2 writes for {name: numpy array}."""
    data = np.asarray(values, "<f8").tobytes()
    return (
        b"\x80\x02}U"
        + bytes([len(name)])
        + name.encode()
        + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01K"
        + bytes([len(values)])
        + b"\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
        + b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(data))
        + data
        + b"tbs."
    )


def test_pickles_of_either_python_are_read(tmp_path):
    values = np.linspace(0, 5, 17)
    path = tmp_path / "aus.pkl"
    path.write_bytes(written_by_python_2("face", values))
    np.testing.assert_array_equal(read_openface(path)["face"], values.astype(np.float32))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"a": values, "b": list(values)}, protocol))
        for row in read_openface(path).values():
            np.testing.assert_array_equal(row, values.astype(np.float32))


@pytest.mark.parametrize(
    "value",
    [
        Bomb(os.system, ("touch bomb",)),
        Bomb(eval, ("open('bomb', 'w')",)),
        Bomb(np.load, ("x.npy",)),
        Bomb(getattr, ("x", "y")),
        {"a": Bomb(exec, ("open('bomb','w')",))},
    ],
    ids=["system", "eval", "np.load", "getattr", "exec"],
)
def test_pickles_that_would_act_are_refused(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "aus.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(AubenchError, match=r"is refused: .* is not allowed"):
        read_openface(path)
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([1, 2], "no dictionary"),
        ({"a": np.zeros(16)}, "has not 17"),
        ({}, "no dictionary"),
        ({"a": np.array(["x"] * 17)}, "has not 17"),
        ({"a": np.full(17, 6.0)}, "0..5"),
        ({"a": np.full(17, np.nan)}, "0..5"),
        ({"a": "x" * 17}, "has not 17"),
    ],
)
def test_pickles_of_something_else_are_refused(tmp_path, value, match):
    path = tmp_path / "aus.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(AubenchError, match=match):
        read_openface(path)
    path.write_bytes(pickle.dumps({"a": np.zeros(17)})[:-20])
    with pytest.raises(AubenchError, match=r"aus\.pkl"):
        read_openface(path)


def test_the_official_folder_is_read(folder):
    found = load_faces(str(folder), "intensities", 64, 0)
    assert found.numbers == ganimation.OPENFACE and len(found.numbers) == 17
    np.testing.assert_allclose(found.aus[:, 0], [0, 0.2, 0.4, 0.6], rtol=1e-6)
    assert found.images(np.array([2, 0])).shape == (2, 64, 64, 3)
    assert found.level == pytest.approx(0.4)
    labels = load_faces(str(folder), "labels", 64, 0)
    assert labels.aus[:, 5].tolist() == [0, 1, 1, 1] and labels.level == 1.0
    assert labels.fingerprint != found.fingerprint


def test_a_table_of_labels_does_in_place_of_the_pickle(folder):
    (folder / "aus_openface.pkl").unlink()
    head = "file," + ",".join(f"AU{au}" for au in AUS)
    rows = [f"f{i}.png," + ",".join("1" if k == i else "0" for k in range(12)) for i in range(4)]
    (folder / "aus.csv").write_text("\n".join([head, *rows]) + "\n")
    found = load_faces(str(folder), "labels", 64, 0)
    assert found.numbers == AUS
    np.testing.assert_array_equal(found.aus, np.eye(4, 12))
    (folder / "aus.csv").write_text("\n".join([head, "f0.png,1,2"]) + "\n")
    with pytest.raises(AubenchError, match="line 2"):
        load_faces(str(folder), "labels", 64, 0)


def test_faults_of_a_folder_are_named(folder):
    with pytest.raises(AubenchError, match="64 by 64 pixels, not 128"):
        load_faces(str(folder), "intensities", 128, 0).images(np.array([0]))
    (folder / "imgs" / "f3.png").unlink()
    with pytest.raises(AubenchError, match=r"f3\.png is missing"):
        load_faces(str(folder), "intensities", 64, 0)
    (folder / "train_ids.csv").write_text("f0.png\nf9.png\n")
    with pytest.raises(AubenchError, match=r"no AUs of f9\.png"):
        load_faces(str(folder), "intensities", 64, 0)
    (folder / "train_ids.csv").write_text("f0.png\n../f1.png\n")
    with pytest.raises(AubenchError, match="plain file name"):
        load_faces(str(folder), "intensities", 64, 0)
    with pytest.raises(AubenchError, match="no data 'nowhere'"):
        load_faces("nowhere", "intensities", 64, 0)


def test_shrinking_is_the_mean_of_blocks():
    image = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3).astype(np.uint8)
    found = ganimation_data.shrink(image, 2)
    assert found.shape == (2, 2, 2, 3)
    expected = np.rint(image[1, 2:, :2].reshape(-1, 3).mean(0))
    np.testing.assert_array_equal(found[1, 1, 0], expected)
    area = F.interpolate(to_float(image), (2, 2), mode="area")
    np.testing.assert_allclose((area.permute(0, 2, 3, 1).numpy() + 1) * 127.5, found, atol=0.51)
