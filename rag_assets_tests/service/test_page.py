"""The page at / in a real headless Chromium: as a person uses it, with mouse and keyboard."""

import os
from collections.abc import Iterator

import httpx
import pytest

from rag_assets_tests.service.browser import INSTALL, Browser, chromium
from rag_assets_tests.service.conftest import Base

QUESTION = "Who answers requests concerning payroll?"


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        message = f"the page is tested in a real browser; install one with: {INSTALL}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(running: Browser, shared: str) -> Iterator[Browser]:
    """The page on a desktop in the light, as if opened for the first time."""
    opened(running, shared)
    yield running
    assert running.problems == []


def opened(browser: Browser, url: str) -> None:
    browser.problems.clear()
    browser.size(1280, 860)
    browser.prefer("light")
    browser.goto(f"{url}/healthz")
    browser.run("localStorage.clear(), sessionStorage.clear()")
    browser.goto(f"{url}/")
    browser.until("document.querySelector('#kb').value !== ''")


def asked(page: Browser, question: str = QUESTION) -> None:
    page.press("/")
    page.type(question)
    page.press("Enter")
    page.until("document.querySelector('.facts')")


def test_a_follow_up_question_says_how_it_was_understood(page: Browser) -> None:
    asked(page)
    assert page.run("document.querySelector('.understood')") is None
    page.type("And where are they?")  # the box kept the focus
    page.press("Enter")
    page.until("document.querySelector('.understood')")
    assert page.text(".understood") == f"Understood as: {QUESTION} And where are they?"
    heads = "[...document.querySelectorAll('article h2')].map(h => h.innerText)"
    assert page.run(heads) == ["And where are they?", QUESTION]
    page.run("document.activeElement.blur()")
    page.press("n")
    assert (page.count("article"), page.visible("#start-over")) == (0, False)
    recent = page.run("[...document.querySelectorAll('#recent button')].map(b => b.innerText)")
    assert recent == ["And where are they?", QUESTION]
    page.type("And where are they?")
    page.press("Enter")
    page.until("document.querySelector('.facts')")
    assert page.count(".understood") == 0


def test_a_question_is_answered_with_numbered_sources(page: Browser, ask: httpx.Client) -> None:
    answer = ask.post("/v1/answer", json={"question": QUESTION}).json()
    asked(page)
    assert page.text("article h2") == QUESTION
    shown = page.run("[...document.querySelectorAll('.source .n')].map(n => Number(n.innerText))")
    assert shown == list(range(1, len(answer["citations"]) + 1))
    assert page.run("document.querySelector('.cite').innerText") == "1"
    page.until("document.querySelector('#held').textContent.includes('10 documents')")
    assert "version 1" in page.text(".facts")
    assert "**Sources" not in page.text(".text")


def test_a_citation_opens_its_passage_where_it_stands(page: Browser, ask: httpx.Client) -> None:
    cited = ask.post("/v1/answer", json={"question": QUESTION}).json()["citations"][0]
    asked(page)
    page.click(".cite")
    page.until("document.querySelector('.reader mark')")
    marked = page.run("document.querySelector('.reader mark').textContent")
    assert marked == cited["quote"]
    assert cited["title"] in page.text("#reader-title")
    body = page.text("#reader-body")
    assert len(body) > len(marked)
    # What is marked can be seen without scrolling.
    assert page.run(
        "(() => { const m = document.querySelector('.reader mark').getBoundingClientRect(),"
        " b = document.querySelector('#reader-body').getBoundingClientRect();"
        " return m.top >= b.top && m.top < b.bottom; })()"
    )
    assert page.count(".source[aria-current]") == 1
    page.press("Escape")
    page.until("document.querySelector('#reader').hidden")
    assert page.run("document.activeElement.className") == "cite"


def test_the_keyboard_is_enough(page: Browser) -> None:
    asked(page)
    page.run("document.activeElement.blur()")
    number = page.run("document.querySelector('.cite').innerText")
    page.press(number)
    page.until("!document.querySelector('#reader').hidden")
    page.press("Escape")
    page.press("?")
    page.until("document.querySelector('#help').open")
    page.press("Escape")
    page.until("!document.querySelector('#help').open")
    page.press("v")
    page.until("document.querySelector('#figures').open")
    page.press("Escape")
    page.until("!document.querySelector('#figures').open")
    page.press("/")
    assert page.run("document.activeElement.id") == "question"


def test_passages_are_stepped_through(page: Browser) -> None:
    page.press("/")
    page.type("payroll requests")
    page.click("#passages-only")
    page.until("document.querySelectorAll('.source').length > 2")
    page.click(".source")
    page.until("document.querySelector('.reader mark')")
    first = page.run("document.querySelector('.source[aria-current]').dataset.place")
    page.press("ArrowRight")
    page.until("document.querySelector('.source[aria-current]').dataset.place === '1'")
    assert first == "0"
    page.press("ArrowLeft")
    page.until("document.querySelector('.source[aria-current]').dataset.place === '0'")


def test_filters_narrow_the_passages(page: Browser) -> None:
    page.press("/")
    page.type("merger")
    page.click("#open-filters")
    page.click("#add-filter")
    page.type("team")
    page.click(".filter .value")
    page.type("board")
    assert page.text("#filter-count") == "1"
    page.click("#passages-only")
    page.until("document.querySelector('.source')")
    assert page.count(".source") == 1
    assert "Project Bluebird" in page.text(".source")
    page.click(".filter .icon")
    assert not page.visible("#filter-count")


def test_the_index_version_shows_the_figures_of_its_gate(page: Browser) -> None:
    page.until("document.querySelector('#version-name').innerText === 'version 1'")
    assert "recall@5" in page.text("#open-figures")
    page.click("#open-figures")
    page.until("document.querySelector('#figures').open")
    figures = page.text("#figures")
    for part in ("10 documents", "recall@5", "mrr@10", "✓ retrieval quality", "✓ completeness"):
        assert part in figures


def test_history_stays_in_the_browser(page: Browser, shared: str) -> None:
    asked(page)
    page.goto(f"{shared}/")
    page.until("document.querySelector('#kb').value !== ''")
    page.click("#open-history")
    page.until("document.querySelector('#history').open")
    assert QUESTION in page.text("#history-list")
    page.click(".past button")
    page.until("document.querySelector('.source')")
    assert page.text("article h2") == QUESTION
    page.click("#open-history")
    page.click("#clear-history")
    page.until("document.querySelector('#history-list').innerText === 'Nothing asked yet.'")
    assert page.run("JSON.parse(localStorage.getItem('rag-history'))") == []


def test_light_and_dark_follow_the_system_until_chosen(page: Browser) -> None:
    theme = "document.documentElement.dataset.theme"
    assert page.run(theme) == "light"
    page.prefer("dark")
    page.until(f"{theme} === 'dark'")
    page.click("#theme")
    assert page.run(theme) == "light"
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(250, 249, 246)"


def test_nothing_is_wider_than_a_phone(page: Browser) -> None:
    page.size(360, 740, phone=True)
    asked(page, "Who answers requests concerning vacation, and within how many working days?")
    page.click("#open-filters")
    page.click("#add-filter")
    overflowing = (
        "[...document.querySelectorAll('main *, header *')].filter(e =>"
        " e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert page.run(overflowing) == 0
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.click(".cite")
    page.until("document.querySelector('.reader mark')")
    sheet = page.run("document.querySelector('#reader').getBoundingClientRect().toJSON()")
    assert (sheet["left"], sheet["width"], round(sheet["bottom"])) == (0, 360, 740)
    page.click("#close-reader")


def test_text_is_never_taken_for_markup(page: Browser) -> None:
    page.press("/")
    page.type("<img src=x onerror=document.title='broken'> <b>payroll</b>")
    page.press("Enter")
    page.until("document.querySelector('.facts, .note')")
    assert page.count("article img, article h2 b") == 0
    assert "<img src=x" in page.text("article h2")
    page.run(
        "render(document.querySelector('article'), '<i>a</i> [1] **b** `c`\\n- d\\n1. e',"
        " {shownNumber: (number) => number})"
    )
    assert page.count("article i") == 0
    assert page.run("document.querySelector('article').innerText.startsWith('<i>a</i>')")
    tags = page.run("[...document.querySelectorAll('article *')].map(e => e.tagName).join()")
    assert tags == "P,BUTTON,STRONG,CODE,UL,LI,OL,LI"


def test_the_policy_lets_nothing_else_run(page: Browser, ask: httpx.Client) -> None:
    policy = ask.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in ask.get("/").text.replace("http://www.w3.org/2000/svg", "").replace(
        "https?", ""
    )
    page.run(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        " document.body.append(s); })()"
    )
    assert page.run("typeof window.ran") == "undefined"
    page.until_told("Content Security Policy")
    page.problems.clear()


def test_where_keys_are_needed_the_page_asks_for_one(running: Browser, base: Base, serve) -> None:
    _, secret = base.keys.create("person")
    client = serve(base)
    running.problems.clear()
    running.goto(str(client.base_url))
    running.until("document.querySelector('#key').open")
    running.click("#key-input")
    running.type(secret)
    running.press("Enter")
    running.until("document.querySelector('#version-name').innerText === 'version 1'")
    asked(running)
    assert running.count(".source") >= 1
    assert running.run("localStorage.getItem('rag-key')") is None
    assert running.problems == []


def test_an_answer_can_be_judged(running: Browser, base: Base, serve) -> None:
    client = serve(base)
    opened(running, str(client.base_url).rstrip("/"))
    asked(running)
    running.click("[aria-label='Good answer']")
    running.until("document.querySelector(\"[aria-label='Good answer']\").ariaPressed === 'true'")
    # What the page asks for beside them, such as the versions, may come in between.
    [answered] = [line for line in base.audit() if line["path"] == "/v1/answer"]
    [judged] = [line for line in base.audit() if line["path"] == "/v1/feedback"]
    assert judged["feedback"]["rating"] == "up"
    assert judged["feedback"]["request_id"] == answered["request_id"]


def test_a_service_that_fails_is_told(running: Browser, base: Base, serve) -> None:
    client = serve(base)
    opened(running, str(client.base_url).rstrip("/"))
    (base.storage / "index/LIVE.json").unlink()
    running.press("/")
    running.type(QUESTION)
    running.press("Enter")
    running.until("document.querySelector('.note.bad')")
    assert "rag-assets refresh" in running.text(".note.bad")


def test_the_api_is_documented_without_help_from_outside(running: Browser, shared: str) -> None:
    running.problems.clear()
    running.goto(f"{shared}/docs")
    running.until("document.querySelectorAll('details').length > 8")
    shown = running.run("document.body.textContent")
    for path in ("/v1/search", "/v1/answer", "/v1/chat/completions", "/v1/documents/{source}/{id}"):
        assert path in shown
    assert running.problems == []
