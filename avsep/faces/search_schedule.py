"""When the detector searches the whole picture, and for how small a face.

A search for faces of half the side costs four times as much. While a face is seen, the detector
runs at a fixed pace. While none is seen, it runs often at first and then backs off: the longer no
face has been seen, the rarer the searches, and the smaller the face, the rarer they become.
"""

from __future__ import annotations

from avsep.faces.config import FacesConfig

THOROUGH_EVERY = 4  # every so many detector runs also find much smaller faces
QUICK_SHARE = 0.6  # smallest face of the other runs, relative to the smallest tracked face
EAGER = 4  # the detector runs this many times as often when the last face has just gone
LEVEL_FACTOR = 2.6  # ratio of the smallest faces of two kinds of search
LARGEST_SHARE = 0.2  # smallest face of the cheapest search, relative to the short side
BACK_OFF = 0.5  # longest pause relative to the time since a face was last seen
NEW_SHOT = 1 / 8  # pause that a search in a new shot waits for, relative to the longest pause
# The longest pause, in frames, grows with the cost of a search: with the area of the picture in
# smallest faces of 7 times their side (a tile of the detector), and a little with its pixels.
FRAMES_PER_TILE = 2.5
TILE_SIDES = 7
PIXELS_PER_TILE = 500_000


class SearchSchedule:
    """Decides in each frame of a clip whether the detector searches the whole picture.

    Args:
        config: settings of the tracking.
        width: width of the pictures, in pixels.
        height: height of the pictures, in pixels.
    """

    def __init__(self, config: FacesConfig, width: int, height: int) -> None:
        self._every = config.detect_every
        self._smallest = config.smallest_face(width, height)
        self._eager = max(1, config.detect_every // EAGER)
        # By side of the smallest face, finest first: longest pause and last search, in frames.
        self._longest: dict[int, int] = {}
        side = self._smallest
        while not self._longest or side <= LARGEST_SHARE * min(width, height):
            tiles = width * height * (1 / (TILE_SIDES * side) ** 2 + 1 / PIXELS_PER_TILE)
            self._longest[side] = max(self._eager, int(FRAMES_PER_TILE * (tiles - 1)))
            side = int(side * LEVEL_FACTOR)
        self._searched = dict.fromkeys(self._longest, -max(self._longest.values()) - self._every)
        self._last_seen = 0
        self._last_thorough = -max(self._longest.values())
        self._searches = 0

    def smallest_face(
        self, index: int, smallest_seen: float | None, *, changed: bool
    ) -> int | None:
        """Side of the smallest face to search for in a frame; None where no search is due.

        Args:
            index: number of the frame; each frame is asked for once, in order.
            smallest_seen: side of the smallest face that is seen, in pixels; None without a face.
            changed: whether a new shot starts, or another face took the place of a tracked one.
        """
        if smallest_seen is not None:
            self._last_seen = index
        if smallest_seen is None:
            wanted = self._without_face(index, changed)
        elif changed or index - self._searched[self._smallest] >= self._every:
            wanted = self._smallest
        else:
            wanted = None
        if wanted is None:
            return None
        for side in self._searched:
            if side >= wanted:
                self._searched[side] = index
        thorough = smallest_seen is None or (
            self._searches % THOROUGH_EVERY == 0
            and index - self._last_thorough >= self._longest[self._smallest]
        )
        self._searches += 1
        if thorough:
            self._last_thorough = index
            return wanted
        return max(wanted, int(QUICK_SHARE * (smallest_seen or 0.0)))

    def _without_face(self, index: int, changed: bool) -> int | None:
        allowed = max(self._eager, int(BACK_OFF * (index - self._last_seen)))
        for side, longest in self._longest.items():
            pause = int(NEW_SHOT * longest) if changed else min(allowed, longest)
            if index - self._searched[side] >= pause:
                return side
        return None
