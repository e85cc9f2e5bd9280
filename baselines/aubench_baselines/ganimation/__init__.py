"""GANimation: generator, networks, losses, training."""
