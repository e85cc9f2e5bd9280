"""synfacs 2: pixels that are pinned, keys, conditions, nuisances that can be switched off."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from aubench._maintain.pin_pixels import digests
from aubench.errors import AubenchError
from aubench.facs import labels_of
from aubench.synfacs2.anatomy.head import PIXELS
from aubench.synfacs2.anatomy.looks import looks
from aubench.synfacs2.keys import SUBJECTS, format_key, parse_key
from aubench.synfacs2.render import render, renderer_id
from aubench.synfacs2.rendering.layers import CLAY, NUISANCES, Layers, without
from aubench.synfacs2.rendering.photograph import jpeg
from aubench.synfacs2.rendering.scene import scene
from aubench.synfacs2.sheet import TEXTURE_AND_CLAY, Drawing, ramp

REST = np.zeros(12)


def test_pixels_are_those_that_the_id_stands_for():
    assert digests() == json.loads(PIXELS.read_text(encoding="utf-8"))


def test_the_id_follows_the_pinned_pixels(tmp_path, monkeypatch):
    module = sys.modules["aubench.synfacs2.render"]
    other = tmp_path / "pixels.json"
    other.write_text(PIXELS.read_text(encoding="utf-8").replace("a", "b"))
    before = renderer_id()
    monkeypatch.setattr(module, "PIXELS", other)
    renderer_id.cache_clear()
    try:
        assert renderer_id() != before
    finally:
        monkeypatch.undo()
        renderer_id.cache_clear()


@pytest.mark.parametrize("condition", ["studio", "wild"])
def test_keys_come_back_whole(condition):
    values = np.where(np.arange(12) % 3 == 0, 2.3, 0).astype(np.float32)
    key = format_key("S123456", values, 42, condition)
    subject, found, seed, where = parse_key(key)
    assert (subject, seed, where) == ("S123456", 42, condition)
    assert np.allclose(found, values)


@pytest.mark.parametrize(
    "key",
    [
        "S00001/1/neutral",
        "S0001/studio-1/neutral",
        "S000001/studio-1/neutral",
        "S00001/cave-1/neutral",
        "S00001/studio-1/6=0.0",
        "S00001/studio-1/6=5.1",
        "S00001/studio-1/3=2.0",
        "S00001/studio-1/12=2.0+6=2.0",
    ],
)
def test_keys_that_are_none_are_refused(key):
    with pytest.raises(AubenchError):
        parse_key(key)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("S001", REST, 1), "unknown subject 'S001'"),
        ((f"S{SUBJECTS}", REST, 1), "unknown subject"),
        (("S00001", np.full(12, np.nan), 1), "nan of AU1"),
        (("S00001", np.eye(12)[6] * 5.1, 1), "5.1 of AU12"),
        (("S00001", REST, -1), "scene seed"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(AubenchError, match=words):
        render(*arguments)


def test_unknown_conditions_and_nuisances_are_named():
    with pytest.raises(AubenchError, match="unknown condition 'cave'"):
        render("S00001", REST, 1, condition="cave")
    with pytest.raises(AubenchError, match="unknown nuisance 'rain'"):
        without(["rain"])


def test_studio_has_no_nuisance_and_wild_has_them_all():
    assert all(
        not (s.others or s.lean or s.glasses or s.shadow or s.grooming or s.photograph.quality)
        for s in (scene(seed) for seed in range(200))
    )
    wild = [scene(seed, "wild") for seed in range(200)]
    for has in (
        lambda s: s.others,
        lambda s: s.lean,
        lambda s: s.glasses,
        lambda s: s.shadow,
        lambda s: "beard" in s.grooming,
        lambda s: s.photograph.quality,
        lambda s: abs(s.yaw) > 12,
        lambda s: s.jaw > 0.06,
        lambda s: min(s.lean.values()) == -1 or max(s.lean.values()) == 1,
    ):
        assert 5 < sum(bool(has(s)) for s in wild) < 201
    assert max(abs(s.yaw) for s in wild) <= 25


@pytest.mark.parametrize("name", NUISANCES)
def test_switching_one_nuisance_off_moves_no_other(name):
    fields = {
        "actions": {"others", "jaw_side"},
        "asymmetry": {"lean"},
        "speech": {"jaw"},
        "gaze": {"gaze"},
        "pose": {"yaw", "pitch", "roll"},
        "beard": {"grooming"},
        "makeup": {"grooming"},
        "scar": {"grooming"},
        "camera": {"photograph"},
    }.get(name, {name})
    changed = set()
    for seed in range(60):
        whole, less = scene(seed, "wild"), scene(seed, "wild", without([name]).nuisances)
        changed |= {f for f in vars(whole) if getattr(whole, f) != getattr(less, f)}
    assert changed <= fields
    assert changed


def test_layers_show_what_they_say():
    values = labels_of((1, 2, 4)) * 5.0
    old = next(f"S{n:05d}" for n in range(200) if looks(f"S{n:05d}").age > 0.6)
    whole = render(old, values, 3).astype(int)
    rest = render(old, REST, 3).astype(int)
    no_wrinkles = render(old, values, 3, layers=Layers(wrinkles=False)).astype(int)
    no_motion = render(old, values, 3, layers=Layers(motion=False)).astype(int)
    noise = 6
    assert (np.abs(whole - rest).max(2) > noise).sum() > 300
    assert (np.abs(no_wrinkles - whole).max(2) > noise).sum() > 20
    assert (np.abs(no_motion - rest).max(2) > noise).sum() > 20
    assert np.abs(no_wrinkles - rest).sum() > np.abs(no_motion - rest).sum()
    clay = render(old, values, 3, layers=CLAY).astype(float)
    spread = (clay.max(2) - clay.min(2))[40:90, 40:90]
    assert np.median(spread) < np.median((whole.max(2) - whole.min(2))[40:90, 40:90])


def test_an_image_does_not_depend_on_what_was_drawn_before():
    key = ("S00031", np.eye(12)[3] * 3, 11)
    first = render(*key, condition="wild", size=64)
    for n in range(6):
        render(f"S{n:05d}", REST, n, condition="wild", size=32)
    assert np.array_equal(first, render(*key, condition="wild", size=64))


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_jpeg_is_that_of_an_encoder(quality):
    image = render("S00005", REST, 1, size=64)
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=quality, subsampling=0)
    theirs = np.asarray(Image.open(stored)).astype(float)
    ours = np.clip(np.round(jpeg(image.astype(float), quality, (0, 0))), 0, 255)
    assert np.abs(ours - theirs).mean() < 1.1
    assert np.abs(ours - theirs).max() < 40  # a coefficient that rounds the other way
    assert np.abs(ours - image).mean() > 0.3  # it does lose something


def test_a_ramp_has_a_level_a_column_and_a_layer_a_row():
    drawing = Drawing(size=32, layers=TEXTURE_AND_CLAY)
    found = ramp(["S00001", "S00002"], "12", drawing=drawing)
    assert found.shape == (4 * 32, 6 * 32, 3)
    neutral = render("S00001", REST, 1000, size=32)
    assert np.array_equal(found[:32, :32], neutral)
    assert not np.array_equal(found[:32, 160:], neutral)
