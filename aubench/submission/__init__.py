"""Bundles that others can verify."""
