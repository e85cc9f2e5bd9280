"""``aubench train``: train a registered generator that can be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option
from aubench.cli.output import Result, results, written


@click.command()
@click.argument("model", shell_complete=complete.model)
@click.option("--preset", help="Size and schedule [the model's first].")
@data_option("Data set, or its folder.", complete.dataset_or_folder)
@click.option("--stage", type=int, help="One stage of several [all, in order].")
@click.option("--steps", type=click.IntRange(min=1), help="In place of the preset's.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="torch device.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a setting; repeatable."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder [trainings/MODEL-PRESET].")
@results
def train(
    model: str,
    preset: str | None,
    data: str,
    stage: int | None,
    steps: int | None,
    seed: int,
    device: str,
    settings: tuple[str, ...],
    out: Path | None,
) -> Result:
    """Train MODEL and print where its weights went.

    The training can be interrupted at any time; the same command resumes it.
    """
    from aubench.errors import AubenchError
    from aubench.generator import Trainable, Training
    from aubench.registry import generator_class

    cls = generator_class(model)
    if not isinstance(cls, Trainable):
        raise AubenchError(f"model '{model}' cannot be trained here", "see `aubench models`")
    name = preset_of(model, preset, cls.presets)
    if stage is not None and stage not in cls.stages:
        known = ", ".join(map(str, cls.stages)) or "none; leave --stage out"
        raise AubenchError(f"{model} has no stage {stage}", f"its stages: {known}")
    options = dict(parse_setting(word) for word in settings)
    place = out or Path("trainings") / f"{model}-{name}"
    weights = cls.fit(Training(name, data, place, stage, steps, seed, device, options))
    return written(weights, line=f"weights {weights}", model=model, preset=name)


def preset_of(model: str, name: str | None, known: Sequence[str]) -> str:
    """Return the preset asked for, or a model's first.

    Raises:
        AubenchError: the model has no such preset.
    """
    from aubench.errors import AubenchError, suggest

    if name is not None and name not in known:
        raise AubenchError(
            f"{model} has no preset '{name}'{suggest(name, known)}",
            f"choose from {', '.join(known)}",
        )
    return name or known[0]


def parse_setting(word: str) -> tuple[str, str]:
    """Return name and value of ``NAME=VALUE``.

    Raises:
        AubenchError: it is not of that form.
    """
    from aubench.errors import AubenchError

    key, sign, value = word.partition("=")
    if not sign or not key.strip():
        raise AubenchError(f"--set {word} is not NAME=VALUE", "for example --set batch=16")
    return key.strip(), value.strip()
