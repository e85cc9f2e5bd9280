"""``aubench completion``, and what completes the values of options."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from aubench.datasets import DEFAULT_DATASET
from aubench.storage.text_files import read_json

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
    from aubench.plugins import PluginGroup

    return PluginGroup("aubench.generators", "model").names()


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
    from aubench.protocols.protocol import protocol_names

    data = str(ctx.params.get("data") or DEFAULT_DATASET)
    return _matching(protocol_names(data), text)


@_quiet
def dataset(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete an installed or imported data set; none is loaded."""
    from aubench.datasets.registry import dataset_names

    return _matching(dataset_names(), text)


@_quiet
def dataset_or_folder(
    ctx: click.Context, parameter: click.Parameter, text: str
) -> list[CompletionItem]:
    """Complete a data set; where none is called so, a folder."""
    return dataset(ctx, parameter, text) or [CompletionItem(text, type="dir")]


def _score_names() -> list[str]:
    """Return the scores that the records hold; metrics would have to be imported to tell theirs."""
    from aubench.report import places

    found: dict[str, None] = {}
    for dataset in places.datasets():
        for records in places.records(dataset).values():
            for path in records.values():
                scores = read_json(path)["scores"]
                found |= dict.fromkeys(row["metric"] for row in scores)
    return list(found)


@_quiet
def metric(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete the name of a metric in a record."""
    return _matching(_score_names(), text)


@_quiet
def metric_list(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete metrics of records with commas between them."""
    return _listed(_score_names(), text)


@_quiet
def group_list(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete what ``aubench run --metrics`` takes, with commas."""
    from aubench.metrics.registry import names

    return _listed(names(), text)


@_quiet
def weights(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete the name of external weights."""
    from aubench.networks.external_weights import entries

    return _matching(entries(), text)
