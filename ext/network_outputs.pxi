# Networks: the loss of the last layer's scores, and their answers.

cdef inline double bounded(double loss) noexcept nogil:
    """The cross-entropy of a probability held within [eps, 1 - eps], as scikit-learn does."""
    cdef double low = 1.1920928955078125e-07 if REAL_SIZE == 4 else 2.220446049250313e-16
    cdef double high = 15.942385152878742 if REAL_SIZE == 4 else 36.04365338911715
    return low if loss < low else (high if loss > high else loss)


cdef inline double single_output_rows(
    int loss, Net *net, Layer *layer, Py_ssize_t first, Py_ssize_t low, Py_ssize_t m
) noexcept nogil:
    """A row block of one sigmoid output: rows, not outputs, fill the registers."""
    cdef real[ROW_BLOCK] z, y, s
    cdef Py_ssize_t i, row
    cdef vreal total = v_set(0), c, d, floor, ceiling
    floor, ceiling = v_set(<real>bounded(0)), v_set(<real>bounded(100))
    for i in range(m):
        row = row_at(net.order, first + low + i)
        z[i] = layer.output[(low + i) * layer.stride]
        y[i] = target_of(&net.targets, 0, row)
        s[i] = weight_of(&net.targets, row)
    for i in range(m, round_up(m, LANES)):
        z[i] = y[i] = s[i] = 0
    i = 0
    while i < m:
        loss_of(loss, v_load(z + i), v_load(y + i), v_set(1), &c, &d)
        if loss == LOSS_LOG_LOSS:
            c = v_max(floor, v_min(ceiling, c))
        total = total + c * v_load(s + i)
        v_store(z + i, d * v_load(s + i))
        i += LANES
    for i in range(m):
        layer.delta[(low + i) * layer.stride] = z[i]
    return v_sum(total)


cdef double softmax_rows(
    Net *net, Layer *layer, real *classes, Py_ssize_t first, Py_ssize_t low, Py_ssize_t m
) noexcept nogil:
    """A row block of several classes: rows, not classes, fill the registers.

    `classes` has ROW_BLOCK rows for each class. Sums are multiplied before they take one
    logarithm, but for rows whose weight or loss forbids that.
    """
    cdef real[ROW_BLOCK] tops, sums, weights, right
    cdef Py_ssize_t[ROW_BLOCK] codes
    cdef Py_ssize_t i, k, row
    cdef real *t
    cdef vreal top, total, scale, e
    cdef double loss = 0, product = 1, off
    for i in range(m):
        row = row_at(net.order, first + low + i)
        codes[i] = code_of(&net.targets, row)
        weights[i] = weight_of(&net.targets, row)
        right[i] = layer.output[(low + i) * layer.stride + codes[i]]
    for i in range(m, ROW_BLOCK):
        weights[i] = 0
    i = 0
    while i < m:
        k = 0
        while k < layer.d_out:
            transpose(layer.output + (low + i) * layer.stride + k, layer.stride,
                      min(<Py_ssize_t>LANES, m - i), classes + k * ROW_BLOCK + i, ROW_BLOCK,
                      min(<Py_ssize_t>LANES, layer.d_out - k))
            k += LANES
        top = v_load(classes + i)
        for k in range(1, layer.d_out):
            top = v_max(top, v_load(classes + k * ROW_BLOCK + i))
        total = v_set(0)
        for k in range(layer.d_out):
            e = exp_minus_abs(v_load(classes + k * ROW_BLOCK + i) - top)
            v_store(classes + k * ROW_BLOCK + i, e)
            total = total + e
        v_store(tops + i, top)
        v_store(sums + i, total)
        scale = v_load(weights + i) / total
        for k in range(layer.d_out):
            t = classes + k * ROW_BLOCK + i
            v_store(t, v_load(t) * scale)
        k = 0
        while k < layer.d_out:
            transpose(classes + k * ROW_BLOCK + i, ROW_BLOCK,
                      min(<Py_ssize_t>LANES, layer.d_out - k),
                      layer.delta + (low + i) * layer.stride + k, layer.stride,
                      min(<Py_ssize_t>LANES, m - i))
            k += LANES
        i += LANES
    for i in range(m):
        layer.delta[(low + i) * layer.stride + codes[i]] -= weights[i]
        off = <double>tops[i] - right[i]
        # Within the bounds; and a product of so few sums does not overflow.
        if weights[i] == 1 and 0 <= off < 8 and 1 < sums[i] < 1000:
            product *= sums[i]
            loss += off
        else:
            loss += weights[i] * bounded(log(<double>sums[i]) + off)
    return loss + log(product)


cdef inline double logistic_row(
    int loss, Net *net, Layer *layer, const real *z, const real *y, real *g, real weight,
) noexcept nogil:
    cdef Py_ssize_t j = 0
    cdef vreal total = v_set(0), s, c, d, low, high
    low, high = v_set(<real>bounded(0)), v_set(<real>bounded(100))
    while j < layer.width:
        s = v_load(net.is_output + j) * v_set(weight)
        loss_of(loss, v_load(z + j), v_load(y + j), v_set(1), &c, &d)
        if loss == LOSS_LOG_LOSS:
            c = v_max(low, v_min(high, c))
        v_store(g + j, d * s)
        total = total + c * s
        j += LANES
    return v_sum(total)


cdef double identity_row(
    Layer *layer, const real *z, const real *y, real *g, real weight
) noexcept nogil:
    """The mean of the outputs' squared errors, halved; the gradient is that of their sum."""
    cdef Py_ssize_t j
    cdef double total = 0
    cdef real residual
    for j in range(layer.d_out):
        residual = z[j] - y[j]
        g[j] = residual * weight
        total += <double>residual * residual
    return weight * total / (2 * layer.d_out)


cdef double exponential_row(
    Layer *layer, const real *z, const real *y, real *g, real weight
) noexcept nogil:
    """Half the Poisson deviance."""
    cdef Py_ssize_t j
    cdef double total = 0, mean
    for j in range(layer.d_out):
        mean = exp(<double>z[j])
        g[j] = <real>(mean - y[j]) * weight
        total += mean - y[j] - y[j] * <double>z[j]
        if y[j] != 0:
            total += y[j] * log(<double>y[j])
    return weight * total


cdef double output_row(
    Net *net, Layer *layer, real *z, const real *y, real *g, real weight
) noexcept nogil:
    if net.output == OUTPUT_LOGISTIC:
        return logistic_row(LOSS_LOG_LOSS, net, layer, z, y, g, weight)
    if net.output == OUTPUT_LOGISTIC_SQUARED:
        return logistic_row(LOSS_SQUARED_ERROR, net, layer, z, y, g, weight)
    if net.output == OUTPUT_IDENTITY:
        return identity_row(layer, z, y, g, weight)
    return exponential_row(layer, z, y, g, weight)


cdef double block_loss(
    Net *net, Py_ssize_t first, Py_ssize_t low, Py_ssize_t m, int64_t thread
) noexcept nogil:
    """Losses of a row block of the scratch; their derivatives by the scores go to `delta`."""
    cdef Layer *last = &net.layers[net.n_layers - 1]
    cdef Py_ssize_t i, k, row
    cdef real *y
    cdef double loss = 0
    if net.output == OUTPUT_SOFTMAX:
        return softmax_rows(net, last, net.classes + thread * ROW_BLOCK * last.d_out, first, low, m)
    if last.d_out == 1 and net.output == OUTPUT_LOGISTIC:
        return single_output_rows(LOSS_LOG_LOSS, net, last, first, low, m)
    if last.d_out == 1 and net.output == OUTPUT_LOGISTIC_SQUARED:
        return single_output_rows(LOSS_SQUARED_ERROR, net, last, first, low, m)
    for i in range(low, low + m):
        row = row_at(net.order, first + i)
        y = net.outputs + i * last.stride
        for k in range(last.d_out):
            y[k] = target_of(&net.targets, k, row)
        loss += output_row(net, last, last.output + i * last.stride, y,
                           last.delta + i * last.stride, weight_of(&net.targets, row))
    return loss
