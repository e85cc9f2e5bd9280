"""Cards of data sets and protocols: Croissant for machines, a datasheet for people."""
