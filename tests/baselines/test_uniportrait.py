"""UniPortrait: modules of the published shape, strict reading, one image on a tiny base."""

import numpy as np
import pytest
import torch
from aubench_baselines.stable_diffusion.base import write_random_base
from aubench_baselines.stable_diffusion.shapes import SHAPES
from aubench_baselines.uniportrait.files import (
    check_router,
    fill,
    fill_processors,
    official_files,
    read_nested,
)
from aubench_baselines.uniportrait.generator import UniPortrait, faces_of, finder_of
from aubench_baselines.uniportrait.modules import (
    FaceBackbone,
    ImageTokens,
    Perceiver,
    Resampler,
    put_in,
)
from tiny_base import TINY

from aubench.datasets.alignment import ARCFACE_TEMPLATE, Face
from aubench.errors import AubenchError
from aubench.generators.contract import Request, WeightSource


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny base, a tiny CLIP and files of the official layout with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    root = tmp_path_factory.mktemp("uniportrait")
    base = write_random_base(root / "base", TINY, half=False)
    clip = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=224,
            patch_size=14,
            projection_dim=12,
        )
    )
    clip.save_pretrained(root / "clip")
    weights = root / "weights"
    weights.mkdir()
    torch.manual_seed(3)
    processors = put_in(TINY.build_unet(), (0.0, 0.7, 1.0))
    for name, value in processors.named_parameters():
        torch.nn.init.normal_(value, std=0.2 if "faceid" in name else 0.02)
    state = {key: value.half() for key, value in processors.state_dict().items()}
    own = {key: value for key, value in state.items() if "_ip." not in key}
    ip = {key: value for key, value in state.items() if "_ip." in key}
    resampler = Resampler(24, structure=448 + 16)
    torch.save(FaceBackbone().state_dict(), weights / "glint360k_curricular_face_r101_backbone.bin")
    torch.save(
        {"faceid_proj": resampler.state_dict(), "faceid_adapter": own},
        weights / "uniportrait-faceid_sd15.bin",
    )
    torch.save(
        {"image_proj": ImageTokens(12, 24).state_dict(), "ip_adapter": ip},
        weights / "ip-adapter_sd15.bin",
    )
    torch.save({"faceid_adapter": router_of(processors)}, weights / "uniportrait-router_sd15.bin")
    return {"base": base, "clip": root / "clip", "weights": weights}


def router_of(processors):
    """Tensors of a router file: LoRA under another name, and the three maps of each layer."""
    state = {}
    for i, layer in enumerate(processors):
        for name in ("q", "k", "v", "out"):
            plain = getattr(layer, f"to_{name}_lora")
            for part in ("down", "up"):
                weight = getattr(plain, part).weight.detach().clone()
                state[f"{i}.to_{name}_multi_id_lora.{part}.weight"] = weight
        if layer.cross:
            hidden, width = layer.to_k_faceid.out_features, layer.to_k_faceid.in_features
            state[f"{i}.to_q_router.0.weight"] = torch.zeros(2 * hidden, hidden)
            state[f"{i}.to_q_router.2.weight"] = torch.zeros(hidden, 2 * hidden)
            state[f"{i}.to_k_router.0.weight"] = torch.zeros(2 * width, width)
            state[f"{i}.to_k_router.2.weight"] = torch.zeros(hidden, 2 * width)
            state[f"{i}.aggr_router.weight"] = torch.zeros(1, 16)
    return state


def request(sample_id="a", face=0, seed=5, text="Lips are pulled up."):
    reference = np.random.default_rng(face).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    return Request(sample_id, text, None, None, reference, seed, 32)


def load(place, **options):
    given = {
        "base": str(place["base"]),
        "vae": "",
        "image_encoder": str(place["clip"]),
        "steps": "1",
        **options,
    }
    source = WeightSource(place["weights"])
    return UniPortrait.load(source, device="cpu", dtype="float32", **given)


def test_counts_of_the_published_files():
    """917 and 121 tensors; the file sizes in half precision are 224 and 261 MB."""
    with torch.device("meta"):
        backbone, resampler = FaceBackbone(), Resampler()
        processors = put_in(SHAPES["paper"].build_unet(), (0.0, 0.7, 1.0))
    state = backbone.state_dict()
    assert len(state) == 917
    assert sum(p.numel() for p in backbone.parameters()) == 65_150_912
    assert len(resampler.state_dict()) == 121
    assert sum(v.numel() * 4 for v in state.values()) == pytest.approx(261e6, rel=2e-3)
    own = [p for n, p in processors.named_parameters() if "_ip." not in n]
    count = sum(p.numel() for p in [*own, *resampler.parameters()])
    assert 2 * count == pytest.approx(224e6, rel=2e-3)
    assert [i for i, p in enumerate(processors) if p.cross] == list(range(1, 32, 2))
    keys = {n for n, _ in processors.named_parameters()}
    assert {"0.to_q_lora.down.weight", "1.to_k_faceid.weight", "31.to_v_faceid.weight"} <= keys
    assert "0.to_k_faceid.weight" not in keys


def test_backbone_maps_have_the_stated_shapes():
    with torch.inference_mode():
        maps = FaceBackbone().eval()(torch.zeros(1, 3, 112, 112))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 56, 56),
        (128, 28, 28),
        (256, 14, 14),
        (512, 7, 7),
    ]


def test_perceiver_is_scaled_dot_product_attention_written_out():
    """Against the formula with d^-1/4 on query and key each."""
    torch.manual_seed(0)
    layer, context, latents = Perceiver(64, 2), torch.randn(1, 5, 64), torch.randn(1, 3, 64)
    x, y = layer.norm1(context), layer.norm2(latents)
    q, (k, v) = layer.to_q(y), layer.to_kv(torch.cat([x, y], 1)).chunk(2, -1)
    heads = []
    for h in range(2):
        part = slice(64 * h, 64 * h + 64)
        weight = (q[..., part] * 64**-0.25) @ (k[..., part] * 64**-0.25).transpose(1, 2)
        heads.append(weight.softmax(-1) @ v[..., part])
    expected = layer.to_out(torch.cat(heads, -1))
    torch.testing.assert_close(layer(context, latents), expected, rtol=1e-4, atol=1e-5)


def test_new_lora_changes_nothing_but_identity_does():
    """LoRA starts at zero, so without identity the denoiser is the base's."""
    torch.manual_seed(0)
    unet = TINY.build_unet().eval()
    x, words = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 24)
    tokens = torch.randn(1, 20, 24)
    with torch.inference_mode():
        before = unet(x, 10, words).sample
        processors = put_in(unet, (0.0, 0.0, 1.0))
        same = unet(x, 10, torch.cat([words, tokens], 1)).sample
        for processor in processors:
            processor.id_scale = 0.7
        other = unet(x, 10, torch.cat([words, tokens], 1)).sample
    torch.testing.assert_close(before, same, rtol=1e-4, atol=1e-5)
    assert (other - same).abs().max() > 1e-4


def test_generates_from_text_and_reference_alone(place):
    """One denoising step: the image depends on face, text and seed, not on its batch."""
    model = load(place)
    a, b = request("a", face=0), request("b", face=1)
    both = model.generate([a, b])
    assert both.shape == (2, 32, 32, 3) and both.dtype == np.uint8
    np.testing.assert_array_equal(both[1], model.generate([b])[0])
    assert (both[0] != both[1]).any()
    assert (both[0] != model.generate([request("a", seed=6)])[0]).any()
    assert (both[0] != model.generate([request("a", text="Brows are lowered.")])[0]).any()
    assert (both[0] != load(place, face_scale="0").generate([a])[0]).any()
    assert (both[0] != load(place, ip_scale="1").generate([a])[0]).any()


def test_files_are_read_strictly(place, tmp_path):
    state = read_nested(place["weights"] / "uniportrait-faceid_sd15.bin")
    processors = put_in(TINY.build_unet(), (0.0, 0.7, 1.0))
    fill_processors(processors, state["faceid_adapter"], "file")
    short = dict(state["faceid_adapter"])
    short.pop("1.to_k_faceid.weight")
    with pytest.raises(AubenchError, match=r"lacks tensor 1\.to_k_faceid\.weight"):
        fill_processors(processors, short, "file")
    more = {**state["faceid_adapter"], "99.to_q_lora.down.weight": torch.zeros(1)}
    with pytest.raises(AubenchError, match=r"unknown tensor 99\.to_q_lora"):
        fill_processors(processors, more, "file")
    with pytest.raises(AubenchError, match=r"proj_id.0.weight is \(8, 512\)"):
        fill(
            Resampler(24, structure=464),
            {**state["faceid_proj"], "proj_id.0.weight": torch.zeros(8, 512)},
            "file",
        )
    (tmp_path / "broken.bin").write_bytes(b"not a pickle")
    with pytest.raises(AubenchError, match="cannot be read as tensors"):
        read_nested(tmp_path / "broken.bin")


def test_tensors_of_a_router_that_nothing_reads_are_passed_over(place):
    processors = put_in(TINY.build_unet(), (0.0, 0.7, 1.0))
    state = read_nested(place["weights"] / "uniportrait-router_sd15.bin")["faceid_adapter"]
    for key in ("1.mystery.weight", "99.to_q_router.0.weight"):
        check_router(processors, {**state, key: torch.zeros(1)}, "file")


def test_references_are_cut_to_the_template_of_arcface():
    image = np.zeros((200, 200, 3), np.uint8)
    at = 20 + 150 * ARCFACE_TEMPLATE  # the five points of a face that fills a part of the picture
    for x, y in np.round(at).astype(int):
        image[y - 3 : y + 4, x - 3 : x + 4] = 255
    found = Face(np.zeros(4, np.float32), at, 1.0, 1)
    request = Request("a", "", None, None, image, 0, 64)
    cut = faces_of([request], lambda picture: found)[0, 0].numpy()
    for x, y in np.round(224 * ARCFACE_TEMPLATE).astype(int):
        assert cut[y - 1 : y + 2, x - 1 : x + 2].min() > 0.9
    assert cut[:40].max() < 0.1
    with pytest.raises(AubenchError, match="no face in the reference of a"):
        faces_of([request], lambda picture: None)
    with pytest.raises(AubenchError, match="align=insightface is unknown"):
        finder_of("insightface", "cpu")


def test_router_is_checked(place):
    processors = put_in(TINY.build_unet(), (0.0, 0.7, 1.0))
    state = read_nested(place["weights"] / "uniportrait-router_sd15.bin")["faceid_adapter"]
    check_router(processors, state, "file")
    for key, value in {
        "1.to_q_router.0.weight": torch.zeros(5, 5),
        "0.to_q_router.0.weight": torch.zeros(32, 16),
        "1.to_q_multi_id_lora.up.weight": torch.zeros(2, 2),
    }.items():
        with pytest.raises(AubenchError, match="file"):
            check_router(processors, {**state, key: value}, "file")
    with pytest.raises(AubenchError, match="no router"):
        check_router(processors, {}, "file")


def test_what_is_missing_is_said_in_one_line(place, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AubenchError, match="needs --weights FOLDER"):
        official_files(None)
    with pytest.raises(AubenchError, match="0 files"):
        official_files(tmp_path)
    with pytest.raises(AubenchError, match="not in the Hugging Face cache"):
        load(place, base="SG161222/Realistic_Vision_V5.1_noVAE")
    with pytest.raises(AubenchError, match="CLIP ViT-H is not at"):
        load(place, image_encoder=str(tmp_path / "none"))
    with pytest.raises(AubenchError, match="autoencoder 'stabilityai/sd-vae-ft-mse'"):
        load(place, vae="stabilityai/sd-vae-ft-mse")
    with pytest.raises(AubenchError, match="no option 'facescale'"):
        load(place, facescale="1")
