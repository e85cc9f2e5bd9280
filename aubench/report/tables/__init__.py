"""Tables of the paper and of the terminal."""
