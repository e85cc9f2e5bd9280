"""Training of stage I, the residual VQGAN (paper, 4.1), and of its decoder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.datasets.labelled_faces import Pictures
from aubench.errors import AubenchError
from aubench.progress import bar
from aubench.storage.files import atomic_path, sha256_file
from aubench.training.checkpoint import read_checkpoint
from aubench.training.loop import Losses, Stateful
from vqauface.networks.rqvae import RQVAE, Critic, embed
from vqauface.presets import Preset
from vqauface.settings import Settings
from vqauface.training import losses
from vqauface.training.data import Faces, to_float
from vqauface.training.loop import Loop, Rows, tiled, to_pixels

SHEET = 8


class StageOne(Loop):
    """Residual VQGAN by equations 1 to 6."""

    model: RQVAE

    def __init__(
        self, settings: Settings, shape: Preset, out: Path, faces: Faces, device: str = "cpu"
    ) -> None:
        self.faces = faces
        count = len(faces.targets) + len(faces.references)
        super().__init__(settings, shape, out, count, device, {"data": faces.fingerprint})
        self.quality = losses.Quality(settings.ready)
        self.usage = losses.Usage(torch.zeros(shape.levels, shape.entries, dtype=torch.long))
        self.critic = Critic(shape.critic).to(self.device)
        self.critic_optimiser = self._critic_optimiser()
        place, s = str(self.device), settings
        self.anatomical = self.perceptual = None
        if s.anatomical > 0:
            self.anatomical, _ = losses.anatomical(
                s.detector, s.detector_file, place, s.anatomical_unit, s.dtype
            )
        if s.perceptual != "none":
            self.perceptual = losses.perceptual(s.perceptual, s.perceptual_file, place)
        self.net = self.accelerator.prepare_model(self.shared())
        self.critic_net = self.accelerator.prepare_model(self.critic)

    def _critic_optimiser(self) -> torch.optim.Optimizer:
        """The discriminator's optimiser: GANs want less momentum."""
        kind = torch.optim.AdamW if self.s.adamw else torch.optim.Adam
        return kind(
            self.critic.parameters(),
            lr=self.s.rate * self.s.critic_rate,
            betas=(0.5, 0.9),
            weight_decay=self.s.decay,
        )

    def make(self) -> nn.Module:
        """Return the residual VQGAN."""
        model = RQVAE(self.p, self.s.dead, self.s.book_decay)
        return model.to(memory_format=torch.channels_last)

    def shared(self) -> nn.Module:
        """Return what is computed by several processes, each on its part of a batch."""
        return self.model

    def stateful(self) -> dict[str, Stateful]:
        """Return codec and critic, with their optimisers."""
        critic = {"critic": self.critic, "critic_optimiser": self.critic_optimiser}
        return super().stateful() | critic

    def extra_state(self) -> dict[str, Any]:
        """Return moving average, rule and counts."""
        rule = {"smooth": self.quality.smooth, "joined": self.quality.joined}
        return super().extra_state() | rule | {"usage": self.usage.counts.clone()}

    def load_extra_state(self, state: Any) -> None:
        """Take back moving average, rule and counts."""
        super().load_extra_state(state)
        self.quality.smooth, self.quality.joined = state["smooth"], state["joined"]
        self.usage.counts = state["usage"]

    def logged(self) -> Losses:
        """Return how much of each codebook was used since the last line."""
        return self.usage.take()

    def advance(self, rows: Rows, draw: torch.Generator) -> Losses:
        """Optimise the codec on L_G, then the discriminator on L_D, on the same images."""
        self.optimiser.zero_grad()
        self.critic_optimiser.zero_grad()
        logged: Losses = {}
        joined = self.quality.joined
        fights = joined and self.s.adversarial > 0
        pieces = self.pieces()
        for number, piece in enumerate(pieces):
            last, share = number + 1 == len(pieces), self.share(piece)
            mine = rows[piece]
            x = self.images(mine).contiguous(memory_format=torch.channels_last)
            with self.own_gradients(self.net, last):
                with self.autocast():
                    y, commitment = self.rebuild(mine, x)
                y = y.float()
                loss, parts = self.losses(x, y, commitment, joined)
                self.add_gradient(loss * share)
            if fights:
                with self.own_gradients(self.critic_net, last):
                    against = self.critic_loss(x, y.detach())
                    self.add_gradient(against * share)
                parts["critic"] = float(against.detach())
            for key, value in parts.items():
                logged[key] = logged.get(key, 0.0) + value * share
        self.descend(self.optimiser, self.model.parameters(), self.s.clip)
        if fights:
            self.descend(self.critic_optimiser, self.critic.parameters(), self.s.clip)
        l1 = torch.tensor(logged["l1"], device=self.device, dtype=torch.float64)
        self.quality.see(float(self.mean_over_processes(l1)))
        return logged

    def images(self, rows: Rows) -> Tensor:
        """Return images float [B, 3, S, S] in -1..1 of targets and references."""
        return to_float(self.faces.either(rows)).to(self.device)

    def rebuild(self, rows: Rows, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return reconstructions of images and the commitment loss."""
        y, codes, commitment = self.net(x)
        self.usage.add(codes)
        return y, commitment

    def losses(
        self, x: Tensor, y: Tensor, commitment: Tensor, joined: bool
    ) -> tuple[Tensor, Losses]:
        """Return the codec's loss, equations 1, 2, 3, 5 and 6 weighted, and its parts."""
        s = self.s
        l1 = (x - y).detach().abs().mean()
        total = losses.reconstruction(x, y, s.l1, s.l2) + s.commitment * commitment
        logged = {"l1": float(l1), "commit": float(commitment.detach())}
        if s.edge:
            total = total + s.edge * losses.edges(x, y)
        if self.perceptual is not None:
            with self.autocast():
                far = self.perceptual(x, y).float()
            total = total + s.perceptual_weight * far
            logged["perceptual"] = float(far.detach())
        if joined and self.anatomical is not None:
            far = self.anatomical(x, y)
            total = total + s.anatomical * far
            logged["anat"] = float(far.detach())
        if joined and s.adversarial > 0:
            adversarial = self.generator_loss(y)
            weight = torch.tensor(1.0)
            if s.adaptive:
                weight = losses.adaptive_weight(total, adversarial, self.model.last_layer())
            total = total + s.adversarial * weight * adversarial
            logged["adv"] = float(adversarial.detach())
            logged["adv weight"] = float(s.adversarial * weight)
        return total, logged

    def generator_loss(self, y: Tensor) -> Tensor:
        """Return equation 3; the discriminator itself gets no gradient from it."""
        self.critic.requires_grad_(False)
        with self.autocast():
            scores = self.critic(y)
        self.critic.requires_grad_(True)
        return losses.generator_loss(scores)

    def critic_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return equation 4 of real and reconstructed images."""
        with self.autocast():
            real, fake = self.critic_net(torch.cat([x, y])).chunk(2)
        return losses.discriminator_loss(real, fake)

    @torch.no_grad()
    def sheet(self) -> npt.NDArray[np.uint8]:
        """Return images above their reconstructions."""
        rows = np.linspace(0, self.count - 1, SHEET).astype(np.int64)
        x = self.images(rows)
        self.model.eval()
        with self.autocast():
            z, _, _ = self.model.quantise(self.model.encode(x))
            y = self.model.decode(z)
        self.model.train()
        return tiled([to_pixels(x), to_pixels(y)])


class Decoder(nn.Module):
    """A codec of which only decoding is asked."""

    def __init__(self, codec: RQVAE) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, z: Tensor) -> Tensor:
        """Return images of latents [B, N, D]."""
        return self.codec.decode(z)


class DecoderFineTuning(StageOne):
    """The decoder alone, on the codes of a finished stage I; stage II is not touched by it."""

    def __init__(
        self,
        settings: Settings,
        shape: Preset,
        out: Path,
        faces: Faces,
        codes: Tensor,
        device: str = "cpu",
    ) -> None:
        """Take the codes int16 [N, places, Q] of targets, then references, besides."""
        self.latents = codes
        self.first = out / "stage1.checkpoint.pt"
        super().__init__(settings, shape, out, faces, device)
        self._facts["stage 1"] = sha256_file(self.first)
        self.critic.load_state_dict(read_checkpoint(self.first, ["critic"])["critic"])
        self.quality.joined = True

    def make(self) -> nn.Module:
        """Return the averaged stage I with all but the decoder frozen."""
        model, _ = stage_one_model(self.out, self.p)
        model.decoder.requires_grad_(True)
        return model.to(memory_format=torch.channels_last)

    def shared(self) -> nn.Module:
        """Return the decoder."""
        return Decoder(self.model)

    def rebuild(self, rows: Rows, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return images decoded from the known codes; there is nothing to commit to."""
        codes = self.latents[rows].long().to(self.device)
        y: Tensor = self.net(embed(self.model.codebooks(), codes).sum(2))
        return y, x.new_zeros(())


def stage_one_model(out: Path, shape: Preset) -> tuple[RQVAE, str]:
    """Return the averaged stage I of a checkpoint folder, and the digest of its checkpoint.

    Raises:
        AubenchError: Stage I was not trained there, or not in this shape.
    """
    path = out / "stage1.checkpoint.pt"
    if not path.is_file():
        raise AubenchError(f"no stage I at {path}", "train --stage 1 first")
    model = RQVAE(shape)
    try:
        model.load_state_dict(read_checkpoint(path, ["average"])["average"])
    except RuntimeError as error:
        raise AubenchError(f"{path} has another shape", "use its --preset and --set") from error
    return model.eval().requires_grad_(False), sha256_file(path)


@torch.inference_mode()
def encode_all(model: RQVAE, images: Pictures, device: str = "cpu", batch: int = 64) -> Tensor:
    """Return codes of images [N, places, Q]: int16, or int32 where a book has > 32,768 entries."""
    out = []
    kind = torch.int16 if model.entries <= 2**15 else torch.int32
    model.eval().to(device)
    with bar(len(images), "codes", "img") as progress:
        for i in range(0, len(images), batch):
            rows = range(i, min(i + batch, len(images)))
            x = to_float(images.take(list(rows))).to(device)
            out.append(model.codes(x).to(kind).cpu())
            progress.update(len(rows))
    return torch.cat(out)


def kept_codes(
    model: RQVAE, digest: str, faces: Faces, out: Path, device: str
) -> tuple[Tensor, Tensor]:
    """Return the codes of targets and references, kept under digests of what made them.

    They lie beside stage I's checkpoint: where that is a link, rows of an ablation share both.

    Args:
        model: Stage I.
        digest: Digest of its checkpoint.
        faces: Faces that images are taken of.
        out: Folder.
        device: Torch device.
    """
    from aubench.storage.files import sha256_bytes

    found = []
    place = (out / "stage1.checkpoint.pt").resolve().parent
    mark = sha256_bytes(faces.fingerprint.encode())[:8]
    for name, images in (("target", faces.targets), ("reference", faces.references)):
        path = place / f"codes-{name}-{digest[:16]}-{mark}-{len(images)}.pt"
        if path.is_file():
            found.append(torch.load(path, weights_only=True))
            continue
        codes = encode_all(model, images, device)
        with atomic_path(path) as temporary:
            torch.save(codes, temporary)
        found.append(codes)
    return found[0], found[1]
