# Descent of a function of n parameters: `walk` of the contract, for float64 only.
#
# The configs are those of descent.pxi, for one neuron whose intercept is the last parameter.

cdef extern from "walk.h" nogil:
    double call_value(const void *function, bint takes_array, bint takes_data, int n, double *x,
                      void *data)
    void call_gradient(const void *function, bint takes_array, bint takes_data, int n, double *x,
                       double *out, void *data)


cdef struct Function_:
    const double *coef
    Py_ssize_t n_coef
    const double *slope
    Py_ssize_t n_slope
    const void *value
    const void *gradient
    bint takes_array
    bint value_takes_data
    bint gradient_takes_data
    void *value_data
    void *gradient_data


cdef struct Limits_:
    double xtol
    double ftol
    bint automatic
    double reversals
    double above
    double rounding
    double difference


cdef struct Marks_:
    double points
    double value
    double first_value
    double first_norm
    double reversals
    double above
    double curvature


cdef struct Walk_:
    Py_ssize_t n
    const double *rates
    Py_ssize_t rate_stride   # 0 where one step serves for all
    double *path
    double *values
    double *x                # of the point before
    double *gradient
    double *given            # to functions in C


cdef inline double horner(const double *coef, Py_ssize_t n_coef, double x) noexcept nogil:
    cdef double result = coef[n_coef - 1]
    cdef Py_ssize_t i = n_coef - 2
    while i >= 0:
        result = result * x + coef[i]
        i -= 1
    return result


cdef double value_at(
    const Function_ *f, Py_ssize_t n, const double *x, double *given
) noexcept nogil:
    memcpy(given, x, n * sizeof(double))
    return call_value(f.value, f.takes_array, f.value_takes_data, <int>n, given, f.value_data)


cdef double evaluate(
    const Function_ *f, Py_ssize_t n, double *x, double *gradient, double difference, double *given
) noexcept nogil:
    """Value and gradient at x; functions in C get a copy, `given`, that they may write to."""
    cdef double here, right, upper, h
    cdef Py_ssize_t j
    if f.value == NULL:
        gradient[0] = horner(f.slope, f.n_slope, x[0])
        return horner(f.coef, f.n_coef, x[0])
    if f.gradient != NULL:
        memcpy(given, x, n * sizeof(double))
        call_gradient(f.gradient, f.takes_array, f.gradient_takes_data, <int>n, given, gradient,
                      f.gradient_data)
    else:
        for j in range(n):
            here = x[j]
            h = difference * max(1.0, fabs(here))
            right = x[j] = here + h
            upper = value_at(f, n, x, given)
            x[j] = here - h
            gradient[j] = upper - value_at(f, n, x, given)
            gradient[j] /= right - x[j]
            x[j] = here
    return value_at(f, n, x, given)


cdef inline int judge(
    Marks_ *marks, const Limits_ *limits, double tol, bint fixed, double value, double norm,
    double nonfinite, double squares, double moved, double farthest, double gradient_change_sq, double product,
    double size, double last_size,
) noexcept nogil:
    """Whether a walk goes on from here.

    `odd` is 0 where the parameters are finite, `squares` their sum of squares; `moved`,
    `farthest` the sum of squares and the largest entry of the step that led here; `turned`
    the sum of squares of the gradient's change, `product` the gradients' dot product,
    `size` and `last_size` their sums of squares.
    """
    cdef int status = STATUS_RAN
    cdef bint far
    if not isfinite(value + norm + nonfinite):
        return STATUS_NONFINITE
    if norm <= tol:
        status = STATUS_CONVERGED
    elif marks.points == 0:
        marks.first_value = value
        marks.first_norm = norm
    else:
        far = moved > limits.rounding * limits.rounding * squares
        if far and product < 0 and size >= (1 - 1e-12) * last_size:
            marks.reversals += 1
        else:
            marks.reversals = 0
        if fixed and value > marks.first_value and norm > marks.first_norm:
            marks.above += 1
        else:
            marks.above = 0
        # Compared without the division and the root, which most points do not need.
        if far and gradient_change_sq > marks.curvature * marks.curvature * moved:
            marks.curvature = sqrt(gradient_change_sq) / sqrt(moved)
        if marks.reversals >= limits.reversals or marks.above >= limits.above:
            status = STATUS_OVERSHOT
        elif limits.xtol > 0 and farthest <= limits.xtol:
            status = STATUS_SMALL_STEP
        elif limits.ftol > 0 and fabs(value - marks.value) <= limits.ftol:
            status = STATUS_SMALL_FALL
    marks.points += 1
    marks.value = value
    return status


cdef int walk_line(
    const Function_ *f, const Walk_ *w, Marks_ *marks_, const Limits_ *limits, double tol,
    double *x_, Py_ssize_t m, Py_ssize_t *done,
) noexcept nogil:
    """Plain gradient descent of a polynomial with given steps, in registers.

    `walk_on`, which goes through the optimiser's memory, takes three times as long.
    """
    cdef double x = x_[0], last_x = w.x[0], last_gradient = w.gradient[0]
    cdef double gradient, value, move, gradient_change
    # Copies, which the stores to path and values cannot change behind the compiler's back.
    cdef Marks_ marks = marks_[0]
    cdef Limits_ bounds = limits[0]
    cdef const double *coef = f.coef
    cdef const double *slope = f.slope
    cdef const double *rate = w.rates
    cdef double *path = w.path
    cdef double *values = w.values
    cdef Py_ssize_t k, seen = 0, n_coef = f.n_coef, n_slope = f.n_slope, stride = w.rate_stride
    cdef double xtol = limits.xtol if limits.xtol > 0 else -1
    cdef double ftol = limits.ftol if limits.ftol > 0 else -1
    cdef int status = STATUS_RAN
    for k in range(m):
        gradient = horner(slope, n_slope, x)
        value = horner(coef, n_coef, x)
        path[k] = x
        values[k] = value
        move, gradient_change = x - last_x, gradient - last_gradient
        # One branch for the many points of which there is nothing to say, NaN not among them.
        if (
            (fabs(gradient) > tol) & (gradient * last_gradient > 0) & (fabs(move) > xtol)
            & (fabs(value - marks.value) > ftol) & (value <= marks.first_value)
            & (fabs(gradient_change) <= marks.curvature * fabs(move)) & (k > 0)
        ):
            marks.value = value
            marks.reversals = marks.above = 0
            last_x, last_gradient = x, gradient
        else:
            marks.points += k - seen
            seen = k + 1
            status = judge(
                &marks, &bounds, tol, True, value, fabs(gradient), 0 * x, x * x, move * move,
                fabs(move), gradient_change * gradient_change, gradient * last_gradient, gradient * gradient,
                last_gradient * last_gradient,
            )
            if status != STATUS_NONFINITE:
                last_x, last_gradient = x, gradient
            if status != STATUS_RAN:
                done[0] = k
                break
        x -= rate[0] * gradient
        rate += stride
    else:
        done[0] = m
        marks.points += m - seen
    marks_[0] = marks
    x_[0], w.x[0], w.gradient[0] = x, last_x, last_gradient
    return status


cdef int walk_on(
    const Function_ *f, const Walk_ *w, Marks_ *marks, const Limits_ *limits, Optimizer *o,
    UpdateConfig *config, Py_ssize_t m, Py_ssize_t *done,
) noexcept nogil:
    cdef Py_ssize_t k, j
    cdef double value, norm, nonfinite, squares, moved, farthest, gradient_change_sq, product, size, last_size
    cdef double x, g, move, gradient_change
    cdef bint fixed = config.solver != SOLVER_ADAM and config.solver != SOLVER_ADAPTIVE
    cdef int status
    for k in range(m):
        value = evaluate(f, w.n, o.theta, o.grad, limits.difference, w.given)
        norm = nonfinite = squares = moved = farthest = gradient_change_sq = product = size = last_size = 0
        for j in range(w.n):
            x, g = o.theta[j], o.grad[j]
            move, gradient_change = x - w.x[j], g - w.gradient[j]
            w.path[k * w.n + j] = x
            nonfinite += 0 * (x + g)
            squares += x * x
            moved += move * move
            gradient_change_sq += gradient_change * gradient_change
            product += g * w.gradient[j]
            size += g * g
            last_size += w.gradient[j] * w.gradient[j]
            norm = max(norm, fabs(g))
            farthest = max(farthest, fabs(move))
        w.values[k] = value
        status = judge(marks, limits, config.tol, fixed, value, norm, nonfinite, squares, moved,
                       farthest, gradient_change_sq, product, size, last_size)
        if status != STATUS_NONFINITE:
            memcpy(w.x, o.theta, w.n * sizeof(double))
            memcpy(w.gradient, o.grad, w.n * sizeof(double))
        if status != STATUS_RAN:
            done[0] = k
            return status
        config.learning_rate = w.rates[k * w.rate_stride]
        if limits.automatic and marks.curvature > 0:
            config.learning_rate = 1 / marks.curvature
        take_step(o, config, True)
    done[0] = m
    return STATUS_RAN


cdef void *address(number):
    return <void *><size_t>number


def walk(function, state, config, limits, previous, const double[::1] rates, double[:, ::1] path,
         double[::1] values):
    """See the contract."""
    cdef double[:, ::1] coef = state.coef
    cdef double[::1] intercept = state.intercept
    cdef double[:, :, ::1] slots = state.slots
    cdef double[::1] counters = state.counters
    cdef double[::1] last_x = previous.x
    cdef double[::1] last_gradient = previous.gradient
    cdef double[::1] marks_ = previous.marks
    cdef const double[::1] polynomial = function.coef
    cdef const double[::1] slope = function.slope
    cdef Py_ssize_t n = path.shape[1], m = path.shape[0], done = 0, s, S = slots.shape[0], j
    cdef int status = STATUS_RAN
    cdef Function_ f
    cdef Limits_ bounds
    cdef Marks_ marks
    cdef Walk_ w
    cdef UpdateConfig r
    cdef Optimizer o
    cdef real *memory
    f.coef, f.n_coef = (&polynomial[0] if polynomial.shape[0] else NULL), polynomial.shape[0]
    f.slope, f.n_slope = (&slope[0] if slope.shape[0] else NULL), slope.shape[0]
    f.value, f.gradient = address(function.value), address(function.gradient)
    f.takes_array = function.takes_array
    f.value_takes_data = function.value_takes_data
    f.gradient_takes_data = function.gradient_takes_data
    f.value_data = address(function.value_data)
    f.gradient_data = address(function.gradient_data)
    bounds.xtol, bounds.ftol, bounds.automatic = limits.xtol, limits.ftol, limits.automatic
    bounds.reversals, bounds.above = limits.reversals, limits.above
    bounds.rounding, bounds.difference = limits.rounding, limits.difference
    marks.points, marks.value = marks_[MARK_POINTS], marks_[MARK_VALUE]
    marks.first_value, marks.first_norm = marks_[MARK_FIRST_VALUE], marks_[MARK_FIRST_NORM]
    marks.reversals, marks.above = marks_[MARK_REVERSALS], marks_[MARK_ABOVE]
    marks.curvature = marks_[MARK_CURVATURE]
    w.n, w.rates, w.rate_stride = n, &rates[0], rates.shape[0] > 1
    w.path, w.values = &path[0, 0], &values[0]
    w.x, w.gradient = &last_x[0], &last_gradient[0]
    r.solver, r.momentum, r.tol = config.solver, config.momentum, config.tol
    r.beta_1, r.beta_2, r.epsilon = config.beta_1, config.beta_2, config.epsilon
    r.l1 = r.l2 = 0
    r.fit_intercept = True
    o.K, o.d, o.counters = 1, n - 1, &counters[0]
    o.length = o.span = (n + LANES - 1) // LANES * LANES
    memory = <real *>reserve((S + 5) * o.length, REAL_SIZE, "the arrays of the method", True)
    o.theta, o.grad = memory, memory + o.length
    o.is_weight, o.is_free = memory + 2 * o.length, memory + 3 * o.length
    w.given = <double *>(memory + 4 * o.length)
    o.slots = memory + 5 * o.length
    for j in range(n):
        o.is_weight[j] = o.is_free[j] = 1
        o.theta[j] = coef[0, j] if j < n - 1 else intercept[0]
        for s in range(S):
            slot(&o, s, 0)[j] = slots[s, 0, j]
    with nogil:
        if f.value == NULL and r.solver == SOLVER_GD and not bounds.automatic:
            status = walk_line(&f, &w, &marks, &bounds, r.tol, o.theta, m, &done)
            counters[COUNTER_STEPS] += done
        else:
            status = walk_on(&f, &w, &marks, &bounds, &o, &r, m, &done)
    for j in range(n):
        if j < n - 1:
            coef[0, j] = o.theta[j]
        else:
            intercept[0] = o.theta[j]
        for s in range(S):
            slots[s, 0, j] = slot(&o, s, 0)[j]
    free(memory)
    counters[COUNTER_EPOCHS] = done
    marks_[MARK_POINTS], marks_[MARK_VALUE] = marks.points, marks.value
    marks_[MARK_FIRST_VALUE], marks_[MARK_FIRST_NORM] = marks.first_value, marks.first_norm
    marks_[MARK_REVERSALS], marks_[MARK_ABOVE] = marks.reversals, marks.above
    marks_[MARK_CURVATURE] = marks.curvature
    return done, status
