"""What enters a leaderboard: nothing impossible, nothing in another's place unasked."""

import json
import re

import pytest

from aubench.metrics.action_units.au_skill import DISAGREE
from aubench.plain_text import markdown_text, printable
from aubench.storage.files import shipped
from aubench.storage.text_files import read_json


@pytest.fixture
def record(tmp_path):
    """A function that writes a shipped record, edited, and returns its file."""

    def write(edit=lambda data: None, name="vqauface"):
        source = shipped("leaderboards") / "synfacs" / "test2k" / f"{name}.json"
        data = json.loads(source.read_text())
        edit(data)
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(data))
        return path

    return write


def first(metric, **changes):
    def edit(data):
        next(row for row in data["scores"] if row["metric"] == metric).update(changes)

    return edit


def twice(data):
    data["scores"].append({**data["scores"][0], "value": 1.0})


def one_id_of_two(data):
    data["scores"][1]["id"] = data["scores"][0]["id"]


IMPOSSIBLE = {
    "negative FID": (first("fid", value=-5.0), "fid: value -5, it lies in 0 to inf"),
    "SSIM above one": (first("ssim", value=1.2), "ssim: value 1.2, it lies in -1 to 1"),
    "F1 above one": (first("au_f1", value=1.01), "au_f1: value 1.01"),
    "negative RMS": (first("rms", value=-0.1), "rms: value -0.1"),
    "cosine above one": (first("cosine", value=1.5), "cosine: value 1.5"),
    "interval turned": (first("kid", ci=[2.0, 1.0]), "kid: interval 2 to 1"),
    "direction": (first("fid", higher_is_better=True), "fid: higher_is_better is True"),
    "negative n": (first("kid", n=-1), "kid: n = -1"),
    "score twice": (twice, "score '.*' is there twice"),
    "id twice": (one_id_of_two, "metric id '.*' is there twice"),
    "stratum": (
        lambda d: d.update(subsets={"6+12": [{**d["scores"][0], "value": -9.0, "ci": None}]}),
        "6.12 .*: value -9",
    ),
    "counts": (lambda d: d["counts"].update(failed=5), "2000 generated, 5 failed"),
    "fewer samples": (
        lambda d: d["counts"].update(asked=45, generated=45),
        "45 samples asked for, the protocol has 2,000",
    ),
    "schema": (lambda d: d.update(schema_version=99), "schema 99, read here is 1"),
    "not a number": (first("fid", value=float("nan")), "NaN is no number"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_is_refused_by_name(record, aubench, tmp_path, name):
    edit, message = IMPOSSIBLE[name]
    path = record(edit)
    done = aubench("report", "--add", path, "--leaderboards", tmp_path / "boards", check=2)
    assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "boards").exists()


def test_every_shipped_record_is_possible():
    from aubench.metrics.record_checks import impossible
    from aubench.records.record import read_record

    paths = sorted(shipped("leaderboards").glob("*/*/*.json"))
    assert len(paths) > 30
    assert {
        path.name: found for path in paths if (found := list(impossible(read_record(path))))
    } == {}


def test_another_record_is_replaced_only_where_that_is_asked_for(record, aubench, tmp_path):
    words = ("report", "--leaderboards", tmp_path / "boards", "--add")
    aubench(*words, record(), check=0)
    aubench(*words, record(), check=0)  # the same one again changes nothing

    def fewer(data):
        data["counts"] |= {"generated": 45, "unsupported": 1955}
        first("fid", value=0.9)(data)

    better = record(fewer)
    done = aubench(*words, better, check=2)
    assert "holds another record of 'vqauface'" in done.stderr and "--replace" in done.stderr
    assert "N = 2000" in done.stderr and "N = 45" in done.stderr
    done = aubench(*words, better, "--replace", check=0)
    assert "in place of that of" in done.stderr
    assert "1955 of 2000 samples ask for what the model is not made for" in done.stderr
    kept = tmp_path / "boards" / "synfacs" / "test2k" / "vqauface.json"
    assert json.loads(kept.read_text())["counts"]["generated"] == 45


def test_words_of_others_are_shown_and_not_obeyed(record, aubench, tmp_path):
    """In Markdown neither HTML nor a link, on a terminal no control character."""
    bad = "<svg onload=alert(4)> [x](http://example.org) `|`\n## \x1b[2J"

    def edit(data):
        data["model"] |= {"metrics_in_training": [bad], "citation": bad}
        data["scores"][0]["note"] = f"{DISAGREE}: {bad}"  # such a note stands under the table

    boards = tmp_path / "boards"
    done = aubench("report", "--add", record(edit), "--leaderboards", boards, check=0)
    page = (boards / "README.md").read_text()
    assert "<svg" not in page and "&lt;svg onload=alert(4)&gt;" in page
    assert r"\[x\](http://example.org)" in page and "\n## \x1b" not in page
    assert "\x1b" not in page + done.stdout + done.stderr
    words = ("report", "--leaderboards", boards, "--table", 1, "--format", "markdown")
    assert "<svg" not in aubench(*words, check=0).stdout


def test_strings_and_files_of_others():
    assert printable("é ü\t\u2028\x9b") == r"é ü\t\u2028\x9b"
    assert markdown_text("a\\`b` <i> & |") == r"a\\\`b\` &lt;i&gt; &amp; \|"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {"b": 1, "b": 2}}', "key 'b' twice"),
        ('{"a": [Infinity]}', "Infinity is no number"),
        ("[" * 100_000, "too deep"),
        (" " * (3 << 20), "has more than 1 MiB"),
        ("\x00", "is not text"),
    ],
)
def test_json_of_others_is_read_strictly(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_json(path, 1 << 20, strict=True)
