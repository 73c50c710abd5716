"""
XOR with a hidden layer
=======================

One neuron cannot represent XOR: no line has (0, 1) and (1, 0) on one side and (0, 0) and (1, 1) on
the other. Two hidden neurons draw two lines, and the output neuron selects the band between them.
`schuss.minimize` finds the nine weights, with the gradient from backpropagation:

.. code-block:: none

    a = σ(X W + b)      ŷ = σ(a v + c)      δ₂ = ŷ − y      δ₁ = δ₂ vᵀ ⊙ a (1 − a)

for hidden activations a and the log-loss.
"""

import numpy as np
from matplotlib import pyplot as plt
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin

import schuss
from schuss.plot import DecisionBoundaryDisplay, LearningCurveDisplay

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([0, 1, 1, 0])


def forward(theta, X):
    W, b, v, c = theta[:4].reshape(2, 2), theta[4:6], theta[6:8], theta[8]
    a = expit(X @ W + b)
    return a, a @ v + c, v


def objective(theta):
    """Log-loss with a small L2 penalty, and its gradient."""
    a, z, v = forward(theta, X)
    value = np.mean(np.logaddexp(0, z) - y * z) + 5e-4 * theta @ theta
    d2 = (expit(z) - y) / len(y)
    d1 = np.outer(d2, v) * a * (1 - a)
    gradient = np.concatenate([(X.T @ d1).ravel(), d1.sum(axis=0), a.T @ d2, [d2.sum()]])
    return value, gradient + 1e-3 * theta


start = np.random.default_rng(3).normal(size=9)
results = {
    method: schuss.minimize(objective, start, jac=True, method=method, max_iter=20_000)
    for method in ("adaptive", "nesterov", "newton")
}
for method, result in results.items():
    outputs = expit(forward(result.x, X)[1]).round(2)
    print(f"{method:9} {result.nit:6,} iterations, loss {result.fun:.5f}, outputs {outputs}")

# %%
# Before the first iteration, the gradient is compared with finite differences of the objective; a
# missing term would give a warning. Newton-Raphson computes its Hessian by finite differences.

display = LearningCurveDisplay.from_result(results, log_scale=True)
display.ax_.set_xscale("log")
display.ax_.set_xlabel("iteration")

# %%
# A single neuron fails; the two hidden neurons leave a band between their lines.


class Network(ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier with the weights found above."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        p = expit(forward(results["newton"].x, np.asarray(X))[1])
        return np.column_stack([1 - p, p])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


_, axes = plt.subplots(1, 2, figsize=(8, 3.3), layout="constrained")
neuron = schuss.SigmoidClassifier("log_loss", "nesterov", alpha=1e-3).fit(X, y)
for axis, model, title in zip(
    axes, (neuron, Network().fit(X, y)), ("one neuron", "two hidden neurons"), strict=True
):
    DecisionBoundaryDisplay.from_estimator(model, X, y, feature_names=["a", "b"], ax=axis)
    axis.set_title(title, fontsize="medium")
