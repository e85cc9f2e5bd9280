"""Design of a study: items, orders, files, seal."""
