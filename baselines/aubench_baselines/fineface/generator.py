"""FineFace (Varanka et al.): AU intensities to a face, on Stable Diffusion.

Its twelve AUs are DISFA's; seven of ours are among them. A sample that commands another is
unsupported: it is left out of this model's row, and the row says how many were.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from aubench.datasets.readers.disfa import CODED as THEIRS
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.generators.cards import Card
from aubench.generators.contract import Generator, GeneratorInfo, Request, Unsupported, WeightSource
from aubench.generators.incompatible_packages import conflict
from aubench.storage.files import sha256_bytes, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

BASES = {
    "sd21": "stabilityai/stable-diffusion-2-1-base",
    "sd15": "SG161222/Realistic_Vision_V4.0_noVAE",
}
SUPPORTED = tuple(au for au in AUS if au in THEIRS)
DEFAULTS: dict[str, Any] = {
    "base": "",
    "variant": "sd21",
    "prompt": "a close up photo of a person's face",
    "intensity": 3.0,
    "au_scale": 1.0,
    "steps": 30,
    "guidance": 7.5,
    "batch": 4,
    "download": "no",
}


def vector(request: Request, unknown: float, model: str = "FineFace") -> npt.NDArray[np.float32]:
    """Return intensities float32 [12] of a request in the order of DISFA's AUs.

    Args:
        request: Request with AUs.
        unknown: Intensity of an AU that is commanded without one.
        model: Named in errors; MagicFace has the same AUs.

    Raises:
        Unsupported: It commands an AU that the model does not have.
    """
    if request.aus is None:
        raise AubenchError(f"{model} reads AUs, and the protocol gives none")
    foreign = [au for au, on in zip(AUS, request.aus, strict=True) if on and au not in THEIRS]
    if foreign:
        names = ", ".join(f"AU{au}" for au in foreign)
        raise Unsupported(request.sample_id, f"{model} has no {names}")
    values = np.zeros(len(THEIRS), np.float32)
    for i, au in enumerate(AUS):
        if request.aus[i]:
            known = None if request.intensities is None else float(request.intensities[i])
            given = unknown if known is None or np.isnan(known) else known
            values[THEIRS.index(au)] = min(5.0, max(0.0, given))
    return values


class FineFace(Generator):
    """A Stable Diffusion base with an AU token, decoupled attention to it, and LoRA."""

    info: ClassVar[GeneratorInfo] = GeneratorInfo(
        name="fineface",
        inputs=frozenset({"au"}),
        size=0,
        training="official weights, given by the user; inference only",
        trained_on=("DISFA", "AffectNet"),
        metrics_in_training=(),
        licence="Apache-2.0",
        citation="Varanka et al., FineFace",
        summary="AU intensities on Stable Diffusion; AU 1, 2, 4, 6, 12, 15, 17 of ours only",
        needs="--weights",
    )

    def __init__(self, pipe: Any, encoder: Any, options: dict[str, Any], digest: str) -> None:
        self.pipe, self.encoder, self.options, self.digest = pipe, encoder, options, digest

    @classmethod
    def available(cls) -> str | None:
        """Return which installed packages cannot work together, None if all can."""
        return conflict("transformers", "diffusers", "peft")

    @classmethod
    def card(cls) -> Card:
        """Say where the official files come from."""
        return Card(
            "the user's: `hf download Tvaranka/fineface --local-dir FOLDER`, given by --weights; "
            "besides, a Stable Diffusion 2.1 base, or 1.5",
            "paper: the official weights",
        )

    @classmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """Load the official files from a folder onto their base.

        Raises:
            AubenchError: A file or the base is missing, damaged or does not fit.
        """
        import torch

        from aubench_baselines.fineface.modules import AUEncoder, fill, put_in
        from aubench_baselines.stable_diffusion.adapter import read_adapter
        from aubench_baselines.stable_diffusion.base import base_digest, load_base
        from aubench_baselines.stable_diffusion.sampling import prepare, read_options

        chosen = read_options("fineface", options, DEFAULTS)
        if chosen["variant"] not in BASES:
            raise AubenchError(f"fineface has no variant '{chosen['variant']}'", "sd21 or sd15")
        files = official_files(weights.path, chosen["variant"])
        pipe = load_base(
            chosen["base"] or BASES[chosen["variant"]],
            dtype=getattr(torch, dtype),
            download=chosen["download"] == "yes",
        )
        base = base_digest(pipe)
        read_adapter(pipe, files["lora"])
        encoder = AUEncoder(pipe.unet.config.cross_attention_dim)
        put_in(pipe.unet, chosen["au_scale"])
        state = read_tensors(files["attention"]) | read_tensors(files["encoder"])
        fill(pipe.unet, encoder, state, str(weights.path))
        prepare(pipe, device)
        encoder.to(device, pipe.unet.dtype).eval()
        parts = " ".join(sha256_file(file) for file in files.values())
        return cls(pipe, encoder, chosen, sha256_bytes(f"{parts} {base}".encode()))

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the files and the base."""
        return self.digest

    def generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        """Return uint8 [B, size, size, 3].

        Raises:
            Unsupported: A request commands an AU that FineFace does not have.
        """
        from aubench_baselines.stable_diffusion.sampling import filled, fitted

        values = [vector(request, self.options["intensity"]) for request in batch]
        made: list[Any] = [None] * len(batch)
        for part, padded in filled(range(len(batch)), self.options["batch"]):
            images = self._sample([values[i] for i in padded], [batch[i].seed for i in padded])
            for i, image in zip(part, images, strict=False):
                made[i] = fitted(image, batch[i].size)
        return np.stack(made)

    def states(self, values: Sequence[npt.NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        """Return states [B, 78, W] with and without condition: text, then the AU token.

        Without condition the text is empty and the AUs are zero.
        """
        import torch

        from aubench_baselines.stable_diffusion.text import encode, pieces

        pipe = self.pipe
        aus = torch.from_numpy(np.stack(values)).to(pipe.unet.device, pipe.unet.dtype)
        out = []
        for text, given in ((self.options["prompt"], aus), ("", torch.zeros_like(aus))):
            words = encode(pipe.text_encoder, [pieces(pipe.tokenizer, text, "truncate")])
            token = self.encoder(given)
            out.append(torch.cat([words.expand(len(values), -1, -1), token], 1))
        return out[0], out[1]

    def _sample(
        self, values: Sequence[npt.NDArray[np.float32]], seeds: list[int]
    ) -> npt.NDArray[np.uint8]:

        from aubench_baselines.stable_diffusion.sampling import noise, pixels, sampling

        with sampling():
            wanted, empty = self.states(values)
            out = self.pipe(
                prompt_embeds=wanted,
                negative_prompt_embeds=empty,
                latents=noise(self.pipe.unet, seeds),
                num_inference_steps=self.options["steps"],
                guidance_scale=self.options["guidance"],
                output_type="pt",
            ).images
        return pixels(out)


def official_files(folder: Path | None, variant: str) -> dict[str, Path]:
    """Return the files of a variant by part.

    Those of SD 1.5 are called ``sd15_…``; a file of that name is no file of the other variant.

    Raises:
        AubenchError: There is no folder, or a part is missing in it or there twice.
    """
    remedy = "the files of the Hugging Face repository Tvaranka/fineface in one folder"
    if folder is None or not folder.is_dir():
        raise AubenchError("fineface needs --weights FOLDER; no weights are shipped", remedy)
    found = {}
    patterns = {
        "lora": ("lora", ".safetensors"),
        "attention": ("attn_processors", ".ckpt"),
        "encoder": ("au_encoder", ".ckpt"),
    }
    for part, (word, suffix) in patterns.items():
        files = [
            path
            for path in sorted(folder.rglob("*"))
            if word in path.name
            and path.suffix in (suffix, ".safetensors")
            and ("sd15" in path.name or "sd15" in path.parent.name) == (variant == "sd15")
        ]
        if len(files) != 1:
            raise AubenchError(
                f"{folder} holds {len(files)} files *{word}*{suffix} for variant {variant}", remedy
            )
        found[part] = files[0]
    return found


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.ckpt`` (tensors only are unpickled) or safetensors file.

    Raises:
        AubenchError: It is damaged or holds something else.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise AubenchError(f"{path} cannot be read as tensors", "restore the file") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise AubenchError(f"{path} is not a dictionary of tensors", "restore the file")
    return state
