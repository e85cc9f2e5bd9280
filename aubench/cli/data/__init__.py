"""Commands on data sets, protocols and AU texts."""
