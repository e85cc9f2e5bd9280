"""What a graph network starts from: torchvision's backbone, or a stage that was trained before."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.detectors.graphau import checkpoints
from aubench.networks.detectors.graphau.megraphau import MEGraphAU
from aubench.networks.detectors.nano import build
from aubench.networks.detectors.training.settings import Settings
from aubench.storage.files import sha256_file

CLASSIFIER = frozenset({"fc.weight", "fc.bias", "head.weight", "head.bias"})
SHOWN = 3


def load_backbone(network: MEGraphAU, path: Path) -> None:
    """Put torchvision's weights into the backbone; its classifier is left out.

    Raises:
        AubenchError: The file is damaged, or is not of this backbone.
    """
    state = checkpoints.read_state(path)
    wanted = network.backbone.state_dict()
    given = {key: value for key, value in state.items() if key not in CLASSIFIER}
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}  # old files lack them
    faults = sorted((wanted.keys() - counters - given.keys()) | (given.keys() - wanted.keys()))
    faults += [k for k in wanted.keys() & given.keys() if given[k].shape != wanted[k].shape]
    if faults:
        more = ", …" if len(faults) > SHOWN else ""
        raise AubenchError(
            f"{path} is not the backbone: {len(faults)} tensors missing, unexpected or of another "
            f"shape ({', '.join(faults[:SHOWN])}{more})",
            "give torchvision's state_dict of it",
        )
    network.backbone.load_state_dict({**wanted, **given})


def load_stage(network: MEGraphAU, path: Path, settings: Settings) -> None:
    """Put the weights of a trained network of the same backbone into ``network``.

    From the first stage to the second all but the graph is taken over, as published.

    Raises:
        AubenchError: The file is damaged, of another backbone, of other AUs, or of the second stage
            where the first is trained.
    """
    layout = settings.layout
    source, found = checkpoints.load(path, f"{layout.family}:{layout.backbone}")
    if found.classes != len(AUS):
        raise AubenchError(f"{path} has {found.classes} AUs", f"{len(AUS)} are needed")
    if found.stage == "mefl" and layout.stage == "anfl":
        raise AubenchError(f"{path} is of the second stage", "--stage 2")
    shared = network.state_dict()
    shared.update({k: v for k, v in source.state_dict().items() if k in shared})
    network.load_state_dict(shared)


def start(settings: Settings) -> tuple[nn.Module, dict[str, str]]:
    """Return the network to train, and digests of the files that it starts from."""
    torch.manual_seed(settings.seed)
    network = build(settings.architecture)
    used = {}
    if isinstance(network, MEGraphAU):
        if settings.backbone_weights:
            load_backbone(network, Path(settings.backbone_weights))
            used["backbone weights"] = sha256_file(Path(settings.backbone_weights))
        if settings.init:
            load_stage(network, Path(settings.init), settings)
            used["init"] = sha256_file(Path(settings.init))
    return network, used
