"""Networks of the true shape with random weights, for where the real ones cannot be had."""

import io

import torch
from torch import nn


def he(network, seed):
    """Fill convolutions and linear layers by He's rule, so that no layer dies out; return it."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan = module.weight[0].numel()
            module.weight.data.normal_(0, (2 / fan) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.8, 1.2, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0, 0.1, generator=generator)
    return network


def inception_file(path, seed=0):
    """Write weights of Inception 2015-12-05 in the format that torch-fidelity reads."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unread(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_, **__):
            pass

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    name, layers = "inception-v3-compat", ["2048", "logits_unbiased"]
    network = Unread(name, layers, feature_extractor_weights_path=nothing)
    torch.save(he(network, seed).state_dict(), path)
    return path


def alexnet_file(path):
    """Write the convolutions of AlexNet in the format that LPIPS reads."""
    import torchvision
    from safetensors.torch import save_file

    network = he(torchvision.models.alexnet(weights=None), 1).features
    save_file({f"features.{name}": value for name, value in network.state_dict().items()}, path)
    return path
