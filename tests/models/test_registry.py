"""One entry per model: what other files list of models agrees with it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from avsep.errors import UsageError
from avsep.models.registry import LIPCODER, MODELS, families, model_name
from avsep.settings import build
from avsep.weights.catalogue import RELEASES
from pipeline.stages.train import TrainConfig

ROOT = Path(__file__).parents[2]


def test_dvc_trains_and_evaluates_the_models_on_what_they_need():
    dvc = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))
    trained = dvc["stages"]["train"]["foreach"]
    assert list(trained) == list(MODELS)
    assert dvc["stages"]["evaluate"]["matrix"]["model"] == list(MODELS)
    for name, spec in MODELS.items():
        folders = ["lipcoder" if n == LIPCODER.name else f"runs/{n}" for n in spec.needs]
        assert trained[name]["builds_on"] == f"data/{(folders or ['mixtures'])[0]}"


def test_the_settings_have_a_section_per_model():
    config = build(TrainConfig, {name: {"fit": {"batch": 3}} for name in MODELS}, "train")
    for name, spec in MODELS.items():
        section = getattr(config, name.replace("-", "_"))
        assert isinstance(section, spec.train_config)
        assert section.fit.batch == 3
    with pytest.raises(UsageError, match="unknown key"):
        build(TrainConfig, {"unet": {}}, "train")


def test_models_need_what_exists_before_them():
    names = list(MODELS)
    for number, spec in enumerate(MODELS.values()):
        assert spec.name == names[number]
        assert set(spec.needs) <= {LIPCODER.name, *names[:number]}
    assert set(RELEASES) <= set(MODELS)


def test_every_family_gives_what_it_promises():
    for name, family in families().items():
        assert family.name == name
        assert callable(family.network())
    for spec in MODELS.values():
        assert callable(spec.train())


@pytest.mark.parametrize(
    ("family", "config", "name"),
    [
        ("dolphin", {"channels": 8}, "dolphin"),
        ("vovit", {"variant": "speech"}, "vovit"),
        ("vovit", {"variant": "speech-s1"}, "vovit-s1"),
        ("vovit", {"variant": "singing"}, "vovit (singing)"),
        ("lipcoder", {}, "lipcoder"),
    ],
)
def test_a_card_says_which_model_it_is(family, config, name):
    assert model_name({"family": family, "config": config}) == name


def test_the_registry_is_read_without_torch():
    code = "import sys, avsep.models.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
