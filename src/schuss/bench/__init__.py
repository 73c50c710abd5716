"""Benchmarks and the regression gate: equal work, verified before it is timed.

Five parts, each ignorant of the later ones: `problems` (data and objective), `libraries`
(one adapter each), `runner` (rounds that take turns), `comparison` (what may be said of the
timings), and what people call: `run`, `suite` with its `page`, and `gate`.
"""
