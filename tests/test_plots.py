"""`dvc plots show` with the project's settings: a page that needs no network."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.chromium import CHROMIUM, PROBLEM

ROOT = Path(__file__).parents[1]
PLOTS = ROOT / ".dvc" / "plots"
CONDITIONS = ("own", "other", "none")


def test_the_scripts_are_those_of_the_packages_that_the_licences_name():
    page = (PLOTS / "offline.html").read_text("utf-8")
    scripts = re.findall(r"<script>\n(.*?)</script>", page, re.DOTALL)
    told = re.findall(r"`([0-9a-f]{64})`", (PLOTS / "LICENCES.md").read_text("utf-8"))
    assert [hashlib.sha256(script.encode("utf-8")).hexdigest() for script in scripts] == told


def project(folder: Path) -> dict[str, list[str]]:
    """A repository with the project's plots and made-up tables; the tables by plot."""
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["plots"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": plots}))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    tables = {name: list(plot["y"]) for one in plots for name, plot in one.items()}
    for path in tables["si_snri"]:
        rows = [f"m{n},0,{c},fm,{n - 2},{n},1" for n in range(5) for c in CONDITIONS]
        head = "mixture_id,target,condition,pair,si_snr_mixture,si_snri,sdri"
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text("\n".join([head, *rows]) + "\n")
    for path in tables["training"]:
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text("step\tval_si_sdri\n10\t1.0\n20\t1.5\n")
    return tables


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM)
def test_every_plot_is_drawn_without_a_network(tmp_path):
    from playwright.sync_api import sync_playwright

    tables = project(tmp_path)
    subprocess.run(
        [sys.executable, "-m", "dvc", "plots", "show", "-o", "out"],
        cwd=tmp_path, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    page_file = tmp_path / "out" / "index.html"
    noise: list[str] = []
    # Chromium's own sandbox does not work for root in a container.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_context(offline=True).new_page()
        page.on("console", lambda message: noise.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: noise.append(f"error: {error}"))
        page.on("request", lambda request: noise.append(f"request: {request.url}"))
        page.goto(page_file.as_uri())
        page.wait_for_function(
            f"document.querySelectorAll('.vega-embed canvas').length == {len(tables)}",
            timeout=60_000,
        )
        shown = page.evaluate(
            """() => [...document.querySelectorAll('.vega-embed canvas')].map(canvas => {
                 const all = canvas.getContext('2d').getImageData(
                   0, 0, canvas.width, canvas.height).data;
                 let marks = 0;  // pixels with a colour: neither text nor axes nor paper
                 for (let i = 0; i < all.length; i += 4) {
                   const rgb = all.slice(i, i + 3);
                   marks += all[i + 3] > 128 && Math.max(...rgb) - Math.min(...rgb) > 60;
                 }
                 return [canvas.width, marks];
               })"""
        )
        if folder := os.environ.get("AVSEP_SCREENSHOTS"):
            page.screenshot(path=str(Path(folder) / "plots.png"), full_page=True)
        browser.close()
    assert noise == [f"request: {page_file.as_uri()}"]
    assert all(width > 400 and marks > 80 for width, marks in shown), shown
