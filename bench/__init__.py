"""Measurements for those who work on schuss, made with `schuss.bench`.

Run from the root of the checkout: ``python -m bench --help``.
"""
