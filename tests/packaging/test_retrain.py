"""Training anew what is shipped, by the commands on the cards."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aubench._maintain import retrain
from aubench._maintain.retrain import AGAIN, Shipped, ship, shipped

ROOT = Path(__file__).parents[2]


def network(folder, *commands):
    return Shipped("one", folder, {"commands": list(commands), "seconds": [60, 30]})


@pytest.fixture
def python(monkeypatch):
    """Commands run without an option that only trainings know."""
    monkeypatch.setattr(
        retrain, "runnable", lambda words, out: [sys.executable, *words[1:], str(out)]
    )


def test_every_card_tells_a_command_and_its_time():
    found = shipped(ROOT)
    assert {"nano2-a", "nano2-b", "mp-geo", "vqauface", "ganimation", "sd15-lora"} <= set(found)
    for one in found.values():
        assert one.minutes > 1
        assert all(words[0] in ("aubench", "python") for words in one.commands)


def test_commands_write_where_they_are_told():
    one = shipped(ROOT)["nano2-b"]
    (words,) = one.commands
    run = retrain.runnable(words, "/tmp/x")
    assert run[:4] == [sys.executable, "-m", "aubench", "train-au-detector"]
    assert run[-2:] == ["--out", "/tmp/x"]
    with pytest.raises(ValueError, match="the card of one does not tell"):
        _ = Shipped("one", None, {"seconds": 1}).commands


def test_what_is_done_is_not_done_again_and_a_failure_ends(python, tmp_path):
    log = tmp_path / "log"
    write = f"python -c \"open('{log}', 'a').write('x')\""
    fail = 'python -c "raise SystemExit(3)"'
    with pytest.raises(subprocess.CalledProcessError) as failed:
        retrain.retrain(network(tmp_path, write, fail), tmp_path / "out", time.monotonic() + 60)
    assert failed.value.returncode == 3
    assert retrain.retrain(network(tmp_path, write), tmp_path / "out", time.monotonic() + 60)
    assert log.read_text() == "x"


def test_a_command_is_interrupted_at_the_deadline_and_goes_on(python, tmp_path):
    """It is told by Ctrl-C, which trainings answer with a checkpoint."""
    code = (
        "import pathlib, sys, time\n"
        "mark = pathlib.Path(sys.argv[1]) / 'checkpoint'\n"
        "if mark.exists(): raise SystemExit\n"
        "try:\n"
        "    mark.with_name('ready').touch(); time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    mark.touch()\n"
    )
    (tmp_path / "train.py").write_text(code)
    one, out = network(tmp_path, f"python {tmp_path / 'train.py'}"), tmp_path / "out"
    assert not retrain.retrain(one, out, time.monotonic() + 10)
    assert (out / "checkpoint").exists() and not (out / "done-1").exists()
    assert retrain.retrain(one, out, time.monotonic() + 60)


def test_only_what_ships_is_replaced(tmp_path):
    place, out = tmp_path / "weights", tmp_path / "out"
    for folder in (place / "base", out / "base"):
        folder.mkdir(parents=True)
    (place / "one.safetensors").write_bytes(b"old")
    (place / "base" / "config.json").write_text("{}")
    (out / "one.safetensors").write_bytes(b"new")
    (out / "base" / "config.json").write_text('{"a": 1}')
    (out / "checkpoint.pt").write_bytes(b"large")
    copied = ship(network(place), out)
    assert [path.name for path in copied] == ["config.json", "one.safetensors"]
    assert (place / "one.safetensors").read_bytes() == b"new"
    assert json.loads((place / "base" / "config.json").read_text()) == {"a": 1}
    assert not (place / "checkpoint.pt").exists()


def test_the_time_is_told_by_the_exit_code(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(retrain, "retrain", lambda *_: False)
    words = ["--out", str(tmp_path), "--only", "nano2-b", "--tree", str(ROOT)]
    assert retrain.main([*words, "--minutes", "1"]) == AGAIN
    assert retrain.main([*words, "--list"]) == 0
    assert "--preset nano2-b --data synfacs2-mixed" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        retrain.main(["--out", str(tmp_path), "--tree", str(tmp_path)])
    assert "name a --tree" in capsys.readouterr().err
