"""Runs in shards, on one machine or on a Ray cluster."""
