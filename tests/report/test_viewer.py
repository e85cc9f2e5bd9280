"""The page to look at samples: what it is made of, and how it behaves in a browser."""

import json
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from aubench.comparison.runs import open_run
from aubench.errors import AubenchError
from aubench.metrics.action_units.au_skill import skill
from aubench.report.viewer.contents import contents
from aubench.report.viewer.contours import CONTOURS
from aubench.report.viewer.site import write_viewer

NAMES = ("copy-reference", "oracle")


@pytest.fixture(scope="module")
def opened(small_runs):
    return [open_run(small_runs[name]) for name in NAMES]


@pytest.fixture(scope="module")
def found(opened):
    return contents(opened)


@pytest.fixture(scope="module")
def page(found, tmp_path_factory):
    return write_viewer(tmp_path_factory.mktemp("view") / "page", found)


def document(page):
    text = page.with_name("data.js").read_text()
    return json.loads(text.removeprefix("window.AUBENCH_VIEW = ").removesuffix(";\n"))


def test_every_image_is_the_one_of_its_sample(opened, page):
    told, folder = document(page), page.parent / "images"
    frame, source = opened[0].samples.frame, opened[0].images()
    assert told["samples"]["id"] == opened[0].ids and told["faces"]
    for i in (0, 11, 23):
        row = frame.iloc[i]
        reference = folder / f"reference/{told['samples']['reference'][i]}.webp"
        for path, image in (
            (reference, source.load(row["reference"], 128)),
            (folder / f"target/{i}.webp", source.load(row["target"], 128)),
            (folder / f"model-0/{i}.webp", opened[0].folder.read(row["sample_id"])),
            (folder / f"model-1/{i}.webp", opened[1].folder.read(row["sample_id"])),
        ):
            off = np.abs(np.asarray(Image.open(path)).astype(int) - image).mean()
            assert off < 4, path
    assert len(list(folder.rglob("*.webp"))) == told["samples"]["references"] + 3 * 24


def test_a_limit_spreads_over_the_protocol(opened):
    few = contents(opened[:1], 5).document["samples"]
    assert few["id"][0] == opened[0].ids[0] and few["id"][-1] == opened[0].ids[-1]
    assert len(few["id"]) == 5 and len(few["labels"]) == 5


def test_a_failed_sample_says_why_and_has_no_image(opened, small_runs, tmp_path):
    import shutil

    from aubench.run.execute import RunConfig, execute

    shutil.copytree(small_runs["oracle"], tmp_path / "run")
    ledger = tmp_path / "run" / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    gone = json.loads(lines[3])["id"]
    ledger.write_text("".join(lines[:3] + lines[4:]))
    (tmp_path / "run" / "images" / f"{gone}.png").unlink()
    from aubench.storage.run_folder import RunFolder

    RunFolder.read_only(tmp_path / "run").fail(gone, "the <b>model</b> gave up")
    (tmp_path / "run" / "record.json").unlink()
    execute(RunConfig("oracle", "conflict", tmp_path / "run", limit=24, metrics=("pixels", "au")))
    run = open_run(tmp_path / "run")
    told = contents([run])
    at = run.ids.index(gone)
    assert told.document["models"][0]["missing"] == {str(at): "the <b>model</b> gave up"}
    write_viewer(tmp_path / "page", told)
    assert not (tmp_path / "page" / "images" / "model-0" / f"{at}.webp").exists()


def test_runs_that_do_not_belong_together_are_refused(opened, page, tmp_path, found):
    with pytest.raises(AubenchError, match="two of the runs are of model 'oracle'"):
        contents([opened[1], opened[1]])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(AubenchError, match="files of something else"):
        write_viewer(tmp_path / "mine", found)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"


def test_restricted_faces_and_their_points_stay_out_unless_asked_for(found, tmp_path):
    from dataclasses import replace

    more = {"restricted": True, "points": {"kept": []}}
    closed = replace(found, document=found.document | more)
    told = document(write_viewer(tmp_path / "closed", closed))
    assert not told["faces"] and told["points"] is None
    assert list((tmp_path / "closed").rglob("*.webp")) == []
    told = document(write_viewer(tmp_path / "open", closed, restricted_faces=True))
    assert told["faces"] and list((tmp_path / "open").rglob("*.webp"))


def test_contours_are_closed_polygons_of_the_mesh():
    for name, line in CONTOURS.items():
        assert all(0 <= p < 478 for p in line), name
        inner = line[:-1] if line[0] == line[-1] else line
        assert len(set(inner)) == len(inner), name


def test_sorting_searching_and_the_address(look, page, opened):
    shown = look(page)
    data = opened[0].evaluation_data(("au",))
    readers = list(data.readers().values())
    worst = np.array(
        [
            min(skill(data.probabilities(r)[[i]], data.labels[[i]]) for r in readers)
            for i in range(24)
        ]
    )
    first = shown.locator(".card").first.inner_text()
    told = float(first.split("least AU skill ")[1].split()[0])
    assert abs(told - worst.min()) < 0.02
    shown.select_option("#au", "15")
    wanted = int(data.labels[:, 8].sum())
    assert shown.locator("#count").inner_text() == f"{wanted} of 24"
    assert "au=15" in shown.url
    shown.fill("#find", "no such word")
    assert shown.locator("#count").inner_text() == "0 of 24"
    assert shown.locator(".card").count() == 0


def test_keys_open_a_sample_that_the_address_keeps(look, page):
    shown = look(page)
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("Enter")
    title = shown.locator("#sample-title").inner_text()
    shown.keyboard.press("2")
    shown.keyboard.press("s")
    assert shown.locator("#pair").is_visible() and "mode=slider" in shown.url
    again = look(page, address="#" + shown.url.partition("#")[2])
    assert again.locator("#sample-title").inner_text() == title
    assert again.locator("#model").input_value() == "1" and again.locator("#pair").is_visible()
    assert again.locator("#readings tbody tr").count() == 13
    again.keyboard.press("Escape")
    assert not again.locator("#sample").is_visible()


def test_only_what_is_in_sight_exists(look, page, tmp_path):
    """Two thousand samples: the list stays short, and the last one is reached."""
    import shutil

    many = tmp_path / "many"
    shutil.copytree(page.parent, many)
    told = document(page)
    count = 2016
    for name, values in told["samples"].items():
        if isinstance(values, list):
            told["samples"][name] = values * (count // 24)
    told["samples"]["id"] = [f"s{i:04d}" for i in range(count)]
    told["readings"], told["scores"], told["faces"] = {}, [], False
    (many / "data.js").write_text(f"window.AUBENCH_VIEW = {json.dumps(told)};\n")
    shown = look(many / "index.html", address="#sort=protocol")
    assert 1 < shown.locator(".card").count() < 40
    shown.evaluate("document.getElementById('list').scrollTop = 1e9")
    shown.locator(".card", has_text="s2015").wait_for()
    assert shown.locator(".card").count() < 40


def test_light_dark_and_phone(look, page):
    back = "getComputedStyle(document.body).backgroundColor"
    assert look(page).evaluate(back) == "rgb(255, 255, 255)"
    phone = look(page, width=390, dark=True)
    assert phone.evaluate(back) == "rgb(13, 17, 23)"
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    faces = phone.locator(".card").first.locator(".face")
    third = faces.nth(2).bounding_box()
    assert third["x"] + third["width"] <= 390


def test_the_command_writes_and_serves(small_runs, aubench, tmp_path):
    done = aubench("view", small_runs["oracle"], "--limit", "4", "--json", check=0)
    told = json.loads(done.stdout)
    assert told["samples"] == 4 and told["files"] == ["runs/view-conflict-oracle/index.html"]
    refused = aubench("view", tmp_path, check=2)
    assert "not a finished run folder" in refused.stderr
    code = (
        "import sys; from pathlib import Path; from aubench.report.viewer.site import serve\n"
        "serve(Path(sys.argv[1]), 0)"
    )
    folder = tmp_path / "runs" / "view-conflict-oracle"
    words = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        address = server.stderr.readline().split()[0]
        try:
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(address + "data.js") as answer:
                assert answer.read() == (folder / "data.js").read_bytes()
        finally:
            server.kill()


def test_a_run_that_no_detector_has_looked_at_is_shown_without_readers(look, tmp_path):
    from aubench.run.execute import RunConfig, execute

    execute(RunConfig("copy-reference", "conflict", tmp_path / "r", limit=6, metrics=("pixels",)))
    told = contents([open_run(tmp_path / "r")])
    assert told.document["readers"] == [] and told.document["readings"] == {}
    shown = look(write_viewer(tmp_path / "page", told), address="#sort=ssim")
    assert shown.locator(".card").count() > 1 and shown.locator(".read").count() == 0
    shown.keyboard.press("Enter")
    assert not shown.locator("#readings").is_visible()
