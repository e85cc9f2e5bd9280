"""The record of a run, and what is made of several: comparisons and submissions."""
