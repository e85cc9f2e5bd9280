"""A single file in the layout of the original release is the same base as its diffusers folder."""

import re
import shutil

import pytest
import torch
from aubench_baselines.sd15_lora.generator import SHIPPED
from aubench_baselines.stable_diffusion.base import load_base, write_random_base
from aubench_baselines.stable_diffusion.shapes import SHAPES, Shape
from aubench_baselines.stable_diffusion.text import encode, pieces
from safetensors.torch import load_file, save_file

from aubench.errors import AubenchError

SMALL = Shape(
    size=64,
    vae={**SHAPES["paper"].vae, "block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4},
    unet={
        **SHAPES["paper"].unet,
        "block_out_channels": (8, 16, 16, 16),
        "norm_num_groups": 4,
        "cross_attention_dim": 24,
        "attention_head_dim": 2,
        "sample_size": 8,
    },
    text={
        **SHAPES["nano"].text,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    },
)
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def original_unet(key):
    """Name of a denoiser's tensor in the original release."""
    for new, old in (
        ("time_embedding.linear_1", "time_embed.0"),
        ("conv_out.", "out.2."),
        ("time_embedding.linear_2", "time_embed.2"),
        ("conv_norm_out.", "out.0."),
        ("conv_in.", "input_blocks.0.0."),
    ):
        if key.startswith(new):
            return key.replace(new, old)
    match = re.match(r"(down_blocks|up_blocks)\.(\d)\.(resnets|attentions)\.(\d)\.(.*)", key)
    if match:
        side, i, kind, j, rest = match.groups()
        number = 3 * int(i) + int(j) + (side == "down_blocks")
        place = "input_blocks" if side == "down_blocks" else "output_blocks"
        return f"{place}.{number}.{int(kind == 'attentions')}.{original_resnet(rest, kind)}"
    match = re.match(r"down_blocks\.(\d)\.downsamplers\.0\.conv\.(.*)", key)
    if match:
        return f"input_blocks.{3 * int(match[1]) + 3}.0.op.{match[2]}"
    match = re.match(r"up_blocks\.(\d)\.upsamplers\.0\.conv\.(.*)", key)
    if match:  # the first level has no attention before it
        return (
            f"output_blocks.{3 * int(match[1]) + 2}.{1 if match[1] == '0' else 2}.conv.{match[2]}"
        )
    match = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key)
    assert match, key
    place = 1 if match[1] == "attentions" else 2 * int(match[2])
    return f"middle_block.{place}.{original_resnet(match[3], match[1])}"


def original_resnet(rest, kind):
    if kind == "attentions":
        return rest
    name, tail = rest.rsplit(".", 1)
    return f"{RESNET[name]}.{tail}"


def original_vae(key, value):
    """Name of an autoencoder's tensor in the original release, and its shape there."""
    key = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(
        r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}", key
    )
    key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    if "mid_block.attentions.0" in key:
        prefix, rest = key.split("mid_block.attentions.0.")
        name, tail = rest.rsplit(".", 1)
        key = f"{prefix}mid.attn_1.{ATTENTION[name]}.{tail}"
        if name != "group_norm" and tail == "weight":
            value = value[:, :, None, None]  # linear layers were convolutions
    return key, value


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A diffusers folder, the same weights as one file, its configuration and tokenizer."""
    root = tmp_path_factory.mktemp("single")
    folder = write_random_base(root / "small", SMALL, half=False)
    pipe = load_base(str(folder), dtype=torch.float32)
    state = {
        f"model.diffusion_model.{original_unet(k)}": v.clone()
        for k, v in pipe.unet.state_dict().items()
    }
    for key, value in pipe.vae.state_dict().items():
        name, changed = original_vae(key, value)
        state[f"first_stage_model.{name}"] = changed.contiguous()
    for key, value in pipe.text_encoder.state_dict().items():
        name = key if key.startswith("text_model.") else f"text_model.{key}"
        state[f"cond_stage_model.transformer.{name}"] = value.clone()
    save_file(state, root / "small.safetensors")
    (folder / "tokenizer").rename(root / "tokenizer")
    return root, pipe, state


def test_single_file_equals_folder(place):
    root, pipe, _ = place
    single = load_base(str(root / "small.safetensors"), dtype=torch.float32)
    x, image = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        states = [
            encode(p.text_encoder, [pieces(p.tokenizer, "A smile.", "chunk")])
            for p in (pipe, single)
        ]
        torch.testing.assert_close(states[1], states[0])
        noise = [p.unet(x, 7, states[0]).sample for p in (pipe, single)]
        torch.testing.assert_close(noise[1], noise[0])
        rebuilt = [p.vae(image).sample for p in (pipe, single)]
        torch.testing.assert_close(rebuilt[1], rebuilt[0])
    assert single.vae.config.scaling_factor == 0.18215
    assert single.scheduler.config.beta_schedule == "scaled_linear"


def test_the_text_encoder_is_what_its_file_holds():
    """Whichever transformers wrote the file and reads it; they differ in names."""
    folder = SHIPPED.parent / "sd15-nano-base"
    loaded = load_base(str(folder), dtype=torch.float32).text_encoder.state_dict()
    held = load_file(next((folder / "text_encoder").glob("*.safetensors")))
    short = {key.removeprefix("text_model."): value for key, value in loaded.items()}
    for key, value in held.items():
        assert torch.equal(short[key.removeprefix("text_model.")], value.float()), key


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_folder_that_lacks_a_tensor_is_refused(part, tmp_path):
    """diffusers and transformers would leave it random, another at each start."""
    folder = tmp_path / "base"
    shutil.copytree(SHIPPED.parent / "sd15-nano-base", folder)
    assert load_base(str(folder), dtype=torch.float32).unet is not None
    file = next((folder / part).glob("*.safetensors"))
    state = load_file(file)
    del state[sorted(state)[7]]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(AubenchError, match=f"{part} lacks 1 tensors, first "):
        load_base(str(folder), dtype=torch.float32)


def test_old_names_of_the_autoencoders_attention_are_read(tmp_path):
    """As in the folders that were published with Stable Diffusion 1.5."""
    folder = tmp_path / "base"
    shutil.copytree(SHIPPED.parent / "sd15-nano-base", folder)
    file = next((folder / "vae").glob("*.safetensors"))
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in load_file(file).items():
        for new, old in names.items():
            key = key.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
        state[key] = value
    assert any(".query." in key for key in state)
    save_file(state, file, metadata={"format": "pt"})
    plain, old = (
        load_base(str(place), dtype=torch.float32).vae.state_dict()
        for place in (SHIPPED.parent / "sd15-nano-base", folder)
    )
    assert all(torch.equal(old[key], value) for key, value in plain.items())


@pytest.mark.parametrize("start", ["model.diffusion", "first_stage", "cond_stage"])
def test_a_single_file_that_lacks_a_tensor_is_refused(place, tmp_path, start):
    root, _, state = place
    lost = sorted(key for key in state if key.startswith(start))[5]
    save_file({k: v for k, v in state.items() if k != lost}, tmp_path / "small.safetensors")
    shutil.copytree(root / "small", tmp_path / "small")
    shutil.copytree(root / "tokenizer", tmp_path / "tokenizer")
    with pytest.raises(AubenchError, match=r"small\.safetensors (is not a|lacks 1 tensors of)"):
        load_base(str(tmp_path / "small.safetensors"), dtype=torch.float32)


def test_single_files_that_are_not_are_named(place, tmp_path, monkeypatch):
    root, *_ = place
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    save_file({"a": torch.zeros(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(AubenchError, match="holds no tokenizer"):
        load_base(str(tmp_path / "odd.safetensors"), dtype=torch.float32)
    words = str(root / "tokenizer")
    with pytest.raises(AubenchError, match=r"not a Stable Diffusion 1\.5 file"):
        load_base(str(tmp_path / "odd.safetensors"), dtype=torch.float32, tokenizer=words)
    with pytest.raises(AubenchError, match="holds no CLIP tokenizer"):
        load_base(str(tmp_path / "odd.safetensors"), dtype=torch.float32, tokenizer=str(tmp_path))


def test_a_folder_without_vocabulary_is_refused(place):
    root, *_ = place  # its tokenizer was moved away
    with pytest.raises(AubenchError, match=r"tokenizer|cannot be read"):
        load_base(str(root / "small"), dtype=torch.float32)
