"""More rows than orders of 32 bits can number: refused before anything is allocated."""

from types import SimpleNamespace

import numpy as np
import pytest

from schuss.backends.contract import Data, NetworkConfig
from schuss.data import check_orders
from schuss.methods import Solver
from schuss.solvers.first_order import FirstOrder
from schuss.solvers.network import MiniBatches
from schuss.solvers.sgd import SGD, Start

MANY = 2**31
MATCH = r"X has 2,147,483,648 rows, .* expects 2,147,483,647 at most"


def test_most_rows_pass():
    check_orders(MANY - 1)


def test_first_order_refuses():
    objective = SimpleNamespace(n_rows=MANY, n_learnt=MANY)
    with pytest.raises(ValueError, match=MATCH):
        FirstOrder("sgd", objective, np.zeros((1, 1)), np.zeros(1), batch_size=32)


@pytest.mark.parametrize(
    "order", [{"random_state": np.random.RandomState(0)}, {"rows": np.arange(3)}]
)
def test_mini_batches_refuse(order):
    objective = SimpleNamespace(n_rows=MANY)
    rule = NetworkConfig(Solver.ADAM, 0.9, 0.9, 0.999, 1e-8, 0.0, 32)
    with pytest.raises(ValueError, match=MATCH):
        MiniBatches(objective, np.zeros(4), rule, learning_rate=0.1, **order)


@pytest.mark.parametrize("shuffle", [False, True])
def test_sgd_refuses(shuffle):
    data = Data(SimpleNamespace(shape=(MANY, 1)), None, None, 1.0)
    with pytest.raises(ValueError, match=MATCH):
        SGD(
            None, data, [Start(np.zeros(1), 0.0, None, 0.0, 1)], np.ones((1, 2)), loss="hinge",
            penalty="l2", learning_rate="optimal", epsilon=0.1, alpha=1e-4, l1_ratio=0.0,
            eta0=0.01, power_t=0.5, fit_intercept=True, shuffle=shuffle, decay=1.0, average=0,
            t=1.0, tol=1e-3, n_iter_no_change=5,
        )  # fmt: skip
