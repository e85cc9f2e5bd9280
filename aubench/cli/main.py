"""The ``aubench`` command; sub-commands are imported when they are called."""

from __future__ import annotations

import sys
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from aubench import __version__
from aubench.errors import AubenchError, suggest

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (".running.demo:demo", "Say what the numbers mean, in a minute."),
    "run": (".running.run:run", "Generate, measure and score a model on a protocol."),
    "merge": (".running.merge:merge", "Put the shards of a run together and score them."),
    "estimate": (".running.estimate:estimate", "Predict time, memory and disk of a run."),
    "report": (".results.report:report", "Print the leaderboards, or the paper's tables."),
    "leaderboard": (".results.leaderboard:leaderboard", "Make a site of the records."),
    "figure": (".results.figure:figure", "Draw figures from runs, records and logs."),
    "submit": (".results.submit:submit", "Write a run as a bundle that others can verify."),
    "verify": (".results.verify:verify", "Recompute what a bundle claims."),
    "commit": (".results.commit:commit", "Write what a model is held to, before a reveal."),
    "doctor": (".running.doctor:doctor", "Say whether this machine's numbers compare."),
    "compare": (".results.compare:compare", "Compare two runs on the same samples."),
    "view": (".results.view:view", "Make a page to look at the samples of runs."),
    "export": (".results.export:export", "Write folders for the Hugging Face Hub."),
    "models": (".running.models:models", "List the registered generators; show, check, new."),
    "check-generator": (".running.models:check", "Run the conformance suite on a generator."),
    "new-generator": (".running.models:new", "Write a package with a generator, to start from."),
    "new-dataset": (
        ".data.new_dataset:new_dataset",
        "Write a package with a data set, to start from.",
    ),
    "new-metric": (
        ".running.new_metric:new_metric",
        "Write a package with a metric, to start from.",
    ),
    "protocols": (".data.protocols:protocols", "List the protocols."),
    "protocol": (".data.protocols:protocol", "Show, verify or export one protocol."),
    "export-prompts": (
        ".data.protocols:export_prompts",
        "Write what a system without code here needs.",
    ),
    "describe": (".data.describe:describe", "Put a set of AUs into words."),
    "audit": (".results.audit:audit", "Find out how far a metric can be trusted."),
    "data": (".data.show:data", "Import your own data; build or look at synthetic faces."),
    "weights": (".running.weights:weights", "List, fetch, verify or add external weights."),
    "text-au": (".training.text_au:text_au", "Print the AUs that a text speaks of."),
    "train": (".training.train:train", "Train a generator."),
    "ablate": (".training.ablate:ablate", "Train and score a generator with parts left out."),
    "train-text-au": (
        ".training.train_text_au:train_text_au",
        "Train the classifier of AUs from text.",
    ),
    "train-au-detector": (
        ".training.train_au_detector:train_au_detector",
        "Train a detector of AUs from images.",
    ),
    "study": (".study:study", "Rank faces by human raters (AUCHS)."),
    "detectors": (".training.detectors:detectors", "Score a detector of AUs."),
    "completion": (".completion:completion", "Print what completes words in a shell."),
}
"""By name: the module below ``aubench.cli`` and the command in it, and a line of help."""


class LazyGroup(click.Group):
    """A group that imports a command when it is called, so that ``--help`` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(import_module(module, "aubench.cli"), attribute)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command from the table, without importing any."""
        found = [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command, with a suggestion for a misspelt one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise AubenchError(
                f"unknown command '{args[0]}'{suggest(args[0], COMMANDS)}", "see `aubench --help`"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aubench")
def cli() -> None:
    """Benchmark generators that turn facial Action Units into faces."""


def main(args: list[str] | None = None) -> None:
    """Run the command line; bad input ends with one line and exit code 2."""
    from aubench.cli.exit_codes import run_to_end

    sys.exit(run_to_end(cli, sys.argv[1:] if args is None else args, "aubench"))
