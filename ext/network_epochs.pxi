# Networks: from a gradient to a step, and the contract's `network_epochs`.

cdef inline void step_loop(
    int solver, Net *net, Layer *layer, Tiles *t, Py_ssize_t place, Py_ssize_t length,
    const real *tile,
) noexcept nogil:
    """Move registers of parameters against their gradient, summed in `tile`."""
    cdef Py_ssize_t i = 0
    cdef real *w = layer.weights + place
    cdef real *a = layer.first + place
    cdef real *b = layer.second + place
    cdef vreal scale = v_set(<real>net.step.scale), rate = v_set(<real>net.step.rate)
    cdef vreal l2 = v_set(0 if t.intercepts else <real>net.l2)
    cdef vreal momentum = v_set(<real>net.momentum), epsilon = v_set(<real>net.epsilon)
    cdef vreal beta_1 = v_set(<real>net.beta_1), rest_1 = v_set(<real>(1 - net.beta_1))
    cdef vreal beta_2 = v_set(<real>net.beta_2), rest_2 = v_set(<real>(1 - net.beta_2))
    cdef vreal zero = v_set(0), largest = zero, nonfinite = zero, g, v, u, x
    # In turns, for one chain of sums takes longer than all the rest.
    cdef vreal sum_ = t.squares, other = zero
    cdef bint squared = net.l2 != 0 and not t.intercepts
    while i < length:
        x = v_load(w + i)
        g = (v_load(tile + i) + l2 * x) * scale
        if solver == SOLVER_ADAM:
            v = beta_1 * v_load(a + i) + rest_1 * g
            u = beta_2 * v_load(b + i) + rest_2 * g * g
            v_store(a + i, v)
            v_store(b + i, u)
            x = x - rate * v / (v_sqrt(u) + epsilon)
        else:
            v = momentum * v_load(a + i) - rate * g
            v_store(a + i, v)
            if solver == SOLVER_NESTEROV:
                v = momentum * v - rate * g
            x = x + v
        v_store(w + i, x)
        if squared:
            u = sum_ + x * x
            sum_ = other
            other = u
        if net.step.measure:
            largest = v_max(largest, v_abs(g))
            nonfinite = nonfinite + (x + g) * zero
        i += LANES
    t.squares = sum_ + other
    if net.step.measure:
        net.norms[t.thread] = max(net.norms[t.thread], <double>v_max_lane(largest))
        net.nonfinite[t.thread] += v_sum(nonfinite)


cdef void step_tile(
    Net *net, Layer *layer, Tiles *t, Py_ssize_t place, Py_ssize_t length, const real *tile
) noexcept nogil:
    # The solver is a constant in each call, so the loops hold no branch on it.
    if net.solver == SOLVER_ADAM:
        step_loop(SOLVER_ADAM, net, layer, t, place, length, tile)
    elif net.solver == SOLVER_NESTEROV:
        step_loop(SOLVER_NESTEROV, net, layer, t, place, length, tile)
    else:
        step_loop(SOLVER_MOMENTUM, net, layer, t, place, length, tile)


cdef void transpose_weights(
    Layer *layer, Py_ssize_t low, Py_ssize_t high, Py_ssize_t column, Py_ssize_t width
) noexcept nogil:
    """Copy rows low to high of a panel into the panels of the transposed weights."""
    cdef Py_ssize_t i = low, k, start, transposed_width
    cdef const real *rows = layer.weights + column * (layer.d_in + 1)
    while i < high:
        start = i // TILE_WIDTH * TILE_WIDTH
        transposed_width = min(<Py_ssize_t>TILE_WIDTH, round_up(layer.d_in, LANES) - start)
        k = 0
        while k < width:
            transpose(rows + i * width + k, width, min(<Py_ssize_t>LANES, high - i),
                      layer.transposed + start * layer.d_out + (column + k) * transposed_width
                      + i - start, transposed_width,
                      min(<Py_ssize_t>LANES, layer.d_out - column - k))
            k += LANES
        i += LANES


cdef double squares_of(Net *net) noexcept nogil:
    cdef Py_ssize_t depth, s
    cdef double total = 0
    for depth in range(net.n_layers):
        for s in range(row_blocks(net.layers[depth].d_in)):
            total += net.layers[depth].squares[s]
    return total


cdef int train(
    Net *net, const double *rates, double *history, Py_ssize_t epochs
) noexcept nogil:
    """Up to `epochs` epochs; returns a status."""
    cdef Batch *b = &net.batch
    cdef Py_ssize_t epoch
    cdef int64_t thread
    cdef int status
    cdef double steps = net.counters[COUNTER_STEPS], total, penalty, loss = 0, norm, nonfinite
    for epoch in range(epochs):
        total = penalty = 0
        b.start = 0
        while b.start < b.n:
            b.stop = min(b.start + net.batch_size, b.n)
            steps += 1
            net.step.rate = rates[epoch]
            if net.solver == SOLVER_ADAM:
                net.step.rate *= sqrt(1 - net.beta_2 ** steps) / (1 - net.beta_1 ** steps)
            net.step.measure = b.stop == b.n
            if net.l2 != 0:
                penalty = net.l2 / 2 * squares_of(net)
            for thread in range(net.team.n_threads):
                net.norms[thread] = net.nonfinite[thread] = 0
            status = run_batch(net, True, &loss)
            if status != STATUS_RAN:
                return status
            total += (loss + penalty * net.step.scale) * (b.stop - b.start) / b.n
            b.start = b.stop
        norm = nonfinite = 0
        for thread in range(net.team.n_threads):
            norm = max(norm, net.norms[thread])
            nonfinite += net.nonfinite[thread]
        history[3 * epoch] = total
        history[3 * epoch + 1] = norm
        history[3 * epoch + 2] = rates[epoch]
        if not isfinite(nonfinite):
            return STATUS_NONFINITE
        net.counters[COUNTER_EPOCHS] = epoch + 1
        net.counters[COUNTER_STEPS] = steps
        if net.order != NULL:
            net.order += b.n
    return STATUS_RAN


cdef class NetworkEpochs(NetworkJob):
    """A call of `network_epochs`."""

    cdef double[:, ::1] history
    cdef const double[::1] rates
    cdef double[::1] counters
    cdef real[::1] theta
    cdef real[:, ::1] slots
    cdef const int32_t[:, ::1] order

    def __init__(self, data, network, state, config, const double[::1] rates, order,
                 double[:, ::1] history, n_threads):
        cdef Net *net = &self.net
        cdef int s
        self.theta, self.slots, self.counters = state.theta, state.slots, state.counters
        self.history, self.rates = history, rates
        net.batch.n = (<Matrix>data.X).rows.n
        if order is not None and order.size:
            self.order = order
            net.order = &self.order[0, 0]
            net.batch.n = self.order.shape[1]
        self.build(data.X, network, self.theta, n_threads,
                   min(config.batch_size, net.batch.n), STEPS, self.slots.shape[0])
        self.bind(data)
        for s in range(self.slots.shape[0]):
            self.between_flat(&self.slots[s, 0], s + 1, True)
        net.solver, net.batch_size = config.solver, config.batch_size
        net.momentum, net.l2 = config.momentum, config.l2
        net.beta_1, net.beta_2, net.epsilon = config.beta_1, config.beta_2, config.epsilon
        net.counters = &self.counters[0]
        self.counters[COUNTER_EPOCHS] = 0

    def lead(self):
        cdef int s, status = STATUS_RAN
        if self.history.shape[0]:
            with nogil:
                status = train(&self.net, &self.rates[0], &self.history[0, 0],
                               self.history.shape[0])
        self.between_flat(&self.theta[0], 0, False)
        for s in range(self.slots.shape[0]):
            self.between_flat(&self.slots[s, 0], s + 1, False)
        raise_if_interrupted(&self.team)
        return int(self.counters[COUNTER_EPOCHS]), status
