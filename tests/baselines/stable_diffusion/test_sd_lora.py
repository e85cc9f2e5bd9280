"""SD 1.5 with LoRA: training and resume, adapter files, bases of three kinds."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from aubench_baselines.sd15_lora.data import Arrays
from aubench_baselines.sd15_lora.generator import SHIPPED, SD15Lora
from aubench_baselines.sd15_lora.loop import Settings, changed
from aubench_baselines.sd15_lora.train import PRESETS, Adapter, Autoencoder
from aubench_baselines.stable_diffusion.adapter import (
    NAME,
    adapter_state,
    add_adapters,
    canonical,
    read_adapter,
    write_adapter,
)
from aubench_baselines.stable_diffusion.base import SD15, load_base, write_random_base
from aubench_baselines.stable_diffusion.shapes import SHAPES
from aubench_baselines.stable_diffusion.text import encode, pieces
from PIL import Image
from sd_parts import LONG, open_base
from tiny_base import TINY

from aubench.errors import AubenchError
from aubench.generators.contract import Request, Trainable, WeightSource


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny diffusers folder of random weights."""
    return write_random_base(tmp_path_factory.mktemp("sd") / "base", TINY, half=False)


SETTINGS = Settings(
    stage=3, preset="paper", steps=6, batch=4, rate=1e-2, rank=4, seed=1, text_encoder=True
)


def pictures(count=6):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (count, 32, 32, 3)).astype(np.uint8)
    words = (("Lips are pulled up.", "A smile."), (LONG,))
    return Arrays("noise", pixels, np.arange(count) % 2, words)


def lora_file(base, folder, *, text_encoder=True, seed=3):
    """A LoRA file on a base with random values, and the pipeline it was taken from."""
    pipe = open_base(base)
    add_adapters(pipe, 4, "all", text_encoder=text_encoder)
    torch.manual_seed(seed)
    for part in (pipe.unet, pipe.text_encoder):
        for value in part.parameters():
            if value.requires_grad:
                torch.nn.init.normal_(value, std=0.2)
    path = folder / "lora.safetensors"
    write_adapter(pipe, path, torch.float32)
    return path, pipe


def request(sample_id="a", text="Lips are pulled up.", seed=5):
    return Request(sample_id, text, None, None, None, seed, 32)


def load(path, base, **options):
    given = {"base": str(base), "steps": "2", "batch": "2", **options}
    return SD15Lora.load(WeightSource(path), device="cpu", dtype="float32", **given)


def held_out(loop):
    """The loss on fixed draws."""
    rows = np.arange(loop.count())
    with torch.no_grad():
        losses = [loop.loss(rows, torch.Generator().manual_seed(k))[0] for k in range(8)]
    return float(torch.stack(losses).mean())


def cli(*words):
    """Run the command line in this process."""
    from click.testing import CliRunner

    from aubench.cli.main import cli as command

    return CliRunner().invoke(command, [str(word) for word in words])


def predicted(pipe, text="Brows are lowered."):
    """The noise that a pipeline predicts for fixed latents."""
    latents = torch.linspace(-1, 1, 4 * 16 * 16).view(1, 4, 16, 16)
    with torch.inference_mode():
        words = encode(pipe.text_encoder, [pieces(pipe.tokenizer, text, "chunk")])
        return pipe.unet(latents, 300, words).sample


def test_training_learns_and_leaves_the_base_alone(base, tmp_path):
    pipe = open_base(base)
    settings = replace(SETTINGS, steps=40, rate=2e-2, precision="float32", drop_text=0.0)
    loop = Adapter(settings, tmp_path, "cpu", pictures(2), pipe)
    first = held_out(loop)
    for _ in range(40):
        loop.step()
    assert held_out(loop) < 0.9 * first
    for name in ("unet", "text_encoder"):
        now = getattr(pipe, name).state_dict()
        kept = {k.replace(".base_layer", ""): v for k, v in now.items() if ".lora_" not in k}
        before = getattr(open_base(base), name).state_dict()
        assert set(kept) == set(before)
        assert all(torch.equal(kept[key], value) for key, value in before.items())


def test_killed_training_resumes_to_the_same_weights(base, tmp_path):
    straight = Adapter(SETTINGS, tmp_path / "a", "cpu", pictures(), open_base(base))
    straight.run()
    begun = Adapter(SETTINGS, tmp_path / "b", "cpu", pictures(), open_base(base))
    begun.run(stop=3)
    resumed = Adapter(SETTINGS, tmp_path / "b", "cpu", pictures(), open_base(base))
    resumed.resume()
    assert resumed.step_number == 3
    resumed.run()
    for key, value in straight.average.items():
        torch.testing.assert_close(resumed.average[key], value, rtol=0, atol=0)
    other = Adapter(
        replace(SETTINGS, rate=1e-3), tmp_path / "b", "cpu", pictures(), open_base(base)
    )
    with pytest.raises(AubenchError, match=r"another training \(rate was 0\.01, now 0\.001\)"):
        other.resume()
    changed = replace(pictures(), fingerprint="other noise")
    other = Adapter(SETTINGS, tmp_path / "b", "cpu", changed, open_base(base))
    with pytest.raises(AubenchError, match="data was noise, now other noise"):
        other.resume()
    (tmp_path / "b" / "stage3.checkpoint.pt").write_bytes(b"cut")
    with pytest.raises(AubenchError, match="is damaged"):
        resumed.resume()


def test_a_checkpoint_of_another_base_is_refused(base, tmp_path):
    """LoRA of one base would otherwise be finished, and shipped, on another."""
    first = Adapter(SETTINGS, tmp_path, "cpu", pictures(), open_base(base), "first")
    first.save()
    Adapter(SETTINGS, tmp_path, "cpu", pictures(), open_base(base), "first").resume()
    with pytest.raises(AubenchError, match="base was first, now second"):
        Adapter(SETTINGS, tmp_path, "cpu", pictures(), open_base(base), "second").resume()


def test_a_loss_that_is_no_number_spoils_no_weights(base, tmp_path, monkeypatch):
    loop = Adapter(SETTINGS, tmp_path, "cpu", pictures(), open_base(base))
    before = {key: value.detach().clone() for key, value in loop.trained.items()}
    real = loop.loss
    monkeypatch.setattr(loop, "loss", lambda *given: (real(*given)[0] * np.nan, {"mse": np.nan}))
    with pytest.raises(AubenchError, match="mse is nan at step 1; use a smaller rate"):
        loop.run()
    assert all(torch.equal(before[key], value) for key, value in loop.trained.items())
    assert not loop.checkpoint.exists()


def test_what_is_trained_is_looked_up_once(base, tmp_path, monkeypatch):
    loop = Adapter(SETTINGS, tmp_path, "cpu", pictures(), open_base(base))
    expected = {
        f"{part}.{key}"
        for part, module in loop.modules.items()
        for key, value in module.named_parameters()
        if value.requires_grad
    }
    assert set(loop.trained) == expected
    before = {key: value.detach().clone() for key, value in loop.trained.items()}
    monkeypatch.delattr(type(loop).__mro__[2], "_trained")
    loop.step()
    assert any(not torch.equal(before[key], value) for key, value in loop.trained.items())
    loop.save()
    loop.resume()
    loop.take_average()


def test_autoencoder_learns(tmp_path, monkeypatch):
    monkeypatch.setitem(SHAPES, "nano", TINY)
    settings = Settings(stage=1, steps=30, batch=4, rate=3e-3)
    rng = np.random.default_rng(1)
    flat = np.broadcast_to(rng.integers(40, 215, (8, 1, 1, 3)), (8, 32, 32, 3)).astype(np.uint8)
    loop = Autoencoder(settings, tmp_path, "cpu", Arrays("x", flat, np.zeros(8, int), (("",),)))
    first = held_out(loop)
    for _ in range(30):
        loop.step()
    assert held_out(loop) < 0.7 * first


def test_adapter_files_have_the_standard_layout_and_round_trip(base, tmp_path):
    from safetensors.torch import load_file

    path, pipe = lora_file(base, tmp_path)
    names = set(load_file(path))
    assert all(
        re.fullmatch(r"(unet|text_encoder\.text_model)\..*\.lora_[AB]\.weight", n) for n in names
    )
    ours, theirs = open_base(base), open_base(base)
    read_adapter(ours, path)
    theirs.load_lora_weights(str(tmp_path), weight_name=path.name)  # diffusers alone
    expected = predicted(pipe)
    assert (expected - predicted(open_base(base))).abs().max() > 1e-3
    torch.testing.assert_close(predicted(ours), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(predicted(theirs), expected, rtol=1e-4, atol=1e-5)
    short = load_base(str(base), dtype=torch.bfloat16)
    read_adapter(short, path)
    assert next(v for k, v in adapter_state(short).items()).dtype == torch.bfloat16


def test_kohya_files_are_read(base, tmp_path):
    """``lora_unet_…`` with underscores and an alpha of half the rank: half the strength."""
    from safetensors.torch import load_file, save_file

    path, pipe = lora_file(base, tmp_path, text_encoder=False)
    state = {}
    for key, value in load_file(path).items():
        layer, part = key.removeprefix("unet.").removesuffix(".weight").rsplit(".lora_", 1)
        if ".attn" not in layer:
            continue
        flat = "lora_unet_" + layer.replace(".", "_")
        state[f"{flat}.lora_{'down' if part == 'A' else 'up'}.weight"] = value
        state[f"{flat}.alpha"] = torch.tensor(2.0)
    save_file(state, tmp_path / "kohya.safetensors")
    read = open_base(base)
    read_adapter(read, tmp_path / "kohya.safetensors")
    for name, module in pipe.unet.named_modules():
        if hasattr(module, "scaling"):
            module.scaling[NAME] = 0.5 if ".attn" in name else 0.0
    torch.testing.assert_close(predicted(read), predicted(pipe), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("unet.a.attn1.to_q.lora.down.weight", "unet.a.attn1.to_q.lora_A.weight"),
        ("unet.a.attn1.processor.to_out_lora.up.weight", "unet.a.attn1.to_out.0.lora_B.weight"),
        (
            "text_encoder.b.q_proj.lora_linear_layer.up.weight",
            "text_encoder.text_model.b.q_proj.lora_B.weight",
        ),
        ("unet.a.ff.net.2.lora_A.weight", "unet.a.ff.net.2.lora_A.weight"),
    ],
)
def test_old_names_of_lora_tensors(old, new):
    assert canonical(old) == new


def test_files_that_do_not_fit_are_refused(base, tmp_path):
    from safetensors.torch import load_file, save_file

    path, _ = lora_file(base, tmp_path)
    state = load_file(path)
    key = next(k for k in state if k.endswith("to_q.lora_A.weight"))
    cases = {
        "wide": {**state, key: torch.zeros(4, 999)},
        "extra": {
            **state,
            "unet.no.such.layer.to_q.lora_A.weight": torch.zeros(4, 16),
            "unet.no.such.layer.to_q.lora_B.weight": torch.zeros(16, 4),
        },
        "half": {k: v for k, v in state.items() if k != key},
    }
    for name, content in cases.items():
        save_file(content, tmp_path / f"{name}.safetensors")
        with pytest.raises(AubenchError, match="does not fit the base"):
            read_adapter(open_base(base), tmp_path / f"{name}.safetensors")
    save_file({"unet.conv_in.weight": torch.zeros(1)}, tmp_path / "none.safetensors")
    with pytest.raises(AubenchError, match="holds no LoRA weights"):
        read_adapter(open_base(base), tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:200])
    with pytest.raises(AubenchError, match="cannot be read"):
        read_adapter(open_base(base), tmp_path / "cut.safetensors")


def test_an_image_depends_on_its_request_alone(base, tmp_path):
    path, _ = lora_file(base, tmp_path)
    model = load(path, base)
    batch = [request("a"), request("b", LONG, 6), request("c", "Brows rise.", 7), request("d")]
    made = model.generate(batch)
    assert made.shape == (4, 32, 32, 3) and made.dtype == np.uint8
    for i in range(3):
        np.testing.assert_array_equal(model.generate([batch[i]])[0], made[i])
    np.testing.assert_array_equal(made[3], made[0])  # text and seed, not the name
    assert (made[0] != made[2]).any()
    assert (model.generate([request(seed=9)])[0] != made[0]).any()
    assert model.generate([replace(request(), size=16)]).shape == (1, 16, 16, 3)


def test_words_beyond_75_tokens_count_only_when_chunked(base, tmp_path):
    path, _ = lora_file(base, tmp_path)
    one, other = request(text=LONG), request(text=LONG + "Brows rise.")
    cut, whole = load(path, base, long_text="truncate"), load(path, base)
    np.testing.assert_array_equal(cut.generate([one]), cut.generate([other]))
    assert (whole.generate([one]) != whole.generate([other])).any()


def test_trained_through_the_command_line_on_a_folder(base, tmp_path):
    """``aubench train`` on images with texts, then ``aubench run`` with what it wrote."""
    folder = tmp_path / "faces"
    folder.mkdir()
    rows = ["file_name,text"]
    for i, image in enumerate(pictures(3).pixels):
        Image.fromarray(image).resize((48, 40)).save(folder / f"{i}.png")
        rows.append(f'{i}.png,"A smile, number {i}."')
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    done = cli(
        "train",
        "sd15-lora",
        "--preset",
        "paper",
        "--data",
        folder,
        "--steps",
        "3",
        "--out",
        out,
        "--set",
        f"base={base}",
        "--set",
        "batch=2",
    )
    assert done.exit_code == 0, done.output
    weights = out / "sd15-lora-paper.safetensors"
    assert done.stdout.endswith(f"weights {weights}\n")
    card = json.loads((out / "sd15-lora-paper.card.json").read_text())
    assert card["base"] == str(base) and card["data"]["name"].startswith("faces@")
    assert card["long text"] == "chunk" and card["settings"][0]["steps"] == 3
    done = cli(
        "run",
        "--model",
        "sd15-lora",
        "--weights",
        weights,
        "--protocol",
        "test2k",
        "--limit",
        "6",
        "--metrics",
        "au",
        "--out",
        tmp_path / "run",
        "--option",
        "steps=1",
        "--option",
        "batch=6",
    )
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["counts"]["generated"] == 6
    assert record["model"]["trained_on"] == [card["data"]["name"]]
    (folder / "1.png").write_bytes(b"no image")
    failed = cli(
        "train",
        "sd15-lora",
        "--preset",
        "paper",
        "--data",
        folder,
        "--steps",
        "4",
        "--out",
        tmp_path / "again",
        "--set",
        f"base={base}",
        "--set",
        "batch=3",
    )
    assert failed.exit_code != 0
    assert "1.png cannot be decoded" in f"{failed.output}{failed.exception}"


def test_settings_and_options_that_are_wrong_are_named(base, tmp_path):
    path, _ = lora_file(base, tmp_path)
    assert isinstance(SD15Lora, Trainable)
    assert set(PRESETS) == set(SD15Lora.presets)
    for word, match in {"ranks": "no setting 'ranks'", "seed": "no setting 'seed'"}.items():
        with pytest.raises(AubenchError, match=match):
            changed(SETTINGS, {word: "1"})
    for options, match in (
        ({"rank": "many"}, "many is not a whole number"),
        ({"kept": "perhaps"}, "not yes or no"),
        ({"targets": "everything"}, "targets=everything"),
        ({"rank": "0"}, "are positive"),
        ({"long_text": "skip"}, "cannot be read by 'skip'"),
    ):
        with pytest.raises(AubenchError, match=match):
            changed(SETTINGS, options)
    assert changed(SETTINGS, {"rank": "7", "kept": "no"}) == replace(SETTINGS, rank=7, kept=False)
    for options, match in (
        ({"step": "3"}, "no option 'step'"),
        ({"steps": "x"}, "steps=x is not a number"),
        ({"download": "maybe"}, "neither yes nor no"),
        ({"steps": "-1"}, "are positive"),
    ):
        with pytest.raises(AubenchError, match=match):
            load(path, base, **options)


def test_a_base_that_is_not_there_is_one_clear_line(base, tmp_path, monkeypatch):
    path, _ = lora_file(base, tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AubenchError, match="is not in the Hugging Face cache") as caught:
        load(path, SD15)
    assert "\n" not in str(caught.value) and "hf download" in str(caught.value.hint)
    (tmp_path / "empty").mkdir()
    for name, match in (
        (str(tmp_path / "empty"), "no model_index.json"),
        ("nowhere", "neither a folder"),
        (str(tmp_path / "lora.ckpt"), "neither a folder"),
    ):
        with pytest.raises(AubenchError, match=match):
            load_base(name, dtype=torch.float32)
    (tmp_path / "lora.ckpt").write_bytes(b"pickle")
    with pytest.raises(AubenchError, match=r"not a \.safetensors file"):
        load_base(str(tmp_path / "lora.ckpt"), dtype=torch.float32)
    with pytest.raises(AubenchError, match="no card that names its base"):
        SD15Lora.load(WeightSource(path), device="cpu", dtype="float32")
    card = tmp_path / "lora.card.json"
    card.write_text(json.dumps({"sha256": "0" * 64, "base": str(base)}))
    with pytest.raises(AubenchError, match="has not the sha256"):
        SD15Lora.load(WeightSource(path), device="cpu", dtype="float32")
    from aubench.storage.files import sha256_file

    stated = {"sha256": sha256_file(path), "base": str(base), "base sha256": "1" * 64}
    card.write_text(json.dumps(stated))
    with pytest.raises(AubenchError, match="its card says 111"):
        SD15Lora.load(WeightSource(path), device="cpu", dtype="float32")


def test_shipped_weights_agree_with_their_card():
    """At most 12 MB in all; a text moves the face, which does not depend on its batch."""
    weights = SHIPPED.parent
    files = [SHIPPED, *(weights / "sd15-nano-base").rglob("*")]
    assert sum(file.stat().st_size for file in files if file.is_file()) <= 12e6
    card = SD15Lora.card()
    assert card.scale.startswith("nano") and card.parameters and card.parameters < 6.2e6
    model = SD15Lora.load(WeightSource(), device="cpu", dtype="float32", steps="3")
    one, other = request(text="The lip corners are pulled up."), request(text="Brows are lowered.")
    batch = [replace(r, size=128) for r in (one, other)]
    made = model.generate(batch)
    assert made.shape == (2, 128, 128, 3)
    np.testing.assert_array_equal(model.generate(batch[1:])[0], made[1])
    assert (made[0] != made[1]).any()
