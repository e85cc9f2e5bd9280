"""The official files of UniPortrait, read strictly and without unpickling anything but tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench_baselines.tensors import fill_strictly
from aubench_baselines.uniportrait.modules import (
    RANK,
    FaceBackbone,
    ImageTokens,
    Resampler,
    clip_states,
    face_tokens,
    put_in,
)

if TYPE_CHECKING:
    State = Mapping[str, Tensor]

PATTERNS = {
    "backbone": "*curricular_face_r101*",
    "faceid": "uniportrait-faceid*",
    "router": "uniportrait-router*",
    "ip": "ip-adapter_sd15*",
}
NEEDED = ("backbone", "faceid")
HUB = "hf download Junjie96/UniPortrait"
CLIP = "h94/IP-Adapter"
ROUTER_LORA = re.compile(r"(\d+)\.to_(q|k|v|out)\w*lora\w*\.(down|up)\.weight")
ROUTER = re.compile(r"(\d+)\.(to_q_router|to_k_router|aggr_router)\.(?:\d+\.)?(weight|bias)")


def official_files(folder: Path | None) -> dict[str, Path]:
    """Return the files of a folder by part; router and image adapter may be absent.

    Raises:
        AubenchError: There is no folder, or a part is missing in it or there twice.
    """
    remedy = f"`{HUB} --local-dir FOLDER` where there is a network"
    if folder is None or not folder.is_dir():
        raise AubenchError("uniportrait needs --weights FOLDER; no weights are shipped", remedy)
    found = {}
    for part, pattern in PATTERNS.items():
        files = sorted(path for path in folder.rglob(pattern) if path.is_file())
        if len(files) > 1 or (not files and part in NEEDED):
            raise AubenchError(f"{folder} holds {len(files)} files {pattern}", remedy)
        if files:
            found[part] = files[0]
    return found


def read_nested(path: Path) -> dict[str, Any]:
    """Return the dictionaries of tensors in a file.

    Raises:
        AubenchError: It is damaged or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise AubenchError(f"{path} cannot be read as tensors", "restore the file") from error
    if not isinstance(state, dict):
        raise AubenchError(f"{path} is not a dictionary of tensors", "restore the file")
    return state


def fill(module: nn.Module, state: Any, where: str) -> None:
    """Load tensors strictly.

    Raises:
        AubenchError: Names the first tensor that is missing, left over or of another shape.
    """
    if not isinstance(state, dict):
        raise AubenchError(f"{where} is missing", "restore the file")
    fill_strictly(module.state_dict(), state, where, "the official files of UniPortrait for SD 1.5")


class Face(nn.Module):
    """A reference face to image and identity tokens.

    Args:
        parts: Backbone, resampler, CLIP's vision model with projection, image tokens.
        processors: Processors of the denoiser, kept here so that they move along.
        structure_scale: Structure scale of the resampler.
    """

    def __init__(
        self,
        parts: tuple[FaceBackbone, Resampler, Any, ImageTokens],
        processors: nn.ModuleList,
        structure_scale: float,
    ) -> None:
        super().__init__()
        self.backbone, self.resampler, self.clip, self.image = parts
        self.processors = processors
        self.structure_scale = structure_scale

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens [B, 20, W] of faces [B, 3, 224, 224] in 0..1, and of nothing.

        The first four are IP-Adapter's; with a scale of zero nothing attends to them.
        """
        who, how, embedding = face_tokens(self.backbone, self.clip, faces)
        image, blank = self.image(embedding), self.image(torch.zeros_like(embedding))
        tokens = self.resampler(who, how, self.structure_scale)
        nothing = self.resampler(*self._nobody(faces, who, how), self.structure_scale)
        return torch.cat([image, tokens], 1), torch.cat([blank, nothing], 1)

    def _nobody(self, faces: Tensor, who: Tensor, how: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens of no face: zeros, but for what CLIP sees in its mean colour."""
        seen, _ = clip_states(self.clip, torch.zeros_like(faces[:1]))
        empty = torch.zeros_like(how)
        empty[..., how.shape[-1] - seen.shape[-1] :] = seen
        return torch.zeros_like(who), empty


def load_face(pipe: Any, files: dict[str, Path], options: dict[str, Any], download: bool) -> Face:
    """Put identity attention into a pipeline and return what makes its tokens.

    Raises:
        AubenchError: A file does not fit, or image tokens are asked for without their file.
    """
    scales = (options["ip_scale"], options["face_scale"], options["lora_scale"])
    if options["ip_scale"] and "ip" not in files:
        raise AubenchError("ip_scale needs ip-adapter_sd15.bin in the folder of the weights")
    processors = put_in(pipe.unet, scales)
    width = pipe.unet.config.cross_attention_dim
    clip = load_clip(options["image_encoder"], download)
    backbone, resampler = FaceBackbone(), Resampler(width, structure=448 + clip.config.hidden_size)
    image = ImageTokens(clip.config.projection_dim, width)
    fill(backbone, read_nested(files["backbone"]), str(files["backbone"]))
    state = read_nested(files["faceid"])
    fill(resampler, state.get("faceid_proj"), f"{files['faceid']}: faceid_proj")
    fill_processors(processors, state.get("faceid_adapter"), str(files["faceid"]))
    if "router" in files:
        router = read_nested(files["router"]).get("faceid_adapter")
        check_router(processors, router, str(files["router"]))
    if "ip" in files:
        fill_image(image, processors, read_nested(files["ip"]), str(files["ip"]))
    return Face((backbone, resampler, clip, image), processors, options["structure_scale"])


def fill_processors(processors: nn.ModuleList, state: Any, where: str) -> None:
    """Load LoRA and identity attention, all but IP-Adapter's keys and values, strictly."""
    own = nn.ModuleDict()
    for i, processor in enumerate(processors):
        parts = {k: v for k, v in processor.named_children() if not k.endswith("_ip")}
        own[str(i)] = nn.ModuleDict(parts)
    fill(own, state, f"{where}: faceid_adapter")


def fill_image(
    image: ImageTokens, processors: nn.ModuleList, state: dict[str, Any], where: str
) -> None:
    """Load IP-Adapter's projection and keys and values, strictly."""
    fill(image, state.get("image_proj"), f"{where}: image_proj")
    own = nn.ModuleDict()
    for i, processor in enumerate(processors):
        parts = {k: v for k, v in processor.named_children() if k.endswith("_ip")}
        if parts:
            own[str(i)] = nn.ModuleDict(parts)
    fill(own, state.get("ip_adapter"), f"{where}: ip_adapter")


def check_router(processors: nn.ModuleList, state: Any, where: str) -> None:
    """Check the router file; with one identity its choice is fixed, so it is not used.

    The router assigns places of the image to one of several identities. Tensors that are neither
    of its LoRA nor of its maps are passed over, as the official loader does.

    Raises:
        AubenchError: There is no router, or a tensor is of another shape than its layer's.
    """
    if not isinstance(state, dict) or not any("router" in key for key in state):
        raise AubenchError(f"{where} holds no router", "restore the file")
    for key, value in state.items():
        lora, router = ROUTER_LORA.fullmatch(key), ROUTER.fullmatch(key)
        match = lora or router
        number = int(match[1]) if match else len(processors)
        if number >= len(processors):
            continue
        layer: Any = processors[number]
        if lora:
            plain = getattr(layer, f"to_{lora[2]}_lora")
            wanted = getattr(plain, lora[3]).weight.shape
            fits = value.shape == wanted and RANK in value.shape
        else:
            assert router is not None
            fits = layer.cross and value.shape[0] in _router_heights(layer, router[2])
        if not fits:
            raise AubenchError(f"{where}: {key} is {tuple(value.shape)}", "restore the file")


def _router_heights(layer: Any, name: str) -> tuple[int, ...]:
    """Return the possible first axes of a router's tensors: inner and outer channels."""
    hidden, width = layer.to_k_faceid.out_features, layer.to_k_faceid.in_features
    return {
        "to_q_router": (2 * hidden, hidden),
        "to_k_router": (2 * width, hidden),
        "aggr_router": (1,),
    }[name]


def load_clip(place: str, download: bool) -> Any:
    """Return CLIP ViT-H/14's vision model from a folder, or from IP-Adapter's in the hub cache.

    Raises:
        AubenchError: It is not there.
    """
    from transformers import CLIPVisionModelWithProjection

    from aubench_baselines.stable_diffusion.base import quiet, whole

    folder, inside = (place, "") if place else (CLIP, "models/image_encoder")
    try:
        with quiet():
            return whole(
                CLIPVisionModelWithProjection, folder, inside, local_files_only=not download
            ).float()
    except AubenchError:
        raise
    except Exception as error:
        raise AubenchError(
            f"CLIP ViT-H is not at {place or 'the Hugging Face cache of this machine'}",
            f"`hf download {CLIP} --include 'models/image_encoder/*'` and "
            "--option image_encoder=FOLDER",
        ) from error


def load_vae(name: str, download: bool) -> Any:
    """Return an autoencoder from a folder or the hub cache.

    Raises:
        AubenchError: It is not there.
    """
    from diffusers import AutoencoderKL

    from aubench_baselines.stable_diffusion.base import quiet, whole

    try:
        with quiet():
            return whole(
                AutoencoderKL, name, local_files_only=not download, low_cpu_mem_usage=False
            )
    except AubenchError:
        raise
    except Exception as error:
        raise AubenchError(
            f"autoencoder '{name}' is not on this machine",
            f"`hf download {name}`, --option vae=FOLDER, or an empty vae for the base's own",
        ) from error
