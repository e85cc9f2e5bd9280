"""Feature extractors behind FID, KID, IS and PRDC."""
