"""Figures: the same bytes each time, what is drawn is what was measured, bad input."""

import json
import re
import shutil

import numpy as np
import pytest

from aubench.comparison.runs import open_run
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.report.figures import faces as figure_faces
from aubench.report.figures import scores as figure_scores
from aubench.report.figures import style as figure_style
from aubench.report.leaderboards.leaderboard import boards
from aubench.storage.files import shipped


@pytest.fixture(scope="module")
def records():
    return boards("synfacs", "conflict")["conflict"]


@pytest.fixture(scope="module")
def runs(small_runs):
    return [open_run(small_runs[name]) for name in ("oracle", "copy-reference")]


def texts(path):
    """The words of a figure in SVG."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())


def kinds(runs, records, log):
    return {
        "grid": lambda path: figure_faces.faces(runs, [], path),
        "failures": lambda path: figure_faces.failures(runs[1], 3, path),
        "heatmap": lambda path: figure_scores.heat_map(runs[0], path),
        "radar": lambda path: figure_scores.radar(records, path),
        "scatter": lambda path: figure_scores.scatter(records, path),
        "combinations": lambda path: figure_scores.combinations(records, path),
        "curves": lambda path: figure_scores.curves([log], path),
    }


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "stage1.log.jsonl"
    path.write_text(
        "".join(json.dumps({"step": 10 * i, "l1": 1 / i, "fine": True}) + "\n" for i in range(1, 6))
    )
    return path


@pytest.mark.parametrize(
    "kind", ["grid", "failures", "heatmap", "radar", "scatter", "combinations", "curves"]
)
def test_the_same_input_gives_the_same_vector_file(kind, runs, records, log, tmp_path):
    draw = kinds(runs, records, log)[kind]
    one, two = draw(tmp_path / "one.svg"), draw(tmp_path / "two.svg")
    assert one.read_bytes() == two.read_bytes() and len(texts(one)) > 3


def test_pdf_and_png_too(records, tmp_path):
    for suffix, head in ((".pdf", b"%PDF"), (".png", b"\x89PNG")):
        files = [figure_scores.radar(records, tmp_path / f"{i}{suffix}") for i in range(2)]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert files[0].read_bytes().startswith(head)
    with pytest.raises(AubenchError, match=r"use \.svg"):
        figure_scores.radar(records, tmp_path / "x.jpeg")
    assert not (tmp_path / "x.jpeg").exists()


def test_colours_are_told_apart_by_colour_blind_eyes():
    """Simulated red, green and blue blindness (Viénot 1999 and kin): lines stay distinct."""
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in figure_style.COLOURS]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = {
        "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
        "tritan": [[1, 0.1446, -0.1446], [0, 0.8592, 0.1408], [0, 0.8592, 0.1408]],
    }
    for matrix in seen.values():
        shown = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        gaps = np.linalg.norm(shown[:, None] - shown[None], axis=2)
        assert gaps[~np.eye(len(gaps), dtype=bool)].min() > 0.1
    kinds = {(s["color"], s["marker"]) for s in map(figure_style.style, range(7))}
    assert len(kinds) == 7 == len({m for _, m in kinds})


def test_behaviours_are_of_their_kind(runs):
    from aubench.facs import load_facs

    found = figure_faces.behaviours(runs[0])
    labels = runs[0].samples.labels()
    assert len(set(found.values())) == len(found) >= 2
    for kind, row in found.items():
        active = [au for au, on in zip(AUS, labels[row], strict=True) if on]
        clash = bool(load_facs().conflicts_in(active))
        assert clash == kind.startswith("conflicting")
        assert (len(active) == 1) == kind.startswith("single")


def test_grid_names_rows_and_columns_and_takes_wishes(runs, tmp_path):
    wish = runs[0].ids[5]
    words = texts(figure_faces.faces(runs, [wish, "1+4"], tmp_path / "grid.svg"))
    assert {"reference", "target", "oracle", "copy-reference", wish, "AU 1+4"} <= set(words)
    picture = (tmp_path / "grid.svg").read_text().count("<image")
    assert picture == 2 * 4
    with pytest.raises(AubenchError, match="exactly the AUs 24"):
        figure_faces.faces(runs, ["24"], tmp_path / "x.svg")
    with pytest.raises(AubenchError, match="unknown AU"):
        figure_faces.faces(runs, ["99"], tmp_path / "x.svg")


def test_failures_are_the_worst(runs, tmp_path):
    m = runs[1].evaluation_data(["aaad", "au"])
    found = m.detected("nano-b")
    wrong = (found != m.labels.astype(bool)).sum(1)
    words = texts(figure_faces.failures(runs[1], 3, tmp_path / "f.svg"))
    shown = [word for word in words if word.startswith("conflict-")]
    assert len(shown) == 3
    assert sorted(wrong[[runs[1].ids.index(name) for name in shown]]) == sorted(wrong)[-3:]


def test_heat_map_holds_the_shares(runs, tmp_path):
    words = texts(figure_scores.heat_map(runs[0], tmp_path / "h.svg"))
    m = runs[0].evaluation_data(["au"])
    asked = m.labels[:, AUS.index(12)] == 1
    share = m.detected("nano-b")[asked, AUS.index(12)].mean()
    assert words.count(f"{share:.2f}") >= 2  # the oracle's images are the targets
    assert "commanded" in words and "detected" in words


def test_radar_refuses_other_detectors(records, tmp_path):
    scores = [
        row.model_copy(update={"id": "f1|other"}) if row.metric == "au_f1" else row
        for row in records[0].scores
    ]
    other = records[0].model_copy(update={"scores": scores})
    with pytest.raises(AubenchError, match="measured differently"):
        figure_scores.radar([records[1], other], tmp_path / "x.svg")
    bare = records[0].model_copy(update={"scores": []})
    with pytest.raises(AubenchError, match="no F1 of each AU"):
        figure_scores.radar([bare], tmp_path / "x.svg")
    with pytest.raises(AubenchError, match="fewer than two"):
        figure_scores.scatter([bare, records[1]], tmp_path / "x.svg")
    odd = [row.model_copy(update={"id": "aaad|other"}) for row in records[0].scores]
    alike = [record for record in records if record.model.name in ("nearest", "oracle")]
    odd = [*alike, records[0].model_copy(update={"scores": odd})]
    drawn = figure_scores.scatter(odd, tmp_path / "x.svg").read_text()
    assert f"measured otherwise: {records[0].model.name}" in drawn
    with pytest.raises(AubenchError, match="measured alike"):
        figure_scores.scatter(odd[1:], tmp_path / "y.svg")
    with pytest.raises(AubenchError, match="tells beauty"):
        figure_scores.combinations(records, tmp_path / "x.svg", "beauty")


def test_logs(tmp_path, log):
    assert figure_scores.read_log(log) == {
        "l1": ([10, 20, 30, 40, 50], [1 / i for i in range(1, 6)])
    }
    table = tmp_path / "log.csv"
    table.write_text("step,loss,f1\n1,0.5,\n2,0.25,0.9\n")
    assert figure_scores.read_log(table) == {"loss": ([1, 2], [0.5, 0.25]), "f1": ([2], [0.9])}
    card = tmp_path / "card.json"
    card.write_text(json.dumps({"history": [3.0, 2.0]}))
    assert figure_scores.read_log(card) == {"loss": ([1, 2], [3, 2])}
    for text in ("{}", "[1]", '{"history": []}', "no json", '{"history": [{"a": "b"}]}'):
        card.write_text(text)
        with pytest.raises(AubenchError, match=r"card\.json is no log"):
            figure_scores.read_log(card)


def test_command(small_runs, tmp_path):
    from aubench.cli.results.figure import figure

    def call(*words):
        figure.main([*map(str, words)], standalone_mode=False)

    call("scatter", "--protocol", "unseen", "-o", tmp_path / "s.svg")
    assert any(word.startswith("FID") for word in texts(tmp_path / "s.svg"))
    call("grid", small_runs["oracle"], "--aus", "1+4", "-o", tmp_path / "g.svg")
    assert "AU 1+4" in texts(tmp_path / "g.svg")
    with pytest.raises(AubenchError, match="did you mean 'vqauface'"):
        call("radar", "--protocol", "unseen", "--model", "vqaface", "-o", tmp_path / "r.svg")
    shutil.copytree(shipped("leaderboards"), tmp_path / "boards")
    call(
        "combinations",
        "--protocol",
        "conflict",
        "--leaderboards",
        tmp_path / "boards",
        "-o",
        tmp_path / "c.pdf",
    )
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")
