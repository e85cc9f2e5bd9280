"""``aubench completion``, and what completes the values of options."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

SHELLS = ("bash", "zsh", "fish")
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script that completes commands, options and their values in SHELL.

    bash: eval "$(aubench completion bash)" in ~/.bashrc. zsh: the same in ~/.zshrc. fish: aubench
    completion fish > ~/.config/fish/completions/aubench.fish
    """
    from click.shell_completion import get_completion_class

    from aubench.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(cli, {}, "aubench", "_AUBENCH_COMPLETE")
    # Not script.source(): bash's asks the bash of this machine for its version.
    click.echo(script.source_template % script.source_vars())


def _matching(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _listed(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Complete the last word of a list with commas."""
    done, comma, last = incomplete.rpartition(",")
    given = set(done.split(","))
    return [
        CompletionItem(done + comma + name)
        for name in names
        if name.startswith(last) and name not in given
    ]


def _quiet(completer: Completer) -> Completer:
    """Complete nothing where something is wrong: an error would stand in the command line."""

    def safe(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
        try:
            return completer(ctx, parameter, text)
        except Exception:
            return []

    return safe


def _generators() -> list[str]:
    from importlib.metadata import entry_points

    return sorted({point.name for point in entry_points(group="aubench.generators")})


@_quiet
def model(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete a registered generator; none is imported."""
    return _matching(_generators(), text)


@_quiet
def model_list(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete registered generators with commas between them."""
    return _listed(_generators(), text)


@_quiet
def protocol(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete a protocol of the data set that ``--data`` named."""
    from aubench.files import data_home, shipped

    data = str(ctx.params.get("data") or "synfacs")
    roots = (shipped("protocols"), data_home() / "protocols")
    names = {path.parent.name for root in roots for path in root.glob(f"{data}/*/protocol.toml")}
    return _matching(sorted(names), text)


@_quiet
def dataset(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete ``synfacs`` or an imported data set."""
    from aubench.datasets import DATASETS
    from aubench.files import data_home

    imported = (path.parent.name for path in (data_home() / "data").glob("*/import.json"))
    return _matching([*DATASETS, *sorted(imported)], text)


@_quiet
def dataset_or_folder(
    ctx: click.Context, parameter: click.Parameter, text: str
) -> list[CompletionItem]:
    """Complete a data set; where none is called so, a folder."""
    return dataset(ctx, parameter, text) or [CompletionItem(text, type="dir")]


@_quiet
def metric(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete the name of a metric in a record."""
    from aubench.report.terminal import TITLES

    return _matching(TITLES, text)


@_quiet
def metric_list(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete metrics of records with commas between them."""
    from aubench.report.terminal import TITLES

    return _listed(TITLES, text)


@_quiet
def group_list(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete what ``aubench run --metrics`` takes, with commas."""
    from aubench.cli.run import METRICS

    return _listed(METRICS, text)


@_quiet
def weights(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete the name of external weights."""
    from aubench.weights import entries

    return _matching(entries(), text)
