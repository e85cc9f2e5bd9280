"""Images made elsewhere: what is read, what is refused, what a lab is handed."""

import json
import shutil
import zlib

import numpy as np
import pandas as pd
import pytest
from aubench_baselines.precomputed import Precomputed, read_image
from PIL import Image, ImageCms

from aubench.cli.main import cli
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.generators.contract import Plan, Request, SampleFailure, WeightSource

IDS = ("s-1", "s-2", "s-3")


def face(value=90, size=64):
    rng = np.random.default_rng(value)
    return rng.integers(0, 256, (size, size, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    for i, name in enumerate(IDS):
        Image.fromarray(face(i)).save(place / f"{name}.png")
    return place


def load(path, **options):
    return Precomputed.load(WeightSource(path), device="cpu", dtype="float32", **options)


def plan(ids=IDS, known=IDS, size=64):
    return Plan(tuple(ids), frozenset(known), size)


def request(name, size=64):
    return Request(name, "", None, None, None, 0, size)


def test_images_are_read_by_sample_id_in_any_order(folder):
    model = load(folder)
    model.begin(plan())
    made = model.generate([request("s-3"), request("s-1")])
    np.testing.assert_array_equal(made, np.stack([face(2), face(0)]))


def test_an_srgb_profile_and_an_upright_note_change_nothing(folder):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    note = Image.Exif()
    note[0x0112] = 1
    Image.fromarray(face(7)).save(folder / "s-2.png", icc_profile=profile, exif=note)
    np.testing.assert_array_equal(read_image(folder / "s-2.png", 64), face(7))


def test_a_table_names_files_anywhere(folder, tmp_path):
    table = tmp_path / "list.csv"
    rows = "\n".join(f"{name},mine/{name}.png" for name in reversed(IDS))
    table.write_text(f"sample_id,path\n{rows}\n")
    model = load(table)
    model.begin(plan())
    np.testing.assert_array_equal(model.generate([request("s-2")])[0], face(1))
    table.write_text("sample_id,path\ns-1,mine/s-1.png\ns-2,\n")
    with pytest.raises(AubenchError, match="line 3: it lacks"):
        load(table)


def test_the_record_tells_of_images_that_a_codec_has_seen(folder):
    assert load(folder).info.training == "unknown"
    (folder / "s-2.png").unlink()
    Image.fromarray(face(1)).save(folder / "s-2.jpeg", quality=95)
    assert load(folder).info.training == "unknown; 1 of 3 images handed in as JPEG"
    (folder / "s-2.jpeg").rename(folder / "s-2.png")  # the name does not count
    assert load(folder).info.training == "unknown; 1 of 3 images handed in as JPEG"


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [64, 256])
def test_the_record_tells_of_images_with_nothing_on_them(folder, form, size):
    Image.new("RGB", (size, size), "black").save(folder / "s-2.png", form)
    told = load(folder).info.training
    assert told.endswith("; 1 of 3 images have one colour") and ("JPEG" in told) == (form == "JPEG")


def test_jpeg_and_grey_and_palette_are_read_as_rgb(folder):
    Image.fromarray(face(5)).save(folder / "j.JPG", quality=100, subsampling=0)
    found = read_image(folder / "j.JPG", 64)
    assert found.shape == (64, 64, 3) and np.abs(found.astype(int) - face(5)).mean() < 3
    grey = Image.fromarray(face(5)).convert("L")
    grey.save(folder / "g.png")
    assert (read_image(folder / "g.png", 64) == np.asarray(grey)[..., None]).all()
    Image.fromarray(face(5)).convert("P").save(folder / "p.png")
    assert read_image(folder / "p.png", 64).shape == (64, 64, 3)
    opaque = Image.fromarray(face(5)).convert("RGBA")
    opaque.save(folder / "a.png")
    np.testing.assert_array_equal(read_image(folder / "a.png", 64), face(5))


def _remove(folder):
    (folder / "s-2.png").unlink()


def _add(folder):
    Image.fromarray(face()).save(folder / "stranger.png")


def _double(folder):
    Image.fromarray(face()).save(folder / "s-2.jpg")


def _resize(folder):
    Image.fromarray(face(size=32)).save(folder / "s-2.png")


def _cut(folder):
    path = folder / "s-2.png"
    path.write_bytes(path.read_bytes()[:2000])


def _flip(folder):
    """Spoil the checksum of the pixels, not the header."""
    path = folder / "s-2.png"
    data = bytearray(path.read_bytes())
    at = data.index(b"IDAT") + 40
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))


def _text(folder):
    (folder / "s-2.png").write_text("not an image")


def _see_through(folder):
    image = Image.fromarray(face()).convert("RGBA")
    image.putpixel((3, 3), (0, 0, 0, 10))
    image.save(folder / "s-2.png")


def _deep(folder):
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(folder / "s-2.png")


def _turned(folder):
    note = Image.Exif()
    note[0x0112] = 6
    (folder / "s-2.png").unlink()
    Image.fromarray(face(1)).save(folder / "s-2.jpg", exif=note)


def _wide(folder):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(face(1)).save(folder / "s-2.png", icc_profile=profile)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (_turned, r"s-2\.jpg is stored turned"),
        (_wide, r"s-2\.png has a colour profile other"),
        (_remove, "1 missing: s-2"),
        (_add, r"1 of no sample: stranger\.png"),
        (_double, "1 twice: s-2"),
        (_resize, r"s-2\.png is 32 by 32 pixels, not 64 by 64"),
        (_cut, r"s-2\.png cannot be decoded"),
        (_flip, r"s-2\.png cannot be decoded"),
        (_text, r"s-2\.png cannot be decoded"),
        (_see_through, r"s-2\.png has transparent pixels"),
        (_deep, r"s-2\.png has 16 bits a channel, want 8"),
    ],
)
def test_every_fault_is_named_before_anything_runs(folder, spoil, match):
    load(folder).begin(plan())
    spoil(folder)
    with pytest.raises(AubenchError, match=match):
        load(folder).begin(plan())


def test_several_faults_are_listed_together_and_many_names_are_cut(folder):
    _remove(folder)
    _add(folder)
    with pytest.raises(AubenchError, match=r"1 missing: s-2; 1 of no sample: stranger\.png"):
        load(folder).begin(plan())
    ids = [f"x-{i}" for i in range(40)]
    with pytest.raises(AubenchError, match=r"40 missing: x-0, .*, x-9 and 30 more"):
        load(folder).begin(plan(ids, [*IDS, *ids, "stranger"]))


def test_missing_images_fail_only_where_that_is_allowed(folder):
    _remove(folder)
    model = load(folder, allow_missing="true")
    model.begin(plan())
    with pytest.raises(SampleFailure, match="s-2: no image in mine"):
        model.generate([request("s-1"), request("s-2")])
    _add(folder)  # other faults are not forgiven
    with pytest.raises(AubenchError, match="of no sample"):
        load(folder, allow_missing="true").begin(plan())


def test_a_limited_run_may_leave_samples_unasked(folder):
    load(folder).begin(plan(IDS[:2]))


def test_the_card_speaks_for_the_images(folder):
    assert load(folder).info.training == "unknown" and load(folder).info.name == "images"
    (folder / "card.toml").write_text(
        'name = "their-model"\ninputs = ["au"]\nsize = 64\ntrained_on = ["BP4D"]\n'
        'metrics_in_training = ["nano-a"]\nlicence = "MIT"\n'
    )
    info = load(folder).info
    assert (info.name, info.inputs, info.size) == ("their-model", frozenset({"au"}), 64)
    assert info.trained_on == ("BP4D",) and info.metrics_in_training == ("nano-a",)
    assert Precomputed.info.name == "images"  # the class is left as it is


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('name = "vqauface"', "another model's name"),
        ('nmae = "x"', "nmae"),
        ("name = ", "not TOML"),
        ('inputs = ["sound"]', "inputs"),
        ('name = "../x"', "name"),
        ("size = -1", "size"),
    ],
)
def test_cards_that_will_not_do_are_refused(folder, text, match):
    (folder / "card.toml").write_text(text + "\n")
    with pytest.raises(AubenchError, match=match):
        load(folder)


def test_the_digest_follows_the_pixels(folder, tmp_path):
    before = load(folder).weights_sha256
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert load(moved).weights_sha256 == before
    Image.fromarray(face(77)).save(moved / "s-1.png")
    assert load(moved).weights_sha256 != before


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(AubenchError, match="needs --images"):
        load(None)
    with pytest.raises(AubenchError, match="holds no PNG"):
        load(tmp_path)
    with pytest.raises(AubenchError, match="cannot read"):
        load(tmp_path / "nowhere.csv")
    with pytest.raises(AubenchError, match="one option"):
        load(tmp_path, blur="3")


def test_a_bomb_of_pixels_is_not_decoded(folder):
    """A PNG whose header promises a huge picture is refused by its size, not unpacked."""

    def chunk(kind, data):
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    header = (60000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    packed = zlib.compress(b"\0" * 1000)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed)
    (folder / "s-2.png").write_bytes(data + chunk(b"IEND", b""))
    with pytest.raises(AubenchError, match=r"s-2\.png"):
        load(folder).begin(plan())


def run(*words):
    """Run a command in this process."""
    return cli.main([str(word) for word in words], standalone_mode=False)


@pytest.fixture
def prompts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("export-prompts", "--protocol", "label-input", "--limit", 7, "--out", "p")
    return pd.read_csv(tmp_path / "p/requests.csv")


def test_requests_hold_what_the_harness_asks(prompts, tmp_path):
    from aubench.datasets.synfacs.rendered_images import SynfacsImages
    from aubench.protocols.protocol import load_protocol

    samples = load_protocol("label-input").samples().limit(7)
    assert list(prompts["sample_id"]) == samples.frame["sample_id"].tolist()
    np.testing.assert_array_equal(prompts[[f"AU{au}" for au in AUS]], samples.labels())
    np.testing.assert_allclose(prompts[[f"I{au}" for au in AUS]], samples.intensities(), atol=1e-6)
    for column in ("text", "seed"):
        assert prompts[column].tolist() == samples.frame[column].tolist()
    shown = np.asarray(Image.open(tmp_path / "p" / prompts["reference"][3]))
    key = samples.frame["reference"].iloc[3]
    np.testing.assert_array_equal(shown, SynfacsImages().load(key, 128))
    written = (tmp_path / "p/requests.csv").read_bytes()
    run("protocol", "export", "label-input", "--limit", 7, "--out", "p")
    assert (tmp_path / "p/requests.csv").read_bytes() == written
    with pytest.raises(AubenchError, match="holds other requests"):
        run("protocol", "export", "unseen", "--limit", 7, "--out", "p")


def test_answers_are_scored_like_any_generator(prompts, tmp_path, capsys):
    """A lab that returns the reference faces must score as the control that copies them."""
    answers = tmp_path / "theirs"
    answers.mkdir()
    for row in prompts.itertuples():
        shutil.copy(tmp_path / "p" / row.reference, answers / f"{row.sample_id}.png")
    (answers / "card.toml").write_text('name = "copycat"\ninputs = ["au", "reference"]\n')
    words = ("run", "--protocol", "label-input", "--limit", 7, "--metrics", "au")
    images = (*words, "--model", "images", "--images", "theirs")
    run(*images)
    run(*words, "--model", "copy-reference")
    mine, control = (
        json.loads((tmp_path / f"runs/synfacs-label-input-{name}-limit7/record.json").read_text())
        for name in ("images-theirs", "copy-reference")
    )
    assert mine["model"]["name"] == "copycat" and mine["model"]["package"] == "aubench"
    assert mine["scores"] == control["scores"]
    assert mine["provenance"]["images_sha256"] == control["provenance"]["images_sha256"]
    (answers / f"{prompts.sample_id[2]}.png").unlink()
    with pytest.raises(AubenchError, match=r"made with other weights|1 missing"):
        run(*images)
    with pytest.raises(AubenchError, match=f"1 missing: {prompts.sample_id[2]}; add them"):
        run(*images, "--fresh")
    capsys.readouterr()
    run(*images, "--fresh", "--allow-missing")
    assert "N = 6 of 7, 1 failed" in capsys.readouterr().out
    with pytest.raises(AubenchError, match="belong to --model images"):
        run(*words, "--model", "oracle", "--images", answers)
