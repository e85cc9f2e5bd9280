"""The contract of a generator, its registry, scaffold and conformance suite."""
