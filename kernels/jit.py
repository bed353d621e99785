"""Numba as the CPU kernels use it: `jit` compiles the work of one task, `spread` runs the tasks on torch's threads.

`region` does the same for compiled work of microseconds, without a thread of it waiting for Python.
Tasks run outside Python's global lock on torch's own OpenMP threads, or on plain ones where torch has none, and not on
Numba's: those abort in a forked process or when two Python threads enter at once, follow no `torch.set_num_threads`,
and compile several times as long.

Numba keys cached code by the file a kernel stands in, and would run old code after a change to a helper in another
file. So the cache is a folder named after the content of all files with kernels, those of `datasets/` included, and
after NUMBA_BOUNDSCHECK, which Numba's own key leaves out.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor


def jit(function: Callable[..., Any], inline: str = "never", reassociate: bool = False) -> Callable[..., Any]:
    """A decorator that compiles a function for the types it meets, outside Python's lock.

    A call inside a branch counts references to its arrays, which threads that share them pay dearly: helpers of a task
    are loops of `range` and no more, and branches stand in the task itself.

    Arguments:
        function: what to compile.
        inline: "always" compiles it into its callers.
        reassociate: let sums be taken in another order, the same each time, where no spike depends on them.
    """
    how: dict[str, Any] = {"nogil": True, "inline": inline, "fastmath": {"reassoc", "nsz"} if reassociate else False}
    return _compiled(lambda **options: numba.njit(function, **how, **options))


def callback(function: Callable[..., Any], signature: Any) -> Any:
    """Compile a function that kernels can take as an argument, so that they need not be compiled for each one.

    Arguments:
        function: arrays come as pointers; numbers it closes over are constants of its code.
        signature: its numba types.
    """
    return _compiled(lambda **options: numba.cfunc(signature, **options)(function))


def _pointer(context: Any, array: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flat = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.gep(flat.data, [arguments[1]])

    return types.CPointer(array.dtype)(array, place), generate


def _prefetch(write: int) -> Any:
    """Ask for the cache line at an address before it is read or written: rows that lie apart surprise the hardware."""

    def ask(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds = [ir.IntType(32)] * 3
            function = ir.FunctionType(ir.VoidType(), [arguments[0].type, *kinds])
            prefetch = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
            builder.call(prefetch, [arguments[0], *(kind(n) for kind, n in zip(kinds, (write, 3, 1), strict=True))])
            return context.get_dummy_value()

        return types.void(address), generate

    return intrinsic(ask)


def _address(context: Any, number: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


def _claim(context: Any, counter: Any) -> Any:
    """The number that an array of one holds, which is then one more, whatever other threads do."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", place, ir.IntType(64)(1), "monotonic")

    return types.int64(counter), generate


address: Any = intrinsic(_address)  # address(number): a pointer for numba.carray
claim: Any = intrinsic(_claim)
pointer: Any = intrinsic(_pointer)  # pointer(array, place): the address of array[place], without a reference counted
prefetch_read, prefetch_write = _prefetch(0), _prefetch(1)
LINE = 16  # numbers of a cache line in single precision


def _compiled(compiler: Callable[..., Any]) -> Any:
    """Compile, and keep the code where a folder can be written.

    No fast-math unless asked for: a sum in another order or a fused multiply-add moves a membrane across its threshold.
    """
    config: Any = numba.config
    root = config.CACHE_DIR
    config.CACHE_DIR = str(Path(root or Path(__file__).parent / "__pycache__") / f"numba-{_version()}")
    try:
        return compiler(cache=True, error_model="numpy")
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return compiler(error_model="numpy")
    finally:
        config.CACHE_DIR = root


@cache
def _version() -> str:
    digest = hashlib.sha256(b"checks bounds" if getattr(numba.config, "BOUNDSCHECK", None) else b"")
    kernels = Path(__file__).parent
    for path in sorted([*kernels.glob("**/*.py"), *kernels.with_name("datasets").glob("**/*.py")]):
        content = path.read_bytes()
        if b"kernels.jit" in content or path.name in ("jit.py", "rule.py"):
            digest.update(content)
    return digest.hexdigest()[:16]


_fresh = np.empty  # a name of its own, which tests poison; Numba compiles with NumPy's


def room(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor of the dtype of `like`, from NumPy, which asks for huge pages.

    The first touch of 26 MB in small pages takes as long as a layer's whole forward pass.
    """
    return torch.from_numpy(_fresh(shape, like.detach().numpy().dtype))


def spread(task: Callable[..., Any], tasks: int, *arguments: Any) -> None:
    """Call `task(0, *arguments)` to `task(tasks - 1, *arguments)` on as many threads as torch uses.

    A task must write what no other one touches; then the result does not depend on the number of threads.
    """
    numbers, errors, threads = count(), list[BaseException](), min(tasks, torch.get_num_threads())

    def work(_: Any = None) -> None:
        try:
            while (number := next(numbers)) < tasks:
                task(number, *arguments)
        except BaseException as error:
            errors.append(error)

    if threads < 2:
        work()
    elif parallel := _openmp():
        parallel(_WORK(work), None, threads, 0)
    else:
        helpers = [_pool().submit(work) for _ in range(threads - 1)]
        work()
        wait(helpers)
    if errors:
        raise errors[0]


def together(task: Callable[..., Any], *arguments: Any) -> None:
    """Call `task(k, n, barrier, *arguments)` for k from 0 to n - 1 at once, on n threads that can wait for each other.

    In compiled code `meet(barrier)` lets no thread on before all have come, if n is above 1; all must call it equally
    often. For loops over time whose steps are too short for a `spread` of their own.
    """
    parallel, threads = _openmp(), torch.get_num_threads()
    if threads < 2 or not parallel:
        task(0, 1, 0, *arguments)
        return
    library, numbers, errors = ctypes.CDLL(str(_GOMP)), count(), list[BaseException]()
    barrier = ctypes.cast(library.GOMP_barrier, ctypes.c_void_p).value

    def work(_: Any = None) -> None:
        try:
            task(next(numbers), library.omp_get_num_threads(), barrier, *arguments)
        except BaseException as error:
            errors.append(error)

    parallel(_WORK(work), None, threads, 0)
    if errors:
        raise errors[0]


def _meet(context: Any, barrier: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [])
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.intp), generate


meet: Any = intrinsic(_meet)  # meet(barrier): see `together`


def region(work: Any, numbers: list[int], first: Any = None) -> None:
    """Run compiled work on as many threads as torch uses, at once; it shares out what there is to do by `claim`.

    Arguments:
        work: from `callback`, of a pointer to int64: a table which begins with 0, a counter to claim from.
        numbers: the table after the counter, such as addresses of tensors that the caller keeps.
        first: such work for this thread alone, before the others start.
    """
    table, run, threads = (ctypes.c_int64 * (1 + len(numbers)))(0, *numbers), _plain(work), torch.get_num_threads()
    if first is not None:
        _plain(first)(ctypes.addressof(table))
    if threads < 2:
        run(ctypes.addressof(table))
    elif parallel := _openmp():
        parallel(run, ctypes.addressof(table), threads, 0)
    else:
        wait([_pool().submit(run, ctypes.addressof(table)) for _ in range(threads)])


@cache
def _plain(work: Any) -> Any:
    return _WORK(work.address)


_PROCESS = os.getpid()
_GOMP = Path(torch.__file__).parent / "lib" / "libgomp.so.1"
_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _openmp() -> Any:
    """A parallel region on torch's own threads, which stay busy for a while after each region and let no other run."""
    if os.getpid() != _PROCESS or not _GOMP.exists():  # after a fork OpenMP would wait for its lost threads for ever
        return None
    region = ctypes.CDLL(str(_GOMP)).GOMP_parallel
    region.argtypes, region.restype = (_WORK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return region


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="spiking")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
os.register_at_fork(after_in_child=_openmp.cache_clear)
