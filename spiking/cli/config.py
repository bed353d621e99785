"""The configuration of a training run: a YAML file, overrides, and the objects that they describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse import ActionConfigFile, Namespace
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from spiking.cli.mistake import Mistake
from spiking.datasets import DataError
from spiking.training.data import EventData
from spiking.training.module import Classifier
from spiking.training.run import check_trainer, quiet


def parser(name: str, defaults: Path) -> LightningArgumentParser:
    """The parser of `data`, `model`, `trainer` and `seed`.

    Arguments:
        name: what is trained, for messages.
        defaults: YAML file that the overrides change.
    """
    made = LightningArgumentParser(
        prog=f"spiking train {name}",
        usage=f"spiking train {name} [--root DIR] [--skip-corrupt] [--out DIR] [--OVERRIDE VALUE ...]",
        description="Overrides of a preset.", default_config_files=[str(defaults)],
    )  # fmt: skip
    made.add_argument("--config", action=ActionConfigFile, help="a YAML file over the preset")
    made.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    made.add_lightning_class_args(EventData, "data")
    made.add_lightning_class_args(Classifier, "model")
    made.add_lightning_class_args(pl.Trainer, "trainer")
    made.link_arguments("seed", "data.seed")
    return made


def parse(name: str, overrides: list[str], defaults: Path, seed: int | None = None) -> Namespace:
    """The resolved configuration; a wrong override ends the program with jsonargparse's message and status 2."""
    words = overrides if seed is None else [*overrides, "--seed", str(seed)]
    return parser(name, defaults).parse_args(words)


def save(config: Namespace, path: Path) -> None:
    """Write the resolved configuration, which `parse` takes as defaults."""
    made = parser(path.parent.name, path)
    path.write_text(made.dump(config))


def values(config: Namespace) -> list[Any]:
    """The values of the column `data.valid_by` among the training recordings.

    Raises:
        Mistake: if there is no such column or nothing to leave out.
    """
    try:
        found: list[Any] = parser("", Path()).instantiate(config).data.values()
    except DataError:
        raise
    except ValueError as error:
        raise Mistake(str(error)) from error
    return found


def instantiate(config: Namespace) -> tuple[Classifier, EventData, dict[str, Any]]:
    """The classifier with its network, its data, and the Trainer's arguments.

    Raises:
        Mistake: if a value doesn't fit the class that it is for, or the data.
        DataError: if the data can't be read.
    """
    quiet()
    try:
        pl.seed_everything(config.seed, verbose=False)
        check_trainer(config.trainer)
        made = parser("", Path()).instantiate(config)
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
