"""Audits of the benchmark's own metrics, on faces whose truth is known."""
