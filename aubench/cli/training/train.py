"""``aubench train``: train a registered generator that can be trained."""

from __future__ import annotations

import click

from aubench.cli import completion as complete
from aubench.cli.options import TrainingOptions, training_options
from aubench.cli.output import Result, results, written

FOLDER = "trainings"


@click.command()
@click.argument("model", shell_complete=complete.model)
@click.option("--stage", type=int, help="One stage of several [all, in order].")
@training_options(
    "Data set, imported ones too; or a folder.",
    "In place of the preset's.",
    FOLDER,
    complete.dataset_or_folder,
)
@results
def train(model: str, stage: int | None, options: TrainingOptions) -> Result:
    """Train MODEL and print where its weights went.

    The training can be interrupted at any time; the same command resumes it.
    """
    from aubench.errors import AubenchError
    from aubench.generators.contract import Trainable
    from aubench.generators.registry import calling, check_available, generator_class

    cls = generator_class(model)
    if not isinstance(cls, Trainable):
        raise AubenchError(f"model '{model}' cannot be trained here", "see `aubench models`")
    check_available(cls, model)
    training = options.training(model, cls.presets, FOLDER, stage)
    if stage is not None and stage not in cls.stages:
        known = ", ".join(map(str, cls.stages)) or "none; leave --stage out"
        raise AubenchError(f"{model} has no stage {stage}", f"its stages: {known}")
    with calling(cls, model, "fit()"):
        weights = cls.fit(training)
    return written(weights, line=f"weights {weights}", model=model, preset=training.preset)
