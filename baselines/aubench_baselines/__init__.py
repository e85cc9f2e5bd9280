"""Baselines and control generators of aubench, plug-ins like any other."""
