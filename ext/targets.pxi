# What is learnt: targets and weights of the rows.

cdef struct Targets:
    # One of the three, or none of them.
    const real *soft        # (K, n)
    const uint8_t *codes_8  # (n)
    const int32_t *codes_32
    Py_ssize_t step         # reals between the targets of two neurons
    bint one                # neuron, which learns the code 1; of several, k learns the code k
    const real *weights     # (n), or NULL


cdef struct RowTargets:
    # Of consecutive rows, as reals.
    const real *y           # neuron k's begin at k * step
    Py_ssize_t step
    const real *weights     # or NULL


cdef int bind_targets(Targets *t, Py_ssize_t K, y, sample_weight) except -1:
    """Point at the caller's arrays, which have to stay alive."""
    cdef const real[:, ::1] soft
    cdef const uint8_t[::1] codes_8
    cdef const int32_t[::1] codes_32
    cdef const real[::1] weights
    memset(t, 0, sizeof(Targets))
    t.one = K == 1
    if y is None:
        pass
    elif y.ndim == 2:
        soft = y
        t.soft, t.step = &soft[0, 0], soft.shape[1]
    elif y.itemsize == 1:
        codes_8 = y
        t.codes_8 = &codes_8[0]
    else:
        codes_32 = y
        t.codes_32 = &codes_32[0]
    if sample_weight is not None:
        weights = sample_weight
        t.weights = &weights[0]
    return 0


cdef inline int32_t code_of(const Targets *t, Py_ssize_t row) noexcept nogil:
    return t.codes_8[row] if t.codes_8 != NULL else t.codes_32[row]


cdef inline real target_of(const Targets *t, Py_ssize_t k, Py_ssize_t row) noexcept nogil:
    cdef int32_t wanted = 1 if t.one else <int32_t>k
    if t.soft != NULL:
        return t.soft[k * t.step + row]
    return code_of(t, row) == wanted


cdef inline real weight_of(const Targets *t, Py_ssize_t row) noexcept nogil:
    return 1 if t.weights == NULL else t.weights[row]


cdef void read_targets(
    const Targets *t, Py_ssize_t K, const RowRange *rows, real *y, Py_ssize_t step
) noexcept nogil:
    """y[k * step + i] = the target of row i of some rows."""
    cdef Py_ssize_t i, k, count = rows.count
    cdef int wanted
    cdef const uint8_t *codes
    cdef real *out
    for k in range(K):
        out = y + k * step
        if SCHUSS_CODES_LOOP and t.codes_8 != NULL and rows.order == NULL:
            # The compiler vectorises this loop alone; the other takes ten instructions a row.
            codes, wanted = t.codes_8 + rows.first, 1 if t.one else <int>k
            for i in range(count):
                out[i] = codes[i] == wanted
        else:
            for i in range(count):
                out[i] = target_of(t, k, row_at(rows.order, rows.first + i))
