"""Benchmarks of schuss: equal work, verified before it is timed.

Run from the root of the checkout: ``python -m bench.run --help``.
"""
