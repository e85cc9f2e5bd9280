"""Peak memory against N: `python tests/benchmarks/bench_memory.py --counts 2000 10000`.

Every N runs in a process of its own, with the shipped networks on synthetic uint8 faces; the peak
is the kernel's (``ru_maxrss``). Paths: ``moments`` measures generated images and targets and takes
the Fréchet distance of their moments; ``scores`` takes random features and computes FID, FD∞, KID,
IS and PRDC with intervals, as a record holds them; ``pairs`` compares images with their targets.
With ``--networks sparse`` the extractor sees every 40th batch and averages of blocks of pixels
stand in for the others, with ``none`` for all; with ``--same`` the targets are the generated
images, read from the features' file.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SIZE = 128
PATHS = ("moments", "scores", "pairs")
NETWORKS = ("extractor", "all", "sparse", "none")


def faces(keys: Sequence[str]) -> Any:
    """Return smooth random images, uint8 [B, SIZE, SIZE, 3], each from its key alone."""
    import numpy as np

    coarse = [np.random.default_rng(int(key)).integers(0, 256, (16, 16, 3)) for key in keys]
    return np.repeat(np.repeat(np.stack(coarse), 8, 1), 8, 2).astype(np.uint8)


class Blocks:
    """Averages of the image's blocks in random directions, as wide as a real extractor's arrays."""

    name, id, sha256 = "blocks", "blocks", "0" * 64

    def __init__(self) -> None:
        import numpy as np

        self._turn = np.random.default_rng(0).normal(size=(768, 2280)).astype(np.float32)

    def __call__(self, images: Any) -> dict[str, Any]:
        wide = images.reshape(len(images), 16, 8, 16, 8, 3).mean((2, 4)).reshape(len(images), -1)
        found = (wide / 64).astype("float32") @ self._turn
        return {"features": found[:, :1280].clip(0), "logits": found[:, 1280:]}


class Sparse(Blocks):
    """The extractor for every 40th batch, averages for the others: its memory in less time."""

    def __init__(self) -> None:
        from aubench.networks.extractors.registry import load_extractor

        super().__init__()
        self._whole, self._calls = load_extractor("efficientnet-lite0", "cpu"), 0

    def __call__(self, images: Any) -> dict[str, Any]:
        self._calls += 1
        return (self._whole if self._calls % 40 == 1 else super().__call__)(images)


def networks(which: str) -> list[Any]:
    if which in ("none", "sparse"):
        return [Blocks() if which == "none" else Sparse()]
    from aubench.networks.detectors import load_detectors
    from aubench.networks.extractors.registry import load_extractor
    from aubench.networks.inference import DetectorNetwork

    detectors = [DetectorNetwork(d) for d in load_detectors("nano-a,nano-b", "cpu")]
    return [load_extractor("efficientnet-lite0", "cpu"), *(detectors if which == "all" else [])]


def moments(count: int, which: str, same: bool = False) -> dict[str, float]:
    from aubench.evaluate.feature_cache import features
    from aubench.metrics.distributions.frechet import Moments, frechet_of_moments

    found = networks(which)
    arrays = []
    with tempfile.TemporaryDirectory() as folder:
        for side in (0, 1):
            of = 0 if same else side
            keys = [str(2 * i + of) for i in range(count)]
            paths = {n.name: Path(folder) / f"{of}-{n.name}.safetensors" for n in found}
            measured = features(keys, faces, found, paths, lambda: "content", "measure")
            arrays.append(measured[found[0].name]["features"])
    one, other = (Moments.of(a) for a in arrays)
    return {"fid": frechet_of_moments(one, other)}


def scores(count: int, which: str) -> dict[str, float]:
    import numpy as np

    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.metrics.registry import metric

    draw = np.random.default_rng(0)
    sides = [
        {
            "e": {
                "features": draw.gamma(0.3, size=(count, 1280)).astype(np.float32),
                "logits": draw.normal(size=(count, 1000)).astype(np.float32),
            }
        }
        for _ in range(2)
    ]
    subjects = [f"s{i % 40}" for i in range(count)]
    m = EvaluationData(
        sides[0],
        sides[1],
        np.arange(count),
        np.zeros((count, 12), np.uint8),
        np.zeros((count, 12), np.float32),
        subjects,
        {},
        {},
        "synthetic",
        "e|synthetic",
        {},
        "labels",
        ["all"] * count,
    )
    out = {}
    for scorer in ("fid", "kid", "is", "prdc"):
        start = time.perf_counter()
        rows = metric(scorer).score(m)
        out |= {row.metric: row.value for row in rows}
        out[f"{scorer}: s"] = round(time.perf_counter() - start, 2)
        out[f"{scorer}: MiB"] = round(peak())
    return out


def pairs(count: int, which: str) -> dict[str, float]:
    import numpy as np

    from aubench.evaluate.pairs import ImagePairs, Side, measure_pairs, steps_of
    from aubench.metrics.registry import chosen

    made, target = ([str(2 * i + side) for i in range(count)] for side in (0, 1))
    labels = np.ones((count, 12), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        steps, _ = steps_of(chosen(("pixels", "change")), SIZE, "cpu")
        images = ImagePairs(
            Side(made, faces), Side(target, faces), Side(target, faces), labels, "content"
        )
        found = measure_pairs(images, steps, Path(folder))
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def peak() -> float:
    """Return the largest resident set of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def once(path: str, count: int, which: str, same: bool) -> None:
    start = time.perf_counter()
    call: Callable[..., dict[str, float]] = globals()[path]
    values = call(count, which, same) if path == "moments" else call(count, which)
    told = {
        "path": path,
        "n": count,
        "networks": which,
        "peak MiB": round(peak()),
        "s": round(time.perf_counter() - start, 1),
        "values": values,
    }
    sys.stdout.write(json.dumps(told) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--path", choices=PATHS, default="moments")
    parser.add_argument("--networks", choices=NETWORKS, default="extractor")
    parser.add_argument("--same", action="store_true", help="targets are the generated images")
    parser.add_argument("--once", type=int, help="measure one N, in this process")
    args = parser.parse_args()
    if args.once:
        once(args.path, args.once, args.networks, args.same)
        return
    peaks = {}
    for count in args.counts:
        words = [sys.executable, __file__, "--path", args.path, "--networks", args.networks]
        words += ["--same"] if args.same else []
        # A child of a fork starts with its parent's peak: one that imported nothing is small.
        done = subprocess.run([*words, "--once", str(count)], check=True, capture_output=True)
        sys.stdout.write(done.stdout.decode())
        sys.stdout.flush()
        peaks[count] = json.loads(done.stdout)["peak MiB"]
    first, last = args.counts[0], args.counts[-1]
    sys.stdout.write(f"N {first} to {last}: {peaks[last] / peaks[first]:.3f} of the peak\n")


if __name__ == "__main__":
    main()
