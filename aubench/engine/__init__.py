"""Running a generator on a protocol."""
