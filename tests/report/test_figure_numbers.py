"""Numbers beside figures are those that are drawn; names of points lie clear of each other."""

import csv

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aubench.records.record import read_record
from aubench.report.figures import scores
from aubench.report.figures.labels import label_points
from aubench.report.figures.style import numbers_of
from aubench.storage.files import shipped

HOME = shipped("leaderboards") / "synfacs" / "unseen"


@pytest.fixture(scope="module")
def records():
    return [read_record(HOME / f"{name}.json") for name in ("vqauface", "sd15-lora", "oracle")]


def rows(path):
    with numbers_of(path).open() as stream:
        return list(csv.DictReader(stream))


def test_numbers_of_a_scatter_are_the_records(records, tmp_path):
    path = scores.scatter(records, tmp_path / "a.svg", "fid", "au_f1")
    found = {row["model"]: row for row in rows(path)}
    for record in records:
        row = record.score("fid")
        assert float(found[record.model.name]["fid"]) == row.value
        assert float(found[record.model.name]["fid high"]) == row.ci[1]
    text = path.read_text()
    assert all(record.model.name in text for record in records)


def test_numbers_of_a_radar_hold_every_au(records, tmp_path):
    found = rows(scores.radar(records, tmp_path / "a.png"))
    assert len(found) == 12 * len(records)
    one = next(row for row in found if (row["model"], row["au"]) == ("vqauface", "AU12"))
    assert float(one["f1"]) == records[0].score("au_f1_12").value


def test_a_log_beside_its_figure_is_not_overwritten(tmp_path):
    log = tmp_path / "loss.csv"
    log.write_text("step,loss\n1,2\n2,1\n")
    path = scores.curves([log], tmp_path / "loss.svg")
    assert log.read_text() == "step,loss\n1,2\n2,1\n"
    assert [float(row["value"]) for row in rows(path)] == [2, 1]


def test_names_of_near_points_do_not_cover_each_other():
    figure = Figure(figsize=(5, 4))
    canvas = FigureCanvasAgg(figure)
    panel = figure.subplots()
    places = [(0.0, 0.0), (0.02, 0.005), (0.01, -0.01), (1.0, 1.0)]
    panel.plot(*np.array(places).T, "o")
    label_points(panel, ["copy-reference", "shuffled", "oracle", "at the far right"], places)
    canvas.draw()
    boxes = [text.get_window_extent() for text in panel.texts]
    whole = panel.get_window_extent()
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1
