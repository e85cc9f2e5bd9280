"""The conformance suite: does a generator keep the contract of ``aubench.generators.contract``?

It runs a few samples of a protocol through the generator as ``aubench run`` would, in several
ways that must all give the same pixels.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError
from aubench.generators.contract import (
    GeneratorInfo,
    Plan,
    SampleFailure,
    Unsupported,
    WeightSource,
)
from aubench.generators.registry import begin, load_with, weights_digest, why_unavailable
from aubench.generators.requests import NAMES, call, call_with, fresh, plan_of, requests
from aubench.plugins import plain_line
from aubench.stage_times import peak_memory

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.generators.contract import Generator, Request

    Images = npt.NDArray[np.uint8]


ATTEMPTS = 8
"""How often other samples are taken where a generator supports none."""


@dataclass(frozen=True)
class Subject:
    """What is checked: a registered generator, its weights, and the samples it is shown.

    Attributes:
        name: The entry-point name.
        weights: Weights in place of its own.
        protocol: Protocol that samples come from; chosen by what the model reads if None.
        data: Data set of the protocol.
        count: How many samples.
        device: Torch device string.
        options: Options of the generator, ``--option NAME=VALUE``.
        adversarial: Whether detectors look at the images, plain and purified.
    """

    name: str
    weights: Path | None = None
    protocol: str | None = None
    data: str = DEFAULT_DATASET
    count: int = 4
    device: str = "cpu"
    options: Mapping[str, str] = field(default_factory=dict)
    adversarial: bool = True


@dataclass(frozen=True)
class Verdict:
    """One line of the suite; ``passed`` is None for what is only told, not judged."""

    name: str
    passed: bool | None
    detail: str

    @property
    def word(self) -> str:
        """Return ``pass``, ``FAIL`` or ``note``."""
        return {True: "pass", False: "FAIL", None: "note"}[self.passed]


class _Stop(Exception):
    """Nothing more can be checked."""


@dataclass
class _Bench:
    """A loaded generator and the requests of the suite."""

    make: Callable[[], Generator]
    generator: Generator
    batch: list[Request]
    size: int
    further: Iterator[list[Request]]
    whole: pd.DataFrame

    def images(self, batch: Sequence[Request], generator: Generator | None = None) -> Images:
        return call(generator or self.generator, list(batch), self.size)


def check_generator(subject: Subject) -> Iterator[Verdict]:
    """Yield a verdict for each part of the contract; stops where nothing more can be checked.

    Raises:
        AubenchError: Nothing of that name is registered, or the protocol is unknown.
    """
    from aubench.generators.registry import GROUP, generator_class

    GROUP.point(subject.name)
    try:
        cls = generator_class(subject.name)
    except AubenchError as error:
        yield Verdict("entry point", False, str(error))
        return
    yield from _registration(cls, subject.name)
    if not isinstance(getattr(cls, "info", None), GeneratorInfo):
        return
    try:
        bench = yield from _loading(cls, subject)
        first = yield from _making(bench)
    except _Stop:
        return
    for name, check in CHECKS.items():
        try:
            yield check(bench, first)
        except AubenchError as error:
            yield Verdict(name, False, NAMES.told(error.message))
        except SampleFailure as error:
            yield Verdict(name, False, plain_line(NAMES.told(str(error))))
    yield _targets(subject, bench, first)
    if subject.adversarial:
        yield _adversarial(subject, bench, first)
    yield _memory()


def _adversarial(subject: Subject, bench: _Bench, first: Images) -> Verdict:
    """Tell what of AU skill a mild purification takes away: much, if detectors are deceived."""
    import numpy as np

    from aubench.datasets import default_networks
    from aubench.metrics.action_units.adversarial import MARGIN, SUSPECT
    from aubench.metrics.action_units.au_skill import skill
    from aubench.networks.detectors import load_detectors
    from aubench.networks.detectors.detector import Detector
    from aubench.networks.purification import PURIFIED, purified

    name = "adversarial gap"
    samples = _material(bench.generator.info, subject)[0].samples()
    places = {key: row for row, key in enumerate(samples.ids)}
    labels = samples.labels()[[places[NAMES.id(r.sample_id)] for r in bench.batch]].astype(np.int64)
    if not labels.any():
        return Verdict(name, None, "not told: the samples ask for no AU")
    try:
        readers = load_detectors(default_networks(subject.data).detectors, subject.device)
    except AubenchError as error:
        return Verdict(name, None, f"not told: {error}")
    parts, suspect = [], False
    mild = purified(first)
    for one in readers:
        if isinstance(one, Detector):
            before, after = (
                skill(np.nan_to_num(one.probabilities(x)), np.where(one.mask, labels, -1))
                for x in (first, mild)
            )
            suspect |= before - after > MARGIN
            parts.append(f"{one.name} {before:.2f} to {after:.2f}")
    detail = f"AU skill after {PURIFIED}: {', '.join(parts)}"
    return Verdict(name, None, f"{SUSPECT}: {detail}" if suspect else detail)


def _registration(cls: type[Generator], name: str) -> Iterator[Verdict]:
    info: Any = getattr(cls, "info", None)
    if not isinstance(info, GeneratorInfo):
        yield Verdict("card", False, "the class has no GeneratorInfo as its info")
        return
    agrees = info.name == name
    yield Verdict(
        "entry point",
        agrees,
        f"{name} = {cls.__module__}:{cls.__qualname__}"
        + ("" if agrees else f", but info.name is '{info.name}'"),
    )
    empty = [key for key in ("training", "licence", "citation") if not getattr(info, key).strip()]
    if not info.inputs and not info.control:
        empty.append("inputs")
    if not info.trained_on and info.training != "none":
        empty.append("trained_on (or training = 'none')")
    if info.size and not 32 <= info.size <= 1024:
        empty.append("size in 32..1024, or 0 for the protocol's")
    yield Verdict("card", not empty, f"lacks {', '.join(empty)}" if empty else "complete")


def _loading(cls: type[Generator], subject: Subject) -> Any:
    """Yield verdicts on loading, and return the bench."""
    import numpy as np

    try:
        reason = why_unavailable(cls, subject.name)
    except AubenchError as error:
        reason = str(error)
    if reason is not None:
        yield Verdict("available", False, reason)
        raise _Stop
    protocol, samples, images = _material(cls.info, subject)
    options: dict[str, Any] = dict(subject.options)
    if cls.info.control:
        options |= {"samples": samples, "images": images}

    def make() -> Generator:
        source = WeightSource(subject.weights)
        return load_with(cls, subject.name, source, subject.device, **options)

    start = time.perf_counter()
    try:
        generator = make()
        size = generator.info.size or protocol.size
        known = protocol.samples().ids
        begin(generator, plan_of(samples.ids, known, size, generator.info))
        weights_digest(generator)
    except AubenchError as error:
        yield Verdict("load", False, str(error))
        raise _Stop from error
    yield Verdict("load", True, f"{time.perf_counter() - start:.1f} s")
    batch = requests(samples, images, generator, range(len(samples)), size)
    whole = protocol.samples()
    active = whole.labels().sum(1).astype(int)
    order = np.where(active, active, 99).argsort(kind="stable")
    rows = [int(row) for row in order[: ATTEMPTS * subject.count]]
    further = (
        requests(whole, images, generator, rows[i : i + subject.count], size)
        for i in range(0, len(rows), subject.count)
    )
    return _Bench(make, generator, batch, size, further, whole.frame)


def _material(info: GeneratorInfo, subject: Subject) -> tuple[Any, SampleSet, ImageSource]:
    from aubench.datasets import image_source
    from aubench.protocols.protocol import load_protocol

    reads_text = "text" in info.inputs or info.control
    name = subject.protocol or ("test2k" if reads_text else "label-input")
    protocol = load_protocol(name, subject.data)
    return protocol, protocol.samples().limit(subject.count), image_source(subject.data)


def _making(bench: _Bench) -> Any:
    """Yield verdicts on the first images and on failures, and return the images.

    A sample that the generator gives up on leaves the bench, as it leaves a batch of a run. Where
    hardly any is supported, those with the fewest AUs are tried.
    """
    failed = []
    while True:
        start = time.perf_counter()
        try:
            first = bench.images(bench.batch)
            break
        except SampleFailure as failure:
            left = [r for r in bench.batch if r.sample_id != failure.sample_id]
            if len(left) == len(bench.batch):
                yield Verdict("failures", False, f"{NAMES.id(failure.sample_id)} was not asked for")
                raise _Stop from failure
            failed.append(plain_line(NAMES.told(str(failure))))
            if isinstance(failure, Unsupported) and len(left) < 2:
                known = {request.sample_id for request in left}
                left += [r for r in next(bench.further, []) if r.sample_id not in known]
            bench.batch = left
            if not left:
                yield Verdict("failures", False, f"every sample failed; {failed[0]}")
                raise _Stop from failure
        except AubenchError as error:
            yield Verdict("images", False, error.message)
            raise _Stop from error
    seconds = time.perf_counter() - start
    yield Verdict("images", True, f"uint8 {list(first.shape)}")
    yield _range(first)
    remark = f"{len(failed)} given up on: {failed[0]}" if failed else "no sample was given up on"
    yield Verdict("failures", True if failed else None, remark)
    yield Verdict("speed", None, f"{len(first) / max(seconds, 1e-6):.2f} img/s on this machine")
    return first


def _range(images: Images) -> Verdict:
    low, high = int(images.min()), int(images.max())
    if high <= 1:
        return Verdict("range", False, f"values {low}..{high}: were they scaled to 0..255?")
    flat = [i for i, image in enumerate(images) if image.min() == image.max()]
    if flat:
        return Verdict("range", False, f"image {flat[0]} is of one colour")
    return Verdict("range", True, f"values {low}..{high}")


def _disturb(value: int) -> None:
    """Set the global generators of random numbers, on which no image may depend."""
    import numpy as np
    import torch

    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - the generator that a plug-in should not use
    torch.manual_seed(value)


def _same(name: str, a: Images, b: Images, batch: Sequence[Request], how: str) -> Verdict:
    for request, one, other in zip(batch, a, b, strict=True):
        if (one != other).any():
            share = float((one != other).mean())
            return Verdict(
                name, False, f"{NAMES.id(request.sample_id)} {how}: {share:.1%} of values differ"
            )
    return Verdict(name, True, f"the same pixels {how}")


def _repeats(bench: _Bench, first: Images) -> Verdict:
    _disturb(1)
    again = bench.images(bench.batch)
    _disturb(2)
    verdict = _same("determinism", first, again, bench.batch, "when made again")
    other = bench.images(bench.batch)
    return (
        verdict
        if not verdict.passed
        else _same(
            "determinism", again, other, bench.batch, "when made again, whatever the global seeds"
        )
    )


def _alone(bench: _Bench, first: Images) -> Verdict:
    import numpy as np

    single = np.concatenate([bench.images([request]) for request in bench.batch])
    return _same("batch", first, single, bench.batch, "alone as in a batch")


def _reversed(bench: _Bench, first: Images) -> Verdict:
    turned = bench.images(bench.batch[::-1])[::-1]
    return _same("order", first, turned, bench.batch, "in another order")


def _renamed(bench: _Bench, first: Images) -> Verdict:
    """Give each request another name: another run does, and nothing may depend on it."""
    info = bench.generator.info
    if info.control or info.reads_ids:
        return Verdict("names", None, "it finds images by sample ids")
    other = [replace(r, sample_id=f"{r.sample_id[::-1]}") for r in bench.batch]
    return _same("names", first, bench.images(other), bench.batch, "under another name")


def _targets(subject: Subject, bench: _Bench, first: Images) -> Verdict:
    """Raise an alarm where images are their targets, which nobody but a control was shown."""
    from aubench.metrics.faces.target_likeness import is_target

    info = bench.generator.info
    _, _, images = _material(info, subject)
    frame = bench.whole.set_index("sample_id")
    rows = frame.loc[[NAMES.id(request.sample_id) for request in bench.batch]]
    if rows["target"].isna().any():
        return Verdict("targets", None, "the samples have none")
    targets, references = (
        images.load_many(list(rows[column]), bench.size) for column in ("target", "reference")
    )
    count = int(is_target(first, targets, references).sum())
    told = f"{count} of {len(first)} images are their targets, or nearly"
    if info.control or not count:
        return Verdict("targets", None if info.control else True, told)
    return Verdict("targets", False, f"{told}: has it seen them?")


def _reloaded(bench: _Bench, first: Images) -> Verdict:
    try:
        again = bench.make()
    except AubenchError as error:
        return Verdict("reload", False, str(error))
    begin(again, _plan(bench))
    return _same("reload", first, bench.images(bench.batch, again), bench.batch, "when reloaded")


def _plan(bench: _Bench) -> Plan:
    ids = tuple(request.sample_id for request in bench.batch)
    return Plan(ids, frozenset(ids), bench.size)


def _untouched(bench: _Bench, first: Images) -> Verdict:
    import numpy as np

    def arrays(batch: Sequence[Request]) -> list[Any]:
        return [v for r in batch for v in (r.aus, r.intensities, r.reference) if v is not None]

    given = fresh(bench.batch)
    call_with(bench.generator, given, bench.size)
    kept = all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(arrays(bench.batch), arrays(given), strict=True)
    )
    return Verdict("requests", kept, "left as they are" if kept else "arrays of a request changed")


def _seeds(bench: _Bench, first: Images) -> Verdict:
    other = bench.images([replace(r, seed=(r.seed + 1) % 2**31) for r in bench.batch])
    changed = int((other != first).any(axis=(1, 2, 3)).sum())
    remark = f"another seed changes {changed} of {len(first)} images"
    return Verdict("seeds", None, remark)


def _commands(bench: _Bench, first: Images) -> Verdict:
    """Tell whether texts or AUs matter: each request is given those of the next."""
    turned = [
        replace(r, text=n.text, aus=n.aus, intensities=n.intensities)
        for r, n in zip(bench.batch, bench.batch[1:] + bench.batch[:1], strict=True)
    ]
    try:
        other = bench.images(turned)
    except SampleFailure as failure:
        return Verdict("commands", None, f"not told: {NAMES.told(str(failure))}")
    changed = int((other != first).any(axis=(1, 2, 3)).sum())
    return Verdict("commands", None, f"another command changes {changed} of {len(first)} images")


CHECKS = {
    "determinism": _repeats,
    "batch": _alone,
    "order": _reversed,
    "names": _renamed,
    "reload": _reloaded,
    "requests": _untouched,
    "seeds": _seeds,
    "commands": _commands,
}
"""What must give the same pixels as the first images, and what is only told, by verdict."""


def _memory() -> Verdict:
    return Verdict("memory", None, f"{peak_memory():,.0f} MiB at most, the harness included")
