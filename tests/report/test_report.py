"""Tables: numbers as printed, columns by metric id, what a record tells of a machine."""

import json
import sys

import pytest

from aubench.errors import AubenchError
from aubench.records.record import ScoreRow, read_record
from aubench.report.leaderboards.leaderboard import add_record, boards
from aubench.report.tables.terminal import board_columns, format_score, print_board
from aubench.run.provenance import command_line


def row(value, metric="fid", id_="fid|a|n=9", **more):
    return ScoreRow(metric=metric, id=id_, value=value, n=9, higher_is_better=False, **more)


@pytest.fixture
def make(shipped_record):
    """Return a function that makes a record of a name, with given scores."""

    def call(name, scores, **model):
        data = json.loads(shipped_record.read_text())
        data["model"] |= {"name": name, **model}
        data["scores"] = [json.loads(score.model_dump_json()) for score in scores]
        path = shipped_record.parent / f"{name}.json"
        path.write_text(json.dumps(data))
        return path

    return call


@pytest.fixture
def shipped_record(tmp_path):
    """A copy of a shipped record."""
    from aubench.storage.files import shipped

    path = tmp_path / "record.json"
    path.write_bytes((shipped("leaderboards") / "synfacs" / "test2k" / "oracle.json").read_bytes())
    return path


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (row(12.345), "12.35"),
        (row(-1e-9, ci=(-1e-9, 2e-9)), "0.00 [0.00, 0.00]"),
        (row(-0.12), "-0.12"),
        (row(0.01234, "kid"), "12.34"),
        (row(0.5, "aaad", ci=(0.4, 0.6)), "0.500 [0.400, 0.600]"),
        (row(None), "—"),
        (None, "—"),
    ],
)
def test_numbers(score, expected):
    assert format_score(score) == expected


def test_other_ids_are_other_columns(make, capsys):
    first = read_record(make("one", [row(1.0)]))
    second = read_record(make("two", [row(2.0, id_="fid|b|n=9")]))
    assert board_columns([first, second]) == [("fid", "fid|a|n=9"), ("fid", "fid|b|n=9")]
    print_board("test", [first, second], ids=True)
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if line.startswith("one"))
    assert "1.00" in line and "—" in line and "2.00" not in line
    assert "fid|a|n=9" in shown and "fid|b|n=9" in shown


def test_controls_come_last_and_marks_are_explained(make, capsys):
    inception = row(1.2, "is", "is|a", informative=False)
    control = read_record(make("a-control", [row(1.0), inception], control=True))
    model = read_record(
        make("model", [row(9.0), inception], control=False, metrics_in_training=["nano-a"])
    )
    print_board("test", [control, model])
    shown = capsys.readouterr().out
    assert shown.index("model†") < shown.index("a-control")
    assert "* not informative" in shown and "† trained with" in shown


def test_records_enter_whole_and_only_if_unlimited(make, shipped_record, tmp_path):
    folder = tmp_path / "boards"
    target = add_record(shipped_record, folder).path
    assert target.relative_to(folder).as_posix() == "synfacs/test2k/oracle.json"
    assert read_record(target) == read_record(shipped_record)
    assert list(boards("synfacs", None, folder)) == ["test2k"]
    with pytest.raises(AubenchError, match="did you mean 'test2k'"):
        boards("synfacs", "test2", folder)
    target.write_text("{")
    with pytest.raises(AubenchError, match=r"oracle\.json"):
        boards("synfacs", None, folder)


def test_a_record_tells_no_paths_of_its_machine(monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["/a/b/aubench", "run", "--out", "/home/me/x y", "--seed", "1"]
    )
    assert command_line() == "aubench run --out '…/x y' --seed 1"
    words = [
        "--out=/home/me/x",
        "--option",
        "file=/home/me/w.bin",
        "--detectors",
        "a=/home/me/a.pt,b=/srv/b.pt",
        "--address",
        "http://host/a",
        "a/b",
    ]
    monkeypatch.setattr(sys, "argv", ["aubench", *words])
    told = command_line()
    assert "/home" not in told and "/srv" not in told
    for word in ("--out=…/x", "file=…/w.bin", "a=…/a.pt,b=…/b.pt", "http://host/a", "a/b"):
        assert word in told


def test_shipped_records_are_whole_runs_of_the_present_protocols():
    """A changed protocol leaves no old record behind; models are scored beside every control."""
    from aubench.protocols.protocol import load_protocol

    for name in ("test2k", "unseen", "conflict"):
        found = {record.model.name: record for record in boards("synfacs", name)[name]}
        assert set(found) >= {"vqauface", "oracle", "copy-reference", "shuffled", "nearest"}
        protocol = load_protocol(name)
        for record in found.values():
            assert record.protocol.sha256 == protocol.sha256
            assert record.counts.generated == protocol.definition.samples
            assert not record.counts.limited and record.counts.failed == 0
            assert "+dirty" not in (record.provenance.revision or "")
            assert "/" not in record.provenance.command.replace("…/", "")


@pytest.mark.parametrize("protocol", ["test2k", "unseen", "conflict"])
def test_vqauface_shows_what_is_asked_of_it(protocol):
    """The reference model against its controls, by the detector it was not trained with."""
    found = {record.model.name: record for record in boards("synfacs", protocol)[protocol]}

    def score(name, metric):
        return found[name].score(metric)

    assert score("vqauface", "au_f1").value >= 0.6 * score("oracle", "au_f1").value
    for metric in ("aaad", "aaad_second"):
        for control in ("copy-reference", "shuffled"):
            assert score("vqauface", metric).ci[0] > score(control, metric).ci[1]


def test_other_columns_on_request(aubench):
    done = aubench("report", "--protocol", "test2k", "--columns", "coverage,au_f1_12", check=0)
    assert "coverage" in done.stdout and "F1 of AU12" in done.stdout and "LPIPS" not in done.stdout
    done = aubench("report", "--columns", "coverag", check=2)
    assert "no record holds the metric 'coverag'" in done.stderr and "coverage" in done.stderr
