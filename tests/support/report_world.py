"""A synthetic project after `evaluate`: results, examples, logs, index and ledger."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avsep.errors import Reason
from avsep.evaluation.conditions import Condition
from avsep.evaluation.examples import write_example
from avsep.evaluation.items import EvaluationItem
from avsep.evaluation.publish import publish
from avsep.evaluation.results import ResultRow, describe
from avsep.evaluation.separate import EstimateKey
from avsep.files import write_json, write_text
from avsep.outcome import Outcome
from avsep.schema import Clip, Cues, MixtureRecipe, SourceRecipe
from avsep.shards.index import IndexRow, write_index
from avsep.tables import write_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger

LEVELS = {"dolphin": 8.3, "vovit-s1": 4.1, "vovit": 4.6}
FRAMES = 50


def make_recipe(number: int, speaker: str = "") -> MixtureRecipe:
    speakers = [f"demo-s{(number + i) % 4:02d}" for i in range(2)]
    if speaker:
        speakers[0] = speaker
    return MixtureRecipe(
        mixture_id=f"test-{number:05d}",
        protocol="strict-2mix",
        version=1,
        seed=number,
        num_samples=640 * FRAMES,
        scale=1.0,
        sources=tuple(
            SourceRecipe(
                key=f"clip{number % 7}{i}-t0",
                speaker=name,
                group="voice-a" if name.endswith("0") else "voice-b",
                gender="fm"[(number // 2 + i * number) % 2],
                start=0,
                gain_db=0.0,
                level_db=-26.0,
            )
            for i, name in enumerate(speakers)
        ),
    )


def make_rows(recipes, level: float, seed: int) -> list[ResultRow]:
    generator = np.random.default_rng(seed)
    rows = []
    for recipe in recipes:
        for target in range(2):
            base = generator.uniform(-5, 5)
            for condition, mean in zip(Condition, (level, -level - 6, 0.2), strict=True):
                gain = mean + 2 * generator.standard_normal()
                asked = condition is Condition.OWN
                rows.append(
                    ResultRow(
                        **describe(recipe, target),
                        condition=str(condition),
                        si_snr=base + gain,
                        si_snr_mixture=base,
                        si_snri=gain,
                        sdr=base + gain + 0.4,
                        sdr_mixture=base + 0.1,
                        sdri=gain + 0.3,
                        sir=base + gain + 1.5,
                        sir_mixture=base + 0.2,
                        pesq=1.2 + 0.1 * level if asked else float("nan"),
                        pesq_mixture=1.2 if asked else float("nan"),
                        stoi=0.7 + 0.02 * level if asked else float("nan"),
                        stoi_mixture=0.7 if asked else float("nan"),
                        estoi=0.5 + 0.03 * level if asked else float("nan"),
                        estoi_mixture=0.5 if asked else float("nan"),
                    )
                )
    return rows


def voice(seed: int) -> np.ndarray:
    """A buzzing voice of one pitch, (32000,) float32."""
    time = np.arange(640 * FRAMES) / 16_000
    pitch = 100 + 60 * seed
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(5 * time + seed))) / 16_000
    sound = sum(np.sin(k * phase) / k for k in range(1, 20))
    return (0.05 * sound * np.clip(np.sin(9 * time + seed), 0, 1)).astype(np.float32)


def lips(seed: int) -> np.ndarray:
    """A dark ellipse that opens and closes, (F, 96, 96) uint8."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    opening = 0.1 + 0.4 * np.clip(np.sin(0.56 * np.arange(FRAMES) + seed), 0, 1)
    inside = (x / 0.6) ** 2 + (y / opening[:, None, None]) ** 2 < 1
    return np.where(inside, 60, 190).astype(np.uint8)


def make_example(directory: Path, recipe: MixtureRecipe, rows, redistributable: bool) -> None:
    sources = np.stack([voice(1), voice(2)])
    cues = tuple(
        Cues(lips=lips(i), landmarks=np.zeros((FRAMES, 68, 3)), valid=np.ones(FRAMES, np.uint8))
        for i in range(2)
    )
    item = EvaluationItem(recipe=recipe, mixture=sources.sum(0), sources=sources, cues=cues)
    weights = {Condition.OWN: (1.0, 0.2), Condition.OTHER: (0.2, 1.0), Condition.NONE: (0.7, 0.7)}
    estimates = {
        EstimateKey(item=0, target=t, condition=c): (a * sources[t] + b * sources[1 - t]).astype(
            np.float32
        )
        for t in range(2)
        for c, (a, b) in weights.items()
    }
    mine = [row for row in rows if row.mixture_id == recipe.mixture_id]
    metas = [{"licence": "CC0-1.0", "redistributable": redistributable, "text": "hello"}] * 2
    write_example(directory, item, estimates, mine, metas)


def make_evaluation(
    workspace: Workspace, model: str, *, speaker: str = "", redistributable: bool = True
) -> None:
    recipes = [make_recipe(number, speaker) for number in range(14)]
    rows = make_rows(recipes, LEVELS[model], seed=len(model))
    out = workspace.evaluation(model)
    publish(out, rows, heard_groups={"voice-a"}, seed=0, samples=100)
    for recipe in recipes[:2]:
        directory = out / "examples" / recipe.mixture_id
        make_example(directory, recipe, rows, redistributable)
    write_json(
        out / "cost.json",
        {
            "parameters": 7_000_448,
            "trainable_parameters": 6_218_630,
            "macs": 21_700_000_000,
            "audio_s": 2.0,
            "latency_s": 0.81,
            "best_s": 0.78,
            "cold_s": 1.3,
            "real_time_factor": 0.405,
            "peak_memory_mb": 812.0,
            "model_memory_mb": 402.0,
            "runs": 5,
            "threads": 2,
            "device": "cpu",
            "machine": "Some CPU, 2 cores",
            "versions": "Python 3.11, PyTorch 2.13",
        },
    )


def make_run(workspace: Workspace, model: str) -> None:
    """A finished training of a model, with what its work folder keeps."""
    lines = ["step,train_loss,val_si_sdri,lr"]
    lines += [f"{s},{-9 + 20 / (1 + s / 100):.4f},{8 - 900 / (s + 90):.4f},0.001"
              for s in range(50, 1001, 50)]  # fmt: skip
    write_text(workspace.run(model) / "log.csv", "\n".join([*lines, "1050,,,"]) + "\n")
    make_training(workspace.run(model), workspace.work("train") / model)


def make_pretraining(workspace: Workspace) -> None:
    """A finished training of the lip encoder."""
    lines = ["step,train_loss,val_score,val_recon,val_commit,val_distill,val_codes_used"]
    lines += [f"{s},{1 - s / 400},{s / 400 - 1},0.05,0.004,0.6,{10 + s // 50}"
              for s in (50, 100, 150)]  # fmt: skip
    write_text(workspace.lipcoder / "log.csv", "\n".join(lines) + "\n")
    make_training(workspace.lipcoder, workspace.work("pretrain") / "lipcoder")


def make_training(run: Path, work: Path) -> None:
    """The card of a trained model and the logs of its steps."""
    fit = {"optimizer": "adam", "lr": 3e-3, "schedule": "cosine", "warmup": 20, "ema": 0.98}
    fit |= {"batch": 12, "accumulate": 1, "seconds": 2.0, "clip": 5.0, "weight_decay": 0.0}
    card = {
        "seed": 4711,
        "precision": "fp32",
        "machine": "Some CPU, 2 cores",
        "device": "cpu",
        "parameters": 1_220_000,
        "metrics": {"step": 950.0},
        "training": {
            "size": "demo",
            "fit": fit,
            "augment": {"crop": True, "flip": 0.5, "light": 0.0},
            "overrides": {},
            "init": "",
            "paired": True,
        },
    }
    write_json(run / "card.json", card)
    generator = np.random.default_rng(0)
    lines = ["step,loss,gradient_norm,lr,data_wait_share,items_per_s"]
    lines += [f"{s},{-9 + 20 / (1 + s / 100) + generator.normal():.4f},1,1,0,9"
              for s in range(1, 1001)]  # fmt: skip
    write_text(work / "steps.csv", "\n".join(lines) + "\n")
    write_json(work / "step_times.json", {"steps": 600, "seconds_per_step": 0.75, "devices": 2})


def make_data(workspace: Workspace, reason: str = "no_face") -> None:
    splits = ["train"] * 10 + ["val"] * 2 + ["test"] * 4
    clips = [
        Clip(
            clip_id=f"clip{s}{n}",
            corpus="demo",
            speaker=f"demo-s{s:02d}",
            group=f"voice-{s // 2}",
            gender="fm"[s % 2],
            split=split,
            path=f"demo-s{s:02d}/{n}.mp4",
            sha256="0" * 64,
            size_bytes=75_000,
            kept=n != 5,
            reason=reason if n == 5 else "",
            end_s=3.0,
        )
        for s, split in enumerate(splits)
        for n in range(6)
    ]
    write_rows(workspace.clips / "clips.parquet", clips, Clip)
    drops = {
        "by_reason": {reason: {"clips": 16, "hours": 0.0133, "state": "dropped"}},
        "by_gender": {g: {"clips": 48, "kept_clips": 40} for g in "fm"},
    }
    write_json(workspace.clips / "drops.json", drops)
    rows = [
        IndexRow(
            key=f"{clip.clip_id}-t0",
            shard="a.tar",
            clip_id=clip.clip_id,
            corpus="demo",
            speaker=clip.speaker,
            group=clip.group,
            gender=clip.gender,
            split=clip.split,
            num_frames=75,
            multi_voice=False,
            level_dbfs=-26.0,
            audio_sha256="0" * 64,
            text="",
        )
        for clip in clips
        if clip.kept
    ]
    workspace.shards.mkdir(parents=True, exist_ok=True)
    write_index(workspace.shards, rows)
    ledger = Ledger(workspace.ledger)
    outcomes = [
        Outcome.done(clip.clip_id)
        if clip.kept
        else Outcome.ended(clip.clip_id, Reason.NO_FACE, "no face")
        for clip in clips
    ]
    ledger.record("clean", outcomes)
    ledger.record("extract", outcomes)
