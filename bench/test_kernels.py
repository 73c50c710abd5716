"""pytest-benchmark timings of the same problems, for those who know it: ``make bench``.

Each run is verified against the reference before it is timed. Rounds are not interleaved
here: for ratios that hold on a noisy machine use ``python -m schuss.bench.run``.
"""

import pytest

from schuss.bench.libraries import BACKENDS, BASELINE, LIBRARIES, Unsupported
from schuss.bench.problems import DENSE, PROBLEMS
from schuss.bench.runner import Reference, limit_threads, verify

N_THREADS = 1


@pytest.fixture(scope="module", params=DENSE)
def problem(request):
    task = PROBLEMS[request.param].load()
    with limit_threads(N_THREADS):
        yield task, Reference(task)


@pytest.mark.parametrize("library", [BASELINE.name, *(f"schuss-{name}" for name in BACKENDS)])
def test_descend(benchmark, problem, library):
    task, reference = problem
    adapter = LIBRARIES[library]
    if reason := adapter.missing():
        pytest.skip(reason)
    try:
        run = adapter.prepare(task, N_THREADS)
    except Unsupported as error:
        pytest.skip(str(error))
    verify(run, task, reference)

    benchmark.group = f"{task.name}, {task.epochs} epochs"
    outcome = benchmark(run, task.epochs)

    reference.check(outcome, task.epochs)
