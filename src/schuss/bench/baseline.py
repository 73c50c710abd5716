"""The loop that a good NumPy user writes, the measure of every ratio.

Everything that a careful user does is done: no temporary arrays in the loop, products
left to BLAS, sigma from ``np.exp`` in place (vectorised by NumPy for both float types,
and from about a thousand rows on quicker than ``scipy.special.expit``). What no NumPy
loop can do is to read X once an epoch: the scores need all of it before the gradient
can be summed.
"""

import numpy as np
import scipy.sparse as sp


def gradient_descent(X, y, loss, learning_rate, epochs):
    """Full-batch gradient descent of one sigmoid neuron, from zero weights.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n, d), float32 or float64
    y : ndarray of shape (n,), of the same type
    loss : {"squared_error", "log_loss"}
    learning_rate : float
    epochs : int

    Returns
    -------
    coef : ndarray of shape (d,)
    intercept : float
    losses : ndarray of shape (epochs,)
        Cost before each step.
    """
    n, d = X.shape
    forward, backward = _products(X)
    rate = learning_rate / n
    coef, intercept = np.zeros(d, X.dtype), 0.0
    z, p, work = np.empty((3, n), X.dtype)
    coef_grad = np.empty(d, X.dtype)
    losses = np.empty(epochs)
    one_minus_y = 1 - y

    for epoch in range(epochs):
        forward(coef, z)
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
        backward(delta, coef_grad)
        coef_grad *= rate
        coef -= coef_grad
        intercept -= rate * float(delta.sum())
    return coef, intercept, losses


def _products(X):
    """``X @ coef`` and ``X.T @ delta`` into arrays that are there already."""
    if sp.issparse(X):
        # SciPy's products have no `out`; the transpose is a view.
        transposed = X.T

        def forward(coef, out):
            out[...] = X @ coef

        def backward(delta, out):
            out[...] = transposed @ delta

    else:

        def forward(coef, out):
            np.dot(X, coef, out=out)

        def backward(delta, out):
            np.dot(delta, X, out=out)

    return forward, backward
