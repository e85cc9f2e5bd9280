"""VQ-AUFace as a plug-in of aubench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError, suggest
from aubench.generators.contract import (
    AblationRow,
    Generator,
    GeneratorInfo,
    Request,
    SampleFailure,
    Training,
    WeightSource,
)
from vqauface.training.ablation import ROWS, fit_row

if TYPE_CHECKING:
    from torch import Tensor

    from aubench.datasets.alignment import FaceFinder
    from vqauface.networks.conditions import Condition
    from vqauface.networks.encoders import Encoders
    from vqauface.networks.rqvae import RQVAE
    from vqauface.presets import Preset
    from vqauface.sampling import Model


MICRO_BATCH = 16
SOURCES = ("text_source", "face_file", "clip_file")
"""Options that say where frozen encoders come from."""

DRAWS = {"steps": int, "temperature": float, "guidance": float}
"""Options of sampling."""


class VQAUFace(Generator):
    """Reference face and AU text to a face, by parallel decoding of residual codes."""

    info: ClassVar[GeneratorInfo] = GeneratorInfo(
        name="vqauface",
        inputs=frozenset({"text", "reference"}),
        size=128,
        training="nano preset, both stages by aubench; not the paper's weights",
        trained_on=("synfacs/train",),
        metrics_in_training=("nano-a", "text-nano"),
        licence="Apache-2.0",
        citation="AU Codes, Language, and Synthesis (VQ-AUFace)",
        summary="residual VQGAN and masked transformer",
    )
    presets: ClassVar[tuple[str, ...]] = ("nano", "mid", "paper", "tiny", "tiny-flat")
    stages: ClassVar[tuple[int, ...]] = (1, 2, 3)
    rows: ClassVar[tuple[AblationRow, ...]] = ROWS

    def __init__(
        self,
        codec: RQVAE,
        transformer: Model,
        shape: Preset,
        encoders: Encoders,
        digest: str,
        device: str = "cpu",
        dtype: str = "float32",
        finder: FaceFinder | None = None,
    ) -> None:
        self.codec, self.transformer, self.shape = codec, transformer, shape
        self.encoders, self.digest, self.device, self.dtype = encoders, digest, device, dtype
        self.codebooks, self.finder = codec.codebooks(), finder
        if shape.input == "labels":  # of the instance: a request then holds labels and no text
            self._tell(inputs=frozenset({"au", "reference"}))

    def _tell(self, **changes: Any) -> None:
        """Let the instance say of itself what the class, the shipped nano, does not."""
        self.info = replace(self.info, **changes)  # type: ignore[misc]

    @classmethod
    def fit(cls, training: Training) -> Path:
        """Train, or resume; see `aubench.generators.contract.Trainable`."""
        from vqauface.training.fit import fit

        return fit(training)

    @classmethod
    def fit_row(cls, row: AblationRow, training: Training) -> Path:
        """Train one row of the ablations; see `aubench.generators.contract.Ablatable`."""
        return fit_row(row, training)

    @classmethod
    def run_options(cls, row: AblationRow, training: Training) -> Mapping[str, str]:
        """Return the files of the frozen encoders that a row was trained with."""
        given = {name.replace("-", "_"): value for name, value in training.options.items()}
        return {name: given[name] for name in SOURCES if name in given}

    @classmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """Load the shipped nano model or the weights given.

        Args:
            weights: What ``aubench train vqauface`` wrote, or None.
            device: Torch device.
            dtype: ``float32``, or ``bfloat16`` or ``float16`` for the transformer.
            options: ``steps``, ``temperature``, ``guidance`` of sampling; ``text_source``,
                ``face_file``, ``clip_file`` of frozen encoders; ``check_face``, whether a face has
                to be found in each reference, by default where FaceNet reads it.

        Raises:
            AubenchError: Weights or an encoder are missing or not these, or an option is unknown.
        """
        from vqauface.networks.encoders import load_encoders
        from vqauface.weights import load

        for name in options:
            known = [*DRAWS, *SOURCES, "check_face"]
            if name not in known:
                raise AubenchError(
                    f"vqauface has no option '{name}'{suggest(name, known)}", ", ".join(known)
                )
        codec, transformer, shape, card, digest = load(weights.path)
        given = {name: DRAWS[name](options[name]) for name in DRAWS if name in options}
        text, face, clip = (options.get(name) for name in SOURCES)
        encoders = load_encoders(shape, device, text=text, face=face, clip=clip)
        if encoders.text is not None and card["text encoder"] != encoders.text.id:
            raise AubenchError(
                f"these weights were trained with text encoder {card['text encoder']}, "
                f"here is {encoders.text.id}",
                "train stage II again",
            )
        made = cls(
            codec.to(device),
            transformer.to(device),
            replace(shape, **given),
            encoders,
            digest,
            device,
            dtype,
            face_finder(options.get("check_face"), shape, device),
        )
        if not weights.is_default:
            made._tell(**told_by(card, shape, cls.info.size))
        return made

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the weights."""
        return self.digest

    def generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        """Return uint8 [B, S, S, 3], S as asked; each image depends on its request alone.

        Reference and image are resized where the model's own size is another.

        Work is done in padded batches of one size, since the last bits of a matrix product may
        depend on its shape.

        Raises:
            SampleFailure: A text is longer than the encoder takes, or a reference shows no face.
            AubenchError: A reference is missing or of another size.
        """
        for request in batch:
            self._check(request)
        parts = []
        for i in range(0, len(batch), MICRO_BATCH):
            part = list(batch[i : i + MICRO_BATCH])
            short = MICRO_BATCH - len(part)
            parts.append(self._generate(part + part[-1:] * short)[: len(part)])
        return np.concatenate(parts)

    def _check(self, request: Request) -> None:
        size, reference = request.size, request.reference
        if reference is None:
            raise AubenchError(
                f"sample {request.sample_id} has no reference face", "vqauface needs one"
            )
        if reference.shape != (size, size, 3):
            raise AubenchError(
                f"the reference of sample {request.sample_id} has shape {reference.shape}, asked "
                f"for are {size} x {size} pixels",
                "`aubench data align FOLDER --out FACES` crops and resizes faces",
            )
        if not shows_something(reference) or (self.finder and self.finder(reference) is None):
            raise SampleFailure(
                request.sample_id, "the reference shows no face; give a photograph of one"
            )
        if self.encoders.text is not None:
            try:
                self.encoders.text.check(request.text)
            except AubenchError as error:
                raise SampleFailure(request.sample_id, str(error)) from error

    def _generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        import torch

        from vqauface.networks.rqvae import embed
        from vqauface.sampling import Sampling, decode
        from vqauface.training.loop import to_pixels

        how = Sampling(self.shape.steps, self.shape.temperature, self.shape.guidance)
        kind = getattr(torch, self.dtype)
        with torch.inference_mode():
            condition = self._condition(batch)
            with torch.autocast(self.device, kind, enabled=kind != torch.float32):
                codes = decode(
                    self.transformer, self.codebooks, condition, [r.seed for r in batch], how
                )
            made = self.codec.decode(embed(self.codebooks, codes).sum(2))
            return to_pixels(resized(made, batch[0].size))

    def _condition(self, batch: Sequence[Request]) -> Condition:
        """Return reference, features and behaviour of a batch, on the device."""
        import torch

        from vqauface.networks.conditions import Condition
        from vqauface.networks.transformer import MaskedTransformer
        from vqauface.training.data import to_float

        references = [request.reference for request in batch]
        image = to_float(np.stack([r for r in references if r is not None])).to(self.device)
        image = resized(image, self.shape.size)
        codes = self.codec.codes(image)
        appearance, structure = self.encoders.features(image)
        known = Condition(image, codes, appearance=appearance, structure=structure)
        if self.shape.input == "labels":
            labels = torch.from_numpy(np.stack([self._labels(r) for r in batch]))
            return replace(known, labels=labels.to(self.device))
        texts = [request.text for request in batch]
        if isinstance(self.transformer, MaskedTransformer):
            return replace(known, au=torch.cat([self._au_tokens(known, text) for text in texts]))
        hidden, words = self._states(texts)
        return replace(known, hidden=hidden, words=words)

    def _au_tokens(self, known: Condition, text: str) -> Tensor:
        """Return AU tokens of one text alone: padding would change the last bits."""
        assert self.encoders.text is not None
        hidden, words = self.encoders.text([text])
        tokens: Tensor = self.transformer.au_tokens(replace(known, hidden=hidden, words=words))  # type: ignore[union-attr]
        return tokens

    @staticmethod
    def _labels(request: Request) -> npt.NDArray[np.float32]:
        if request.aus is None:
            raise AubenchError(f"sample {request.sample_id} has no AU labels", "give them")
        return np.asarray(request.aus, np.float32)

    def _states(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Encode each text alone, and pad to a fixed length: company must not change a text."""
        import torch
        import torch.nn.functional as F

        assert self.encoders.text is not None
        hidden, words = [], []
        for text in texts:
            states, mask = self.encoders.text([text])
            short = self.shape.length - states.shape[1]
            hidden.append(F.pad(states, (0, 0, 0, short)))
            words.append(F.pad(mask, (0, short)))
        return torch.cat(hidden), torch.cat(words)


def face_finder(wish: Any, shape: Preset, device: str) -> FaceFinder | None:
    """Return what looks for faces in references, if that is wished, or usual for a preset."""
    usual = shape.has("appearance") and shape.appearance == "facenet"
    if str(usual if wish is None else wish).lower() not in {"true", "yes", "1"}:
        return None
    from aubench.datasets.face_finders import load_finder

    return load_finder(device=device)


def told_by(card: dict[str, Any], shape: Preset, smallest: int) -> dict[str, Any]:
    """Return what a card says in the words of `GeneratorInfo`; tiny images are enlarged."""
    return {
        "size": max(shape.size, smallest),
        "training": f"{card['name'].removeprefix('vqauface ')} preset by `aubench train`",
        "trained_on": (_trained_on(card["data"]),),
        "metrics_in_training": (*card["metrics in training"], *_text_side(card)),
    }


def _text_side(card: dict[str, Any]) -> tuple[str, ...]:
    """Return the classifier of AUs from text as metric ids call it, where its encoder is built in.

    Its states are what the generator reads, and its answers what AAAD compares with.
    """
    name, _, digest = str(card.get("text encoder") or "").partition("@")
    return (f"text-{name}",) if name == "nano" and digest != "random" else ()


def _trained_on(data: dict[str, Any]) -> str:
    """Return the data of a card in words: name, split, fold, and what identifies them."""
    name = f"{data.get('name', DEFAULT_DATASET)}/train"
    fold = f" of fold {data['fold']}" if data.get("fold") else ""
    digest = str(data.get("fingerprint") or "").rpartition("/")[2]
    return name + fold + (f", {digest}" if digest else "")


def resized(image: Tensor, size: int) -> Tensor:
    """Return images [B, 3, size, size]; the same ones where they have that size."""
    import torch.nn.functional as F

    if image.shape[-1] == size:
        return image
    out: Tensor = F.interpolate(image, (size, size), mode="bicubic", antialias=True)
    return out.clamp(-1, 1)


def shows_something(image: npt.NDArray[np.uint8]) -> bool:
    """Return whether an image has any contrast where its face would be: no blank or black frame."""
    side = image.shape[0]
    middle = image[side // 5 : -side // 5, side // 5 : -side // 5].astype(np.float32).mean(-1)
    return bool(middle.std() >= 4.0)
