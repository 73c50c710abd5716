"""Scores of linear models as scikit-learn computes them, from weights that anyone may have set."""

import numpy as np
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted, validate_data

from schuss.sparse import as_csr
from schuss.validation import linear_weights


def scores(estimator, X):
    """``X @ coef_.T + intercept_`` of shape (n, K), or (n,) for one neuron.

    Parameters
    ----------
    estimator : linear model
        Its `coef_` may be sparse.
    X : array-like, sparse matrix or data frame of shape (n, d)
    """
    check_is_fitted(estimator)
    with np.errstate(over="ignore", invalid="ignore"):
        X = validate_data(
            estimator, as_csr(X), accept_sparse="csr", dtype=[np.float64, np.float32], reset=False
        )
        coef, intercept = linear_weights(estimator, X.shape[1])
        z = safe_sparse_dot(X, coef.T, dense_output=True) + intercept
    return z[:, 0] if z.shape[1] == 1 else z
