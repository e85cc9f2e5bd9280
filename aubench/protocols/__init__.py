"""Protocols: frozen samples, their definition, their proofs and constants."""
