"""Code of other packages: found by entry point, and called behind a wall."""

from aubench.plugins.group import PluginGroup, at_fault, warn_of
from aubench.plugins.wall import Fault, PluginError, behind_wall, plain_line

__all__ = [
    "Fault",
    "PluginError",
    "PluginGroup",
    "at_fault",
    "behind_wall",
    "plain_line",
    "warn_of",
]
