"""``aubench train-au-detector``: AUs from images."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="train-au-detector")
@click.option("--preset", type=click.Choice(["nano-a", "nano-b"]), default="nano-a",
              show_default=True, help="Architecture.")  # fmt: skip
@click.option("--data", type=click.Choice(["synfacs"]), default="synfacs", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--epochs", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--limit", type=click.IntRange(min=64), help="Only the first N training images.")
@click.option("--resume/--fresh", default=True, show_default=True)
def train_au_detector(
    preset: str, data: str, out: Path, epochs: int, seed: int, limit: int | None, resume: bool
) -> None:
    """Train a detector of AUs from images; interrupt it freely, the same command resumes."""
    from aubench.detectors.train import Settings, train

    settings = Settings(preset=preset, epochs=epochs, seed=seed, limit=limit)
    command = f"aubench train-au-detector --preset {preset} --epochs {epochs} --seed {seed}"
    path = train(settings, out, command, resume=resume)
    click.echo(f"wrote {path} and its card")
