"""Texts of facial actions by a grammar: any set of AUs, in the ways in which people put them."""

from aubench.networks.textau.grammar.content import Sample, draw_aus
from aubench.networks.textau.grammar.lexicon import fingerprint
from aubench.networks.textau.grammar.texts import Grammar

__all__ = ["Grammar", "Sample", "draw_aus", "fingerprint"]
