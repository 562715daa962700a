"""The template of all heads: a mesh with face units, identity targets and masks.

It is the head and shoulders of the MakeHuman/MPFB2 base mesh (CC0 1.0), see `data/LICENCES.md`.
Lengths are in decimetres; x points to the subject's left, y up and z to the front.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
DELTAS_PER_UNIT = 1000.0  # stored deltas are whole thousandths


class Part(IntEnum):
    """The part of the head that a triangle belongs to."""

    SKIN = 0
    LEFT_EYE = 1
    RIGHT_EYE = 2
    TEETH = 3
    TONGUE = 4
    HAIR = 5
    LASHES = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """The undeformed mesh. N vertices, M triangles; one vertex per (position, uv) pair.

    Attributes:
        vertices: (N, 3) float32 positions.
        uv: (N, 2) float32 texture coordinates in 0..1, v upwards.
        triangles: (M, 3) int32, counter-clockwise when seen from outside.
        parts: (M,) uint8, the `Part` of each triangle.
        vertex_parts: (N,) uint8, the `Part` of each vertex.
        weld: (N,) int32, the same number for vertices at the same position, so that normals are
            smooth across seams of the uv map.
        masks: name -> (1024, 1024) float64 in 0..1 over the whole uv square, row 0 at v = 1.
        deltas: name -> indices (K,) int32 and displacements (K, 3) float32; `u/...` are face
            units, `t/...` identity targets.
    """

    vertices: NDArray[np.float32]
    uv: NDArray[np.float32]
    triangles: NDArray[np.int32]
    parts: NDArray[np.uint8]
    vertex_parts: NDArray[np.uint8]
    weld: NDArray[np.int32]
    masks: dict[str, NDArray[np.float64]]
    deltas: dict[str, tuple[NDArray[np.int32], NDArray[np.float32]]]

    def move(self, vertices: NDArray[np.float32], name: str, amount: float) -> None:
        """Add `amount` of the target `name` to `vertices` (N, 3) in place."""
        index, delta = self.deltas[name]
        vertices[index] += np.float32(amount) * delta

    def sample_mask(self, name: str, uv: NDArray[np.floating]) -> NDArray[np.float64]:
        """The nearest pixel of the mask `name` at points (..., 2) of the uv square, in 0..1."""
        mask = self.masks[name]
        height, width = mask.shape
        row = np.clip(((1 - uv[..., 1]) * height).astype(np.int64), 0, height - 1)
        column = np.clip((uv[..., 0] * width).astype(np.int64), 0, width - 1)
        return mask[row, column]


@functools.lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the template that ships with the package (0.9 MB, about 0.1 s)."""
    with np.load(DATA / "face_cc0.npz", allow_pickle=False) as stored:
        triangles = stored["T"].astype(np.int32)
        parts = stored["tg"]
        vertex_parts = np.zeros(len(stored["V0"]), np.uint8)
        vertex_parts[triangles.ravel()] = np.repeat(parts, 3)
        ends = stored["off"]
        index = stored["idx"].astype(np.int32)
        delta = (stored["dv"] / DELTAS_PER_UNIT).astype(np.float32)
        return Template(
            vertices=stored["V0"],
            uv=stored["uv"],
            triangles=triangles,
            parts=parts,
            vertex_parts=vertex_parts,
            weld=np.unique(stored["src"], return_inverse=True)[1].astype(np.int32),
            masks={
                name[2:]: stored[name] / 255.0 for name in stored.files if name.startswith("m_")
            },
            deltas={
                str(key): (index[start:end], delta[start:end])
                for key, start, end in zip(stored["keys"], ends[:-1], ends[1:], strict=True)
            },
        )
