"""Eight or sixteen sums at once, as Numba's compiler would not write them for runs as short as a patch's."""

from __future__ import annotations

from functools import partial
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from spiking.kernels.jit import jit

LANES = 8


def _adder(lanes: int) -> Any:
    """A function (target, t, source, s, value): target[t + i] += value * source[s + i] for i below `lanes`."""

    def add(context: Any, target: Any, t: Any, source: Any, s: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            number = arguments[4].type
            vector = ir.VectorType(number, lanes)

            def address(array: int, place: int) -> Any:
                flat = context.make_array(signature.args[array])(context, builder, arguments[array])
                return builder.bitcast(builder.gep(flat.data, [arguments[place]]), vector.as_pointer())

            to, of, none = address(0, 1), address(2, 3), ir.Constant(vector, ir.Undefined)
            first = builder.insert_element(none, arguments[4], ir.IntType(32)(0))
            factor = builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(ir.IntType(32), lanes), None))
            size = context.get_abi_sizeof(number)
            product = builder.fmul(builder.load(of, align=size), factor)
            builder.store(builder.fadd(builder.load(to, align=size), product), to, align=size)
            return context.get_dummy_value()

        return types.void(target, t, source, s, value), generate

    @jit
    def checked(target, t, source, s, value):
        for i in range(lanes):
            target[t + i] += value * source[s + i]

    return checked if numba.config.BOUNDSCHECK else intrinsic(add)  # type: ignore[attr-defined]


add_lanes, add_more = _adder(LANES), _adder(2 * LANES)


@partial(jit, inline="always")
def add_patch(
    target, t, target_row, target_piece, source, s, source_row, source_piece, value, rows, pieces, width
):
    """target[t :] += value * source[s :] for rows of pieces of `width` neighbours, a multiple of LANES."""
    whole = width % (2 * LANES) == 0
    for j in range(rows):
        for k in range(pieces):
            to, of = t + j * target_row + k * target_piece, s + j * source_row + k * source_piece
            for i in range(0, width if whole else 0, 2 * LANES):
                add_more(target, to + i, source, of + i, value)
            for i in range(0, 0 if whole else width, LANES):
                add_lanes(target, to + i, source, of + i, value)
