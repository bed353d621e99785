"""Code is kept where it can be, and tasks run once each on torch's number of threads, in any process."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
import pytest
import torch
from numba import carray, types

from spiking.kernels import jit as module
from spiking.kernels.jit import address, callback, claim, jit, pointer, prefetch_read, prefetch_write, region, spread


@pytest.fixture(params=[1, 4])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """torch's number of threads, for one test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def add(a: int, b: int) -> int:
    """Something to compile."""
    return a + b


def test_an_install_that_cannot_be_written_compiles_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: Callable[..., Any] = numba.njit

    def njit(function: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError(f"cannot cache function {function.__name__!r}: no locator available for file")
        return compiled(function, **options)

    monkeypatch.setattr(numba, "njit", njit)
    kernel: Any = jit(add)
    assert kernel(2, 3) == 5 and kernel.targetoptions["nogil"]


def test_other_errors_of_the_compiler_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("something else")

    monkeypatch.setattr(numba, "njit", broken)
    with pytest.raises(RuntimeError, match="something else"):
        jit(add)


def scale(factor: float) -> Any:
    """A function for kernels to take, with a constant of its own."""

    def run(x: Any, n: int) -> None:
        values = carray(x, n)
        for j in range(n):
            values[j] *= factor

    return callback(run, types.void(types.CPointer(types.float64), types.intp))


def test_a_kernel_takes_compiled_functions_without_being_compiled_again() -> None:
    @numba.njit
    def kernel(function: Any, x: np.ndarray, place: int, n: int) -> None:
        prefetch_write(pointer(x, place))
        prefetch_read(pointer(x, 0))
        function(pointer(x, place), n)

    x = np.ones(7)
    kernel(scale(2.0), x, 2, 3)
    kernel(scale(-5.0), x, 4, 3)
    assert x.tolist() == [1, 1, 2, 2, -10, -5, -5]
    assert len(kernel.signatures) == 1


@pytest.mark.parametrize("tasks", [0, 1, 3, 100])
def test_every_task_runs_once(threads: int, tasks: int) -> None:
    done: list[tuple[int, str]] = []
    spread(lambda task, word: done.append((task, word)), tasks, "given")
    assert sorted(done) == [(task, "given") for task in range(tasks)]


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
def test_as_many_tasks_run_at_once_as_torch_has_threads(threads: int) -> None:
    meeting = threading.Barrier(threads, timeout=30)
    seen = set()

    def meet(task: int) -> None:
        meeting.wait()  # breaks unless all threads are in a task
        seen.add(threading.get_ident())

    spread(meet, 5 * threads)
    assert len(seen) == threads and threading.get_ident() in seen


def test_an_exception_in_a_task_reaches_the_caller(threads: int) -> None:
    def fail(task: int, at: int) -> None:
        if task == at:
            raise ValueError(f"task {task} failed")

    for at in (0, 19):
        with pytest.raises(ValueError, match=f"task {at} failed"):
            spread(fail, 20, at)
    spread(fail, 20, 20)


def squares(table: Any) -> None:
    """The square of each number that a thread claims; the table names how many there are and where to write them."""
    numbers = carray(table, 3)
    values = carray(address(numbers[2]), numbers[1], np.int64)
    n = claim(numbers)
    while n < numbers[1]:
        values[n] += n * n
        n = claim(numbers)


def ten(table: Any) -> None:
    """Fill ten numbers with 10."""
    carray(address(carray(table, 3)[2]), 10, np.int64)[:] = 10


@pytest.mark.parametrize("openmp", [True, False])
def test_compiled_work_is_shared_out_once(threads: int, openmp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not openmp:
        monkeypatch.setattr(module, "_openmp", lambda: None)
    signature = types.void(types.CPointer(types.int64))
    work, first = callback(squares, signature), callback(ten, signature)
    values = np.zeros(10_000, np.int64)
    region(work, [len(values), values.ctypes.data])
    assert (values == np.arange(10_000) ** 2).all()
    region(work, [10, values.ctypes.data], first)
    assert (values[:10] == 10 + np.arange(10) ** 2).all() and values[10] == 100


def double(task: int, values: Any) -> None:
    """A task that owns one value."""
    values[task] *= 2


def doubled() -> list[int]:
    """0 to 49 after a compiled task for each."""
    values = np.arange(50)
    spread(jit(double), 50, values)
    return list(values.tolist())


def report(pipe: Any) -> None:
    """What a child process sends home."""
    pipe.send(doubled())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of a fork beside threads
def test_a_forked_process_has_threads_of_its_own(threads: int) -> None:
    want = doubled()  # the pool of this process exists before the fork
    context: Any = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=report, args=(there,))
    child.start()
    answered = here.poll(60)
    if not answered:
        child.kill()
    child.join()
    assert answered, "the child hangs in spread"
    assert here.recv() == want == [2 * value for value in range(50)]
