"""py-feat: its weights cannot travel, so its documented interface stands in for it."""

import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.detectors import load_detector


def test_absent_pyfeat_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "feat", None)
    with pytest.raises(AubenchError) as error:
        load_detector("py-feat")
    assert str(error.value) == "py-feat is not installed; pip install 'aubench[pyfeat]'"
    with pytest.raises(AubenchError, match="unknown model 'xgboost' of py-feat"):
        load_detector("py-feat:xgboost")


def test_old_pyfeat_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "feat", types.SimpleNamespace(__version__="0.6.2"))
    with pytest.raises(AubenchError, match=r"py-feat 0.6.2 is too old"):
        load_detector("py-feat")


def stand_in(resources, answer):
    """Modules of py-feat's interface: ``answer`` gives the faces of an image file."""

    class Detectorv1:
        def __init__(self, **options):
            self.options = options

        def detect(self, inputs, data_type, batch_size, num_workers, progress_bar):
            assert data_type == "image" and batch_size == 1
            return pd.DataFrame([face for path in inputs for face in answer(path)])

    class Detectorv2(Detectorv1):
        """The signature of py-feat 2.1.5."""

        def __init__(self, device, identity_model, multitask_weights, amp):
            super().__init__(identity_model=identity_model, file=multitask_weights, amp=amp)

    io = types.SimpleNamespace(get_resource_path=lambda: str(resources))
    feat = types.SimpleNamespace(__version__="2.1.5", Detectorv1=Detectorv1, Detectorv2=Detectorv2)
    return feat, io


def test_pyfeat_rows_are_the_surest_faces(monkeypatch, tmp_path):
    from PIL import Image

    columns = [f"AU{au:02d}" for au in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24)]

    def answer(path):
        shade = int(np.asarray(Image.open(path))[0, 0, 0])
        if shade == 0:
            return []
        if shade == 1:
            return [{"input": path, "FaceScore": np.nan} | dict.fromkeys(columns, np.nan)]
        faces = [(0.6, 0.5), (0.9, shade / 1000), (0.7, 0.4)]
        return [
            {"input": path, "FaceScore": score} | {c: add + int(c[2:]) / 100 for c in columns}
            for score, add in faces
        ]

    weights = tmp_path / "models--py-feat--xgb_au/snapshots/abc"
    weights.mkdir(parents=True)
    (weights / "xgb_au_classifier.skops").write_bytes(b"one")
    feat, io = stand_in(tmp_path, answer)
    monkeypatch.setitem(sys.modules, "feat", feat)
    monkeypatch.setitem(sys.modules, "feat.utils.io", io)
    detector = load_detector("py-feat")
    assert detector.model.options["identity_model"] is None
    assert detector.name == "py-feat:xgb" and "|2.1.5|" in detector.id and detector.mask.all()
    images = (
        np.zeros((4, 8, 8, 3), np.uint8) + np.array([20, 0, 1, 30], np.uint8)[:, None, None, None]
    )
    p = detector.probabilities(images)
    np.testing.assert_allclose(p[0], 0.02 + np.array(AUS) / 100, rtol=1e-6)
    np.testing.assert_allclose(p[3], 0.03 + np.array(AUS) / 100, rtol=1e-6)
    assert np.isnan(p[1:3]).all() and p.dtype == np.float32
    assert detector.probabilities(images[:0]).shape == (0, 12)
    with pytest.raises(AubenchError, match="no AU features"):
        detector.features(torch.zeros(1, 3, 8, 8))
    (weights / "xgb_au_classifier.skops").write_bytes(b"two")
    assert load_detector("py-feat").id != detector.id


def test_pyfeats_multitask_network(monkeypatch, tmp_path):
    """Its answer has more AUs and columns than ours; its weights may come from a file."""

    def answer(path):
        numbers = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
        face = {"input": path, "FaceScore": 0.8, "frame": 0, "valence": 0.1, "Identity": "x"}
        return [face | {f"AU{au:02d}": au / 100 for au in numbers}]

    for name in ("face_multitask_v2", "xgb_au"):
        weights = tmp_path / f"models--py-feat--{name}/snapshots/abc"
        weights.mkdir(parents=True)
        (weights / "file").write_bytes(name.encode())
    feat, io = stand_in(tmp_path, answer)
    monkeypatch.setitem(sys.modules, "feat", feat)
    monkeypatch.setitem(sys.modules, "feat.utils.io", io)
    detector = load_detector("py-feat:multitask")
    assert detector.name == "py-feat:multitask" and detector.mask.all()
    assert detector.model.options == {"identity_model": None, "file": None, "amp": False}
    p = detector.probabilities(np.zeros((2, 8, 8, 3), np.uint8))
    np.testing.assert_allclose(p, np.tile(np.array(AUS) / 100, (2, 1)), rtol=1e-6)
    own = tmp_path / "own.safetensors"
    own.write_bytes(b"other")
    other = load_detector("py-feat:multitask", weights=own)
    assert other.model.options["file"] == str(own) and other.id != detector.id
    (tmp_path / "models--py-feat--xgb_au/snapshots/abc/file").write_bytes(b"changed")
    assert load_detector("py-feat:multitask").id == detector.id
    with pytest.raises(AubenchError, match="py-feat:svm takes no file"):
        load_detector("py-feat:svm", weights=own)
    with pytest.raises(AubenchError, match="has no file"):
        load_detector("py-feat:multitask", weights=tmp_path / "none")
    del feat.Detectorv2
    with pytest.raises(AubenchError, match="has no multitask network"):
        load_detector("py-feat:multitask")


def test_pyfeat_without_network(monkeypatch):
    class Detectorv1:
        def __init__(self, **options):
            raise FileNotFoundError("cannot find the requested files\nmore")

    monkeypatch.setitem(sys.modules, "feat", types.SimpleNamespace(Detectorv1=Detectorv1))
    with pytest.raises(AubenchError, match="cannot get its weights: cannot find the requested"):
        load_detector("py-feat:svm")
