"""GANimation: the official checkpoint's layout, the networks, the losses."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from aubench_baselines.ganimation.losses import generator_loss, gradient_penalty
from aubench_baselines.ganimation.networks import (
    Critic,
    Painter,
    blend,
    saturate,
)
from aubench_baselines.ganimation.train import settings_of
from ganimation_parts import official_shapes, shapes_of_state

from aubench.generators.contract import Training


def shapes_of(network):
    return shapes_of_state(network.state_dict())


def test_generator_holds_the_official_tensors():
    painter = Painter()
    assert shapes_of(painter) == official_shapes() and len(official_shapes()) == 53
    assert sum(p.numel() for p in painter.parameters()) == 8_455_616
    assert sum(p.numel() for p in Painter(17).parameters()) == 8_471_296


def test_critic_holds_the_official_tensors():
    shapes, inner = {}, 3
    for i in range(6):
        shapes |= {
            f"main.{2 * i}.weight": (64 * 2**i, inner, 4, 4),
            f"main.{2 * i}.bias": (64 * 2**i,),
        }
        inner = 64 * 2**i
    shapes |= {"conv1.weight": (1, 2048, 3, 3), "conv2.weight": (17, 2048, 2, 2)}
    critic = Critic(17)
    assert shapes_of(critic) == shapes and len(shapes) == 14
    assert round(sum(p.numel() for p in critic.parameters()) / 1e6, 2) == 44.86


def test_weights_are_drawn_as_the_method_says():
    torch.manual_seed(0)
    critic, painter = Critic(width=16), Painter(width=16)
    for key in ("main.8.weight", "conv1.weight"):
        assert abs(float(critic.state_dict()[key].std()) - 0.04) < 0.004  # 0.02 at the width of 64
    assert abs(float(Critic(width=64).state_dict()["main.4.weight"].std()) - 0.02) < 0.001
    assert not critic.state_dict()["main.0.bias"].any()
    assert abs(float(painter.state_dict()["main.15.weight"].std()) - 0.02) < 0.001
    assert (painter.state_dict()["main.1.weight"] == 1).all()


def plain_forward(state, x, aus, blocks):
    """The generator written out layer by layer from its description."""

    def norm(y, name):
        mean, variance = y.mean((2, 3), keepdim=True), y.var((2, 3), unbiased=False, keepdim=True)
        scale, shift = (state[f"{name}.{k}"][:, None, None] for k in ("weight", "bias"))
        return (y - mean) / (variance + 1e-5).sqrt() * scale + shift

    y = torch.cat([x, aus[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
    for conv, after, stride, pad in ((0, 1, 1, 3), (3, 4, 2, 1), (6, 7, 2, 1)):
        y = F.conv2d(y, state[f"main.{conv}.weight"], stride=stride, padding=pad)
        y = norm(y, f"main.{after}").relu()
    for i in range(9, 9 + blocks):
        z = norm(
            F.conv2d(y, state[f"main.{i}.main.0.weight"], padding=1), f"main.{i}.main.1"
        ).relu()
        y = y + norm(F.conv2d(z, state[f"main.{i}.main.3.weight"], padding=1), f"main.{i}.main.4")
    for conv in (9 + blocks, 12 + blocks):
        y = F.conv_transpose2d(y, state[f"main.{conv}.weight"], stride=2, padding=1)
        y = norm(y, f"main.{conv + 1}").relu()
    return (
        F.conv2d(y, state["img_reg.0.weight"], padding=3).tanh(),
        F.conv2d(y, state["attetion_reg.0.weight"], padding=3).sigmoid(),
    )


def test_generator_agrees_with_its_description():
    torch.manual_seed(1)
    painter = Painter(width=8, blocks=2).eval()
    for value in painter.parameters():
        value.data.add_(0.1 * torch.randn_like(value))
    x, aus = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 12)
    expected = plain_forward(painter.state_dict(), x, aus, 2)
    for found, wanted in zip(painter(x, aus), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert expected[1].shape == (2, 1, 32, 32)


def test_attention_of_one_keeps_the_input_and_saturation_is_the_stated_curve():
    x, colour = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    assert torch.equal(blend(x, colour, torch.ones(2, 1, 4, 4)), x)
    assert torch.equal(blend(x, colour, torch.zeros(2, 1, 4, 4)), colour)
    values = saturate(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    middle = 0.55 * np.tanh(0.75)
    expected = np.array([0.0022, 0.5 - middle, 0.5, 0.5 + middle, 0.9978])
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-4)


def test_critic_keeps_a_batch_of_one():
    realness, aus = Critic(size=128, width=2)(torch.zeros(1, 3, 128, 128))
    assert realness.shape == (1, 2, 2) and aus.shape == (1, 12)


def test_gradient_penalty_of_a_linear_critic_is_known():
    torch.manual_seed(0)
    weight = torch.randn(3, 8, 8)

    def critic(x):
        return (x * weight).sum((1, 2, 3)), None

    x, fake = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    found = gradient_penalty(critic, x, fake, torch.rand(4, 1, 1, 1))
    assert float(found) == pytest.approx((float(weight.norm()) - 1) ** 2, rel=1e-5)


def test_gradient_penalty_is_taken_between_real_and_fake():
    """The slope of a sum of squares is 2x, so the penalty tells where it was taken."""
    share = torch.full((1, 1, 1, 1), 0.25)
    x, fake = torch.full((1, 3, 4, 4), 1.0), torch.full((1, 3, 4, 4), 3.0)
    found = gradient_penalty(lambda z: (z.square().sum((1, 2, 3)), None), x, fake, share)
    norm = 2 * 2.5 * np.sqrt(48)
    assert found.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)


def test_terms_of_the_generator_have_the_stated_weights():
    s = settings_of(Training("paper", "synfacs", None))
    x, aus, wanted = torch.zeros(5, 3, 4, 4), torch.zeros(5, 12), torch.ones(5, 12)
    mask = torch.zeros(5, 1, 4, 4)
    mask[0, 0, 0, 0] = 1.0

    def painter(image, command):
        return torch.full_like(image, 0.5), mask

    def critic(image):
        return torch.full((5, 2, 2), 3.0), torch.full((5, 12), 0.5)

    found = generator_loss(x, aus, wanted, painter, critic, s)
    terms = {key: float(value) for key, value in found.items()}
    assert terms["fool"] == -3.0
    assert terms["au"] == pytest.approx(4000 / 5 * 0.25)
    assert terms["cycle"] == pytest.approx(10 * 0.5 * 79 / 80)  # one pixel of 80 is kept twice
    assert terms["mask"] == pytest.approx(2 * 0.1 / 80)
    assert terms["tv"] == pytest.approx(2 * 2e-5)  # two neighbours, a sum, both masks
