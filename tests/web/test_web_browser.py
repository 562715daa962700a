"""The page in a real headless Chromium: upload, wait, play, look."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from avsep.separation import SeparateConfig, Separator
from tests.support.chromium import CHROMIUM, PROBLEM
from tests.support.clip_maker import make_clip
from tests.support.echo import Echo, FixedBackend, noise, still_pictures

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM)]


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


def test_upload_wait_play_and_remove(address, video, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    # Chromium's own sandbox does not work for root in a container.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1100, "height": 1100})
        page.set_default_timeout(240_000)
        noise: list[str] = []
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("console", lambda message: noise.append(f"{message.type}: {message.text}"))
        page.goto(address)
        page.set_input_files("#file", video)
        page.wait_for_selector("#results:not([hidden])")
        expect(page.locator("article").first.locator("h3")).to_have_text("Speaker 1")
        played = page.evaluate(
            """async () => {
              const sound = document.querySelector("article audio");
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
        shots = Path(os.environ.get("AVSEP_WEB_SHOTS") or tmp_path)
        page.screenshot(path=str(shots / "web.png"), full_page=True)
        page.click("#remove")
        page.wait_for_selector("#drop:not([hidden])")
        browser.close()
    assert noise == []
