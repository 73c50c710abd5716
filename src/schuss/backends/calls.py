"""Calls of functions in C from Python, by what `contract.Function` says of them."""

import ctypes

import numpy as np


def c_function(function, part):
    """A Python callable of x, for the value or the gradient of a function in C."""
    address = getattr(function, part)
    data = (getattr(function, f"{part}_data"),) if getattr(function, f"{part}_takes_data") else ()
    pointers = (ctypes.c_void_p,) * len(data)
    if not function.takes_array:
        call = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, *pointers)(address)
        if part == "gradient":
            return lambda x: np.array([call(x[0], *data)])
        return lambda x: call(x[0], *data)
    array = ctypes.POINTER(ctypes.c_double)

    def copied(x):
        """x as the function takes it, which may write to it."""
        return np.array(x, dtype=np.float64).ctypes.data_as(array)

    if part == "value":
        call = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int, array, *pointers)(address)
        return lambda x: call(len(x), copied(x), *data)
    call = ctypes.CFUNCTYPE(None, ctypes.c_int, array, array, *pointers)(address)

    def gradient(x):
        out = np.empty_like(x)
        call(len(x), copied(x), out.ctypes.data_as(array), *data)
        return out

    return gradient
