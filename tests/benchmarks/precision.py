"""How far results move with batch, threads, layout, type, resizing, JPEG, and library versions.

    python tests/benchmarks/precision.py RUN [--images 100] [--save FILE] [--against FILE]

RUN is a finished folder of ``aubench run`` on synfacs. Its images and their targets are measured
once as always, and once a variant; prints a Markdown table of differences. ``--save`` keeps what
was measured as always, ``--against`` compares with what another machine or another set of packages
kept. Inception has random weights of the true shape (seed 0) and sees the first 16 images.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

FEW = 16
WAYS = {
    "pil-float": "Pillow bicubic, float",
    "pil-8": "Pillow bicubic, uint8",
    "bicubic": "bicubic, no antialiasing",
    "bilinear": "bilinear",
    "tensorflow-1": "as TensorFlow 1",
}


@dataclass(frozen=True)
class Nets:
    """What looks at the images: functions from uint8 [N, H, W, 3] to float arrays."""

    effnet: Callable
    inception: Callable
    lpips: Callable
    detector: Callable


def nets(file: Path, change: str = "", batch: int = 32) -> Nets:
    """Return the networks, changed: ``plain``, ``float64``, ``bfloat16``."""
    from aubench.metrics.faces.lpips import load_lpips
    from aubench.networks.detectors import load_detector
    from aubench.networks.extractors import efficientnet as efficientnets
    from aubench.networks.extractors import inception as inceptions

    def load() -> tuple:
        effnet = efficientnets.load("efficientnet-lite0", "cpu")
        return effnet, inceptions.load("inception-2015-12-05", "cpu")

    unfolded = (
        mock.patch.object(efficientnets, "_quicken", return_value=None),
        mock.patch.object(inceptions, "folded_inception", lambda network: network),
    )
    with mock.patch("aubench.networks.external_weights.path", local(file)):
        if change == "plain":
            with unfolded[0], unfolded[1]:
                effnet, inception = load()
        else:
            effnet, inception = load()
        load_lpips.cache_clear()
        lpips = load_lpips()
        detector = replace(load_detector("nano-a"), micro_batch=batch)
    if change in ("float64", "bfloat16"):
        effnet, inception = (replace(n, run=typed(n.run, change)) for n in (effnet, inception))
        lpips = replace(lpips, network=typed(lpips.network, change))
        detector = replace(detector, network=typed(detector.network, change))
    return Nets(effnet, inception, lpips, detector.probabilities)


def local(file: Path) -> Callable:
    """Return where weights lie, Inception's in a file."""
    from aubench.networks import external_weights as weights

    real = weights.path
    files = {"inception-2015-12-05": file, "lpips-alexnet": file.with_name("alexnet.safetensors")}
    return lambda name: files[name] if name in files and files[name].is_file() else real(name)


class typed(torch.nn.Module):  # noqa: N801
    """A network or function that computes in another type."""

    def __init__(self, run: Callable, change: str) -> None:
        super().__init__()
        self.run, self.change = run, change
        if change == "float64":
            for module in modules(run):
                module.double()

    def forward(self, *inputs: torch.Tensor):
        if self.change == "float64":
            return self.run(*(x.double() for x in inputs))
        with torch.autocast("cpu", torch.bfloat16):
            return self.run(*inputs)


def modules(run: Callable) -> list[torch.nn.Module]:
    """Return the networks that a function holds on to."""
    if isinstance(run, torch.nn.Module):
        return [run]
    cells = [cell.cell_contents for cell in run.__closure__ or ()]
    return [cell for cell in cells if isinstance(cell, torch.nn.Module)]


@contextmanager
def threads(count: int):
    """Let torch use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def resized(name: str) -> Callable:
    """Return another way from float [B, 3, H, W] in 0..255 to a side."""
    from PIL import Image
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    def pillow(x: torch.Tensor, side: int) -> torch.Tensor:
        size, way = (side, side), Image.Resampling.BICUBIC
        planes = x.numpy().astype(np.float32 if name == "pil-float" else np.uint8)
        out = [
            [np.asarray(Image.fromarray(plane).resize(size, way), np.float32) for plane in image]
            for image in planes
        ]
        return torch.from_numpy(np.array(out)).clamp(0, 255)

    def other(x: torch.Tensor, side: int) -> torch.Tensor:
        if name == "tensorflow-1":
            return interpolate_bilinear_2d_like_tensorflow1x(x, (side, side), align_corners=False)
        return F.interpolate(x, (side, side), mode=name, align_corners=False)

    return pillow if name.startswith("pil") else other


def jpeg(images: np.ndarray, quality: int) -> np.ndarray:
    """Return uint8 images [N, H, W, 3] after JPEG."""
    from PIL import Image

    out = []
    for image in images:
        with io.BytesIO() as stream:
            Image.fromarray(image).save(stream, "JPEG", quality=quality)
            out.append(np.asarray(Image.open(stream).convert("RGB")))
    return np.stack(out)


def look(networks: Nets, made: np.ndarray, real: np.ndarray, only: str = "") -> dict:
    """Return everything measured; ``only`` the extractors where the others cannot change."""
    both = {"made": made, "real": real}
    out = {f"effnet {side}": networks.effnet(x)["features"] for side, x in both.items()}
    out["inception"] = networks.inception(made[:FEW])["features"]
    if not only:
        out["lpips"] = networks.lpips(made, real)
        out |= {f"aus {side}": networks.detector(x) for side, x in both.items()}
    return out


def distances(found: dict, labels: np.ndarray, scale) -> dict[str, float]:
    """Return FID, KID, LPIPS and AAAD (against the labels) of what was measured."""
    from aubench.metrics.action_units.aaad import aaad, cosines
    from aubench.metrics.distributions.frechet import frechet_distance
    from aubench.metrics.distributions.kernel import kernel_distance

    sides = found["effnet made"], found["effnet real"]
    out = {"FID": frechet_distance(*sides), "KID": kernel_distance(*sides)}
    if "lpips" in found:
        out["LPIPS"] = float(found["lpips"].astype(np.float64).mean())
        out["AAAD"] = aaad(cosines(found["aus made"], labels), scale)
    return out


def gap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest |a - b| / |b| of a row."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float((np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)).max())


def line(name: str, found: dict, base: dict, labels: np.ndarray, scale) -> str:
    """Return a row of the table: differences from what was measured as always."""
    old, new = distances(base, labels, scale), distances(found, labels, scale)
    cells = [
        gap(found["effnet made"], base["effnet made"]),
        gap(found["inception"], base["inception"]),
    ]
    cells += [abs(new[key] - old[key]) / abs(old[key]) for key in ("FID", "KID")]
    if "lpips" in found:
        cells += [abs(new[key] - old[key]) / abs(old[key]) for key in ("LPIPS", "AAAD")]
        cells.append(float(np.abs(found["aus made"] - base["aus made"]).max()))
    words = ["0" if not cell else f"{cell:.1e}" for cell in cells]
    return f"| {name} | " + " | ".join(words + [""] * (7 - len(words))) + " |"


def pictures(run: Path, count: int):
    """Return generated images, targets, uint8 [N, H, W, 3], and labels [N, 12] of a run."""
    import pandas as pd

    from aubench.protocols.protocol import load_protocol
    from aubench.run.execute import image_source
    from aubench.storage.run_folder import read_png

    frame = pd.read_parquet(run / "samples.parquet")
    frame = frame.iloc[np.linspace(0, len(frame) - 1, count).astype(int)]
    made = np.stack([read_png(run / "images" / f"{name}.png") for name in frame["sample_id"]])
    real = image_source("synfacs").load_many(list(frame["target"]), made.shape[1])
    whole = load_protocol("test2k", "synfacs").samples()
    rows = whole.frame["sample_id"].isin(set(frame["sample_id"])).to_numpy()
    assert rows.sum() == count, "RUN is not one of test2k"
    order = {name: i for i, name in enumerate(whole.frame["sample_id"][rows])}
    labels = whole.labels()[rows][[order[name] for name in frame["sample_id"]]]
    return made, real, labels.astype(np.float32)


def variants(file: Path, made: np.ndarray, real: np.ndarray, only: str):
    """Yield a name and what was measured, for each variant whose name begins so."""
    for name, measured in ways(file, made, real):
        if name.startswith(only):
            yield name, measured()


def ways(file: Path, made: np.ndarray, real: np.ndarray):
    """Yield a name and a function that measures, for each variant."""

    def batch(count: int) -> dict:
        with mock.patch("aubench.networks.extractors.extractor.MICRO_BATCH", count):
            return look(nets(file, batch=count), made, real)

    def thread() -> dict:
        with threads(2):
            return look(nets(file), made, real)

    def resize(way: str) -> dict:
        where, other = "aubench.networks.extractors", resized(way)
        with (
            mock.patch(f"{where}.efficientnet.clean_resize", other),
            mock.patch(f"{where}.inception.clean_resize", other),
        ):
            return look(nets(file), made, real, "extractors")

    for count in (1, 8):
        yield f"batch of {count}", partial(batch, count)
    yield "2 threads", thread
    yield "plain", lambda: look(nets(file, "plain"), made, real, "extractors")
    for change in ("float64", "bfloat16"):
        yield change, partial(lambda change: look(nets(file, change), made, real), change)
    for way, words in WAYS.items():
        yield f"resize: {words}", partial(resize, way)
    for quality in (95, 75):
        changed = jpeg(made, quality)
        yield (
            f"generated as JPEG {quality}",
            partial(lambda changed: look(nets(file), changed, real), changed),
        )


def main() -> None:
    """Print the table."""
    from random_weights import alexnet_file, inception_file

    from aubench.metrics.action_units.aaad import constants
    from aubench.run.provenance import hardware, package_versions

    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", default="", help="variants whose names begin so")
    parser.add_argument("--random-alexnet", action="store_true", help="as Inception's are")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    made, real, labels = pictures(asked.run, asked.images)
    with tempfile.TemporaryDirectory() as folder:
        file = inception_file(Path(folder) / "inception.pt")
        if asked.random_alexnet:
            alexnet_file(file.with_name("alexnet.safetensors"))
        base = look(nets(file), made, real)
        scale = constants(base["aus real"], labels)
        if asked.save:
            np.savez(asked.save, **base)
        say = sys.stdout.write
        say(f"{len(made)} images of {made.shape[1]} px, {hardware()}, {package_versions()}\n")
        say(f"as always: {distances(base, labels, scale)}\n\n")
        say("| | EfficientNet | Inception | FID | KID | LPIPS | AAAD | AU probability |\n")
        say("|---|---|---|---|---|---|---|---|\n")
        if asked.against:
            with np.load(asked.against) as other:
                say(line("as kept", dict(other), base, labels, scale) + "\n")
            return
        for name, found in variants(file, made, real, asked.only):
            say(line(name, found, base, labels, scale) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
