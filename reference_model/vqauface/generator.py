"""VQ-AUFace as a plug-in of aubench."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.generator import Generator, GeneratorInfo, Request, WeightSource

if TYPE_CHECKING:
    from aubench.textau.classifier import TextAU
    from vqauface.presets import Preset
    from vqauface.rqvae import RQVAE
    from vqauface.transformer import MaskedTransformer


MICRO_BATCH = 16


class VQAUFace(Generator):
    """Reference face and AU text to a face, by parallel decoding of residual codes."""

    info: ClassVar[GeneratorInfo] = GeneratorInfo(
        name="vqauface",
        inputs=frozenset({"text", "reference"}),
        size=128,
        training="nano preset, both stages by aubench; not the paper's weights",
        trained_on=("synfacs/train",),
        metrics_in_training=("nano-a",),
        licence="Apache-2.0",
        citation="AU Codes, Language, and Synthesis (VQ-AUFace)",
        summary="residual VQGAN and masked transformer",
    )

    def __init__(
        self,
        codec: RQVAE,
        transformer: MaskedTransformer,
        shape: Preset,
        text: TextAU,
        digest: str,
    ) -> None:
        self.codec, self.transformer, self.shape = codec, transformer, shape
        self.text, self.digest = text, digest

    @classmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """Load the shipped nano model or the weights given.

        Raises:
            AubenchError: weights are missing or not these, an option is unknown, or the device
                is not the CPU.
        """
        from aubench.textau import load_text_au
        from vqauface.weights import load

        if options:
            raise AubenchError(f"vqauface has no option '{next(iter(options))}'")
        if device != "cpu":
            raise AubenchError(f"vqauface nano runs on the CPU, not {device}", "use --device cpu")
        codec, transformer, shape, card, digest = load(weights.path)
        text = load_text_au()
        if card["text encoder"] != text.id:
            raise AubenchError(
                f"these weights were trained with text encoder {card['text encoder']}, "
                f"here is {text.id}",
                "train stage II again",
            )
        return cls(codec, transformer, shape, text, digest)

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the weights."""
        return self.digest

    def generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        """Return uint8 [B, 128, 128, 3]; each image depends on its request alone.

        Work is done in padded batches of one size, since the last bits of a matrix product may
        depend on its shape.
        """
        parts = []
        for i in range(0, len(batch), MICRO_BATCH):
            part = list(batch[i : i + MICRO_BATCH])
            short = MICRO_BATCH - len(part)
            parts.append(self._generate(part + part[-1:] * short)[: len(part)])
        return np.concatenate(parts)

    def _generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        import torch

        from vqauface.rqvae import embed
        from vqauface.sampling import decode
        from vqauface.train import to_float

        references = [request.reference for request in batch]
        image = to_float(np.stack([r for r in references if r is not None]))
        with torch.inference_mode():
            books = self.codec.books()
            reference = self.codec.codes(image)
            before = embed(books, reference).sum(2)
            au = self._au_tokens([request.text for request in batch])
            appearance, grid = self.transformer.context(image, before)
            codes = decode(
                self.transformer, books, au, appearance, grid, reference,
                [request.seed for request in batch],
                steps=self.shape.steps,
                temperature=self.shape.temperature,
                guidance=self.shape.guidance,
            )  # fmt: skip
            made = self.codec.decode(embed(books, codes).sum(2))
        pixels = ((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())

    def _au_tokens(self, texts: list[str]) -> Any:
        """Encode each text alone: padding to the longest of a batch would change the last bits."""
        import torch

        tokens = []
        for text in texts:
            hidden, mask = self.text.encode([text])
            tokens.append(self.transformer.au(torch.from_numpy(hidden), torch.from_numpy(mask)))
        return torch.cat(tokens)
