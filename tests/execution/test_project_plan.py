"""`avsep plan`: what the settings cost, from what is known; and stages that check the disk."""

import json
import math
import shutil
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import pipeline.plan
from avsep.bench.extract import figures_path, keep_figures
from avsep.errors import CheckError
from avsep.files import write_json
from avsep.outcome import Outcome
from avsep.training.config import STEP_TIMES
from avsep.workspace import Workspace
from pipeline.cli.plan import as_plain, sentences, table
from pipeline.cli.plan import plan as plan_command
from pipeline.config import load_configs
from pipeline.disk import IGNORE, check_space
from pipeline.doctor import examine
from pipeline.execution.ledger import Ledger
from pipeline.execution.stage import Batch
from pipeline.plan import plan_project
from tests.support.clip_maker import click_audio, flash_pictures, make_clip
from tests.support.stage_run import run_stage

ROOT = Path(__file__).parents[2]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(pipeline.plan, "default_workers", lambda: 2)
    monkeypatch.setattr(pipeline.plan, "_count_gpus", lambda: 0)
    monkeypatch.delenv(IGNORE, raising=False)


@pytest.fixture
def free_space(monkeypatch):
    """Lets the disk have a given number of bytes left."""

    def leave(count):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**13, 0, int(count)))

    leave(10**13)
    return leave


def profile(name, root, **download):
    """Configs of a profile for a project at `root`."""
    text = (ROOT / "profiles" / f"{name}.yaml").read_text("utf-8")
    values = yaml.safe_load(text)
    for corpus, changes in download.items():
        values["download"][corpus].update(changes)
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    return load_configs(root / "params.yaml")


def plan_of(name, root, **download):
    return plan_project(profile(name, root, **download), Workspace(root))


def by_name(found):
    return {f"{cost.stage} {cost.model}".strip(): cost for cost in found.costs}


def test_every_stage_of_the_demo_has_its_time_and_its_disk(tmp_path, free_space):
    found = plan_of("demo", tmp_path)
    stages = by_name(found)
    assert list(stages) == [
        "download", "clean", "extract", "mix", "pretrain",
        "train dolphin", "train vovit-s1", "train vovit", "evaluate", "report",
    ]  # fmt: skip
    assert stages["extract"].items == 156
    assert stages["extract"].video_s == 468
    assert all(cost.wall_s and cost.core_s and cost.disk_bytes for cost in found.costs)
    assert all(cost.rate for cost in found.costs)
    # docs/benchmarks.md measured 16 minutes for these stages.
    assert 12 * 60 < sum(cost.wall_s for cost in found.costs) < 20 * 60
    assert 100e6 < found.disk_bytes < 300e6


def test_what_is_not_known_is_unknown_and_says_why(tmp_path, free_space):
    found = plan_of("folder", tmp_path, folder={"root": "nowhere"})
    stages = by_name(found)
    for name in ("download", "clean", "extract", "mix"):
        cost = stages[name]
        assert (cost.items, cost.video_s, cost.core_s, cost.disk_bytes) == (None,) * 4
    assert stages["train dolphin"].wall_s
    assert "download.folder.root is 'nowhere'" in " ".join(found.notes)
    assert as_plain(found)["stages"][0]["core_hours"] is None
    assert "unknown clips" in "\n".join(table(found))
    assert table(found)[-1].count(">") == 3, "totals of what is known say that there is more"


def test_voxceleb2_is_planned_from_what_was_published_before_there_is_a_copy(tmp_path, free_space):
    free_space(76e9)
    found = plan_of("voxceleb2", tmp_path)
    stages = by_name(found)
    assert stages["extract"].items == 1_128_246
    assert stages["extract"].video_s == pytest.approx(2442 * 3600, rel=1e-3)
    assert stages["extract"].core_s / 3600 == pytest.approx(580, abs=5)
    assert stages["extract"].disk_bytes == pytest.approx(370e9, rel=0.01)
    assert stages["train dolphin"].wall_s / 86400 == pytest.approx(55.1, abs=0.1)
    assert stages["train vovit-s1"].wall_s is None, "nobody has timed it"
    assert "the published ones" in found.notes[0]
    assert "THE DISK IS TOO SMALL" in " ".join(sentences(found))


@pytest.mark.parametrize("name", ["demo", "folder", "voxceleb2", "lrs2", "lrs3-published"])
def test_the_table_fits_the_terminal(tmp_path, name):
    found = plan_of(name, tmp_path)
    assert max(map(len, table(found, 80))) <= 80
    on_gpu = replace(found, costs=tuple(replace(cost, on_gpu=True) for cost in found.costs))
    assert max(map(len, table(on_gpu, 100))) <= 100
    assert "GPU-h" in table(on_gpu)[0]
    assert ("GPU-h" in table(found)[0]) == name.endswith("published")


def test_own_clips_are_counted_and_some_are_looked_at(tmp_path, free_space):
    for speaker in ("ann", "bob"):
        (tmp_path / "videos" / speaker).mkdir(parents=True)
        make_clip(
            tmp_path / "videos" / speaker / "1.mp4",
            pictures=flash_pictures(50, 10),
            audio=click_audio(2.0, 0.4, 16_000),
        )
    found = plan_of("folder", tmp_path)
    download = by_name(found)["download"]
    assert download.items == 2
    assert download.video_s == pytest.approx(4.0, abs=0.3)
    assert by_name(found)["extract"].disk_bytes < 1e6
    assert not found.unsized


def test_planning_writes_nothing(tmp_path, free_space, capsys):
    profile("demo", tmp_path)
    plan_command(root=tmp_path)
    plan_command(root=tmp_path, as_json=True)
    text = capsys.readouterr().out
    assert json.loads(text[text.index("{") :])["stages"][2]["items"] == 156
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_stage_that_has_run_here_replaces_the_rate_and_says_so(tmp_path, free_space):
    workspace = Workspace(tmp_path)
    before = by_name(plan_of("demo", tmp_path))["clean"]
    write_clips(workspace, "demo", count=156, seconds=3.0, kept=100)
    outcomes = [Outcome.done(f"c{i}", seconds=1.5) for i in range(250)]
    outcomes += [Outcome.found(f"d{i}") for i in range(38)]  # were done before: no time
    Ledger(workspace.ledger).record("clean", outcomes)
    found = plan_of("demo", tmp_path)
    clean, extract = by_name(found)["clean"], by_name(found)["extract"]
    assert clean.core_s == pytest.approx(156 * 1.5)
    assert clean.core_s != before.core_s
    assert clean.rate == "measured here: 1.5 s per clip, mean of 250"
    assert extract.items == 100, "what clean has dropped is not extracted"
    assert "measured here: 1.5 s per clip, mean of 250" in " ".join(sentences(found))


def test_a_bench_of_this_machine_replaces_the_published_rate(tmp_path, free_space):
    workspace = Workspace(tmp_path)
    figures = {"engine": "litert", "options": {}, "width": 1280, "height": 720}
    figures |= {"frames_per_cpu_s": 50.0, "frames_per_s": 45.0}
    figures |= {"detect_share": 0.1, "landmark_share": 0.4}
    keep_figures(workspace, figures)
    extract = by_name(plan_of("voxceleb2", tmp_path))["extract"]
    assert extract.core_s == pytest.approx(extract.video_s / 2)
    assert extract.wall_s == pytest.approx(extract.core_s / 2)
    assert extract.rate.endswith("here: 50 frames per second and core at 1280x720")
    config = profile("voxceleb2", tmp_path)
    torch = {"engine": "torch", "device": "cuda:0", "precision": "half", "batch": 64, "window": 8}
    config["extract"] = replace(config["extract"], backend_options=torch)
    unknown = by_name(plan_project(config, workspace))["extract"]
    assert (unknown.core_s, unknown.gpu_s, unknown.wall_s) == (None,) * 3, "another engine"
    keep_figures(workspace, {**figures, "engine": "torch", "options": torch})
    on_gpu = by_name(plan_project(config, workspace))["extract"]
    assert on_gpu.gpu_s == pytest.approx(on_gpu.video_s * 25 * 0.5 / 45)
    assert on_gpu.wall_s == pytest.approx(max(on_gpu.gpu_s, on_gpu.core_s / 2))
    # A figure that lacks something, or is of other options, says nothing.
    keep_figures(workspace, {**figures, "engine": "torch", "options": {**torch, "batch": 32}})
    assert by_name(plan_project(config, workspace))["extract"].gpu_s is None
    figures_path(workspace, "torch").write_text("{}")
    assert by_name(plan_project(config, workspace))["extract"].gpu_s is None


def test_what_goes_over_the_network_is_said(tmp_path, free_space):
    found = plan_of("voxceleb2", tmp_path)
    assert as_plain(found)["network"]["read_bytes"] == 260e9
    text = " ".join(sentences(found))
    assert "Network: extract reads 260 GB and writes 370 GB" in text
    assert "84 min at 1 Gbit/s" in text or "1.4 h at 1 Gbit/s" in text
    assert as_plain(plan_of("demo", tmp_path))["network"]["youtube_videos"] == 0
    youtube = replace(found, videos=145_569, raw_bytes=None)
    assert "Network: 145,569 videos come from YouTube." in " ".join(sentences(youtube))
    assert "Network" not in " ".join(sentences(plan_of("folder", tmp_path)))


def test_tables_of_another_corpus_do_not_count(tmp_path, free_space):
    write_clips(Workspace(tmp_path), "demo", count=156, seconds=3.0, kept=100)
    extract = by_name(plan_of("voxceleb2", tmp_path))["extract"]
    assert extract.items == 1_128_246


def test_a_training_that_has_run_here_gives_the_days_of_the_same_network(tmp_path, free_space):
    config = profile("voxceleb2", tmp_path)
    workspace = Workspace(tmp_path)
    section = {"size": "full", "overrides": {}}
    folder = workspace.work("train") / "vovit-s1"
    write_json(folder / "settings.json", {"config": {"vovit_s1": section}})
    times = {"steps": 40, "seconds_per_step": 20.0, "device": "cpu", "devices": 1}
    write_json(folder / STEP_TIMES, {**times, "item_seconds": 20.0})
    stage1 = by_name(plan_project(config, workspace))["train vovit-s1"]
    assert stage1.wall_s == pytest.approx(400_000 * 20.0)
    assert stage1.rate == "measured here: 20 s per step, mean of 40"
    # Of another device, or of another network, it says nothing.
    write_json(folder / STEP_TIMES, {**times, "item_seconds": 20.0, "device": "cuda"})
    assert by_name(plan_project(config, workspace))["train vovit-s1"].wall_s is None
    write_json(folder / STEP_TIMES, {**times, "item_seconds": 20.0})
    section["overrides"] = {"channels": 8}
    write_json(folder / "settings.json", {"config": {"vovit_s1": section}})
    assert by_name(plan_project(config, workspace))["train vovit-s1"].wall_s is None


def test_with_a_gpu_its_hours_are_counted_and_unknown_until_they_are_measured(
    tmp_path, free_space, monkeypatch
):
    monkeypatch.setattr(pipeline.plan, "_count_gpus", lambda: 1)
    config = profile("voxceleb2", tmp_path)
    workspace = Workspace(tmp_path)
    dolphin = by_name(plan_project(config, workspace))["train dolphin"]
    assert (dolphin.on_gpu, dolphin.gpu_s, dolphin.wall_s, dolphin.core_s) == (True, *[None] * 3)
    folder = workspace.work("train") / "dolphin"
    settings = {"config": {"dolphin": {"size": "full", "overrides": {}}}}
    write_json(folder / "settings.json", settings)
    times = {"steps": 99, "seconds_per_step": 0.2, "device": "cuda", "devices": 1}
    write_json(folder / STEP_TIMES, {**times, "item_seconds": 8.0})
    dolphin = by_name(plan_project(config, workspace))["train dolphin"]
    assert dolphin.gpu_s == dolphin.wall_s == pytest.approx(400_000 * 0.2)


@pytest.mark.slow
def test_a_million_rows_are_planned_in_seconds(tmp_path, free_space):
    workspace = Workspace(tmp_path)
    config = profile("voxceleb2", tmp_path)
    write_clips(workspace, "voxceleb2", count=1_100_000, seconds=7.8, kept=1_000_000)
    raw = {"corpus": ["voxceleb2"] * 1_100_000, "size_bytes": np.full(1_100_000, 230_000)}
    pq.write_table(pa.table(raw), workspace.raw_table)
    started = time.process_time()
    found = plan_project(config, workspace)
    assert time.process_time() - started < 5
    assert by_name(found)["clean"].items == 1_100_000
    assert by_name(found)["extract"].items == 1_000_000


def write_clips(workspace, corpus, *, count, seconds, kept):
    """A table of clips with the columns that a plan reads."""
    workspace.clips.mkdir(parents=True, exist_ok=True)
    columns = {
        "corpus": [corpus] * count,
        "kept": np.arange(count) < kept,
        "start_s": np.zeros(count),
        "end_s": np.full(count, seconds),
    }
    pq.write_table(pa.table(columns), workspace.clips / "clips.parquet")


# --- recipes at the published scale

PUBLISHED = {"lrs2": 20_000, "lrs3": 50_000, "voxceleb2": 100_000}  # mixtures of an epoch


def one_gpu(name):
    """The values of a published profile with the block at its end, which is for one GPU."""
    lines = (ROOT / "profiles" / f"{name}-published.yaml").read_text("utf-8").splitlines()
    values = yaml.safe_load("\n".join(lines))
    block = lines[lines.index("# train:") :]
    chosen = yaml.safe_load("\n".join(line.removeprefix("# ") for line in block))["train"]
    values["train"]["devices"] = chosen.pop("devices")
    for model, section in chosen.items():
        values["train"][model]["fit"].update(section["fit"])
    return values


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_take_their_epochs_on_eight_gpus_or_on_one(tmp_path, name):
    eight = profile(f"{name}-published", tmp_path)["train"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(one_gpu(name)))
    one = load_configs(tmp_path / "params.yaml")["train"]
    assert (eight.devices, eight.dolphin.fit.batch, one.devices) == (8, 3, 1)
    epoch = math.ceil(2 * PUBLISHED[name] / 24)  # either voice as target
    for config in (eight, one):
        fit = config.dolphin.fit
        assert fit.items_per_step(config.devices) == 24
        assert (fit.steps, fit.val_every, fit.patience) == (500 * epoch, epoch, 20)
        assert (fit.schedule, fit.plateau_patience, fit.lr, fit.clip) == ("plateau", 10, 1e-3, 5.0)
        items = [config.vovit_s1.fit.items_per_step(config.devices), config.vovit_s1.fit.steps]
        assert math.prod(items) == 2000 * 20_000
    assert one.vovit_s1.fit.items_per_step(1) == 10
    mix = load_configs(tmp_path / "params.yaml")["mix"]
    assert (mix.protocol, mix.test_list) == ("ctcnet-2mix", f"lists/{name}-tt.scp")


def test_the_gpu_hours_of_a_recipe_are_those_of_measured_steps(tmp_path, free_space):
    config = profile("lrs2-published", tmp_path)
    workspace = Workspace(tmp_path)
    dolphin = by_name(plan_project(config, workspace))["train dolphin"]
    assert (dolphin.on_gpu, dolphin.gpu_s, dolphin.wall_s) == (True, None, None)
    unknown = plan_project(config, workspace)
    assert "How long training takes is unknown." in " ".join(sentences(unknown))
    assert "unknown" in table(unknown)[-1], "no GPU-hours are made up"
    folder = workspace.work("train") / "dolphin"
    write_json(folder / "settings.json", {"config": {"dolphin": {"size": "full", "overrides": {}}}})
    times = {"steps": 99, "seconds_per_step": 0.5, "device": "cuda", "devices": 8}
    write_json(folder / STEP_TIMES, {**times, "item_seconds": 6.0})
    dolphin = by_name(plan_project(config, workspace))["train dolphin"]
    assert dolphin.wall_s == pytest.approx(833_500 * 0.5)
    assert dolphin.gpu_s == pytest.approx(8 * 833_500 * 0.5)


# --- the disk


def test_a_stage_does_not_start_when_the_disk_cannot_hold_its_result(tmp_path, free_space):
    profile("demo", tmp_path, demo={"clips_per_speaker": 1, "heldout_clips_per_speaker": 1})
    free_space(1e6)
    with pytest.raises(CheckError) as refused:
        run_stage("download", Workspace(tmp_path))
    text = str(refused.value)
    assert "download needs about 1.4 MB" in text
    assert "1.0 MB are free" in text
    assert IGNORE in text
    assert not (tmp_path / "data" / "raw").exists()


Row = namedtuple("Row", "duration_s")


def extract_batches(count=4):
    rows = (Row(3600.0),)
    return [Batch(name=f"train-{i:06d}", items=(f"c{i}",), rows=rows) for i in range(count)]


def test_the_disk_must_hold_the_shards_that_are_not_finished(tmp_path, free_space, monkeypatch):
    config, workspace = profile("voxceleb2", tmp_path)["extract"], Workspace(tmp_path)
    batches = extract_batches()  # 0.152 GB each, and as much while it is put together
    free_space(0.8e9)
    with pytest.raises(CheckError, match=r"extract needs about 1\.5 GB .* 800 MB are free"):
        check_space("extract", config, workspace, batches)
    for batch in batches[:2]:
        write_json(workspace.work("extract") / f"{batch.name}.done.json", {})
    check_space("extract", config, workspace, batches)
    free_space(0)
    with pytest.raises(CheckError):
        check_space("extract", config, workspace, batches)
    monkeypatch.setenv(IGNORE, "1")
    check_space("extract", config, workspace, batches)
    monkeypatch.setenv(IGNORE, "0")
    with pytest.raises(CheckError):
        check_space("extract", config, workspace, batches)


def test_plain_shards_need_seven_times_the_disk_and_an_unknown_quality_is_not_refused(
    tmp_path, free_space
):
    config, workspace = profile("voxceleb2", tmp_path)["extract"], Workspace(tmp_path)
    free_space(2e9)
    check_space("extract", config, workspace, extract_batches())
    with pytest.raises(CheckError):
        plain = replace(config, storage="plain")
        check_space("extract", plain, workspace, extract_batches())
    free_space(0)
    check_space("extract", replace(config, lips_crf=1), workspace, extract_batches())


def test_a_finished_stage_is_not_refused_on_a_full_disk(tmp_path, free_space):
    config, workspace = profile("voxceleb2", tmp_path)["extract"], Workspace(tmp_path)
    for batch in extract_batches():
        write_json(workspace.work("extract") / f"{batch.name}.done.json", {})
    free_space(0)
    check_space("extract", config, workspace, extract_batches())


def test_doctor_says_that_the_disk_is_too_small_for_the_corpus(tmp_path, free_space):
    config = profile("voxceleb2", tmp_path)
    free_space(76e9)
    disk = next(line for line in examine(Workspace(tmp_path), config) if line.name == "disk")
    assert disk.state == "missing"
    assert "76 GB free" in disk.detail
    assert "458 GB more are needed" in disk.detail
    free_space(900e9)
    disk = next(line for line in examine(Workspace(tmp_path), config) if line.name == "disk")
    assert disk.state == "ok"


# --- the profile for own clips


def test_the_profile_for_own_clips_trains_about_an_hour_per_family_on_two_cores(tmp_path):
    hours = {
        name: (cost.wall_s or 0) / 3600
        for name, cost in by_name(plan_of("folder", tmp_path)).items()
    }
    assert 0.7 < hours["pretrain"] + hours["train dolphin"] < 1.3
    assert 0.7 < hours["train vovit-s1"] + hours["train vovit"] < 1.3


def test_full_size_is_a_choice_in_the_profile_for_own_clips(tmp_path):
    lines = (ROOT / "profiles" / "folder.yaml").read_text("utf-8").splitlines()
    first = lines.index("# pretrain:")
    chosen = yaml.safe_load(
        "\n".join(line.removeprefix("# ") for line in lines[first:] if line != "#")
    )
    values = {**yaml.safe_load("\n".join(lines)), **chosen}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    config = load_configs(tmp_path / "params.yaml")
    assert config["pretrain"].lipcoder.size == "full"
    assert config["train"].dolphin.fit.steps == 400_000
    assert config["train"].vovit.size == config["train"].vovit_s1.size == "full"


def test_the_list_of_profiles_says_how_large_the_models_for_own_clips_are():
    headline = (ROOT / "profiles" / "folder.yaml").read_text("utf-8").splitlines()[0]
    assert "small models" in headline
    assert "two hours of training on two cores" in headline
