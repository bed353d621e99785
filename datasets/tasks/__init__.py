"""Tasks: sequences with a target, drawn or recorded, whose inputs or targets an event store does not hold."""

from spiking.datasets.tasks.adding import AddingProblem
from spiking.datasets.tasks.l5pc import Windows, read_simulations
from spiking.datasets.tasks.match import DelayedMatch
from spiking.datasets.tasks.pixels import Pixels
from spiking.datasets.tasks.task import Task, TaskLoader

__all__ = ["AddingProblem", "DelayedMatch", "Pixels", "Task", "TaskLoader", "Windows", "read_simulations"]
