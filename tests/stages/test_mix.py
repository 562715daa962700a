import shutil
from dataclasses import replace

import numpy as np
import pytest

from avsep.errors import CheckError, Reason, UsageError
from avsep.files import read_json, sha256_file
from avsep.media.pcm import pcm_sha256
from avsep.mixing import measuring
from avsep.mixing.recipes import read_recipes
from avsep.mixing.render import render
from avsep.mixing.training import read_training
from avsep.processes import map_items
from avsep.schema import Landmarks, Sample
from avsep.settings import build
from avsep.shards.codecs import encode_sample
from avsep.shards.index import rows_of_shard, write_index
from avsep.shards.manifest import write_manifest
from avsep.shards.reader import ShardStore
from avsep.shards.writer import write_shard
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.stages import mix
from pipeline.stages.mix import MixConfig
from tests.support.stage_run import run_stage

CONFIG = MixConfig(
    train_seconds=0.8,
    val_seconds=0.4,
    test_seconds=1.0,
    val_mixtures=6,
    test_mixtures=8,
    batch_size=7,
    workers=0,
)
SPLITS = {"s0": "train", "s1": "train", "s2": "val", "s3": "val", "s4": "test", "s5": "test"}


def sound(frames: int, seed: int, level: float = 2_000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, level, frames * 640).astype(np.int16)


def sample(speaker: str, clip: int, **changes) -> Sample:
    frames = changes.pop("frames", 30)
    level = changes.pop("level", 2_000)
    audio = sound(frames, seed=hash_of(speaker, clip), level=level)
    key = f"{speaker}-{clip}-t0"
    meta = {
        "version": 1, "key": key, "clip_id": f"{speaker}-{clip}", "corpus": "x",
        "speaker": speaker, "group": speaker, "gender": "fm"[int(speaker[1:]) % 2],
        "split": SPLITS.get(speaker, "train"), "num_frames": frames, "num_samples": len(audio),
        "multi_voice": False, "level_dbfs": -24.5, "audio_sha256": pcm_sha256(audio),
        "quality": {"missing_share": 0.0}, "licence": "", "redistributable": False, "text": "",
        "backend": {"name": "drawn"}, "source": {"path": "a.mp4"},
    }  # fmt: skip
    zeros = np.zeros(frames, np.uint8)
    landmarks = Landmarks(
        points=np.zeros((frames, 68, 3), np.float16),
        valid=zeros,
        score=np.zeros(frames, np.float16),
        box=np.zeros((frames, 4), np.float32),
        to_mean_face=np.zeros((frames, 2, 3), np.float32),
        crop_xy=np.zeros((frames, 2), np.float32),
    )
    lips = np.zeros((frames, 96, 96), np.uint8)
    return Sample(key=key, audio=audio, lips=lips, landmarks=landmarks, meta=meta | changes)


def hash_of(speaker: str, clip: int) -> int:
    return 100 * int(speaker[1:]) + clip


def write_set(workspace: Workspace, samples: list[Sample]) -> None:
    directory = workspace.shards
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    entries, rows = [], []
    for split in ("test", "train", "val"):
        part = sorted((s for s in samples if s.meta["split"] == split), key=lambda s: s.key)
        if not part:
            continue
        path = directory / f"{split}-000000.tar"
        encoded = [(s.key, encode_sample(s, "plain"), s.num_frames) for s in part]
        entries.append(write_shard(path, encoded, "plain"))
        rows += rows_of_shard(path)
    write_index(directory, rows)
    write_manifest(directory, entries, "plain", settings="abc", tools={"numpy": "2"})


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [sample(speaker, clip) for speaker in SPLITS for clip in range(3)]


@pytest.fixture
def workspace(tmp_path, samples):
    space = Workspace(tmp_path)
    write_set(space, samples)
    return space


def sounds(workspace):
    return ShardStore(workspace.shards).audio


def outputs(workspace) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(workspace.mixtures.iterdir())}


def test_lists_training_table_and_summary_are_written(workspace):
    report = run_stage("mix", workspace, config=CONFIG)
    assert report.counts.done == 18
    assert report.facts["test mixtures"] == 8
    assert sorted(outputs(workspace)) == [
        "summary.json",
        "test.jsonl",
        "train.parquet",
        "val.jsonl",
    ]
    for split, samples, count in (("val", 6_400, 6), ("test", 16_000, 8)):
        recipes = read_recipes(workspace.mixtures / f"{split}.jsonl")
        assert len(recipes) == count
        assert {recipe.num_samples for recipe in recipes} == {samples}
        for recipe in recipes:
            assert {SPLITS[source.speaker] for source in recipe.sources} == {split}
    draw = read_training(workspace.mixtures / "train.parquet", sounds(workspace))
    assert draw(0).num_samples == 12_800
    assert {SPLITS[s.speaker] for n in range(20) for s in draw(n).sources} == {"train"}
    summary = read_json(workspace.mixtures / "summary.json")
    assert summary["lists"]["test"]["pairs_by_gender"] == {"fm": 8}
    assert summary["splits"]["train"]["speakers"] == ["s0", "s1"]
    assert summary["splits"]["val"]["voices"] == 6
    assert summary["shared_between_splits"] == {"speakers": {}, "groups": {}}


def test_recipes_render_from_the_shards(workspace):
    run_stage("mix", workspace, config=CONFIG)
    store = ShardStore(workspace.shards)
    draw = read_training(workspace.mixtures / "train.parquet", sounds(workspace))
    listed = read_recipes(workspace.mixtures / "test.jsonl")
    for recipe in [*listed, *(draw(number) for number in range(5))]:
        rendered = render(recipe, store.audio)
        assert rendered.mixture.shape == (recipe.num_samples,)
        assert np.abs(rendered.mixture).max() > 0.01
        for source in recipe.sources:
            assert source.sha256 == store.row(source.key).audio_sha256


@pytest.mark.slow
def test_same_shards_and_settings_give_the_same_bytes(workspace, samples, tmp_path):
    run_stage("mix", workspace, config=CONFIG)
    other = Workspace(tmp_path / "other")
    write_set(other, samples)
    run_stage("mix", other, config=replace(CONFIG, batch_size=100, workers=1))
    assert outputs(other) == outputs(workspace)
    run_stage("mix", workspace, config=replace(CONFIG, seed=1))
    assert outputs(other).keys() == outputs(workspace).keys()
    assert outputs(other) != outputs(workspace)


@pytest.mark.slow
def test_interrupted_run_goes_on_and_finished_batches_are_skipped(workspace, monkeypatch):
    run_stage("mix", workspace, config=CONFIG)
    unbroken = outputs(workspace)
    shutil.rmtree(workspace.work("mix"))
    measured: list[str] = []
    real = measuring.measure_sample

    def measure(row, **settings):
        if len(measured) == 10 and not (workspace.root / "again").exists():
            raise KeyboardInterrupt
        measured.append(row.key)
        return real(row, **settings)

    monkeypatch.setattr(measuring, "measure_sample", measure)
    with pytest.raises(KeyboardInterrupt):
        run_stage("mix", workspace, config=CONFIG)
    (workspace.root / "again").touch()
    run_stage("mix", workspace, config=CONFIG)
    assert outputs(workspace) == unbroken
    assert len(measured) == 10 + 11  # the batch of seven that was finished is not done again
    run_stage("mix", workspace, config=replace(CONFIG, seed=5, test_mixtures=3))
    assert len(measured) == 21  # other lists need no other measuring
    run_stage("mix", workspace, config=replace(CONFIG, min_activity=0.4))
    assert len(measured) == 21 + 18
    assert len(list(workspace.work("mix").iterdir())) == 6  # three batches, no old work


@pytest.mark.slow
def test_unfit_samples_are_left_out_with_their_reason(workspace, samples):
    odd = [
        sample("s0", 3, multi_voice=True),
        sample("s0", 4, quality={"missing_share": 0.5}),
        sample("s0", 5, frames=19),
        sample("s0", 6, level=0),
        sample("s0", 7, quality={"missing_share": None}),
    ]
    write_set(workspace, samples + odd)
    report = run_stage("mix", workspace, config=CONFIG)
    assert report.counts.done == 19
    reasons = {
        item: str(outcome.reason)
        for item, outcome in Ledger(workspace.ledger).outcomes("mix").items()
        if outcome.reason
    }
    assert reasons == {
        "s0-3-t0": "multi_voice",
        "s0-4-t0": "poor_quality",
        "s0-5-t0": "too_short",
        "s0-6-t0": "silent",
    }
    selection = replace(CONFIG, allow_multi_voice=True, max_quality={}, min_quality={})
    assert run_stage("mix", workspace, config=selection).counts.done == 21


def test_sample_with_speech_for_a_moment_only_has_little_speech(workspace, samples):
    short = sample("s0", 3)
    short.audio[: 22 * 640] = 0
    meta = short.meta | {"audio_sha256": pcm_sha256(short.audio)}
    write_set(workspace, [*samples, replace(short, meta=meta)])
    run_stage("mix", workspace, config=CONFIG)
    outcome = Ledger(workspace.ledger).outcomes("mix")["s0-3-t0"]
    assert str(outcome.reason) == "little_speech"


@pytest.mark.slow
def test_split_with_one_speaker_stops_the_stage_or_has_an_empty_list(workspace, samples):
    write_set(workspace, [s for s in samples if s.meta["speaker"] != "s3"])
    with pytest.raises(CheckError, match=r"split val has 3 usable samples of 1 speaker"):
        run_stage("mix", workspace, config=CONFIG)
    assert not workspace.mixtures.exists()
    run_stage("mix", workspace, config=replace(CONFIG, val_mixtures=0))
    report = run_stage("mix", workspace, config=replace(CONFIG, require_all_splits=False))
    assert report.facts["without any pair to mix"] == "val"
    assert read_recipes(workspace.mixtures / "val.jsonl") == []
    assert len(read_recipes(workspace.mixtures / "test.jsonl")) == 8
    write_set(workspace, [s for s in samples if s.meta["speaker"] == "s5"])
    report = run_stage("mix", workspace, config=replace(CONFIG, require_all_splits=False))
    assert report.facts["without any pair to mix"] == "train, val, test"
    with pytest.raises(CheckError, match="add speakers"):
        read_training(workspace.mixtures / "train.parquet", sounds(workspace))


@pytest.mark.slow
def test_speaker_in_two_splits_is_refused_and_shared_groups_are_reported(workspace, samples):
    leak = sample("s4", 3, split="train")
    write_set(workspace, [*samples, leak])
    with pytest.raises(CheckError, match="s4 in train and test"):
        run_stage("mix", workspace, config=CONFIG)
    report = run_stage("mix", workspace, config=replace(CONFIG, allow_shared_speakers=True))
    assert "speakers are in several splits (e.g. s4)" in str(report.facts["WARNING"])
    relative = sample("s6", 0, group="s5")
    write_set(workspace, [*samples, relative])
    report = run_stage("mix", workspace, config=CONFIG)
    assert report.facts["groups in several splits"] == 1
    summary = read_json(workspace.mixtures / "summary.json")
    assert summary["speakers_of_new_groups"] == {"val": ["s2", "s3"], "test": ["s4"]}
    assert summary["shared_between_splits"] == {"speakers": {}, "groups": {"s5": ["train", "test"]}}


@pytest.mark.slow
def test_training_draws_by_the_protocol_of_the_lists_or_by_one_of_its_own(workspace):
    short = replace(CONFIG, protocol="ctcnet-2mix")
    for config, name in (
        (short, "ctcnet-2mix"),
        (replace(short, training="strict-2mix"), "strict-2mix"),
    ):
        run_stage("mix", workspace, config=config)
        listed = read_recipes(workspace.mixtures / "val.jsonl")
        assert {recipe.protocol for recipe in listed} == {"ctcnet-2mix"}
        recipe = read_training(workspace.mixtures / "train.parquet", sounds(workspace))(0)
        assert recipe.protocol == name
        assert read_json(workspace.mixtures / "summary.json")["protocol"] == name
    with pytest.raises(CheckError, match="training by strict-3mix: no 3 voices"):
        run_stage("mix", workspace, config=replace(CONFIG, training="strict-3mix"))


def test_only_the_speakers_asked_for_are_mixed(workspace):
    config = replace(CONFIG, speakers=("s0", "s1", "s4", "s5"), val_mixtures=0)
    assert run_stage("mix", workspace, config=config).counts.done == 12
    with pytest.raises(CheckError, match="s9"):
        run_stage("mix", workspace, config=replace(CONFIG, speakers=("s0", "s9")))


def test_score_that_no_sample_has_is_named(workspace):
    with pytest.raises(CheckError, match="misssing_share"):
        run_stage("mix", workspace, config=replace(CONFIG, max_quality={"misssing_share": 0.2}))


def test_an_expression_over_scores_picks_samples(workspace, samples):
    turned = sample("s0", 3, quality={"missing_share": 0.0, "yaw_p90_deg": 50.0})
    frontal = sample("s0", 4, quality={"missing_share": 0.0, "yaw_p90_deg": 10.0})
    write_set(workspace, [*samples, turned, frontal])
    config = replace(CONFIG, select="speaker != 's0' or yaw_p90_deg < 45")
    run_stage("mix", workspace, config=config)
    outcomes = Ledger(workspace.ledger).outcomes("mix")
    left_out = {key: o.message for key, o in outcomes.items() if o.reason}
    assert left_out["s0-3-t0"] == "it is not selected: speaker s0, yaw_p90_deg 50."
    assert left_out["s0-0-t0"] == "it has no yaw_p90_deg, which select asks for."
    assert outcomes["s0-3-t0"].reason is Reason.NOT_SELECTED
    assert "s0-4-t0" not in left_out
    assert all(key.startswith("s0-") for key in left_out)
    with pytest.raises(CheckError, match="no sample has the score yaw_p99"):
        run_stage("mix", workspace, config=replace(CONFIG, select="yaw_p99 < 45"))
    with pytest.raises(UsageError, match=r"mix\.select: .*compares"):
        run_stage("mix", workspace, config=replace(CONFIG, select="speaker < 45"))


def test_changed_shard_is_a_failure_not_a_crash(workspace):
    path = workspace.shards / "train-000000.tar"
    content = bytearray(path.read_bytes())
    at = content.index(b"RIFF")
    content[at + 2_000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckError, match=r"1 of 18 items failed \(file_changed 1\)"):
        run_stage("mix", workspace, config=CONFIG)


def test_config_reads_from_params_and_refuses_nonsense():
    config = build(MixConfig, {"speakers": ["a"], "max_quality": {"jitter": 1}}, "mix")
    assert config.selection.max_quality == {"jitter": 1.0}
    for values, word in (
        ({"train_seconds": 0.05}, "train_seconds"),
        ({"val_seconds": -2.0}, "val_seconds"),
        ({"val_mixtures": -1}, "val_mixtures"),
        ({"min_activity": 1.5}, "min_activity"),
        ({"protocol": "own"}, "strict-2mix"),
        ({"workers": -1}, "workers"),
        ({"item_timeout_s": 0.0}, "item_timeout_s"),
        ({"max_failed_share": 7.0}, "max_failed_share"),
        ({"max_quality": {"jitter": float("nan")}}, "jitter"),
    ):
        with pytest.raises(UsageError, match=word):
            build(MixConfig, values, "mix")


def test_the_whole_set_decides_how_many_processes_measure(workspace, monkeypatch):
    asked = []

    def measured_here(function, items, *, workers, timeout_s):
        asked.append(workers)
        return map_items(function, items, workers=0, timeout_s=timeout_s)

    monkeypatch.setattr(mix, "map_items", measured_here)
    monkeypatch.setattr(mix, "default_workers", lambda: 9)
    monkeypatch.setattr(mix, "SAMPLES_PER_WORKER", 2)
    run_stage("mix", workspace, config=replace(CONFIG, workers=None))
    assert asked == [9, 9, 9]  # though a batch has seven samples


def test_a_batch_carries_numbers_of_rows_and_follows_their_content(workspace, samples):
    before = mix.plan(CONFIG, workspace)
    assert [type(row) for batch in before for row in batch.rows] == [int] * 18
    write_set(workspace, [replace(s, meta=s.meta | {"level_dbfs": -9.0}) for s in samples])
    after = mix.plan(CONFIG, workspace)
    assert [batch.items for batch in after] == [batch.items for batch in before]
    assert not {b.settings for b in after} & {b.settings for b in before}
