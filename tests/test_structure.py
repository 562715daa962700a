"""The promises about who may import whom, and about the one word of a stage."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.config import STAGES, config_class

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "pipeline").rglob("*.py"))


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_knows_neither_prefect_nor_dvc_nor_the_flows(path: Path):
    top = {name.partition(".")[0] for name in _imports(path)}
    assert not top & {"prefect", "prefect_dask", "dvc", "flows"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_libraries_do_not_import_stages(path: Path):
    if path.parent.name in ("stages", "cli"):
        return
    assert not any(name.startswith("pipeline.stages") for name in _imports(path))


def test_one_word_runs_through_all_places():
    dvc = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))
    assert tuple(dvc["stages"]) == STAGES
    for stage in STAGES:
        assert (ROOT / "pipeline" / "stages" / f"{stage}.py").is_file()
        assert (ROOT / "flows" / f"{stage}.py").is_file()
        assert config_class(stage).__name__ == f"{stage.capitalize()}Config"


def test_every_profile_is_valid():
    from pipeline.config import build, read_params

    profiles = sorted((ROOT / "profiles").glob("*.yaml"))
    assert {p.stem for p in profiles} >= {
        *("demo", "demo-long", "folder", "lrs2", "lrs3", "voxceleb2"),
    }
    for path in [*profiles, ROOT / "params.yaml"]:
        values = read_params(path)
        assert set(values) == set(STAGES), path
        for stage in STAGES:
            build(config_class(stage), values[stage], stage)


def test_the_command_line_starts_without_heavy_imports():
    code = (
        "import sys, pipeline.cli\n"
        "heavy = {'torch', 'av', 'cv2', 'numba', 'matplotlib', 'prefect'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert result.returncode == 0, result.stderr


def test_no_module_is_a_catch_all_or_too_long():
    for path in MODULES:
        assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "common"}, path
        assert len(path.read_text("utf-8").splitlines()) <= 500, path
