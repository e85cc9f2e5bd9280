"""Adapters and detectors compute what their authors' own code computes, path by path."""

import pytest
import torch
from aubench_baselines.fineface.modules import AUEncoder, DecoupledAttention
from aubench_baselines.ganimation.networks import Critic, blend, painter_of
from aubench_baselines.magicface.modules import MagicFaceNetworks, connect, to_latents
from aubench_baselines.uniportrait.files import Face
from aubench_baselines.uniportrait.modules import FaceBackbone, ImageTokens, Resampler
from parity import FOLDER, Fixture, given, weight

from aubench.networks.detectors import load_detector

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


def test_the_rule_of_filling_gives_its_stated_values():
    assert weight("probe.running_var", (3,), ())[0] == pytest.approx(1.1824325)
    assert weight("probe.fc.weight", (2, 4), ())[0, 0] == pytest.approx(-0.67338675)
    assert weight("probe.norm.weight", (3,), {"probe.norm.bias"})[1] == pytest.approx(1.0890380)
    assert weight("probe.prelu.weight", (3,), ())[2] == pytest.approx(0.21996696)
    found = weight("probe.res_layer.1.weight", (2, 1, 2, 2), ())
    assert found[0, 0, 0, 0] == pytest.approx(-0.37058476)
    blocks = {"rule": "blocks", "seed": "input/probe/b", "shape": [1, 1, 4, 4], "side": 2}
    assert float(given(blocks | {"low": 0, "high": 1})[0, 0, 3, 3]) == pytest.approx(0.18731152)


@pytest.mark.parametrize("name", [n for n in NAMES if "graphau" in n])
def test_graph_detectors(name, tmp_path):
    fixture = Fixture(name)
    family = name.partition("graphau")[0] + "graphau"
    stage, backbone = name.removeprefix(f"{family}-").split("-", 1)
    path = tmp_path / "official.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in fixture.state().items()}}, path)
    network = load_detector(f"{family}:{backbone}:{stage}", weights=path).network.eval()
    x = fixture.inputs["x"]
    found = {"tokens": network.backbone(x), "f_v": network.features(x), "probabilities": network(x)}
    if "edge_logits" in fixture.doc["outputs"]:
        found["edge_logits"] = network.with_edges(x)[1]
    fixture.check(found)


def test_ganimation_critic():
    fixture, critic = Fixture("ganimation-critic"), Critic(12, 128).eval()
    critic.load_state_dict(fixture.state("critic."))
    realness, aus = critic(fixture.inputs["x"])
    fixture.check({"realness": realness, "aus": aus})


def test_ganimation_generator():
    fixture = Fixture("ganimation-generator")
    painter = painter_of(fixture.state("generator."), "fixture").eval()
    x = fixture.inputs
    colour, attention = painter(x["x"], x["aus"])
    result = blend(x["x"], colour, attention)
    fixture.check({"colour": colour, "attention": attention, "result": result})


@pytest.mark.parametrize(("width", "heads", "inner"), [(1024, 5, 64), (768, 8, 40)])
def test_fineface(width, heads, inner):
    from diffusers.models.attention_processor import Attention

    coded, encoder = Fixture(f"fineface-au-encoder-{width}"), AUEncoder(width)
    encoder.load_state_dict(coded.state(f"fineface{width}."))
    token = encoder(coded.inputs["aus"])
    coded.check({"token": token})
    fixture = Fixture(f"fineface-au-attention-{width}")
    layer = Attention(heads * inner, width, heads, dim_head=inner).eval()
    unit = DecoupledAttention(width, heads * inner)
    layer.set_processor(unit)
    layer.load_state_dict(fixture.state(f"fineface{width}.attn2."))
    states = torch.cat([fixture.inputs["text"], token], 1)
    for scale in (1.0, 0.5, 0.0):
        unit.scale = scale
        found = layer(fixture.inputs["hidden"], states)
        fixture.check({f"out_au_scale_{scale}": found})


@pytest.fixture(scope="module")
def backbone():
    network = FaceBackbone().eval()
    network.load_state_dict(Fixture("uniportrait-ir101").state("ir101."))
    return network


def test_uniportrait_backbone(backbone):
    fixture = Fixture("uniportrait-ir101")
    maps = backbone(fixture.inputs["x"])
    fixture.check({f"map{i}": m for i, m in enumerate(maps, 1)})


def test_uniportrait_resampler():
    fixture, network = Fixture("uniportrait-resampler"), Resampler().eval()
    network.load_state_dict(fixture.state("faceid_proj."))
    x = fixture.inputs
    for scale in (0.0, 0.1, 1.0):
        found = network(x["identity"], x["structure"], scale)
        fixture.check({f"tokens_structure_scale_{scale}": found})


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_uniportrait_tokens_with_and_without_a_face(backbone, scale):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    fixture = Fixture("uniportrait-tokens")
    config = CLIPVisionConfig(**fixture.doc["parts"]["clip"]["config"])
    clip = CLIPVisionModelWithProjection(config).eval()
    clip.load_state_dict(fixture.state("clip."))
    resampler = Resampler(48, structure=512).eval()
    resampler.load_state_dict(fixture.state("faceid_proj_small."))
    parts = (backbone, resampler, clip, ImageTokens(32, 48))
    face = Face(parts, torch.nn.ModuleList(), scale).eval()
    pixels = fixture.inputs["pixels"].permute(0, 3, 1, 2).float() / 255
    some, none = face(pixels)
    fixture.check({f"conditional_{scale}": some[:, 4:], f"unconditional_{scale}": none[:, 4:]})


def test_magicface_latents_are_not_scaled():
    from diffusers import AutoencoderKL

    fixture = Fixture("magicface-latents")
    autoencoder = AutoencoderKL(**fixture.doc["weights"]["config"]).eval()
    autoencoder.load_state_dict(fixture.state("vae."))
    x = fixture.inputs
    fixture.check({f"{name}_latents": to_latents(autoencoder, image) for name, image in x.items()})


def test_magicface_blocks_read_what_enters_the_identity_encoder():
    from diffusers.models.attention import BasicTransformerBlock

    fixture = Fixture("magicface-blocks")
    identity, denoiser = (
        BasicTransformerBlock(320, 8, 40, cross_attention_dim=768).eval() for _ in range(2)
    )
    recorder = connect(identity, denoiser)
    identity.load_state_dict(fixture.state("identity."))
    denoiser.load_state_dict(fixture.state("denoiser."))
    x = fixture.inputs
    first = identity(x["identity_hidden"], encoder_hidden_states=x["text"])
    second = denoiser(x["hidden"], encoder_hidden_states=x["text"])
    fixture.check({"identity_block": first, "recorded": recorder.seen, "denoiser_block": second})


def test_magicface_networks():
    fixture = Fixture("magicface-networks")
    networks = MagicFaceNetworks({**fixture.doc["weights"]["config"], "in_channels": 4}).eval()
    networks.identity.load_state_dict(fixture.state("ID_enc."))
    state = fixture.state("denoising_unet.")
    mlp = {key: state.pop(f"au_aug_mlp.{key}") for key in ("weight", "bias")}
    networks.au_aug_mlp.load_state_dict(mlp)
    networks.denoiser.load_state_dict(state)
    x = fixture.inputs
    networks.remember(x["reference"], x["words"])
    for name, step, change in (
        ("noise_t500", 500, x["change"]),
        ("noise_t1", 1, x["change"]),
        ("noise_t500_no_change", 500, 0 * x["change"]),
    ):
        t = torch.full((1,), step)
        fixture.check({name: networks(x["x"], t, x["words"], x["background"], change)})
