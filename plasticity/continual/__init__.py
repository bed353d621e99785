"""Forgetting: streams of tasks, runs over them, metrics and reports."""

from spiking.plasticity.continual import streams
from spiking.plasticity.continual.result import Result
from spiking.plasticity.continual.run import run
from spiking.plasticity.continual.streams import Stream, Task

__all__ = ["Result", "Stream", "Task", "run", "streams"]
