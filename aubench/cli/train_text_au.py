"""``aubench train-text-au``: AUs from text."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="train-text-au")
@click.option("--preset", default="nano", show_default=True,
              help="nano, t5-small, t5-base, or t5-large as in the paper.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--epochs", type=click.IntRange(min=1), default=12, show_default=True)
@click.option("--seed", type=int, default=5, show_default=True)
@click.option("--limit", type=click.IntRange(min=8), help="Only the first N AU sets.")
@click.option("--resume/--fresh", default=True, show_default=True)
def train_text_au(
    preset: str, out: Path, epochs: int, seed: int, limit: int | None, resume: bool
) -> None:
    """Train the classifier of AUs from text; interrupt it freely, the same command resumes."""
    from aubench.textau.train import Settings, train

    settings = Settings(preset=preset, epochs=epochs, seed=seed, limit=limit)
    command = f"aubench train-text-au --preset {preset} --epochs {epochs} --seed {seed}"
    path = train(settings, out, command, resume=resume)
    click.echo(f"wrote {path}, its tokenizer and its card")
