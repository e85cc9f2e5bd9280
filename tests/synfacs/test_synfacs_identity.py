"""Subjects: own streams, disjoint looks, and the subdivision behind the mesh."""

import numpy as np
import pytest

from aubench._maintain.bake_head import read_target, subdivide
from aubench.synfacs.anatomy import identity as module
from aubench.synfacs.anatomy.identity import shape
from aubench.synfacs.anatomy.looks import looks, stream


def test_one_attribute_cannot_shift_another(monkeypatch):
    before = looks("S033")

    def thirsty(*name):
        draw = stream(*name)
        if name[-1] == "sex":
            draw.random(7)  # as if an earlier version had drawn more here
        return draw

    monkeypatch.setattr(module, "stream", thirsty)
    after = looks("S033")
    assert after.race == before.race and after.age == before.age and after.tilt == before.tilt
    assert after.melanin == before.melanin and after.haemoglobin == before.haemoglobin


def test_names_of_streams_do_not_run_together():
    assert stream("S001", "a", "b").random() != stream("S001", "ab").random()
    assert stream("S0011").random() != stream("S001", "1").random()


def test_no_two_subjects_share_a_face():
    meshes = [shape(name, looks(name)) for name in ("S000", "S001", "S150", "S279", "S280", "S399")]
    for i, first in enumerate(meshes):
        for second in meshes[:i]:
            assert np.abs(first - second).max() > 0.03  # 3 mm somewhere


def test_a_cube_becomes_its_catmull_clark_surface():
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    faces = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4],
                      [1, 5, 7, 3]])  # fmt: skip
    S, quads, part = subdivide(8, faces, np.arange(6))
    fine = S @ corners
    assert fine.shape == (26, 3) and quads.shape == (24, 4)
    np.testing.assert_allclose(np.abs(fine[:8]), 5 / 9)  # the vertex rule on a cube
    np.testing.assert_allclose(np.sort(np.abs(fine[8:20]), 1), [[0, 0.75, 0.75]] * 12)
    np.testing.assert_allclose(np.abs(fine[20:]).sum(1), 1)
    assert np.bincount(part).tolist() == [4] * 6
    np.testing.assert_allclose(np.asarray(S.sum(1)).ravel(), 1)


def test_targets_are_read_plain_and_compressed(tmp_path):
    import gzip

    text = "# by hand\n3 0.1 -0.2 0.3\n\n12 0 0 1\n"
    (tmp_path / "a.target").write_text(text)
    (tmp_path / "a.target.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.target", "a.target.gz"):
        index, moved = read_target(tmp_path / name)
        assert index.tolist() == [3, 12]
        assert moved[0] == pytest.approx([0.1, -0.2, 0.3])
