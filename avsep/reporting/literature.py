"""Results from the literature, for orientation only.

They come from other speakers, other mixtures and full-size models, so they cannot be compared with
ours. Each was read in the table of a paper or of the authors' repository, not quoted second-hand.
"""

from __future__ import annotations

from dataclasses import dataclass

CTCNET, MUSE, RECORDED = "CTCNet's lists", "MuSE's lists", "real recordings"


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """One row of a published table of results.

    Attributes:
        model: name of the model, as published.
        data: name of the test list; the 2Mix lists have 3,000 mixtures (VoxCeleb2: 2,965) of 2 s.
        si_snri: SI-SNRi in dB.
        sdri: SDRi in dB; None if the source does not give it.
        pesq: PESQ; None if the source does not give it.
        source: where it was read.
        protocol: whose lists of mixtures: figures of two protocols cannot be compared.
        causal: whether the model hears nothing of the future.
    """

    model: str
    data: str
    si_snri: float
    sdri: float | None = None
    pesq: float | None = None
    source: str
    protocol: str = CTCNET
    causal: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishedCost:
    """One row of a published table of costs.

    Attributes:
        model: name of the model, as published.
        parameters: number of parameters.
        macs: multiply-accumulates as published, with the length of the input.
        latency: latency as published, with the machine.
        source: where it was read.
    """

    model: str
    parameters: int
    macs: str
    latency: str
    source: str


_DOLPHIN_TABLE = "result table in the Dolphin repository"
_IIANET_README = "README of the IIANet repository"
_DOLPHIN_README = "README of the Dolphin repository, released weights"
_VOVIT_README = "README of the VoViT repository; parameters counted on its code"

SCORES = (
    PublishedScore(
        model="Dolphin", data="LRS2-2Mix", si_snri=16.8, sdri=16.9, pesq=3.29, source=_DOLPHIN_TABLE
    ),
    PublishedScore(
        model="Dolphin", data="LRS3-2Mix", si_snri=18.8, sdri=18.9, pesq=3.36, source=_DOLPHIN_TABLE
    ),
    PublishedScore(
        model="Dolphin",
        data="VoxCeleb2-2Mix",
        si_snri=14.6,
        sdri=15.1,
        pesq=3.17,
        source=_DOLPHIN_TABLE,
    ),
    PublishedScore(
        model="Dolphin", data="VoxCeleb2-2Mix", si_snri=16.1, pesq=3.45, source=_DOLPHIN_README
    ),
    PublishedScore(
        model="IIANet",
        data="LRS2-2Mix",
        si_snri=16.0,
        sdri=16.2,
        pesq=3.23,
        source=_IIANET_README,
    ),
    PublishedScore(
        model="IIANet",
        data="LRS3-2Mix",
        si_snri=18.3,
        sdri=18.5,
        pesq=3.28,
        source=_IIANET_README,
    ),
    PublishedScore(
        model="IIANet",
        data="VoxCeleb2-2Mix",
        si_snri=13.6,
        sdri=14.3,
        pesq=3.12,
        source=_IIANET_README,
    ),
)

SCORE_NOTES = (
    "The Dolphin repository gives two figures for VoxCeleb2-2Mix: 14.6 dB in its table and 16.1 dB"
    " for its released weights. Both are listed.",
    "Two different benchmarks are called VoxCeleb2-2Mix. These figures belong to that of CTCNet,"
    " IIANet and Dolphin, whose first voice is always the louder one (by 0 to 10 dB).",
    "No figure of MuSE's lists, of real recordings or of a causal model is listed, because none was"
    " read in a table of its authors; such figures would stand in groups of their own.",
    "The result tables of VoViT (arXiv 2203.04099) are not listed here.",
)


def league() -> list[tuple[str, list[PublishedScore]]]:
    """The scores by protocol and causality, each group with its heading; the best ones first."""
    groups: dict[str, list[PublishedScore]] = {}
    for score in sorted(SCORES, key=lambda one: (one.protocol, one.causal, one.data, -one.si_snri)):
        heading = f"{score.protocol}, {'causal' if score.causal else 'not causal'}"
        groups.setdefault(heading, []).append(score)
    return list(groups.items())


COSTS = (
    PublishedCost(
        model="Dolphin",
        parameters=7_000_448,
        macs="10.89 G for 1 s (ptflops; dense DCT products not counted)",
        latency="2118 ms on a CPU, 33 ms on a GPU (input and machine not stated)",
        source=_DOLPHIN_TABLE,
    ),
    PublishedCost(
        model="IIANet",
        parameters=15_010_000,
        macs="26.51 G for 1 s",
        latency="",
        source=_DOLPHIN_TABLE,
    ),
    PublishedCost(
        model="VoViT stage 1",
        parameters=51_978_024,
        macs="",
        latency="52.21 ms for 10 s (RTX 3090, batch of 100)",
        source=_VOVIT_README,
    ),
    PublishedCost(
        model="VoViT",
        parameters=60_076_585,
        macs="",
        latency="57.45 ms for 10 s (RTX 3090, batch of 100)",
        source=_VOVIT_README,
    ),
)
