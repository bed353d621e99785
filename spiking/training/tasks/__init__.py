"""Training on tasks: sequences whose target is a number, a class at the end, or a voltage and spikes at every step."""

from spiking.training.tasks.data import TaskData
from spiking.training.tasks.module import TaskModel
from spiking.training.tasks.run import evaluate, run

__all__ = ["TaskData", "TaskModel", "evaluate", "run"]
