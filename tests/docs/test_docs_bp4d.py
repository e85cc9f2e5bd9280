"""docs/bp4d.md from top to bottom: BP4D, in stand-ins, from its files to the tables and a study."""

import csv
import json
import re

import bp4d_lab
import pytest
from documents import blocks, run_line

from aubench.protocols.protocol import load_protocol
from aubench.records.record import read_record

PAGE = "docs/bp4d.md"
SMALL = {
    "aubench.networks.extractors.extractor.MICRO_BATCH": 4,
    "aubench.networks.detectors.graph_networks.PAPER_MICRO_BATCH": 4,
    "aubench.audit.aaad.RESAMPLES": 20,
}
"""Ten images are padded to so many a pass, which takes most of the time."""


@pytest.fixture(scope="module")
def walked(tmp_path_factory, mp_face, aubench_home):
    """The folder after all commands of the page, and what each of them printed."""
    place = tmp_path_factory.mktemp("bp4d")
    home = place / "home"
    home.mkdir()
    for part in ("synfacs", "weights"):
        (aubench_home / part).mkdir(exist_ok=True)
        (home / part).symlink_to((aubench_home / part).resolve())
    bp4d_lab.write(place)
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(name, value)
        patch.chdir(place)
        patch.setenv("AUBENCH_HOME", str(home))
        patch.setenv("COLUMNS", "240")
        for block in blocks(PAGE):
            for line in block.commands if block.language == "sh" else ():
                code, output = run_line(line)
                assert code == 0, f"{block.place}: {line}\n{output}"
                said[line.partition("  #")[0].strip()] = output
        yield place, said


def output_of(said, start):
    return next(text for line, text in said.items() if line.startswith(start))


@pytest.mark.slow
def test_a_lab_walks_from_bp4d_to_its_tables(walked):
    place, said = walked
    home = place / "home"
    with (home / "data/bp4d/faults.csv").open(newline="") as stream:
        faults = {row["kind"] for row in csv.DictReader(stream)}
    assert faults == {"unreadable", "no face", "label without frame", "label twice"}
    assert json.loads((home / "data/bp4d/networks.json").read_text())["detectors"] == (
        f"me-graphau={place / 'checkpoints' / bp4d_lab.DETECTOR}"
    )
    people = [
        {str(name).partition("/")[2] for name in load_protocol(p, "bp4d").samples().subjects()}
        for p in ("test2k", "test2k-fold2", "test2k-fold3")
    ]
    assert people == [set(bp4d_lab.PEOPLE[i : i + 2]) for i in (4, 2, 0)]
    assert "in both: 0" in output_of(said, "aubench protocol verify unseen")
    assert "levels of corrupted commands, first detector me-graphau" in output_of(
        said, "aubench audit aaad"
    )
    card = json.loads((place / "ablation/anatomical-all/tiny.card.json").read_text())
    assert card["data"]["name"] == "bp4d" and card["data"]["fold"] == 1
    boards = place / "boards/bp4d"
    records = [read_record(path) for path in boards.glob("*/*.json")]
    assert len(records) == 7 and {r.counts.generated for r in records} == {8, 10}
    for record in records:
        assert {"me-graphau:resnet18:mefl", "efficientnet-lite0"} <= set(record.provenance.networks)


@pytest.mark.slow
def test_the_tables_of_the_walk_are_filled(walked):
    _, said = walked
    text = output_of(said, "aubench report --data bp4d --leaderboards boards --table 1")
    parts = re.split(r"^Table (?=\d\. )", text, flags=re.M)[1:]
    tables = {number: "".join(p for p in parts if p[0] == number) for number in "123456"}
    row = r"^{} .*\[.*\].*$"
    assert re.search(r"^bp4d .* 4\d .* words", tables["1"], re.M)
    assert re.search(r"^GANimation .*trained on bp4d by aubench", tables["2"], re.M)
    for name in ("GANimation", "Stable Diffusion 1.5", "all tokens", "vqauface", "copy-reference"):
        assert re.search(row.format(re.escape(name)), tables["3"], re.M), name
    assert "AU1 + AU4" in tables["4"]  # the paper's; ours wait for raters
    for number, names in (
        ("5", ("AU text", "AU labels, projected")),
        ("6", ("original test set", "unseen AU combinations")),
    ):
        for name in names:
            assert re.search(row.format(name), tables[number], re.M), name
    assert "a second of another kind is recommended" in tables["3"]


@pytest.mark.slow
def test_the_walk_ends_with_prompts_and_a_study(walked):
    place, said = walked
    assert len(list((place / "asked/references").glob("*.png"))) == 2
    assert "6 trials" in output_of(said, "aubench study create")


def test_every_option_that_is_left_out_for_the_real_thing_is_on_the_page():
    """The table at the end speaks of what the commands above it really hold."""
    page = (bp4d_lab.Path(__file__).parents[2] / PAGE).read_text()
    commands = "\n".join(block.text for block in blocks(PAGE))
    table = page[page.index("## For the real thing") :]
    named = re.findall(r"^\| `([^`]+)`", table, re.M)
    assert named
    for words in named:
        for word in words.replace("…", " ").replace(" N", "").split():
            assert word in commands, word
