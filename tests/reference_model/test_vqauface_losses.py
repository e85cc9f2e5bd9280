"""VQ-AUFace: equations 1 to 6 in closed form, adaptive weight, code usage and revival."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from vqauface.networks.rqvae import RQVAE, embed
from vqauface.presets import preset
from vqauface.training import losses
from vqauface_parts import loop

from aubench.errors import AubenchError


def test_equations_one_to_four_in_closed_form():
    x, y = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), 0.25)
    assert float(losses.reconstruction(x, y)) == pytest.approx(0.25 + 0.0625)
    assert float(losses.reconstruction(x, y, 2.0, 0.0)) == pytest.approx(0.5)
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.5])
    assert float(losses.generator_loss(fake)) == pytest.approx(1.25)
    assert float(losses.discriminator_loss(real, fake)) == pytest.approx(
        0.5 * ((0 + 0.5) / 2 + (0 + 1.5) / 2)
    )


def test_equation_two_is_what_the_quantiser_computes():
    p = preset("tiny")
    model = RQVAE(p).train()
    model(torch.randn(32, 3, 32, 32))
    codebooks = model.codebooks().clone()
    z = model.encode(torch.randn(8, 3, 32, 32)).detach()
    _, codes, found = model.quantise(z)
    torch.testing.assert_close(found, losses.commitment(z, embed(codebooks, codes)))


def test_equation_five_compares_features_of_the_detector():
    from aubench.networks.detectors import load_detector

    detector = load_detector("nano-a")
    whole, told = losses.anatomical("nano-a", None, "cpu", False, torch.float32)
    assert told == detector.id
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = (x * 0.8).requires_grad_(True)
    with torch.no_grad():
        a, b = (detector.features((v + 1) / 2) for v in (x, y))
    found = whole(x, y)
    torch.testing.assert_close(found.detach(), (a - b).square().mean())
    found.backward()
    assert float(y.grad.abs().max()) > 0
    assert float(whole(x, x)) == 0
    unit, _ = losses.anatomical("nano-a", None, "cpu", True, torch.float32)
    a, b = (nn.functional.normalize(v, dim=-1) for v in (a, b))
    torch.testing.assert_close(unit(x, y).detach(), (a - b).square().mean() * a.shape[-1])


def test_equation_six_without_weights_names_the_remedy(tmp_path):
    with pytest.raises(AubenchError, match="--set perceptual_file="):
        losses.perceptual("vgg16", None, "cpu")
    with pytest.raises(AubenchError, match="no VGG16 weights at"):
        losses.perceptual("lpips-vgg", str(tmp_path / "x.pth"), "cpu")
    with pytest.raises(AubenchError, match="unknown perceptual loss"):
        losses.perceptual("vgg19", None, "cpu")


def test_equation_six_is_vgg16_without_its_last_two_layers(monkeypatch):
    """A narrow VGG16 in the true one's place: the loss is that of its layers, one by one."""
    import torchvision

    def small(weights=None):
        network = nn.Module()
        network.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        network.avgpool = nn.AdaptiveAvgPool2d(7)
        network.classifier = nn.Sequential(
            nn.Linear(196, 9),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(9, 8),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(8, 10),
        )
        return network

    monkeypatch.setattr(torchvision.models, "vgg16", small)
    torch.manual_seed(0)
    distance = losses.perceptual("vgg16", "random", "cpu")
    torch.manual_seed(0)
    network = small().eval()
    x, y = (torch.rand(2, 3, 32, 32) * 2 - 1 for _ in range(2))

    def features(v):
        mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        v = ((v + 1) / 2 - mean[:, None, None]) / spread[:, None, None]
        return network.classifier[:5](network.avgpool(network.features(v)).flatten(1))

    torch.testing.assert_close(distance(x, y), (features(x) - features(y)).square().mean())
    assert float(distance(x, x)) == 0


def test_vgg16_lacks_no_tensor_and_holds_no_other(tmp_path, monkeypatch):
    """A layer that the file lacks would stay random, and the loss with it."""

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
            self.classifier = nn.Sequential(*(nn.Linear(2, 2) for _ in range(7)))
            self.kept = self.classifier[:-2]

    monkeypatch.setattr(losses, "VGG16", Small)
    file = tmp_path / "vgg.pth"
    state = {k: v for k, v in Small().state_dict().items() if not k.startswith("kept.")}
    torch.save(state, file)
    assert callable(losses.perceptual("vgg16", str(file), "cpu"))
    torch.save({k: v for k, v in state.items() if k != "features.1.weight"}, file)
    with pytest.raises(AubenchError, match=r"is not VGG16: lacks features\.1\.weight"):
        losses.perceptual("vgg16", str(file), "cpu")
    torch.save({**state, "features.9.bias": torch.zeros(4)}, file)
    with pytest.raises(AubenchError, match=r"is not VGG16: holds features\.9\.bias"):
        losses.perceptual("vgg16", str(file), "cpu")


def test_adaptive_weight_balances_gradients_at_the_last_layer():
    last = nn.Parameter(torch.tensor([1.0, 2.0]))
    rest, adversarial = (
        (last * torch.tensor([3.0, 4.0])).sum(),
        (last * torch.tensor([0.0, 2.0])).sum(),
    )
    assert float(losses.adaptive_weight(rest, adversarial, last)) == pytest.approx(2.5, rel=1e-5)
    assert float(losses.adaptive_weight(rest, adversarial, last, limit=1.5)) == pytest.approx(1.5)


def test_losses_join_by_reconstruction_quality_and_stay():
    rule = losses.Quality(ready=0.5)
    steps = next(i for i in range(100) if rule.see(0.1))
    smooth = 0.1 + 0.9 * 0.95 ** (steps + 1)
    assert rule.smooth == pytest.approx(smooth) and smooth < 0.5 < 0.1 + 0.9 * 0.95**steps
    assert rule.see(50.0)


def test_usage_counts_entries_of_each_level():
    usage = losses.Usage(torch.zeros(2, 4, dtype=torch.long))
    usage.add(torch.tensor([[[0, 1], [0, 2]], [[0, 3], [0, 0]]]))
    found = usage.take()
    assert found == {"used 0": 0.25, "used 1": 1.0, "perplexity 0": 1.0, "perplexity 1": 4.0}
    assert usage.take()["used 0"] == 0


def test_dead_entries_are_revived():
    p = replace(preset("tiny"), entries=8)
    x = torch.randn(64, 3, 32, 32)

    def distinct(dead):
        torch.manual_seed(0)
        model = RQVAE(p, dead=dead, decay=0.5).train()
        model(x)
        book = model.quantiser.layers[0]._codebook
        for kept in (book.embed, book.embed_avg):
            kept[0, 2:] = 1e3  # out of reach of all
        for _ in range(8):
            model(x)
        return len(model.eval().codes(x)[..., 0].unique())

    assert distinct(0) <= 2 < distinct(1)


def test_the_discriminator_learns_and_the_codec_answers_it(tmp_path):
    given = {"adaptive": "yes", "adversarial": "0.5"}
    one = loop(tmp_path, 1, given=given, steps=3)
    before = {k: v.clone() for k, v in one.critic.state_dict().items()}
    first = one.step()  # the rule looks at the steps before
    assert "adv" not in first
    logged = one.step()
    assert {"adv", "adv weight", "critic"} <= logged.keys() and logged["adv weight"] > 0
    assert any(not torch.equal(v, before[k]) for k, v in one.critic.state_dict().items())
