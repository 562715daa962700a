import random

import pytest

from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.youtube.breaker import Breaker, is_open
from avsep.corpora.youtube.config import YouTubeConfig
from avsep.corpora.youtube.messages import Failure
from avsep.corpora.youtube.session import Session
from avsep.corpora.youtube.video_job import VideoJob, VideoResult
from avsep.corpora.youtube.ytdlp import Site
from avsep.errors import ItemError, Reason, State
from avsep.outcome import Counts, Outcome
from pipeline.execution.ledger import Ledger


class Clock:
    def __init__(self) -> None:
        self.time, self.slept = 1000.0, []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def test_the_pause_doubles_up_to_its_limit_until_a_download_succeeds(tmp_path):
    clock = Clock()
    breaker = Breaker(tmp_path, pause_s=10, max_pause_s=35, now=clock.now, sleep=clock.sleep)
    pauses = []
    for _ in range(4):
        pauses.append(breaker.trip())
        assert breaker.trip() == pauses[-1]  # a report of a second worker is the same pause
        assert is_open(tmp_path)
        breaker.wait()
        assert not is_open(tmp_path)
    assert pauses == [10, 20, 35, 35]
    assert sum(clock.slept) == 100
    breaker.succeeded()
    assert breaker.trip() == 10


def test_a_run_that_was_killed_during_a_pause_continues_the_pause(tmp_path):
    clock = Clock()
    settings = {"pause_s": 100, "max_pause_s": 1000, "now": clock.now, "sleep": clock.sleep}
    Breaker(tmp_path, **settings).trip()
    clock.time += 40
    again = Breaker(tmp_path, **settings)
    assert again.is_open
    assert (again.pauses, again.remaining_s) == (1, 60)
    clock.time -= 10**9  # a clock that was set back
    assert again.remaining_s == 1000


def test_another_session_waits_as_long_and_does_not_end_the_pause(tmp_path):
    clock = Clock()
    settings = {"pause_s": 100, "max_pause_s": 1000, "now": clock.now, "sleep": clock.sleep}
    one, other = (Breaker(tmp_path, **settings) for _ in range(2))
    one.trip()
    clock.time += 30
    assert other.trip() == 70  # throttled meanwhile: the same pause, not a second one
    other.wait()
    assert clock.time == 1100
    assert not is_open(tmp_path)
    assert other.trip() == 200  # it has counted the pause of the other session

    # While it waits, the first session tries and is throttled again: the wait gets longer.
    late = Breaker(tmp_path, **{**settings, "sleep": lambda s: (clock.sleep(s), again())})

    def again() -> None:
        if clock.time == 1150:
            (tmp_path / "throttled.json").unlink()
            one.pauses = 2
            one.trip()

    late.wait()
    assert clock.time == 1150 + 400


def job(tmp_path, number: int) -> VideoJob:
    video = f"v{number:010d}"
    clips = tuple(
        SourceClip(clip_id=f"c-{video}-{u}", corpus="x", speaker="s", group="s", gender="",
              split="train", path=f"x/{video}-{u}.mp4", video=video)
        for u in range(1 + number % 3)
    )  # fmt: skip
    return VideoJob(
        video=video, clips=clips, config=CONFIG, site=Site(), raw=tmp_path, work=tmp_path
    )


CONFIG = YouTubeConfig(allowed=True, retry_delay_s=0, pause_s=0.0, tries=3)


@pytest.mark.slow
def test_with_a_thousand_videos_of_which_many_fail_every_clip_is_counted_once(tmp_path):
    rng = random.Random(1)
    fate = {}
    for number in range(1000):
        draw = rng.random()
        fate[f"v{number:010d}"] = (
            Failure.GONE if draw < 0.3 else Failure.CHANGED if draw < 0.34
            else Failure.RESTRICTED if draw < 0.38 else Failure.UNKNOWN if draw < 0.40
            else Failure.TRANSIENT if draw < 0.45 else None
        )  # fmt: skip
    asked: list[str] = []

    def run(job: VideoJob) -> VideoResult:
        asked.append(job.video)
        if len(asked) % 97 == 0:
            return VideoResult(video=job.video, failure=Failure.THROTTLED, message="429")
        failure = fate[job.video]
        if failure is not None:
            return VideoResult(video=job.video, failure=failure, message=str(failure))
        clips = {o.clip_id: FileInfo("0" * 64, 1) for o in job.clips}
        return VideoResult(video=job.video, clips=clips)

    ledger = Ledger(tmp_path / "ledger.sqlite")
    jobs = [job(tmp_path, number) for number in range(1000)]

    def go() -> dict[str, Outcome]:
        clock = Clock()
        breaker = Breaker(tmp_path, pause_s=1, max_pause_s=9, now=clock.now, sleep=clock.sleep)
        session = Session(
            CONFIG, ledger, breaker, run=run, workers=0, timeout_s=9, sleep=clock.sleep
        )
        ended = {}
        for clip, result in session.download(jobs):
            assert clip.clip_id not in ended
            ended[clip.clip_id] = (
                Outcome.ended(clip.clip_id, result.reason, result.message)
                if isinstance(result, ItemError)
                else Outcome.done(clip.clip_id)
            )
        return ended

    ended = go()
    counts = Counts.of(ended.values())
    assert counts.total == sum(len(job.clips) for job in jobs)
    wanted = {
        reason: sum(len(j.clips) for j in jobs if fate[j.video] is failure)
        for failure, reason in [
            (Failure.GONE, "video_gone"), (Failure.CHANGED, "video_changed"),
            (Failure.RESTRICTED, "video_restricted"), (Failure.UNKNOWN, "unrecognised"),
            (Failure.TRANSIENT, "network_trouble"), (None, ""),
        ]
    }  # fmt: skip
    assert counts.done == wanted.pop("")
    assert {**counts.dropped, **counts.failed} == wanted
    tries = {video: asked.count(video) for video in fate}
    assert {tries[v] for v, t in fate.items() if t is Failure.TRANSIENT} <= {3, 4, 5}

    # Only videos that may work now are asked for again.
    for failure in (Failure.TRANSIENT, Failure.THROTTLED):
        ledger.reset_failed_sources("download", [failure.reason])
    before = dict(fate)
    fate.update({v: None for v, t in before.items() if t is Failure.TRANSIENT})
    asked.clear()
    jobs = [j for j in jobs if before[j.video] is not None]
    again = go()
    assert not {v for v in asked if before[v] in (Failure.GONE, Failure.CHANGED)}
    healed = [i for i, o in again.items() if o.state is State.DONE]
    assert len(healed) == wanted["network_trouble"]


def test_a_video_that_is_gone_is_not_asked_for_in_the_next_run(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    calls = []

    def run(job: VideoJob) -> VideoResult:
        calls.append(job.video)
        return VideoResult(video=job.video, failure=Failure.GONE, message="private")

    for _ in range(2):
        breaker = Breaker(tmp_path, pause_s=1, max_pause_s=9)
        session = Session(CONFIG, ledger, breaker, run=run, workers=0, timeout_s=9)
        [(_, error)] = session.download([job(tmp_path, 0)])
        assert isinstance(error, ItemError)
        assert error.reason is Reason.VIDEO_GONE
    assert len(calls) == 1
    assert ledger.sources("download")["v0000000000"].attempts == 1


@pytest.mark.parametrize("settings", [
    {"tries": 0}, {"sleep_s": (5.0, 1.0)}, {"size": 65}, {"box_scale": 0.5}, {"pause_s": -1.0},
    {"rate_limit_mb_s": 0.0},
])  # fmt: skip
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        YouTubeConfig(**settings)


def test_after_too_many_pauses_a_later_run_tries_again(tmp_path):
    clock, asked = Clock(), []

    def run(job: VideoJob) -> VideoResult:
        asked.append(job.video)
        return VideoResult(video=job.video, failure=Failure.THROTTLED, message="429")

    def go() -> ItemError:
        breaker = Breaker(tmp_path, pause_s=100, max_pause_s=400, now=clock.now, sleep=clock.sleep)
        session = Session(
            CONFIG, Ledger(tmp_path / "l.sqlite"), breaker, run=run, workers=0, timeout_s=9
        )
        [(_, error)] = session.download([job(tmp_path, 0)])
        assert isinstance(error, ItemError)
        return error

    assert go().reason is Reason.THROTTLED
    tries = len(asked)
    assert tries == CONFIG.max_pauses + 1
    assert go().attempts == 0
    assert len(asked) == tries  # the pause is not over
    clock.time += 1000
    go()
    assert len(asked) == tries + 1


def test_after_the_pause_of_another_session_one_video_tests_the_site(tmp_path):
    clock, asked = Clock(), []

    def breaker() -> Breaker:
        return Breaker(tmp_path, pause_s=100, max_pause_s=400, now=clock.now, sleep=clock.sleep)

    other = breaker()

    def run(job: VideoJob) -> VideoResult:
        asked.append(clock.time)
        if len(asked) == 3:
            other.trip()
        failure = Failure.TRANSIENT if len(asked) <= 3 else Failure.THROTTLED
        return VideoResult(video=job.video, failure=failure, message="x")

    ledger = Ledger(tmp_path / "ledger.sqlite")
    session = Session(CONFIG, ledger, breaker(), run=run, workers=0, timeout_s=9, sleep=clock.sleep)
    list(session.download([job(tmp_path, number) for number in range(3)]))
    assert asked[0] == asked[2] <= asked[3] - 100
    assert asked[4] >= asked[3] + 200  # not in the same round


def test_one_video_that_is_always_refused_is_not_throttling(tmp_path):
    clock = Clock()

    def run(job: VideoJob) -> VideoResult:
        return VideoResult(video=job.video, failure=Failure.REFUSED, message="HTTP Error 403")

    ledger = Ledger(tmp_path / "ledger.sqlite")
    breaker = Breaker(tmp_path, pause_s=100, max_pause_s=400, now=clock.now, sleep=clock.sleep)
    session = Session(CONFIG, ledger, breaker, run=run, workers=0, timeout_s=9, sleep=clock.sleep)
    [(_, error)] = session.download([job(tmp_path, 0)])
    assert isinstance(error, ItemError)
    assert error.reason is Reason.NETWORK
    assert breaker.pauses == 0
    assert ledger.sources("download")["v0000000000"].attempts == CONFIG.tries
