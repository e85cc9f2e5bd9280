"""`--json` of the commands of a study, from its links to its scores."""

import json

from aubench.cli.main import cli

DRAWN = "--per-combination 2 --raters 6 --spare 0 --gold 2 --duplicates 2 --seed 5 --min-seconds 0"
KEYS = {
    "study create": {"files", "trials", "models", "places", "raters", "balanced"},
    "study simulate": {"bots", "rankings", "expected"},
    "study close": {"study", "closed"},
    "study erase": {"rater", "removed"},
    "study score": {"models", "combinations", "cells"},
}


def test_a_study_told_to_machines(runs, tmp_path, capsys):
    place = tmp_path / "study"
    names = [path.name.removeprefix("synfacs-conflict-") for path in sorted(runs.iterdir())]
    worths = [word for name in names for word in ("--worth", f"{name}={1 + len(name)}")]
    calls = {
        "study create": [
            "--models",
            ",".join(names),
            "--runs",
            runs,
            "--out",
            place,
            *DRAWN.split(),
        ],
        "study links": [place],
        "study simulate": [place, *worths],
        "study close": [place],
        "study score": [place, "--draws", "100"],
        "study erase": [place, "1"],
    }
    told = {}
    for path, words in calls.items():
        capsys.readouterr()
        cli.main([*path.split(), *map(str, words), "--json"], standalone_mode=False)
        told[path] = json.loads(capsys.readouterr().out)
        assert KEYS.get(path, set()) <= set(told[path])
    made, simulated = told["study create"], told["study simulate"]
    assert made["models"] == names and len(made["files"]) == 3
    assert told["study links"][0].startswith("http://127.0.0.1:8000/")
    assert len(told["study links"]) == simulated["bots"] == made["places"] == 6
    assert simulated["rankings"] > 0 and told["study close"]["closed"] is True
    assert told["study score"]["models"] == names
    assert told["study erase"]["rater"] == 1 and len(told["study erase"]["removed"]) > 9
