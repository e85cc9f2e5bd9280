"""``aubench train sd15-lora``: an autoencoder, a base on neutral faces, then LoRA on AU texts.

Stages 1, 2 and 4 make a small base in the place of Stable Diffusion 1.5, which cannot be shipped;
stage 3 is the baseline itself and the same for both. Stage 4 trains the decoder further on frozen
latents, as Stable Diffusion's own decoder was. Interrupt it freely: the same command resumes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.generators.contract import Training
from aubench_baselines.sd15_lora.loop import Batch, Loop, Settings, changed, to_float
from aubench_baselines.stable_diffusion.base import quiet
from aubench_baselines.stable_diffusion.latents import Latents, encode_all, latent_scale
from aubench_baselines.stable_diffusion.shapes import DDIM, SCHEDULE, shape_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from aubench_baselines.sd15_lora.data import TrainingImages

    Rows = npt.NDArray[np.int64]

PRESETS: dict[str, dict[int, dict[str, Any]]] = {
    "nano": {
        1: {"steps": 2400, "batch": 8, "rate": 1e-3},
        2: {"steps": 2200, "batch": 48, "rate": 1e-3},
        3: {"steps": 3000, "batch": 48, "rate": 2e-3, "rank": 24, "targets": "all"},
        4: {"steps": 500, "batch": 8, "rate": 1e-3},
    },
    # The paper says "fine-tuned with LoRA" and no more; these are diffusers' usual numbers.
    "paper": {
        3: {
            "steps": 15_000,
            "batch": 4,
            "rate": 1e-4,
            "rank": 16,
            "text_encoder": False,
            "kept": False,
        },
    },
}


class Autoencoder(Loop):
    """Stage 1: images to latents and back; L1, squared and edge loss, small KL term."""

    def __init__(self, settings: Settings, out: Path, device: str, data: TrainingImages) -> None:
        self.data = data
        super().__init__(settings, out, device)

    def make(self) -> dict[str, nn.Module]:
        """Return the autoencoder."""
        return {"vae": shape_of(self.s.preset).build_vae()}

    def count(self) -> int:
        """Return the number of images."""
        return len(self.data)

    def facts(self) -> dict[str, str]:
        """Return the fingerprint of the data."""
        return {"data": self.data.fingerprint}

    def loss(self, rows: Rows, draw: torch.Generator) -> Batch:
        """Return the loss of reconstruction and how far latents are from a normal."""
        x = to_float(self.data.images(rows)).to(self.device)
        vae: Any = self.modules["vae"]
        latent = vae.encode(x).latent_dist
        noise = torch.randn(latent.mean.shape, generator=draw).to(self.device)
        y = vae.decode(latent.mean + latent.std * noise).sample.float()
        kl = 0.5 * (latent.mean.float().square() + latent.var.float() - 1 - latent.logvar.float())
        l1 = (x - y).abs().mean()
        total = l1 + (x - y).square().mean() + 0.5 * edges(x - y) + 3e-4 * kl.mean()
        return total, {"l1": float(l1.detach()), "kl": float(kl.mean().detach())}


class Decoder(Autoencoder):
    """Stage 4: the decoder alone, further, on the latents that stages 2 and 3 were trained on."""

    def __init__(
        self, settings: Settings, out: Path, device: str, data: TrainingImages, vae: nn.Module
    ) -> None:
        self.vae = vae
        super().__init__(settings, out, device, data)

    def make(self) -> dict[str, nn.Module]:
        """Return the autoencoder of stage 1 with all but the decoder frozen."""
        vae: Any = self.vae.requires_grad_(False)
        vae.decoder.requires_grad_(True)
        vae.post_quant_conv.requires_grad_(True)
        return {"vae": vae}

    def loss(self, rows: Rows, draw: torch.Generator) -> Batch:
        """Return the loss of reconstruction."""
        x = to_float(self.data.images(rows)).to(self.device)
        vae: Any = self.modules["vae"]
        with torch.no_grad():
            latent = vae.encode(x).latent_dist
            noise = torch.randn(latent.mean.shape, generator=draw).to(self.device)
        y = vae.decode(latent.mean + 0.5 * latent.std * noise).sample.float()
        l1 = (x - y).abs().mean()
        total = l1 + (x - y).square().mean() + edges(x - y)
        return total, {"l1": float(l1.detach())}


def edges(d: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours in [B, C, H, W]; keeps furrows sharp."""
    across = (d[..., :, 1:] - d[..., :, :-1]).abs().mean()
    return across + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()


class Diffusion(Loop):
    """Noise prediction in latent space, with texts; base and LoRA differ in what is trained."""

    def __init__(
        self,
        settings: Settings,
        out: Path,
        device: str,
        data: TrainingImages,
        pipe: Any,
        base: str = "",
    ) -> None:
        """Take data and base.

        Args:
            settings: Settings of the stage.
            out: Folder of the checkpoint.
            device: Torch device.
            data: Images and texts.
            pipe: The base.
            base: Digest of what is frozen of it, for the checkpoint.
        """
        from diffusers import DDPMScheduler

        self.data, self.pipe, self.base = data, pipe, base
        self.noise = DDPMScheduler.from_config(pipe.scheduler.config)
        self.vae = pipe.vae.requires_grad_(False).eval()
        self.kept: Latents | None = None
        self.ids: dict[str, list[list[int]]] = {}
        super().__init__(settings, out, device)
        if not settings.kept:
            self.vae.to(device)

    def count(self) -> int:
        """Return the number of images."""
        return len(self.data)

    def facts(self) -> dict[str, str]:
        """Return the fingerprint of the data, and the digest of the base."""
        base = {"base": self.base} if self.base else {}
        return {"data": self.data.fingerprint, **base}

    def _latents(self, rows: Rows, draw: torch.Generator) -> Tensor:
        if self.s.kept and self.kept is None:
            with torch.autocast("cpu", enabled=False):  # it has no half precision
                self.kept = encode_all(self.vae, self.data)
        if self.kept is not None:
            return self.kept.draw(rows, draw).to(self.device)
        with torch.no_grad():
            latent = self.vae.encode(to_float(self.data.images(rows)).to(self.device)).latent_dist
        noise = torch.randn(latent.mean.shape, generator=draw).to(self.device)
        scaled: Tensor = (latent.mean + latent.std * noise) * self.vae.config.scaling_factor
        return scaled

    def _pieces(self, rows: Rows, draw: torch.Generator) -> list[list[list[int]]]:
        """Return token ids of one text a row, some dropped."""
        from aubench_baselines.stable_diffusion.text import pieces

        chosen = torch.rand(len(rows), 2, generator=draw).tolist()
        found = []
        for row, (which, dropped) in zip(rows, chosen, strict=True):
            texts = self.data.texts(int(row))
            text = "" if dropped < self.s.drop_text else texts[int(which * len(texts))]
            if text not in self.ids:
                self.ids[text] = pieces(self.pipe.tokenizer, text, self.s.long_text)
            found.append(self.ids[text])
        return found

    def loss(self, rows: Rows, draw: torch.Generator) -> Batch:
        """Return the mean squared error of the predicted noise."""
        from aubench_baselines.stable_diffusion.text import encode_ragged

        x = self._latents(rows, draw).float()
        noise = torch.randn(x.shape, generator=draw).to(self.device)
        steps = int(self.noise.config.num_train_timesteps)
        t = torch.randint(0, steps, (len(rows),), generator=draw).to(self.device)
        states, mask = encode_ragged(self.modules["text_encoder"], self._pieces(rows, draw))
        noisy = self.noise.add_noise(x, noise, t)
        guess = self.modules["unet"](
            noisy, t, states, encoder_attention_mask=None if mask.all() else mask
        ).sample
        loss = F.mse_loss(guess.float(), noise)
        return loss, {"mse": float(loss.detach())}


class Base(Diffusion):
    """Stage 2: denoiser and text encoder from scratch, on neutral faces with generic texts."""

    def make(self) -> dict[str, nn.Module]:
        """Return denoiser and text encoder."""
        return {"unet": self.pipe.unet, "text_encoder": self.pipe.text_encoder}


class Adapter(Diffusion):
    """Stage 3: LoRA matrices on a frozen base."""

    def make(self) -> dict[str, nn.Module]:
        """Return denoiser and text encoder with LoRA, in which alone a gradient is kept."""
        from aubench_baselines.stable_diffusion.adapter import add_adapters

        add_adapters(self.pipe, self.s.rank, self.s.targets, text_encoder=self.s.text_encoder)
        return {"unet": self.pipe.unet, "text_encoder": self.pipe.text_encoder}


FOLDER = "sd15-{}-base"
"""Where stages 1 and 2 leave their base, beside the LoRA weights that name it."""


def settings_of(training: Training, stage: int) -> Settings:
    """Return the settings of a stage, as the options ask.

    Raises:
        AubenchError: An unknown setting, or a stage that the preset does not have.
    """
    if stage not in PRESETS[training.preset]:
        raise AubenchError(
            f"preset {training.preset} has no stage {stage}; its base is Stable Diffusion 1.5",
            "--stage 3 --set base=FOLDER_OR_FILE_OR_HUB_ID",
        )
    start = Settings(
        stage=stage,
        preset=training.preset,
        data=training.data,
        fold=training.fold,
        seed=training.seed,
        **PRESETS[training.preset][stage],
    )
    options = dict(training.options)
    if training.steps is not None:
        options["steps"] = str(training.steps)
    return changed(start, options)


def stages_of(training: Training) -> list[int]:
    """Return the stages to train: those of the preset; only the last where a base is given."""
    if training.stage is not None:
        return [training.stage]
    return [3] if training.options.get("base") else sorted(PRESETS[training.preset])


def fit(training: Training) -> Path:
    """Train or resume, and return the LoRA weights, or what an earlier stage leaves.

    Raises:
        AubenchError: Unreadable data or settings, a missing base, a foreign checkpoint.
    """
    training.out.mkdir(parents=True, exist_ok=True)
    done = training.out
    for stage in stages_of(training):
        settings = settings_of(training, stage)
        with quiet():
            done = STAGES[stage](settings, training.out, training.device)
    return done


def train_autoencoder(settings: Settings, out: Path, device: str) -> Path:
    """Train stage 1 and write the autoencoder into the base's folder."""
    from aubench_baselines.sd15_lora.data import au_faces

    size = shape_of(settings.preset).size
    loop = Autoencoder(settings, out, device, au_faces(settings, size, references=True))
    loop.resume()
    loop.run()
    loop.take_average()
    vae: Any = loop.modules["vae"].eval().cpu()
    vae.register_to_config(scaling_factor=latent_scale(vae, loop.data))
    folder = out / FOLDER.format(settings.preset)
    vae.half().save_pretrained(folder / "vae")
    return folder


def train_base(settings: Settings, out: Path, device: str) -> Path:
    """Train stage 2 on the autoencoder of stage 1 and complete the base's folder."""
    from aubench_baselines.sd15_lora.data import neutral_faces
    from aubench_baselines.stable_diffusion.base import write_index

    shape = shape_of(settings.preset)
    folder = out / FOLDER.format(settings.preset)
    pipe = fresh_base(settings, folder)
    loop = Base(settings, out, device, neutral_faces(settings, shape.size), pipe)
    loop.resume()
    loop.run()
    loop.take_average()
    for name in ("unet", "text_encoder"):
        loop.modules[name].cpu().half().save_pretrained(folder / name)
    write_index(folder)
    return folder


def fresh_base(settings: Settings, folder: Path) -> Any:
    """Return a pipeline of stage 1's autoencoder and untrained networks; trains the tokenizer.

    A training that goes on keeps the tokenizer that it began with.

    Raises:
        AubenchError: Stage 1 was not trained there.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    from aubench.datasets.registry import find_dataset
    from aubench.facs import parse_aus
    from aubench.facs.describe import describe
    from aubench_baselines.sd15_lora.data import WORDINGS
    from aubench_baselines.stable_diffusion.text import GENERIC, train_tokenizer

    if not (folder / "vae" / "config.json").is_file():
        raise AubenchError(f"no autoencoder in {folder}", "train --stage 1 first")
    shape = shape_of(settings.preset)
    begun = (folder.parent / "stage2.checkpoint.pt").is_file()
    if not begun or not (folder / "tokenizer" / "vocab.json").is_file():
        texts = [
            describe(parse_aus(name), seed=k).text
            for name in find_dataset(settings.data).combinations(settings.fold)
            for k in range(WORDINGS)
        ]
        train_tokenizer(folder / "tokenizer", shape.vocabulary, [*texts, *GENERIC])
    torch.manual_seed(settings.seed)
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folder / "vae").float(),
        unet=shape.build_unet(),
        text_encoder=shape.build_text(),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=DDIMScheduler(**SCHEDULE, **DDIM),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def train_adapter(settings: Settings, out: Path, device: str) -> Path:
    """Train stage 3 and write the LoRA weights with their card."""
    from aubench_baselines.sd15_lora.card import write_card
    from aubench_baselines.sd15_lora.data import load_pictures
    from aubench_baselines.stable_diffusion.adapter import write_adapter
    from aubench_baselines.stable_diffusion.base import base_digest, load_base

    base = settings.base or str(out / FOLDER.format(settings.preset))
    if not settings.base and not Path(base).is_dir():
        raise AubenchError(f"no base at {base}", "train stages 1 and 2 first, or --set base=…")
    # A frozen base of SD 1.5's size is kept in 16 bits; LoRA is in 32 either way.
    half = settings.preset == "paper" and settings.precision == "bfloat16"
    pipe = load_base(base, dtype=torch.bfloat16 if half else torch.float32)
    digest = base_digest(pipe)
    # Stage 4 trains the autoencoder's decoder further, which stage 3 does not depend on.
    frozen = base_digest(pipe, ("unet", "text_encoder"))[:12]
    size = pipe.unet.config.sample_size * pipe.vae_scale_factor
    data = load_pictures(settings, size)
    loop = Adapter(settings, out, device, data, pipe, frozen)
    loop.resume()
    loop.run()
    loop.take_average()
    path = out / f"sd15-lora-{settings.preset}.safetensors"
    write_adapter(pipe, path, torch.float16)
    write_card(path, loop, data.fingerprint, digest)
    return path


def train_decoder(settings: Settings, out: Path, device: str) -> Path:
    """Train stage 4, put its decoder into the base, and write the LoRA's card anew."""
    from diffusers import AutoencoderKL

    from aubench.training.checkpoint import read_checkpoint
    from aubench_baselines.sd15_lora.data import au_faces

    folder = out / FOLDER.format(settings.preset)
    first, third = (read_checkpoint(out / f"stage{n}.checkpoint.pt") for n in (1, 3))
    vae = AutoencoderKL.from_pretrained(folder / "vae").float()
    vae.load_state_dict({k.removeprefix("vae."): v for k, v in first["average"].items()})
    size = shape_of(settings.preset).size
    data = au_faces(settings, size, references=True)
    loop = Decoder(settings, out, device, data, vae)
    loop.resume()
    loop.run()
    loop.take_average()
    vae.eval().cpu().half().save_pretrained(folder / "vae")
    return train_adapter(Settings(**third["settings"]), out, device)


STAGES = {1: train_autoencoder, 2: train_base, 3: train_adapter, 4: train_decoder}
