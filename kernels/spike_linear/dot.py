"""Sums of whole numbers times rows of codes, as vector code that Python for spiking.kernels.jit cannot express.

Where the processor has AVX-512 VNNI, four products of bytes and their sum are one instruction for each of 16 outputs,
`vpdpbusd`, which LLVM does not find by itself; elsewhere the same product is written in instructions that any processor
has. Which of the two is decided when a kernel is compiled, by the features that Numba compiles for.

Four rows of 64 codes become four vectors of 16 quads, the codes of one output side by side, by eight shuffles in
registers. So rows need not lie in quads in memory, and any four of them, those that are not silent, can be taken.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from spiking.kernels.spike_linear.packed import QUAD, WIDTH

STRIP = 64  # codes of one vector
TILE = 4  # tokens whose sums stay in registers together
AHEAD = 32  # events between asking for a row and its use: the hardware does not foresee rows that lie apart
I8, I32 = ir.IntType(8), ir.IntType(32)
BYTES, QUADS = ir.VectorType(I8, STRIP), ir.VectorType(I32, 16)


def _pick(builder: Any, a: Any, b: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(places)), places))


def _side_by_side(builder: Any, a: Any, b: Any, size: int, half: int) -> Any:
    """Units of `size` bytes of a and b in turn, from the lower or upper half of each 16 bytes."""
    places = []
    for byte in range(STRIP):
        lane, place = divmod(byte, 16)
        unit, of_b, rest = place // (2 * size), place // size % 2, place % size
        places.append(STRIP * of_b + 16 * lane + 8 * half + unit * size + rest)
    return _pick(builder, a, b, places)


def _quads(builder: Any, rows: list[Any]) -> list[Any]:
    """Four vectors of quads from four rows; the first has the outputs 0 to 3 of each 16, the next 4 to 7, and so on."""
    quads = []
    for half in (0, 1):
        ab, cd = (_side_by_side(builder, a, b, 1, half) for a, b in (rows[:2], rows[2:]))
        quads += [_side_by_side(builder, ab, cd, 2, upper) for upper in (0, 1)]
    return quads


def _in_order(builder: Any, sums: list[Any]) -> list[Any]:
    """Sums of 16 outputs each, from sums in the order of `_quads`."""
    ordered = []
    for lane in range(4):
        places = [16 * of_b + 4 * lane + i for of_b in (0, 1) for i in range(4)]
        ab, cd = (_pick(builder, a, b, places) for a, b in (sums[:2], sums[2:]))
        ordered.append(_pick(builder, ab, cd, list(range(16))))
    return ordered


def _multiply_add(context: Any, builder: Any, total: Any, codes: Any, counts: Any) -> None:
    """total += the sum of each quad of codes without a sign times counts with one."""
    builder.store(_added(context, builder, builder.load(total), codes, counts), total)


def _added(context: Any, builder: Any, total: Any, codes: Any, counts: Any) -> Any:
    if "+avx512vnni" in context.codegen().magic_tuple()[-1]:
        kind = ir.FunctionType(QUADS, [QUADS, QUADS, QUADS])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
        return builder.call(function, [total, builder.bitcast(codes, QUADS), counts])
    counts = builder.bitcast(counts, BYTES)
    for places in ([0, 1], [2, 3]):  # pairs, which processors with SSE2 multiply and add in one instruction
        products = []
        for place in places:
            every = list(range(place, STRIP, 4))
            code = builder.zext(_pick(builder, codes, codes, every), QUADS)
            products.append(builder.mul(code, builder.sext(_pick(builder, counts, counts, every), QUADS)))
        total = builder.add(total, builder.add(*products))
    return total


def _load(builder: Any, pointer: Any, kind: Any) -> Any:
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=1)


def _store(builder: Any, sums: list[Any], pointer: Any) -> None:
    for n, total in enumerate(_in_order(builder, [builder.load(total) for total in sums])):
        builder.store(total, builder.bitcast(_after(builder, pointer, 16 * n), QUADS.as_pointer()), align=4)


def _prefetch(builder: Any, pointer: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, I32(0), I32(3), I32(1)])


def _after(builder: Any, pointer: Any, places: int) -> Any:
    return builder.gep(pointer, [ir.IntType(64)(places)])


def _splat(builder: Any, number: Any) -> Any:
    one = builder.insert_element(ir.Constant(QUADS, ir.Undefined), number, I32(0))
    return _pick(builder, one, one, [0] * 16)


def _registers(builder: Any, start: Any, number: int) -> list[Any]:
    """Vectors that LLVM keeps in registers, filled with a number."""
    return [cgutils.alloca_once_value(builder, _splat(builder, start)) for _ in range(number)]


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _rows(strips: int) -> Any:
    """sums[: 64 strips] = start + the sum over the events from first to last of value * codes[base + row * width :].

    Events are taken by fours, so their number must be a multiple of it.
    """

    def add(
        context: Any, codes: Any, base: Any, width: Any, row: Any, value: Any, first: Any, last: Any, start: Any,
        sums: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, base, width, _, _, first, last, start, _ = arguments
            codes, row, value, sums = (_data(context, builder, signature.args[n], arguments[n]) for n in (0, 3, 4, 8))
            totals = _registers(builder, start, 4 * strips)
            with cgutils.for_range_slice(builder, first, last, first.type(QUAD)) as (event, _):
                places = []
                for n in range(QUAD):
                    row_n = builder.load(builder.gep(row, [builder.add(event, event.type(n))]))
                    shift = builder.mul(builder.sext(row_n, width.type), width)
                    places.append(builder.gep(codes, [builder.add(base, shift)]))
                counts = _splat(builder, _load(builder, builder.gep(value, [event]), I32))
                for n in range(QUAD):
                    row_n = builder.load(builder.gep(row, [builder.add(event, event.type(AHEAD + n))]))
                    shift = builder.mul(builder.sext(row_n, width.type), width)
                    place = builder.gep(codes, [builder.add(base, shift)])
                    for strip in range(strips):
                        _prefetch(builder, _after(builder, place, STRIP * strip))
                for strip in range(strips):
                    rows = [_load(builder, _after(builder, place, STRIP * strip), BYTES) for place in places]
                    for quads, total in zip(_quads(builder, rows), totals[4 * strip :], strict=False):
                        _multiply_add(context, builder, total, quads, counts)
            for strip in range(strips):
                _store(builder, totals[4 * strip : 4 * strip + 4], _after(builder, sums, STRIP * strip))
            return context.get_dummy_value()

        given = codes, types.int64, types.int64, row, value, types.int64, types.int64, types.int32, sums
        return types.void(*given), generate

    return intrinsic(add)


def _write(context: Any, codes: Any, base: Any, width: Any, quads: Any, panel: Any, to: Any) -> Any:
    """panel[to :] = the quads of 64 columns of the rows at codes[base :], in the order in which `dot` reads them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, base, width, quads, _, to = arguments
        codes, panel = (_data(context, builder, signature.args[n], arguments[n]) for n in (0, 4))
        with cgutils.for_range(builder, quads) as loop:
            row = builder.mul(loop.index, loop.index.type(QUAD))
            rows = []
            for n in range(QUAD):
                shift = builder.mul(builder.add(row, row.type(n)), width)
                rows.append(_load(builder, builder.gep(codes, [builder.add(base, shift)]), BYTES))
            there = builder.gep(panel, [builder.add(to, builder.mul(loop.index, row.type(QUAD * STRIP)))])
            for n, vector in enumerate(_quads(builder, rows)):
                builder.store(vector, builder.bitcast(_after(builder, there, STRIP * n), BYTES.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(codes, types.int64, types.int64, types.int64, panel, types.int64), generate


def _dots(tokens: int) -> Any:
    """sums[place + 256 t :][: 64] = start[t * start_stride] + counts[t * stride :] times a panel, for each token t."""

    def dot(
        context: Any, panel: Any, at: Any, quads: Any, counts: Any, first: Any, stride: Any, start: Any,
        start_first: Any, start_stride: Any, sums: Any, place: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, at, quads, _, first, stride, _, start_first, start_stride, _, place = arguments
            arrays = (_data(context, builder, signature.args[n], arguments[n]) for n in (0, 3, 6, 9))
            panel, counts, start, sums = arrays
            totals, tokens_at = [], []
            for t in range(tokens):
                shift = builder.add(start_first, builder.mul(start_stride, stride.type(t)))
                totals.append(_registers(builder, builder.load(builder.gep(start, [shift])), 4))
                tokens_at.append(builder.gep(counts, [builder.add(first, builder.mul(stride, stride.type(t)))]))
            with cgutils.for_range(builder, quads) as loop:
                there = builder.gep(panel, [builder.add(at, builder.mul(loop.index, at.type(QUAD * STRIP)))])
                vectors = [_load(builder, _after(builder, there, STRIP * n), BYTES) for n in range(4)]
                shift = builder.mul(loop.index, loop.index.type(QUAD))
                for total, token in zip(totals, tokens_at, strict=True):
                    quad = _splat(builder, _load(builder, builder.gep(token, [shift]), I32))
                    for one, vector in zip(total, vectors, strict=True):
                        _multiply_add(context, builder, one, vector, quad)
            for t, total in enumerate(totals):
                _store(builder, total, builder.gep(sums, [builder.add(place, place.type(WIDTH * t))]))
            return context.get_dummy_value()

        n = types.int64
        return types.void(panel, n, n, counts, n, n, start, n, n, sums, n), generate

    return intrinsic(dot)


add_rows, add_rows_strip = _rows(WIDTH // STRIP), _rows(1)
write_panel: Any = intrinsic(_write)
dot_tile, dot_one = _dots(TILE), _dots(1)
