"""Paired differences of two runs."""
