"""Two folds of a data set: never in one column, and their mean only where asked for."""

import json

import pytest

from aubench.cli.main import main
from aubench.errors import AubenchError
from aubench.records.record import Record, read_record
from aubench.report.leaderboards.leaderboard import add_record, boards
from aubench.report.tables.boards import read_boards
from aubench.report.tables.pool import by_digest, pooled
from aubench.storage.files import shipped

WHOLE = shipped("leaderboards") / "synfacs" / "test2k" / "oracle.json"


def of_fold(name, sha, value, ci, n):
    """A record of a model on one fold, with one score and one that this fold alone has."""
    data = json.loads(WHOLE.read_text())
    data["protocol"]["sha256"] = sha * 64
    data["model"]["name"] = name
    row = next(row for row in data["scores"] if row["metric"] == "au_f1")
    id_ = f"f1|nano-b@1|commanded|n={n}|ref=synfacs-1.0/test2k@{sha * 8}"
    data["scores"] = [row | {"value": value, "ci": ci, "n": n, "id": id_}]
    if sha == "a":
        data["scores"].append(row | {"metric": "au_auc", "id": id_.replace("f1", "auc")})
    return Record.model_validate(data)


@pytest.fixture
def folds():
    return [
        [of_fold("mine", "a", 0.5, (0.4, 0.6), 100), of_fold("other", "a", 0.7, (0.6, 0.8), 100)],
        [of_fold("mine", "b", 0.8, (0.7, 0.9), 300)],
    ]


def test_folds_have_tables_of_their_own_and_files_that_do_not_replace_each_other(tmp_path, folds):
    for record in (folds[0][0], folds[1][0], folds[0][1]):
        path = tmp_path / "runs" / f"{record.model.name}-{record.protocol.sha256[0]}.json"
        record.write(path)
        add_record(path, tmp_path / "boards")
    found = boards("synfacs", "test2k", tmp_path / "boards")
    assert {name: [r.model.name for r in group] for name, group in found.items()} == {
        "test2k": ["mine", "other"],
        "test2k@bbbbbbbb": ["mine"],
    }
    whole = read_boards("synfacs", tmp_path / "boards")
    assert whole.of("test2k")["mine"].score("au_f1").value == 0.5
    assert whole.of("test2k@bbbbbbbb")["mine"].score("au_f1").value == 0.8
    assert "## synfacs/test2k@bbbbbbbb" in (tmp_path / "boards" / "README.md").read_text()


def test_the_mean_of_folds_is_weighted_by_samples_and_says_what_it_is(folds):
    (record,) = pooled("test2k", folds)
    row = record.score("au_f1")
    assert row.value == pytest.approx((100 * 0.5 + 300 * 0.8) / 400) and row.n == 400
    half = ((0.25 * 0.1) ** 2 + (0.75 * 0.1) ** 2) ** 0.5
    assert row.ci == pytest.approx((row.value - half, row.value + half))
    assert "@aaaaaaaa+bbbbbbbb" in row.id and row.id.endswith("|mean of 2 folds")
    assert "n=400" in row.id
    assert record.score("au_auc") is None  # one fold lacks it
    with pytest.raises(AubenchError, match="of one fold"):
        pooled("test2k", folds[:1])
    with pytest.raises(AubenchError, match="no model was run on all 2 folds"):
        pooled("test2k", [folds[0][1:], folds[1]])


def test_report_pools_only_where_asked_to(tmp_path, folds, capsys):
    place = tmp_path / "synfacs" / "test2k"
    for name, record in (("one", folds[0][0]), ("two", folds[1][0])):
        record.write(place / f"{name}.json")
    args = ["report", "--protocol", "test2k", "--leaderboards", str(tmp_path)]
    for more, expected in (([], "test2k@"), (["--pool", "folds"], "means over folds")):
        with pytest.raises(SystemExit) as end:
            main([*args, *more])
        assert end.value.code == 0
        assert expected in capsys.readouterr().out


def test_shipped_records_name_the_digest_of_their_protocol_in_every_id():
    for path in shipped("leaderboards").glob("*/*/*.json"):
        record = read_record(path)
        tag = f"/{record.protocol.name}@{record.protocol.sha256[:8]}"
        families = [*record.subsets.values(), *record.groups.values()]
        for row in [*record.scores, *(row for rows in families for row in rows)]:
            assert f"{tag}|" in f"{row.id}|", (path, row.id)


def test_the_digest_of_most_records_goes_by_the_name(folds):
    found = by_digest("x", [*folds[1], *folds[0]])
    assert [len(group) for group in found.values()] == [2, 1]
    assert list(found) == ["x", "x@bbbbbbbb"]
