"""Training of stage II, the masked transformer on the codes of a finished stage I (4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.training.loop import Losses
from vqauface.maskgit import MaskGitTransformer
from vqauface.networks.conditions import Condition
from vqauface.networks.encoders import Encoders
from vqauface.networks.rqvae import RQVAE, embed
from vqauface.networks.transformer import MaskedTransformer
from vqauface.presets import Preset
from vqauface.sampling import Model, Sampling, decode, training_mask
from vqauface.settings import Settings
from vqauface.training.data import Faces, to_float
from vqauface.training.loop import Loop, Rows, tiled, to_pixels

SHEET = 8


def transformer(p: Preset) -> Model:
    """Return an untrained transformer of the preset's design."""
    return MaskGitTransformer(p) if p.design == "flat" else MaskedTransformer(p)


@dataclass(frozen=True)
class Drawn:
    """What is random of a batch, drawn for all processes alike.

    Attributes:
        texts: Wording of each sample.
        masked: bool [B, places].
        dropped: bool [B], the samples whose behaviour is left out.
    """

    texts: list[str]
    masked: Tensor
    dropped: Tensor


class Objective(nn.Module):
    """The transformer with its loss, in the one call that is shared out among processes."""

    def __init__(self, model: Model, changed: float) -> None:
        super().__init__()
        self.model, self.changed = model, changed

    def forward(
        self, c: Condition, codebooks: Tensor, codes: Tensor, masked: Tensor, dropped: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the token loss and the probe's, which counts known labels of samples told."""
        context = self.model.context(c, codebooks, dropped)
        loss = self.model.loss(context, codebooks, codes, masked, self.changed)  # type: ignore[arg-type]
        assert c.labels is not None
        known = torch.isfinite(c.labels)
        if isinstance(self.model, MaskGitTransformer):
            known = known & ~dropped[:, None]
        entropy = F.binary_cross_entropy_with_logits(
            context.logits.float(), torch.nan_to_num(c.labels), reduction="none"
        )
        return loss, (entropy * known).sum() / known.sum().clamp(min=1)


class StageTwo(Loop):
    """Masked transformer, given reference, text or labels; the codec is frozen.

    Args:
        settings: Settings of the stage.
        shape: Shape of both stages.
        out: Folder.
        faces: Samples.
        codes: Codes of targets and references, int16 [N, places, Q].
        codec: Stage I, for codebooks and sample sheets.
        encoders: The frozen encoders.
        digest: Digest of the codec.
        device: Torch device.
    """

    model: Model

    def __init__(
        self,
        settings: Settings,
        shape: Preset,
        out: Path,
        faces: Faces,
        codes: tuple[Tensor, Tensor],
        codec: RQVAE,
        encoders: Encoders,
        digest: str,
        device: str = "cpu",
    ) -> None:
        self.faces, self.encoders = faces, encoders
        self.target, self.reference = codes
        facts = {"data": faces.fingerprint, "stage 1": digest, **encoders.ids}
        super().__init__(settings, shape, out, len(faces), device, facts)
        self.codec = codec.to(self.device)
        self.codebooks = codec.codebooks().detach().to(self.device)
        self.labels = torch.from_numpy(faces.labels)
        self.features: dict[int, tuple[Tensor | None, Tensor | None]] = {}
        self.net = self.accelerator.prepare_model(Objective(self.model, settings.changed))

    def make(self) -> nn.Module:
        """Return the transformer."""
        return transformer(self.p)

    def advance(self, rows: Rows, draw: torch.Generator) -> Losses:
        """Take a step on the cross entropy of masked tokens, and the probe's."""
        drawn = self.draw(rows, draw)
        self.optimiser.zero_grad()
        logged: Losses = {}
        pieces = self.pieces()
        for number, piece in enumerate(pieces):
            last, share = number + 1 == len(pieces), self.share(piece)
            mine = rows[piece]
            codes = self.target[mine].long().to(self.device)
            condition = self.condition(mine, drawn.texts[piece])
            with self.own_gradients(self.net, last):
                with self.autocast():
                    loss, probe = self.net(
                        condition,
                        self.codebooks,
                        codes,
                        drawn.masked[piece].to(self.device),
                        drawn.dropped[piece].to(self.device),
                    )
                total = loss + self.s.probe * probe
                self.add_gradient(total * share)
            for key, value in (("token", loss), ("probe", probe)):
                logged[key] = logged.get(key, 0.0) + float(value.detach()) * share
        self.descend(self.optimiser, self.model.parameters(), self.s.clip)
        return logged

    def draw(self, rows: Rows, draw: torch.Generator) -> Drawn:
        """Draw wordings, masks and dropped texts of a batch."""
        batch, most = len(rows), max(len(self.faces.texts[r]) for r in rows)
        variants = torch.randint(0, most, (batch,), generator=draw).tolist()
        texts = [
            self.faces.texts[r][v % len(self.faces.texts[r])]
            for r, v in zip(rows, variants, strict=True)
        ]
        places = self.model.places(self.p)
        coarse = self.p.coarse and self.p.design == "flat"
        masked = training_mask(batch, places, draw, self.p.levels, coarse)
        dropped = torch.rand(batch, generator=draw) < self.s.drop_text
        return Drawn(texts, masked, dropped)

    def condition(self, rows: Rows, texts: list[str]) -> Condition:
        """Return reference, behaviour and features of a batch, on the device."""
        references = self.faces.rows[rows]
        image = to_float(self.faces.references.take(references))
        hidden = words = None
        if self.p.input == "text":
            hidden, words = self.encoders.states(texts)
        appearance, structure = self._features(references, image)
        return Condition(
            image,
            self.reference[references].long(),
            hidden,
            words,
            self.labels[rows],
            appearance,
            structure,
        ).to(self.device)

    def _features(self, references: Rows, image: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return features of references; a frozen encoder sees an image once."""
        if self.encoders.face is None and self.encoders.clip is None:
            return None, None
        for row, one in zip(references, image, strict=True):
            if int(row) not in self.features:
                found = self.encoders.features(one[None].to(self.device))
                a, b = (None if f is None else f.half().cpu() for f in found)
                self.features[int(row)] = a, b
        known = [self.features[int(row)] for row in references]
        a, b = (
            None if known[0][k] is None else torch.cat([pair[k] for pair in known]).float()  # type: ignore[misc]
            for k in (0, 1)
        )
        return a, b

    @torch.no_grad()
    def sheet(self) -> npt.NDArray[np.uint8]:
        """Return references, targets and what the present weights make, one below the other."""
        rows = np.linspace(0, self.count - 1, SHEET).astype(np.int64)
        condition = self.condition(rows, [self.faces.texts[r][0] for r in rows])
        how = Sampling(self.p.steps, self.p.temperature, self.p.guidance)
        self.model.eval()
        codes = decode(self.model, self.codebooks, condition, list(range(SHEET)), how)
        made = self.codec.decode(embed(self.codebooks, codes).sum(2))
        self.model.train()
        references = self.faces.references.take(self.faces.rows[rows])
        return tiled([references, self.faces.targets.take(rows), to_pixels(made)])

    def extra_state(self) -> dict[str, Any]:
        """Return the moving average, and the names of the frozen encoders, for the card."""
        return super().extra_state() | {"encoders": self.encoders.ids}
