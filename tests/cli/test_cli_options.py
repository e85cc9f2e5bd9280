"""Options that several commands share: one place, one behaviour."""

import click
import pytest

from aubench.cli.main import cli
from aubench.cli.metric_choice import metrics_of
from aubench.cli.options import TrainingOptions, named_values, training_options
from aubench.cli.training.ablate import ablate
from aubench.cli.training.train import train
from aubench.errors import AubenchError


def test_the_options_of_a_training_are_the_same_for_all_that_train():
    def shared(command):
        return {
            p.name: (p.opts, p.type.name, p.default, p.multiple)
            for p in command.params
            if p.name in TrainingOptions.__dataclass_fields__
        }

    assert shared(train) == shared(ablate) and set(shared(train)) == set(
        TrainingOptions.__dataclass_fields__
    )


def test_options_of_a_training_arrive_as_they_were_given(tmp_path):
    seen = []

    @click.command()
    @training_options("Data.", "Steps.", "there")
    def command(options):
        seen.append(options)

    command.main([], standalone_mode=False)
    words = [
        "--preset",
        "b",
        "--data",
        "d",
        "--steps",
        "3",
        "--seed",
        "4",
        "--device",
        "meta",
        "--set",
        "u=1",
        "--set",
        " v.w = a=b ",
        "--out",
        str(tmp_path),
    ]
    command.main(words, standalone_mode=False)
    usual, given = (asked.training("m", ("a", "b"), "there", 2) for asked in seen)
    assert (usual.preset, usual.data, str(usual.out), usual.steps) == (
        "a",
        "synfacs",
        "there/m-a",
        None,
    )
    assert (usual.seed, usual.device, usual.options, usual.stage) == (0, "cpu", {}, 2)
    assert (given.preset, given.data, given.out, given.steps) == ("b", "d", tmp_path, 3)
    assert (given.seed, given.device, given.options) == (4, "meta", {"u": "1", "v.w": "a=b"})
    with pytest.raises(AubenchError, match="m has no preset 'b'; choose from a"):
        seen[1].training("m", ("a",), "there")


LEAD = ("skill", "fid", "kid", "is", "lpips", "aaad", "au")
PAPER = (*LEAD, "motion", "prdc")


@pytest.mark.parametrize("word", ["", "=", "=3", "name", "two words=3"])
def test_a_word_that_is_no_named_value_is_refused(word):
    with pytest.raises(AubenchError, match=r"--set .*is not NAME=VALUE; for example --set a=1"):
        named_values("--set", (word,), "a=1")


def test_images_and_weights_exclude_each_other(tmp_path):
    words = ["run", "--model", "images", "--protocol", "unseen", "--images", str(tmp_path)]
    with pytest.raises(AubenchError, match="--images and --weights are two names"):
        cli.main([*words, "--weights", str(tmp_path)], standalone_mode=False)


def test_a_check_that_a_cluster_does_not_make_is_refused():
    words = ["run", "--model", "oracle", "--protocol", "unseen", "--engine", "ray"]
    with pytest.raises(AubenchError, match="--check-determinism is for --engine local"):
        cli.main([*words, "--check-determinism"], standalone_mode=False)


def test_metrics_are_named_once_each_and_checked():
    assert metrics_of("paper", " fid,kid ,fid,,", "unseen", "synfacs") == ("fid", "kid")
    for words, match in (
        (",", "names none"),
        ("", "names none"),
        ("fid,fidd", "did you mean 'fid'"),
    ):
        with pytest.raises(AubenchError, match=match):
            metrics_of("paper", words, "unseen", "synfacs")


def test_a_profile_answers_to_intensities_where_the_protocol_commands_them():
    assert metrics_of("paper", None, "unseen", "synfacs") == PAPER
    assert metrics_of("paper", None, "intensity", "synfacs") == (*PAPER, "response")
    assert metrics_of("full", None, "intensity", "synfacs") == (
        *LEAD,
        "adversarial",
        "motion",
        "prdc",
        "control",
        "pixels",
        "change",
        "identity",
        "groups",
        "memorisation",
        "legibility",
        "response",
    )


def test_metrics_that_would_say_nothing_are_refused():
    with pytest.raises(AubenchError, match="metric 'groups' alone says nothing; it shows other"):
        metrics_of("paper", "groups", "unseen", "synfacs")
    with pytest.raises(AubenchError, match="metric 'groups' alone says nothing"):
        metrics_of("paper", "kid,groups", "unseen", "synfacs")  # KID does not fall apart
    assert metrics_of("paper", "au,groups", "unseen", "synfacs") == ("au", "groups")


@pytest.mark.parametrize(
    "words",
    [
        ["estimate", "--model", "oracle", "--protocol", "unseen", "--option", "x"],
        ["check-generator", "oracle", "--option", "x"],
        ["run", "--model", "oracle", "--protocol", "unseen", "--option", "x"],
    ],
)
def test_the_option_of_a_model_is_read_alike_everywhere(words):
    with pytest.raises(AubenchError, match="--option x is not NAME=VALUE; for example --option"):
        cli.main(words, standalone_mode=False)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "sd15-lora"],
        ["train", "vqauface"],
        ["ablate", "vqauface"],
        ["check-generator", "oracle"],
        ["data", "align", ".", "--out", "crops"],
        ["data", "import", "bp4d", "."],
        ["protocol", "freeze", "test2k", "--data", "mine"],
        ["detectors", "report", "nano-a"],
        ["run", "--model", "oracle", "--protocol", "unseen"],
        ["estimate", "--model", "oracle", "--protocol", "unseen"],
    ],
    ids=" ".join,
)
def test_a_device_that_is_not_there_is_refused_before_any_work(words, tmp_path, monkeypatch):
    """Some trained on the processor in its place, others ended in a traceback."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AubenchError, match=r"--device foo cannot be used: .*; try --device cpu"):
        cli.main([*words, "--device", "foo"], standalone_mode=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["oracle"], "model 'oracle' cannot be trained here; see `aubench models`"),
        (["vqauface", "--stage", "7"], "vqauface has no stage 7; its stages: 1, 2"),
        (
            ["ganimation", "--stage", "1"],
            "ganimation has no stage 1; its stages: none; leave --stage",
        ),
        (["vqauface", "--preset", "huge"], "vqauface has no preset 'huge'"),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_any_work(words, message, tmp_path):
    with pytest.raises(AubenchError) as caught:
        cli.main(["train", *words, "--out", str(tmp_path / "out")], standalone_mode=False)
    assert str(caught.value).startswith(message) and not list(tmp_path.iterdir())
