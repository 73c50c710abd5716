"""The kernels of the Numba backend: each function of the contract in a file of its name.

Below them: `rows` (X), `targets`, `formulas` (losses of one score), `compiling`.
"""
