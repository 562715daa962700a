import dataclasses
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from avsep.errors import UsageError
from avsep.settings import as_values, build
from avsep.training.config import FitSettings
from pipeline.config import for_model, load_config, load_configs, read_params
from pipeline.stages import STAGES


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 1.0
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Outer:
    steps: int
    names: tuple[str, ...] = ()
    limit: float | None = None
    inner_part: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1.")


def test_values_become_the_dataclass():
    config = build(
        Outer,
        {"steps": 3, "names": ["x", "y"], "limit": 2, "inner-part": {"rate": 1, "kind": "b"}},
        "train",
    )
    assert config == Outer(
        steps=3, names=("x", "y"), limit=2.0, inner_part=Inner(rate=1.0, kind="b")
    )
    assert as_values(config)["inner_part"] == {"rate": 1.0, "kind": "b"}


def test_exponent_without_a_dot_is_a_number():
    assert build(Outer, {"steps": 1, "limit": "1e-3"}, "train").limit == 1e-3


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": 1, "stesp": 2}, "train has the unknown key(s) stesp"),
        ({}, "train lacks the key(s) steps"),
        ({"steps": True}, "train.steps must be of type int, not True"),
        ({"steps": "many"}, "train.steps must be of type int"),
        ({"steps": 10**30}, "whole numbers have at most 64 bits"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"steps": 1, "inner_part": {"kind": "c"}}, "train.inner_part.kind is 'c'"),
        ({"steps": 1, "names": "x"}, "train.names must be a list"),
        ({"steps": 1, "limit": "fast"}, "train.limit must be of type float"),
        ({"steps": 1, "names": ["a\0b"]}, "train.names[0] is 'a\\x00b'"),
        ({"steps": 1, "inner_part": {"kind": "\ud800"}}, "train.inner_part.kind is '\\ud800'"),
        ({"steps": 1, "names": ["\ud800"]}, "'\\ud800' in it is not a character of a text"),
        (["steps"], "train must be a section of keys"),
    ],
)
def test_nonsense_is_one_sentence_that_names_the_place(values, sentence):
    with pytest.raises(UsageError) as caught:
        build(Outer, values, "train")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("clean: {a: [", "is not valid YAML"),
        ("- a\n", "must hold one section per stage"),
        ("cleen: {}\n", "unknown section(s) cleen"),
    ],
)
def test_broken_params_file(tmp_path: Path, text, sentence):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_params(path)
    assert sentence in str(caught.value)


def test_missing_params_file_says_what_to_do(tmp_path: Path):
    with pytest.raises(UsageError, match="is missing; `avsep init` makes a project"):
        load_config(tmp_path / "params.yaml", "clean")


def test_full_size_brings_its_training_and_what_is_set_wins():
    root = Path(__file__).parents[1]
    train = load_configs(root / "profiles" / "voxceleb2.yaml")["train"]
    assert (train.dolphin.fit.steps, train.dolphin.fit.schedule) == (400_000, "plateau")
    assert (train.dolphin.cached_views, train.dolphin.augment.crop) == (0, True)
    assert (train.vovit_s1.fit.optimizer, train.vovit_s1.fit.lr) == ("sgd", 1e-2)
    assert (train.vovit.fit.steps, train.vovit.augment.noise_px) == (100_000, 0.3)
    changed = build(
        type(train), {"dolphin": {"size": "full", "fit": {"lr": 5e-4, "batch": 3}}}, "train"
    )
    assert changed.dolphin.fit == dataclasses.replace(train.dolphin.fit, lr=5e-4, batch=3)
    small = build(type(train), {"dolphin": {"fit": {"lr": 5e-4}}}, "train")
    assert small.dolphin.fit.steps == FitSettings().steps
    with pytest.raises(UsageError, match=r"train\.dolphin\.fit has the unknown key\(s\) stepps"):
        build(type(train), {"dolphin": {"size": "full", "fit": {"stepps": 1}}}, "train")


@pytest.mark.parametrize(
    ("stage", "model", "sentence"),
    [
        ("train", "", "train needs a model; name one with --model: dolphin, vovit-s1, vovit."),
        ("train", "whale", "--model is 'whale'; it may be dolphin, vovit-s1, vovit."),
        ("clean", "dolphin", "the stage clean takes no --model."),
    ],
)
def test_a_model_is_named_exactly_where_a_stage_needs_one(stage, model, sentence):
    with pytest.raises(UsageError) as caught:
        for_model(STAGES[stage], STAGES[stage].config(), model)
    assert str(caught.value) == sentence
    assert for_model(STAGES["train"], STAGES["train"].config(), "vovit").model == "vovit"


def test_every_config_can_be_sent_to_another_process():
    for stage in STAGES.values():
        assert pickle.loads(pickle.dumps(stage.config())) == stage.config()


def numbers(values, path=()):
    """The places of all floats in nested settings."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from numbers(value, (*path, name))
        elif isinstance(value, float):
            yield (*path, name)
        elif isinstance(value, list | tuple):
            yield from numbers(dict(enumerate(value)), (*path, name))


def changed(values, path, value):
    name, *rest = path
    if isinstance(values, list | tuple):
        return list(changed(dict(enumerate(values)), path, value).values())
    return values | {name: changed(values[name], rest, value) if rest else value}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("stage", STAGES)
def test_every_number_of_the_settings_is_finite(stage, number):
    config = STAGES[stage].config
    values = as_values(config())
    for path in numbers(values):
        with pytest.raises(UsageError):
            build(config, changed(values, path, number), stage)
            pytest.fail(f"{stage}.{'.'.join(map(str, path))} takes {number}")
