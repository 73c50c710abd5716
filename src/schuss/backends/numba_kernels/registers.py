"""The two loops over X of the Numba backend, written in whole vector registers.

They run over "lines": rows of C order, columns of Fortran order, `LINES` of them at a time.
LLVM's own vectorisation of the same loops in Python took 2 to 5 times as long, above all for
what a length leaves beyond whole registers; here that is one more, masked register. Sums are
added in a fixed order, which LLVM cannot change.

Rows in memory order are asked for before their turn, half of them in either loop: from main
memory, 300,000 x 100 float32 take 3.2 ms instead of 9.1 (Zen 5). 8 KiB ahead an epoch of
100,000 x 100 takes 1.10 ms instead of 0.86, 16 KiB ahead one of 20,000 x 100 takes 163 us instead
of 147.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

LINES = 8
# What all arrays but X have whole multiples of: numbers in the longest register.
REGISTER = 16
AHEAD_BYTES = 12 * 1024

_FEATURES = llvm.get_host_cpu_features()
REGISTER_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx") else 16
# Registers in a short line at most: their sums, in two chains, take half of all that there are.
SHORT = 8 if _FEATURES.get("avx512f") else 4
CACHE_LINE = 64

_INDEX, _INT, _BYTES = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()


@register_jitable
def dots(lines, places, count, start, length, vector, at, out, ahead):
    """out[i] = lines[places[i], start:] . vector[at:], for the first `count` places.

    Parameters
    ----------
    lines : 2d array, its rows contiguous
        Runs of `length` numbers are read.
    places, out : arrays in whole multiples of LINES
        What is beyond `count` is computed, too.
    vector : contiguous array, in whole registers
        `at` counts its numbers from the first, whatever its shape: a view would cost a change
        of its reference count, a tenth of the time of a short loop.
    ahead : int or None
        How many bytes after its turn a line is asked for.
    """
    if not _short_dots(lines, places, count, start, length, vector, at, out, ahead):
        for first in range(0, count, LINES):
            _dots(lines, places, first, start, length, vector, at, out, ahead)


@register_jitable
def accumulate(lines, places, count, start, length, factors, at, out, to, ahead):
    """out[to : to + length] += sum of factors[at + i] * lines[places[i], start:], of `count`.

    As in `dots`; `out` is in whole registers.
    """
    whole = count - count % LINES
    if not _short_sums(lines, places, whole, start, length, factors, at, out, to, ahead):
        for first in range(0, whole, LINES):
            _add_lines(lines, places, first, start, length, factors, at, out, to, ahead)
    for first in range(whole, count):
        _add_line(lines, places, first, start, length, factors, at, out, to, ahead)


@intrinsic
def _short_dots(typing, lines, places, count, start, length, vector, at, out, ahead):
    """`dots`, where lines to be asked for are short; whether they were."""

    def generate(context, builder, signature, arguments):
        code = _Code(context, builder, signature, arguments)
        vector_ = builder.gep(code.data(5), [arguments[6]])

        def loop(registers):
            vs = [code.load(vector_, j) for j, _ in registers]

            def step(first):
                sums = []
                for i, line in enumerate(code.take_lines(first, LINES)):
                    total = code.zeros
                    for v, (j, mask) in zip(vs, registers, strict=True):
                        total = code.multiply_add(v, code.load(line, j, mask), total)
                    sums.append(total)
                    code.ask_share(i, len(registers), 0)
                code.store(code.sums_of_lanes(sums), code.data(7), first)

            code.for_lines(arguments[2], step)

        return code.if_short(loop)

    number = types.intp
    return types.boolean(
        lines, places, number, number, number, vector, number, out, ahead
    ), generate


@intrinsic
def _short_sums(typing, lines, places, count, start, length, factors, at, out, to, ahead):
    """`accumulate`, of a multiple of LINES, likewise."""

    def generate(context, builder, signature, arguments):
        code = _Code(context, builder, signature, arguments)
        factors_ = builder.gep(code.data(5), [arguments[6]])
        out_ = builder.gep(code.data(7), [arguments[8]])

        def loop(registers):
            starts = [code.load(out_, j) for j, _ in registers], [code.zeros] * len(registers)
            chains = [[cgutils.alloca_once_value(builder, v) for v in chain] for chain in starts]

            def step(first):
                for i, line in enumerate(code.take_lines(first, LINES)):
                    factor = builder.load(builder.gep(factors_, [builder.add(first, _INDEX(i))]))
                    factor = code.spread(factor)
                    for total, (j, mask) in zip(chains[i % 2], registers, strict=True):
                        x = code.load(line, j, mask)
                        builder.store(code.multiply_add(factor, x, builder.load(total)), total)
                    code.ask_share(i, len(registers), 1)

            code.for_lines(arguments[2], step)
            for (j, _), even, odd in zip(registers, *chains, strict=True):
                code.store(builder.fadd(builder.load(even), builder.load(odd)), out_, j)

        return code.if_short(loop)

    number = types.intp
    return types.boolean(
        lines, places, number, number, number, factors, number, out, number, ahead
    ), generate


@intrinsic
def _dots(typing, lines, places, first, start, length, vector, at, out, ahead):
    def generate(context, builder, signature, arguments):
        code = _Code(context, builder, signature, arguments)
        code.take_lines(arguments[2], LINES)
        vector_ = builder.gep(code.data(5), [arguments[6]])
        sums = [cgutils.alloca_once_value(builder, code.zeros) for _ in code.lines]

        def step(j, mask):
            v = code.load(vector_, j)
            for line, total in zip(code.lines, sums, strict=True):
                x = code.load(line, j, mask)
                builder.store(code.multiply_add(v, x, builder.load(total)), total)
            code.ask(j, 0)

        code.for_registers(step)
        folded = code.sums_of_lanes([builder.load(total) for total in sums])
        code.store(folded, code.data(7), arguments[2])
        return context.get_dummy_value()

    number = types.intp
    return types.void(lines, places, number, number, number, vector, number, out, ahead), generate


def _adding(n_lines):
    """The inner loop of `accumulate`, over so many lines."""

    @intrinsic
    def add(typing, lines, places, first, start, length, factors, at, out, to, ahead):
        def generate(context, builder, signature, arguments):
            code = _Code(context, builder, signature, arguments)
            code.take_lines(arguments[2], n_lines)
            factors_ = builder.gep(code.data(5), [builder.add(arguments[6], arguments[2])])
            out_ = builder.gep(code.data(7), [arguments[8]])
            spread = [
                code.spread(builder.load(builder.gep(factors_, [_INDEX(i)])))
                for i in range(n_lines)
            ]

            def step(j, mask):
                chains = [code.load(out_, j), code.zeros]
                for i, (line, factor) in enumerate(zip(code.lines, spread, strict=True)):
                    x = code.load(line, j, mask)
                    chains[i % 2] = code.multiply_add(factor, x, chains[i % 2])
                code.store(builder.fadd(*chains), out_, j)
                code.ask(j, 1)

            code.for_registers(step)
            return context.get_dummy_value()

        number = types.intp
        return types.void(
            lines, places, number, number, number, factors, number, out, number, ahead
        ), generate

    return add


_add_lines, _add_line = _adding(LINES), _adding(1)


class _Code:
    """What the loops are made of."""

    def __init__(self, context, builder, signature, arguments):
        self._context, self._builder = context, builder
        self._types, self._arguments = signature.args, arguments
        kind = self._types[0].dtype
        self.real = context.get_data_type(kind)
        self._itemsize = kind.bitwidth // 8
        self._lanes = REGISTER_BYTES // self._itemsize
        self._register = ir.VectorType(self.real, self._lanes)
        self.zeros = ir.Constant(self._register, [0.0] * self._lanes)
        self._start, self._length = arguments[3:5]
        self._ahead = arguments[-1]
        self.lines = []

    def take_lines(self, first, count):
        """Those whose numbers are at places[first:]."""
        builder = self._builder
        stride = builder.extract_value(self._array(0).strides, 0)
        self.lines = []
        for i in range(count):
            place = builder.load(builder.gep(self.data(1), [builder.add(first, _INDEX(i))]))
            line = builder.gep(builder.bitcast(self.data(0), _BYTES), [builder.mul(place, stride)])
            line = builder.bitcast(line, self.real.as_pointer())
            self.lines.append(builder.gep(line, [self._start]))
        return self.lines

    def _array(self, position):
        make = self._context.make_array(self._types[position])
        return make(self._context, self._builder, self._arguments[position])

    def data(self, position):
        return self._array(position).data

    def for_registers(self, step):
        """``step(j, mask)`` for each register of a line; `mask` is None for whole ones."""
        builder, lanes = self._builder, _INDEX(self._lanes)
        rest = builder.urem(self._length, lanes)
        whole = builder.sub(self._length, rest)
        with cgutils.for_range_slice(builder, _INDEX(0), whole, lanes, _INDEX) as (j, _):
            step(j, None)
        with builder.if_then(builder.icmp_signed(">", rest, _INDEX(0))):
            step(whole, self._up_to(rest))

    def _up_to(self, count):
        """A mask of the first lanes."""
        numbers = ir.Constant(ir.VectorType(_INDEX, self._lanes), list(range(self._lanes)))
        return self._builder.icmp_signed("<", numbers, self.spread(count))

    def if_short(self, loop):
        """``loop(registers)`` if a line has no more than SHORT; whether it had.

        The list, whose length is a constant of the code, holds `j` and `mask` as `for_registers`
        takes them, but the last register has a mask always.
        """
        builder = self._builder
        if self._types[-1] == types.none:
            # Columns and converted rows: 100 x 2 took 0.91 us an epoch instead of 0.80 so.
            return cgutils.false_bit
        done = cgutils.alloca_once_value(builder, cgutils.false_bit)
        last = builder.udiv(builder.sub(self._length, _INDEX(1)), _INDEX(self._lanes))
        for count in range(1, SHORT + 1):
            with builder.if_then(builder.icmp_signed("==", last, _INDEX(count - 1))):
                places = [_INDEX(i * self._lanes) for i in range(count)]
                mask = self._up_to(builder.sub(self._length, places[-1]))
                loop([(j, None) for j in places[:-1]] + [(places[-1], mask)])
                builder.store(cgutils.true_bit, done)
        return builder.load(done)

    def for_lines(self, count, step):
        """``step(first)`` for LINES at a time."""
        with cgutils.for_range_slice(self._builder, _INDEX(0), count, _INDEX(LINES), _INDEX) as (
            first, _,
        ):  # fmt: skip
            step(first)

    def load(self, base, offset, mask=None):
        """A register; zeros where it is masked, and nothing is read there."""
        builder = self._builder
        place = self._at(base, offset, self._register)
        if mask is None:
            return builder.load(place, align=self._itemsize)
        masked = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(self._register, [place.type, _INT, mask.type, self._register]),
            f"llvm.masked.load.v{self._lanes}f{8 * self._itemsize}.p0",
        )
        return builder.call(masked, [place, _INT(self._itemsize), mask, self.zeros])

    def store(self, value, base, offset):
        place = self._at(base, offset, value.type)
        self._builder.store(value, place, align=self._itemsize)

    def _at(self, base, offset, kind):
        return self._builder.bitcast(self._builder.gep(base, [offset]), kind.as_pointer())

    def spread(self, number):
        """A register, every lane of which is the number."""
        empty = ir.Constant(ir.VectorType(number.type, self._lanes), ir.Undefined)
        return self._shuffle(
            self._builder.insert_element(empty, number, _INT(0)), empty, [0] * self._lanes
        )

    def multiply_add(self, a, b, c):
        # In one instruction, where there is one.
        product = self._builder.fmul(a, b, flags=("contract",))
        return self._builder.fadd(product, c, flags=("contract",))

    def ask(self, j, half):
        """Ask for as many bytes as half of what a step over a register reads."""
        share = len(self.lines) * self._itemsize // 2
        count = -(-len(self.lines) * REGISTER_BYTES // 2 // CACHE_LINE)
        self._ask(self._builder.mul(j, _INDEX(share)), half, range(count))

    def ask_share(self, i, registers, half):
        """Ask for the share of line i in half of what a step over short lines reads."""
        count = len(self.lines) * registers * REGISTER_BYTES // 2 // CACHE_LINE
        share = range(i * count // len(self.lines), (i + 1) * count // len(self.lines))
        self._ask(_INDEX(0), half, share)

    def _ask(self, offset, half, cache_lines):
        if self._types[-1] == types.none:
            return
        builder = self._builder
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [_BYTES, _INT, _INT, _INT]),
            "llvm.prefetch.p0",
        )  # fmt: skip
        if half:
            share = len(self.lines) * self._itemsize // 2
            offset = builder.add(offset, builder.mul(self._length, _INDEX(share)))
        place = builder.gep(
            builder.bitcast(self.lines[0], _BYTES), [builder.add(self._ahead, offset)]
        )
        for line in cache_lines:
            there = builder.gep(place, [_INDEX(line * CACHE_LINE)])
            # To read, into all caches, data.
            builder.call(prefetch, [there, _INT(0), _INT(3), _INT(1)])

    def sums_of_lanes(self, registers):
        """LINES sums from as many registers, in order."""
        block = 16 // self._itemsize
        for level in range(self._lanes.bit_length() - 1):
            size = registers[0].type.count
            if 2**level < block:
                # Neighbours within 16 bytes, which every processor shuffles in one instruction.
                even = [
                    i for start in range(0, size, block)
                    for i in (*range(start, start + block, 2),
                              *range(size + start, size + start + block, 2))
                ]  # fmt: skip
                step = 1
            else:
                # Neighbouring 16 bytes, of two registers or of the last one.
                size *= min(len(registers), 2)
                even = [i for i in range(size) if i // block % 2 == 0]
                step = block
            odd = [i + step for i in even]
            registers = [
                self._builder.fadd(self._shuffle(a, b, even), self._shuffle(a, b, odd))
                for a, b in zip(registers[::2], registers[1::2] or registers, strict=True)
            ]
        while len(registers) > 1:
            together = range(2 * registers[0].type.count)
            registers = [
                self._shuffle(a, b, together)
                for a, b in zip(registers[::2], registers[1::2], strict=True)
            ]
        return registers[0]

    def _shuffle(self, a, b, lanes):
        lanes = list(lanes)
        return self._builder.shuffle_vector(
            a, b, ir.Constant(ir.VectorType(_INT, len(lanes)), lanes)
        )
