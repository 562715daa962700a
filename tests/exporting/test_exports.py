"""What is exported is read back as its reader reads it."""

import json
import shutil
import wave
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.errors import CheckError, UsageError
from avsep.exporting import muse
from avsep.exporting.iianet import file_name
from avsep.media.pcm import decode_flac
from avsep.mixing.recipes import read_recipes, write_recipes
from avsep.mixing.render import render
from avsep.shards.lips import decode_mp4
from avsep.shards.store import ShardStore
from tests.support.synthetic_workspace import make_workspace

FRAMES = 25
SAMPLES = 640 * FRAMES


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    space = make_workspace(tmp_path_factory.mktemp("project"), num_frames=FRAMES)
    (space.shards / "card.md").write_text("# Data card\n")
    return space


@pytest.fixture(scope="module")
def store(workspace):
    return ShardStore(workspace.shards)


@pytest.fixture(scope="module")
def exported(workspace, tmp_path_factory):
    """Exports a form once; returns its folder."""
    done: dict[str, Path] = {}

    def run(form: str) -> Path:
        if form not in done:
            out = tmp_path_factory.mktemp(form) / "out"
            words = ["export", form, "--out", str(out), "--root", str(workspace.root)]
            words += ["--split", "train", "--split", "val", "--train-mixtures", "2"]
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, result.exception
            assert (out / "card.md").read_text() == "# Data card\n"
            done[form] = out
        return done[form]

    return run


def read_wav(path: str | Path) -> np.ndarray:
    with wave.open(str(path)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2")


def val_mixtures(workspace, store):
    for recipe in read_recipes(workspace.mixtures / "val.jsonl"):
        yield recipe, render(recipe, store.audio)


def test_iianet_reads_mixtures_sources_and_mouths_line_by_line(exported, workspace, store):
    out = exported("iianet")
    mix, *sources = (
        json.loads((out / "cv" / f"{n}.json").read_text()) for n in ("mix", "s1", "s2")
    )
    assert len(mix) == 2
    for number, (recipe, rendered) in enumerate(val_mixtures(workspace, store)):
        path, samples = mix[number]
        assert Path(path).is_absolute()
        assert samples == SAMPLES
        assert f"{out.resolve()}/wav16k/min/cv/mix/" in path
        np.testing.assert_array_equal(read_wav(path), rendered.mixture * 32768)
        total = np.zeros(SAMPLES)
        for listed, voice, source in zip(sources, rendered.sources, recipe.sources, strict=True):
            wav, mouth, samples = listed[number]
            assert samples == SAMPLES
            assert Path(wav).name == Path(path).name
            np.testing.assert_array_equal(read_wav(wav), voice * 32768)
            total += read_wav(wav)
            data = np.load(mouth, allow_pickle=False)["data"]
            first = source.start // 640
            np.testing.assert_array_equal(data, store.lips(source.key)[first : first + FRAMES])
        np.testing.assert_array_equal(total, read_wav(path))
    assert len(json.loads((out / "tr" / "mix.json").read_text())) == 2
    levels = Path(mix[0][0]).stem.split("_")
    assert float(levels[1]) == -float(levels[3])


def test_muse_mixes_its_list_to_our_mixtures(exported, workspace, store):
    out = exported("muse")
    lines = (out / muse.LIST).read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["train", "train", "val", "val"]
    ours = list(val_mixtures(workspace, store))
    for line, (recipe, rendered) in zip(lines[2:], ours, strict=True):
        fields = line.split(",")
        assert len(fields) == 10
        assert float(fields[9]) == 1.0
        assert fields[2] == recipe.sources[0].speaker
        voices = []
        for at in (1, 5):
            place = Path(fields[at], fields[at + 1], fields[at + 2])
            voices.append(read_wav(f"{out / 'audio' / place}.wav").astype(float))
            video = decode_mp4(Path(f"{out / 'visual' / place}.mp4").read_bytes())
            assert len(video) == FRAMES
        # As the reader mixes: the second voice by its power relative to the first.
        power = [np.mean(voice**2) for voice in voices]
        factor = 10 ** (float(fields[8]) / 20) * np.sqrt(power[0] / power[1])
        mixed = voices[0] + factor * voices[1]
        mixed *= 32767 / np.abs(mixed).max()
        name = line.replace(",", "_").replace("/", "_")
        written = read_wav(out / "mixture" / "val" / f"{name}.wav")
        assert np.abs(written - mixed).max() <= 1.01
        scaled = rendered.mixture / np.abs(rendered.mixture).max() * 32767
        assert np.abs(written - scaled).max() < 60  # ours was rounded to 16 bits before


@pytest.mark.slow
def test_auto_avsr_finds_video_and_sound_by_its_labels(exported, store):
    out = exported("auto-avsr")
    lines = (out / "labels" / "avsep_train.csv").read_text().splitlines()
    texts = (out / "labels" / "avsep_train.txt").read_text().splitlines()
    assert len(lines) == len(texts) == 8
    for line in lines[:2]:
        name, path, frames, tokens = line.split(",")
        assert [int(token) for token in tokens.split()] == []
        video = out / name / path
        key = video.stem
        assert len(decode_mp4(video.read_bytes())) == int(frames) == store.row(key).num_frames
        np.testing.assert_array_equal(read_wav(str(video)[:-4] + ".wav"), store.audio(key))


@pytest.mark.slow
def test_av_hubert_reads_its_manifest_and_words(exported, store):
    out = exported("av-hubert")
    root, *lines = (out / "valid.tsv").read_text().splitlines()
    assert len((out / "valid.wrd").read_text().splitlines()) == len(lines) == 4
    for line in lines[:2]:
        key, video, audio, frames, samples = line.split("\t")
        assert len(decode_mp4((Path(root) / video).read_bytes())) == int(frames)
        sound = read_wav(audio)
        assert len(sound) == int(samples) == 640 * int(frames)
        np.testing.assert_array_equal(sound, store.audio(key))


@pytest.mark.slow
def test_folders_hold_files_that_any_program_opens(exported, store):
    out = exported("folders")
    key = "e0"
    folder = out / "val" / store.row(key).speaker / key
    np.testing.assert_array_equal(read_wav(folder / "audio.wav"), store.audio(key))
    with np.load(folder / "landmarks.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["pts"], store.landmarks(key).points)
    assert json.loads((folder / "sample.json").read_text())["key"] == key
    lips = decode_mp4((folder / "lips.mp4").read_bytes()).astype(int)
    assert np.abs(lips - store.lips(key)).mean() < 3


@pytest.mark.slow
def test_hugging_face_finds_splits_files_and_columns(exported, store):
    out = exported("huggingface")
    for kind, suffix in (("audio", "flac"), ("video", "mp4")):
        folder = out / kind / "validation"
        lines = (folder / "metadata.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["file_name"] for row in rows] == [
            f"{k}.{suffix}" for k in ("e0", "e1", "f0", "f1")
        ]
        assert {path.name for path in folder.glob(f"*.{suffix}")} == {r["file_name"] for r in rows}
        assert rows[0]["audio_sha256"] == store.row("e0").audio_sha256
        # Texts stay texts, also where there is none or where they look like numbers.
        assert (rows[0]["text"], rows[0]["speaker"], rows[0]["num_frames"]) == ("", "e", FRAMES + 5)
    flac = (out / "audio" / "validation" / "e0.flac").read_bytes()
    np.testing.assert_array_equal(decode_flac(flac), store.audio("e0"))
    assert not (out / "audio" / "test").exists()


@pytest.mark.slow
def test_a_second_export_is_the_same_byte_for_byte(exported, workspace, tmp_path):
    once = exported("folders")
    words = ["export", "folders", "--out", str(tmp_path / "out"), "--root", str(workspace.root)]
    assert CliRunner().invoke(app, words).exit_code == 0
    for path in sorted(once.rglob("*.*")):
        assert (tmp_path / "out" / path.relative_to(once)).read_bytes() == path.read_bytes()


def test_wrong_options_get_a_sentence(workspace, tmp_path):
    def error(*words: str, root: Path = workspace.root) -> Exception:
        return CliRunner().invoke(app, ["export", *words, "--root", str(root)]).exception

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert "is not empty" in str(error("folders", "--out", str(tmp_path / "full")))
    found = error("folders", "--out", str(tmp_path / "o"), "--split", "dev")
    assert isinstance(found, UsageError)
    other = tmp_path / "other"
    other.mkdir()
    (other / "data").mkdir()
    (other / "data" / "shards").symlink_to(workspace.shards)
    found = error("iianet", "--out", str(tmp_path / "o"), root=other)
    assert isinstance(found, CheckError)
    assert "run the stage `mix` first" in str(found)


def test_mixtures_of_other_samples_are_not_exported(workspace, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shards").symlink_to(workspace.shards)
    shutil.copytree(workspace.mixtures, tmp_path / "data" / "mixtures")
    lists = tmp_path / "data" / "mixtures" / "val.jsonl"
    first, *others = read_recipes(lists)
    changed = replace(first.sources[0], sha256="0" * 64)
    write_recipes(lists, [replace(first, sources=(changed, *first.sources[1:])), *others])
    words = ["export", "iianet", "--split", "val", "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(app, [*words, "--root", str(tmp_path)]).exception
    assert isinstance(found, CheckError)
    assert f"was drawn from another {changed.key} than the shards hold" in str(found)


@pytest.mark.parametrize(
    ("half_db", "in_name"),
    [
        (2.53196, "2.532"),
        (0.06817, "0.06817"),
        (2.80091, "2.8009"),
        (0.7869, "0.7869"),
        (4.0, "4"),
        (0.00005, "5e-05"),
    ],
)
def test_levels_in_the_names_of_mixtures_have_five_significant_digits(half_db, in_name):
    sources = [SimpleNamespace(level_db=half_db, gain_db=0.0)]
    sources += [SimpleNamespace(level_db=-half_db, gain_db=0.0)]
    voices = [SimpleNamespace(name=name) for name in ("one", "other")]
    mixture = SimpleNamespace(recipe=SimpleNamespace(sources=sources), voices=voices)
    assert file_name(mixture) == f"one_{in_name}_other_-{in_name}"
