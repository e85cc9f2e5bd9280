"""``aubench study``: rank faces by human raters, from images to AUCHS."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def study() -> None:
    """Rank faces by human raters: the AU Conflict Handling Score (AUCHS)."""


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _pairs(words: tuple[str, ...], option: str) -> dict[str, str]:
    from aubench.errors import AubenchError

    pairs = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found or not name or not value:
            raise AubenchError(f"{option} '{word}'", f"write {option} MODEL=VALUE")
        pairs[name] = value
    return pairs


@study.command()
@click.option("--protocol", default="conflict", show_default=True, help="Whose samples.")
@click.option("--data", default="synfacs", show_default=True, help="Data set.")
@click.option("--models", required=True, help="Models to rank, separated by commas; two to nine.")
@click.option("--runs", "roots", type=click.Path(path_type=Path, file_okay=False), multiple=True,
              help="Folder of run folders; may be repeated [runs].")  # fmt: skip
@click.option("--run", "given", multiple=True, metavar="MODEL=FOLDER",
              help="Run folder of one model, where its name does not find it.")  # fmt: skip
@click.option("--per-combination", type=click.IntRange(min=1), default=5, show_default=True,
              help="Samples of each combination.")  # fmt: skip
@click.option("--raters", type=click.IntRange(min=1, max=10000), default=20, show_default=True,
              help="Raters that shall finish.")  # fmt: skip
@click.option("--spare", type=click.IntRange(min=0, max=10000), default=5, show_default=True,
              help="Links beyond that, for those who do not finish.")  # fmt: skip
@click.option("--gold", type=click.IntRange(min=0, max=50), default=2, show_default=True,
              help="Trials whose best face is known.")  # fmt: skip
@click.option("--duplicates", type=click.IntRange(min=0, max=200), default=3, show_default=True,
              help="Trials shown twice.")  # fmt: skip
@click.option("--size", type=click.IntRange(min=32, max=2048),
              help="Side of every image [the smallest of the models' own].")  # fmt: skip
@click.option("--min-gold", type=click.FloatRange(0, 1), default=0.5, show_default=True,
              help="Exclude who gets fewer of the gold trials right.")  # fmt: skip
@click.option("--min-seconds", type=click.FloatRange(min=0), default=3.0, show_default=True,
              help="Exclude whose median trial is faster.")  # fmt: skip
@click.option("--min-self-tau", type=click.FloatRange(-1, 1),
              help="Exclude who agrees less with oneself on repeated trials [no such rule].")  # fmt: skip
@click.option("--lease-minutes", type=click.FloatRange(min=0.001), default=60.0,
              show_default=True, help="How long a place waits for an idle rater.")  # fmt: skip
@click.option("--consent", type=click.Path(path_type=Path, dir_okay=False),
              help="Your own consent text.")  # fmt: skip
@click.option("--criteria", type=click.Path(path_type=Path, dir_okay=False),
              help="Your own criteria, as in aubench/study/criteria.toml.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of the draw of samples, trials and orders.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("study"), show_default=True,
              help="Folder of the study.")  # fmt: skip
def create(out: Path, roots: tuple[Path, ...], given: tuple[str, ...], models: str,
           min_gold: float, min_seconds: float, min_self_tau: float | None,
           **options: object) -> None:  # fmt: skip
    """Draw the trials, strip the images, seal the key, and write a link for each rater."""
    from aubench.study.creation import Order
    from aubench.study.creation import create as make
    from aubench.study.settings import LINKS, Rules

    rules = Rules(min_gold=min_gold, min_seconds=min_seconds, min_self_tau=min_self_tau)
    runs = {name: Path(path) for name, path in _pairs(given, "--run").items()}
    order = Order(
        _names(models), name=out.name, rules=rules, roots=roots or (Path("runs"),), runs=runs,
        **options,  # type: ignore[arg-type]
    )  # fmt: skip
    made = make(order, out)
    click.echo(f"{made.trials} trials of {len(order.models)} faces, {order.raters} places")
    click.echo(f"design  {out / 'study.json'}  sha256 {made.design_sha256}")
    click.echo(f"key     {out / 'key.sealed.json'}  sha256 {made.key_sha256}")
    click.echo(f"links   {out / LINKS}  {len(made.links)} raters and the admin page")
    if not made.balanced:
        click.echo(
            f"note: orders are balanced over a multiple of {made.rows} raters, not {order.raters}",
            err=True,
        )


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
def serve(study_folder: Path, host: str, port: int, database: str | None) -> None:
    """Serve the ranking page and the admin page."""
    from aubench.study.server import serve as run_server

    click.echo(f"serving {study_folder} at http://{host}:{port}; links are in links.csv", err=True)
    run_server(study_folder, host, port, database)


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
def close(study_folder: Path, database: str | None) -> None:
    """Take no more answers, for good; only then may the key be opened."""
    from aubench.study.answers import open_store

    open_store(study_folder, database).close()
    click.echo(f"{study_folder} is closed")
