"""aubench: benchmark of generators that turn facial Action Units into faces."""

__version__ = "0.1.0"
