"""The kernels of the Numba backend, in files named as those of the compiled ones in ``ext``.

`compiling` says how functions are compiled and kept, `registers` has the loops that are written
in whole vector registers.
"""
