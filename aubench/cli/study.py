"""``aubench study``: rank faces by human raters, from images to AUCHS."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option
from aubench.cli.output import Result, results, written


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
@click.option(
    "--protocol",
    shell_complete=complete.protocol,
    default="conflict",
    show_default=True,
    help="Whose samples.",
)
@data_option()
@click.option(
    "--models",
    shell_complete=complete.model_list,
    required=True,
    help="Models to rank, separated by commas; two to nine.",
)
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
              help="Exclude whose repeated trials agree less [no such rule].")  # fmt: skip
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
@results
def create(out: Path, roots: tuple[Path, ...], given: tuple[str, ...], models: str,
           min_gold: float, min_seconds: float, min_self_tau: float | None,
           **options: object) -> Result:  # fmt: skip
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
    design, key, links = out / "study.json", out / "key.sealed.json", out / LINKS
    lines = [
        f"{made.trials} trials of {len(order.models)} faces, {order.raters} places",
        f"design  {design}  sha256 {made.design_sha256}",
        f"key     {key}  sha256 {made.key_sha256}",
        f"links   {links}  {len(made.links)} raters and the admin page",
    ]
    if not made.balanced:
        click.echo(
            f"note: orders are balanced over a multiple of {made.rows} raters, not {order.raters}",
            err=True,
        )
    return written(
        design, key, links, line="\n".join(lines), trials=made.trials, models=order.models,
        places=order.raters, raters=len(made.links), design_sha256=made.design_sha256,
        key_sha256=made.key_sha256, balanced=made.balanced,
    )  # fmt: skip


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
def serve(study_folder: Path, host: str, port: int, database: str | None) -> None:
    """Serve the ranking page and the admin page."""
    from aubench.study.server import serve as run_server

    where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def ready() -> None:
        click.echo(
            f"serving {study_folder} at {where}; links of raters and of the admin page are in "
            f"{study_folder / 'links.csv'}; Ctrl-C stops it, and answers stay",
            err=True,
        )

    run_server(study_folder, host, port, database, ready)


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--url", default="http://127.0.0.1:8000", show_default=True,
              help="Where raters reach the server.")  # fmt: skip
@results
def links(study_folder: Path, url: str) -> Result:
    """Print a link for each rater, to be sent to one person each."""
    from aubench.study.bots import read_links

    found = [url.rstrip("/") + path for path in read_links(study_folder)]
    return Result(found, lambda: click.echo("\n".join(found)))


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
@results
def close(study_folder: Path, database: str | None) -> Result:
    """Take no more answers, for good; only then may the key be opened."""
    from aubench.study.answers import open_store

    open_store(study_folder, database).close()
    data = {"study": study_folder, "closed": True}
    return Result(data, lambda: click.echo(f"{study_folder} is closed"))


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False),
              help="The sealed key [in the folder].")  # fmt: skip
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder of the results [STUDY/analysis].")  # fmt: skip
@click.option("--draws", type=click.IntRange(100, 100000), default=2000, show_default=True,
              help="Of the bootstrap.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of the bootstrap.")  # fmt: skip
@results
def score(study_folder: Path, key: Path | None, database: str | None, out: Path | None,
          draws: int, seed: int) -> Result:  # fmt: skip
    """Open the key of a closed study: AUCHS, intervals, agreement, tests, exports."""
    from aubench.study.export import write
    from aubench.study.scoring import score as analyse
    from aubench.study.terminal import results_text

    found = analyse(study_folder, database=database, key=key, draws=draws, seed=seed)
    paths = write(found.results, found.frame, out or study_folder / "analysis")
    text = "\n".join([results_text(found.results), "", *map(str, paths)])
    return Result(found.results, lambda: click.echo(text))


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--worth", "worths", multiple=True, required=True, metavar="MODEL=WORTH",
              help="Plackett-Luce worth of a model; one for each.")  # fmt: skip
@click.option("--raters", type=click.IntRange(min=1), help="Bots [one for each place].")
@click.option("--rater-spread", type=click.FloatRange(min=0), default=0.0, show_default=True,
              help="Deviation of log worths from rater to rater.")  # fmt: skip
@click.option("--item-spread", type=click.FloatRange(min=0), default=0.0, show_default=True,
              help="Deviation of log worths from sample to sample.")  # fmt: skip
@click.option("--repeat", type=click.IntRange(min=1),
              help="Repeat so many whole studies and count how often intervals hold the truth; "
                   "the study itself is not touched.")  # fmt: skip
@click.option("--url", help="A server that runs already [one of its own].")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False),
              help="The sealed key [in the folder].")  # fmt: skip
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@results
def simulate(study_folder: Path, worths: tuple[str, ...], raters: int | None,
             rater_spread: float, item_spread: float, repeat: int | None, url: str | None,
             key: Path | None, database: str | None, seed: int) -> Result:  # fmt: skip
    """Send bots with known worths through the study, over HTTP."""
    from aubench.errors import AubenchError
    from aubench.study import simulation
    from aubench.study.terminal import coverage_text

    try:
        values = {name: float(value) for name, value in _pairs(worths, "--worth").items()}
    except ValueError as error:
        raise AubenchError(f"--worth: {error}", "write --worth MODEL=0.3") from error
    world, design = simulation.build_world(
        study_folder, values, key=key, rater_spread=rater_spread, item_spread=item_spread,
        seed=seed,
    )  # fmt: skip
    if design.rules.min_seconds > 0:
        click.echo(
            f"warning: the rule against answers under {design.rules.min_seconds:g} s will "
            "exclude bots; for a rehearsal create a study with --min-seconds 0",
            err=True,
        )
    if repeat is not None:
        held = simulation.coverage(study_folder, world, repeat)
        return Result(held, lambda: click.echo(coverage_text(held)))
    bots = simulation.simulate(study_folder, world, raters, url, database)
    count = sum(len(bot.acknowledged) for bot in bots)
    expected = simulation.truth(world)
    told = ", ".join(f"{model} {value:.3f}" for model, value in expected.items())
    lines = [f"{len(bots)} bots, {count} rankings stored", f"expected AUCHS: {told}"]
    data = {"bots": len(bots), "rankings": count, "expected": expected}
    return Result(data, lambda: click.echo("\n".join(lines)))


def _numbers(text: str, option: str) -> list[int]:
    from aubench.errors import AubenchError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise AubenchError(f"{option} '{text}'", f"write {option} 10,20,30") from error


@study.command()
@click.option("--difference", type=click.FloatRange(min=0, min_open=True), default=0.5,
              show_default=True, help="Of two models' mean AUCHS.")  # fmt: skip
@click.option("--models", type=click.IntRange(2, 9), default=5, show_default=True,
              help="Models that are ranked.")  # fmt: skip
@click.option("--combinations", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--raters", default="10,15,20,30", show_default=True, help="Sizes to try.")
@click.option("--items", default="3,5,10", show_default=True,
              help="Sizes to try, samples of each combination.")  # fmt: skip
@click.option("--rater-spread", type=click.FloatRange(min=0), default=0.3, show_default=True,
              help="Deviation of log worths from rater to rater.")  # fmt: skip
@click.option("--item-spread", type=click.FloatRange(min=0), default=0.5, show_default=True,
              help="Deviation of log worths from sample to sample.")  # fmt: skip
@click.option("--power", "wanted", type=click.FloatRange(0, 1), default=0.8, show_default=True)
@click.option("--studies", type=click.IntRange(min=10), default=400, show_default=True,
              help="Simulated studies of each size.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@results
def power(difference: float, models: int, combinations: int, raters: str, items: str,
          rater_spread: float, item_spread: float, wanted: float, studies: int,
          seed: int) -> Result:  # fmt: skip
    """Say how many raters and items it takes to see a difference."""
    from aubench.study.power import Question
    from aubench.study.power import power as simulate_power
    from aubench.study.terminal import power_text

    question = Question(difference, models, combinations, rater_spread, item_spread)
    rows = simulate_power(
        question, _numbers(raters, "--raters"), _numbers(items, "--items"), studies, seed
    )
    data = {"question": question, "wanted": wanted, "studies": studies, "sizes": rows}
    return Result(data, lambda: click.echo(power_text(question, rows, wanted, studies)))


@study.command()
@click.argument("table", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--paper", is_flag=True, help="Audit the paper's Table 4 (15 raters, 5 items).")
@click.option("--raters", type=click.IntRange(min=1), help="Who ranked, as the source says.")
@click.option("--items", type=click.IntRange(min=1), help="Images of each model in a row.")
@click.option("--strict", is_flag=True, help="Exit code 1 if anything is wrong.")
@results
def check(
    table: Path | None, paper: bool, raters: int | None, items: int | None, strict: bool
) -> Result:
    """Audit a published table of mean rank scores (CSV, TSV or Markdown)."""
    from aubench.errors import AubenchError
    from aubench.study.rank_tables import audit, paper_table, read_table
    from aubench.study.terminal import audit_text

    if (table is None) == (not paper):
        raise AubenchError("no table" if table is None else "two tables", "give FILE or --paper")
    if table is None:
        found, raters, items = paper_table(), raters or 15, items or 5
    else:
        found = read_table(table)
    findings = audit(found, raters, items)
    faults = sum(finding.fault for finding in findings)
    return Result(
        {"table": found.name, "faults": faults, "findings": findings},
        lambda: click.echo(audit_text(found, findings)),
        failure=f"{found.name}: {faults} faults" if strict and faults else None,
    )
