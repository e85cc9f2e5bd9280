"""Published checkpoints of ME-GraphAU and OpenGraphAU: recognised, checked, loaded, written.

A file is a dict with ``epoch``, ``state_dict`` and ``optimizer``; keys start with ``module.``.
ResNet keys are torchvision's. Swin keys follow the Swin authors and are renamed; of their buffers
``relative_position_index`` must be the one the network computes itself, and ``attn_mask``, which
torchvision computes as it goes, is left out.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aubench.errors import AubenchError, suggest
from aubench.networks.detectors.graphau.backbones import PAPER_BACKBONES, TorchvisionTokens
from aubench.networks.detectors.graphau.megraphau import STAGES, MEGraphAU, Stage
from aubench.networks.detectors.graphau.opengraphau import MAIN, OpenGraphAU
from aubench.storage.files import atomic_path

FAMILIES = ("me-graphau", "open-graphau")
NEIGHBOURS = {8: 3}
"""K where it is not 4, by number of AUs: DISFA's eight take 3. Checkpoints do not hold K."""

WINDOW, SIDE = 7, 56
"""Swin at 224 px: windows of 7 x 7 tokens, 56 x 56 tokens in the first stage."""

SHOWN = 3
"""Keys that an error names."""

State = dict[str, Tensor]
GraphNetwork = MEGraphAU | OpenGraphAU


@dataclass(frozen=True)
class Layout:
    """What a checkpoint holds.

    Attributes:
        family: ``me-graphau`` or ``open-graphau``.
        backbone: A name of ``PAPER_BACKBONES``.
        stage: ``anfl`` or ``mefl``.
        classes: Number of main AUs, 27 of OpenGraphAU.
    """

    family: str
    backbone: str
    stage: Stage
    classes: int = 12

    @property
    def name(self) -> str:
        """``family:backbone:stage``."""
        return f"{self.family}:{self.backbone}:{self.stage}"

    def build(self, neighbours: int | None = None) -> GraphNetwork:
        """Return an untrained network.

        Args:
            neighbours: K of the first stage; 4, or 3 for eight AUs, if not given.

        Raises:
            AubenchError: K is not in 1..classes.
        """
        k = NEIGHBOURS.get(self.classes, min(4, self.classes)) if neighbours is None else neighbours
        if not 1 <= k <= self.classes:
            raise AubenchError(
                f"{k} neighbours among {self.classes} AUs", f"give 1 to {self.classes}"
            )
        shape = PAPER_BACKBONES[self.backbone]
        backbone = TorchvisionTokens(self.backbone)
        if self.family == "open-graphau":
            return OpenGraphAU(backbone, shape.width, shape.channels, k, self.stage)
        return MEGraphAU(backbone, shape.width, shape.channels, self.classes, k, self.stage)


def parse(name: str) -> tuple[str, str | None, Stage | None]:
    """Return family, backbone and stage of ``family[:backbone[:stage]]``; None where left out.

    Raises:
        AubenchError: A part is unknown.
    """
    parts = name.split(":")
    known: tuple[tuple[str, ...], ...] = (FAMILIES, tuple(PAPER_BACKBONES), STAGES)
    for part, choices in zip(parts, known, strict=False):
        if part not in choices:
            raise AubenchError(
                f"unknown part '{part}' of detector '{name}'{suggest(part, choices)}",
                f"choose from {', '.join(choices)}",
            )
    if len(parts) > len(known):
        raise AubenchError(f"detector '{name}' has too many parts", "family:backbone:stage")
    backbone = parts[1] if len(parts) > 1 else None
    stage = next((s for s in STAGES if len(parts) > 2 and s == parts[2]), None)
    return parts[0], backbone, stage


def official_key(key: str) -> str:
    """Return the published name, without ``module.``, of a tensor of our network."""
    found = re.match(r"backbone\.features\.(\d+)\.(.*)", key)
    if not found:
        return key
    place, rest = int(found[1]), found[2]
    if place == 0:
        patch, _, name = rest.partition(".")
        return f"backbone.patch_embed.{'proj' if patch == '0' else 'norm'}.{name}"
    rest = rest.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
    kind = "blocks" if place % 2 else "downsample"
    return f"backbone.layers.{(place - 1) // 2}.{kind}.{rest}"


def attention_mask(side: int) -> Tensor:
    """Return which tokens of a shifted window may not see each other: [windows, 49, 49], 0 or -100.

    After a cyclic shift by 3 the last rows and columns of windows hold tokens of opposite borders.
    """
    at = torch.arange(side)
    zone = (at >= side - WINDOW).int() + (at >= side - WINDOW // 2).int()
    zones = (3 * zone[:, None] + zone).reshape(side // WINDOW, WINDOW, side // WINDOW, WINDOW)
    windows = zones.transpose(1, 2).reshape(-1, WINDOW * WINDOW)
    return torch.where(windows[:, None] == windows[:, :, None], 0.0, -100.0)


def _masks(backbone: str, device: str) -> State:
    """Return the ``attn_mask`` buffers that the published Swin checkpoints carry."""
    if not backbone.startswith("swin"):
        return {}
    depths = (2, 2, PAPER_BACKBONES[backbone].blocks)
    return {
        f"backbone.layers.{i}.blocks.{j}.attn_mask": attention_mask(SIDE >> i).to(device)
        for i, depth in enumerate(depths)
        for j in range(1, depth, 2)
    }


def to_official(network: nn.Module, layout: Layout, device: str = "cpu") -> State:
    """Return the state of a network under the published names, without ``module.``."""
    state = {}
    for key, value in network.state_dict().items():
        square = key.endswith("relative_position_index")
        state[official_key(key)] = value.view(WINDOW**2, WINDOW**2) if square else value
    return {**state, **_masks(layout.backbone, device)}


def save(network: nn.Module, layout: Layout, path: Path, epoch: int = 0) -> None:
    """Write a checkpoint of the published form: ``epoch``, ``state_dict``, ``optimizer``.

    Raises:
        AubenchError: The disk is full or the folder cannot be written.
    """
    state = {f"module.{k}": v.detach().cpu() for k, v in to_official(network, layout).items()}
    with atomic_path(path) as temporary:
        torch.save({"epoch": epoch, "state_dict": state, "optimizer": {}}, temporary)


def _read(path: Path) -> object:
    """Return what the file holds, loading nothing but tensors and plain containers."""
    if not path.is_file():
        raise AubenchError(f"no checkpoint at {path}", "give the path of the downloaded file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded: object = torch.load(path, map_location="cpu", weights_only=True)
        return loaded
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise AubenchError(
                f"{path} holds objects other than tensors ({found[1]}), not loaded",
                "save its state_dict alone where you trust the file",
            ) from error
        raise _damaged(path) from error
    except OSError as error:
        raise AubenchError(f"cannot read {path}: {error.strerror}") from error
    except MemoryError:
        raise
    except Exception as error:  # torch and safetensors tell damage by many exceptions
        raise _damaged(path) from error


def _damaged(path: Path) -> AubenchError:
    return AubenchError(f"{path} is truncated or not a checkpoint", "download it again")


def read_state(path: Path) -> State:
    """Return the tensors of a checkpoint under the published names, without ``module.``.

    Raises:
        AubenchError: The file is missing, truncated, holds other objects than tensors, or values
            that are not finite.
    """
    loaded = _read(path)
    inner: Any = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(inner, Mapping) or not inner:
        raise AubenchError(f"{path} holds no state_dict", "give a checkpoint of the network")
    odd = next((key for key, value in inner.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise AubenchError(f"{path}: '{odd}' is not a tensor", "give a checkpoint of the network")
    state = {str(key): value for key, value in inner.items()}
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise AubenchError(f"{path}: '{key}' has values that are not finite")
    return state


def _backbone(state: State) -> str | None:
    """Return the backbone that shapes and numbers of blocks tell, if it is a known one."""
    patch = state.get("backbone.patch_embed.proj.weight")
    stem = "backbone.layers.2.blocks.{}.norm1.weight"
    if patch is None:
        stem = "backbone.layer3.{}.conv1.weight"
    blocks = 0
    while stem.format(blocks) in state:
        blocks += 1
    if patch is None:
        names = {(False, 2): "resnet18", (True, 6): "resnet50", (True, 23): "resnet101"}
        return names.get(("backbone.layer3.0.conv3.weight" in state, blocks))
    swins = {(96, 6): "swin-t", (96, 18): "swin-s", (128, 18): "swin-b"}
    return swins.get((patch.shape[0], blocks))


def recognise(state: State, path: Path) -> Layout:
    """Return what the keys and shapes of a state (see `read_state`) say it is.

    Raises:
        AubenchError: It is neither network, or its backbone is unknown.
    """
    first = ", ".join(list(state)[:SHOWN])
    main = "head.sc" in state
    if not main and "head.main_sc" not in state:
        raise AubenchError(
            f"{path} is no ME-GraphAU or OpenGraphAU: neither head.sc nor head.main_sc among its "
            f"{len(state)} tensors ({first}, …)",
            "give a checkpoint of one of them",
        )
    backbone = _backbone(state)
    if backbone is None:
        raise AubenchError(
            f"{path} has an unknown backbone ({first}, …)",
            f"known are {', '.join(PAPER_BACKBONES)} at 224 px",
        )
    edges = "head.edge_fc.weight" if main else "head.edge_extractor.edge_proj.weight"
    stage: Stage = "mefl" if edges in state else "anfl"
    if main:
        return Layout("me-graphau", backbone, stage, len(state["head.sc"]))
    return Layout("open-graphau", backbone, stage, len(MAIN))


def _listed(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")


def check(state: State, layout: Layout, path: Path, hint: str | None = None) -> None:
    """Check that a state has exactly the tensors of a layout.

    Raises:
        AubenchError: One line with counts and first names of missing and unexpected tensors, and of
            those of another shape.
    """
    with torch.device("meta"):
        wanted = to_official(layout.build(), layout, "meta")
    missing = sorted(wanted.keys() - state.keys())
    unexpected = sorted(state.keys() - wanted.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    faults = [
        f"{len(keys)} {what} ({_listed(keys)})"
        for keys, what in (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (shapes, "of another shape"),
        )
        if keys
    ]
    if faults:
        raise AubenchError(f"{path} is not {layout.name}: tensors {', '.join(faults)}", hint)


def _expected(found: Layout, name: str) -> Layout:
    """Return the layout asked for, with what the name leaves open taken from the file."""
    family, backbone, stage = parse(name)
    classes = len(MAIN) if family == "open-graphau" else found.classes
    if family == "me-graphau" and found.family != family:
        classes = 12
    return Layout(family, backbone or found.backbone, stage or found.stage, classes)


def load(
    path: Path, name: str | None = None, neighbours: int | None = None
) -> tuple[GraphNetwork, Layout]:
    """Return the network of a published checkpoint, in float32 on the processor, and its layout.

    Args:
        path: A ``.pth`` file of the published form, a bare state dict, or either's tensors as
            safetensors.
        name: What it should be, ``family[:backbone[:stage]]``; anything if not given.
        neighbours: K of the first stage, which the file does not hold; see `Layout.build`.

    Raises:
        AubenchError: See `read_state`, `recognise` and `check`; or Swin's position index is not
            that of windows of seven.
    """
    state = read_state(path)
    found = recognise(state, path)
    layout = _expected(found, name) if name else found
    hint = f"it looks like {found.name}" if layout != found else None
    check(state, layout, path, hint)
    with torch.device("meta"):
        network = layout.build(neighbours)
    ours: State = {}
    for key, like in network.state_dict().items():
        value = state[official_key(key)].reshape(like.shape)
        ours[key] = value.float() if value.is_floating_point() else value
    index = _position_index()
    for key, value in ours.items():
        if key.endswith("relative_position_index") and not torch.equal(value.long(), index):
            raise AubenchError(f"{path}: {official_key(key)} is not that of 7 x 7 windows")
    network.load_state_dict(ours, strict=True, assign=True)
    return network.eval().requires_grad_(False), layout


def _position_index() -> Tensor:
    """Return where each pair of tokens of a window finds its bias: int64 [2401] in 0..168."""
    at = torch.arange(WINDOW)
    difference = at[:, None] - at + WINDOW - 1
    pairs = difference[:, None, :, None] * (2 * WINDOW - 1) + difference[None, :, None, :]
    return pairs.reshape(-1)
