"""The losses of stage I, equations 1 to 6 of the paper, and when they join.

Images x (real) and y (reconstructed) are float [B, 3, S, S] in -1..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.errors import AubenchError, first_line

Distance = Callable[[Tensor, Tensor], Tensor]
"""From real and reconstructed images to a scalar that is differentiable in the second."""

RANDOM = "random"
"""In place of a file: random weights, to try out shapes and memory."""


def reconstruction(x: Tensor, y: Tensor, l1: float = 1.0, l2: float = 1.0) -> Tensor:
    """Equation 1: weighted mean absolute and squared difference."""
    return l1 * (x - y).abs().mean() + l2 * (x - y).square().mean()


def commitment(latents: Tensor, vectors: Tensor) -> Tensor:
    """Equation 2 written out: mean over levels of |z - sg(sum of the vectors up to a level)|².

    The quantiser computes the same along the way; this is its reference.

    Args:
        latents: Z [B, N, D].
        vectors: Chosen code vectors of each level [B, N, Q, D].
    """
    partial = vectors.cumsum(2).detach()
    return (latents[:, :, None] - partial).square().mean((0, 1, 3)).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Equation 3: minus the mean score of reconstructions."""
    return -fake.float().mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Equation 4: hinge, E max(0, 1 - D(x)) + E max(0, 1 + D(y)), halved as in VQGAN."""
    return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean())


def adaptive_weight(rest: Tensor, adversarial: Tensor, last: Tensor, limit: float = 1e4) -> Tensor:
    """Return |d rest / d last| / |d adversarial / d last| without gradient (Esser et al. 2021).

    Args:
        rest: All other losses.
        adversarial: Equation 3.
        last: Weights of the decoder's last layer.
        limit: Largest ratio.
    """
    a, b = (torch.autograd.grad(v, last, retain_graph=True)[0].norm() for v in (rest, adversarial))
    weight: Tensor = (a / (b + 1e-6)).clamp(max=limit).detach()
    return weight


def edges(x: Tensor, y: Tensor) -> Tensor:
    """Return the L1 distance of horizontal and vertical differences; ours, keeps furrows sharp."""
    d = x - y
    across = (d[..., :, 1:] - d[..., :, :-1]).abs().mean()
    return across + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()


@dataclass
class Quality:
    """The rule that switches the anatomical and adversarial losses on.

    Attributes:
        ready: They join for good once the smoothed L1 is below it.
        smooth: The smoothed L1.
        joined: Whether they have.
    """

    ready: float
    smooth: float = 1.0
    joined: bool = False

    def see(self, l1: float) -> bool:
        """Take the L1 of a step; return whether the losses take part."""
        self.smooth += 0.05 * (l1 - self.smooth)
        self.joined = self.joined or self.smooth < self.ready
        return self.joined


class Anatomical:
    """Equation 5: squared distance of F_me, the AU features of ME-GraphAU without its last layer.

    Args:
        features: Features from images [B, 3, H, W] in 0..1 to [B, 12, C].
        unit: Compare features of unit length, else as they are.
        precision: Precision of the detector's computation.
    """

    def __init__(
        self, features: Callable[[Tensor], Tensor], unit: bool, precision: torch.dtype
    ) -> None:
        self.features, self.unit, self.precision = features, unit, precision

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss."""
        with torch.autocast(x.device.type, self.precision, enabled=self.precision != torch.float32):
            with torch.no_grad():
                real = self.features((x + 1) / 2).float()
            made = self.features((y + 1) / 2).float()
        if not self.unit:
            return F.mse_loss(made, real)
        return F.mse_loss(F.normalize(made, dim=-1), F.normalize(real, dim=-1)) * real.shape[-1]


def anatomical(
    name: str, file: str | None, device: str, unit: bool, precision: torch.dtype
) -> tuple[Anatomical, str]:
    """Return equation 5 with a detector of ``aubench.networks.detectors``, and the detector's id.

    Args:
        name: ``nano-a``, ``me-graphau:resnet50:mefl``, ...
        file: Its weights; ``random`` for none.
        device: Torch device.
        unit: See `Anatomical`.
        precision: See `Anatomical`.

    Raises:
        AubenchError: The weights are missing or foreign, or the detector has no features.
    """
    from aubench.networks.detectors import load_detector

    if file != RANDOM:
        detector = load_detector(name, device, weights=file)
        return Anatomical(detector.features, unit, precision), detector.id
    from aubench.networks.detectors.nano import build
    from aubench.networks.detectors.preparation import NANO, PAPER

    network: Any = build(name).eval().requires_grad_(False).to(device)
    prepare = (NANO if name.startswith("nano") else PAPER).tensor
    return Anatomical(lambda x: network.features(prepare(x)), unit, precision), f"{name}@random"


class VGG16(nn.Module):
    """F_vgg of equation 6: VGG16 without its last two layers, images to [B, 4096]."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import vgg16

        network = vgg16(weights=None)
        self.features, self.avgpool = network.features, network.avgpool
        self.classifier = network.classifier
        self.kept = network.classifier[:-2]

    def forward(self, x: Tensor) -> Tensor:
        """Return features of images in -1..1."""
        from aubench.networks.detectors.preparation import imagenet

        y: Tensor = self.kept(self.avgpool(self.features(imagenet((x + 1) / 2))).flatten(1))
        return y


def _vgg_state(file: str) -> dict[str, Tensor]:
    if not Path(file).is_file():
        raise AubenchError(f"no VGG16 weights at {file}", "give torchvision's vgg16-397923af.pth")
    try:
        state: dict[str, Tensor] = torch.load(file, weights_only=True, map_location="cpu")
        return dict(state)
    except Exception as error:
        raise AubenchError(f"{file} is not a state_dict of VGG16", "fetch it again") from error


def _vgg16(file: str, device: str) -> Distance:
    network = VGG16()
    if file != RANDOM:
        try:
            missing, unknown = network.load_state_dict(_vgg_state(file), strict=False)
        except RuntimeError as error:
            raise AubenchError(f"{file} is not VGG16: {first_line(error)}") from error
        lacks = [name for name in missing if not name.startswith("kept.")]  # the classifier's again
        if lacks or unknown:
            fault = f"lacks {lacks[0]}" if lacks else f"holds {unknown[0]}"
            raise AubenchError(f"{file} is not VGG16: {fault}", "give torchvision's state_dict")
    network.eval().requires_grad_(False).to(device)
    return lambda x, y: F.mse_loss(network(y), network(x).detach())


def _lpips_vgg(file: str, device: str) -> Distance:
    import warnings

    state = {} if file == RANDOM else _vgg_state(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's note on its argument names
        import lpips

        network: Any = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    if file != RANDOM:
        own = network.net.state_dict()
        names = {key: "features." + key.split(".", 1)[1] for key in own}
        if names.values() - state.keys():
            raise AubenchError(f"{file} is not VGG16", "give torchvision's vgg16-397923af.pth")
        network.net.load_state_dict({key: state[name] for key, name in names.items()})
    network.eval().requires_grad_(False).to(device)
    return lambda x, y: network(x, y).mean()


def perceptual(kind: str, file: str | None, device: str) -> Distance:
    """Return equation 6.

    Args:
        kind: ``vgg16``, the paper's; ``lpips-vgg``, VQGAN's; ``lpips-alex``, whose weights
            ``aubench weights fetch`` brings, but which is a metric too.
        file: Torchvision's state_dict of VGG16; ``random`` for none.
        device: Torch device.

    Raises:
        AubenchError: An unknown kind, or weights that are missing.
    """
    if kind == "lpips-alex":
        from aubench.metrics.faces.lpips import load_lpips

        network = load_lpips(device).network
        return lambda x, y: network(x, y).mean()
    makers = {"vgg16": _vgg16, "lpips-vgg": _lpips_vgg}
    if kind not in makers:
        raise AubenchError(
            f"unknown perceptual loss '{kind}'", "vgg16, lpips-vgg, lpips-alex or none"
        )
    if file is None:
        raise AubenchError(
            f"the perceptual loss {kind} needs VGG16's weights",
            "--set perceptual_file=vgg16-397923af.pth (torchvision's), or --set perceptual=none",
        )
    return makers[kind](file, device)


@dataclass
class Usage:
    """Which entries of each codebook are chosen, counted between two lines of the log.

    Attributes:
        counts: int64 [Q, K].
    """

    counts: Tensor

    def add(self, codes: Tensor) -> None:
        """Count codes [B, N, Q]."""
        for level, row in enumerate(codes.detach().cpu().flatten(0, 1).T):
            self.counts[level] += torch.bincount(row, minlength=self.counts.shape[1])

    def take(self) -> dict[str, float]:
        """Return share used and perplexity of the levels, and begin again."""
        p = self.counts.double() / self.counts.sum(1, keepdim=True).clamp(min=1)
        perplexity = torch.exp(-(p * p.clamp(min=1e-12).log()).sum(1))
        used = (self.counts > 0).double().mean(1)
        self.counts.zero_()
        out = {f"used {q}": round(float(v), 4) for q, v in enumerate(used)}
        return out | {f"perplexity {q}": round(float(v), 2) for q, v in enumerate(perplexity)}
