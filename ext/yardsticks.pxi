# What `bench` measures the kernels against; no kernel uses it.

cdef extern from "yardsticks.h" nogil:
    const int CHAINS
    real multiply_add_chains(Py_ssize_t repeats, real factor)


def read_once(const uint8_t[::1] buffer):
    """Add up a buffer as reals, as fast as one thread can read it.

    The yardstick of `bench`: four independent sums, one after another, of registers that
    straddle no cache lines (which a tenth of the time is lost on).
    """
    cdef Py_ssize_t count = buffer.shape[0] // REAL_SIZE, i
    cdef const real *data = <const real *>&buffer[0]
    cdef vreal a0, a1, a2, a3
    with nogil:
        i = before_boundary(<const char *>data)
        a0 = a1 = a2 = a3 = v_set(0)
        while i + 4 * LANES <= count:
            a0 = a0 + v_load(data + i)
            a1 = a1 + v_load(data + i + LANES)
            a2 = a2 + v_load(data + i + 2 * LANES)
            a3 = a3 + v_load(data + i + 3 * LANES)
            i += 4 * LANES
    return v_sum(a0 + a1) + v_sum(a2 + a3)


def multiply_add(Py_ssize_t repeats, real factor=<real>0.5):
    """Run independent chains of multiplications and additions; returns how many of both."""
    cdef real total
    with nogil:
        total = multiply_add_chains(repeats, factor)
    # Looking at the sum keeps the compiler from leaving it out.
    return repeats * CHAINS * LANES * 2 if isfinite(total) else 0
