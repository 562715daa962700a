import math

import numpy as np
import pytest

from avsep.cleaning import check_clip as checking
from avsep.cleaning.check_clip import ClipCheck, check_clip
from avsep.cleaning.config import Thresholds
from avsep.cleaning.drops import drop_report
from avsep.cleaning.duplicates import find_duplicates
from avsep.cleaning.journal import append_check, read_checks
from avsep.errors import ItemError, Reason
from avsep.raw_file import check_raw_file
from avsep.schema import Clip
from tests.support.clip_maker import make_clip, moving_pictures, raw_clip, speech_like


def checked(path, **thresholds) -> ClipCheck:
    return check_clip(raw_clip(path), path.parent, Thresholds(**thresholds))


def test_good_clip_is_kept_with_its_facts(tmp_path):
    path = make_clip(
        tmp_path / "a.mp4", pictures=moving_pictures(50), audio=speech_like(2.0, level=3_000)
    )
    check = checked(path)
    clip = check.clip
    assert (clip.kept, clip.reason, clip.message) == (True, "", "")
    assert (clip.start_s, clip.end_s) == (0.0, pytest.approx(2.0))
    assert (clip.width, clip.height, clip.fps) == (64, 64, pytest.approx(25))
    assert (clip.audio_rate_hz, clip.channels) == (16_000, 1)
    assert clip.level_dbfs == pytest.approx(20 * math.log10(3_000 / 32_768 * 0.75**0.5), abs=0.5)
    assert clip.speech_share == pytest.approx(0.75, abs=0.05)
    assert clip.snr_db == pytest.approx(40, abs=3)
    assert clip.clipped_share == 0
    assert len(check.sound_sha256) == 64


SOUND = {"audio": speech_like(2.0)}
SIGHT = {"pictures": moving_pictures(50)}


@pytest.mark.parametrize(
    ("reason", "content", "thresholds"),
    [
        (Reason.NO_AUDIO, SIGHT, {}),
        (Reason.NO_VIDEO, SOUND, {}),
        (Reason.TOO_SHORT, SIGHT | SOUND, {"min_duration_s": 2.5}),
        (Reason.TOO_LONG, SIGHT | SOUND, {"max_duration_s": 1.5}),
        (Reason.LENGTHS_APART, SIGHT | {"audio": speech_like(1.2)}, {"max_apart_s": 0.5}),
        (Reason.LENGTHS_APART, SIGHT | SOUND | {"audio_delay_s": 0.7}, {"max_apart_s": 0.5}),
        (Reason.TOO_SHORT, SIGHT | SOUND | {"audio_delay_s": 5.0}, {}),
        (Reason.SILENT, SIGHT | {"audio": np.zeros((32_000, 1), np.int16)}, {}),
        (Reason.SILENT, SIGHT | SOUND, {"silence_dbfs": -15.0}),
        (Reason.BLACK, SOUND | {"pictures": [np.zeros((64, 64, 3), np.uint8)] * 50}, {}),
        (Reason.FROZEN, SOUND | {"pictures": moving_pictures(1) * 50}, {}),
        (Reason.FROZEN, SOUND | {"pictures": moving_pictures(4), "fps": 2}, {}),
    ],
)
def test_hard_rejections_have_their_reason(tmp_path, reason, content, thresholds):
    check = checked(make_clip(tmp_path / "a.mp4", **content), **thresholds)
    assert not check.clip.kept
    assert check.clip.reason == reason
    assert check.clip.message.endswith(".")
    assert check.sound_sha256 == ""


def test_channels_in_opposite_phase_are_kept_with_a_remark(tmp_path):
    audio = speech_like(2.0)
    path = make_clip(tmp_path / "a.mp4", audio=np.concatenate([audio, -audio], axis=1), **SIGHT)
    clip = checked(path).clip
    assert clip.kept
    assert "only channel 1" in clip.message
    assert clip.level_dbfs > -30


@pytest.mark.parametrize(
    ("changes", "start_s", "end_s"),
    [
        ({"video_delay_s": 0.8}, 0.8, 4.0),  # the picture starts late
        ({"audio_delay_s": 0.8}, 0.8, 4.0),
        ({"audio": speech_like(2.5)}, 0.0, 2.5),  # the sound ends early
        ({"pictures": moving_pictures(40)}, 0.0, 1.6),
        ({"video_delay_s": 2.0, "audio": speech_like(3.5)}, 2.0, 3.5),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_streams_of_unequal_length_give_what_they_share(tmp_path, changes, start_s, end_s, suffix):
    content = {"pictures": moving_pictures(100), "audio": speech_like(4.0)} | changes
    clip = checked(make_clip(tmp_path / f"a{suffix}", **content)).clip
    assert clip.kept, clip.message
    assert clip.start_s == pytest.approx(start_s, abs=0.07)
    assert clip.end_s == pytest.approx(end_s, abs=0.07)


def test_still_picture_is_frozen_at_any_quality(tmp_path):
    still = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for options in ({"crf": "35"}, {"crf": "15", "g": "5"}, {"crf": "28", "g": "12", "bf": "3"}):
        path = make_clip(
            tmp_path / "a.mp4", pictures=[still] * 50, audio=SOUND["audio"], video_options=options
        )
        assert checked(path).clip.reason == Reason.FROZEN, options


def test_damaged_files_are_undecodable(tmp_path):
    path = make_clip(tmp_path / "a.mp4", **SIGHT, **SOUND)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start : start + 30_000] = bytes(30_000)
    path.write_bytes(content)
    assert checked(path).clip.reason == Reason.UNDECODABLE
    path.write_bytes(b"no media at all")
    clip = checked(path).clip
    assert (clip.reason, clip.duration_s) == (Reason.UNDECODABLE, 0.0)


def test_dropped_clip_keeps_what_was_measured(tmp_path):
    clip = checked(make_clip(tmp_path / "a.mp4", **SIGHT, **SOUND), silence_dbfs=-15.0).clip
    assert clip.width == 64
    assert clip.level_dbfs < -15
    assert clip.duration_s == pytest.approx(2.0)


def test_changed_missing_and_unreadable_files_fail(tmp_path):
    path = make_clip(tmp_path / "a.mp4", **SIGHT, **SOUND)
    cases = {
        Reason.FILE_MISSING: raw_clip(path, path="b.mp4"),
        Reason.FILE_CHANGED: raw_clip(path, sha256="0" * 64),
        Reason.UNREADABLE: raw_clip(path, path="../secret.mp4"),
    }
    for reason, raw in cases.items():
        with pytest.raises(ItemError) as caught:
            check_clip(raw, tmp_path, Thresholds())
        assert caught.value.reason is reason
    with pytest.raises(ItemError) as caught:
        check_raw_file(raw_clip(path, size_bytes=5), tmp_path)
    assert caught.value.reason is Reason.FILE_CHANGED
    with pytest.raises(ItemError) as caught:
        check_raw_file(raw_clip(path, path="/etc/passwd"), tmp_path)
    assert caught.value.reason is Reason.UNREADABLE


def test_file_that_vanishes_while_it_is_checked_fails_and_is_not_dropped(tmp_path, monkeypatch):
    path = make_clip(tmp_path / "a.mp4", **SIGHT, **SOUND)
    monkeypatch.setattr(checking, "check_raw_file", lambda raw, folder: tmp_path / "gone.mp4")
    with pytest.raises(ItemError) as caught:
        checked(path)
    assert caught.value.reason is Reason.FILE_MISSING


def test_same_sound_in_another_container_has_the_same_hash(tmp_path):
    sound = {"audio": speech_like(2.0), "audio_codec": "pcm_s16le"}
    paths = [make_clip(tmp_path / name, **SIGHT, **sound) for name in ("a.mov", "b.mkv")]
    one, two = (checked(path) for path in paths)
    assert one.clip.sha256 != two.clip.sha256
    assert one.sound_sha256 == two.sound_sha256 != ""


def test_first_clip_of_a_content_stays():
    content = {"c": "1", "a": "1", "b": "2", "e": "1", "d": "", "f": ""}
    assert find_duplicates(content) == {"c": "a", "e": "a"}


@pytest.mark.parametrize(
    "thresholds",
    [
        {"min_duration_s": 0.0},
        {"min_duration_s": 9.0, "max_duration_s": 8.0},
        {"max_apart_s": 0.0},
        {"silence_dbfs": 1.0},
        {"num_pictures": 1},
        {"max_black_share": 1.5},
        {"min_fps": 26.0},
    ],
)
def test_nonsense_thresholds_are_refused(thresholds):
    with pytest.raises(ValueError, match=next(iter(thresholds))):
        Thresholds(**thresholds)


def clip(clip_id: str, seconds: float, reason: str = "", **changes) -> Clip:
    values = {
        "clip_id": clip_id, "corpus": "x", "speaker": "x-s1", "group": "x-s1", "gender": "f",
        "split": "train", "path": "p", "sha256": "", "size_bytes": 1, "end_s": seconds,
    }  # fmt: skip
    return Clip(**(values | changes), kept=not reason, reason=reason)


def test_drop_report_adds_up():
    clips = [
        clip("a", 3600.0),
        clip("b", 1800.0, "silent", gender="m"),
        clip("c", 900.0, "silent", speaker="x-s2", split="val"),
        clip("d", 0.0, "file_missing", gender="", speaker="x-s2"),
    ]
    report = drop_report(clips)
    assert report["total"] == {"clips": 4, "hours": 1.75}
    assert report["kept"] == {"clips": 1, "hours": 1.0}
    assert report["by_reason"] == {
        "file_missing": {"clips": 1, "hours": 0.0, "state": "failed"},
        "silent": {"clips": 2, "hours": 0.75, "state": "dropped"},
    }
    assert report["by_speaker"]["x-s2"] == {
        "clips": 2, "hours": 0.25, "kept_clips": 0, "kept_hours": 0.0,
        "reasons": {"file_missing": 1, "silent": 1},
    }  # fmt: skip
    assert set(report["by_gender"]) == {"f", "m", "unknown"}
    for table in ("by_speaker", "by_gender", "by_split"):
        assert sum(row["clips"] for row in report[table].values()) == 4
        assert sum(row["hours"] for row in report[table].values()) == pytest.approx(1.75)


def test_journal_survives_a_line_that_was_cut_short(tmp_path):
    checks = [ClipCheck(clip=clip(f"x-{i}", 1.0), sound_sha256=f"{i}") for i in range(3)]
    path = tmp_path / "work" / "0.jsonl"
    assert read_checks(path) == []
    for check in checks[:2]:
        append_check(path, check)
    whole = path.read_bytes()
    with path.open("ab") as handle:
        handle.write(b'{"clip": {"clip_id": "x-2", "cor')
    assert [check.clip.clip_id for check in read_checks(path)] == ["x-0", "x-1"]
    append_check(path, checks[2])
    assert path.read_bytes().startswith(whole)
    back = read_checks(path)
    assert [check.clip.clip_id for check in back] == ["x-0", "x-1", "x-2"]
    assert math.isnan(back[2].clip.snr_db)
    assert back[2].sound_sha256 == "2"
