"""The report page in a real headless Chromium: no errors, no requests, players load."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avsep.reporting.page import render_page
from pipeline.execution.ledger import Ledger
from tests.support.chromium import CHROMIUM, PROBLEM
from tests.support.report_world import LEVELS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM),
]


@pytest.fixture(scope="module")
def page_file(full_workspace, tmp_path_factory) -> Path:
    """The page that `AVSEP_REPORT` names, or one made of synthetic results."""
    if real := os.environ.get("AVSEP_REPORT"):
        return Path(real).resolve()
    path = tmp_path_factory.mktemp("page") / "index.html"
    html = render_page(
        full_workspace,
        models=tuple(LEVELS),
        title="Synthetic figures",
        max_examples=2,
        ledger=Ledger(full_workspace.ledger).all_counts(),
    )
    path.write_text(html, "utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # Chromium's own sandbox does not work for root in a container.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


def wait_until(page: Any, condition: str) -> None:
    """Poll from outside: the page's own policy forbids playwright's `wait_for_function`."""
    for _ in range(150):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(200)
    raise AssertionError(f"30 s without {condition}")


@pytest.fixture(scope="module")
def opened(browser, page_file) -> Iterator[tuple[Any, list[str]]]:
    """The opened page, and its console messages, errors and requests."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page = context.new_page()
    noise: list[str] = []
    page.on("console", lambda message: noise.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: noise.append(f"error: {error}"))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("data:", page_file.as_uri()))
            else noise.append(f"request: {request.url[:80]}")
        ),
    )
    page.goto(page_file.as_uri())
    wait_until(
        page, "[...document.querySelectorAll('audio')].every(a => a.error || a.readyState >= 1)"
    )
    yield page, noise
    context.close()


def test_no_console_message_no_error_no_request(opened):
    _, noise = opened
    assert noise == []


def test_every_player_loads_and_every_picture_is_drawn(opened):
    page, _ = opened
    players = page.evaluate(
        "[...document.querySelectorAll('audio')]"
        ".map(a => [a.readyState, a.error ? a.error.code : 0, a.duration])"
    )
    assert players
    assert all(ready >= 1 and error == 0 and length > 0.5 for ready, error, length in players)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    widths = page.evaluate("[...document.querySelectorAll('img')].map(i => i.naturalWidth)")
    assert widths
    assert min(widths) > 0


def test_a_sound_plays_and_stops_when_another_starts(opened):
    page, _ = opened
    page.evaluate(
        """() => {
             for (const a of document.querySelectorAll('audio')) { a.muted = true; }
             return document.querySelectorAll('audio')[0].play();
           }"""
    )
    wait_until(page, "document.querySelectorAll('audio')[0].currentTime > 0.02")
    page.evaluate("document.querySelectorAll('audio')[1].play()")
    wait_until(page, "document.querySelectorAll('audio')[0].paused")
    page.evaluate("document.querySelectorAll('audio')[1].pause()")


def test_the_keyboard_reaches_navigation_and_players(opened):
    page, _ = opened
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.tagName + document.activeElement.className")
        )
    assert seen[0] == "Askip"
    assert seen.count("A") >= 7
    assert "AUDIO" in seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_readers_setting_and_a_picture_is_taken(
    opened, scheme, tmp_path_factory
):
    page, _ = opened
    page.emulate_media(color_scheme=scheme)
    values = page.evaluate(
        "['backgroundColor', 'color'].map(n => getComputedStyle(document.body)[n])"
    )
    paper, ink = (luminance(value) for value in values)
    assert (paper > ink) == (scheme == "light")
    assert (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) > 7
    folder = Path(os.environ.get("AVSEP_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    shot = folder / f"report-{scheme}.png"
    page.screenshot(path=str(shot), full_page=True)
    assert shot.stat().st_size > 50_000


def test_the_page_fits_a_phone(opened):
    page, _ = opened
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_tables_are_as_wide_as_what_is_in_them_and_explain_themselves_on_a_phone(opened):
    page, _ = opened
    page.set_viewport_size({"width": 1300, "height": 900})
    stretched = page.evaluate(
        """() => [...document.querySelectorAll('table')].filter(table => {
             const shown = table.offsetWidth;
             table.style.cssText = 'width: max-content; min-width: 0';
             const needed = table.offsetWidth;
             table.style.cssText = '';
             return shown > needed + 1;
           }).map(table => table.innerText.slice(0, 60))"""
    )
    assert stretched == []
    page.set_viewport_size({"width": 400, "height": 900})
    cut = page.evaluate(
        """() => [...document.querySelectorAll('caption, th[scope=rowgroup] span')]
             .filter(e => e.getBoundingClientRect().right > 400).map(e => e.innerText)"""
    )
    assert cut == []


def test_no_label_of_a_chart_covers_another_in_the_browsers_own_font(opened, browser):
    page, _ = opened
    uris = page.evaluate("[...document.images].map(i => i.src).filter(s => s.includes('svg+xml'))")
    assert len(uris) >= 8
    alone = browser.new_page(viewport={"width": 800, "height": 900})
    for uri in uris:
        alone.set_content(base64.b64decode(uri.partition(",")[2]).decode("utf-8"))
        covered = alone.evaluate(
            """() => {
                 const texts = [...document.querySelectorAll('svg text')]
                   .filter(t => t.textContent.trim())
                   .map(t => [t.textContent, t.getBoundingClientRect()]);
                 const meets = (a, b) => a.left < b.right - 2 && b.left < a.right - 2
                   && a.top < b.bottom - 3 && b.top < a.bottom - 3;
                 const found = [];
                 texts.forEach(([name, box], i) => texts.slice(i + 1).forEach(([other, its]) => {
                   if (meets(box, its)) { found.push(`${name} meets ${other}`); }
                 }));
                 return found;
               }"""
        )
        assert covered == []
    alone.close()


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG defines it."""
    parts = [int(p) / 255 for p in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
