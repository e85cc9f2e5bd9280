"""Networks that look at faces and texts: detectors, extractors, identity, text classifier."""
