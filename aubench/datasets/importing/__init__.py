"""Import of a data set into the user's own copy: index, crops, texts."""
