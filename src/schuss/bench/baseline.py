"""The loop that a good NumPy user writes, the measure of every ratio.

Everything that a careful user does is done: no temporary arrays in the loop, products left to
BLAS, sigma from ``np.exp`` in place (vectorised by NumPy for both float types, and from about a
thousand rows on quicker than ``scipy.special.expit``). What no NumPy loop can do is to read X
once an epoch: the scores need all of it before the gradient can be summed.
"""

import numpy as np
import scipy.sparse as sp


def gradient_descent(X, y, loss, learning_rate, epochs):
    """Full-batch gradient descent of one sigmoid neuron, from zero weights.

    Returns weights, intercept, and the loss before each step.
    """
    n, d = X.shape
    rate = learning_rate / n
    coef, intercept = np.zeros(d, X.dtype), 0.0
    z, p, work = np.empty((3, n), X.dtype)
    coef_grad = np.empty(d, X.dtype)
    losses = np.empty(epochs)
    one_minus_y = 1 - y
    transposed, sparse = X.T, sp.issparse(X)

    for epoch in range(epochs):
        if sparse:  # SciPy's products have no `out`
            z[...] = X @ coef
        else:
            np.dot(X, coef, out=z)
        z += intercept
        np.negative(z, out=p)
        np.exp(p, out=p)
        p += 1
        if loss == "log_loss":
            # log(1 + e^z) - y z = log(1 + e^-z) + (1 - y) z
            losses[epoch] = (np.log(p, out=work).sum() + one_minus_y @ z) / n
        np.reciprocal(p, out=p)
        delta = np.subtract(p, y, out=z)
        if loss == "squared_error":
            losses[epoch] = delta @ delta / (2 * n)
            delta *= p
            delta *= np.subtract(1, p, out=p)
        if sparse:
            coef_grad[...] = transposed @ delta
        else:
            np.dot(delta, X, out=coef_grad)
        coef_grad *= rate
        coef -= coef_grad
        intercept -= rate * float(delta.sum())
    return coef, intercept, losses
