"""What a finished run tells the loggers of experiments."""

import json

import pytest

from aubench.cli.main import main
from aubench.errors import AubenchError
from aubench.records.record import read_record
from aubench.report import loggers
from aubench.report.loggers import facts_of, open_loggers

RUN = ("run", "--model", "copy-reference", "--protocol", "conflict", "--limit", "12")


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    return ended.value.code


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run that was logged to TensorBoard, and another folder of its events."""
    out = tmp_path_factory.mktemp("runs") / "one"
    words = (*RUN, "--metrics", "pixels,au", "--out", out)
    place = out.parent / "events"
    assert run(*words, "--log-to", "tensorboard", "--log-to", f"tensorboard:{place}") == 0
    return out, place


def test_tensorboard_shows_what_the_record_says(told):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, place = told
    record = read_record(out / "record.json")
    for folder in (place, out / "tensorboard"):
        events = EventAccumulator(str(folder))
        events.Reload()
        shown = {name: events.Scalars(name)[0].value for name in events.Tags()["scalars"]}
        wanted = {row.metric: row.value for row in record.scores if row.value is not None}
        assert shown == pytest.approx(wanted)
        assert events.Tags()["images"] == ["sheet"]
        (text,) = events.Tensors("run/text_summary")
        config = json.loads(text.tensor_proto.string_val[0])
        assert config["protocol sha256"] == record.protocol.sha256
        assert all(config[f"id {row.metric}"] == row.id for row in record.scores)


def test_faces_under_an_agreement_are_told_to_nobody(told, monkeypatch):
    from aubench.datasets.synfacs.synfacs_dataset import SynfacsDataset

    out, _ = told
    record = read_record(out / "record.json")
    assert facts_of(record, out).sheet is not None
    monkeypatch.setattr(SynfacsDataset, "restricted", True)
    assert facts_of(record, out).sheet is None


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("tensorbord", "unknown logger 'tensorbord'"),
        ("wandb", "the package wandb is not installed"),
    ],
)
def test_what_cannot_be_told_is_said_before_the_work(word, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    assert run(*RUN, "--out", tmp_path / "run", "--log-to", word) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_logger_that_fails_leaves_the_record(told, monkeypatch, capsys):
    out, _ = told

    def broken(facts, destination):
        raise OSError("no room")

    monkeypatch.setitem(loggers.LOGGERS, "tensorboard", ("tensorboard", broken))
    (logger,) = open_loggers(["tensorboard"])
    with pytest.raises(AubenchError, match="tensorboard: OSError: no room"):
        logger.log(facts_of(read_record(out / "record.json"), out))
    assert (out / "record.json").is_file()


def test_a_shard_tells_nothing(tmp_path, capsys):
    words = (*RUN, "--out", tmp_path / "run", "--log-to", "tensorboard", "--shard", "1/2")
    assert run(*words) == 2
    assert "--log-to is for whole runs" in capsys.readouterr().err
