"""Stable Diffusion 1.5 with LoRA (Rombach et al. 2022; Hu et al. 2022): AU text to a face.

As in the paper it is given the text alone, not the person, so its LPIPS and identity are those of
a stranger's face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError, suggest
from aubench.generators.contract import Generator, GeneratorInfo, Request, Training, WeightSource
from aubench.generators.incompatible_packages import conflict
from aubench.storage.files import sha256_bytes, sha256_file
from aubench_baselines.stable_diffusion.sampling import (
    filled,
    fitted,
    noise,
    pixels,
    prepare,
    sampling,
)

SHIPPED = Path(__file__).with_name("weights") / "sd15-lora-nano.safetensors"


@dataclass(frozen=True)
class Options:
    """Options of ``aubench run --option NAME=VALUE``; where empty or 0 the card decides.

    Attributes:
        base: Diffusers folder, single safetensors file, or hub id.
        tokenizer: Folder of CLIP's tokenizer, for a single file.
        download: ``yes`` lets a hub id be fetched.
        long_text: ``chunk`` or ``truncate``; the default is what the LoRA was trained with.
        steps: Steps of DPM-Solver++ (2M).
        guidance: Scale of classifier-free guidance; 1 is none.
        batch: Images denoised at once; short batches are padded to it.
    """

    base: str = ""
    tokenizer: str = ""
    download: str = "no"
    long_text: str = ""
    steps: int = 0
    guidance: float = 0.0
    batch: int = 0


def read_options(given: dict[str, Any]) -> Options:
    """Return the options of a run.

    Raises:
        AubenchError: One is unknown or its value unreadable.
    """
    known: dict[str, type] = {f.name: type(getattr(Options(), f.name)) for f in fields(Options)}
    values: dict[str, Any] = {}
    for name, word in given.items():
        if name not in known:
            raise AubenchError(
                f"sd15-lora has no option '{name}'{suggest(name, known)}",
                f"choose from {', '.join(known)}",
            )
        try:
            values[name] = known[name](word)
        except ValueError as error:
            raise AubenchError(f"option {name}={word} is not a number") from error
    options = Options(**values)
    if options.download not in ("yes", "no"):
        raise AubenchError(f"option download={options.download} is neither yes nor no")
    if options.steps < 0 or options.batch < 0 or options.guidance < 0:
        raise AubenchError("options steps, batch and guidance are positive")
    return options


def find_base(option: str, card: dict[str, Any], weights: Path) -> str:
    """Return the base to load: the option, else the card's, relative to the weights' folder.

    Raises:
        AubenchError: Neither says.
    """
    name = option or str(card.get("base") or "")
    if not name:
        raise AubenchError(
            f"{weights.name} has no card that names its base",
            "--option base=FOLDER_OR_FILE_OR_HUB_ID",
        )
    beside = weights.parent / name
    return str(beside) if not option and beside.exists() else name


class SD15Lora(Generator):
    """A latent diffusion model with LoRA, sampled by DPM-Solver++."""

    info: ClassVar[GeneratorInfo] = GeneratorInfo(
        name="sd15-lora",
        inputs=frozenset({"text"}),
        size=0,
        training="nano base and LoRA, by aubench; not Stable Diffusion 1.5",
        trained_on=("synfacs/train",),
        metrics_in_training=(),
        licence="Apache-2.0",
        citation="Rombach et al., CVPR 2022; Hu et al., ICLR 2022",
        summary="latent diffusion, LoRA on AU texts; text only",
    )
    presets: ClassVar[tuple[str, ...]] = ("nano", "paper")
    stages: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)

    def __init__(self, pipe: Any, sampling: dict[str, Any], long_text: str, digest: str) -> None:
        self.pipe, self.sampling, self.long_text = pipe, sampling, long_text
        self.digest = digest
        self.known: dict[str, list[list[int]]] = {}

    @classmethod
    def available(cls) -> str | None:
        """Return which installed packages cannot work together, None if all can."""
        return conflict("transformers", "diffusers", "peft")

    @classmethod
    def fit(cls, training: Training) -> Path:
        """Train, or resume, and return the LoRA weights.

        Raises:
            AubenchError: Unreadable data or settings, a missing base, a foreign checkpoint.
        """
        from aubench_baselines.sd15_lora.train import fit

        return fit(training)

    @classmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """Load LoRA weights onto their base.

        Raises:
            AubenchError: Weights or base are missing, damaged or do not fit each other, or an
                option is unknown.
        """
        import torch

        from aubench_baselines.sd15_lora.card import SAMPLING
        from aubench_baselines.stable_diffusion.adapter import read_adapter, read_card
        from aubench_baselines.stable_diffusion.base import base_digest, load_base
        from aubench_baselines.stable_diffusion.text import check_way

        given = read_options(options)
        path = weights.path or SHIPPED
        if not path.is_file():
            raise AubenchError(f"no LoRA weights at {path}", "train them: docs/sd15-lora.md")
        card = read_card(path)
        name = find_base(given.base, card, path)
        pipe = load_base(
            name,
            dtype=getattr(torch, dtype),
            tokenizer=given.tokenizer,
            download=given.download == "yes",
        )
        base = base_digest(pipe)
        _check_card(card, path, base, named=not given.base)
        read_adapter(pipe, path)
        preset = "nano" if pipe.unet.config.sample_size < 32 else "paper"
        sampling = {**SAMPLING[preset], **card.get("sampling", {})}
        for key in ("steps", "guidance", "batch"):
            sampling[key] = getattr(given, key) or sampling[key]
        way = check_way(given.long_text or str(card.get("long text", "chunk")))
        prepare(pipe, device)
        digest = sha256_bytes(f"{sha256_file(path)} {base}".encode())
        made = cls(pipe, sampling, way, digest)
        if weights.path is not None:
            made.info = _info(cls.info, card)  # type: ignore[misc]
        return made

    @property
    def weights_sha256(self) -> str | None:
        """Digest of LoRA and base."""
        return self.digest

    def generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        """Return uint8 [B, size, size, 3]; each image depends on its request alone.

        Texts of one number of pieces are denoised together, in padded batches of one size, since
        the last bits of a matrix product may depend on its shape.
        """
        groups: dict[int, list[int]] = {}
        for i, request in enumerate(batch):
            groups.setdefault(len(self._pieces(request.text)), []).append(i)
        made: list[Any] = [None] * len(batch)
        for rows in groups.values():
            for part, padded in filled(rows, int(self.sampling["batch"])):
                images = self._sample([batch[i] for i in padded])
                for i, image in zip(part, images, strict=False):
                    made[i] = fitted(image, batch[i].size)
        return np.stack(made)

    def _pieces(self, text: str) -> list[list[int]]:
        from aubench_baselines.stable_diffusion.text import pieces

        if text not in self.known:
            self.known[text] = pieces(self.pipe.tokenizer, text, self.long_text)
        return self.known[text]

    def _sample(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:

        from aubench_baselines.stable_diffusion.text import encode

        pipe, count = self.pipe, len(self._pieces(batch[0].text))
        with sampling():
            states = encode(pipe.text_encoder, [self._pieces(r.text) for r in batch])
            # The empty text repeated: attention to copies of the same keys equals that to one.
            empty = encode(pipe.text_encoder, [self._pieces("") * count])
            out = pipe(
                prompt_embeds=states,
                negative_prompt_embeds=empty.expand_as(states),
                latents=noise(pipe.unet, [request.seed for request in batch]),
                num_inference_steps=int(self.sampling["steps"]),
                guidance_scale=float(self.sampling["guidance"]),
                output_type="pt",
            ).images
        return pixels(out)


def _check_card(card: dict[str, Any], path: Path, base: str, *, named: bool) -> None:
    """Refuse weights that are not those of the card, or a base that is not the LoRA's."""
    stated = card.get("sha256")
    if stated and sha256_file(path) != stated:
        raise AubenchError(f"{path} has not the sha256 its card says", "restore the file")
    expected = card.get("base sha256")
    if named and expected and base != expected:
        raise AubenchError(
            f"the base of {path.name} has digest {base[:12]}, its card says {expected[:12]}",
            "restore the base",
        )


def _info(info: GeneratorInfo, card: dict[str, Any]) -> GeneratorInfo:
    """Return what is known of weights that the user gave."""
    data = card.get("data", {})
    known = data.get("name") if isinstance(data, dict) else None
    scale = str(card.get("scale", "LoRA weights of the user, without a card"))
    return replace(info, training=scale, trained_on=(str(known),) if known else ())
