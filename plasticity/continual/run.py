"""`run`: a model learns the tasks of a stream one after the other, by one method, and is measured on all of them.

    inputs, labels = method.observe(inputs, labels, task)
    loss = cross_entropy(model(inputs), labels) + method.penalty()
    loss.backward();  method.project();  optimizer.step();  method.learn()

After each task R's next row is measured on every task, later ones too. A run draws all its random numbers from (seed,
task, epoch), and the optimiser begins each task anew, so that a run that was killed goes on from its last finished task
with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spiking.plasticity.arguments import real, whole
from spiking.plasticity.continual import contexts
from spiking.plasticity.continual.examples import Batches, Examples, Mixed
from spiking.plasticity.continual.methods import Plan, build, rank
from spiking.plasticity.continual.models import default
from spiking.plasticity.continual.result import Result, load, save
from spiking.plasticity.continual.streams import Stream
from spiking.plasticity.method import Method, logits

MakeModel = Callable[[Stream], nn.Module]
MakeMethod = Callable[[nn.Module, Stream], Method]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SIZE = 500  # examples of a batch that is only measured


@dataclass(frozen=True)
class _Way:
    """How `run` trains and measures, apart from stream, model and method."""

    optimizer: MakeOptimizer
    epochs: int
    batch_size: int
    seed: int
    on: str
    every: int | None
    probe: int
    device: str


def run(
    stream: Stream,
    method: str | Method | MakeMethod = "sequential",
    model: nn.Module | MakeModel | str | None = None,
    *,
    optimizer: MakeOptimizer | None = None,
    lr: float = 0.1,
    epochs: int = 1,
    batch_size: int = 64,
    seed: int = 0,
    order: int | None = None,
    options: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    on: str = "test",
    every: int | None = None,
    probe: int = 1000,
    joint: list[float] | None = None,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
    watch: Callable[[int, int, int], None] | None = None,
) -> Result:
    """Learn a stream of tasks.

    Arguments:
        stream: the tasks.
        method: a name of `methods.NAMES`: "sequential", "joint", "cumulative", "hlop", "hlop-published", "gpm", "owm",
            "ewc", "si", "replay", "dendrites", "dendrites-published"; a `Method` of one's own, made for `model`; or
            what makes one from model and stream. "dendrites-published" brings `optimizer`, `epochs` and `batch_size`.
        model: one's own, trained in place; what makes one from the stream; "snn" or `None`, the default spiking
            network; "ann", the control of equal widths without spikes. It returns logits (B, outputs), or readouts
            (T, B, outputs) alone or before its states. "dendrites" brings its own, without spikes.
        optimizer: makes one from parameters, anew for each task; `None` is plain gradient descent.
        lr: of plain gradient descent.
        epochs: through each task.
        batch_size: examples of a step.
        seed: of weights, batches and whatever the method draws.
        order: seed of the order of tasks; `None` is their own.
        options: of a method by name; of "dendrites" those of its network, `widths` and `segments` among them.
        folder: where the checkpoint lies, from which the run goes on if it is there.
        on: "test", or "valid" to choose numbers by.
        every: measure the tasks begun so far every so many steps inside tasks, on `probe` examples of each.
        joint: accuracies of the method "cumulative", the diagonal of its R, for intransigence.
        device: where the model runs.
        report: is given a line after each task.
        watch: is given the task's number, its steps so far and how many it has, after each step.

    Returns:
        Result with R, metrics, seconds and the numbers that the method stored.

    Raises:
        ValueError: naming the argument that does not fit the stream.
        DataError: if the folder holds a run of another configuration.
        FloatingPointError: if the loss, or an output that is measured, is no longer a number, or a subspace diverges.
    """
    _check(stream, on, joint, epochs=epochs, batch_size=batch_size, every=1 if every is None else every, probe=probe)
    whole("seed", seed, 0)
    if order is not None:
        stream = stream.ordered(whole("order", order, 0))
    if optimizer is None:
        real("lr", lr, 0.0, said="a finite number of 0 or more")
    make = optimizer or (lambda parameters: torch.optim.SGD(parameters, lr=lr))
    if method == "dendrites-published":
        tasks = len(stream.tasks)
        make = partial(contexts.published_optimizer, tasks)
        epochs, batch_size = contexts.published_pace(tasks)[0], contexts.PUBLISHED_BATCH
    way = _Way(make, epochs, batch_size, seed, on, every, probe, device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net, plan = made(stream, method, model, options, seed, device)
        configuration = {
            **stream.describe(), "method": method if isinstance(method, str) else type(plan.method).__name__,
            "options": dict(options or {}), "order": order, "model": _model_says(net), "optimizer": _says(make, net),
            **{k: v for k, v in asdict(way).items() if k not in ("optimizer", "device")},
        }  # fmt: skip
        return _Run(stream, net, plan, way, method, configuration, folder, joint, report, watch).all()


def made(
    stream: Stream, method: str | Method | MakeMethod, model: nn.Module | MakeModel | str | None,
    options: Mapping[str, Any] | None = None, seed: int = 0, device: str = "cpu",
) -> tuple[nn.Module, Plan]:
    """Model and method of a run, which fit the stream; arguments and what is raised as in `run`."""
    net = _model(model, stream, method, options).to(device)
    _check_head(net, stream, device)
    return net, build(method, net, stream, options, seed)


class _Run:
    def __init__(
        self, stream: Stream, net: nn.Module, plan: Plan, way: _Way, method: Any, configuration: dict[str, Any],
        folder: str | Path | None, joint: list[float] | None, report: Callable[[str], None] | None,
        watch: Callable[[int, int, int], None] | None,
    ) -> None:
        self.stream, self.net, self.plan, self.way = stream, net, plan, way
        self.bound = method if method in ("joint", "cumulative") else None
        self.configuration, self.report, self.watch = configuration, report, watch
        self.folder = None if folder is None else Path(folder)
        self.forward = logits(net)
        self.result = Result(len(stream.tasks))
        self.initial = {name: value.clone() for name, value in net.state_dict().items()} if self.bound else {}
        state = None if self.folder is None else load(self.folder, configuration)
        if state is not None:
            self.result = Result(**state["result"])
            net.load_state_dict(state["model"])
            plan.method.load_state_dict(state["method"])
        self.result.joint, self.result.at_once = joint, method == "joint"

    def all(self) -> Result:
        """Every task that is left."""
        tasks, result = self.stream.tasks, self.result
        if not result.before:
            result.before = self._measure()
        for k in range(len(result.rows), len(tasks)):
            torch.manual_seed(self.way.seed * 1000 + k)
            start, spent = time.perf_counter(), result.seconds
            self.plan.task = k
            if not self.bound:
                since = time.perf_counter()
                self.plan.method.begin_task(Batches(self.stream.tasks[k].train, SIZE, device=self.way.device))
                result.seconds += time.perf_counter() - since
            result.stored.append(int(self.plan.method.stored()))
            if self.bound == "joint" and k:
                result.rows.append(result.rows[0])
            else:
                self._learn(k, self._examples(k))
                result.rows.append(self._measure())
            train = Batches(tasks[k].train, self.way.batch_size, (self.way.seed, k, self.way.epochs), self.way.device)
            for name, row in rank(self.plan.method, train).items():
                result.rank.setdefault(name, []).append(row)
            if k + 1 < len(tasks) and not self.bound:
                since = time.perf_counter()
                self.plan.method.next_task(batches=train, **self.plan.options(k + 1))
                result.seconds += time.perf_counter() - since
            if self.folder is not None:
                save(self.folder, {
                    "configuration": self.configuration, "result": asdict(result), "model": self.net.state_dict(),
                    "method": self.plan.method.state_dict(),
                })  # fmt: skip
            if self.report is not None:
                now = np.array(result.rows[-1])
                trained = result.seconds - spent
                measured = time.perf_counter() - start - trained
                self.report(
                    f"task {k + 1}/{len(tasks)}  {100 * now[k]:5.1f} %  mean of learned "
                    f"{100 * now[: k + 1].mean():5.1f} %  {trained:.0f} s + {measured:.0f} s measuring"
                )
        return result

    def _examples(self, k: int) -> Examples:
        """What is trained on in task k."""
        if not self.bound:
            return self.stream.tasks[k].train
        last = len(self.stream.tasks) if self.bound == "joint" else k + 1
        if k:
            self.net.load_state_dict(self.initial)
        return Mixed(tuple(task.train for task in self.stream.tasks[:last]))

    def _learn(self, k: int, examples: Examples) -> None:
        method, way, result = self.plan.method, self.way, self.result
        optimizer = way.optimizer(p for p in self.net.parameters() if p.requires_grad)
        self.net.train()
        since, step, total = time.perf_counter(), 0, way.epochs * len(Batches(examples, way.batch_size))
        for epoch in range(way.epochs):
            for batch in Batches(examples, way.batch_size, (way.seed, k, epoch)):
                inputs, labels = method.observe(batch[0].to(way.device), batch[1].to(way.device), k)
                loss = cross_entropy(self._scores(inputs, labels), labels) + method.penalty()
                if not math.isfinite(loss.item()):
                    raise FloatingPointError(
                        f"loss: {loss.item()} in task {k}, epoch {epoch}, step {step}; a smaller learning rate may help"
                    )
                optimizer.zero_grad()
                loss.backward()
                method.project()
                optimizer.step()
                method.learn()
                step += 1
                if self.watch is not None:
                    self.watch(k, step, total)
                if way.every and step % way.every == 0 and not self.bound:
                    result.seconds += time.perf_counter() - since
                    seen = self._measure(k + 1, way.probe)
                    result.within.append([k, step, *seen, *[math.nan] * (len(self.stream.tasks) - k - 1)])
                    self.net.train()
                    since = time.perf_counter()
        result.seconds += time.perf_counter() - since

    def _scores(self, inputs: Any, labels: Tensor) -> Tensor:
        out = self.forward(inputs)[:, : self.stream.outputs]
        allowed = self.stream.allowed(labels.cpu())
        return out if allowed is None else out.masked_fill(~allowed.to(out.device), -math.inf)

    @torch.no_grad()
    def _measure(self, tasks: int | None = None, most: int | None = None) -> list[float]:
        """Accuracy on each of the first tasks."""
        self.net.eval()
        found = []
        for task in self.stream.tasks[:tasks]:
            examples = task.test if self.way.on == "test" else task.valid
            assert examples is not None
            if most is not None and most < len(examples.labels):
                drawn = np.random.default_rng(0).permutation(len(examples.labels))[:most]  # stores lie class by class
                examples = examples.part(np.sort(drawn))
            right = 0
            for inputs, labels in Batches(examples, SIZE):
                scores = self._scores(inputs.to(self.way.device), labels)
                if bool(scores.isnan().any()):
                    raise FloatingPointError(
                        f"model: its outputs for {task.name} are no numbers; a smaller learning rate may help"
                    )
                guess = scores.argmax(1).cpu()
                right += int((guess == labels).sum())
            found.append(right / len(examples.labels))
        return found


def _check(stream: Stream, on: str, joint: Sequence[float] | None, **counts: int) -> None:
    for name, value in counts.items():
        whole(name, value, 1)
    if joint is not None and len(joint) != len(stream.tasks):
        raise ValueError(f"joint: expected {len(stream.tasks)} accuracies, one for each task, got {len(joint)}")
    if on not in ("test", "valid"):
        raise ValueError(f"on: expected test or valid, got {on!r}")
    if on == "valid" and any(task.valid is None for task in stream.tasks):
        raise ValueError("on: the stream has no validation examples; make it with valid=0.1")


def _model(
    model: nn.Module | MakeModel | str | None, stream: Stream, method: Any, options: Mapping[str, Any] | None
) -> nn.Module:
    if isinstance(method, str) and method in contexts.NAMES:
        given = dict(options or {})
        if model is None:
            try:
                return contexts.network(stream, method == "dendrites-published", **given)
            except TypeError as error:
                raise ValueError(f"options: {method} does not take {given}: {error}") from error
        if given:
            raise ValueError(f"options: {method} takes them for the network it brings, got {given} beside a model")
    if model is None or isinstance(model, str):
        return default(stream, model or "snn")
    found = model if isinstance(model, nn.Module) or not callable(model) else model(stream)
    if not isinstance(found, nn.Module):
        raise ValueError(
            f"model: expected snn, ann, a module, or what makes one from the stream, got {type(found).__name__}"
        )
    return found


@torch.no_grad()
def _check_head(net: nn.Module, stream: Stream, device: str) -> None:
    net.eval()
    out = logits(net)(stream.tasks[0].train.batch(np.arange(1)).to(device))
    if out.ndim != 2 or out.shape[1] < stream.outputs:
        raise ValueError(
            f"model: expected outputs (1, {stream.outputs}) or more, one for each class of the stream, got "
            f"{tuple(out.shape)}"
        )


def _model_says(net: nn.Module) -> str:
    more = net.extra_repr()  # numbers that shapes do not tell, such as the steps of an image
    name = f"{type(net).__name__}({more})" if more else type(net).__name__
    return f"{name} " + " ".join("x".join(map(str, p.shape)) for p in net.parameters())


def _says(make: MakeOptimizer, net: nn.Module) -> str:
    made = make(net.parameters())
    numbers = ", ".join(f"{k}={v}" for k, v in made.defaults.items() if isinstance(v, (int, float)) and v)
    return f"{type(made).__name__}({numbers})"
