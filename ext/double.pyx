"""Kernels that train float64 weights, on float64 features."""

cdef extern from *:
    """
    #define SCHUSS_REAL_IS_DOUBLE 1
    """

cdef extern from "vec.h" nogil:
    ctypedef double real
    ctypedef double vreal

include "kernels.pxi"
include "walk.pxi"
