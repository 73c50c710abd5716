# `pointwise` of the contract: a loss and its derivative, element by element.

def pointwise(const real[::1] z, const real[::1] y, int loss, real[::1] value,
              real[::1] derivative):
    cdef Py_ssize_t i = 0, m, n = z.shape[0]
    cdef real[MAX_LANES] z_, y_, value_, derivative_
    cdef vreal c, g
    cdef uint64_t mode = ieee_mode()
    memset(z_, 0, sizeof(z_))
    memset(y_, 0, sizeof(y_))
    with nogil:
        while i < n:
            m = min(LANES, n - i)
            memcpy(z_, &z[i], m * REAL_SIZE)
            memcpy(y_, &y[i], m * REAL_SIZE)
            loss_of(loss, v_load(z_), v_load(y_), v_set(1), &c, &g)
            v_store(value_, c)
            v_store(derivative_, g)
            memcpy(&value[i], value_, m * REAL_SIZE)
            memcpy(&derivative[i], derivative_, m * REAL_SIZE)
            i += LANES
    restore_mode(mode)
