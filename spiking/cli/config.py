"""The configuration of a training run: a YAML file, overrides, and the objects that they describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import yaml
from jsonargparse import ActionConfigFile, Namespace
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from spiking.cli.mistake import Mistake
from spiking.datasets import DataError
from spiking.training.data import EventData
from spiking.training.fit import check_trainer, quiet
from spiking.training.module import Classifier
from spiking.training.tasks import TaskData, TaskModel


def parser(name: str, defaults: Path, task: bool | None = None) -> LightningArgumentParser:
    """The parser of `data`, `model`, `trainer` and `seed`.

    Arguments:
        name: what is trained, for messages.
        defaults: YAML file that the overrides change.
        task: whether it is a task, or event recordings; by default what the file's `data` says.
    """
    if task is None:
        task = "task" in ((yaml.safe_load(defaults.read_text()) or {}).get("data") or {})
    made = LightningArgumentParser(
        prog=f"spiking train {name}",
        usage=f"spiking train {name} [--root DIR] [--skip-corrupt] [--out DIR] [--OVERRIDE VALUE ...]",
        description="Overrides of a preset.", default_config_files=[str(defaults)],
    )  # fmt: skip
    made.add_argument("--config", action=ActionConfigFile, help="a YAML file over the preset")
    made.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    made.add_argument(
        "--controls", type=dict[str, dict[str, Any]], default={}, help="arguments of model that --beside puts in place"
    )
    made.add_lightning_class_args(TaskData if task else EventData, "data")
    made.add_lightning_class_args(TaskModel if task else Classifier, "model")
    made.add_lightning_class_args(pl.Trainer, "trainer")
    made.link_arguments("seed", "data.seed")
    return made


def parse(name: str, overrides: list[str], defaults: Path, seed: int | None = None) -> Namespace:
    """The resolved configuration; a wrong override ends the program with jsonargparse's message and status 2."""
    words = overrides if seed is None else [*overrides, "--seed", str(seed)]
    return parser(name, defaults).parse_args(words)


def save(config: Namespace, path: Path) -> None:
    """Write the resolved configuration, which `parse` takes as defaults."""
    made = parser(path.parent.name, path, task="task" in config.data)
    path.write_text(made.dump(config, skip_unset=False))  # a null need not be the default


def put_beside(config: Namespace, control: str) -> None:
    """Put a control of the preset in the network's place.

    Arguments:
        config: the resolved configuration, which changes.
        control: a name among its `controls`.

    Raises:
        Mistake: if there is no such control, or it changes what a model doesn't have.
    """
    if control not in config.controls:
        raise Mistake(f"--beside: expected among {', '.join(config.controls) or 'no controls'}, got {control!r}")
    for name, value in config.controls[control].items():
        if name not in config.model:
            raise Mistake(f"controls: {control}: a model has no {name!r}")
        config.model[name] = value


def values(config: Namespace) -> list[Any]:
    """The values of the column `data.valid_by` among the training recordings.

    Raises:
        Mistake: if there is no such column or nothing to leave out.
    """
    try:
        found: list[Any] = parser("", Path(), task=False).instantiate(config).data.values()
    except DataError:
        raise
    except ValueError as error:
        raise Mistake(str(error)) from error
    return found


def instantiate(config: Namespace) -> tuple[Any, Any, dict[str, Any]]:
    """The classifier with its network, its data, and the Trainer's arguments.

    Raises:
        Mistake: if a value doesn't fit the class that it is for, or the data.
        DataError: if the data can't be read.
    """
    quiet()
    try:
        pl.seed_everything(config.seed, verbose=False)
        check_trainer(config.trainer)
        made = parser("", Path(), task="task" in config.data).instantiate(config)
        made.data.setup()
        made.model.build(made.data)
        # a first batch and a first Trainer only to hear their complaints before the run folder is made
        next(iter(made.data.train_dataloader()))
        pl.Trainer(**{**dict(made.trainer), "callbacks": None, "logger": False})
    except DataError:
        raise
    except (ValueError, MisconfigurationException) as error:
        raise Mistake(str(error)) from error
    return made.model, made.data, dict(made.trainer)
