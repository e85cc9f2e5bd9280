"""Pretrained T5 encoders: from a folder, or from the hub where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aubench.errors import AubenchError, first_line
from aubench.networks.textau.classifier import Preset, TextNetwork, Tokens, preset
from aubench.storage.files import sha256_file
from aubench.storage.text_files import read_json

SILENCE = 10
"""Seconds the hub may take to answer."""

SAFE = ["config.json", "tokenizer.json", "model*.safetensors", "model.safetensors.index.json"]
TORCH = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]
ENCODER = ("shared.", "encoder.")

FIXED: dict[str, Any] = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
}
"""What our network takes for granted of a T5, and T5's own defaults."""


@dataclass(frozen=True)
class Pretrained:
    """A T5 encoder on disk.

    Attributes:
        source: Folder or hub id as given.
        shape: The preset with the checkpoint's own vocabulary and feed-forward layer.
        files: Of the weights.
        sha256: Digests of these files by name.
        tokenizer: ``tokenizer.json``.
    """

    source: str
    shape: Preset
    files: tuple[Path, ...]
    sha256: dict[str, str]
    tokenizer: Path


def find(source: str, encoder: str) -> Pretrained:
    """Find a checkpoint's configuration, weights and tokenizer, and check that they fit a preset.

    Args:
        source: A folder, a weights file in one, or a hub id such as ``google-t5/t5-large``.
        encoder: Name of the preset.

    Raises:
        AubenchError: A file is missing or of another T5, or the hub does not answer.
    """
    folder = locate(source)
    shape = read_shape(folder / "config.json", encoder)
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise AubenchError(
            f"{folder} has no tokenizer.json",
            "save it once with T5TokenizerFast.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )
    size = Tokens(tokenizer, shape.length).size
    if size > shape.vocabulary:
        raise AubenchError(f"{tokenizer} knows {size} tokens, the weights {shape.vocabulary}")
    files = weight_files(folder)
    digests = {path.name: sha256_file(path) for path in files}
    return Pretrained(source, shape, files, digests, tokenizer)


def locate(source: str) -> Path:
    """Return the folder of a checkpoint; a hub id is fetched, or found among fetched ones."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise AubenchError(f"no checkpoint at {source}", "give a folder, or a hub id OWNER/NAME")
    return _from_hub(source)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=SAFE, etag_timeout=SILENCE))
        if not list(folder.glob("model*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*SAFE, *TORCH]))
    except Exception as error:  # the hub's client has many kinds, and those of its transport
        why = first_line(error)
        raise AubenchError(
            f"the hub did not give '{name}' ({why[:160]})",
            "give --checkpoint a folder with config.json, tokenizer.json and model.safetensors",
        ) from error
    return folder


def read_shape(path: Path, encoder: str) -> Preset:
    """Return a preset with what a T5's ``config.json`` leaves open.

    Raises:
        AubenchError: It is missing, damaged, or of another size than the preset.
    """
    try:
        data: dict[str, Any] = read_json(path)
        found = (int(data["d_model"]), int(data["num_layers"]), int(data["num_heads"]))
        shape = replace(
            preset(encoder),
            vocabulary=int(data["vocab_size"]),
            key=int(data["d_kv"]),
            inner=int(data["d_ff"]),
            gated=data.get("feed_forward_proj", "relu") == "gated-gelu",
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{path} is not the configuration of a T5: {error}") from error
    if found != (shape.width, shape.layers, shape.heads):
        raise AubenchError(
            f"{path} is {found[0]} wide with {found[1]} layers and {found[2]} heads, "
            f"{encoder} is {shape.width} wide with {shape.layers} and {shape.heads}",
            "choose the --encoder of this checkpoint",
        )
    for key, value in FIXED.items():
        if data.get(key, value) != value:
            raise AubenchError(f"{path} has {key} {data[key]}, T5 has {value}")
    if data.get("feed_forward_proj", "relu") not in {"relu", "gated-gelu"}:
        raise AubenchError(f"{path} has an unknown feed_forward_proj {data['feed_forward_proj']}")
    return shape


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the weights of a checkpoint, safetensors before PyTorch's, all shards if it has some.

    Raises:
        AubenchError: There are none, or a shard is missing.
    """
    for single in ("model.safetensors", "pytorch_model.bin"):
        if (folder / single).is_file():
            return (folder / single,)
        index = folder / f"{single}.index.json"
        if index.is_file():
            try:
                table = read_json(index)["weight_map"]
                names = sorted(set(table.values()))
            except (ValueError, KeyError, AttributeError) as error:
                raise AubenchError(f"{index} is damaged: {error}") from error
            for name in names:
                if not (folder / name).is_file():
                    raise AubenchError(f"{folder} lacks {name}", f"{index.name} lists it")
            return tuple(folder / name for name in names)
    raise AubenchError(f"{folder} has neither model.safetensors nor pytorch_model.bin")


def load_encoder(network: TextNetwork, pretrained: Pretrained) -> None:
    """Put a checkpoint's encoder into a network, every tensor of it; the decoder is not read.

    Raises:
        AubenchError: A file is damaged, or tensors are missing or of another shape.
    """
    state: dict[str, Tensor] = {}
    for path in pretrained.files:
        for name, value in _tensors(path):
            state[name] = value.float()
    if "shared.weight" not in state and "encoder.embed_tokens.weight" in state:
        state["shared.weight"] = state["encoder.embed_tokens.weight"]
    try:
        missing, unexpected = network.encoder.load_state_dict(state, strict=False)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise AubenchError(f"{pretrained.source} does not fit: {lines[-1].strip()}") from error
    missing = [name for name in missing if "embed_tokens" not in name]
    if missing or unexpected:
        what = f"lacks {missing[0]}" if missing else f"has a strange tensor {unexpected[0]}"
        raise AubenchError(f"{pretrained.source} {what}", "it is not a whole T5 encoder")


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the encoder's tensors of a file; a PyTorch file is read as tensors only."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  (not a dictionary)
                    if name.startswith(ENCODER):
                        yield name, file.get_tensor(name)
        else:
            for name, value in torch.load(path, map_location="cpu", weights_only=True).items():
                if name.startswith(ENCODER):
                    yield name, value
    except (SafetensorError, OSError, RuntimeError, EOFError, AttributeError, ValueError) as error:
        first = first_line(error)
        raise AubenchError(f"{path} cannot be read: {first}", "fetch it again") from error
    except Exception as error:  # pickle's refusal of what is no tensor
        raise AubenchError(f"{path} holds more than tensors", "use model.safetensors") from error
