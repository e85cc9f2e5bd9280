"""aubench: benchmark and evaluation harness for generators that turn facial Action Units into faces."""

__version__ = "0.1.0"
