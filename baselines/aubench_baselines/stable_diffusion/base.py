"""A Stable Diffusion base from a diffusers folder, a single safetensors file or a hub id.

Nothing is ever downloaded unless ``download`` is asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError, first_line
from aubench.storage.files import write_text
from aubench_baselines.stable_diffusion.shapes import DDIM, SCHEDULE, shape_of

if TYPE_CHECKING:
    from aubench_baselines.stable_diffusion.shapes import Shape

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
WORDS = "cond_stage_model.transformer."
LAYER = "text_model."
"""Start of the names of the text encoder's tensors in the original layout."""

TOKENIZER = "openai/clip-vit-large-patch14"
EMPTY = 100
"""A tokenizer of fewer entries was made up by transformers where its files are missing."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PARTS = {
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
}


def write_index(folder: Path) -> None:
    """Write ``model_index.json`` and the scheduler of a diffusers folder."""
    index = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False, **PARTS}
    write_text(folder / "model_index.json", json.dumps(index, indent=1) + "\n")
    schedule = {"_class_name": "DDIMScheduler", **SCHEDULE, **DDIM}
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    write_text(
        folder / "scheduler" / "scheduler_config.json", json.dumps(schedule, indent=1) + "\n"
    )


def write_random_base(folder: Path, shape: Shape, seed: int = 0, *, half: bool = True) -> Path:
    """Write an untrained base of a shape, to exercise loading and training; return the folder.

    Its tokenizer knows our AU texts and no more.
    """
    import torch

    from aubench.datasets import DEFAULT_DATASET
    from aubench.datasets.registry import find_dataset
    from aubench.facs import parse_aus
    from aubench.facs.describe import describe
    from aubench_baselines.stable_diffusion.text import GENERIC, train_tokenizer

    torch.manual_seed(seed)
    parts = {"vae": shape.build_vae, "unet": shape.build_unet, "text_encoder": shape.build_text}
    with quiet():
        for name, build in parts.items():  # one at a time: of SD 1.5's size each is gigabytes
            part = build()
            (part.half() if half else part).save_pretrained(folder / name)
            del part
    texts = [
        describe(parse_aus(name), seed=0).text
        for name in find_dataset(DEFAULT_DATASET).combinations()
    ]
    train_tokenizer(folder / "tokenizer", shape.vocabulary, [*texts, *GENERIC])
    write_index(folder)
    return folder


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and advice of diffusers and transformers."""
    import diffusers.utils.logging as d
    import transformers.utils.logging as t

    levels = d.get_verbosity(), t.get_verbosity()
    d.set_verbosity_error()
    t.set_verbosity_error()
    d.disable_progress_bar()
    t.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # `torch_dtype` is what all releases of diffusers know; recent ones prefer `dtype`.
            warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")
            yield
    finally:
        d.set_verbosity(levels[0])
        t.set_verbosity(levels[1])
        d.enable_progress_bar()
        t.enable_progress_bar()


def load_base(name: str, *, dtype: Any, tokenizer: str = "", download: bool = False) -> Any:
    """Return a ``StableDiffusionPipeline`` of a base, on the CPU.

    Args:
        name: Diffusers folder, single ``.safetensors`` file, or hub id.
        dtype: Dtype of the weights in memory.
        tokenizer: Folder or hub id of CLIP's tokenizer, for a single file, which has none.
        download: Whether a hub id may be fetched; otherwise only Hugging Face's cache is read.

    Raises:
        AubenchError: It is not there, damaged, or not a Stable Diffusion 1 base.
    """
    path = Path(name)
    with quiet():
        if path.is_dir():
            return _from_folder(path, dtype)
        if path.is_file():
            return _from_file(path, dtype, tokenizer, download)
        if HUB_ID.fullmatch(name):
            return _from_hub(name, dtype, download)
    raise AubenchError(
        f"base '{name}' is neither a folder, a file nor a hub id",
        f"for example {SD15}, a diffusers folder or a .safetensors file",
    )


def whole(kind: Any, where: str, part: str = "", **how: Any) -> Any:
    """Return a network of diffusers or transformers, every tensor of it from its files.

    Both leave random what a file lacks, and tell of it in a log alone. transformers before 5 does
    not know the names of a text encoder that a later one has written (no ``text_model.``).

    Args:
        kind: Its class.
        where: Folder or hub id.
        part: Folder below it.
        how: How of ``from_pretrained``.

    Raises:
        AubenchError: The files lack a tensor.
    """
    network, loading = kind.from_pretrained(where, subfolder=part, output_loading_info=True, **how)
    missing = sorted(loading["missing_keys"])
    if missing and all(key.startswith(LAYER) for key in missing):
        missing = _renamed(network, Path(where) / part)
    if missing:
        raise AubenchError(
            f"{'/'.join(filter(None, (where, part)))} lacks {len(missing)} tensors, "
            f"first {missing[0]}"
        )
    return network


def _renamed(network: Any, folder: Path) -> list[str]:
    """Load a text encoder whose file names tensors without their prefix; return what it lacks."""
    from safetensors.torch import load_file

    files = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    held = {
        f"{LAYER}{key.removeprefix(LAYER)}": value for one in files for key, value in one.items()
    }
    return sorted(network.load_state_dict(held, strict=False).missing_keys)


def _open(where: str, dtype: Any, *, local: bool) -> Any:
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    bare = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    safe = {"local_files_only": local, "use_safetensors": True}
    place = (
        where if Path(where).is_dir() else StableDiffusionPipeline.download(where, **safe, **bare)
    )
    how: dict[str, Any] = {**safe, "torch_dtype": dtype, "low_cpu_mem_usage": False}
    kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    parts = {name: whole(kind, str(Path(place) / name), **how) for name, kind in kinds.items()}
    return StableDiffusionPipeline.from_pretrained(place, **how, **parts, **bare)


def _from_folder(path: Path, dtype: Any) -> Any:
    if not (path / "model_index.json").is_file():
        raise AubenchError(
            f"base {path} holds no model_index.json", "give the folder that a pipeline was saved in"
        )
    try:
        pipe = _open(str(path), dtype, local=True)
    except Exception as error:  # diffusers and safetensors raise whatever they like
        raise AubenchError(
            f"base {path} cannot be read: {first_line(error)[:200]}", "restore the folder"
        ) from error
    if len(pipe.tokenizer) < EMPTY:
        raise AubenchError(f"base {path} holds no vocabulary in tokenizer", "restore the folder")
    return pipe


def _from_hub(name: str, dtype: Any, download: bool) -> Any:
    try:
        return _open(name, dtype, local=not download)
    except AubenchError:
        raise
    except Exception as error:
        if download:
            raise AubenchError(
                f"base '{name}' cannot be fetched: {first_line(error)[:200]}", "is there a network?"
            ) from error
        raise AubenchError(
            f"base '{name}' is not in the Hugging Face cache of this machine",
            f"`hf download {name}` where there is a network, or a folder or file as base",
        ) from error


def _from_file(path: Path, dtype: Any, tokenizer: str, download: bool) -> Any:
    """Read a single file in the layout of the original release; its networks are SD 1.5's."""
    from diffusers import StableDiffusionPipeline

    if path.suffix != ".safetensors":
        raise AubenchError(f"base {path} is not a .safetensors file", "pickles are not read")
    words = clip_tokenizer(tokenizer, path.parent, download)
    with tempfile.TemporaryDirectory() as place:
        write_config(Path(place), words, path.with_suffix(""))
        try:
            pipe = StableDiffusionPipeline.from_single_file(
                str(path),
                config=place,
                torch_dtype=dtype,
                local_files_only=True,
                safety_checker=None,
                feature_extractor=None,
                tokenizer=words,
            )
        except Exception as error:
            raise AubenchError(
                f"base {path} is not a Stable Diffusion 1.5 file: {first_line(error)[:200]}"
            ) from error
    _check_words(pipe, path)
    return pipe


def _check_words(pipe: Any, path: Path) -> None:
    """Refuse a single file that lacks a part of the text encoder, which diffusers leaves random."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stream:
        held = {
            key.removeprefix(WORDS).removeprefix(LAYER)
            for key in stream.keys()  # noqa: SIM118  (not a dictionary)
            if key.startswith(WORDS)
        }
    wanted = {key.removeprefix(LAYER) for key in pipe.text_encoder.state_dict()}
    missing = sorted(wanted - held)
    if missing:
        raise AubenchError(
            f"base {path} lacks {len(missing)} tensors of the text encoder, first {missing[0]}",
            "restore the file",
        )


def write_config(folder: Path, tokenizer: Any, given: Path) -> None:
    """Write the configuration of SD 1.5, or copy that of a folder named as the file is."""
    import torch

    write_index(folder)
    tokenizer.save_pretrained(folder / "tokenizer")
    shape = shape_of("paper")
    with torch.device("meta"):
        parts = {
            "unet": shape.build_unet(),
            "vae": shape.build_vae(),
            "text_encoder": shape.build_text(),
        }
    for name, part in parts.items():
        stated = given / name / "config.json"
        if stated.is_file():
            write_text(folder / name / "config.json", stated.read_text(encoding="utf-8"))
        elif name == "text_encoder":
            part.config.save_pretrained(folder / name)
        else:
            part.save_config(folder / name)


def clip_tokenizer(given: str, beside: Path, download: bool) -> Any:
    """Return CLIP's tokenizer: the one given, one beside the file, or the hub's from its cache.

    Raises:
        AubenchError: There is none.
    """
    from transformers import CLIPTokenizer

    place = given or (str(beside / "tokenizer") if (beside / "tokenizer").is_dir() else TOKENIZER)
    if Path(place).is_dir() and not (Path(place) / "vocab.json").is_file():
        raise AubenchError(f"{place} holds no CLIP tokenizer", "vocab.json and merges.txt")
    missing = AubenchError(
        f"a single file holds no tokenizer, and '{place}' is not on this machine",
        "put CLIP's vocab.json and merges.txt into a folder 'tokenizer' beside the file",
    )
    try:
        found = CLIPTokenizer.from_pretrained(place, local_files_only=not download)
    except Exception as error:
        raise missing from error
    if len(found) < EMPTY:
        raise missing
    return found


def base_digest(pipe: Any, parts: Sequence[str] = ("unet", "vae", "text_encoder")) -> str:
    """Return sha256 over the weights of denoiser, autoencoder and text encoder, as loaded.

    The same in every release of transformers, whatever it calls the text encoder's tensors.
    """
    digest = hashlib.sha256()
    for name in parts:
        state = getattr(pipe, name).state_dict()
        for key, value in sorted((key.removeprefix(LAYER), value) for key, value in state.items()):
            digest.update(f"{name}.{key}{tuple(value.shape)}".encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
