# `walk` of the contract: first-order descent of a function of n parameters, in float64 only.
#
# The steps are those of steps.pxi, for one neuron whose intercept is the last parameter.

cdef extern from "walk.h" nogil:
    double call_value(const void *function, bint takes_array, bint takes_data, int n, double *x,
                      void *data)
    void call_gradient(const void *function, bint takes_array, bint takes_data, int n, double *x,
                       double *out, void *data)


cdef struct Objective:
    Function in_c               # addresses of C functions, or 0
    const double *coef          # of a polynomial, constant first
    Py_ssize_t n_coef
    const double *derivative    # of its derivative
    Py_ssize_t n_derivative
    Py_ssize_t n                # parameters
    double difference           # length of central differences
    double *argument            # a copy of x that C functions may write to


cdef struct Path:
    Py_ssize_t n_steps
    Py_ssize_t taken
    const double *rates         # learning rates
    Py_ssize_t rate_stride      # 0 where one serves for all
    double *x                   # OUT: each iterate
    double *values
    double *last_x              # the iterate before, and its gradient
    double *last_gradient


cdef struct Iterate:
    double value
    double norm                 # largest absolute entry of the gradient
    double nonfinite            # 0 where the parameters and the gradient are finite, else NaN
    double x_sq                 # sum of squares of the parameters
    double gradient_sq
    double last_gradient_sq
    double gradient_product     # dot product of this gradient and the last
    # Of the secant pair: the step to this iterate, and the gradient's change along it.
    double step_sq
    double step_max
    double change_sq


cdef inline double horner(const double *coef, Py_ssize_t n_coef, double x) noexcept nogil:
    cdef double result = coef[n_coef - 1]
    cdef Py_ssize_t i = n_coef - 2
    while i >= 0:
        result = result * x + coef[i]
        i -= 1
    return result


cdef inline const void *address(int64_t number) noexcept nogil:
    return <const void *><size_t>number


cdef double value_at(const Objective *f, const double *x) noexcept nogil:
    memcpy(f.argument, x, f.n * sizeof(double))
    return call_value(address(f.in_c.value), f.in_c.takes_array, f.in_c.value_takes_data,
                      <int>f.n, f.argument, <void *>address(f.in_c.value_data))


cdef double evaluate(const Objective *f, double *x, double *gradient) noexcept nogil:
    """Value and gradient at x."""
    cdef double here, right, upper, h
    cdef Py_ssize_t j
    if not f.in_c.value:
        gradient[0] = horner(f.derivative, f.n_derivative, x[0])
        return horner(f.coef, f.n_coef, x[0])
    if f.in_c.gradient:
        memcpy(f.argument, x, f.n * sizeof(double))
        call_gradient(address(f.in_c.gradient), f.in_c.takes_array, f.in_c.gradient_takes_data,
                      <int>f.n, f.argument, gradient, <void *>address(f.in_c.gradient_data))
    else:
        for j in range(f.n):
            here = x[j]
            h = f.difference * max(1.0, fabs(here))
            right = x[j] = here + h
            upper = value_at(f, x)
            x[j] = here - h
            gradient[j] = upper - value_at(f, x)
            gradient[j] /= right - x[j]
            x[j] = here
    return value_at(f, x)


cdef inline int judge(
    WalkScalars *state, const Limits *limits, double tol, bint fixed, const Iterate *at
) noexcept nogil:
    """Whether to go on from an iterate; `fixed` learning rates may oscillate for ever."""
    cdef int status = STATUS_RAN
    cdef bint far, reversal
    if not isfinite(at.value + at.norm + at.nonfinite):
        return STATUS_NONFINITE
    if at.norm <= tol:
        status = STATUS_CONVERGED
    elif state.points == 0:
        state.first_value = at.value
        state.first_norm = at.norm
    else:
        far = at.step_sq > limits.rounding * limits.rounding * at.x_sq
        reversal = at.gradient_product < 0 and (
            at.gradient_sq >= (1 - 1e-12) * at.last_gradient_sq
        )
        state.reversals = state.reversals + 1 if far and reversal else 0
        if fixed and at.value > state.first_value and at.norm > state.first_norm:
            state.above += 1
        else:
            state.above = 0
        # Compared without the division and the root, which most iterates do not need.
        if far and at.change_sq > state.curvature * state.curvature * at.step_sq:
            state.curvature = sqrt(at.change_sq) / sqrt(at.step_sq)
        if state.reversals >= limits.reversals or state.above >= limits.above:
            status = STATUS_OVERSHOT
        elif limits.xtol > 0 and at.step_max <= limits.xtol:
            status = STATUS_SMALL_STEP
        elif limits.ftol > 0 and fabs(at.value - state.value) <= limits.ftol:
            status = STATUS_SMALL_FALL
    state.points += 1
    state.value = at.value
    return status


cdef int walk_polynomial(
    const Objective *f, Path *path, WalkScalars *state_, const Limits *limits_, double tol,
    double *x_
) noexcept nogil:
    """Plain gradient descent of a polynomial with given rates, in registers.

    `walk_any`, which goes through the optimiser's memory, takes three times as long.
    """
    # Copies, which the stores to the path cannot change behind the compiler's back.
    cdef WalkScalars state = state_[0]
    cdef Limits limits = limits_[0]
    cdef Path way = path[0]
    cdef Iterate at
    cdef double x = x_[0], last_x = way.last_x[0], last_gradient = way.last_gradient[0]
    cdef double gradient, value, step, change
    cdef const double *coef = f.coef
    cdef const double *derivative = f.derivative
    cdef const double *rate = way.rates
    cdef Py_ssize_t k, seen = 0, n_coef = f.n_coef, n_derivative = f.n_derivative
    cdef double xtol = limits.xtol if limits.xtol > 0 else -1
    cdef double ftol = limits.ftol if limits.ftol > 0 else -1
    cdef int status = STATUS_RAN
    path.taken = way.n_steps
    for k in range(way.n_steps):
        gradient = horner(derivative, n_derivative, x)
        value = horner(coef, n_coef, x)
        way.x[k] = x
        way.values[k] = value
        step, change = x - last_x, gradient - last_gradient
        # One branch for the many iterates without an event, NaN not among them.
        if (
            (fabs(gradient) > tol) & (gradient * last_gradient > 0) & (fabs(step) > xtol)
            & (fabs(value - state.value) > ftol) & (value <= state.first_value)
            & (value > -INFINITY)
            & (fabs(change) <= state.curvature * fabs(step)) & (k > 0)
        ):
            state.value = value
            state.reversals = state.above = 0
        else:
            state.points += k - seen
            seen = k + 1
            at.value, at.norm, at.nonfinite, at.x_sq = value, fabs(gradient), 0 * x, x * x
            at.gradient_sq, at.last_gradient_sq = gradient * gradient, last_gradient * last_gradient
            at.gradient_product = gradient * last_gradient
            at.step_sq, at.step_max, at.change_sq = step * step, fabs(step), change * change
            status = judge(&state, &limits, tol, True, &at)
            if status == STATUS_NONFINITE:
                path.taken = k
                break
        last_x, last_gradient = x, gradient
        if status != STATUS_RAN:
            path.taken = k
            break
        x -= rate[0] * gradient
        rate += way.rate_stride
    else:
        state.points += way.n_steps - seen
    state_[0] = state
    x_[0], way.last_x[0], way.last_gradient[0] = x, last_x, last_gradient
    return status


cdef inline inlined_void measure(const Path *path, const Optimizer *o, Iterate *at) noexcept nogil:
    """All of an iterate but its value, from the parameters and the gradient."""
    cdef double x, g, last, step, change
    cdef Py_ssize_t j
    memset(at, 0, sizeof(Iterate))
    for j in range(o.d + 1):
        x, g, last = o.theta[j], o.grad[j], path.last_gradient[j]
        step, change = x - path.last_x[j], g - last
        at.norm = max(at.norm, fabs(g))
        at.nonfinite += 0 * (x + g)
        at.x_sq += x * x
        at.gradient_sq += g * g
        at.last_gradient_sq += last * last
        at.gradient_product += g * last
        at.step_sq += step * step
        at.step_max = max(at.step_max, fabs(step))
        at.change_sq += change * change


cdef int walk_any(
    const Objective *f, Path *path, WalkScalars *state, const Limits *limits, Optimizer *o,
    UpdateConfig *config,
) noexcept nogil:
    cdef Py_ssize_t k, size = f.n * sizeof(double)
    cdef bint fixed = config.solver != SOLVER_ADAM and config.solver != SOLVER_ADAPTIVE
    cdef Iterate at
    cdef double value
    cdef int status
    for k in range(path.n_steps):
        path.taken = k
        value = evaluate(f, o.theta, o.grad)
        measure(path, o, &at)
        at.value = path.values[k] = value
        memcpy(path.x + k * f.n, o.theta, size)
        status = judge(state, limits, config.tol, fixed, &at)
        if status != STATUS_NONFINITE:
            memcpy(path.last_x, o.theta, size)
            memcpy(path.last_gradient, o.grad, size)
        if status != STATUS_RAN:
            return status
        config.learning_rate = path.rates[k * path.rate_stride]
        if limits.automatic and state.curvature > 0:
            config.learning_rate = 1 / state.curvature
        take_step(o, config, True)
    path.taken = path.n_steps
    return STATUS_RAN


def walk(function, state, config, limits, previous, const double[::1] rates, double[:, ::1] path,
         double[::1] values):
    """See the contract."""
    cdef double[:, ::1] coef = state.coef
    cdef double[::1] intercept = state.intercept
    cdef double[:, :, ::1] slots = state.slots
    cdef double[::1] counters = state.counters
    cdef double[::1] last_x = previous.x
    cdef double[::1] last_gradient = previous.gradient
    cdef double[::1] scalars = previous.scalars
    cdef const double[::1] polynomial = function.coef
    cdef const double[::1] derivative = function.derivative
    cdef Py_ssize_t n = path.shape[1], s, S = slots.shape[0], j
    cdef int status = STATUS_RAN
    cdef Limits limits_ = read_Limits(limits)
    cdef WalkScalars *scalars_ = <WalkScalars *>&scalars[0]
    cdef UpdateConfig update = read_UpdateConfig(config)
    cdef Objective f
    cdef Path way
    cdef Optimizer o
    cdef real *memory
    cdef uint64_t mode
    f.in_c, f.n, f.difference = read_Function(function), n, limits_.difference
    f.coef, f.n_coef = (&polynomial[0] if polynomial.shape[0] else NULL), polynomial.shape[0]
    f.derivative = &derivative[0] if derivative.shape[0] else NULL
    f.n_derivative = derivative.shape[0]
    way.n_steps, way.taken = path.shape[0], 0
    way.rates, way.rate_stride = &rates[0], rates.shape[0] > 1
    way.x, way.values = &path[0, 0], &values[0]
    way.last_x, way.last_gradient = &last_x[0], &last_gradient[0]
    o.K, o.d, o.counters = 1, n - 1, &counters[0]
    o.length = round_up(n, LANES)
    memory = <real *>reserve((S + 5) * o.length, REAL_SIZE, "the arrays of the method", True)
    o.theta, o.grad = memory, memory + o.length
    o.is_weight, o.is_free = memory + 2 * o.length, memory + 3 * o.length
    f.argument = <double *>(memory + 4 * o.length)
    o.slots = memory + 5 * o.length
    for j in range(n):
        o.is_weight[j] = o.is_free[j] = 1
        o.theta[j] = coef[0, j] if j < n - 1 else intercept[0]
        for s in range(S):
            slot(&o, s, 0)[j] = slots[s, 0, j]
    mode = ieee_mode()
    with nogil:
        if not f.in_c.value and update.solver == SOLVER_GD and not limits_.automatic:
            status = walk_polynomial(&f, &way, scalars_, &limits_, update.tol, o.theta)
            counters[COUNTER_STEPS] += way.taken
        else:
            status = walk_any(&f, &way, scalars_, &limits_, &o, &update)
    restore_mode(mode)
    for j in range(n):
        if j < n - 1:
            coef[0, j] = o.theta[j]
        else:
            intercept[0] = o.theta[j]
        for s in range(S):
            slots[s, 0, j] = slot(&o, s, 0)[j]
    free(memory)
    counters[COUNTER_EPOCHS] = way.taken
    return way.taken, status
