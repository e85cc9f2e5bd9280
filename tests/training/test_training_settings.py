"""``--set`` options: types, names, what is fixed."""

import doctest
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aubench.errors import AubenchError
from aubench.training import checkpoint, settings
from aubench.training.settings import parse_value, with_options


@dataclass(frozen=True)
class Some:
    """Settings of every type."""

    seed: int = 0
    steps: int = 10
    rate: float = 0.1
    adamw: bool = True
    name: str = "x"
    limit: int | None = None
    clip: float | None = 1.0
    weights: str | None = None
    betas: tuple[float, ...] = (0.9,)
    widths: tuple[int, ...] = (8,)


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("steps", "7", 7),
        ("steps", "-7", -7),
        ("rate", "1e-3", 0.001),
        ("adamw", "no", False),
        ("adamw", "True", True),
        ("name", "none", "none"),
        ("limit", "none", None),
        ("limit", "3", 3),
        ("clip", "none", None),
        ("clip", "0.5", 0.5),
        ("weights", "a.pt", "a.pt"),
        ("weights", "none", None),
        ("betas", "0.5,0.9", (0.5, 0.9)),
        ("widths", "16", (16,)),
    ],
)
def test_values_have_the_type_of_the_field(name, word, value):
    found = getattr(with_options(Some(), {name: word}, "nano"), name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "word", "expected"),
    [
        ("steps", "7.5", "is not a whole number"),
        ("steps", "none", "is not a whole number"),
        ("rate", "fast", "is not a number"),
        ("rate", "nan", "is not a number"),
        ("rate", "inf", "is not a number"),
        ("adamw", "perhaps", "is not yes or no"),
        ("limit", "x", "is not a whole number or none"),
        ("widths", "8,,8", "is not a whole number, or several joined by commas"),
    ],
)
def test_other_values_are_refused(name, word, expected):
    with pytest.raises(AubenchError) as caught:
        with_options(Some(), {name: word}, "nano")
    assert caught.value.message == f"--set {name}={word} {expected}"


def test_unknown_and_fixed_settings():
    with pytest.raises(AubenchError) as caught:
        with_options(Some(), {"raet": "1"}, "nano", ("seed",))
    assert caught.value.message == "nano has no setting 'raet' (did you mean 'rate'?)"
    assert "seed" not in str(caught.value.hint) and "betas" in str(caught.value.hint)
    with pytest.raises(AubenchError, match="nano has no setting 'seed'; give it as --seed"):
        with_options(Some(), {"seed": "1"}, "nano", ("seed",))


def test_nothing_else_changes_and_checks_of_the_dataclass_are_run():
    assert with_options(Some(steps=3), {}, "nano") == Some(steps=3)

    @dataclass(frozen=True)
    class Checked(Some):
        def __post_init__(self):
            if self.steps < 1:
                raise AubenchError("steps must be 1 or more")

    with pytest.raises(AubenchError, match="1 or more"):
        with_options(Checked(), {"steps": "0"}, "nano")


@given(st.floats(allow_nan=False, allow_infinity=False), st.lists(st.integers(), min_size=1))
def test_what_python_writes_is_read(number, whole):
    assert parse_value(Some, "rate", repr(number)) == number
    assert parse_value(Some, "widths", ",".join(map(str, whole))) == tuple(whole)


@pytest.mark.parametrize("module", [checkpoint, settings])
def test_the_examples_of_the_docstrings_run(module):
    found = doctest.testmod(module)
    assert found.attempted > 0 and found.failed == 0
