"""Public link, panel, form, quotas, device, codes, preview; consent with blanks; languages."""

import csv
import io

import pytest
from starlette.testclient import TestClient

from aubench.cli.main import main
from aubench.errors import AubenchError
from aubench.study.design import language
from aubench.study.design.files import blanks, read_consent, require_filled
from aubench.study.design.settings import BLANKS, Question, read_settings
from aubench.study.server.server import application
from aubench.study.server.store import ANSWERS, PLACES, RATERS, Store, open_engine, sqlite_url
from aubench.study.simulation.bots import public_link

FAST = {"rate": 1e6, "burst": 1e6}
WINDOW = {"width": 1280, "height": 900}


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["study", *map(str, words)])
    return ended.value.code


def rows(study, table):
    return Store(open_engine(sqlite_url(study.path / "study.sqlite"))).rows(table)


@pytest.fixture
def client(recruited):
    return TestClient(application(recruited.path, **FAST))


@pytest.fixture
def join(recruited, client):
    """Return the function that follows the public link and gives consent."""

    def come(pid=None, **form):
        client.cookies.clear()
        query = f"?PROLIFIC_PID={pid}&STUDY_ID=s1&unknown=x" if pid else ""
        link = client.get(public_link(recruited.path) + query, follow_redirects=False)
        assert link.status_code == 303
        link = link.headers["location"]
        state = client.get(link + "state").json()
        if state["phase"] == "consent":
            state = client.post(link + "consent", json={"sha256": state["sha256"]}).json()
        if form and state["phase"] == "form":
            window = form.pop("window", WINDOW)
            state = client.post(link + "form", json={"answers": form, **window}).json()
        return link, state

    return come


def rate(client, link, state, value=4):
    ratings = {question["id"]: value for question in state["questions"]}
    body = {"trial": state["trial"], "ratings": ratings}
    return client.post(link + "rate", json=body)


def finish(client, link, state):
    for _ in range(40):
        if state["phase"] == "page":
            state = client.post(link + "read", json={"page": state["page"]}).json()
        elif state["phase"] in ("practice", "trial"):
            state = rate(client, link, state).json()
    return state


def test_a_person_of_a_panel_gets_one_place_and_a_code(recruited, client, join):
    link, state = join("p1", age=30, gender="Frau")
    assert state["phase"] == "practice" and state["task"] == "likert"
    again, same = join("p1")
    assert again == link and same == state  # the same person, the same link, whatever the browser
    other, _ = join("p2")
    assert other != link
    state = finish(client, link, state)
    assert state == {
        "phase": "done",
        "code": "C0DE",
        "url": "https://panel.example.org/done?pid=p1",
    }
    text = client.get(f"/admin/{recruited.admin}/participants.csv").text
    found = list(csv.DictReader(io.StringIO(text)))
    assert found[0] | {"answered": ""} == {
        "rater": "9",
        "status": "finished",
        "answered": "",
        "screened_for": "",
        "PROLIFIC_PID": "p1",
        "STUDY_ID": "s1",
        "SESSION_ID": "",
        "age": "30.0",
        "gender": "Frau",
        "work": "",
    }
    assert "unknown" not in text
    page = client.get(link).text
    assert "C0DE" not in page and "C0DE" not in (recruited.path / "study.json").read_text()


def test_without_a_panel_s_name_a_cookie_leads_back(recruited, client):
    first = client.get(public_link(recruited.path), follow_redirects=False)
    again = client.get(public_link(recruited.path), follow_redirects=False)
    assert first.headers["location"] == again.headers["location"]
    client.cookies.clear()
    stranger = client.get(public_link(recruited.path), follow_redirects=False)
    assert stranger.headers["location"] != first.headers["location"]
    assert client.get("/join/guessed/").status_code == 404


def test_who_does_not_fit_ends_with_another_code_and_leaves_no_answers(recruited, client, join):
    for pid, form, device in (
        ("young", {"age": 17, "gender": "Frau"}, False),
        ("silent", {"age": 30, "gender": "keine Angabe"}, False),
        ("small", {"age": 30, "gender": "Frau", "window": {"width": 320, "height": 480}}, True),
    ):
        link, state = join(pid, **form)
        assert state == {"phase": "screened", "device": device, "code": "SCREENED"}
        assert client.get(link + "state").json() == state  # for good
    assert all(row["place"] is None for row in rows(recruited, RATERS))
    text = client.get(f"/admin/{recruited.admin}/participants.csv").text
    assert "keine Angabe" not in text and text.count("screened") == 4  # three, and the heading


@pytest.mark.parametrize(
    "form",
    [{"gender": "Frau"}, {"age": 30, "gender": "Hund"}, {"age": 30, "gender": "Frau", "x": "y"}],
)
def test_a_form_that_is_not_answered_is_refused(client, join, form):
    link, _ = join("p1")
    response = client.post(link + "form", json={"answers": form, **WINDOW})
    assert response.status_code == 422 and response.json()["phase"] == "form"


def test_quotas_hold_and_a_full_study_says_where_to_go(recruited, client, join):
    assert join("m1", age=30, gender="Mann")[1]["phase"] == "practice"
    full = {"phase": "full", "url": "https://panel.example.org/full"}
    assert join("m2", age=30, gender="Mann")[1] == full
    for number in range(len(recruited.design.places) - 1):
        assert join(f"f{number}", age=30, gender="Frau")[1]["phase"] == "practice"
    assert join("late", age=30, gender="Frau")[1] == full


def test_the_preview_takes_no_place_and_stores_nothing(recruited, client):
    lines = (recruited.path / "links.csv").read_text().splitlines()
    link = next(line.split(",")[1] for line in lines if line.startswith("preview"))
    for _ in range(2):  # begun anew each time the page is opened
        assert client.get(link).status_code == 200
        state = client.get(link + "state").json()
        assert state["phase"] == "consent" and state["preview"] is True
        state = client.post(link + "consent", json={"sha256": state["sha256"]}).json()
        answers = {"age": 30, "gender": "Frau"}
        state = client.post(link + "form", json={"answers": answers, **WINDOW}).json()
        assert client.get(f"{link}i/{state['images'][0]}").status_code == 200
        assert finish(client, link, state)["phase"] == "done"
    assert rows(recruited, ANSWERS) == [] and not any(r["place"] for r in rows(recruited, RATERS))
    assert not any(row["rater"] for row in rows(recruited, PLACES))
    assert client.get("/preview/guessed/").status_code == 404


def test_ratings_are_of_each_question_once_and_on_the_scale(recruited, client, join):
    link, state = join("p1", age=30, gender="Frau")
    names = [question["id"] for question in state["questions"]]
    assert names == ["look1", "look2", "look3", "natural"]
    state = rate(client, link, state).json()
    for ratings in ({}, {"look1": 3}, dict.fromkeys(names, 6), {**dict.fromkeys(names, 3), "x": 1}):
        body = {"trial": state["trial"], "ratings": ratings}
        assert client.post(link + "rate", json=body).status_code == 422
    body = {"trial": state["trial"], "ranking": [state["images"][0]] * 2}
    assert client.post(link + "rank", json=body).status_code == 422
    after = rate(client, link, state).json()
    assert rate(client, link, state).json() == after
    assert rate(client, link, state, 2).status_code == 409
    assert "hat schon eine Antwort" in rate(client, link, state, 2).json()["error"]
    assert len(rows(recruited, ANSWERS)) == 1


def test_own_pages_come_in_their_turn(client, join):
    link, state = join("p1", age=30, gender="Frau")
    assert client.post(link + "read", json={"page": 1}).status_code == 409
    state = client.get(link + "state").json()
    for _ in range(3):  # practice and two trials
        state = rate(client, link, state).json()
    assert state == {"phase": "page", "page": 0, "title": "Pause", "text": "Machen Sie eine Pause."}
    state = client.post(link + "read", json={"page": 0}).json()
    assert state["phase"] == "trial" and state["position"] == 2


def test_consent_says_what_is_stored_and_blanks_are_refused(
    recruited, order, runs, tmp_path, capsys
):
    text = read_consent(recruited.path, recruited.design)
    assert "PROLIFIC_PID" in text and "Browserfensters" in text and "50%" in text
    assert blanks(text) == []
    out = tmp_path / "blank"
    words = ["--models", ",".join(recruited.key.models), "--runs", runs, "--seed", 5]
    settings = tmp_path / "settings.toml"
    settings.write_text('[consent]\ncontroller = "Lab"\n')
    words += ["--per-combination", 1, "--gold", 1, "--duplicates", 0, "--settings", settings]
    assert run("create", *words, "--out", out) == 0
    left = ", ".join(name for name in BLANKS if name != "controller")
    assert f"the consent text has blanks: {left}" in capsys.readouterr().err
    assert run("serve", out, "--port", 1) == 2
    assert f"consent.txt has blanks: {left}" in capsys.readouterr().err
    with pytest.raises(AubenchError, match="has blanks"):
        require_filled(out)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[consent", "is no TOML"),
        ("[panel]\nidentity = 'X'", "identity 'X' is none of the parameters"),
        ("[[questions]]\nid='a'\ntext='b'", "options belong to a choice"),
        ("[[quotas]]\nquestion='a'\nanswer='b'\nplaces=1", "no such question or option"),
        ("[elsewhere]", "elsewhere: Extra inputs"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(tmp_path, text, message):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(AubenchError, match=message) as told:
        read_settings(path)
    assert "\n" not in str(told.value)
    with pytest.raises(AubenchError, match="cannot read"):
        read_settings(tmp_path / "nothing.toml")


def test_what_ends_a_session_is_the_range_or_the_option():
    age = Question(id="age", text="Age?", kind="number", least=18, most=65)
    assert [age.screens(value) for value in (17, 18, 65, 66, None)] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_every_language_has_every_word_and_one_s_own_is_checked(tmp_path):
    assert {"de", "en"} <= set(language.shipped())
    for code in language.shipped():
        assert language.find(code)[0].code == code
    english = (language.FOLDER / "en.toml").read_text(encoding="utf-8")
    own = tmp_path / "own.toml"
    own.write_text(english.replace('lang = "en"', 'lang = "fr"'), encoding="utf-8")
    assert language.find(str(own))[0].code == "fr"
    for change, message in (
        (('begin = "Begin"\n', ""), "lacks page.begin"),
        (('begin = "Begin"', 'begin = "B"\nbegun = "x"'), "page.begun is no word"),
        (("{n} left.", "some left."), "has other blanks"),
        (('lang = "en"', ""), "has no lang"),
    ):
        own.write_text(english.replace(*change), encoding="utf-8")
        with pytest.raises(AubenchError, match=message):
            language.find(str(own))
    with pytest.raises(AubenchError, match="no language 'xx'"):
        language.find("xx")
