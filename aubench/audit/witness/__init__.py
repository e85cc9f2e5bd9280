"""Audit of readers of AUs: what each can see, and what it takes for an AU that is none."""
