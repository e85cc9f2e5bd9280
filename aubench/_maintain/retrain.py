"""Trains anew what is shipped: ``python -m aubench._maintain.retrain --out FOLDER [--only NAME]``.

What to run stands on the card of each network, so that a card that cannot be repeated is found
here. Every training resumes: interrupt it, or let ``--minutes`` do so, and give the same command
again (exit code 75 means that there is more to do). ``--ship`` puts finished weights, with the
files beside them, in the place of the shipped ones. Give it in a source tree, or ``--tree``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AGAIN = 75
"""Exit code where the minutes were over; EX_TEMPFAIL of sysexits.h."""
WEIGHTS = {
    "nano-a": "aubench/networks/detectors/weights",
    "nano-b": "aubench/networks/detectors/weights",
    "nano2-a": "aubench/networks/detectors/weights",
    "nano2-b": "aubench/networks/detectors/weights",
    "nano-id": "aubench/networks/identity/weights",
    "nano2-id": "aubench/networks/identity/weights",
    "mp-geo": "aubench/networks/face_landmarker/weights",
    "text-nano": "aubench/networks/textau/weights",
    "vqauface": "reference_model/vqauface/weights",
    "ganimation": "baselines/aubench_baselines/ganimation/weights",
    "sd15-lora": "baselines/aubench_baselines/sd15_lora/weights",
}
"""Folder of each network, those first that others need."""
CARDS = {
    "text-nano": "nano",
    "vqauface": "nano",
    "ganimation": "ganimation-nano",
    "sd15-lora": "sd15-lora-nano",
}
"""Stem of a card's name where it is not the network's."""


@dataclass(frozen=True)
class Shipped:
    """A network that is shipped.

    Attributes:
        name: Of the network.
        folder: Where its files lie.
        card: What is known of it.
    """

    name: str
    folder: Path
    card: dict[str, Any]

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command that made it, without a folder to write to.

        Raises:
            ValueError: The card tells none.
        """
        told = self.card.get("commands") or [self.card.get("command")]
        if not all(told):
            raise ValueError(f"the card of {self.name} does not tell how it was made")
        return [shlex.split(line) for line in told]

    @property
    def minutes(self) -> float:
        """How long it took, on the hardware that its card names."""
        seconds = self.card["seconds"]
        return float(sum(seconds) if isinstance(seconds, list) else seconds) / 60


def shipped(root: Path) -> dict[str, Shipped]:
    """Return the networks whose card lies in a source tree, by name, in the order of training."""
    found = {}
    for name, place in WEIGHTS.items():
        card = root / place / f"{CARDS.get(name, name)}.card.json"
        if card.is_file():
            found[name] = Shipped(name, card.parent, json.loads(card.read_text("utf-8")))
    return found


def runnable(words: Sequence[str], out: Path) -> list[str]:
    """Return a card's command for this interpreter, writing to a folder."""
    program = {"aubench": [sys.executable, "-m", "aubench"], "python": [sys.executable]}
    return [*program[words[0]], *words[1:], "--out", str(out)]


def retrain(network: Shipped, out: Path, deadline: float) -> bool:
    """Run what is left of a network's commands; return whether all are done.

    Args:
        network: What is to be trained.
        out: Folder of its checkpoints; a file ``done-N`` tells that command N has ended.
        deadline: Time of the monotonic clock at which a command is interrupted.

    Raises:
        subprocess.CalledProcessError: A command failed.
    """
    for number, words in enumerate(network.commands, 1):
        mark = out / f"done-{number}"
        if mark.is_file():
            continue
        out.mkdir(parents=True, exist_ok=True)
        command = runnable(words, out)
        process = subprocess.Popen(command, preexec_fn=_hear_interrupts)
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            process.send_signal(signal.SIGINT)
            process.wait()
            if isinstance(error, KeyboardInterrupt):
                raise
            return False
        if code:
            raise subprocess.CalledProcessError(code, command)
        mark.touch()
    return True


def _hear_interrupts() -> None:
    """Undo what a shell does to jobs in the background: they could not be interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ship(network: Shipped, out: Path) -> list[Path]:
    """Copy what was made over the shipped files of the same names; return them."""
    made = [p for p in sorted(out.rglob("*")) if p.is_file()]
    copied = []
    for path in made:
        place = network.folder / path.relative_to(out)
        if place.is_file():
            shutil.copyfile(path, place)
            copied.append(place)
    return copied


def main(words: Sequence[str] | None = None) -> int:
    """Read the options and train; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m aubench._maintain.retrain")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=sorted(WEIGHTS), default=list(WEIGHTS))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--list", action="store_true", help="say what it would run")
    parser.add_argument("--tree", type=Path, default=Path(), help="source tree")
    given = parser.parse_args(words)
    known = shipped(given.tree)
    if not known:
        parser.error(f"no card of a network below {given.tree.resolve()}; name a --tree")
    deadline = time.monotonic() + 60 * given.minutes
    for name in [name for name in known if name in given.only]:
        network, out = known[name], given.out / name
        if given.list:
            lines = [shlex.join(one) for one in network.commands]
            sys.stdout.write(f"{name}: {network.minutes:.0f} minutes\n")
            sys.stdout.writelines(f"  {line}\n" for line in lines)
            continue
        if not retrain(network, out, deadline):
            return AGAIN
        if given.ship:
            sys.stderr.writelines(f"{path}\n" for path in ship(network, out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
