"""The page in a real headless Chromium: upload, wait, play, look."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avsep.separation import SeparateConfig, Separator
from tests.support.chromium import CHROMIUM, PROBLEM
from tests.support.clip_maker import make_clip
from tests.support.echo import Echo, FixedBackend, noise, still_pictures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM),
]


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    """A running server; `AVSEP_WEB` names one to look at instead."""
    if real := os.environ.get("AVSEP_WEB"):
        yield real
        return
    import uvicorn

    from avsep.web.app import create_app

    app = create_app(Separator(Echo(), SeparateConfig(), FixedBackend()), folder=tmp_path)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=60)


@pytest.fixture
def video(tmp_path) -> Path:
    if real := os.environ.get("AVSEP_WEB_VIDEO"):
        return Path(real)
    sound = (noise(32_000) * 32768).astype("int16")[:, None]
    return make_clip(
        tmp_path / "talk.mp4", pictures=still_pictures(50), audio=sound, audio_codec="aac"
    )


@pytest.fixture
def page(address) -> Iterator[Any]:
    """A page of 1300 px on which nothing may go wrong unseen."""
    from playwright.sync_api import sync_playwright

    # Chromium's own sandbox does not work for root in a container.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        made = browser.new_context(viewport={"width": 1300, "height": 1000}).new_page()
        made.set_default_timeout(240_000)
        noise: list[str] = []
        made.on("pageerror", lambda error: noise.append(str(error)))
        made.on("console", lambda message: noise.append(f"{message.type}: {message.text}"))
        made.goto(address)
        yield made
        browser.close()
    expected = "Failed to load resource"  # Chromium reports the answers 4xx that a test provokes
    assert [line for line in noise if expected not in line] == []


def shot(page, name: str, folder: Path) -> None:
    folder = Path(os.environ.get("AVSEP_WEB_SHOTS") or folder)
    page.screenshot(path=str(folder / f"{name}.png"), full_page=True)


def overflow(page) -> int:
    """How many pixels the page is wider than the window."""
    root = "document.documentElement"
    return page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")


def ready(page, count: int = 1) -> None:
    page.wait_for_function(
        "count => jobs.size === count && [...jobs.values()].every((job) => job.state === 'done')",
        arg=count,
    )


def drop_file(page, selector: str, name: str, content: bytes = b"nonsense") -> None:
    """Drop a file on an element, as a file manager does."""
    page.evaluate(
        """([selector, name, content]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(content)], name));
          const target = document.querySelector(selector);
          for (const kind of ["dragenter", "dragover", "drop"]) {
            target.dispatchEvent(
              new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data }));
          }
        }""",
        [selector, name, list(content)],
    )


def test_upload_wait_play_and_remove(page, video, tmp_path):
    from playwright.sync_api import expect

    shot(page, "empty", tmp_path)
    page.set_input_files("#file", video)
    page.wait_for_selector("#results:not([hidden])")
    expect(page.locator("article").first.locator("h3")).to_have_text("Speaker 1")
    played = page.evaluate(
        """async () => {
          listen(1);
          const sound = document.querySelector("#screen1");
          sound.muted = true;
          await sound.play();
          while (!sound.currentTime) await new Promise((done) => setTimeout(done, 50));
          const film = document.querySelector("#overview");
          while (film.readyState < 1) await new Promise((done) => setTimeout(done, 50));
          const picture = document.querySelector("article img");
          await picture.decode();
          return [sound.duration, film.duration, film.videoWidth, picture.naturalWidth];
        }"""
    )
    sound_s, film_s, film_width, picture_width = played
    assert abs(sound_s - film_s) < 0.2
    assert film_width > 0
    assert picture_width > 0
    shot(page, "results", tmp_path)
    assert overflow(page) == 0
    page.set_viewport_size({"width": 320, "height": 700})
    assert overflow(page) == 0
    shot(page, "results-320", tmp_path)
    page.click("#remove")
    page.wait_for_selector("#results", state="hidden")
    assert page.evaluate("[jobs.size, localStorage.getItem('avsep-videos')]") == [0, "[]"]


def test_one_position_for_the_original_and_the_voices(page, video):
    page.set_input_files("#file", video)
    ready(page)
    at = page.evaluate(
        """async () => {
          const [original, voice] = document.querySelectorAll("#screen video");
          while (original.readyState < 3 || voice.readyState < 3) {
            await new Promise((done) => setTimeout(done, 50));
          }
          original.muted = true;
          original.currentTime = 0.7;
          await original.play();
          document.querySelectorAll("#listen input")[1].click();
          const found = [voice.currentTime >= 0.7, original.paused, original.hidden, voice.hidden];
          await new Promise((done) => setTimeout(done, 200));
          found.push(voice.paused, voice.muted);
          voice.pause();
          voice.currentTime = 0.4;
          document.querySelectorAll("#listen input")[0].click();
          found.push(original.paused, Math.abs(original.currentTime - 0.4) < 0.05);
          return found;
        }"""
    )
    assert at == [True, True, True, False, False, True, True, True]


def test_a_drop_beside_the_box_counts_and_a_reload_finds_all_videos(page, video):
    drop_file(page, "footer", "talk & more.mp4", video.read_bytes())
    ready(page)
    assert page.is_visible("#drop")
    drop_file(page, "body", "second.mp4", video.read_bytes())  # the first one stays
    ready(page, 2)
    page.reload()
    ready(page, 2)
    names = page.locator("#videos .name").all_text_contents()
    assert names == ["talk & more.mp4", "second.mp4"]
    page.locator("#videos button").first.click()
    assert page.text_content("#title") == "talk & more.mp4"
    page.set_viewport_size({"width": 320, "height": 700})
    assert overflow(page) == 0


def test_two_tabs_keep_the_videos_of_both(page, video):
    other = page.context.new_page()
    other.goto(page.url)
    for tab, name in ((page, "one.mp4"), (other, "two.mp4")):
        drop_file(tab, "body", name, video.read_bytes())
        ready(tab)
    page.reload()
    ready(page, 2)
    assert page.locator("#videos .name").all_text_contents() == ["one.mp4", "two.mp4"]
    page.click("#remove")  # the one that is shown
    ready(page)
    other.reload()
    ready(other)
    assert other.text_content("#title") == "one.mp4"


def test_errors_name_the_file_and_stay_within_320_px(page, tmp_path):
    page.set_viewport_size({"width": 320, "height": 700})
    name = "a_very_long_name_without_a_single_space_" * 3
    drop_file(page, "h1", f"{name}.mp4")
    page.wait_for_selector("#failed:not([hidden])")
    assert name in page.text_content("#reason")
    assert overflow(page) == 0
    shot(page, "failed-320", tmp_path)
    page.click("#dismiss")
    drop_file(page, "h1", "notes.txt")
    page.wait_for_selector("#problem:not([hidden])")
    assert "notes.txt is not a video file" in page.text_content("#problem")
    assert page.is_hidden("#work")


def test_progress_is_labelled_and_said_once_a_step(page, tmp_path):
    said = page.evaluate(
        """() => {
          const said = [];
          new MutationObserver((changes) => {  // one call for all changes since the last one
            for (const { addedNodes } of changes) said.push(...[...addedNodes].map((n) => n.data));
          }).observe(el("status"), { childList: true });
          const job = { name: "", title: "talk.mp4", state: "waiting", ahead: 2, share: 0 };
          jobs.set("x", job);
          current = "x";
          draw();
          const waiting = el("step").textContent;
          for (const [step, low] of [["track faces", 0], ["separate", 0.4]]) {
            for (let index = 0; index < 40; index += 1) {
              Object.assign(job, { state: "running", step, share: low + index / 100, left_s: 130 });
              draw();
            }
          }
          const bar = el("bar");
          return new Promise((done) => setTimeout(() => done({
            waiting, said, left: el("left").textContent,
            label: bar.getAttribute("aria-label"), value: bar.value,
          })));
        }"""
    )
    shot(page, "working", tmp_path)
    assert said["waiting"] == "Waiting: 2 videos before this one"
    assert said["left"] == "79 %, about 2 minutes left"
    assert (said["label"], said["value"]) == ("Overall progress", pytest.approx(0.79))
    assert said["said"] == [
        "talk.mp4: Waiting: 2 videos before this one",
        "talk.mp4: Finding and following faces",
        "talk.mp4: Separating the voices",
    ]


def test_a_track_shows_why_a_voice_is_silent(page):
    silent = page.evaluate(
        """() => {
          const facts = { start_s: 2, num_frames: 250, fps: 25, files: [] };
          const speaker = { speaker: 1, seen_share: 0.5, seen_s: [[4, 6], [6.4, 8]] };
          return [
            silences(speaker, facts),
            card(speaker, 1, facts, "x/").querySelector(".away").textContent,
            card({ ...speaker, seen_s: [[2, 12]] }, 1, facts, "x/").querySelector(".away").hidden,
          ];
        }"""
    )
    zones, why, hidden = silent
    assert zones == [[0, pytest.approx(1.25)], [pytest.approx(6.75), 10]]
    assert why == "Silent where the face is not in view: 0:00 to 0:01, 0:07 to 0:10."
    assert hidden is True
