"""What a room adds to a voice: impulse responses of rooms with six equal walls.

The first 25 ms are image sources (Allen and Berkley 1979, "Image method for efficiently simulating
small-room acoustics"), each at its nearest sample. What follows is a diffuse field: noise that
decays exponentially, as loud as theory has it in a room of this size (Lehmann and Johansson 2010,
"Diffuse reverberation model for efficient image-source simulation of room impulse responses").
Walls reflect as much as gives the reverberation time by Eyring 1930.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPEED_M_S = 343.0
DIFFUSE_S = 0.025  # after the direct sound; from then on the field is diffuse
DECAY = math.log(1e6)  # of the energy within the reverberation time: 60 dB
# From and to, in metres. A microphone in the middle fifth leaves room around it for every talker.
SIZES_M = ((5.0, 9.0), (4.0, 7.0), (2.5, 3.5))
HEIGHTS_M = (1.1, 1.7)
DISTANCES_M = (0.7, 1.5)  # from the microphone to a talker


@dataclass(frozen=True, kw_only=True)
class Room:
    """A room with a microphone and talkers.

    Attributes:
        size_m: length, width and height.
        microphone_m: place of the microphone.
        talkers_m: place of each talker.
    """

    size_m: tuple[float, ...]
    microphone_m: tuple[float, ...]
    talkers_m: tuple[tuple[float, ...], ...]


def draw_room(num_talkers: int, rng: np.random.Generator) -> Room:
    """A living room or an office, with talkers in any direction from the microphone."""
    size = tuple(float(rng.uniform(*span)) for span in SIZES_M)
    x, y = (side * float(rng.uniform(0.4, 0.6)) for side in size[:2])
    talkers = []
    for _ in range(num_talkers):
        distance, angle = float(rng.uniform(*DISTANCES_M)), float(rng.uniform(0, 2 * math.pi))
        place = x + distance * math.cos(angle), y + distance * math.sin(angle)
        talkers.append((*place, float(rng.uniform(*HEIGHTS_M))))
    microphone = x, y, float(rng.uniform(*HEIGHTS_M))
    return Room(size_m=size, microphone_m=microphone, talkers_m=tuple(talkers))


def impulse_response(
    room: Room, talker: int, rt60_s: float, rate_hz: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The impulse response from a talker to the microphone, from the direct sound on.

    Args:
        room: the room.
        talker: number of the talker.
        rt60_s: reverberation time.
        rate_hz: sample rate.
        rng: draws the diffuse field.

    Returns:
        (N,): the direct sound is 1 and comes first, whatever the distance, so that the sound stays
        in step with the picture; N covers the reverberation time.
    """
    place, microphone = room.talkers_m[talker], room.microphone_m
    direct_m = math.dist(place, microphone)
    volume = math.prod(room.size_m)
    response = np.zeros(max(1, math.ceil(rt60_s * rate_hz)))
    time_s = direct_m / SPEED_M_S + np.arange(len(response)) / rate_hz
    # The number of images grows as their energy falls with distance: the mean energy is constant.
    density = SPEED_M_S / (4 * math.pi * volume * rate_hz)
    decay = np.exp(-DECAY * time_s / (2 * rt60_s))
    tail = 4 * math.pi * direct_m * math.sqrt(density) * decay
    first = min(len(response), math.ceil(DIFFUSE_S * rate_hz))
    response[first:] = tail[first:] * rng.standard_normal(len(response) - first)
    distance_m, reflections = _images(room.size_m, place, microphone, direct_m)
    delay = np.rint((distance_m - direct_m) / SPEED_M_S * rate_hz).astype(np.int64)
    near = delay < first
    strength = _reflection(room.size_m, rt60_s) ** reflections[near] * direct_m / distance_m[near]
    np.add.at(response, delay[near], strength)
    return response


def _reflection(size_m: tuple[float, ...], rt60_s: float) -> float:
    """The share of the pressure that a wall reflects, by Eyring's formula."""
    length, width, height = size_m
    surface = 2 * (length * width + length * height + width * height)
    return math.exp(-2 * DECAY * math.prod(size_m) / (SPEED_M_S * surface * rt60_s))


def _images(
    size_m: tuple[float, ...],
    place: tuple[float, ...],
    microphone: tuple[float, ...],
    direct_m: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances of the images that are near enough, and how often each was reflected."""
    reach_m = direct_m + DIFFUSE_S * SPEED_M_S
    squares: NDArray[np.float64] = np.zeros(1)
    reflections: NDArray[np.int64] = np.zeros(1, np.int64)
    for side, source, ear in zip(size_m, place, microphone, strict=True):
        count = math.ceil(reach_m / (2 * side)) + 1
        shift = np.arange(-count, count + 1)
        offset = np.concatenate([source + 2 * shift * side, -source + 2 * shift * side]) - ear
        hits = np.concatenate([np.abs(2 * shift), np.abs(2 * shift - 1)])
        squares = np.add.outer(squares, offset**2).ravel()
        reflections = np.add.outer(reflections, hits).ravel()
        near = squares <= reach_m**2
        squares, reflections = squares[near], reflections[near]
    return np.sqrt(squares), reflections
