"""UniPortrait (He et al., ICCV 2025): text and a reference face to a face, on SD 1.5.

An adapter for inference, as the paper uses it. The reference is taken as it comes, an aligned crop,
or, with ``align=arcface``, cut as the official demo cuts it: by five points on ArcFace's template.
The demo finds them with insightface's models, whose terms are non-commercial; here our landmarker
does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.generators.cards import Card
from aubench.generators.contract import Generator, GeneratorInfo, Request, WeightSource
from aubench.generators.incompatible_packages import conflict
from aubench.storage.files import sha256_bytes, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

    from aubench.datasets.alignment import FaceFinder

DEFAULTS: dict[str, Any] = {
    "base": "SG161222/Realistic_Vision_V5.1_noVAE",
    "vae": "stabilityai/sd-vae-ft-mse",
    "image_encoder": "",
    "negative": "nsfw",
    "long_text": "truncate",
    "steps": 25,
    "guidance": 7.5,
    "face_scale": 0.7,
    "structure_scale": 0.1,
    "ip_scale": 0.0,
    "lora_scale": 1.0,
    "align": "none",
    "batch": 1,
    "download": "no",
}
"""Options and the official defaults; image tokens are off, since the paper gives one reference."""


class UniPortrait(Generator):
    """SD 1.5 with identity tokens from a face backbone and CLIP."""

    info: ClassVar[GeneratorInfo] = GeneratorInfo(
        name="uniportrait",
        inputs=frozenset({"text", "reference"}),
        size=0,
        training="official weights, given by the user; inference only",
        trained_on=("not stated by its authors",),
        metrics_in_training=(),
        licence="Apache-2.0",
        citation="He et al., UniPortrait, ICCV 2025",
        summary="text and reference on SD 1.5 with identity attention",
        needs="--weights",
    )

    def __init__(
        self,
        pipe: Any,
        face: Any,
        options: dict[str, Any],
        digest: str,
        finder: FaceFinder | None = None,
    ) -> None:
        self.pipe, self.face, self.options, self.digest = pipe, face, options, digest
        self.finder = finder

    @classmethod
    def available(cls) -> str | None:
        """Return which installed packages cannot work together, None if all can."""
        return conflict("transformers", "diffusers")

    @classmethod
    def card(cls) -> Card:
        """Say where the official files come from."""
        return Card(
            "the user's: `hf download Junjie96/UniPortrait --local-dir FOLDER`, given by "
            "--weights; besides, CLIP ViT-H (h94/IP-Adapter) and a Stable Diffusion 1.5 base",
            "paper: the official weights",
        )

    @classmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """Load the official files from a folder onto their base.

        Raises:
            AubenchError: A file, the base or CLIP is missing, damaged or does not fit.
        """
        import torch

        from aubench_baselines.stable_diffusion.base import base_digest, load_base, quiet
        from aubench_baselines.stable_diffusion.sampling import read_options
        from aubench_baselines.stable_diffusion.text import check_way
        from aubench_baselines.uniportrait.files import load_face, load_vae, official_files

        chosen = read_options("uniportrait", options, DEFAULTS)
        check_way(chosen["long_text"])
        finder = finder_of(chosen["align"], device)
        files = official_files(weights.path)
        kind, download = getattr(torch, dtype), chosen["download"] == "yes"
        pipe = load_base(chosen["base"], dtype=kind, download=download)
        if chosen["vae"]:
            pipe.vae = load_vae(chosen["vae"], download).to(kind)
        base = base_digest(pipe)
        face = load_face(pipe, files, chosen, download)
        pipe.set_progress_bar_config(disable=True)
        pipe.to(device)
        with quiet():
            for part in (pipe.unet, pipe.vae, pipe.text_encoder, face):
                part.to(device, kind).eval().requires_grad_(False)
        parts = " ".join(sha256_file(file) for _, file in sorted(files.items()))
        return cls(pipe, face, chosen, sha256_bytes(f"{parts} {base}".encode()), finder)

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the files and the base."""
        return self.digest

    def generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        """Return uint8 [B, size, size, 3]; samples of one text length are denoised together."""
        from aubench_baselines.stable_diffusion.sampling import filled, fitted
        from aubench_baselines.stable_diffusion.text import pieces

        ids = [pieces(self.pipe.tokenizer, r.text, self.options["long_text"]) for r in batch]
        groups: dict[int, list[int]] = {}
        for i, found in enumerate(ids):
            groups.setdefault(len(found), []).append(i)
        made: list[Any] = [None] * len(batch)
        for rows in groups.values():
            for part, padded in filled(rows, self.options["batch"]):
                images = self._sample([batch[i] for i in padded], [ids[i] for i in padded])
                for i, image in zip(part, images, strict=False):
                    made[i] = fitted(image, batch[i].size)
        return np.stack(made)

    def states(self, batch: Sequence[Request], ids: list[list[list[int]]]) -> tuple[Tensor, Tensor]:
        """Return states [B, L + 20, W] with and without condition: text, image, identity tokens.

        Without condition there are the negative prompt, a zero image and the tokens of no face.
        """
        import torch

        from aubench_baselines.stable_diffusion.text import encode, pieces

        pipe, count = self.pipe, len(ids[0])
        negative = pieces(pipe.tokenizer, self.options["negative"], "truncate") * count
        words = encode(pipe.text_encoder, ids)
        against = encode(pipe.text_encoder, [negative]).expand_as(words)
        tokens, nothing = self.face(
            faces_of(batch, self.finder).to(pipe.unet.device, pipe.unet.dtype)
        )
        return torch.cat([words, tokens], 1), torch.cat([against, nothing], 1)

    def _sample(
        self, batch: Sequence[Request], ids: list[list[list[int]]]
    ) -> npt.NDArray[np.uint8]:

        from aubench_baselines.stable_diffusion.sampling import noise, pixels, sampling

        with sampling():
            wanted, empty = self.states(batch, ids)
            out = self.pipe(
                prompt_embeds=wanted,
                negative_prompt_embeds=empty,
                latents=noise(self.pipe.unet, [request.seed for request in batch]),
                num_inference_steps=self.options["steps"],
                guidance_scale=self.options["guidance"],
                output_type="pt",
            ).images
        return pixels(out)


def finder_of(align: str, device: str) -> FaceFinder | None:
    """Return what finds the five points of a reference, None where it is taken as it comes.

    Raises:
        AubenchError: An unknown way.
        MissingWeightsError: The landmarker was not fetched.
    """
    if align == "none":
        return None
    if align != "arcface":
        raise AubenchError(f"--option align={align} is unknown", "none or arcface")
    from aubench.networks.face_landmarker.finder import LandmarkFinder

    return LandmarkFinder(device)


def faces_of(batch: Sequence[Request], finder: FaceFinder | None = None) -> Tensor:
    """Return the references float32 [B, 3, 224, 224] in 0..1.

    Args:
        batch: Requests with references.
        finder: Finds the points by which they are cut to ArcFace's template; None takes them as
            they come.

    Raises:
        AubenchError: A request has none, or no face is found in one.
    """
    import torch

    from aubench.datasets.alignment import ARCFACE_TEMPLATE, align
    from aubench_baselines.stable_diffusion.sampling import fitted

    found = []
    for request in batch:
        if request.reference is None:
            raise AubenchError(f"sample {request.sample_id} has no reference for uniportrait")
        if finder is None:
            found.append(fitted(request.reference, 224))
            continue
        face = finder(request.reference)
        if face is None:
            raise AubenchError(f"no face in the reference of {request.sample_id}", "align=none")
        found.append(align(request.reference, face.points, 224, ARCFACE_TEMPLATE))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255
