# The two loops that touch X, over "lines": runs of contiguous reals, `step` bytes apart.
#
# Rows are the lines of C order, columns those of Fortran order, and the passes swap roles:
#     z = X w      rows: dots with w               columns: sum of columns scaled by w
#     X^T g        rows: sum of rows scaled by g   columns: dots with g
#
# Four lines at a time share each load of the vector they meet. A length that is no multiple
# of LANES is finished by one more register over the last LANES elements, which meets a
# vector (`last`) whose already treated lanes are zero: nothing is read beyond a line.
#
# `ahead` (bytes, 0 for none) is the distance to the block that comes next: each loop asks
# for two of every four lines of it, so that X arrives while this block is worked on.


cdef inline const real *at(const char *lines, Py_ssize_t offset) noexcept nogil:
    return <const real *>(lines + offset)


cdef inline void dots(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *vector, const real *last, real *out, Py_ssize_t ahead,
) noexcept nogil:
    """out[i] += line i . vector"""
    cdef Py_ssize_t whole = length - length % LANES
    cdef Py_ssize_t pairs = whole - whole % (2 * LANES)
    cdef Py_ssize_t i = 0, j
    cdef const real *l0
    cdef const real *l1
    cdef const real *l2
    cdef const real *l3
    cdef vreal a0, a1, a2, a3, v
    cdef real four[4]
    while i + 4 <= count:
        l0 = at(lines, i * step)
        l1 = at(lines, (i + 1) * step)
        l2 = at(lines, (i + 2) * step)
        l3 = at(lines, (i + 3) * step)
        a0 = a1 = a2 = a3 = v_set(0)
        j = 0
        if ahead:
            while j < pairs:
                prefetch(at(<const char *>(l0 + j), ahead))
                v = v_load(vector + j)
                a0 = a0 + v * v_load(l0 + j)
                a1 = a1 + v * v_load(l1 + j)
                a2 = a2 + v * v_load(l2 + j)
                a3 = a3 + v * v_load(l3 + j)
                prefetch(at(<const char *>(l1 + j), ahead))
                v = v_load(vector + j + LANES)
                a0 = a0 + v * v_load(l0 + j + LANES)
                a1 = a1 + v * v_load(l1 + j + LANES)
                a2 = a2 + v * v_load(l2 + j + LANES)
                a3 = a3 + v * v_load(l3 + j + LANES)
                j += 2 * LANES
            # The last, odd register of a line lies in a cache line of its own.
            prefetch(at(<const char *>(l0 + j), ahead))
            prefetch(at(<const char *>(l1 + j), ahead))
        while j < whole:
            v = v_load(vector + j)
            a0 = a0 + v * v_load(l0 + j)
            a1 = a1 + v * v_load(l1 + j)
            a2 = a2 + v * v_load(l2 + j)
            a3 = a3 + v * v_load(l3 + j)
            j += LANES
        if whole < length:
            v = v_load(last)
            j = length - LANES
            a0 = a0 + v * v_load(l0 + j)
            a1 = a1 + v * v_load(l1 + j)
            a2 = a2 + v * v_load(l2 + j)
            a3 = a3 + v * v_load(l3 + j)
        v_sum4(a0, a1, a2, a3, four)
        out[i] += four[0]
        out[i + 1] += four[1]
        out[i + 2] += four[2]
        out[i + 3] += four[3]
        i += 4
    while i + 2 <= count:
        l0 = at(lines, i * step)
        l1 = at(lines, (i + 1) * step)
        a0 = a1 = v_set(0)
        j = 0
        while j < whole:
            v = v_load(vector + j)
            a0 = a0 + v * v_load(l0 + j)
            a1 = a1 + v * v_load(l1 + j)
            j += LANES
        if whole < length:
            v = v_load(last)
            a0 = a0 + v * v_load(l0 + length - LANES)
            a1 = a1 + v * v_load(l1 + length - LANES)
        out[i] += v_sum(a0)
        out[i + 1] += v_sum(a1)
        i += 2
    if i < count:
        l0 = at(lines, i * step)
        a0 = v_set(0)
        j = 0
        while j < whole:
            a0 = a0 + v_load(vector + j) * v_load(l0 + j)
            j += LANES
        if whole < length:
            a0 = a0 + v_load(last) * v_load(l0 + length - LANES)
        out[i] += v_sum(a0)


cdef inline void accumulate(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *factors, real *out, real *last, Py_ssize_t ahead,
) noexcept nogil:
    """out += sum of factors[i] * line i; the final LANES of a ragged line go to `last`."""
    cdef Py_ssize_t whole = length - length % LANES
    cdef Py_ssize_t pairs = whole - whole % (2 * LANES)
    cdef Py_ssize_t i = 0, j
    cdef const real *l0
    cdef const real *l1
    cdef const real *l2
    cdef const real *l3
    cdef vreal f0, f1, f2, f3, a, b
    while i + 4 <= count:
        l0 = at(lines, i * step)
        l1 = at(lines, (i + 1) * step)
        l2 = at(lines, (i + 2) * step)
        l3 = at(lines, (i + 3) * step)
        f0 = v_set(factors[i])
        f1 = v_set(factors[i + 1])
        f2 = v_set(factors[i + 2])
        f3 = v_set(factors[i + 3])
        j = 0
        if ahead:
            while j < pairs:
                prefetch(at(<const char *>(l2 + j), ahead))
                a = v_load(out + j) + f0 * v_load(l0 + j)
                b = f1 * v_load(l1 + j)
                a = a + f2 * v_load(l2 + j)
                b = b + f3 * v_load(l3 + j)
                v_store(out + j, a + b)
                prefetch(at(<const char *>(l3 + j), ahead))
                a = v_load(out + j + LANES) + f0 * v_load(l0 + j + LANES)
                b = f1 * v_load(l1 + j + LANES)
                a = a + f2 * v_load(l2 + j + LANES)
                b = b + f3 * v_load(l3 + j + LANES)
                v_store(out + j + LANES, a + b)
                j += 2 * LANES
            prefetch(at(<const char *>(l2 + j), ahead))
            prefetch(at(<const char *>(l3 + j), ahead))
        while j < whole:
            a = v_load(out + j) + f0 * v_load(l0 + j)
            b = f1 * v_load(l1 + j)
            a = a + f2 * v_load(l2 + j)
            b = b + f3 * v_load(l3 + j)
            v_store(out + j, a + b)
            j += LANES
        if whole < length:
            j = length - LANES
            a = v_load(last) + f0 * v_load(l0 + j)
            b = f1 * v_load(l1 + j)
            a = a + f2 * v_load(l2 + j)
            b = b + f3 * v_load(l3 + j)
            v_store(last, a + b)
        i += 4
    while i + 2 <= count:
        l0 = at(lines, i * step)
        l1 = at(lines, (i + 1) * step)
        f0 = v_set(factors[i])
        f1 = v_set(factors[i + 1])
        j = 0
        while j < whole:
            v_store(out + j, (v_load(out + j) + f0 * v_load(l0 + j)) + f1 * v_load(l1 + j))
            j += LANES
        if whole < length:
            j = length - LANES
            v_store(last, (v_load(last) + f0 * v_load(l0 + j)) + f1 * v_load(l1 + j))
        i += 2
    if i < count:
        l0 = at(lines, i * step)
        f0 = v_set(factors[i])
        j = 0
        while j < whole:
            v_store(out + j, v_load(out + j) + f0 * v_load(l0 + j))
            j += LANES
        if whole < length:
            v_store(last, v_load(last) + f0 * v_load(l0 + length - LANES))


# --------------------------------------------------------------------- short lines
#
# Where a whole block of rows is in the innermost cache, the features are cut into tiles of
# at most TILE registers, and the tile's part of the vector stays in registers for all rows
# of the block: no load of it, no store, no loop over so few features. The number of
# registers is a constant of each call below, so that the compiler unrolls over it.
#
# Prefetching follows one pointer from end to end of the next block: memory likes nothing
# better than its own order.

cdef enum:
    TILE = 8
    CACHE_LINE = 64
    COST_SHARE = 3  # the part of a block that is asked for while its costs are computed: 1/3


cdef struct Ahead:
    const char *place
    const char *end
    Py_ssize_t share    # lines to ask for with each register of costs


cdef inline void tile_dots(
    Py_ssize_t registers, const char *lines, Py_ssize_t step, Py_ssize_t count,
    const real *vector, const real *final, Py_ssize_t final_at, real *out, Ahead *ahead,
) noexcept nogil:
    """out[i] += line i . vector, over a tile; its last register is `final`, at `final_at`."""
    cdef vreal[TILE] v
    cdef vreal a0, a1, a2, a3
    cdef Py_ssize_t i = 0, r, at_
    cdef const real *l0
    cdef const real *l1
    cdef const real *l2
    cdef const real *l3
    cdef real[4] four
    cdef const char *place
    for r in range(registers):
        v[r] = v_load(vector + r * LANES)
    v[registers - 1] = v_load(final)
    while i + 4 <= count:
        # Past the end it asks again for the last lines, which costs less than a branch.
        place = ahead.place
        ahead.place += registers * CACHE_LINE if place < ahead.end else 0
        l0 = at(lines, i * step)
        l1 = at(lines, (i + 1) * step)
        l2 = at(lines, (i + 2) * step)
        l3 = at(lines, (i + 3) * step)
        a0 = a1 = a2 = a3 = v_set(0)
        for r in range(registers):
            at_ = r * LANES if r < registers - 1 else final_at
            prefetch(place + r * CACHE_LINE)
            a0 = a0 + v[r] * v_load(l0 + at_)
            a1 = a1 + v[r] * v_load(l1 + at_)
            a2 = a2 + v[r] * v_load(l2 + at_)
            a3 = a3 + v[r] * v_load(l3 + at_)
        v_sum4(a0, a1, a2, a3, four)
        out[i] += four[0]
        out[i + 1] += four[1]
        out[i + 2] += four[2]
        out[i + 3] += four[3]
        i += 4
    while i < count:
        l0 = at(lines, i * step)
        a0 = v_set(0)
        for r in range(registers):
            at_ = r * LANES if r < registers - 1 else final_at
            a0 = a0 + v[r] * v_load(l0 + at_)
        out[i] += v_sum(a0)
        i += 1


cdef inline void tile_accumulate(
    Py_ssize_t registers, const char *lines, Py_ssize_t step, Py_ssize_t count,
    const real *factors, real *out, real *final, Py_ssize_t final_at, Ahead *ahead,
) noexcept nogil:
    """out += sum of factors[i] * line i, over a tile; its last register goes to `final`."""
    cdef vreal[TILE] sums
    cdef vreal f0, f1, f2, f3, a, b
    cdef const char *place
    cdef Py_ssize_t i = 0, r, at_
    cdef const real *l0
    cdef const real *l1
    cdef const real *l2
    cdef const real *l3
    for r in range(registers):
        sums[r] = v_set(0)
    while i + 4 <= count:
        # Past the end it asks again for the last lines, which costs less than a branch.
        place = ahead.place
        ahead.place += registers * CACHE_LINE if place < ahead.end else 0
        l0 = at(lines, i * step)
        l1 = at(lines, (i + 1) * step)
        l2 = at(lines, (i + 2) * step)
        l3 = at(lines, (i + 3) * step)
        f0 = v_set(factors[i])
        f1 = v_set(factors[i + 1])
        f2 = v_set(factors[i + 2])
        f3 = v_set(factors[i + 3])
        for r in range(registers):
            at_ = r * LANES if r < registers - 1 else final_at
            prefetch(place + r * CACHE_LINE)
            # Four rows meet before they join the sum, whose chain of additions is the
            # longest otherwise.
            a = f0 * v_load(l0 + at_)
            b = f1 * v_load(l1 + at_)
            a = a + f2 * v_load(l2 + at_)
            b = b + f3 * v_load(l3 + at_)
            sums[r] = sums[r] + (a + b)
        i += 4
    while i < count:
        l0 = at(lines, i * step)
        f0 = v_set(factors[i])
        for r in range(registers):
            at_ = r * LANES if r < registers - 1 else final_at
            sums[r] = sums[r] + f0 * v_load(l0 + at_)
        i += 1
    for r in range(registers - 1):
        v_store(out + r * LANES, v_load(out + r * LANES) + sums[r])
    v_store(final, v_load(final) + sums[registers - 1])


cdef void short_dots(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *vector, const real *last, real *out, Ahead *ahead,
) noexcept nogil:
    """As `dots`."""
    cdef Py_ssize_t total = (length + LANES - 1) // LANES, first = 0, registers, final_at
    cdef const real *final
    cdef const char *tile
    while first < total:
        registers = min(<Py_ssize_t>TILE, total - first)
        tile = lines + first * LANES * REAL_SIZE
        final_at = (registers - 1) * LANES
        final = vector + final_at
        if first + registers == total and length % LANES:
            final_at = length - LANES - first * LANES
            final = last
        if registers == 8:
            tile_dots(8, tile, step, count, vector, final, final_at, out, ahead)
        elif registers == 7:
            tile_dots(7, tile, step, count, vector, final, final_at, out, ahead)
        elif registers == 6:
            tile_dots(6, tile, step, count, vector, final, final_at, out, ahead)
        elif registers == 5:
            tile_dots(5, tile, step, count, vector, final, final_at, out, ahead)
        elif registers == 4:
            tile_dots(4, tile, step, count, vector, final, final_at, out, ahead)
        elif registers == 3:
            tile_dots(3, tile, step, count, vector, final, final_at, out, ahead)
        elif registers == 2:
            tile_dots(2, tile, step, count, vector, final, final_at, out, ahead)
        else:
            tile_dots(1, tile, step, count, vector, final, final_at, out, ahead)
        first += registers
        vector += registers * LANES


cdef void short_accumulate(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *factors, real *out, real *last, Ahead *ahead,
) noexcept nogil:
    """As `accumulate`."""
    cdef Py_ssize_t total = (length + LANES - 1) // LANES, first = 0, registers, final_at
    cdef real *final
    cdef const char *tile
    while first < total:
        registers = min(<Py_ssize_t>TILE, total - first)
        tile = lines + first * LANES * REAL_SIZE
        final_at = (registers - 1) * LANES
        final = out + final_at
        if first + registers == total and length % LANES:
            final_at = length - LANES - first * LANES
            final = last
        if registers == 8:
            tile_accumulate(8, tile, step, count, factors, out, final, final_at, ahead)
        elif registers == 7:
            tile_accumulate(7, tile, step, count, factors, out, final, final_at, ahead)
        elif registers == 6:
            tile_accumulate(6, tile, step, count, factors, out, final, final_at, ahead)
        elif registers == 5:
            tile_accumulate(5, tile, step, count, factors, out, final, final_at, ahead)
        elif registers == 4:
            tile_accumulate(4, tile, step, count, factors, out, final, final_at, ahead)
        elif registers == 3:
            tile_accumulate(3, tile, step, count, factors, out, final, final_at, ahead)
        elif registers == 2:
            tile_accumulate(2, tile, step, count, factors, out, final, final_at, ahead)
        else:
            tile_accumulate(1, tile, step, count, factors, out, final, final_at, ahead)
        first += registers
        out += registers * LANES
