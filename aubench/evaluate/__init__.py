"""From images to scores: what the metrics need is collected once, then each metric is scored."""
