"""Whatever a path leads to, a command ends with 2 and one line; nothing is left behind."""

import pytest

LONG = "x" * 300


def _deep(opened):
    return lambda path: path.write_text(opened + "[" * 100_000)


def _folder(path):
    path.mkdir()


def _dangling(path):
    path.symlink_to("nowhere")


def _loop(path):
    path.symlink_to(path.name)


ODD = {
    "deep.json": _deep(""),
    "deep.jsonl": _deep('{"step": 1}\n'),
    "deep.toml": _deep("a = "),
    "folder.csv": _folder,
    "folder.toml": _folder,
    "folder.json": _folder,
    "folder.parquet": _folder,
    "dangling.csv": _dangling,
    "dangling.toml": _dangling,
    "loop.json": _loop,
    "long.csv": lambda path: path.write_text(f"text,combination\n{LONG * 500},12\n"),
    "latin.csv": lambda path: path.write_bytes(b"text,combination\ncaf\xe9,12\n"),
    "latin.toml": lambda path: path.write_bytes(b"a = 'caf\xe9'\n"),
    "latin.json": lambda path: path.write_bytes(b'{"a": "caf\xe9"}'),
    "text.parquet": lambda path: path.write_text("text"),
    "nothing": lambda path: path.write_bytes(b""),
    LONG: lambda path: None,
}

READ = {
    "record": "report --add {odd} --leaderboards boards",
    "faces": "data import folder {odd} --name own --align none",
    "texts and labels": "train-text-au --data {odd} --epochs 1 --out out",
    "ranks": "study check {odd}",
    "images": "run --model images --images {odd} --protocol unseen --limit 6 --out out",
    "card": "run --model images --images photos --protocol unseen --limit 6 --out out",
    "logs": "figure curves {odd} --out out.svg",
    "runs": "compare {odd} {odd}",
    "shards": "merge {odd} --out out",
    "study": "study create --runs {odd} --settings {odd} --out out",
    "weights": "weights add mp-face {odd}",
    "photographs": "data align {odd} --out out",
}


@pytest.mark.parametrize("odd", [pytest.param(name, id=name[:20]) for name in ODD])
def test_an_odd_input_ends_in_one_line_and_nothing_is_left(aubench, tmp_path, monkeypatch, odd):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    ODD[odd](tmp_path / odd)
    (tmp_path / "photos").mkdir()
    if odd.endswith(".toml"):
        ODD[odd](tmp_path / "photos" / "card.toml")
    (tmp_path / "photos" / "unseen-00000.png").write_bytes(b"")
    for kind, words in READ.items():
        done = aubench(*words.format(odd=odd).split())
        lines = [line for line in done.stderr.splitlines() if not line.endswith("loading …")]
        assert done.returncode == 2 and len(lines) == 1, (kind, done.stderr)
        assert lines[0].startswith("error: ") and "Traceback" not in done.stderr, kind
    left = {path.name for path in tmp_path.iterdir()} - {odd, "photos", "home"}
    assert left <= {"out"} and not list(tmp_path.glob("out/*record.json"))


WRITE = {
    "run": "run --model oracle --protocol unseen --limit 6 --metrics pixels --out {odd}",
    "prompts": "export-prompts --protocol unseen --limit 2 --out {odd}",
    "package": "new-generator abc --out {odd}",
    "site": "leaderboard --out {odd}",
    "image": "data show S320/1/12=3 --size 32 -o {odd}",
    "data": "data export synfacs --limit 1 --as csv --size 32 --out {odd}",
}


@pytest.mark.parametrize("odd", [LONG, "file/x", "loop/x"], ids=["long", "below a file", "a loop"])
def test_a_place_that_cannot_be_written_ends_in_one_line(aubench, tmp_path, odd):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "loop").symlink_to("loop")
    for kind, words in WRITE.items():
        done = aubench(*words.format(odd=odd).split())
        assert done.returncode == 2 and "Traceback" not in done.stderr, (kind, done.stderr)
        assert done.stderr.splitlines()[-1].startswith("error: "), kind
    assert (tmp_path / "file").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "loop"}
