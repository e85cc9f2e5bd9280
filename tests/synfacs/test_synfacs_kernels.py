"""The compiled loops against plain numpy and closed forms."""

import subprocess
import sys

import numpy as np
import pytest

from aubench.synfacs.anatomy import normals
from aubench.synfacs.anatomy.head import HIGH, WIDE
from aubench.synfacs.rendering import kernels
from aubench.synfacs.rendering.raster import interpolate, rasterize

F32 = np.float32


def test_a_place_without_room_for_compiled_code_still_renders(tmp_path):
    """A package that is read-only, for a user whose home is too, as in many containers."""
    code = """
import numpy as np
from numba.core import caching
named = "CacheImpl" if hasattr(caching, "CacheImpl") else "_CacheImpl"
getattr(caching, named)._locator_classes = []
from aubench.synfacs.rendering.raster import interpolate
values, triangle = np.array([[1], [2], [3]], "f4"), np.array([[0, 1, 2]], "i4")
half = np.array([[0.5, 0.5, 0.0]], "f4")
assert type(interpolate._cache).__name__ == "NullCache"
assert interpolate(values, triangle, np.array([0], "i4"), half).tolist() == [[1.5]]
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def unit_rows(rng, n):
    v = rng.standard_normal((3, n)).astype(F32)
    return v / np.linalg.norm(v, axis=0)


def test_normals_of_an_octahedron_point_outwards():
    V = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], F32)
    tris = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4],
                     [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]], np.int32)  # fmt: skip
    np.testing.assert_allclose(normals.vertex_normals(V, tris), V, atol=1e-6)


def test_pixel_means_of_a_partly_covered_image():
    rng = np.random.default_rng(1)
    side = 10
    hit = np.sort(rng.choice(side * side, 61, replace=False))
    values = rng.standard_normal(61).astype(F32)
    whole = np.zeros(side * side)
    whole[hit] = values
    expected = whole.reshape(5, 2, 5, 2).mean((1, 3))
    np.testing.assert_allclose(kernels.pixel_means(values, hit, side), expected, atol=1e-6)


def test_texels_stay_on_the_plane():
    u = np.array([-9, -1.5, 0.0025, 1.4999, 9], F32)
    v = np.array([-9, 6.0, 7.0025, 8.3999, 99], F32)
    index = kernels.texels(u, v, WIDE, HIGH)
    row, column = index // WIDE, index % WIDE
    assert column.tolist() == [0, 0, 300, WIDE - 1, WIDE - 1]
    assert row.tolist() == [0, 0, 200, HIGH - 1, HIGH - 1]


def lit(bump, **change):
    n = bump.shape[1]
    given = dict(
        lit=np.ones(n, F32),
        lit_red=np.ones(n, F32),
        sky=np.ones(n, F32),
        gloss=np.ones(n, F32),
        key=np.array([0, 0, 1], F32),
        fill=np.array([0, 0, 1], F32),
        rim=np.array([0, 0, 1], F32),
        half_key=np.array([0, 0, 1], F32),
        half_fill=np.array([0, 0, 1], F32),
        key_colour=np.ones(3, F32),
        fill_colour=np.zeros(3, F32),
        rim_power=F32(0),
        ambient=F32(0),
        fill_shine=F32(0),
    )
    return kernels.illuminate(bump, bump, **{**given, **change})


def test_light_straight_on_and_from_behind():
    towards, away = np.array([[0], [0], [1]], F32), np.array([[0], [0], [-1]], F32)
    light, shine = lit(towards)
    np.testing.assert_allclose(light[:, 0], 1.0, atol=1e-6)
    # (x16 * 0.8 + x64 * 1.6) * fresnel(0) * 2.2 at x = 1
    assert shine[0] == pytest.approx(2.4 * 0.04 * 2.2, rel=1e-5)
    light, shine = lit(away)
    assert (light == 0).all() and (shine == 0).all()


def test_red_reaches_furthest_round_the_edge():
    edge = np.array([[1], [0], [0]], F32)  # at a right angle to the key light
    light, _ = lit(edge)
    assert light[0, 0] > light[1, 0] > light[2, 0] > 0


def test_shadow_takes_the_key_light_but_not_the_sky():
    bump = unit_rows(np.random.default_rng(2), 50)
    dark = np.zeros(50, F32)
    light, shine = lit(bump, lit=dark, lit_red=dark, ambient=F32(0.4))
    np.testing.assert_allclose(light[0], 0.4 * (0.72 + 0.28 * bump[1]), atol=1e-5)
    np.testing.assert_allclose(light[0], light[2], atol=1e-6)
    assert (shine == 0).all()


def skin(height, **change):
    """Material of one sample at texel (10, 10) of an otherwise flat plane."""
    one = np.ones(1, F32)
    texture = np.zeros((1, 8), F32)
    texture[0, :3] = 0.5, 0.4, 0.3
    texture[0, 7] = 1
    given = dict(
        normal=np.array([[0], [0], [1]], F32),
        lips=0 * one,
        inside=0 * one,
        skin=np.array([True]),
        cloth=np.array([False]),
        eye=np.array([False]),
        texel=np.array([10 * 20 + 10]),
        texture=texture,
        height=height,
        hollow=np.zeros_like(height),
        across=np.array([1, 0, 0], F32),
        up=np.array([0, 1, 0], F32),
        on_across=0 * one,
        on_up=0 * one,
        stain=np.array([0, 0.4, 0.4], F32),
        dark=np.array([0.1, 0, 0], F32),
        fabric=np.array([0.2, 0.2, 0.9], F32),
    )
    return kernels.material(**{**given, **change})


def test_a_slope_tilts_the_normal_down_the_slope():
    height = np.tile(np.arange(20, dtype=F32) * F32(0.001), (20, 1))  # rises along u
    _, bump, _ = skin(height)
    assert bump[0, 0] == pytest.approx(-0.2, abs=1e-4)  # 0.001 dm a texel of 0.005 dm
    assert bump[1, 0] == 0 and bump[2, 0] == 1
    _, flat, _ = skin(height, skin=np.array([False]))  # no furrows on eyes and teeth
    assert flat[0, 0] == 0


def test_cavities_darken_lips_redden_and_cloth_covers():
    flat = np.zeros((20, 20), F32)
    albedo, _, gloss = skin(flat)
    np.testing.assert_allclose(albedo[:, 0], [0.5, 0.4, 0.3])
    assert gloss[0] == 1
    hollow = flat.copy()
    hollow[10, 10] = 1
    deep, _, _ = skin(flat, hollow=hollow)
    assert deep[0, 0] == pytest.approx(0.5 * 0.68) and deep[1, 0] == pytest.approx(0.4 * 0.68 * 0.9)
    lip, _, wet = skin(flat, lips=np.ones(1, F32))
    np.testing.assert_allclose(lip[:, 0], [0.5, 0.24, 0.18], atol=1e-6)
    assert wet[0] == pytest.approx(2.6)
    cloth, _, dull = skin(flat, cloth=np.array([True]))
    np.testing.assert_allclose(cloth[:, 0], [0.2, 0.2, 0.9])
    assert dull[0] == pytest.approx(0.15)
    _, _, eye = skin(flat, eye=np.array([True]))
    assert eye[0] == 0


def test_scatter_mixes_only_under_skin():
    albedo = np.ones((3, 2), F32)
    light = np.zeros((3, 2), F32)
    soft = np.ones((3, 2, 2), F32)
    args = (np.array([True, False]), np.zeros(2, F32), np.ones(3, F32), np.array([0, 15]), 4, 2)
    np.testing.assert_allclose(
        kernels.scatter(albedo, light, soft, *args).T, [[0.5, 0.3, 0.22], [0, 0, 0]], atol=1e-6
    )


def test_rasteriser_keeps_the_nearer_triangle_and_interpolates():
    P = np.array([[0, 0, 5], [0, 8, 5], [8, 0, 5], [0, 0, 2], [0, 4, 2], [4, 0, 2]], F32)
    tris = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    hit, owner, weights = rasterize(P, tris, 8, 8, cull=True)
    seen = np.full(64, -1)
    seen[hit] = owner
    seen = seen.reshape(8, 8)
    assert seen[0, 0] == 1 and seen[0, 5] == 0 and seen[7, 7] == -1
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    places = interpolate(P, tris, owner, weights)
    np.testing.assert_allclose(places[0], hit % 8 + 0.5, atol=1e-4)
    np.testing.assert_allclose(places[1], hit // 8 + 0.5, atol=1e-4)
    backwards, _, _ = rasterize(P, tris[:, ::-1].copy(), 8, 8, cull=True)
    assert len(backwards) == 0
