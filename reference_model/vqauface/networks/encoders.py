"""The frozen, pretrained encoders of stage II: face recognition, CLIP's image encoder, T5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.errors import AubenchError, first_line

if TYPE_CHECKING:
    from vqauface.presets import Preset

NANO_TEXT = "nano-dictionary"
"""The classifier whose encoder the nano was trained with; its states mean nothing to another."""

RANDOM = "random"
"""In place of weights: random ones, to try out shapes and memory."""

APPEARANCE = {"nano-id": 128, "facenet": 512}
"""Width of the embedding of each face-recognition network."""


@dataclass(frozen=True)
class Clip:
    """Shape of a CLIP image encoder, and where it is published."""

    width: int
    layers: int
    heads: int
    inner: int
    patch: int
    source: str
    size: int = 224


CLIPS = {
    "vit-large-patch14": Clip(1024, 24, 16, 4096, 14, "openai/clip-vit-large-patch14"),
    "vit-base-patch16": Clip(768, 12, 12, 3072, 16, "openai/clip-vit-base-patch16"),
    "tiny": Clip(32, 1, 2, 64, 16, "none", 32),
}
CLIP_MEAN, CLIP_SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def facenet(weights: str | None) -> nn.Module:
    """Return InceptionResnetV1, images [B, 3, 160, 160] in -1..1 to unit vectors [B, 512].

    Args:
        weights: Its state_dict, as facenet-pytorch publishes it; ``random`` for none.

    Raises:
        AubenchError: The package or the weights are missing, or these are others.
    """
    try:
        from facenet_pytorch import InceptionResnetV1
    except ImportError as error:
        raise AubenchError(
            "appearance=facenet needs the package facenet-pytorch",
            "`pip install --no-deps facenet-pytorch`, or --set appearance=nano-id",
        ) from error
    network: nn.Module = InceptionResnetV1(pretrained=None)
    if weights != RANDOM:
        file = Path(weights or "20180402-114759-vggface2.pt")
        if not file.is_file():
            raise AubenchError(
                f"no weights of the face-recognition network at {file}",
                "--set face_file=20180402-114759-vggface2.pt (facenet-pytorch's releases)",
            )
        try:
            state = torch.load(file, weights_only=True, map_location="cpu")
            given = {k: v for k, v in state.items() if not k.startswith("logits.")}
            network.load_state_dict(given)
        except Exception as error:
            raise AubenchError(f"{file} is not a state_dict of InceptionResnetV1") from error
    return network.eval().requires_grad_(False)


def clip_image(shape: Clip, weights: str | None) -> nn.Module:
    """Return CLIP's image encoder.

    Args:
        shape: Shape of the encoder.
        weights: Folder or hub id, by default the published one's; ``random`` for none.

    Raises:
        AubenchError: The weights are missing or of another shape.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        image_size=shape.size,
        patch_size=shape.patch,
    )
    if weights == RANDOM:
        network: Any = CLIPVisionModel(config)
    else:
        try:
            network, loading = CLIPVisionModel.from_pretrained(
                weights or shape.source, output_loading_info=True, weights_only=True
            )
        except Exception as error:  # the hub's client has many kinds
            first = first_line(error)[:160]
            raise AubenchError(
                f"no CLIP image encoder at {weights or shape.source} ({first})",
                "--set clip_file=FOLDER with config.json and model.safetensors, or structure=own",
            ) from error
        if loading["missing_keys"]:  # they would stay random
            raise AubenchError(
                f"{weights or shape.source} lacks {len(loading['missing_keys'])} tensors of CLIP's "
                f"image encoder, first {sorted(loading['missing_keys'])[0]}",
                "--set clip_file=FOLDER of a whole one",
            )
        found = (network.config.hidden_size, network.config.num_hidden_layers)
        if found != (shape.width, shape.layers):
            raise AubenchError(
                f"{weights} is {found[0]} wide with {found[1]} layers, "
                f"not {shape.width} and {shape.layers}",
                "--set clip=NAME of this one",
            )
    out: nn.Module = network.eval().requires_grad_(False)
    return out


class Text:
    """A T5 encoder: texts to hidden states [B, L, C] and the mask of real tokens [B, L].

    Args:
        name: Name of the preset in ``aubench.networks.textau``.
        length: Longest text in tokens.
        source: Folder or hub id of a pretrained T5; ``random`` for none; the nano's is shipped.
        device: Torch device.
    """

    def __init__(self, name: str, length: int, source: str | None, device: str) -> None:
        self.name, self.length, self.device = name, length, device
        if name == "nano" and source is None:
            from aubench.networks.textau import load_text_au

            loaded = load_text_au(NANO_TEXT)
            self.id, self.tokens = loaded.id, loaded.tokens
            self.encoder: Any = loaded.network.to(device)
        else:
            self._pretrained(name, source, device)

    def _pretrained(self, name: str, source: str | None, device: str) -> None:
        from aubench.networks.textau import checkpoint
        from aubench.networks.textau.classifier import WEIGHTS, TextNetwork, Tokens, preset

        shape = preset(NANO_TEXT if name == "nano" else name)
        if source == RANDOM:  # with the nano's tokenizer, whose tokens fit any vocabulary
            network, tokenizer = TextNetwork(shape), WEIGHTS / f"{NANO_TEXT}.tokenizer.json"
            self.id = f"{name}@random"
        else:
            found = checkpoint.find(source or str(shape.checkpoint), name)
            network, tokenizer = TextNetwork(found.shape), found.tokenizer
            checkpoint.load_encoder(network, found)
            self.id = f"{name}@{sorted(found.sha256.values())[0][:12]}"
        self.tokens = Tokens(tokenizer, self.length)
        self.encoder = network.eval().requires_grad_(False).to(device)

    def check(self, text: str) -> None:
        """Raise AubenchError if a text is longer than the encoder takes."""
        limit = min(self.length, self.tokens.length)
        count, at = self.tokens.cut(text)
        if count > limit:
            end = text[:at].rsplit(" ", 1)[0][-24:] if at else ""
            raise AubenchError(
                f"the text has {count} tokens, the encoder takes {limit}",
                f"end it at '…{end}'" if end else "shorten it",
            )

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return hidden states float [B, L, C] and mask bool [B, L]."""
        for text in texts:
            self.check(text)
        ids, mask = (x.to(self.device) for x in self.tokens(texts))
        return self.encoder.encode(ids, mask).float(), mask.bool()


@dataclass
class Encoders:
    """The frozen encoders a preset names, each None where it is not needed.

    Attributes:
        text: T5.
        face: Face-recognition network.
        clip: CLIP's image encoder.
        kind: Name of the face-recognition network.
        size: Pixels of CLIP's input.
        known: Text states seen before, in half precision; a frozen encoder sees a text once.
    """

    text: Text | None
    face: nn.Module | None
    clip: nn.Module | None
    kind: str
    size: int
    known: dict[str, Tensor] = field(default_factory=dict)
    room: int = 1 << 30

    @torch.inference_mode()
    def features(self, image: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return appearance [B, 1, W] and structure [B, T, W] of images [B, 3, S, S] in -1..1."""
        appearance = structure = None
        if self.face is not None:
            appearance = self._appearance(image)[:, None]
        if self.clip is not None:
            x = F.interpolate(image, (self.size,) * 2, mode="bicubic", antialias=True)
            mean = torch.tensor(CLIP_MEAN, device=x.device)[:, None, None]
            spread = torch.tensor(CLIP_SPREAD, device=x.device)[:, None, None]
            pixels = ((x.clamp(-1, 1) + 1) / 2 - mean) / spread
            structure = self.clip(pixel_values=pixels).last_hidden_state.float()
        return appearance, structure

    def _appearance(self, image: Tensor) -> Tensor:
        side = 128 if self.kind == "nano-id" else 160
        x = image
        if x.shape[-1] != side:
            x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
        assert self.face is not None
        out: Tensor = self.face((x + 1) / 2 if self.kind == "nano-id" else x)
        return out.float()

    def states(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return text states [B, L, C] and mask [B, L], L the longest of the batch."""
        assert self.text is not None
        found = []
        for text in texts:
            one = self.known.get(text)
            if one is None:
                hidden, mask = self.text([text])
                one = hidden[0][mask[0]].half().cpu()
                self.room -= one.numel() * 2
                if self.room > 0:
                    self.known[text] = one
            found.append(one)
        states = nn.utils.rnn.pad_sequence([f.float() for f in found], batch_first=True)
        lengths = torch.tensor([len(f) for f in found])
        return states, torch.arange(states.shape[1])[None] < lengths[:, None]

    @property
    def ids(self) -> dict[str, str]:
        """Names of the encoders in use, for the card."""
        out = {}
        if self.text is not None:
            out["text encoder"] = self.text.id
        if self.face is not None:
            out["face recognition"] = self.kind
        if self.clip is not None:
            out["image encoder"] = str(getattr(self.clip, "name_or_path", "") or "random")
        return out


def load_encoders(
    p: Preset,
    device: str,
    *,
    text: str | None = None,
    face: str | None = None,
    clip: str | None = None,
) -> Encoders:
    """Load the frozen encoders of a preset.

    Args:
        p: The preset.
        device: Torch device.
        text: Source of T5, see `Text`.
        face: Weights of the face-recognition network, see `facenet`.
        clip: Source of CLIP's image encoder, see `clip_image`.

    Raises:
        AubenchError: An encoder or its weights are missing; the line names the remedy.
    """
    network, shape = None, CLIPS.get(p.clip)
    if p.structure == "clip" and shape is None:
        raise AubenchError(f"unknown CLIP '{p.clip}'", f"choose from {', '.join(CLIPS)}")
    if p.has("appearance") and p.appearance == "nano-id":
        from aubench.networks.identity import load_identity

        network = load_identity(device=device).network
    elif p.has("appearance") and p.appearance == "facenet":
        network = facenet(face).to(device)
    image = None
    if p.has("structure") and p.structure == "clip" and shape is not None:
        image = clip_image(shape, clip).to(device)
    words = Text(p.encoder, p.length, text, device) if p.input == "text" else None
    return Encoders(words, network, image, p.appearance, shape.size if shape else 0)
