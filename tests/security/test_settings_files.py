"""A settings file of any kind ends with one sentence that names the key, and in no time."""

import dataclasses
import typing
from datetime import date

import pytest
import yaml

from avsep.errors import UsageError
from avsep.settings import as_values, build, read_settings
from pipeline.config import load_configs
from pipeline.stages import STAGES

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 8)}]}}\n" for n in range(1, 7)
)


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 600,
        "a: " + "[" * 300 + "]" * 300,
        "a: " + "9" * 10_000,
        "a: 2026-02-31",
        "a: 2026-99-99T99:99:99",
        "a: !!python/object/apply:os.system [true]",
        "a: !!binary '***'",
        "a: !!timestamp x",
        "a: !!int x",
        "a: !!bool x",
        "a: !!float x",
        "? [1, 2]\n: 3",
        "a: &a [*a]",
        LAUGHS,
        MERGED,
        "a: &a\n  <<: *a",
        "a: *nobody",
        "%YAML 9.9\n---\na: 1",
        "\x00",
        "- a",
        "a: 1\n---\nb: 2",
        "\udcff",
    ],
    ids=range(22),
)
def test_yaml_of_any_kind_is_settings_or_one_sentence(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"params\.yaml|unknown section") as caught:
        load_configs(path)
    assert len(str(caught.value)) < 1000
    assert text not in (LAUGHS, MERGED) or "more than 100000 values" in str(caught.value)


@pytest.mark.parametrize("what", ["/dev/zero", "/dev/full", "/proc/self/mem", "folder", "nothing"])
def test_a_file_that_never_ends_is_not_read(tmp_path, what):
    path = tmp_path / "x.yaml"
    path.mkdir() if what == "folder" else path.symlink_to(what)
    with pytest.raises(UsageError, match=r"x\.yaml"):
        read_settings(path)


def test_the_bomb_counts_even_where_any_value_is_allowed():
    with pytest.raises(UsageError, match="64 bits"):
        build(STAGES["extract"].config, {"backend_options": {"a": 10**5000}}, "extract")
    for value in (date(2026, 1, 1), b"x", {1, 2}, {True: 1}, float("nan"), [float("inf")], "\0"):
        with pytest.raises(UsageError, match="backend_options"):
            build(STAGES["extract"].config, {"backend_options": {"a": value}}, "extract")


def numbers(config, path=()):
    """The places of the settings of a config that are numbers, and of its sections."""
    for name, hint in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from numbers(value, (*path, name))
        elif {int, float} & {hint, *typing.get_args(hint)}:
            yield (*path, name)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf", "1.0e+400", "1e400", "nan", "9" * 400])
def test_no_number_of_the_settings_may_be_infinite_or_none(stage, text):
    cls = STAGES[stage].config
    places = list(numbers(cls()))
    assert places or stage == "report"
    for path in places:
        values = yaml.safe_load(text)
        is_list = isinstance(_at(as_values(cls()), path), list)
        for key in reversed(path):
            values = {key: [values] if is_list and key == path[-1] else values}
        with pytest.raises(UsageError, match=path[-1]):
            build(cls, values, stage)


def _at(values, path):
    for key in path:
        values = values[key]
    return values
