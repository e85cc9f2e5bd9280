"""What this machine is, and whether its numbers can stand beside the leaderboard's."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError
from aubench.storage.files import home, write_text
from aubench.storage.text_files import read_json

State = Literal["ok", "warn", "bad"]
REFERENCE = Path(__file__).with_name("drift.json")
KEYS = ("S330/33001/neutral", "S345/34502/6=3.0+12=4.0+15=2.5", "S372/37203/1=3.5+2=3.0+4=4.0")
"""Faces of the self-test: neutral, and two conflicts, on test subjects."""
SIZE, CELLS, SHOWN = 128, 8, 32
LEVELS = 2.0
"""Mean grey levels by which a rendered face may differ between machines."""
RELATIVE = 2e-3
"""Of features, relative to the largest; metrics move by far less than their intervals then."""
ABSOLUTE = 5e-3
"""Of probabilities."""
FREE = 5 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    what: str


def look(name: str, about: Callable[[], tuple[State, str]]) -> Check:
    """Return a check; an error of the thing looked at is a finding, not a crash."""
    try:
        state, what = about()
    except AubenchError as error:
        return Check(name, "bad", str(error))
    except Exception as error:
        return Check(name, "bad", f"{type(error).__name__}: {error}".splitlines()[0])
    return Check(name, state, what)


def examine() -> list[Check]:
    """Return everything but the self-test."""
    return [
        look("aubench", _aubench),
        look("python", lambda: ("ok", f"{platform.python_version()}, {platform.platform()}")),
        look("packages", _packages),
        look("compatibility", _compatibility),
        look("tested set", _tested),
        look("hardware", _hardware),
        look("gpu", _gpu),
        look("cache", _cache),
        look("disk", _disk),
        look("weights", _weights),
        look("protocols", _protocols),
    ]


def _aubench() -> tuple[State, str]:
    from aubench import __version__
    from aubench.run.provenance import revision

    commit = revision()
    return ("warn" if (commit or "").endswith("+dirty") else "ok"), (
        f"{__version__}, revision {commit or 'unknown (installed)'}"
    )


def _packages() -> tuple[State, str]:
    from aubench.run.provenance import package_versions

    found = package_versions()
    lacking = [name for name in ("torch", "torchvision", "numpy", "numba") if name not in found]
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    return ("bad", f"missing: {', '.join(lacking)}; {text}") if lacking else ("ok", text)


def _compatibility() -> tuple[State, str]:
    from aubench.generators.incompatible_packages import PAIRS, conflict

    reason = conflict()
    return ("bad", reason) if reason else ("ok", f"none of {len(PAIRS)} known conflicts")


def _tested() -> tuple[State, str]:
    from aubench.run.provenance import PACKAGES, deviations, tested_versions

    found = deviations()
    if found is None:
        return "warn", "constraints.txt is not there, which states the tested versions"
    if not found:
        return "ok", f"what is installed of its {len(tested_versions())} packages is as tested"
    texts = [
        f"{name} {found[name]['installed']} (tested {found[name]['tested']})"
        for name in PACKAGES
        if name in found
    ]
    others = len(found) - len(texts)
    texts += [f"{others} that touch no number"] if others else []
    return "warn", f"other versions than tested: {', '.join(texts)}"


def _hardware() -> tuple[State, str]:
    import torch  # noqa: F401 - its threads and GPU are told once it is there

    from aubench.run.provenance import hardware

    return "ok", hardware()


def _gpu() -> tuple[State, str]:
    import torch

    if not torch.cuda.is_available():
        return "ok", "none; everything runs on the CPU"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return "ok", f"{', '.join(names)}, CUDA {torch.version.cuda}"


def _cache() -> tuple[State, str]:
    place = home()
    where = "AUBENCH_HOME" if os.environ.get("AUBENCH_HOME") else "default"
    place.mkdir(parents=True, exist_ok=True)
    if not os.access(place, os.W_OK):
        return "bad", f"{place} ({where}) cannot be written"
    parts = []
    for folder in sorted(path for path in place.iterdir() if path.is_dir()):
        parts.append(f"{folder.name} {_size(folder) / 2**20:,.0f} MiB")
    return "ok", f"{place} ({where}): {', '.join(parts) or 'empty'}"


def _size(folder: Path) -> int:
    """Return the bytes below a folder; files that another process takes away count not."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(place) / name).stat().st_size
    return total


def _disk() -> tuple[State, str]:
    usage = shutil.disk_usage(home())
    text = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free"
    return ("ok" if usage.free > FREE else "warn"), text


def _weights() -> tuple[State, str]:
    from aubench.networks import external_weights as weights

    names = sorted(weights.entries())
    here = [name for name in names if weights.present(name)]
    lacking = [name for name in names if name not in here]
    text = f"here: {', '.join(here) or 'none'}; not here: {', '.join(lacking) or 'none'}"
    needed = [name for name in ("efficientnet-lite0", "lpips-alexnet") if name in lacking]
    if needed:
        return "warn", f"{text}; `aubench weights fetch {needed[0]}`"
    return "ok", text


def _protocols() -> tuple[State, str]:
    from aubench.protocols.protocol import load_protocol, protocol_names

    found = [load_protocol(name) for name in protocol_names()]
    return "ok", ", ".join(f"{p.name} {p.version} {p.sha256[:8]}" for p in found)


Values = dict[str, list[list[float]]]


def measure() -> Values:
    """Render the faces of the self-test and return what the networks see in them.

    Returns:
        ``faces``: mean grey level of each of 8 x 8 cells; ``features``: the first 32 of the
        extractor and their norm; ``nano-a``, ``nano-b``: probabilities [12]. A row a face.
    """
    from aubench.networks.detectors import load_detector
    from aubench.networks.extractors.extractor import extractor_of
    from aubench.networks.extractors.registry import load_extractor
    from aubench.synfacs.render import render_key

    # Rendered here and now: the cache may have come from another machine.
    images = np.stack([render_key(key, size=SIZE) for key in KEYS])
    side = SIZE // CELLS
    cells = images.astype(float).reshape(len(KEYS), CELLS, side, CELLS, side, 3).mean((2, 4, 5))
    features = load_extractor(extractor_of(DEFAULT_DATASET))(images)["features"].astype(float)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return {
        "faces": _plain(cells.reshape(len(KEYS), -1), 3),
        "features": _plain(np.concatenate([features[:, :SHOWN], norms], 1), 6),
        **{
            name: _plain(load_detector(name).probabilities(images), 6)
            for name in ("nano-a", "nano-b")
        },
    }


def _plain(array: npt.NDArray[Any], digits: int) -> list[list[float]]:
    return [[round(float(value), digits) for value in row] for row in array]


def networks() -> dict[str, str]:
    """Return what the reference values depend on: the renderer and each network's digest."""
    from aubench.networks.detectors import load_detector
    from aubench.networks.extractors.extractor import extractor_of
    from aubench.networks.extractors.registry import load_extractor
    from aubench.synfacs.render import renderer_id

    extractor = load_extractor(extractor_of(DEFAULT_DATASET))
    found = {"faces": renderer_id(), "features": f"{extractor.id}@{extractor.sha256[:12]}"}
    return found | {name: load_detector(name).id for name in ("nano-a", "nano-b")}


def freeze(path: Path = REFERENCE) -> Path:
    """Write the reference values anew, from this machine; a change of them is a new release."""
    from aubench.run.provenance import hardware, package_versions

    about = {
        "hardware": hardware(),
        "packages": package_versions(),
        "keys": list(KEYS),
        "size": SIZE,
        "networks": networks(),
        "decisions": decisions(),
        "values": measure(),
    }
    write_text(path, json.dumps(about, indent=1) + "\n")
    return path


def decisions() -> str:
    """Return a digest of who lies near whom in two sets of features full of near-ties.

    The features come from whole numbers, so they are the same everywhere; see ``metrics.ties``.
    """
    from aubench.metrics.distributions.memorisation import nearest
    from aubench.metrics.distributions.neighbourhoods import neighbourhoods
    from aubench.storage.files import sha256_bytes

    steps, order = np.arange(61) * 2654435761 % 4093 / 4093 - 0.5, np.arange(180)[:, None]
    # Each row is a centre and the same steps in another order: all as far from it, but rounded.
    turned = steps[(order * 17 + np.arange(61) * (order % 60 + 1)) % 61]
    centres = (order % 4 * 7919 + np.arange(61) * 104729) % 1009 / 1009
    x = turned + centres
    real, fake = x[:101], np.concatenate([x[101:], x[:40]])
    parts = [nearest(fake, real).index.astype("<i8").tobytes()]
    for near in (neighbourhoods(real, fake), neighbourhoods(real, fake, rows=37)):
        parts += [np.packbits(near.inside).tobytes(), np.packbits(near.reached).tobytes()]
    return sha256_bytes(b"".join(parts))


def drift(reference: Path = REFERENCE, found: Values | None = None) -> list[Check]:
    """Compare this machine with the reference values.

    Args:
        reference: File of `freeze`.
        found: What `measure` returned; measured now by default.

    Raises:
        AubenchError: The reference cannot be read.
    """
    try:
        about = read_json(reference)
        expected = {name: np.array(rows, float) for name, rows in about["values"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AubenchError(f"{reference} holds no reference values", "install aubench anew") from (
            error
        )
    here, own = measure() if found is None else found, networks()
    checks = []
    for name, wanted in expected.items():
        stated = about["networks"].get(name)
        if stated != own.get(name):
            what = f"made by {own.get(name)} here, the reference by {stated}"
            checks.append(Check(f"drift of {name}", "bad", what))
            continue
        got = np.array(here[name], float)
        if got.shape != wanted.shape:
            checks.append(Check(f"drift of {name}", "bad", "another number of values"))
            continue
        gap = np.abs(got - wanted)
        if name == "faces":
            value, limit, unit = float(gap.mean(1).max()), LEVELS, "grey levels"
        elif name == "features":
            value, limit, unit = float(gap.max() / np.abs(wanted).max()), RELATIVE, "relative"
        else:
            value, limit, unit = float(gap.max()), ABSOLUTE, "in probability"
        state: State = "ok" if value <= limit else "bad"
        checks.append(Check(f"drift of {name}", state, f"{value:.2g} {unit}, limit {limit:g}"))
    same = about.get("decisions") == decisions()
    what = "decided as in the reference" if same else "others are near than in the reference"
    return [*checks, Check("drift of neighbourhoods", "ok" if same else "bad", what)]


def verdict(checks: list[Check]) -> str:
    """Return in a line whether numbers of this machine can be compared."""
    drifted = [check for check in checks if check.name.startswith("drift")]
    wrong = [check.name.removeprefix("drift of ") for check in drifted if check.state == "bad"]
    if not drifted:
        return "not tested whether this machine's numbers compare with the leaderboard's"
    if wrong:
        return f"numbers of this machine do NOT compare with the leaderboard's: {', '.join(wrong)}"
    return "numbers of this machine compare with the leaderboard's"


def as_dict(checks: list[Check]) -> dict[str, Any]:
    """Return everything, ready for JSON."""
    drifted = [check for check in checks if check.name.startswith("drift")]
    comparable = all(check.state == "ok" for check in drifted) if drifted else None
    return {
        "comparable": comparable,
        "verdict": verdict(checks),
        "checks": [asdict(check) for check in checks],
    }
