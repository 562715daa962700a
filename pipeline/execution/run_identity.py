"""What decides the weights that a training gives, and so whether a run may go on.

Settings decide unless their class says that they do not (`DECIDES_NOTHING`). A run may be given
more steps, and other devices at the same number of items per step. Changed code is told by the
version numbers of the training and of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from avsep.errors import CheckError, UsageError
from avsep.files import settings_hash
from avsep.settings import as_values
from avsep.training.config import VERSION, ModelTrainConfig, RunSettings

ITEMS = "the number of items per step (fit.batch x fit.accumulate x devices)"
CODE = "the version of the training code"
FILES = "files"  # the section of the inputs, by path
AUTO = "auto"  # of the precision: takes any that a run has


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What a run is begun with.

    Attributes:
        decides: each setting and input that decides the weights, by its name for people.
        defaults: of the settings; a run that was begun before there was one had its default.
        steps: of the training.
        patience: in validations.
    """

    decides: dict[str, Any]
    defaults: dict[str, Any]
    steps: int
    patience: int

    @property
    def settings(self) -> str:
        """A hash for the marker; with other steps or patience a finished run may go on."""
        return settings_hash(self.decides, self.steps, self.patience)

    def as_json(self) -> dict[str, Any]:
        """What a run keeps of it."""
        return {"decides": self.decides, "steps": self.steps}

    def check(self, kept: Mapping[str, Any], what: str) -> None:
        """Refuse to go on with a run that was begun with something else.

        Args:
            kept: `as_json` of the run.
            what: the run, for people.

        Raises:
            CheckError: what has changed, with both values.
        """
        before = kept["decides"]
        names = self.decides.keys() | before.keys()
        for name in sorted(names, key=lambda name: (name.startswith(FILES), name)):
            now = self.decides.get(name)
            old = before.get(name, self.defaults.get(name))
            if now == old or (name.endswith("precision") and AUTO in (now, old)):
                continue
            if name.startswith(FILES):
                changed = f"{name.removeprefix(FILES).strip()} has changed since the run began"
            else:
                changed = f"{name} was {_said(old)} when the run began and is {_said(now)} now"
            raise CheckError(
                f"{what} cannot go on: {changed}; the result would differ. Set it back, or start"
                " again with --restart, which keeps the old run."
            )
        if self.steps < kept["steps"]:
            raise CheckError(
                f"{what} cannot go on: fit.steps was {kept['steps']} and is {self.steps} now; a run"
                " may be given more steps, not fewer. Set it back, or start again with --restart,"
                " which keeps the old run."
            )


def identify(
    run: RunSettings,
    section: ModelTrainConfig,
    *,
    stage: str,
    name: str,
    model_version: int,
    inputs: Mapping[str, str],
) -> RunIdentity:
    """What decides the weights of a training.

    Args:
        run: config of the stage, which may have sections of other models too.
        section: the section of what is trained.
        stage: name of the stage, as in params.yaml.
        name: name of the section there.
        model_version: of the code of the model.
        inputs: sha256 of each input, by its path in the project.

    Raises:
        UsageError: the settings ask for a search instead, which is for the command line.
    """
    if run.find:
        raise UsageError(f"{stage}.find is for the command line: --find {run.find}.")
    decides = {
        **_deciding(run, section, stage, name),
        ITEMS: section.fit.items_per_step(run.devices),
        CODE: f"{VERSION}.{model_version}",
        **{f"{FILES} {path}": digest for path, digest in inputs.items()},
    }
    defaults = _deciding(type(run)(), type(section)(), stage, name)
    return RunIdentity(
        decides=decides, defaults=defaults, steps=section.fit.steps, patience=section.fit.patience
    )


def _deciding(run: RunSettings, section: ModelTrainConfig, stage: str, name: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for part, place in ((run, stage), (section, f"{stage}.{name}")):
        free = getattr(part, "DECIDES_NOTHING", ())
        for entry in fields(part):
            value = getattr(part, entry.name)
            if entry.name in (*free, "fit") or isinstance(value, ModelTrainConfig):
                continue
            values[f"{place}.{entry.name}"] = as_values(value)
    fit = section.fit
    values |= {
        f"{stage}.{name}.fit.{entry.name}": getattr(fit, entry.name)
        for entry in fields(fit)
        if entry.name not in fit.DECIDES_NOTHING
    }
    return values


def _said(value: Any) -> str:
    return "not set" if value in (None, "") else str(value)
