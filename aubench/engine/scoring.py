"""Features to scores: what is measured, against what, and how the numbers are named."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.engine.features import Arrays, features, read_arrays, reference_path, write_arrays
from aubench.engine.folder import RunFolder, read_png
from aubench.engine.sheet import write_grid
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.metrics import aaad as aaad_module
from aubench.metrics import au_scores
from aubench.metrics.bootstrap import bootstrap, bootstrap_mean, centred_interval, resamples
from aubench.metrics.extractors import extractor_of, load_extractor
from aubench.metrics.frechet import frechet_distance, frechet_infinity
from aubench.metrics.inception_score import inception_score
from aubench.metrics.kernel import kernel_distance_subsets, kernel_matrices, unbiased
from aubench.metrics.measure import DetectorNetwork
from aubench.metrics.prdc import prdc
from aubench.record import ScoreRow
from aubench.weights import MissingWeightsError

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.generator import GeneratorInfo
    from aubench.protocol import Protocol

FIRST, SECOND = "nano-a", "nano-b"
EXTRACTED = frozenset({"fid", "kid", "is", "prdc"})
DETECTED = frozenset({"aaad", "au"})
MINIMUM = 6
"""Fewer images give no distribution to speak of."""


@dataclass
class Scored:
    """Scores of a run and what measured them."""

    rows: list[ScoreRow]
    subsets: dict[str, list[ScoreRow]]
    networks: dict[str, str]
    target_source: str
    seconds: dict[str, float]


@dataclass
class Measured:
    """Everything the metrics are functions of.

    Attributes:
        generated: by network, arrays with a row a generated image.
        targets: by network, arrays with a row a sample.
        kept: rows of the samples that were generated, [K] of N.
        labels: commanded AUs uint8 [N, 12].
        strength: commanded intensities float32 [N, 12].
        wanted: target distribution of AAAD float32 [N, 12].
        subjects: of the samples [N].
        pair: LPIPS of the generated images [K], or why there is none.
        ref: name of the reference set.
        extractor: id of the extractor.
        tags: id of each detector.
        source: ``text`` and its classifier, or ``labels``.
    """

    generated: dict[str, Arrays]
    targets: dict[str, Arrays]
    kept: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]
    strength: npt.NDArray[np.float32]
    wanted: npt.NDArray[np.float32]
    subjects: list[str]
    thresholds: dict[str, npt.NDArray[np.float32]]
    pair: npt.NDArray[np.float32] | None
    pair_note: str
    pair_id: str
    ref: str
    extractor: str
    tags: dict[str, str]
    source: str
    strata: list[str] = field(default_factory=list)
    missing: str = ""

    def at(self, network: str, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return an array of the generated images and of all targets."""
        return self.generated[network][name], self.targets[network][name]

    def subjects_kept(self) -> list[str]:
        """Return the subjects of the generated samples."""
        return [self.subjects[i] for i in self.kept]

    def whole(self, network: str) -> npt.NDArray[np.float32]:
        """Return probabilities [N, 12] of all samples, zero where the generator failed."""
        out = np.zeros((len(self.labels), len(AUS)), np.float32)
        out[self.kept] = self.generated[network]["probabilities"]
        return out


def score(
    folder: RunFolder,
    samples: SampleSet,
    images: ImageSource,
    protocol: Protocol,
    info: GeneratorInfo,
    metrics: Sequence[str],
    size: int,
    device: str,
) -> Scored:
    """Measure what the metrics need, once, and compute them; writes ``grid.png``."""
    start = time.perf_counter()
    found = _measure(folder, samples, images, protocol, info, metrics, size, device)
    middle = time.perf_counter()
    rows: list[ScoreRow] = []
    for metric in metrics:
        rows += SCORERS[metric](found)
    subsets = _subsets(found, metrics)
    if any(metric in DETECTED for metric in metrics):
        _grid(folder, samples, images, found, size, info.name)
    digests = {name: tag for name, tag in found.tags.items() if tag}
    if found.extractor:
        digests["extractor"] = found.extractor
    seconds = {
        "measure": round(middle - start, 2),
        "score": round(time.perf_counter() - middle, 2),
    }
    return Scored(rows, subsets, digests, found.source, seconds)


def _networks(dataset: str, metrics: Sequence[str], device: str) -> tuple[list[Any], str]:
    networks: list[Any] = []
    missing = ""
    if EXTRACTED.intersection(metrics):
        try:
            networks.append(load_extractor(extractor_of(dataset), device))
        except MissingWeightsError as error:
            missing = str(error)
    if DETECTED.intersection(metrics):
        from aubench.detectors import load_detector

        networks += [DetectorNetwork(load_detector(name, device)) for name in (FIRST, SECOND)]
    return networks, missing


def _measure(
    folder: RunFolder,
    samples: SampleSet,
    images: ImageSource,
    protocol: Protocol,
    info: GeneratorInfo,
    metrics: Sequence[str],
    size: int,
    device: str,
) -> Measured:
    frame = samples.frame
    ids = [str(name) for name in frame["sample_id"]]
    kept = np.array([i for i, name in enumerate(ids) if name not in folder.failures], np.int64)
    if len(kept) < MINIMUM:
        raise AubenchError(f"only {len(kept)} images to measure", f"ask for at least {MINIMUM}")
    made = [ids[i] for i in kept]

    def load_made(names: Sequence[str]) -> npt.NDArray[np.uint8]:
        return np.stack([read_png(folder.image(name)) for name in names])

    def load_target(keys: Sequence[str]) -> npt.NDArray[np.uint8]:
        return images.load_many(keys, size)

    networks, missing = _networks(protocol.dataset, metrics, device)
    paths = {n.name: folder.path / "features" / f"{n.name}.safetensors" for n in networks}
    pixels = folder.digest(made)
    generated = features(made, load_made, networks, paths, pixels, "measure generated")
    keys = [str(key) for key in frame["target"]]
    content = f"{images.fingerprint}|{size}|{samples.sha256}"
    places = {n.name: reference_path(content, n) for n in networks}
    targets = features(keys, load_target, networks, places, content, "measure targets")
    wanted, source = _wanted(samples, protocol, info, metrics)
    pair, pair_note, pair_id = None, "", "lpips|alex-v0.1"
    if "lpips" in metrics:
        pair, pair_note, pair_id = _pairs(
            folder, made, load_made, load_target, keys, kept, size, pixels + content, device
        )
    extractor = next((n for n in networks if n.name not in (FIRST, SECOND)), None)
    return Measured(
        generated=generated,
        targets=targets,
        kept=kept,
        labels=samples.labels(),
        strength=samples.intensities(),
        wanted=wanted,
        subjects=[str(s) for s in frame["subject"]],
        thresholds={
            n.name: n.detector.thresholds for n in networks if isinstance(n, DetectorNetwork)
        },
        pair=pair,
        pair_note=pair_note,
        pair_id=pair_id,
        ref=f"{protocol.dataset}-{protocol.version}/{protocol.name}",
        extractor=extractor.id if extractor else "",
        tags={n.name: f"{n.id} {n.sha256[:12]}" for n in networks},
        source=source,
        strata=[str(s) for s in frame["strata"]],
        missing=missing,
    )


def _wanted(
    samples: SampleSet, protocol: Protocol, info: GeneratorInfo, metrics: Sequence[str]
) -> tuple[npt.NDArray[np.float32], str]:
    """Return what AAAD compares with: the text's AUs, or the labels where no text is read."""
    reads_text = "text" in info.inputs or info.control
    if protocol.definition.input == "labels" or not reads_text or "aaad" not in metrics:
        return samples.labels().astype(np.float32), "labels"
    from aubench.textau import load_text_au

    classifier = load_text_au()
    return classifier.probabilities(list(samples.frame["text"])), f"text-{classifier.id}"


def _pairs(
    folder: RunFolder,
    made: list[str],
    load_made: Callable[[Sequence[str]], npt.NDArray[np.uint8]],
    load_target: Callable[[Sequence[str]], npt.NDArray[np.uint8]],
    keys: list[str],
    kept: npt.NDArray[np.int64],
    size: int,
    content: str,
    device: str,
) -> tuple[npt.NDArray[np.float32] | None, str, str]:
    from aubench.metrics.lpips import MINIMUM as SMALLEST
    from aubench.metrics.lpips import load_lpips
    from aubench.progress import bar

    name = "lpips|alex-v0.1"
    try:
        network = load_lpips(device)
    except MissingWeightsError as error:
        return None, str(error), name
    if size < SMALLEST:
        return None, f"images of {size} px are too small for LPIPS", name
    path, key = folder.path / "features" / "lpips.safetensors", content + network.sha256
    cached = read_arrays(path, key, len(made))
    if cached is not None:
        return cached["lpips"], "", name
    parts = []
    with bar(len(made), "lpips pairs", "pair") as progress:
        for i in range(0, len(made), 64):
            target = load_target([keys[k] for k in kept[i : i + 64]])
            parts.append(network(load_made(made[i : i + 64]), target))
            progress.update(len(target))
    values = np.concatenate(parts)
    write_arrays(path, key, {"lpips": values})
    return values, "", name


def _row(metric: str, id_: str, value: float | None, n: int, *, up: bool, **more: Any) -> ScoreRow:
    if value is not None and not np.isfinite(value):
        value, more["note"] = None, more.get("note") or "undefined on these samples"
    return ScoreRow(metric=metric, id=id_, value=value, n=n, higher_is_better=up, **more)


def _missing(m: Measured, metrics: Sequence[tuple[str, bool]]) -> list[ScoreRow]:
    n = len(m.kept)
    return [_row(name, name, None, n, up=up, note=m.missing) for name, up in metrics]


def _extractor_network(m: Measured) -> str:
    return m.extractor.split("|")[0]


def _suffix(m: Measured) -> str:
    return f"{m.extractor}|ref={m.ref}|n={len(m.kept)}"


def _fid(m: Measured) -> list[ScoreRow]:
    if m.missing:
        return _missing(m, [("fid", False), ("fd_inf", False)])
    made, real = m.at(_extractor_network(m), "features")
    n, value = len(made), frechet_distance(made, real)
    replicates = _fid_replicates(made, real, m)
    return [
        _row("fid", f"fid|{_suffix(m)}", value, n, up=False,
             ci=centred_interval(value, replicates), note="biased at this N"),
        _row("fd_inf", f"fd-inf|{_suffix(m)}|points=8|seed=2020", frechet_infinity(made, real), n,
             up=False),
    ]  # fmt: skip


def _fid_replicates(
    made: npt.NDArray[Any], real: npt.NDArray[Any], m: Measured, count: int = 24
) -> list[float]:
    """Resample subjects of the generated side; in the 96 main directions of the targets.

    The leading directions hold nearly all of the variance; the interval's width comes from them,
    its centre from the exact value.
    """
    subjects = m.subjects_kept()
    if len(set(subjects)) < 2:
        return []
    centred = real - real.mean(0)
    _, _, axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    axes = axes[: min(96, len(axes))]
    a, b = made.astype(np.float64) @ axes.T, real.astype(np.float64) @ axes.T
    return [frechet_distance(a[rows], b) for rows in resamples(subjects, count)]


def _kid(m: Measured) -> list[ScoreRow]:
    if m.missing:
        return _missing(m, [("kid", False), ("kid_subset", False)])
    made, real = m.at(_extractor_network(m), "features")
    kxx, kyy, kxy = kernel_matrices(made, real)
    value, n = unbiased(kxx, kyy, kxy), len(made)
    within = (kyy.sum() - np.trace(kyy)) / (len(real) * (len(real) - 1))
    rows = kxx.sum(1) - np.diag(kxx), np.diag(kxx), kxy.mean(1)
    replicates = _kid_replicates(kxx, rows[2], float(within), m)
    mean, spread = kernel_distance_subsets(made, real)
    k = min(1000, n, len(real))
    return [
        _row("kid", f"kid|{_suffix(m)}", value, n, up=False,
             ci=centred_interval(value, replicates)),
        _row("kid_subset", f"kid-subset|{_suffix(m)}|100x{k}|seed=2020", mean, n, up=False,
             note=f"deviation of subsets {spread:.2g}"),
    ]  # fmt: skip


def _kid_replicates(
    kxx: npt.NDArray[Any], cross: npt.NDArray[Any], within: float, m: Measured, count: int = 200
) -> list[float]:
    """Resample subjects of the generated side by weighting rows of the kernel matrix."""
    subjects = m.subjects_kept()
    if len(set(subjects)) < 2:
        return []
    out = []
    for rows in resamples(subjects, count):
        weight = np.bincount(rows, minlength=len(kxx)).astype(float)
        n = weight.sum()
        own = weight @ kxx @ weight - weight @ np.diag(kxx)
        out.append(float(own / (n * (n - 1)) + within - 2 * (weight @ cross) / n))
    return out


def _is(m: Measured) -> list[ScoreRow]:
    if m.missing:
        return _missing(m, [("is", True)])
    logits, _ = m.at(_extractor_network(m), "logits")
    value, spread = inception_score(logits)
    id_ = f"is|{m.extractor}|splits=10|seed=2020|n={len(logits)}"
    return [_row("is", id_, value, len(logits), up=True, informative=False,
                 note=f"deviation of splits {spread:.2g}")]  # fmt: skip


def _lpips(m: Measured) -> list[ScoreRow]:
    failed = len(m.labels) - len(m.kept)
    id_ = f"{m.pair_id}|to=target|n={len(m.labels)}"
    if m.pair is None:
        return [_row("lpips", id_, None, len(m.labels), up=False, note=m.pair_note)]
    values = np.ones(len(m.labels))
    values[m.kept] = m.pair
    note = f"{failed} failed samples count as 1" if failed else ""
    return [_row("lpips", id_, float(values.mean()), len(values), up=False, note=note,
                 ci=bootstrap_mean(values, m.subjects))]  # fmt: skip


def _aaad(m: Measured) -> list[ScoreRow]:
    out = []
    n = len(m.labels)
    for network, tail in ((FIRST, ""), (SECOND, "_second")):
        truth = m.targets[network]["probabilities"]
        scale = aaad_module.constants(truth, m.wanted)
        cosine = aaad_module.cosines(m.whole(network), m.wanted)
        span = scale.high - scale.low
        ci = bootstrap_mean((cosine - scale.low) / span, m.subjects)
        about = f"{m.tags[network].split(' ')[0]}|target={m.source}|ref={m.ref}|n={n}"
        note = f"low {scale.low:.4f}, high {scale.high:.4f}"
        out.append(_row(f"aaad{tail}", f"aaad|{about}", aaad_module.aaad(cosine, scale), n, up=True,
                        ci=ci, note=note))  # fmt: skip
        out.append(_row(f"cosine{tail}", f"cosine|{about}", float(cosine.mean()), n, up=True,
                        ci=bootstrap_mean(cosine, m.subjects)))  # fmt: skip
        if not tail:
            partners = aaad_module.shuffled(n, 2020)
            ceiling = aaad_module.aaad(aaad_module.cosines(truth, m.wanted), scale)
            floor = aaad_module.aaad(aaad_module.cosines(truth, m.wanted[partners]), scale)
            out.append(_row("aaad_ceiling", f"aaad-of-targets|{about}", ceiling, n, up=True))
            out.append(_row("aaad_floor", f"aaad-of-shuffled-targets|{about}", floor, n, up=True))
    return out


def _au(m: Measured) -> list[ScoreRow]:
    n, p = len(m.labels), m.whole(SECOND)
    found = p >= m.thresholds[SECOND]
    id_ = f"{m.tags[SECOND].split(' ')[0]}|commanded|n={n}"
    truth = m.targets[SECOND]["probabilities"] >= m.thresholds[SECOND]

    def mean_f1(rows: npt.NDArray[np.int64]) -> float:
        return au_scores.mean_of(au_scores.f1(found[rows], m.labels[rows]))

    leak = au_scores.off_target(found, m.labels)
    per_au = au_scores.f1(found, m.labels)
    ceiling = au_scores.mean_of(au_scores.f1(truth, m.labels))
    rows = [
        _row("au_f1", f"f1|{id_}", au_scores.mean_of(per_au), n, up=True,
             ci=bootstrap(mean_f1, m.subjects, count=200), note=f"targets reach {ceiling:.3f}"),
        _row("au_auc", f"auc|{id_}", au_scores.mean_of(au_scores.auc(p, m.labels)), n, up=True),
        _row("off_target", f"off-target|{id_}", float(leak.mean()), n, up=False,
             ci=bootstrap_mean(leak, m.subjects)),
    ]  # fmt: skip
    for au, value in zip(AUS, per_au, strict=True):
        rows.append(_row(f"au_f1_{au}", f"f1-AU{au}|{id_}", float(value), n, up=True))
    return rows


def _prdc(m: Measured) -> list[ScoreRow]:
    names = ("precision", "recall", "density", "coverage")
    if m.missing:
        return _missing(m, [(name, True) for name in names])
    made, real = m.at(_extractor_network(m), "features")
    values = prdc(real, made)
    return [_row(name, f"{name}|{_suffix(m)}|k=5", values[name], len(made), up=True)
            for name in names]  # fmt: skip


SCORERS: dict[str, Callable[[Measured], list[ScoreRow]]] = {
    "fid": _fid, "kid": _kid, "is": _is, "lpips": _lpips, "aaad": _aaad, "au": _au, "prdc": _prdc,
}  # fmt: skip


def _subsets(m: Measured, metrics: Sequence[str]) -> dict[str, list[ScoreRow]]:
    """Return AU scores of each stratum of the protocol."""
    names = sorted(set(m.strata))
    if len(names) < 2 or not {"aaad", "au"} <= set(metrics):
        return {}
    found = m.whole(SECOND) >= m.thresholds[SECOND]
    scale = aaad_module.constants(m.targets[FIRST]["probabilities"], m.wanted)
    cosine = aaad_module.cosines(m.whole(FIRST), m.wanted)
    out = {}
    for name in names:
        rows = np.array([i for i, s in enumerate(m.strata) if s == name])
        n = len(rows)
        about = f"{m.ref}/{name}|n={n}"
        f1 = au_scores.mean_of(au_scores.f1(found[rows], m.labels[rows]))
        out[name] = [
            _row("aaad", f"aaad|{about}", aaad_module.aaad(cosine[rows], scale), n, up=True),
            _row("au_f1", f"f1|{about}", f1, n, up=True),
        ]
    return out


def _grid(
    folder: RunFolder, samples: SampleSet, images: ImageSource, m: Measured, size: int, name: str
) -> None:
    rows = m.kept[np.linspace(0, len(m.kept) - 1, min(16, len(m.kept))).astype(int)]
    frame = samples.frame
    found = m.whole(SECOND) >= m.thresholds[SECOND]
    pictures = [
        (
            images.load(str(frame["reference"].iloc[i]), size),
            images.load(str(frame["target"].iloc[i]), size),
            read_png(folder.image(str(frame["sample_id"].iloc[i]))),
        )
        for i in rows
    ]
    write_grid(
        folder.path / "grid.png", pictures, list(m.labels[rows]), list(found[rows]),
        f"{name}, {m.ref}, detected by {SECOND}",
    )  # fmt: skip
