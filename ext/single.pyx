"""Kernels that train float32 weights, on float32, float16, uint8 and int8 features."""

cdef extern from *:
    """
    #define SCHUSS_REAL_IS_DOUBLE 0
    """

cdef extern from "vec.h" nogil:
    ctypedef float real
    ctypedef float vreal

include "kernels.pxi"
