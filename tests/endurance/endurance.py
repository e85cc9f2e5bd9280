"""What a run survives: `python tests/endurance.py kills full readonly`; prints JSON.

``kills`` sends SIGKILL at random moments and compares the final record with an undisturbed run's.
A run is a fork of this process, which has imported everything, or with ``--cold`` a process of its
own, as typed. ``full`` puts runs on a small file system, ``readonly`` the cache on a read-only one:
both mount, so they want `unshare --map-root-user --mount` before the command.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

MAIN = "from aubench.cli.main import main; main()"


def words(out: Path, args: argparse.Namespace, *more: str) -> list[str]:
    return [
        "run",
        "--model",
        args.model,
        "--protocol",
        args.protocol,
        "--limit",
        str(args.samples),
        "--metrics",
        args.metrics,
        "--batch-size",
        "16",
        "--out",
        str(out),
        *more,
    ]


def start(command: list[str], log: Path, *, cold: bool) -> int:
    """Start a run in a session of its own; return its process number."""
    if cold:
        with log.open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, "-c", MAIN, *command],
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            ).pid
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        code = run(command)
    finally:
        os._exit(code)


def run(command: list[str]) -> int:
    from aubench.cli.main import main

    try:
        main(command)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
    return 0


def ended(child: int, seconds: float) -> int | None:
    """Return the exit status of a process that ends in time; kill it otherwise."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return None if os.WIFSIGNALED(status) else status


def record(folder: Path) -> dict[str, Any]:
    from aubench.records.record import read_record

    content = read_record(folder / "record.json").content()
    content["provenance"].pop("revision")  # somebody may commit in the meantime
    return content


def leftovers(*places: Path) -> list[str]:
    return sorted(str(p) for place in places for p in place.rglob("*.tmp"))


def stage(folder: Path, samples: int) -> str:
    """Return how far a run had come, by what lies in its folder."""
    made = len(list((folder / "images").glob("*.png"))) if folder.is_dir() else 0
    if (folder / "record.json").is_file():
        return "after the record"
    if made == 0:
        return "before the first image"
    if made < samples:
        return "generate"
    return "measure and score" if (folder / "samples.parquet").is_file() else "end of generate"


def prepare() -> None:
    """Import what a run imports, so that a fork of this process starts at once."""
    sys.path.append(str(Path(__file__).parents[1] / "helpers"))
    from forked import IMPORTED

    for name in IMPORTED:
        importlib.import_module(name)
    sys.stdout.flush()


def kills(args: argparse.Namespace) -> dict[str, object]:
    home = Path(os.environ["AUBENCH_HOME"])
    before = set(leftovers(home))
    log = args.out / "log"
    for _ in range(2):  # the second finds all faces and reference features
        begun = time.monotonic()
        calm = start(words(args.out / "calm", args, "--fresh"), log, cold=args.cold)
        assert ended(calm, 3000) == 0, log.read_text()
        whole = time.monotonic() - begun
    draw, folder = random.Random(args.seed), args.out / "run"
    killed: Counter[str] = Counter()
    finished, dropped = 0, 0
    begun = time.monotonic()
    while killed.total() < args.kills:
        fresh = ("--fresh",) if finished and (folder / "record.json").is_file() else ()
        child = start(words(folder, args, *fresh), log, cold=args.cold)
        status = ended(child, draw.uniform(0, args.reach * whole))
        if status is None:
            killed[stage(folder, args.samples)] += 1
            dropped += bool(leftovers(folder))
        else:
            assert status == 0, log.read_text()[-2000:]
            assert record(folder) == record(args.out / "calm")
            finished += 1
    last = start(words(folder, args), log, cold=args.cold)
    assert ended(last, 3000) == 0, log.read_text()[-2000:]
    return {
        "kills": killed.total(),
        "when": dict(killed),
        "runs finished between": finished,
        "kills that left a temporary file": dropped,
        "identical": record(folder) == record(args.out / "calm"),
        "left over": sorted(set(leftovers(folder, home)) - before),
        "undisturbed s": round(whole, 1),
        "s": round(time.monotonic() - begun, 1),
    }


def full(args: argparse.Namespace) -> dict[str, Any]:
    """Run where ever more space is left, each time until it ends; then free the disk and resume."""
    calm, log = args.out / "calm", args.out / "log"
    assert _finish(words(calm, args), log) == 0, log.read_text()
    size = sum(path.stat().st_size for path in calm.rglob("*") if path.is_file())
    disk = args.out / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={2 * size}", "tmpfs", disk], check=True)
    errors, halves, stages = [], [], Counter()
    ballast, folder = disk / "ballast", disk / "run"
    for part in range(args.disks):
        _fill(ballast, size * part // args.disks + 4096)
        code = _finish(words(folder, args), log)
        text = log.read_text()
        stages[stage(folder, args.samples)] += 1
        if code != 2 or text.count("error: no space left to write") != 1 or "Traceback" in text:
            errors.append(f"disk {part}: exit code {code}, {text[-300:]}")
        halves += [*leftovers(disk), *_cut_lines(folder)]
        ballast.unlink()
        if _finish(words(folder, args), log) != 0:
            errors.append(f"disk {part}: not resumed, {log.read_text()[-300:]}")
        elif record(folder) != record(calm):
            errors.append(f"disk {part}: another record")
        shutil.rmtree(folder)
    return {"stopped": dict(stages), "errors": errors, "half written": halves}


def _finish(command: list[str], log: Path) -> int:
    """Run to the end; return the exit code."""
    log.write_text("")
    status = ended(start(command, log, cold=False), 600)
    return os.waitstatus_to_exitcode(signal.SIGKILL if status is None else status)


def _fill(ballast: Path, room: int) -> None:
    """Leave that many bytes on the file system."""
    found = os.statvfs(ballast.parent)
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, found.f_bavail * found.f_frsize - room)


def _cut_lines(folder: Path) -> list[str]:
    from aubench.storage.run_folder import read_line

    ledger = folder / "ledger.jsonl"
    text = ledger.read_text() if ledger.is_file() else ""
    return [line for line in text.split("\n") if line and read_line(line) is None]


def readonly(args: argparse.Namespace) -> dict[str, Any]:
    """Run with a cache that takes nothing: it has all, then lacks features, then faces."""
    home, log, calm = Path(os.environ["AUBENCH_HOME"]), args.out / "log", args.out / "calm"
    args.samples -= 1  # none whose features another trial has measured
    assert _finish(words(calm, args, "--metrics", "pixels"), log) == 0, log.read_text()
    subprocess.run(["mount", "--bind", home, home], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", home], check=True)
    with contextlib.suppress(OSError):
        (home / "probe").touch()
        raise SystemExit(f"{home} can be written to")
    found: dict[str, Any] = {}
    for name, more in (
        ("has all", ("--metrics", "pixels")),
        ("lacks features", ()),
        ("lacks faces", ("--limit", str(args.samples + 7))),
    ):
        code = _finish(words(args.out / name, args, *more), log)
        lines = [line for line in log.read_text().splitlines() if str(home) in line]
        found[name] = {
            "code": code,
            "lines": lines,
            "text": log.read_text()[-300:],
            "record": (args.out / name / "record.json").is_file(),
        }
    found["identical"] = record(args.out / "has all") == record(calm)
    return found


def cheap_faces() -> None:
    """Paint faces as noise by their key, so that the test is of what keeps them, not of drawing."""
    import hashlib

    import numpy as np

    from aubench.datasets.synfacs import rendered_images as images

    def paint(keys: list[str], size: int, renderer: str = "") -> list[np.ndarray]:
        seeds = [int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) for key in keys]
        return [np.random.default_rng(s).integers(0, 256, (size, size, 3), np.uint8) for s in seeds]

    images._render = paint
    images.workers = lambda: 1


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", choices=("kills", "full", "readonly"))
    parser.add_argument("--out", type=Path, required=True, help="folder for runs")
    parser.add_argument("--model", default="copy-reference")
    parser.add_argument("--protocol", default="conflict")
    parser.add_argument("--metrics", default="kid,pixels,au")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument(
        "--reach", type=float, default=1.0, help="latest kill, in durations of an undisturbed run"
    )
    parser.add_argument("--disks", type=int, default=8, help="full disks")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--cold", action="store_true", help="each run a process as typed")
    parser.add_argument("--cheap-faces", action="store_true")
    return parser.parse_args()


def main() -> None:
    args = options()
    os.environ.setdefault("TQDM_DISABLE", "1")
    if args.cheap_faces:
        cheap_faces()
    if not args.cold:
        prepare()
    out, told = args.out, {}
    for what in args.what:
        args.out = out / what
        args.out.mkdir(parents=True, exist_ok=True)
        told[what] = {"kills": kills, "full": full, "readonly": readonly}[what](args)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
