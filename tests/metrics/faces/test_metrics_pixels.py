"""RMS, PSNR, SSIM: closed forms, the definition written out, what a run reports."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from aubench.metrics.faces.pixels import psnr, rms, ssim
from aubench.records.record import read_record


def images(seed, count=3, side=32):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def test_rms_and_psnr_in_closed_form():
    made = np.full((2, 16, 16, 3), 100, np.uint8)
    target = np.full((2, 16, 16, 3), 100, np.uint8)
    target[1] = 110
    np.testing.assert_allclose(rms(made, target), [0, 10])
    value = psnr(rms(made, target))
    assert np.isnan(value[0]) and value[1] == pytest.approx(20 * np.log10(25.5))
    assert psnr(np.array([255.0]))[0] == pytest.approx(0)


def test_ssim_by_its_definition():
    """Means, variances and covariance under the Gaussian window, written out."""
    a, b = images(1), images(2)
    b = ((a.astype(int) + b) // 2).astype(np.uint8)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    for i in range(len(a)):
        values = []
        for k in range(3):
            x, y = a[i, ..., k].astype(float), b[i, ..., k].astype(float)

            def blur(z):
                return gaussian_filter(z, 1.5, truncate=3.5)

            mx, my = blur(x), blur(y)
            vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
            local = ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            values.append(local[5:-5, 5:-5].mean())
        assert ssim(a[i : i + 1], b[i : i + 1])[0] == pytest.approx(np.mean(values), rel=1e-6)
    np.testing.assert_allclose(ssim(a, a), 1)


def test_shapes_types_and_small_images_are_refused():
    with pytest.raises(ValueError, match="two uint8"):
        rms(images(1), images(1, side=16))
    with pytest.raises(ValueError, match="two uint8"):
        ssim(images(1).astype(float), images(1))
    with pytest.raises(ValueError, match="at least 11 px"):
        ssim(images(1, side=8), images(2, side=8))


def test_a_full_run_reports_them(aubench, tmp_path):
    words = ("run", "--protocol", "test2k", "--limit", 8)
    aubench(*words, "--model", "oracle", "--metrics", "pixels", "--out", "a", check=0)
    oracle = read_record(tmp_path / "a" / "record.json")
    assert oracle.score("rms").value == 0 and oracle.score("ssim").value == pytest.approx(1)
    assert oracle.score("psnr").value is None and "8 identical" in oracle.score("psnr").note
    aubench(*words, "--model", "copy-reference", "--metrics", "pixels", "--out", "b", check=0)
    copy = read_record(tmp_path / "b" / "record.json")
    assert 0 < copy.score("rms").value < 40 and 0.5 < copy.score("ssim").value < 1
    aubench(*words, "--model", "oracle", "--metrics", "control", "--out", "c", check=0)
    record = read_record(tmp_path / "c" / "record.json")
    assert record.score("leakage").value == 0 and record.score("au_ap").value > 0.9
    table = (tmp_path / "c" / "leakage.csv").read_text().splitlines()
    assert len(table) == 25 and len(table[1].split(",")) == 14
    done = aubench(*words, "--model", "oracle", "--profile", "fuller", check=2)
    assert "--profile" in done.stderr
