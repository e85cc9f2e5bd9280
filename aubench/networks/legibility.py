"""A CLIP that is asked which expression a face shows, for the legibility of faces.

Perception by a model, not by people, and secondary to every measure of AUs: a CLIP is asked, zero
shot, which of the expressions of `expressions.toml` a face shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aubench.errors import AubenchError, first_line
from aubench.facs.expressions import Expressions, load_expressions
from aubench.networks.batches import strict_float32
from aubench.networks.external_weights import MissingWeightsError
from aubench.networks.extractors.extractor import in_micro_batches
from aubench.storage.files import sha256_bytes, sha256_file

Images = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.floating[Any]]

STATES = (".safetensors", ".bin")
DERIVED = "position_ids"
"""Old files hold these numbers of positions, which are no weights."""


@dataclass(frozen=True)
class Legibility:
    """A CLIP that is asked for expressions; a network of `aubench.networks.inference`.

    Attributes:
        id: Model and digest, number and digest of the expressions.
        sha256: Digest of the model's files and of the table.
        names: Names of the expressions [P].
        model: CLIP in float32.
        processor: Its image processor.
        words: Unit text embeddings float [P, D].
    """

    id: str
    sha256: str
    device: str
    names: tuple[str, ...]
    model: Any
    processor: Any
    words: Tensor

    @property
    def name(self) -> str:
        """Short name."""
        return "legibility"

    def pixels(self, images: Tensor) -> Tensor:
        """Return what CLIP sees, float [B, 3, S, S], of float [B, 3, H, W] in 0..255."""
        found = self.processor(images=list(images.to(torch.uint8).cpu()), return_tensors="pt")
        values: Tensor = found["pixel_values"]
        return values.to(self.device)

    def _run(self, images: Tensor) -> dict[str, Tensor]:
        seen = self.model.vision_model(pixel_values=self.pixels(images)).pooler_output
        seen = torch.nn.functional.normalize(self.model.visual_projection(seen), dim=-1)
        logits = self.model.logit_scale.exp() * seen @ self.words.T
        return {"probabilities": logits.softmax(-1)}

    def __call__(self, images: Images) -> dict[str, npt.NDArray[np.float32]]:
        """Return ``probabilities`` [N, P] of the expressions for uint8 RGB [N, H, W, 3]."""
        return in_micro_batches(images, self.device, self._run)


def model_folder(name: str) -> Path:
    """Return the folder of a model: a folder of yours, or one that the local hub cache holds.

    Nothing is downloaded.

    Raises:
        MissingWeightsError: The hub id is not in the local cache.
        AubenchError: The name is neither a folder nor a hub id.
    """
    given = Path(name).expanduser()
    if given.is_dir():
        return given
    if given.is_absolute() or given.exists() or name.startswith(".") or name.count("/") > 1:
        raise AubenchError(
            f"--legibility-model {name} is no folder", "name a folder or a hub id of a CLIP"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise MissingWeightsError(name, f"`hf download {name}`, or name a folder") from error
    except HFValidationError as error:
        raise AubenchError(f"--legibility-model {name} is no hub id") from error


def folder_digest(folder: Path) -> str:
    """Return sha256 over the names and contents of the files that loading may read."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    texts = [file for file in files if file.suffix in {".json", ".txt", ".jinja"}]
    states = [[file for file in files if file.suffix == suffix] for suffix in STATES]
    chosen = texts + (states[0] or states[1])
    return sha256_bytes("\n".join(f"{f.name} {sha256_file(f)}" for f in chosen).encode())


def _read(folder: Path) -> tuple[Any, Any, Any]:
    """Return model, image processor and tokenizer from a folder; strict, plain tensors only."""
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    plain = not any(folder.glob("*.safetensors"))
    loaded: Any = CLIPModel.from_pretrained(
        folder,
        local_files_only=True,
        output_loading_info=True,
        weights_only=True,
        use_safetensors=not plain,
    )
    model, report = loaded
    extra = [key for key in report["unexpected_keys"] if not key.endswith(DERIVED)]
    wrong = sorted([*report["missing_keys"], *extra, *map(str, report["mismatched_keys"])])
    if wrong:
        raise ValueError(f"{len(wrong)} tensors missing, unknown or misshapen, first {wrong[0]}")
    processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return model.float().eval().requires_grad_(False), processor, tokenizer


def _check_kind(folder: Path) -> None:
    from transformers import AutoConfig

    kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    if kind != "clip":
        raise ValueError(f"a model of type {kind}")
    words = ("tokenizer.json",), ("vocab.json", "merges.txt")
    if not any(all((folder / name).is_file() for name in names) for names in words):
        raise ValueError("no vocabulary")  # transformers would go on with an empty one


def word_embeddings(model: Any, tokenizer: Any, questions: list[list[str]]) -> Tensor:
    """Return a unit embedding for each list of questions, float [P, D].

    That of an expression is the direction of the mean of its questions' (Radford et al. 2021).
    """
    out = []
    length = model.config.text_config.max_position_embeddings
    for asked in questions:
        tokens = tokenizer(
            asked, padding=True, truncation=True, max_length=length, return_tensors="pt"
        ).to(model.device)
        pooled = model.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        unit = torch.nn.functional.normalize(model.text_projection(pooled), dim=-1)
        out.append(torch.nn.functional.normalize(unit.mean(0), dim=-1))
    return torch.stack(out)


@lru_cache(maxsize=1)
def load_legibility(
    name: str, device: str = "cpu", expressions: Expressions | None = None
) -> Legibility:
    """Load a CLIP from a folder or the local hub cache, and put the questions to it.

    Args:
        name: Folder or hub id.
        device: Torch device.
        expressions: The shipped table if None.

    Raises:
        MissingWeightsError: The hub id is not in the local cache.
        AubenchError: The folder holds no whole CLIP.
    """
    table = expressions or load_expressions()
    folder = model_folder(name)
    try:
        _check_kind(folder)
        model, processor, tokenizer = _read(folder)
        model.to(device)
        with strict_float32(device):
            words = word_embeddings(model, tokenizer, table.questions())
    except Exception as error:  # whatever a foreign folder makes of the loaders
        raise AubenchError(
            f"--legibility-model {name} cannot be read as a CLIP: {first_line(error)}",
            "name a folder or a hub id of a CLIP",
        ) from error
    digest, about = folder_digest(folder), f"{len(table.names)} expressions {table.sha256[:6]}"
    label = name.rstrip("/").split("/")[-1]
    return Legibility(
        id=f"{label}@{digest[:8]}|{about}",
        sha256=sha256_bytes(f"{digest} {table.sha256}".encode()),
        device=device,
        names=table.names,
        model=model,
        processor=processor,
        words=words,
    )
