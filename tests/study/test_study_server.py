"""The server: leases, resume, and what it refuses; whatever a browser gets tells nothing."""

import json
import threading

import pytest
from starlette.testclient import TestClient

from aubench.study.analysis import answers
from aubench.study.design.files import DATABASE, read_consent
from aubench.study.server.limits import HEADERS, MAX_KEYS, Buckets
from aubench.study.server.server import application
from aubench.study.server.session import Sessions
from aubench.study.server.store import (
    ANSWERS,
    RATERS,
    Answer,
    Conflict,
    Store,
    open_engine,
    sqlite_url,
)

FAST = {"rate": 1e6, "burst": 1e6}


@pytest.fixture
def client(study):
    (study.path / "key.sealed.json").rename(study.path.parent / "elsewhere.json")
    return TestClient(application(study.path, **FAST))  # the server never needs the key


def begin(client, link):
    state = client.get(link + "state").json()
    assert state["phase"] == "consent"
    state = client.post(link + "consent", json={"sha256": state["sha256"]}).json()
    assert state["phase"] == "practice"
    return rank(client, link, state).json()


def rank(client, link, state, turn=0):
    images = state["images"][turn:] + state["images"][:turn]
    body = {"trial": state["trial"], "ranking": images, "active_ms": 5000}
    return client.post(link + "rank", json=body)


def rows(study, table=ANSWERS):
    return Store(open_engine(sqlite_url(study.path / DATABASE))).rows(table)


def test_a_whole_session_is_stored_trial_by_trial(study, client):
    link = study.link(0)
    state = begin(client, link)
    total = state["total"]
    assert total == 8 and state["position"] == 0
    for position in range(total):
        assert state["phase"] == "trial" and state["position"] == position
        for image in state["images"]:
            response = client.get(f"{link}i/{image}")
            assert response.headers["content-type"] == "image/png"
        state = rank(client, link, state, position % 3).json()
        assert len(rows(study)) == position + 1
    assert state == {"phase": "done"}
    row = rows(study, RATERS)[0]
    assert row["finished_at"] and row["consent_sha256"] == study.design.consent_sha256
    place = study.design.places[0]
    stored = {answer["trial"]: answer for answer in rows(study)}
    for position, step in enumerate(place):
        answer = stored[step.trial]
        images = study.design.by_id[step.trial].images
        shown = [images[index] for index in step.order]
        assert json.loads(answer["shown"]) == shown and answer["position"] == position
        turn = position % 3
        assert json.loads(answer["ranking"]) == [[name] for name in shown[turn:] + shown[:turn]]


def test_nothing_a_browser_gets_reveals_anything(study):
    """Crawl every response of a whole session, and search it for what must stay hidden."""
    app = application(study.path, **FAST)
    seen = []
    client = TestClient(app)
    client.event_hooks["response"].append(lambda response: (response.read(), seen.append(response)))
    ids = []
    for number in (0, 1):
        link = study.link(number)
        client.get(link), client.get("/"), client.get(link + "missing")
        for name in ("main.js", "board.js", "order.js", "drag.js", "page.css", "icon.svg"):
            assert client.get(f"/assets/{name}").status_code == 200
        state = begin(client, link)
        mine = set()
        while state["phase"] == "trial":
            mine |= {state["trial"], *state["images"]}
            for image in state["images"]:
                client.get(f"{link}i/{image}")
            state = rank(client, link, state).json()
        ids.append(mine)
    assert not ids[0] & ids[1]  # two raters cannot compare notes
    assert len(ids[0]) == 8 * 4  # a repeated trial cannot be told by its ids
    hidden = {
        *study.key.models,
        *study.key.images,
        study.key.secret,
        study.secrets.image_secret,
        study.admin,
        str(study.path),
        "conflict-0",
        "sqlite",
        "duplicate",
        "target",
        "vqauface",
        "oracle",
        *(t.sample for t in study.key.trials.values()),
        *(trial.id for trial in study.design.trials),
        *study.links[2:],
        *(link for link in study.secrets.links_sha256),
        study.secrets.admin_sha256,
        *(entry.subject for entry in study.key.trials.values()),
        *study.design.combinations,
    }
    assert len(seen) > 80
    for response in seen:
        heads = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        text = response.content.decode("latin-1") + heads
        if "/assets/" in str(response.url):
            text = text.replace("target", "")  # a word of every script
        found = [word for word in hidden if word in text]
        assert not found, (response.url, found)
        for name, value in HEADERS.items():
            assert response.headers[name] == value
        assert "server" not in response.headers
        if "/i/" in str(response.url):  # no file, no date, no digest of the content
            assert not {"etag", "last-modified"} & set(response.headers)


def test_reload_resumes_and_two_tabs_cannot_answer_twice(study, client):
    link = study.link(0)
    state = begin(client, link)
    assert client.get(link + "state").json() == state  # reload, or the second tab
    after = rank(client, link, state).json()
    again = rank(client, link, state)  # the same answer once more: a lost acknowledgement
    assert again.status_code == 200 and again.json() == after
    other = rank(client, link, state, 1)  # the second tab, with another order
    assert other.status_code == 409
    assert other.json() == {**after, "error": "this trial has an answer already"}
    assert len(rows(study)) == 1


def test_the_server_may_stop_and_start_between_any_two_requests(study):
    link, state = study.link(0), None
    for _ in range(4):
        client = TestClient(application(study.path, **FAST))
        now = begin(client, link) if state is None else client.get(link + "state").json()
        assert state is None or now == state
        state = rank(client, link, now).json()
    assert len(rows(study)) == 4


def test_trials_of_others_and_of_later_are_refused(study, client):
    first = begin(client, study.link(0))
    second = begin(client, study.link(1))
    link = study.link(1)
    body = {"trial": first["trial"], "ranking": first["images"]}
    assert client.post(link + "rank", json=body).status_code == 404
    body = {"trial": second["trial"], "ranking": first["images"]}
    assert client.post(link + "rank", json=body).status_code == 422
    assert client.get(f"{link}i/{first['images'][0]}").status_code == 404
    sessions = Sessions(
        study.design, study.secrets, "", Store(open_engine(sqlite_url(study.path / DATABASE)))
    )
    rater = sessions.store.find(study.secrets.links_sha256[1])
    later = sessions._view(rater.id, study.design.places[rater.place][3], 3)
    body = {"trial": later.id, "ranking": list(later.images)}
    assert client.post(link + "rank", json=body).status_code == 409
    assert client.get(f"{link}i/{next(iter(later.images))}").status_code == 404
    assert rows(study) == []


@pytest.mark.parametrize("change", ["twice", "missing", "unknown", "none"])
def test_a_ranking_holds_every_image_once(study, client, change):
    link = study.link(0)
    state = begin(client, link)
    a, b, c = state["images"]
    ranking = {"twice": [a, a, b], "missing": [a, b], "unknown": [a, b, "0" * 32], "none": []}
    body = {"trial": state["trial"], "ranking": ranking[change]}
    assert client.post(link + "rank", json=body).status_code == 422
    body["ranking"] = [a, b, c]
    assert client.post(link + "rank", json=body).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"trial": "' + b"0" * 40_000 + b'"}', "application/json", 413),
        (b"{" * 9_000, "application/json", 422),
        (b'{"trial": 7, "ranking": []}', "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b'{"trial": "../../key.sealed.json", "ranking": ["a", "b"]}', "application/json", 422),
        (b"trial=1", "application/x-www-form-urlencoded", 415),
        (b"", "", 415),
    ],
)
def test_bodies_that_are_huge_or_strange_are_refused(study, client, body, kind, status):
    link = study.link(0)
    begin(client, link)
    head = {"content-type": kind}
    response = client.post(link + "rank", content=body, headers=head)
    assert response.status_code == status and "Traceback" not in response.text
    assert rows(study) == []


@pytest.mark.parametrize(
    "path",
    [
        "i/../../../key.sealed.json",
        "i/..%2f..%2fkey.sealed.json",
        "i/%2e%2e/study.json",
        "i/" + "0" * 32,
        "../../assets/..%2fserver.py",
        "i/....//server.json",
        "key.sealed.json",
    ],
)
def test_paths_lead_nowhere(study, client, path):
    link = study.link(0)
    begin(client, link)
    assert client.get(link + path).status_code in (404, 405)
    for name in ("..%2fserver.py", "../server.py", "server.py", "admin.html", "rank.html"):
        assert client.get(f"/assets/{name}").status_code == 404


def test_guessed_links_are_refused_and_slowed_down(study):
    client = TestClient(application(study.path))
    statuses = [client.get(f"/s/{'x' * 23}{number}/state").status_code for number in range(60)]
    assert set(statuses) == {404, 429} and statuses[0] == 404 and statuses[-1] == 429
    assert client.get(f"/admin/{'y' * 24}/progress").status_code in (404, 429)
    assert client.get(study.link(0) + "state").status_code == 200  # a real link still works


def test_one_link_cannot_flood_the_server(study):
    client = TestClient(application(study.path, rate=1, burst=10))
    statuses = [client.get(study.link(0) + "state").status_code for _ in range(30)]
    assert statuses[:10] == [200] * 10 and statuses[-1] == 429
    assert client.get(study.link(1) + "state").status_code == 200


def test_buckets_fill_at_their_rate_and_stay_bounded():
    now = [0.0]
    buckets = Buckets(2.0, 3.0, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    for number in range(MAX_KEYS + 10):
        buckets.take(str(number))
    assert len(buckets._levels) <= MAX_KEYS + 1


def test_consent_is_to_the_very_text(study, client):
    link = study.link(0)
    state = client.get(link + "state").json()
    assert state["text"] == read_consent(study.path, study.design)
    wrong = client.post(link + "consent", json={"sha256": "0" * 64})
    assert wrong.status_code == 409 and wrong.json()["phase"] == "consent"
    body = {"trial": "0" * 32, "ranking": ["0" * 32, "1" * 32]}
    assert client.post(link + "rank", json=body).status_code == 403  # nothing before consent
    assert rows(study, RATERS)[0]["consent_at"] is None


def test_a_remark_stays_text(study, client):
    link, admin = study.link(0), f"/admin/{study.admin}/"
    begin(client, link)
    text = "<script>alert(1)</script> & =cmd|' /C calc'!A0"
    assert client.post(link + "remark", json={"text": text}).status_code == 200
    assert client.post(link + "remark", json={"text": "x" * 2001}).status_code == 422
    assert client.get(admin + "progress").json()["rows"][0]["remark"] == text
    assert "innerHTML" not in client.get("/assets/admin.js").text
    assert "script" not in client.get(admin + "answers.csv").text


def test_withdrawing_deletes_and_frees_the_place(study, client):
    link = study.link(0)
    state = begin(client, link)
    state = rank(client, link, state).json()
    assert client.post(link + "withdraw", json={}).json() == {"phase": "withdrawn"}
    assert rows(study) == []
    assert rank(client, link, state).status_code == 403
    assert client.get(f"{link}i/{state['images'][0]}").status_code == 404
    begin(client, study.link(1))
    assert rows(study, RATERS)[1]["place"] == 0


def test_a_closed_study_takes_nothing_more(study, client):
    link = study.link(0)
    state = begin(client, link)
    answers.open_store(study.path).close()
    assert rank(client, link, state).status_code == 409
    assert client.get(link + "state").json() == {"phase": "closed"}
    assert client.get(study.link(1) + "state").json() == {"phase": "closed"}
    assert rows(study) == []


def test_the_admin_page_tells_progress_and_no_model(study, client):
    admin = f"/admin/{study.admin}/"
    begin(client, study.link(0))
    rank(client, study.link(0), client.get(study.link(0) + "state").json())
    client.get(study.link(1) + "state")
    found = client.get(admin + "progress").json()
    assert found["places"] == {"all": 6, "done": 0, "held": 1}
    assert found["raters"]["active"] == 1 and found["links"] == 8
    assert found["rows"][0]["answered"] == 1 and found["rows"][0]["median_seconds"] >= 0
    assert sum(row["answers"] for row in found["trials"]) == 1
    text = client.get(admin + "answers.csv").text
    assert text.count("\n") == 2 and not any(model in text for model in study.key.models)
    assert "Study: progress" in client.get(admin).text
    for path in ("", "progress", "answers.csv"):
        assert client.get(f"/admin/{study.links[0]}/{path}").status_code == 404


@pytest.fixture
def store(study):
    now = [1000.0]
    made = Store(open_engine(sqlite_url(study.path / "leases.sqlite")), clock=lambda: now[0])
    made.now = now
    made.prepare("digest", 2, [str(number) for number in range(5)])
    return made


def rater(store, number):
    return store.find(str(number))


def test_places_are_leased_released_and_filled_again(store):
    assert [store.lease(rater(store, number), 60) for number in range(3)] == [0, 1, None]
    store.now[0] += 30
    assert store.lease(rater(store, 0), 60) == 0  # still there: held for longer
    store.now[0] += 40
    assert store.lease(rater(store, 2), 60) == 1  # the second rater left
    store.now[0] += 1
    assert store.lease(rater(store, 1), 60) == 1  # back again: keeps the sequence
    assert store.lease(rater(store, 3), 60) is None  # yet holds no place that another holds
    store.consent(1, "c")
    store.answer(3, Answer("t1", 0, ("a", "b"), (("a",), ("b",)), None), total=1)
    store.now[0] += 1000
    assert store.lease(rater(store, 3), 60) == 0  # a place that is done is never given away
    assert store.lease(rater(store, 4), 60) is None
    with pytest.raises(Exception, match="another study"):
        store.prepare("other", 2, [])


def test_many_at_once_never_share_a_place(study):
    engine = open_engine(sqlite_url(study.path / "race.sqlite"))
    store = Store(engine)
    store.prepare("digest", 5, [str(number) for number in range(20)])
    found, barrier = [], threading.Barrier(20)

    def take(number):
        barrier.wait()
        found.append(store.lease(store.find(str(number)), 60))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(place for place in found if place is not None) == [0, 1, 2, 3, 4]


def test_of_two_answers_at_once_one_is_stored(store):
    outcomes, barrier = [], threading.Barrier(8)

    def send(number):
        answer = Answer(
            "t1", 0, ("a", "b"), (("a",), ("b",)) if number % 2 else (("b",), ("a",)), 1
        )
        barrier.wait()
        try:
            store.answer(1, answer, total=9)
            outcomes.append(number % 2)
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = store.rows(ANSWERS)
    assert len(stored) == 1
    won = int(json.loads(stored[0]["ranking"]) == [["a"], ["b"]])
    assert outcomes.count(won) == 4 and outcomes.count("refused") == 4


def test_sqlite_writes_ahead_and_syncs(store):
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_the_answers_of_another_study_are_not_mixed_in(study):
    application(study.path)
    path = study.path / "study.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(Exception, match="another study"):
        application(study.path)


def test_a_missing_image_is_found_at_the_start(study):
    next(iter((study.path / "images").iterdir())).unlink()
    with pytest.raises(Exception, match="missing; restore"):
        application(study.path)
