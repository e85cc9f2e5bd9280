"""The ranking page in a real browser: mouse, touch, keys, reload, two tabs, axe."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from aubench.study.design.files import DATABASE
from aubench.study.server.local import running
from aubench.study.server.server import application
from aubench.study.server.store import ANSWERS, RATERS, Store, open_engine, sqlite_url
from aubench.study.simulation.bots import public_link

pytestmark = pytest.mark.slow

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
EXPECTED = ("409", "net::ERR_FAILED")
"""Refusals and lost connections that a test brings about; a browser reports them itself."""
PHONE = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1280, "height": 900}}


def chromium():
    """Return the browser of the system; without one these tests fail, they are not skipped."""
    found = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        pytest.fail("no chromium: install it (Debian: apt-get install chromium), as .ci/run does")
    return found


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def url(study):
    with running(application(study.path, rate=1e6, burst=1e6)) as address:
        yield address


@pytest.fixture
def page_of(browser, study, url):
    """Return a function that opens a rater's link; any error on the page fails the test."""
    errors, contexts = [], []

    def open_page(number=0, context=None, address=None, **options):
        made = context or browser.new_context(**(options or DESK))
        contexts.append(made)
        page = made.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                errors.append(message.text)
                if message.type == "error" and not any(known in message.text for known in EXPECTED)
                else None
            ),
        )
        page.goto(address or url + study.link(number))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def rows(study, table=ANSWERS):
    return Store(open_engine(sqlite_url(study.path / DATABASE))).rows(table)


def agree(page, key=False):
    page.wait_for_selector("#consent:not([hidden])")
    assert page.locator("#begin").get_attribute("aria-disabled") == "true"
    if key:
        page.locator("#agree").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
    else:
        page.locator("#agree").check()
        page.locator("#begin").click()
    page.wait_for_selector(".card")


def count(page):
    return page.locator("#count").inner_text()


def until(page, expression):
    """Wait until an expression holds; the page's own policy forbids the browser to poll it."""
    for _ in range(2400):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    pytest.fail(f"never came true: {expression}")


def after(page, submit):
    """Submit and wait for the next set, or for the end."""
    before = json.dumps(count(page))
    until(page, "[...document.querySelectorAll('.card img')].every(i => i.complete)")
    submit()
    until(
        page,
        f"document.getElementById('count').textContent !== {before}"
        " || !document.getElementById('done').hidden",
    )


def ranking(page):
    """Return the letters of the faces at the places, best first."""
    labels = [slot.get_attribute("aria-label") for slot in page.locator(".slot").all()]
    return "".join(text.split("Face ")[1][0] if "Face " in text else "-" for text in labels)


def box(locator):
    found = locator.bounding_box()
    return found["x"] + found["width"] / 2, found["y"] + found["height"] / 2


def drag(page, source, target):
    page.mouse.move(*box(source))
    page.mouse.down()
    x, y = box(target)
    page.mouse.move(x - 20, y - 5, steps=4)
    page.mouse.move(x, y, steps=2)
    page.mouse.up()


def test_a_whole_session_by_mouse(study, page_of):
    page = page_of()
    agree(page)
    assert count(page) == "Practice" and page.locator("#practice-note").is_visible()
    cards, slots = page.locator(".card"), page.locator(".slot")
    for index in (2, 0, 1):
        cards.nth(index).click()
    assert ranking(page) == "CAB"
    drag(page, slots.nth(0), slots.nth(2))  # places swap
    assert ranking(page) == "BAC"
    page.locator("#undo").click()
    assert ranking(page) == "CAB"
    cards.nth(0).click()  # gives its place back
    assert ranking(page) == "C-B"
    page.locator("#submit").click(force=True)  # it says that it is not ready, and why
    assert "1 left" in page.locator("#alert").inner_text()
    drag(page, cards.nth(0), slots.nth(1))
    after(page, page.locator("#submit").click)
    done = []
    for number in range(len(study.design.trials)):
        assert count(page) == f"Set {number + 1} of 8"
        assert ranking(page) == "---"
        wanted = ["BCA", "ACB", "CBA"][number % 3]
        for place, letter in enumerate(wanted):
            card = cards.nth("ABC".index(letter))
            drag(page, card, slots.nth(place)) if number < 3 else card.click()
        assert ranking(page) == wanted
        done.append(wanted)
        after(page, page.locator("#submit").click)
    page.locator("#remark").fill("<b>fine</b>")
    page.locator("#send").click()
    page.wait_for_selector("#message-title:has-text('Thank you')")
    for row in rows(study):
        shown = json.loads(row["shown"])
        letters = ["ABC"[shown.index(group[0])] for group in json.loads(row["ranking"])]
        assert "".join(letters) == done[row["position"]]
        assert row["active_ms"] > 0
    assert len(rows(study)) == 8
    assert rows(study, RATERS)[0]["remark"] == "<b>fine</b>"


STILL = """() => new Promise((done) => {
  const look = (before, times) => {
    const now = scrollY;
    if (now === before && times > 4) done(true);
    else setTimeout(() => look(now, now === before ? times + 1 : 0), 20);
  };
  look(null, 0);
})"""


def touch(page, session, source, target, hold):
    """Drag with a finger, as the browser's own input events."""
    x, y = box(source)
    session.send(
        "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    )
    page.wait_for_timeout(hold)
    a, b = box(target)
    for step in range(1, 7):
        point = {"x": x + (a - x) * step / 6, "y": y + (b - y) * step / 6}
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        page.wait_for_timeout(15)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(80)


def faces_first(page):
    """Whether the resting face and every other stand whole on the first screen, above the tray."""
    return page.evaluate(
        "scrollY === 0 && [...document.querySelectorAll('.cards li')].every("
        "item => item.getBoundingClientRect().bottom"
        " <= document.querySelector('.bar').getBoundingClientRect().top + 1)"
    )


def test_a_whole_session_by_touch_on_a_small_phone(study, page_of):
    page = page_of(**PHONE)
    session = page.context.new_cdp_session(page)
    page.locator("#agree").tap()
    page.locator("#begin").tap()
    page.wait_for_selector(".card")
    cards, slots = page.locator(".card"), page.locator(".slot")
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= 360
    small = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetParent)"
        ".map(b => b.getBoundingClientRect()).filter(r => r.width < 44 || r.height < 44).length"
    )
    assert small == 0  # every target is large enough for a finger
    touch(page, session, cards.nth(0), slots.nth(1), hold=400)
    assert ranking(page) == "-A-"
    touch(page, session, slots.nth(1), slots.nth(0), hold=0)  # from place to place at once
    assert ranking(page) == "A--"
    touch(page, session, cards.nth(1), slots.nth(1), hold=0)  # a swipe scrolls, it drags nothing
    assert ranking(page) == "A--"
    page.wait_for_function(STILL)  # a tap on a page that scrolls stops it, no more
    slots.nth(2).tap()  # a place first, then the face
    page.wait_for_selector(".slot[aria-pressed=true]")
    cards.nth(1).tap()
    cards.nth(2).tap()
    assert ranking(page) == "ACB"
    page.locator(".enlarge").nth(3).tap()  # the first is the reference's
    page.locator("#large-ranks button").nth(0).tap()
    assert "place 1" in page.locator("#large-title").inner_text()
    page.locator("#large-close").tap()
    assert ranking(page) == "CAB"
    after(page, page.locator("#submit").tap)
    for number, _ in enumerate(study.design.trials):
        if number == 0:
            assert faces_first(page) and page.locator(".reference img").is_visible()
        for index in (1, 2, 0):
            cards.nth(index).tap()
        assert page.evaluate(wide) <= 360
        after(page, page.locator("#submit").tap)
    assert page.locator("#done").is_visible()
    assert len(rows(study)) == 8


def test_a_whole_session_by_keys_alone(study, page_of):
    page = page_of()
    agree(page, key=True)
    press = page.keyboard.press
    live = page.locator("#live")
    label = "document.activeElement.getAttribute('aria-label')"
    while "Face A" not in (page.evaluate(label) or ""):
        press("Tab")
    press("3")
    assert ranking(page) == "--A" and live.inner_text() == "Face A: place 3. 2 left."
    press("ArrowRight")
    press("Enter")
    assert ranking(page) == "B-A"
    press("ArrowRight")
    press("1")  # B gives way
    assert ranking(page) == "C-A"
    press("Delete")
    press("u")
    assert ranking(page) == "C-A"
    press("Control+z")
    assert ranking(page) == "B-A"
    press("e")
    assert "Face C" in page.locator("#large-title").inner_text()
    press("2")
    press("Escape")
    assert ranking(page) == "BCA"
    assert "Face C, place 2" in page.evaluate(label)  # focus comes back to the face
    press("?")
    assert page.locator("#help").is_visible()
    press("Escape")
    after(page, lambda: press("s"))
    for number in range(len(study.design.trials)):
        assert page.evaluate("document.activeElement.id") == "trial-title"
        while "Face A" not in (page.evaluate(label) or ""):
            press("Tab")
        for place in ("231", "312")[number % 2]:
            press(place)
            press("ArrowRight")
        assert ranking(page) == ("CAB", "BCA")[number % 2]
        after(page, lambda: press("s"))
    assert page.locator("#done").is_visible()
    assert page.evaluate("document.activeElement.id") == "done-title"
    assert len(rows(study)) == 8


def test_a_reload_in_mid_trial_keeps_the_draft(study, page_of):
    page = page_of()
    agree(page)
    for index in (0, 1, 2):
        page.locator(".card").nth(index).click()
    after(page, page.locator("#submit").click)
    page.locator(".card").nth(2).click()
    page.locator(".card").nth(1).click()
    page.reload()
    page.wait_for_selector(".card")
    assert count(page) == "Set 1 of 8" and ranking(page) == "CB-"
    page.locator(".card").nth(0).click()
    after(page, page.locator("#submit").click)
    page.reload()
    page.wait_for_selector(".card")
    assert count(page) == "Set 2 of 8" and ranking(page) == "---"
    assert len(rows(study)) == 1


def test_two_tabs_of_one_rater(study, page_of):
    first = page_of()
    agree(first)
    for index in (0, 1, 2):
        first.locator(".card").nth(index).click()
    after(first, first.locator("#submit").click)
    second = page_of(context=first.context)
    second.wait_for_selector(".card")
    assert count(second) == count(first) == "Set 1 of 8"
    for page, turn in ((first, (0, 1, 2)), (second, (2, 1, 0))):
        for index in turn:
            page.locator(".card").nth(index).click()
    after(first, first.locator("#submit").click)
    after(second, second.locator("#submit").click)  # refused, and shown where the study is
    assert count(second) == count(first) == "Set 2 of 8"
    assert "answer already" in second.locator("#alert").inner_text()
    stored = rows(study)
    assert len(stored) == 1
    shown = json.loads(stored[0]["shown"])
    assert [group[0] for group in json.loads(stored[0]["ranking"])] == shown


def test_without_a_connection_the_order_is_kept(study, page_of, url):
    page = page_of()
    agree(page)
    page.route("**/rank", lambda route: route.abort())
    for index in (0, 1, 2):
        page.locator(".card").nth(index).click()
    page.locator("#submit").click()
    until(page, "document.getElementById('alert').textContent.includes('Not stored')")
    assert ranking(page) == "ABC"
    page.unroute("**/rank")
    after(page, page.locator("#submit").click)
    assert count(page) == "Set 1 of 8"


def faults(page):
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa',"
        " 'best-practice']})"
    )
    assert len(found["passes"]) > 10
    return [
        (fault["id"], fault["impact"], [node["html"][:120] for node in fault["nodes"]])
        for fault in found["violations"]
    ]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_axe_finds_no_fault(study, page_of, url, size):
    page = page_of(**size)
    page.wait_for_selector("#consent:not([hidden])")
    assert faults(page) == []
    agree(page)
    assert faults(page) == []
    if not page.locator("#looks").is_visible():
        page.locator("#criteria > summary").click()
    page.locator("#described > summary").click()
    for index in (0, 1, 2):
        page.locator(".card").nth(index).click()
    page.locator(".enlarge").nth(1).click()
    assert faults(page) == []
    page.locator("#large-close").click()
    page.locator("#help-open").click()
    assert faults(page) == []
    page.locator("#help-close").click()
    page.locator("#withdraw-open").click()
    assert faults(page) == []
    page.locator("#withdraw-do").click()
    page.wait_for_selector("#message:not([hidden])")
    assert faults(page) == []
    page.goto(f"{url}/admin/{study.admin}/")
    page.wait_for_selector("#raters td")
    assert "withdrawn" in page.locator("#raters").inner_text()
    assert faults(page) == []


def test_a_recruited_rater_from_the_panel_to_its_code(recruited, page_of):
    """German, dark, on a phone: consent, form, own page, sentences to rate, code, withdrawal."""
    with running(application(recruited.path, rate=1e6, burst=1e6)) as address:
        path = f"{public_link(recruited.path)}?PROLIFIC_PID=p7&STUDY_ID=s1"
        page = page_of(**{**PHONE, "color_scheme": "dark"}, address=address + path)
        page.wait_for_selector("#consent:not([hidden])")
        assert page.evaluate("document.documentElement.lang") == "de"
        assert "Vor" not in page.url and "/s/" in page.url
        assert page.locator("#withdraw-open").is_visible()
        page.locator("#agree").check()
        page.locator("#begin").tap()
        page.wait_for_selector("#form:not([hidden])")
        assert faults(page) == []
        page.locator("#form-send").tap()
        assert "Stern" in page.locator("#form-alert").inner_text()
        page.locator("#q-age").fill("44")
        page.locator("#q-gender").select_option("Frau")
        page.locator("#form-send").tap()
        page.wait_for_selector("#trial:not([hidden])")
        assert faults(page) == []
        assert faces_first(page)
        for number in range(len(recruited.design.places[0]) + 1):
            for group in page.locator("fieldset").all():
                group.locator("input").nth(number % 5).check()
            if number == 1:
                page.reload()  # what was chosen stays
                page.wait_for_selector("fieldset")
                page.wait_for_timeout(50)
            before = json.dumps(count(page))
            until(page, "[...document.querySelectorAll('.cards img')].every(i => i.complete)")
            page.locator("#submit").tap()
            until(
                page,
                f"document.getElementById('count').textContent !== {before}"
                " || document.getElementById('trial').hidden",
            )
            if page.locator("#own").is_visible():
                assert page.locator("#own-title").inner_text() == "Pause" and faults(page) == []
                page.locator("#own-next").tap()
                page.wait_for_selector("#trial:not([hidden])")
        page.wait_for_selector("#done:not([hidden])")
        assert "C0DE" in page.locator("#done-end").inner_text() and faults(page) == []
        back = page.locator("#done-end a").get_attribute("href")
        assert back == "https://panel.example.org/done?pid=p7"
        page.locator("#remark").fill("gut")
        page.locator("#send").tap()
        page.wait_for_selector("#message-title:has-text('Vielen Dank')")
        assert len(rows(recruited)) == len(recruited.design.places[0])
        page.locator("#withdraw-open").tap()  # after a remark, too
        page.locator("#withdraw-do").tap()
        page.wait_for_selector("#message-title:has-text('zurückgezogen')")
        assert not page.locator("#withdraw-open").is_visible()
        assert rows(recruited) == []


def test_the_page_asks_for_nothing_from_elsewhere(study, page_of, url):
    page = page_of(1)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    agree(page)
    assert asked and all(address.startswith((url, "data:")) for address in asked)
    assert Path(chromium()).is_file()
