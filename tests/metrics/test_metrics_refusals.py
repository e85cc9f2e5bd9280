"""What no number is made of: pairs, logits, features and networks that answer wrongly."""

import numpy as np
import pytest

from aubench.errors import AubenchError
from aubench.metrics.distributions.grams import Grams
from aubench.metrics.distributions.inception_score import inception_influence, inception_score
from aubench.metrics.faces.lpips import Lpips
from aubench.networks.inference import measure


def test_pairs_for_lpips_are_of_one_shape_and_not_too_small():
    """Below 64 px AlexNet's last maps are empty; the distance would be of nothing."""

    def network(a, b):
        return (a - b).abs().mean((1, 2, 3))

    metric = Lpips("lpips", "alex-v0.1", "", "cpu", network)
    black = np.zeros((3, 64, 72, 3), np.uint8)
    white = np.full_like(black, 255)
    np.testing.assert_allclose(metric(black, white), [2, 2, 2])
    white[1] = 0
    np.testing.assert_allclose(metric(black, white), [2, 0, 2])
    none = metric(black[:0], white[:0])
    assert none.shape == (0,) and none.dtype == np.float32
    with pytest.raises(ValueError, match=r"at least 64 px, got \(63, 72\)"):
        metric(black[:, :63], white[:, :63])
    with pytest.raises(ValueError, match="pairs differ in shape"):
        metric(black, white[:2])


@pytest.mark.parametrize("function", [inception_score, inception_influence])
def test_logits_that_give_no_score_are_refused(function):
    for wrong, why in (
        (np.zeros(5), "want logits"),
        (np.zeros((0, 5)), "want logits"),
        (np.array([[0.0, np.nan]]), "not finite"),
    ):
        with pytest.raises(ValueError, match=why):
            function(wrong)


def test_features_that_have_no_products_are_refused():
    x = np.ones((4, 3))
    for y, why in (
        (np.ones((4, 2)), "want features"),
        (np.ones(3), "want features"),
        (np.full((2, 3), np.inf), "not finite"),
    ):
        for pair in ((x, y), (y, x)):
            with pytest.raises(ValueError, match=why):
                Grams.of(*pair)


class Network:
    """Gives ``rows`` of each batch, all of them unless said otherwise."""

    id, sha256 = "x", "0"

    def __init__(self, name="net", rows=slice(None), value=1.0):
        self.name, self.rows, self.value = name, rows, value

    def __call__(self, images):
        found = images[self.rows].mean((1, 2, 3)).astype(np.float32)
        return {"mean": np.where(found == 77, self.value, found).astype(np.float32)}


def grey(keys):
    return np.stack([np.full((2, 2, 3), int(key), np.uint8) for key in keys])


def test_a_network_that_answers_wrongly_is_named():
    keys = [str(i % 256) for i in range(300)]  # three chunks
    found = measure(keys, grey, [Network()])["net"]["mean"]
    assert found.tolist() == [1.0 if key == "77" else float(key) for key in keys]
    with pytest.raises(AubenchError, match="net gave mean that are not finite for 77"):
        measure(keys, grey, [Network(value=np.nan)])
    with pytest.raises(ValueError, match="net gave 127 rows of mean for 128 images"):
        measure(keys, grey, [Network(rows=slice(1, None))])
    with pytest.raises(ValueError, match="asked for 128 images, got 127"):
        measure(keys, lambda asked: grey(asked[1:]), [Network()])
    with pytest.raises(ValueError, match="two networks of one name: a, b, a"):
        measure(keys, grey, [Network("a"), Network("b"), Network("a")])
