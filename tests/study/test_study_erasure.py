"""Nothing is lost, and nothing of a rater who is erased is left on disk."""

import shutil
import sqlite3

import pytest
from starlette.testclient import TestClient

from aubench.cli.main import main
from aubench.study.design.sealing import opaque
from aubench.study.server import server as server_module
from aubench.study.server.server import application
from aubench.study.server.store import ANSWERS, RATERS, Store, open_engine, sqlite_url

FAST = {"rate": 1e6, "burst": 1e6}


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["study", *map(str, words)])
    return ended.value.code


def take_part(client, study, number, remark, most=99):
    """Rank as shown, yet the face of a gold trial that is known to be right comes first."""
    link, secret = study.link(number), study.secrets.image_secret
    right = {
        opaque(secret, "image", str(number + 1), trial, name)
        for trial, entry in study.key.trials.items()
        for name in study.design.by_id[trial].images
        if name == entry.best
    }
    state = client.get(link + "state").json()
    state = client.post(link + "consent", json={"sha256": state["sha256"]}).json()
    for _ in range(most):
        if state["phase"] not in ("practice", "trial"):
            break
        images = sorted(state["images"], key=lambda image: image not in right)
        body = {"trial": state["trial"], "ranking": images, "active_ms": 5000}
        state = client.post(link + "rank", json=body).json()
    client.post(link + "remark", json={"text": remark})


def on_disk(folder, words):
    """Return which words are in which files of a folder."""
    return sorted(
        (path.name, word)
        for path in folder.rglob("*")
        if path.is_file()
        for word in words
        if word.encode() in path.read_bytes()
    )


def alone(study, tmp_path):
    """Return the answers in a copy of ``study.sqlite`` without its log."""
    copy = tmp_path / "copy.sqlite"
    shutil.copy(study.path / "study.sqlite", copy)
    with sqlite3.connect(copy) as connection:
        found = connection.execute("SELECT count(*) FROM answers").fetchone()[0]
    connection.close()
    copy.unlink()
    return found


def test_the_file_alone_keeps_the_answers(study, tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "CHECKPOINT_SECONDS", 0.05)
    with TestClient(application(study.path, **FAST)) as client:
        take_part(client, study, 0, "", most=3)
        for _ in range(200):  # while the server runs
            if alone(study, tmp_path) == 2:
                break
            client.portal.call(server_module.asyncio.sleep, 0.05)
        assert alone(study, tmp_path) == 2
        take_part(client, study, 1, "")
    assert alone(study, tmp_path) == 10  # after it
    log = study.path / "study.sqlite-wal"
    assert not log.exists() or log.stat().st_size == 0


def test_a_study_without_answers_is_not_closed(study, capsys):
    application(study.path)
    assert run("close", study.path) == 2
    told = capsys.readouterr()
    assert "holds no answers; not closed" in told.err and "is closed" not in told.out
    assert "study.sqlite-wal" in told.err
    assert run("close", study.path, "--empty") == 0


def test_whoever_withdraws_or_is_erased_leaves_nothing_on_disk(study, capsys):
    words = ["Zaphod-remark", "Trillian-remark", "Marvin-remark"]
    with TestClient(application(study.path, **FAST)) as client:
        for number, word in enumerate(words):
            take_part(client, study, number, word)
        take_part(client, study, 3, "kept-remark")
        assert {word for _, word in on_disk(study.path, words)} == set(words)
        assert client.post(study.link(0) + "withdraw", json={}).json() == {"phase": "withdrawn"}
        assert on_disk(study.path, words[:1]) == []  # while the server goes on
        late = client.post(study.link(0) + "remark", json={"text": words[0]})
        assert late.json()["phase"] == "withdrawn" and on_disk(study.path, words[:1]) == []
        admin = f"/admin/{study.admin}/"
        assert client.post(admin + "erase", json={"rater": 2}).json()["erased"] == 2
        assert client.post(admin + "erase", json={"rater": 99}).status_code == 404
        other = f"/admin/{study.links[3]}/erase"
        assert client.post(other, json={"rater": 4}).status_code == 404
        assert on_disk(study.path, words[:2]) == []
    assert run("close", study.path) == 0
    assert run("score", study.path, "--draws", 100) == 0
    capsys.readouterr()
    exported = study.path / "analysis" / "answers.csv"
    assert any(line.startswith("3,") for line in exported.read_text().splitlines())
    assert run("erase", study.path, 3) == 0
    told = capsys.readouterr().out
    assert "rater 3 is erased" in told and "score" in told
    assert on_disk(study.path, words) == [] and not exported.exists()
    assert on_disk(study.path, ["kept-remark"]) == [("study.sqlite", "kept-remark")]
    store = Store(open_engine(sqlite_url(study.path / "study.sqlite")))
    assert {row["rater"] for row in store.rows(ANSWERS)} == {4}
    for row in store.rows(RATERS)[:3]:
        left = {name for name, value in row.items() if value is not None}
        assert left == {"id", "token_sha256", "withdrawn_at"}
    assert run("erase", study.path, 77) == 2
    assert "has no rater 77" in capsys.readouterr().err
