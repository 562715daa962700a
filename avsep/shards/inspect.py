"""Pictures and a table for people who want to look at a set of shards."""

from __future__ import annotations

import math
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsep.files import atomic_path, write_text
from avsep.schema import DETECTED, FPS, INTERPOLATED, LIPS_SIZE, MISSING, RATE_HZ, TURNED, Landmarks
from avsep.shards.index import IndexRow
from avsep.shards.store import ShardStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

PICTURES = 10  # of each sample
ZOOM = 2
TITLE_HEIGHT, WAVE_HEIGHT, GAP = 22, 64, 10  # in pixels
SAMPLES_PER_SHEET = 8

# red, green, blue
_DOTS = {
    DETECTED: (40, 220, 60),
    INTERPOLATED: (255, 200, 0),
    MISSING: (255, 60, 60),
    TURNED: (70, 150, 255),
}
_WAVE, _INK, _PAPER = (60, 90, 160), (20, 20, 20), 255

_STYLE = (
    "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:2px 6px;text-align:left}img{max-width:100%}"
)


def inspect_set(directory: Path | str, out_dir: Path | str, *, limit: int = 24) -> list[Path]:
    """Write contact sheets (mouths with landmarks, waveforms) and a table of some samples.

    Landmarks are green if detected, yellow if interpolated, blue on heads turned too far, and red
    in frames without a face.

    Args:
        directory: folder of the set.
        out_dir: folder for `sheet-<n>.png` and `index.html`.
        limit: number of samples, spread evenly over the set.

    Returns:
        The files written, the page last.

    Raises:
        CheckError: the set is damaged.
        ValueError: the limit is not positive.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit}; it must be at least 1.")
    store = ShardStore(directory)
    count = min(limit, len(store))
    rows = [store.index[i * len(store) // count] for i in range(count)]
    paths = []
    for first in range(0, count, SAMPLES_PER_SHEET):
        strips = [sample_strip(store, row) for row in rows[first : first + SAMPLES_PER_SHEET]]
        path = Path(out_dir) / f"sheet-{first // SAMPLES_PER_SHEET + 1}.png"
        _write_png(path, np.concatenate(strips))
        paths.append(path)
    page = Path(out_dir) / "index.html"
    write_text(page, _page(store, rows, [path.name for path in paths]))
    return [*paths, page]


def sample_strip(store: ShardStore, row: IndexRow) -> NDArray[np.uint8]:
    """One sample as a picture: a title, its mouths and its waveform, (height, width, 3) RGB."""
    import cv2

    lips, landmarks = store.lips(row.key), store.landmarks(row.key)
    frames = [round(i * (len(lips) - 1) / (PICTURES - 1)) for i in range(PICTURES)]
    mouths = np.concatenate([mouth_picture(lips[i], landmarks, i) for i in frames], axis=1)
    width = mouths.shape[1]
    title = np.full((TITLE_HEIGHT, width, 3), _PAPER, np.uint8)
    voices = ", more than one voice" if row.multi_voice else ""
    text = f"{row.key}  {row.split}  {row.speaker}  {row.num_frames} frames{voices}"
    cv2.putText(title, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    wave = wave_picture(store.audio(row.key), width)
    gap = np.full((GAP, width, 3), _PAPER, np.uint8)
    return np.concatenate([title, mouths, wave, gap])


def mouth_picture(lips: NDArray[np.uint8], landmarks: Landmarks, frame: int) -> NDArray[np.uint8]:
    """An enlarged mouth crop with the landmarks inside it, (height, width, 3) RGB."""
    import cv2

    side = LIPS_SIZE * ZOOM
    picture = cv2.cvtColor(
        cv2.resize(lips, (side, side), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB
    )
    colour = _DOTS[int(landmarks.valid[frame])]
    for x, y in crop_points(landmarks, frame):
        if 0 <= x < LIPS_SIZE and 0 <= y < LIPS_SIZE:
            # Pixel centres are at integers, in the crop as well as in the enlarged picture.
            at = (round((x + 0.5) * ZOOM - 0.5), round((y + 0.5) * ZOOM - 0.5))
            cv2.circle(picture, at, 2, colour, -1, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)


def crop_points(landmarks: Landmarks, frame: int) -> NDArray[np.float64]:
    """The landmarks of a frame in pixels of its mouth crop, (68, 2)."""
    points = landmarks.points[frame, :, :2].astype(np.float64)
    matrix = landmarks.to_mean_face[frame].astype(np.float64)
    return points @ matrix[:, :2].T + matrix[:, 2] - landmarks.crop_xy[frame]


def wave_picture(audio: NDArray[np.int16], width: int) -> NDArray[np.uint8]:
    """The waveform as a picture, (height, width, 3) RGB, full scale at its upper and lower edge."""
    picture = np.full((WAVE_HEIGHT, width, 3), 240, np.uint8)
    edges = np.linspace(0, len(audio), width + 1).astype(int)
    half = WAVE_HEIGHT / 2
    for column, (start, stop) in enumerate(pairwise(edges)):
        part = audio[start : max(stop, start + 1)].astype(np.float64) / 32768
        top = math.floor(half * (1 - part.max()))
        bottom = math.ceil(half * (1 - part.min()))
        picture[top : max(bottom, top + 1), column] = _WAVE
    return picture


def _page(store: ShardStore, rows: list[IndexRow], sheets: list[str]) -> str:
    manifest = store.manifest
    hours = manifest.num_frames / FPS / 3600
    summary = (
        f"{manifest.num_samples} samples in {len(manifest.shards)} shards, {hours:.2f} h,"
        f" {manifest.size_bytes / 1e6:.1f} MB, {manifest.storage}, {FPS} frames/s, {RATE_HZ} Hz"
    )
    scores = sorted({name for row in rows for name in row.quality})
    head = ["key", "split", "speaker", "frames", "voices", "level dBFS", *scores, "text"]
    body = [
        [
            row.key,
            row.split,
            row.speaker,
            str(row.num_frames),
            "several?" if row.multi_voice else "1",
        ]
        + [f"{row.level_dbfs:.1f}"]
        + [f"{row.quality.get(name, math.nan):.3g}" for name in scores]
        + [row.text]
        for row in rows
    ]
    table = "\n".join(_table_row("td", cells) for cells in body)
    pictures = "\n".join(
        f'<p><img src="{escape(name)}" alt="{escape(name)}"></p>' for name in sheets
    )
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Shards</title>'
        f"<style>{_STYLE}</style>\n<h1>{escape(str(store.directory.name))}</h1>\n"
        f"<p>{escape(summary)}</p>\n<table>\n{_table_row('th', head)}\n{table}\n</table>\n"
        f"{pictures}\n</html>\n"
    )


def _table_row(tag: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    import cv2

    done, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())
