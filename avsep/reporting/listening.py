"""The examples of all models by mixture: their sounds and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsep.errors import CheckError
from avsep.evaluation.conditions import Condition
from avsep.files import read_json
from avsep.reporting.gather import ModelResults
from avsep.reporting.media import lips_uri, sound_uri, spectrogram_uri
from avsep.reporting.numbers import number


@dataclass(frozen=True, kw_only=True)
class Track:
    """One sound with its picture.

    Attributes:
        title: what the sound is.
        detail: score of the sound, or a remark.
        sound: data URI of the sound.
        picture: data URI of the spectrogram, or empty.
    """

    title: str
    detail: str
    sound: str
    picture: str = ""


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One wanted voice of an example.

    Attributes:
        speaker: id of the speaker.
        detail: gender and sample key.
        lips: data URI of the strip of lip frames.
        tracks: the voice alone, then each model's estimate.
        wrong_tracks: the estimates with the other speaker's video or with none.
    """

    speaker: str
    detail: str
    lips: str
    tracks: tuple[Track, ...]
    wrong_tracks: tuple[Track, ...]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One mixture to hear.

    Attributes:
        mixture_id: id of the mixture's recipe.
        mixture: sound of the mixture.
        voices: the wanted voices.
        licences: licences of the samples, each once.
        redistributable: whether the licence of every sample permits redistribution.
    """

    mixture_id: str
    mixture: Track
    voices: tuple[Voice, ...]
    licences: tuple[str, ...]
    redistributable: bool


def gather_examples(models: Sequence[ModelResults], limit: int) -> list[Example]:
    """At most `limit` examples, with the estimates of every model that kept them.

    Raises:
        CheckError: a file is missing or damaged.
    """
    ids = sorted({mixture_id for model in models for mixture_id in model.examples})
    return [_example(mixture_id, models) for mixture_id in ids[:limit]]


def _example(mixture_id: str, models: Sequence[ModelResults]) -> Example:
    models = [model for model in models if mixture_id in model.examples]
    directory = models[0].examples[mixture_id]
    cards = [_read_card(model.examples[mixture_id]) for model in models]
    voices = cards[0]["voices"]
    mixture = directory / "mixture.wav"
    return Example(
        mixture_id=mixture_id,
        mixture=Track(
            title="Mixture",
            detail="what the models hear",
            sound=sound_uri(mixture),
            picture=spectrogram_uri(mixture, mixture),
        ),
        voices=tuple(
            _voice(index, voice, models, cards, directory) for index, voice in enumerate(voices)
        ),
        licences=tuple(sorted({str(v["licence"]) for v in voices if v.get("licence")})),
        redistributable=all(bool(voice.get("redistributable", False)) for voice in voices),
    )


def _voice(
    index: int,
    voice: dict[str, Any],
    models: Sequence[ModelResults],
    cards: Sequence[dict[str, Any]],
    directory: Path,
) -> Voice:
    target = directory / f"target{index}.wav"
    tracks = [
        Track(
            title="Target",
            detail="this voice alone",
            sound=sound_uri(target),
            picture=spectrogram_uri(target, directory / "mixture.wav"),
        )
    ]
    wrong: list[Track] = []
    for model, card in zip(models, cards, strict=True):
        scores = card["voices"][index]["scores"]
        for condition in Condition:
            path = model.examples[card["mixture_id"]] / f"estimate{index}-{condition}.wav"
            if not path.is_file():
                continue
            detail = _score_text(scores.get(condition, {}))
            if condition is Condition.OWN:
                picture = spectrogram_uri(path, directory / "mixture.wav")
                tracks.append(
                    Track(title=model.title, detail=detail, sound=sound_uri(path), picture=picture)
                )
            else:
                title = f"{model.title}, {condition.label}"
                wrong.append(Track(title=title, detail=detail, sound=sound_uri(path)))
    return Voice(
        speaker=str(voice["speaker"]),
        detail=", ".join(
            part
            for part in ({"f": "female", "m": "male"}.get(voice["gender"], ""), voice["key"])
            if part
        ),
        lips=lips_uri(directory / f"lips{index}.npy"),
        tracks=tuple(tracks),
        wrong_tracks=tuple(wrong),
    )


def _score_text(scores: dict[str, float]) -> str:
    if "si_snri" not in scores:
        return "no score"
    return f"SI-SNRi {number(scores['si_snri'], 1)} dB"


def _read_card(directory: Path) -> dict[str, Any]:
    card = read_json(directory / "example.json")
    wanted = {"key", "speaker", "gender", "scores"}
    voices = card.get("voices") if isinstance(card, dict) else None
    if not isinstance(voices, list) or not all(
        isinstance(voice, dict) and wanted <= voice.keys() for voice in voices
    ):
        raise CheckError(f"{directory / 'example.json'} is damaged; run `evaluate` again.")
    return card
