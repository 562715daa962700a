"""The promises about who may import whom, and about the one word of a stage."""

import ast
import dataclasses
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import median

import yaml

from pipeline.config import load_configs
from pipeline.stages import STAGES

ROOT = Path(__file__).parents[1]
FLOORS = ("avsep", "pipeline", "flows")  # from the ground up
MODULES = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
ORCHESTRATORS = {"prefect", "prefect_dask", "dvc"}

# What each package of the library may import, besides the modules that lie directly in it.
ALLOWED = {
    "media": "",
    "faces": "",
    "extraction": "faces media shards",
    "shards": "media",
    "cleaning": "media",
    "cutting": "faces media",
    "corpora": "media",
    "mixing": "media shards",
    "loading": "mixing shards",
    "training": "loading media",
    "models": "loading mixing shards training",
    "evaluation": "extraction faces media mixing models separation shards",
    "reporting": "cleaning evaluation media models shards training",
    "separation": "faces media models weights",
    "weights": "models",
    "exporting": "media mixing models shards",
    "web": "reporting separation",
    "bench": "corpora evaluation extraction faces loading media mixing models separation shards "
    "training",
    "cli": "bench corpora cutting evaluation exporting faces mixing models reporting separation "
    "shards web weights",
}


def _module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def _imports(path: Path) -> frozenset[str]:
    """Dotted names of all modules that a module imports, inside functions too."""
    known = {_module_of(module) for module in MODULES}
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path} has a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (inside & known) or {node.module}
    return frozenset(names)


def _ours(path: Path) -> set[str]:
    return {name for name in _imports(path) if name.split(".")[0] in FLOORS}


def test_no_floor_imports_a_higher_one():
    for path in MODULES:
        allowed = FLOORS[: FLOORS.index(path.relative_to(ROOT).parts[0]) + 1]
        for name in _ours(path):
            assert name.split(".")[0] in allowed, f"{path} imports {name}"


def test_the_execution_of_stages_knows_no_stage():
    for path in (ROOT / "pipeline" / "execution").rglob("*.py"):
        for name in _ours(path):
            assert not name.startswith(("pipeline.stages", "pipeline.cli")), (
                f"{path} imports {name}"
            )


def test_only_the_flows_know_the_orchestrators():
    for path in MODULES:
        if path.relative_to(ROOT).parts[0] != "flows":
            top = {name.partition(".")[0] for name in _imports(path)}
            assert not top & ORCHESTRATORS, path


def test_packages_of_the_library_import_along_the_allowed_arrows():
    packages = {path.name for path in (ROOT / "avsep").iterdir() if (path / "__init__.py").exists()}
    assert packages == set(ALLOWED)
    found: dict[str, set[str]] = {package: set() for package in packages}
    for path in set((ROOT / "avsep").rglob("*.py")) - {ROOT / "avsep" / "__main__.py"}:
        package = path.relative_to(ROOT / "avsep").parts[0]
        for name in _ours(path):
            other = name.split(".")[1] if "." in name else ""
            if other in packages and other != package:
                assert package in packages, f"{path.name} lies below all packages, not {other}"
                assert other in ALLOWED[package].split(), f"{path} imports {name}"
                found[package].add(other)
    for package, others in found.items():
        assert others == set(ALLOWED[package].split()), f"{package}: an arrow that nobody takes"


def test_the_allowed_arrows_have_no_circle():
    left = {package: set(others.split()) for package, others in ALLOWED.items()}
    while left:
        free = {package for package, others in left.items() if not others & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        left = {package: others for package, others in left.items() if package not in free}


def test_nothing_goes_round_the_arrows():
    for path in MODULES:
        text = path.read_text("utf-8")
        assert "import_module(" not in text, path
        assert "__import__(" not in text, path


def test_one_word_runs_through_all_places():
    dvc = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    assert list(dvc["stages"]) == list(STAGES) == list(params)
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name, stage in STAGES.items():
        assert (ROOT / "pipeline" / "stages" / f"{name}.py").is_file()
        assert f'run_stage("{name}"' in tests, f"no test runs {name}"
        assert stage.config.__name__ == f"{name.capitalize()}Config"
        spec = dvc["stages"][name]
        assert f"flows.stages {name}" in spec.get("cmd", spec.get("do", {}).get("cmd"))


def _packages_behind(stage: str) -> set[str]:
    """The packages of the library that a stage runs code of."""
    paths = {_module_of(path): path for path in MODULES}
    seen: set[str] = set()
    todo = [f"pipeline.stages.{stage}"]
    while todo:
        name = todo.pop()
        # The list of stages knows all of them, and says nothing of one.
        if name in seen or name not in paths or name == "pipeline.stages":
            continue
        seen.add(name)
        todo += [*_ours(paths[name]), name.rpartition(".")[0]]
    return {"/".join(name.split(".")[:2]) for name in seen if name.startswith("avsep.")}


def test_dvc_tracks_the_code_that_a_stage_runs():
    dvc = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))
    for name in STAGES:
        spec = dvc["stages"][name]
        deps = {dep for dep in spec.get("do", spec)["deps"] if dep.startswith(("avsep", "pipel"))}
        packages = {path for path in _packages_behind(name) if (ROOT / path).is_dir()}
        assert deps == packages | {f"pipeline/stages/{name}.py"}, name


def test_dvc_tracks_every_setting_that_decides_a_training():
    dvc = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))
    config = STAGES["train"].config
    # They change how fast the result comes, and where.
    without_effect = {
        *("model", "device", "deterministic", "threads", "workers", "cache_mb", "stream_from"),
        *("loggers", "find"),
    }
    fields = {field.name for field in dataclasses.fields(config)} - without_effect
    tracked = {name.removeprefix("train.") for name in dvc["stages"]["train"]["do"]["params"]}
    models = {name.replace("-", "_") for name in dvc["stages"]["train"]["foreach"]}
    assert tracked - {"${key}"} == fields - models


def test_every_profile_is_valid():
    profiles = sorted((ROOT / "profiles").glob("*.yaml"))
    assert {path.stem for path in profiles} >= {
        *("demo", "demo-long", "folder", "lrs2", "lrs3", "voxceleb2"),
        *("lrs2-published", "lrs3-published", "voxceleb2-published"),
    }
    dvc = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))
    tracked = [name for name in dvc["stages"]["train"]["do"]["params"] if "$" not in name]
    for path in [*profiles, ROOT / "params.yaml"]:
        configs = load_configs(path)
        assert set(configs) == set(STAGES)
        train = yaml.safe_load(path.read_text("utf-8")).get("train")
        for name in tracked if train else ():
            assert name.removeprefix("train.") in train, f"`dvc repro` needs {name} in {path}"
        if train:  # written down, so that two machines train in the same format
            formats = {configs[stage].precision for stage in ("pretrain", "train")}
            assert formats == {"fp32"}, path


def test_the_command_line_starts_without_heavy_imports():
    code = (
        "import sys, avsep.cli, pipeline.cli.run, avsep.reporting.table\n"
        "heavy = {'torch', 'av', 'cv2', 'numba', 'matplotlib', 'prefect'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert result.returncode == 0, result.stderr


def test_no_two_files_of_tests_have_one_name():
    """Pytest imports them by their names alone."""
    counts = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_module_is_a_catch_all_or_too_long():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in MODULES}
    for path, length in lengths.items():
        assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "common"}, path
        assert length <= 500, path
    assert median(lengths.values()) <= 120


def test_text_is_printed_by_the_function_that_escapes_it():
    wrong = [
        f"{path}: {line}"
        for folder in ("avsep", "pipeline", "flows")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"\btyper\.(s?echo)|\bsys\.std(out|err)\.write", line)
    ]
    assert wrong == []


def test_nobody_waits_for_a_simple_queue_with_a_limit():
    """In CPython 3.11, `get` waits for ever if its time is over before it begins to wait."""
    limited = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if "SimpleQueue" in (text := path.read_text("utf-8"))
        and re.search(r"\.get\([^)]*timeout", text)
    ]
    assert limited == []
