"""``aubench study``: rank faces by human raters, from images to AUCHS."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option, gather_options
from aubench.cli.output import Result, results, written

if TYPE_CHECKING:
    from aubench.study.design.creation import StudyConfig


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


@dataclass(frozen=True)
class RuleOptions:
    """Options on who is excluded."""

    min_gold: float
    min_seconds: float
    min_self_tau: float | None


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
@click.option(
    "--runs",
    "roots",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    help="Folder of run folders; may be repeated [runs].",
)
@click.option(
    "--run",
    "given",
    multiple=True,
    metavar="MODEL=FOLDER",
    help="Run folder of one model, where its name does not find it.",
)
@click.option(
    "--per-combination",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Samples of each combination.",
)
@click.option(
    "--raters",
    type=click.IntRange(min=1, max=10000),
    default=20,
    show_default=True,
    help="Raters that shall finish.",
)
@click.option(
    "--spare",
    type=click.IntRange(min=0, max=10000),
    default=5,
    show_default=True,
    help="Links beyond that, for those who do not finish.",
)
@click.option(
    "--gold",
    type=click.IntRange(min=0, max=50),
    default=2,
    show_default=True,
    help="Trials whose best face is known.",
)
@click.option(
    "--duplicates",
    type=click.IntRange(min=0, max=200),
    default=3,
    show_default=True,
    help="Trials shown twice.",
)
@click.option(
    "--size",
    type=click.IntRange(min=32, max=2048),
    help="Side of every image [the smallest of the models' own].",
)
@click.option(
    "--min-gold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Exclude who gets fewer of the gold trials right.",
)
@click.option(
    "--min-seconds",
    type=click.FloatRange(min=0),
    default=3.0,
    show_default=True,
    help="Exclude whose median trial is faster.",
)
@click.option(
    "--min-self-tau",
    type=click.FloatRange(-1, 1),
    help="Exclude whose repeated trials agree less [no such rule].",
)
@click.option(
    "--lease-minutes",
    type=click.FloatRange(min=0.001),
    default=60.0,
    show_default=True,
    help="How long a place waits for an idle rater.",
)
@click.option(
    "--consent", type=click.Path(path_type=Path, dir_okay=False), help="Your own consent text."
)
@click.option(
    "--criteria",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Your own criteria, as in aubench/study/design/criteria.toml.",
)
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML: blanks of the consent text, panel, codes, questions, quotas, own pages.",
)
@click.option("--language", default="en", show_default=True, help="Of all pages: en, de, a file.")
@click.option(
    "--task",
    type=click.Choice(["rank", "pairs", "likert", "intensity"]),
    default="rank",
    show_default=True,
    help="Rank all faces, choose of pairs, rate sentences, or rate AUs from A to E.",
)
@click.option(
    "--shown",
    type=click.IntRange(min=1),
    help="Pairs or single faces of each sample that one rater sees [all].",
)
@click.option(
    "--reference/--no-reference", default=True, show_default=True, help="Show the resting face."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the draw of samples, trials and orders.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("study"),
    show_default=True,
    help="Folder of the study.",
)
@click.option(
    "--plan",
    is_flag=True,
    help="Only list the samples that are drawn; `aubench run --for-study` makes just these.",
)
@results
@gather_options(RuleOptions, "rule_options")
def create(
    out: Path,
    plan: bool,
    roots: tuple[Path, ...],
    given: tuple[str, ...],
    models: str,
    rule_options: RuleOptions,
    settings_file: Path | None,
    **options: object,
) -> Result:
    """Draw the trials, strip the images, seal the key, and write a link for each rater."""
    from aubench.study.design.creation import StudyConfig
    from aubench.study.design.creation import create as make
    from aubench.study.design.files import LINKS, Rules
    from aubench.study.design.settings import read_settings

    rules = Rules(**asdict(rule_options))
    runs = {name: Path(path) for name, path in _pairs(given, "--run").items()}
    order = StudyConfig(
        _names(models),
        name=out.name,
        rules=rules,
        roots=roots or (Path("runs"),),
        runs=runs,
        settings=read_settings(settings_file),
        **options,  # type: ignore[arg-type]
    )
    if plan:
        return _planned(order, out)
    made = make(order, out)
    design, key, links = out / "study.json", out / "key.sealed.json", out / LINKS
    lines = [
        f"{made.trials} trials of {len(order.models)} faces, {order.raters} places",
        f"design  {design}  sha256 {made.design_sha256}",
        f"key     {key}  sha256 {made.key_sha256}",
        f"links   {links}  {len(made.links)} raters, public link, preview, admin page",
    ]
    if not made.balanced:
        click.echo(
            f"note: orders are balanced over a multiple of {made.rows} raters, not {order.raters}",
            err=True,
        )
    if made.blanks:
        click.echo(
            f"note: the consent text has blanks: {', '.join(made.blanks)}; `serve` refuses it "
            "until they are stated under [consent] in --settings",
            err=True,
        )
    return written(
        design,
        key,
        links,
        line="\n".join(lines),
        trials=made.trials,
        models=order.models,
        places=order.raters,
        raters=len(made.links),
        design_sha256=made.design_sha256,
        key_sha256=made.key_sha256,
        balanced=made.balanced,
    )


def _planned(order: StudyConfig, out: Path) -> Result:
    from aubench.study.design.creation import plan as list_samples

    path, needed = list_samples(order, out)
    lines = [
        f"{path} lists {len(needed.samples)} samples; make them by",
        *(f"  aubench run --model {model} --for-study {out}" for model in order.models),
        "then give the same command without --plan",
    ]
    return written(path, line="\n".join(lines), samples=needed.samples)


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
def serve(study_folder: Path, host: str, port: int, database: str | None) -> None:
    """Serve the ranking page and the admin page."""
    from aubench.study.server.server import serve as run_server

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
@click.option(
    "--url",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="Where raters reach the server.",
)
@click.option("--public", is_flag=True, help="The one link that hands out places to all comers.")
@results
def links(study_folder: Path, url: str, public: bool) -> Result:
    """Print a link for each rater, to be sent to one person each, or the public one."""
    from aubench.study.simulation.bots import public_link, read_links

    paths = [public_link(study_folder)] if public else read_links(study_folder)
    found = [url.rstrip("/") + path for path in paths]
    return Result(found, lambda: click.echo("\n".join(found)))


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
@click.option("--empty", is_flag=True, help="Close it even though nobody answered.")
@results
def close(study_folder: Path, database: str | None, empty: bool) -> Result:
    """Take no more answers, for good; only then may the key be opened."""
    from aubench.errors import AubenchError
    from aubench.study.analysis.answers import open_store
    from aubench.study.design.files import DATABASE
    from aubench.study.server.store import ANSWERS

    store = open_store(study_folder, database)
    if not (empty or store.rows(ANSWERS)):
        where = database or study_folder / DATABASE
        raise AubenchError(
            f"{where} holds no answers; not closed",
            f"copy {DATABASE}-wal beside it if there is one, give the right --database, or --empty",
        )
    store.close()
    data = {"study": study_folder, "closed": True}
    return Result(data, lambda: click.echo(f"{study_folder} is closed"))


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.argument("rater", type=click.IntRange(min=1))
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
@results
def erase(study_folder: Path, rater: int, database: str | None) -> Result:
    """Delete all that RATER gave: answers, form, remark, and the exports that hold them."""
    from aubench.errors import AubenchError
    from aubench.study.analysis.answers import open_store
    from aubench.study.server.erasure import forget

    removed = forget(study_folder, open_store(study_folder, database), rater)
    if removed is None:
        raise AubenchError(f"{study_folder} has no rater {rater}", "the admin page lists them")
    lines = [f"rater {rater} is erased"]
    if removed:
        lines.append(
            f"{len(removed)} files of analyses are removed; write them anew by "
            f"`aubench study score {study_folder}`"
        )
    data = {"rater": rater, "removed": removed}
    return Result(data, lambda: click.echo("\n".join(lines)))


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option(
    "--key", type=click.Path(path_type=Path, dir_okay=False), help="The sealed key [in the folder]."
)
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the results [STUDY/analysis].",
)
@click.option(
    "--draws",
    type=click.IntRange(100, 100000),
    default=2000,
    show_default=True,
    help="Of the bootstrap.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap."
)
@results
def score(
    study_folder: Path,
    key: Path | None,
    database: str | None,
    out: Path | None,
    draws: int,
    seed: int,
) -> Result:
    """Open the key of a closed study: AUCHS, intervals, agreement, tests, exports."""
    from aubench.study.analysis.exports.export import write
    from aubench.study.analysis.scoring import Bootstrap
    from aubench.study.analysis.scoring import score as analyse
    from aubench.study.analysis.terminal import results_text
    from aubench.study.server.erasure import note_exports

    found = analyse(study_folder, database=database, key=key, bootstrap=Bootstrap(draws, seed))
    paths = write(found.results, found.frame, out or study_folder / "analysis", found.forms)
    note_exports(study_folder, paths)
    text = "\n".join([results_text(found.results), "", *map(str, paths)])
    return Result(found.results, lambda: click.echo(text))


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option(
    "--run",
    "given",
    multiple=True,
    required=True,
    metavar="MODEL=FOLDER",
    help="Finished run of a model; one for each.",
)
@click.option(
    "--key", type=click.Path(path_type=Path, dir_okay=False), help="The sealed key [in the folder]."
)
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
@click.option("--draws", type=click.IntRange(100, 100000), default=500, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@results
def calibrate(
    study_folder: Path,
    given: tuple[str, ...],
    key: Path | None,
    database: str | None,
    draws: int,
    seed: int,
) -> Result:
    """Hold the automatic scores of runs against what raters of a closed study said."""
    from aubench.comparison.per_sample import per_sample_values
    from aubench.errors import AubenchError
    from aubench.study.analysis import calibration
    from aubench.study.analysis.scoring import kept

    folders = {name: Path(path) for name, path in _pairs(given, "--run").items()}
    ranked = kept(study_folder, database=database, key=key)
    lacking = sorted(set(ranked.models) - set(folders))
    if lacking:
        raise AubenchError(f"no run of '{lacking[0]}'", f"give --run {lacking[0]}=FOLDER")
    values = {model: per_sample_values(folders[model]) for model in ranked.models}
    found, sure = calibration.calibrate(ranked, calibration.by_item(ranked, values), draws, seed)
    path = study_folder / "analysis" / calibration.CALIBRATION
    calibration.write(found, sure, path)
    shown = "\n".join([calibration.text(found, sure), "", str(path)])
    data = {"files": [path], "reliability": sure, "metrics": found}
    return Result(data, lambda: click.echo(shown))


@dataclass(frozen=True)
class BotOptions:
    """Options on the bots of a simulated study."""

    worths: tuple[str, ...]
    raters: int | None
    rater_spread: float
    item_spread: float
    seed: int

    def values(self) -> dict[str, float]:
        """Return the worth of each model.

        Raises:
            AubenchError: A worth is no number, or not MODEL=WORTH.
        """
        from aubench.errors import AubenchError

        try:
            return {name: float(value) for name, value in _pairs(self.worths, "--worth").items()}
        except ValueError as error:
            raise AubenchError(f"--worth: {error}", "write --worth MODEL=0.3") from error


@dataclass(frozen=True)
class PowerOptions:
    """Options on the studies that a calculation of power simulates."""

    difference: float
    models: int
    combinations: int
    raters: str
    items: str
    rater_spread: float
    item_spread: float
    wanted: float
    studies: int
    seed: int


@study.command()
@click.argument("study_folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option(
    "--worth",
    "worths",
    multiple=True,
    required=True,
    metavar="MODEL=WORTH",
    help="Plackett-Luce worth of a model; one for each.",
)
@click.option("--raters", type=click.IntRange(min=1), help="Bots [one for each place].")
@click.option(
    "--rater-spread",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Deviation of log worths from rater to rater.",
)
@click.option(
    "--item-spread",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Deviation of log worths from sample to sample.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    help="Repeat so many whole studies and count how often intervals hold the truth; "
    "the study itself is not touched.",
)
@click.option("--url", help="A server that runs already [one of its own].")
@click.option(
    "--key", type=click.Path(path_type=Path, dir_okay=False), help="The sealed key [in the folder]."
)
@click.option("--database", help="SQLAlchemy URL [a SQLite file in the folder].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@results
@gather_options(BotOptions, "options")
def simulate(
    study_folder: Path,
    options: BotOptions,
    repeat: int | None,
    url: str | None,
    key: Path | None,
    database: str | None,
) -> Result:
    """Send bots with known worths through the study, over HTTP."""
    from aubench.study.simulation import simulate as simulation
    from aubench.study.simulation.terminal import coverage_text

    world, design = simulation.build_world(
        study_folder,
        options.values(),
        key=key,
        rater_spread=options.rater_spread,
        item_spread=options.item_spread,
        seed=options.seed,
    )
    if design.rules.min_seconds > 0:
        click.echo(
            f"warning: the rule against answers under {design.rules.min_seconds:g} s will "
            "exclude bots; for a rehearsal create a study with --min-seconds 0",
            err=True,
        )
    if repeat is not None:
        held = simulation.coverage(study_folder, world, repeat)
        return Result(held, lambda: click.echo(coverage_text(held)))
    bots = simulation.simulate(study_folder, world, options.raters, url, database)
    count = sum(len(bot.acknowledged) for bot in bots)
    expected = simulation.truth(world)
    summary = ", ".join(f"{model} {value:.3f}" for model, value in expected.items())
    lines = [f"{len(bots)} bots, {count} rankings stored", f"expected AUCHS: {summary}"]
    data = {"bots": len(bots), "rankings": count, "expected": expected}
    return Result(data, lambda: click.echo("\n".join(lines)))


def _numbers(text: str, option: str) -> list[int]:
    from aubench.errors import AubenchError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise AubenchError(f"{option} '{text}'", f"write {option} 10,20,30") from error


@study.command()
@click.option(
    "--difference",
    type=click.FloatRange(min=0, min_open=True),
    default=0.5,
    show_default=True,
    help="Of two models' mean AUCHS.",
)
@click.option(
    "--models",
    type=click.IntRange(2, 9),
    default=5,
    show_default=True,
    help="Models that are ranked.",
)
@click.option("--combinations", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--raters", default="10,15,20,30", show_default=True, help="Sizes to try.")
@click.option(
    "--items",
    default="3,5,10",
    show_default=True,
    help="Sizes to try, samples of each combination.",
)
@click.option(
    "--rater-spread",
    type=click.FloatRange(min=0),
    default=0.3,
    show_default=True,
    help="Deviation of log worths from rater to rater.",
)
@click.option(
    "--item-spread",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Deviation of log worths from sample to sample.",
)
@click.option("--power", "wanted", type=click.FloatRange(0, 1), default=0.8, show_default=True)
@click.option(
    "--studies",
    type=click.IntRange(min=10),
    default=400,
    show_default=True,
    help="Simulated studies of each size.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@results
@gather_options(PowerOptions, "options")
def power(options: PowerOptions) -> Result:
    """Say how many raters and items it takes to see a difference."""
    from aubench.study.analysis.power import Question
    from aubench.study.analysis.power import power as simulate_power
    from aubench.study.analysis.terminal import power_text

    o = options
    question = Question(o.difference, o.models, o.combinations, o.rater_spread, o.item_spread)
    raters, items = _numbers(o.raters, "--raters"), _numbers(o.items, "--items")
    rows = simulate_power(question, raters, items, o.studies, o.seed)
    data = {"question": question, "wanted": o.wanted, "studies": o.studies, "sizes": rows}
    return Result(data, lambda: click.echo(power_text(question, rows, o.wanted, o.studies)))


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
    from aubench.study.analysis.rank_tables import audit, paper_table, read_rank_table
    from aubench.study.analysis.terminal import audit_text

    if (table is None) == (not paper):
        raise AubenchError("no table" if table is None else "two tables", "give FILE or --paper")
    if table is None:
        found, raters, items = paper_table(), raters or 15, items or 5
    else:
        found = read_rank_table(table)
    findings = audit(found, raters, items)
    faults = sum(finding.fault for finding in findings)
    return Result(
        {"table": found.name, "faults": faults, "findings": findings},
        lambda: click.echo(audit_text(found, findings)),
        failure=f"{found.name}: {faults} faults" if strict and faults else None,
    )
