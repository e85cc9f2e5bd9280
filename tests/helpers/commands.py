"""Every command of the command line, found by walking it."""

import click

from aubench.cli.main import cli


def leaves(group=cli, path=()):
    """Yield (path, command) of every command, a group that works alone among them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))


COMMANDS = dict(leaves())
