"""A long pass resumes where it was killed, with the same numbers, and believes no other pixels."""

import numpy as np
import pytest

from aubench.errors import AubenchError
from aubench.evaluate import measured_blocks
from aubench.evaluate.feature_cache import features
from aubench.networks.inference import CHUNK

COUNT = 2 * measured_blocks.BLOCK + 37


class Means:
    """A network whose feature is the mean of an image; stops after so many calls."""

    name, id, sha256 = "means", "means@1", "0" * 64

    def __init__(self):
        self.calls, self.stop = 0, None

    def __call__(self, images):
        if self.calls == self.stop:
            raise RuntimeError("stopped")
        self.calls += 1
        return {"m": images.reshape(len(images), -1).mean(1, keepdims=True).astype(np.float32)}


@pytest.fixture
def faces():
    return np.random.default_rng(1).integers(0, 256, (COUNT, 2, 2, 3), np.uint8)


@pytest.fixture
def measure(faces, tmp_path):
    keys = [str(i) for i in range(COUNT)]

    def run(network):
        paths = {"means": tmp_path / "means.safetensors"}
        load = lambda asked: faces[[int(key) for key in asked]]  # noqa: E731
        return features(keys, load, [network], paths, lambda: "content", "measure")["means"]["m"]

    return run


def expected(faces):
    return faces.reshape(COUNT, -1).mean(1, keepdims=True).astype(np.float32)


def killed_after(measure, blocks):
    network = Means()
    network.stop = blocks * measured_blocks.BLOCK // CHUNK
    with pytest.raises(AubenchError, match="stopped"):
        measure(network)


def test_a_killed_pass_loses_one_block(faces, measure, tmp_path):
    killed_after(measure, 1)
    network = Means()
    np.testing.assert_array_equal(measure(network), expected(faces))
    whole = -(-measured_blocks.BLOCK // CHUNK)
    assert network.calls == whole + 1  # the second block, and what is left over
    assert [path.name for path in tmp_path.iterdir()] == ["means.safetensors"]
    again = Means()
    measure(again)
    assert again.calls == 0


def test_a_block_of_other_pixels_is_measured_again(faces, measure):
    killed_after(measure, 2)
    faces[3] = 255 - faces[3]
    network = Means()
    np.testing.assert_array_equal(measure(network), expected(faces))
    assert network.calls == measured_blocks.BLOCK // CHUNK + 1


def test_a_damaged_block_is_measured_again(faces, measure, tmp_path):
    killed_after(measure, 2)
    block = next(path for path in tmp_path.iterdir() if "from-0" in path.name)
    data = bytearray(block.read_bytes())
    data[-2] ^= 1
    block.write_bytes(bytes(data))
    network = Means()
    np.testing.assert_array_equal(measure(network), expected(faces))
    assert network.calls == measured_blocks.BLOCK // CHUNK + 1


def test_what_is_not_finite_is_named_by_its_key(faces, measure):
    class Bad(Means):
        def __call__(self, images):
            found = super().__call__(images)
            if self.calls == 4:
                found["m"][5] = np.nan
            return found

    with pytest.raises(Exception, match=f"not finite for {3 * CHUNK + 5}"):
        measure(Bad())
