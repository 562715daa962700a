"""What the model makes of fixed validation items, and where the figures of a run go."""

import io
import os
import wave
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from PIL import Image

from avsep.errors import CheckError
from avsep.files import read_json
from avsep.training import loggers
from avsep.training.checkpoints import LAST
from avsep.training.config import LOGGER_RUNS, SAMPLES
from avsep.training.samples import grey_png
from avsep.training.task import Shown
from tests.support.toy_fit import Tones, make_task, run


def showing(task):
    """The toy with something to show: its estimate, and a ramp of grey pictures."""
    ramp = torch.arange(20, dtype=torch.uint8)[None, :, None, None].expand(4, 20, 3, 5)

    def show(model, batch):
        assert not model.training
        sounds = {"estimate": 0.1 * model(batch["mixture"]), "target": batch["target"]}
        return Shown(sounds, {"lips": ramp})

    task.show = show
    return task


def read_wav(path):
    with wave.open(str(path)) as sound:
        assert sound.getframerate() == 16_000
        return np.frombuffer(sound.readframes(sound.getnframes()), np.int16)


@pytest.mark.slow
def test_samples_are_the_average_models_and_change_nothing_of_the_run(tmp_path, capsys):
    plain, shown = tmp_path / "plain", tmp_path / "shown"
    run(plain)
    task = run(shown, showing(make_task(samples_every=2)))
    assert (shown / LAST).read_bytes() == (plain / LAST).read_bytes()
    assert not (plain / SAMPLES).exists()
    (folder,) = (shown / SAMPLES).iterdir()  # of three validations, the second
    assert folder.name == "step0000008"
    names = {path.name for path in folder.iterdir()}
    assert len(names) == 4 * 3
    assert {"item0-estimate.wav", "item3-target.wav", "item2-lips.png"} <= names
    more = run(shown, showing(make_task(steps=16, samples_every=2, schedule="constant")))
    last = shown / SAMPLES / "step0000016"
    mixture = torch.from_numpy(Tones()[1]["mixture"])[None]
    with torch.no_grad():
        expected = 0.1 * more.average.module(mixture)[0].numpy()
    np.testing.assert_allclose(read_wav(last / "item1-estimate.wav") / 32767, expected, atol=2e-4)
    picture = np.asarray(Image.open(last / "item1-lips.png"))
    assert picture.shape == (3, 10 * 5)
    assert picture[0, ::5].tolist() == [0, 2, 4, 6, 8, 11, 13, 15, 17, 19]
    assert task.steps_done == 12
    assert "has failed" not in capsys.readouterr().out
    if find_spec("tensorboardX") or find_spec("tensorboard"):
        events = b"".join(p.read_bytes() for p in (shown / "tensorboard").glob("events.*"))
        assert b"samples/item3-estimate" in events
        assert b"samples/item0-lips" in events


def test_a_picture_is_a_png_that_others_read():
    picture = np.random.default_rng(0).integers(0, 256, (7, 11), dtype=np.uint8)
    read = Image.open(io.BytesIO(grey_png(picture)))
    assert read.mode == "L"
    np.testing.assert_array_equal(np.asarray(read), picture)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(grey_png(picture[:, ::2])))), picture[:, ::2]
    )


class Recorder(DummyLogger):
    """Keeps what it is given; fails from a step on."""

    def __init__(self, fails_at=10**9):
        super().__init__()
        self.rows, self._fails_at = [], fails_at

    def log_metrics(self, metrics, step=None):
        if step >= self._fails_at:
            raise ConnectionError("the server is gone\nand more")
        self.rows.append((step, sorted(metrics)))


@pytest.fixture
def started(monkeypatch):
    """Lets the logger `wandb` be a recorder; what it was started with is kept."""
    calls = []

    def be(recorder):
        monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: name == "wandb")
        monkeypatch.setitem(
            loggers._STARTED,
            "wandb",
            lambda directory, run, known: (calls.append((run, known)), (recorder, "r1"))[1],
        )
        return calls

    return be


@pytest.mark.slow
def test_a_logger_gets_each_step_and_each_validation_and_its_own_run_again(started, tmp_path):
    recorder = Recorder()
    calls = started(recorder)
    run(tmp_path, loggers=("wandb",))
    steps = [step for step, names in recorder.rows if "gradient_norm" in names]
    assert steps == list(range(1, 13))
    assert [s for s, names in recorder.rows if "val_si_sdr" in names] == [4, 8, 12]
    run(tmp_path, make_task(steps=16, schedule="constant"), loggers=("wandb",))
    assert calls == [("toy", None), ("toy", "r1")]
    assert read_json(tmp_path / LOGGER_RUNS) == {"wandb": "r1"}


def test_a_logger_that_fails_is_left_behind_with_one_sentence(started, tmp_path, capsys):
    recorder = Recorder(fails_at=6)
    started(recorder)
    task = run(tmp_path, loggers=("wandb",))
    assert task.steps_done == 12
    said = capsys.readouterr().out
    assert said.count("Recorder has failed and gets no more of this start: the server is gone") == 1


def test_loggers_that_cannot_be_had_stop_before_the_first_step(started, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda _: None)
    for name in ("wandb", "mlflow"):
        with pytest.raises(CheckError, match=rf"pip install 'avsep\[{name}\]'`, or take it out"):
            run(tmp_path, loggers=(name,))
    started(Recorder())

    def refused(*_):
        raise RuntimeError("no API key\nTraceback")

    monkeypatch.setitem(loggers._STARTED, "wandb", refused)
    with pytest.raises(CheckError, match=r"wandb, which cannot be started: no API key$"):
        run(tmp_path, loggers=("wandb",))
    assert not (tmp_path / LAST).exists()


@pytest.mark.parametrize("asked", [None, "false"])
def test_mlflow_reports_to_nobody_unless_asked(monkeypatch, tmp_path, asked):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", asked or "")
    if asked is None:
        monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    seen = []

    class Logger:
        experiment, run_id = None, "7"

        def __init__(self, **_):
            seen.append(os.environ.get("MLFLOW_DISABLE_TELEMETRY"))

    monkeypatch.setattr("lightning.pytorch.loggers.MLFlowLogger", Logger)
    assert loggers._start_mlflow(tmp_path, "run", None)[1] == "7"
    assert seen == [asked or "true"]
