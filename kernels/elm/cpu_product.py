"""Products of a few rows with a small matrix, and the functions between two products, for use inside compiled loops.

A library's product costs a call for each step, and its threads wait for each other; here the sums of ROWS rows times
some vectors of columns stay in registers while the loop runs over the inner axis. Numba's compiler does not write this
by itself, so that the innermost loop is given as LLVM code. Columns are padded to a multiple of WIDTH.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numba
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from spiking.kernels.jit import jit

ROWS = 4
WIDTH = 16
WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
BYTES = 64 if WIDE else 32  # of a vector
MOST = 4 if WIDE else 2  # vectors of a row whose sums stay in registers


def _tile(vectors: int) -> Any:
    """A function that adds a ROWS x (vectors of columns) block of a product to its place.

    c[c0 + r * cr + j] += sum over k < inner of a[a0 + r * ar + k * ak] * w[w0 + k * wk + j]
    """

    def add(
        context: Any, a: Any, a0: Any, ar: Any, ak: Any, w: Any, w0: Any, wk: Any, c: Any, c0: Any, cr: Any, inner: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, a0, ar, ak, _, w0, wk, _, c0, cr, inner = arguments
            bases = [
                context.make_array(signature.args[place])(context, builder, arguments[place]).data
                for place in (0, 4, 7)
            ]
            number = bases[0].type.pointee
            size = context.get_abi_sizeof(number)
            lanes = BYTES // size
            vector = ir.VectorType(number, lanes)

            def there(base: Any, *parts: Any) -> Any:
                place = parts[0]
                for part in parts[1:]:
                    place = builder.add(place, part)
                return builder.gep(base, [place])

            def row(base: Any, place: Any, r: int, stride: Any, v: int = 0) -> Any:
                step = builder.mul(stride, ir.Constant(stride.type, r))
                return there(base, place, step, ir.Constant(stride.type, v * lanes))

            def wide(address: Any) -> Any:
                return builder.bitcast(address, vector.as_pointer())

            block = [(r, v) for r in range(ROWS) for v in range(vectors)]
            sums = [cgutils.alloca_once(builder, vector) for _ in block]
            for (r, v), total in zip(block, sums, strict=True):
                builder.store(builder.load(wide(row(bases[2], c0, r, cr, v)), align=size), total)
            with cgutils.for_range(builder, inner) as loop:
                k = loop.index
                left, right = builder.mul(k, ak), builder.add(w0, builder.mul(k, wk))
                columns = [
                    builder.load(wide(row(bases[1], right, 0, wk, v)), align=size) for v in range(vectors)
                ]
                none = ir.Constant(vector, ir.Undefined)
                spread = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
                for r in range(ROWS):
                    one = builder.load(there(row(bases[0], a0, r, ar), left))
                    factor = builder.insert_element(none, one, ir.IntType(32)(0))
                    factor = builder.shuffle_vector(factor, none, spread)
                    for v in range(vectors):
                        total = sums[r * vectors + v]
                        product = builder.fmul(factor, columns[v], flags=("contract",))
                        builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
            for (r, v), total in zip(block, sums, strict=True):
                builder.store(builder.load(total), wide(row(bases[2], c0, r, cr, v)), align=size)
            return context.get_dummy_value()

        whole = [types.intp] * 3
        return types.void(a, *whole, w, *whole[:2], c, *whole), generate

    return intrinsic(add)


_tiles = [_tile(vectors) for vectors in range(1, MOST + 1)]
_one, _two = _tiles[:2]
_three, _four = (_tiles[2], _tiles[3]) if WIDE else (_tiles[0], _tiles[1])


@jit
def _product(a, a0, ar, ak, w, w0, wk, c, c0, cr, rows, inner, columns):
    """c[r, j] += sum over k of a[r, k] w[k, j], for a multiple of ROWS rows and of WIDTH columns.

    Element (r, k) of a lies at a0 + r * ar + k * ak of a flat array, and so on.
    """
    lanes = BYTES // a.itemsize
    for r in range(0, rows, ROWS):
        left = columns // lanes
        j = 0
        while left > 0:
            at, to = a0 + r * ar, c0 + r * cr + j
            if WIDE and left >= 4 and left != 5:
                _four(a, at, ar, ak, w, w0 + j, wk, c, to, cr, inner)
                n = 4
            elif WIDE and left >= 3:
                _three(a, at, ar, ak, w, w0 + j, wk, c, to, cr, inner)
                n = 3
            elif left >= 2:
                _two(a, at, ar, ak, w, w0 + j, wk, c, to, cr, inner)
                n = 2
            else:
                _one(a, at, ar, ak, w, w0 + j, wk, c, to, cr, inner)
                n = 1
            left -= n
            j += n * lanes


@jit
def _checked(a, a0, ar, ak, w, w0, wk, c, c0, cr, rows, inner, columns):
    """The same in the compiler's own code, which looks at bounds."""
    for r in range(rows):
        for k in range(inner):
            v = a[a0 + r * ar + k * ak]
            for j in range(columns):
                c[c0 + r * cr + j] += v * w[w0 + k * wk + j]


product = _checked if numba.config.BOUNDSCHECK else _product  # type: ignore[attr-defined]


def _convergent(terms: int) -> tuple[list[float], list[float]]:
    """tanh(x) = x P(x^2) / Q(x^2): Lambert's continued fraction x / (1 + x^2 / (3 + x^2 / (5 + ...))), cut off."""
    before: tuple[list[int], list[int]] = ([1], [0])
    now: tuple[list[int], list[int]] = ([0], [1])
    for k in range(1, terms + 1):
        after = []
        for old, new in zip(before, now, strict=True):
            shifted = old if k == 1 else [0, *old]
            size = max(len(shifted), len(new))
            total = [(2 * k - 1) * x for x in new] + [0] * (size - len(new))
            for i, x in enumerate(shifted):
                total[i] += x
            after.append(total)
        before, now = now, (after[0], after[1])
    scale = now[1][0]
    p, q = ([x / scale for x in part] for part in now)
    while p[-1] == 0:
        p.pop()
    while q[-1] == 0:
        q.pop()
    return p, q


_P, _Q = _convergent(15)
_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7 = _P
_Q0, _Q1, _Q2, _Q3, _Q4, _Q5, _Q6, _Q7 = _Q
FAR = 9.02  # from here on tanh is 1 in single precision


@partial(jit, inline="always")
def quick(x):
    """tanh(x) within 1e-8, as a formula that the compiler computes for many x at once."""
    x = min(max(x, -FAR), FAR)
    y = x * x
    p = ((((((_P7 * y + _P6) * y + _P5) * y + _P4) * y + _P3) * y + _P2) * y + _P1) * y + _P0
    q = ((((((_Q7 * y + _Q6) * y + _Q5) * y + _Q4) * y + _Q3) * y + _Q2) * y + _Q1) * y + _Q0
    return x * p / q


@jit
def tanh(x, first, count, scale):
    """x[first :][:count] = tanh(scale * x), in double precision whatever x is kept in."""
    if x.itemsize == 4:
        for i in range(first, first + count):
            x[i] = quick(scale * x[i])
    else:
        for i in range(first, first + count):
            x[i] = math.tanh(scale * x[i])
