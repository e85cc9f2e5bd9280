"""MagicFace (Wei et al.): changes of AU intensities on a reference face, on SD 1.5.

What it needs besides its own weights, an image of background and pose for every sample, is made
with BiSeNet's face parser, insightface's antelopev2 and a 3D morphable model (Basel), which are
under terms of their own, mostly non-commercial. None of them is here: the adapter stops and says so
unless ``AUBENCH_MAGICFACE_IMAGES`` names a folder of such images, ``<sample_id>.png``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.generators.cards import Card
from aubench.generators.contract import Generator, GeneratorInfo, Plan, Request, WeightSource
from aubench.generators.incompatible_packages import conflict
from aubench.storage.files import sha256_bytes, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

VARIABLE = "AUBENCH_MAGICFACE_IMAGES"
RESTRICTED = (
    "its images of background and pose are made with BiSeNet's face parser (79999_iter.pth), "
    "insightface's antelopev2 and a 3D morphable model (d3dfr, Basel), which are under restricted, "
    f"mostly non-commercial terms and not here; set {VARIABLE} to a folder of them"
)
DEFAULTS: dict[str, Any] = {
    "base": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "denoiser": "denoising_unet",
    "identity": "ID_enc",
    "intensity": 3.0,
    "steps": 50,
    "guidance": 1.5,
    "batch": 1,
    "download": "no",
}


class MagicFace(Generator):
    """Two SD 1.5 denoisers: one reads the face, the other changes it."""

    info: ClassVar[GeneratorInfo] = GeneratorInfo(
        name="magicface",
        inputs=frozenset({"au", "reference"}),
        size=0,
        training="official weights, given by the user; inference only",
        trained_on=("not stated here; see its authors",),
        metrics_in_training=(),
        licence="Apache-2.0",
        citation="Wei et al., MagicFace",
        summary="AU changes on a reference; needs restricted assets; 7 of our AUs only",
        needs="--weights",
        reads_ids=True,  # to find images of background and pose
    )

    def __init__(
        self, pipe: Any, networks: Any, folder: Path, options: dict[str, Any], digest: str
    ) -> None:
        self.pipe, self.networks, self.folder = pipe, networks, folder
        self.options, self.digest = options, digest

    @classmethod
    def available(cls) -> str | None:
        """Return which packages conflict or restricted assets are missing, None if all is there."""
        reason = conflict("transformers", "diffusers")
        return reason or (None if os.environ.get(VARIABLE) else RESTRICTED)

    @classmethod
    def card(cls) -> Card:
        """Say where the official files come from."""
        return Card(
            "the user's: `hf download mengtingwei/magicface --local-dir FOLDER`, given by "
            "--weights; besides, a Stable Diffusion 1.5 base",
            "paper: the official weights",
            details={"restricted assets": RESTRICTED},
        )

    @classmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """Load both networks from a folder.

        Raises:
            AubenchError: A file or the base is missing, damaged or does not fit.
        """
        import torch
        from diffusers import UniPCMultistepScheduler

        from aubench_baselines.magicface.modules import MagicFaceNetworks, fill
        from aubench_baselines.stable_diffusion.base import base_digest, load_base
        from aubench_baselines.stable_diffusion.sampling import prepare, read_options

        chosen = read_options("magicface", options, DEFAULTS)
        folder = Path(os.environ.get(VARIABLE, ""))
        reason = cls.available()
        if reason is not None or not folder.is_dir():
            raise AubenchError(f"magicface cannot run: {reason or RESTRICTED}")
        files = network_files(weights.path, chosen)
        pipe = load_base(chosen["base"], dtype=torch.float32, download=chosen["download"] == "yes")
        base = base_digest(pipe)
        networks = MagicFaceNetworks(denoiser_config(pipe.unet))
        state = read_network(files["denoiser"])
        mlp = {
            key.removeprefix("au_aug_mlp."): state.pop(key)
            for key in list(state)
            if key.startswith("au_aug_mlp.")
        }
        fill(networks.au_aug_mlp, mlp, f"{files['denoiser']}: au_aug_mlp")
        fill(networks.denoiser, state, str(files["denoiser"]))
        fill(networks.identity, read_network(files["identity"]), str(files["identity"]))
        pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
        prepare(pipe, device)
        networks.to(device, getattr(torch, dtype)).eval().requires_grad_(False)
        parts = " ".join(sha256_file(file) for _, file in sorted(files.items()))
        return cls(pipe, networks, folder, chosen, sha256_bytes(f"{parts} {base}".encode()))

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the files and the base."""
        return self.digest

    def begin(self, plan: Plan) -> None:
        """Check that the image of every sample is there.

        Raises:
            AubenchError: Names the first that is missing.
        """
        for name in plan.sample_ids:
            if not (self.folder / f"{name}.png").is_file():
                raise AubenchError(f"{self.folder} lacks {name}.png of background and pose")

    def generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        """Return uint8 [B, size, size, 3].

        Raises:
            Unsupported: A request commands an AU that MagicFace does not have.
        """
        from aubench_baselines.fineface.generator import vector
        from aubench_baselines.stable_diffusion.sampling import filled, fitted

        changes = [vector(r, self.options["intensity"], "MagicFace") for r in batch]
        made: list[Any] = [None] * len(batch)
        for part, padded in filled(range(len(batch)), self.options["batch"]):
            images = self._sample([batch[i] for i in padded], [changes[i] for i in padded])
            for i, image in zip(part, images, strict=False):
                made[i] = fitted(image, batch[i].size)
        return np.stack(made)

    def _images(self, batch: Sequence[Request]) -> tuple[Tensor, Tensor]:
        """Return references and images of background and pose, float [B, 3, S, S] in 0..1."""
        import torch

        from aubench_baselines.sd15_lora.data import read_image
        from aubench_baselines.stable_diffusion.sampling import fitted

        side = self.pipe.unet.config.sample_size * self.pipe.vae_scale_factor
        faces, backgrounds = [], []
        for request in batch:
            if request.reference is None:
                raise AubenchError(f"sample {request.sample_id} has no reference for magicface")
            faces.append(fitted(request.reference, side))
            backgrounds.append(read_image(self.folder / f"{request.sample_id}.png", side))
        found = [torch.from_numpy(np.stack(part)) for part in (faces, backgrounds)]
        first, second = (part.permute(0, 3, 1, 2).float() / 255 for part in found)
        return first, second

    def _sample(
        self, batch: Sequence[Request], changes: Sequence[npt.NDArray[np.float32]]
    ) -> npt.NDArray[np.uint8]:
        import torch

        from aubench_baselines.magicface.modules import PROMPT, guided, to_latents
        from aubench_baselines.stable_diffusion.sampling import noise, pixels, sampling
        from aubench_baselines.stable_diffusion.text import encode, pieces

        pipe, networks = self.pipe, self.networks
        with sampling():
            kind, device = networks.au_aug_mlp.weight.dtype, pipe.unet.device
            face, background = (
                to_latents(pipe.vae, part.to(device, pipe.vae.dtype)).to(kind)
                for part in self._images(batch)
            )
            words = encode(pipe.text_encoder, [pieces(pipe.tokenizer, PROMPT, "truncate")])
            words = words.expand(len(batch), -1, -1).to(kind)
            change = torch.from_numpy(np.stack(changes)).to(device, kind)
            networks.remember(face, words)
            x = noise(pipe.unet, [request.seed for request in batch]).to(kind)
            pipe.scheduler.set_timesteps(self.options["steps"], device=device)
            for step in pipe.scheduler.timesteps:
                t = step.expand(len(batch))
                guess = guided(networks, x, t, words, background, change, self.options["guidance"])
                x = pipe.scheduler.step(guess, step, x).prev_sample
            image = pipe.vae.decode(x.to(pipe.vae.dtype) / pipe.vae.config.scaling_factor).sample
        return pixels((image / 2 + 0.5).clamp(0, 1))


def network_files(folder: Path | None, options: dict[str, Any]) -> dict[str, Path]:
    """Return the safetensors file of each network.

    Raises:
        AubenchError: There is no folder, or a network is missing in it.
    """
    if folder is None or not folder.is_dir():
        raise AubenchError(
            "magicface needs --weights FOLDER; no weights are shipped",
            "the files of the Hugging Face repository mengtingwei/magicface in one folder",
        )
    found = {}
    for part in ("denoiser", "identity"):
        files = sorted((folder / options[part]).glob("*.safetensors"))
        if len(files) != 1:
            raise AubenchError(
                f"{folder / options[part]} holds {len(files)} safetensors files, not one",
                f"--option {part}=SUBFOLDER where it has another name",
            )
        found[part] = files[0]
    return found


def read_network(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        AubenchError: It is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise AubenchError(f"{path} cannot be read: {error}", "restore the file") from error


def denoiser_config(unet: Any) -> dict[str, Any]:
    """Return the arguments that the base's denoiser was made with."""
    return {key: value for key, value in unet.config.items() if not key.startswith("_")}
