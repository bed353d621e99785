"""Measurements of the ops next to other libraries: equal work, compared first, or no ratio."""

from spiking.bench.peers import PEERS, version
from spiking.bench.run import Result, environment, measure, threads
from spiking.bench.work import WORKS

__all__ = ["PEERS", "WORKS", "Result", "environment", "measure", "threads", "version"]
