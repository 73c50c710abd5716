# Weights and intercepts, as passes read them and steps change them.

cdef struct Parameters:
    Py_ssize_t K
    Py_ssize_t d
    Py_ssize_t length       # from neuron to neuron: weights, the intercept, zeros up to a register
    real *theta             # (K, length)
    real *operands          # (K, operand_step): weights, as the registers of rows meet them
    Py_ssize_t operand_step


cdef void set_theta(Parameters *w, const real[:, ::1] coef, const real[::1] intercept):
    cdef Py_ssize_t k
    for k in range(w.K):
        memcpy(w.theta + k * w.length, &coef[k, 0], w.d * REAL_SIZE)
        w.theta[k * w.length + w.d] = intercept[k]


cdef void get_theta(
    const Parameters *w, const real *theta, real[:, ::1] coef, real[::1] intercept
):
    """From what is laid out like theta."""
    cdef Py_ssize_t k
    for k in range(w.K):
        memcpy(&coef[k, 0], theta + k * w.length, w.d * REAL_SIZE)
        intercept[k] = theta[k * w.length + w.d]


cdef inline void lay_out_operand(
    const real *theta, Py_ssize_t d, Py_ssize_t head, real *operand
) noexcept nogil:
    """The weights, as the registers of rows with this head meet them.

    Tail and head are 0 where whole registers reach: see AlignmentPhases in dot_axpy.h.
    """
    cdef Py_ssize_t rest = (d - head) % LANES, i
    for i in range(LANES):
        operand[i] = 0 if i < LANES - rest else theta[d - LANES + i]
        operand[LANES + i] = theta[i] if i < head else 0
    memcpy(operand + operand_start(head), theta, d * REAL_SIZE)


cdef inline void add_operand(
    const real *operand, Py_ssize_t d, Py_ssize_t head, double *sums
) noexcept nogil:
    """Add sums that are laid out like an operand."""
    cdef Py_ssize_t j
    cdef const real *whole = operand + operand_start(head)
    for j in range(d):
        sums[j] += whole[j]
    for j in range(LANES - (d - head) % LANES, LANES):
        sums[d - LANES + j] += operand[j]
    for j in range(head):
        sums[j] += operand[LANES + j]


cdef void lay_out_weights(Parameters *w, const AlignmentPhases *phases) noexcept nogil:
    cdef Py_ssize_t k, phase
    for k in range(w.K):
        for phase in range(phases.count):
            lay_out_operand(w.theta + k * w.length, w.d, phases.heads[phase],
                            w.operands + k * w.operand_step + phase * phases.step)
