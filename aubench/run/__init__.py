"""One run: options, generation, record."""
