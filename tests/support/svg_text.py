"""Where the words of a chart are: the boxes of its text, as its SVG places them."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from itertools import combinations
from xml.etree import ElementTree

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

SLACK = 0.5  # points that two boxes may share: the space about a letter


@dataclass(frozen=True)
class Box:
    """The box of one text, in the units of the picture."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    turned: bool = False

    def meets(self, other: Box) -> bool:
        """Whether both cover some of the same place."""
        return (
            self.left < other.right - SLACK
            and other.left < self.right - SLACK
            and self.top < other.bottom - SLACK
            and other.top < self.bottom - SLACK
        )

    def inside(self, other: Box) -> bool:
        """Whether the other covers all of it."""
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )


def svg(uri: str) -> ElementTree.Element:
    """The root of a chart that is an SVG data URI."""
    kind, _, content = uri.partition(";base64,")
    assert kind == "data:image/svg+xml"
    return ElementTree.fromstring(base64.b64decode(content))  # our own


def boxes(uri: str) -> list[Box]:
    """The box of each text of a chart, in DejaVu Sans: wider than most readers' fonts."""
    return [
        _box(element)
        for element in svg(uri).iter("{http://www.w3.org/2000/svg}text")
        if (element.text or "").strip()
    ]


def collisions(uri: str) -> list[str]:
    """What covers something else, or leaves the picture, in words."""
    found = boxes(uri)
    _, _, width, height = map(float, svg(uri).attrib["viewBox"].split())
    told = [f"{a.text!r} meets {b.text!r}" for a, b in combinations(found, 2) if a.meets(b)]
    plots = _plots(uri)
    told += [
        f"{box.text!r} reaches into a plot"
        for box in found
        for plot in plots
        if box.meets(plot) and (box.turned or not box.inside(plot))
    ]
    return told + [
        f"{box.text!r} leaves the picture"
        for box in found
        if min(box.left, box.top) < -SLACK
        or box.right > width + SLACK
        or box.bottom > height + SLACK
    ]


def _plots(uri: str) -> list[Box]:
    """Where curves and bars may be: what they are clipped to."""
    found = []
    for clip in svg(uri).iter("{http://www.w3.org/2000/svg}clipPath"):
        for rect in clip:
            x, y, width, height = (float(rect.attrib[n]) for n in ("x", "y", "width", "height"))
            found.append(Box("a plot", x, y, x + width, y + height))
    return found


def _box(element: ElementTree.Element) -> Box:
    style = element.attrib["style"]
    size = float(re.search(r"([\d.]+)px", style)[1])
    move = element.attrib.get("transform", "")
    turned = re.search(r"rotate\((-?[\d.]+)", move)
    angle = float(turned[1]) if turned else 0.0
    text = element.text or ""
    width, height, descent = text_to_path.get_text_width_height_descent(
        text, FontProperties("DejaVu Sans", size=size), ismath=False
    )
    if moved := re.search(r"translate\((\S+) (\S+?)\)", move):  # a line of several
        x, y = map(float, moved.groups())
    else:
        x, y = float(element.attrib["x"]), float(element.attrib["y"])
    anchor = re.search(r"text-anchor: (\w+)", style)
    start = {"start": 0.0, "middle": -width / 2, "end": -width}[anchor[1] if anchor else "start"]
    along, across = (start, start + width), (descent - height, descent)
    if angle % 180 == 0:
        return Box(text, x + along[0], y + across[0], x + along[1], y + across[1])
    assert abs(angle) == 90, f"{text!r} is turned by {angle} degrees"
    # Turned to the left: it runs upwards, and its height lies to the left of its line.
    return Box(text, x + across[0], y - along[1], x + across[1], y - along[0], turned=True)
