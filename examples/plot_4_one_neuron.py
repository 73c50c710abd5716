"""
One neuron on two features
==========================

A neuron divides the plane in two: `ŷ = σ(w·x + b)` is one half on the line `w·x + b = 0`, and tends
to 0 and 1 on either side. The features are two measurements of cell nuclei, the classes benign and
malignant (the breast cancer data of scikit-learn).
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import schuss
from schuss.plot import (
    CalibrationDisplay,
    DecisionBoundaryDisplay,
    LearningCurveDisplay,
    RocCurveDisplay,
)

data = load_breast_cancer()
X = data.data[:, np.isin(data.feature_names, ("mean radius", "mean concave points"))]
y = data.target_names[data.target]
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)


def train(solver, max_iter=500):
    neuron = schuss.SigmoidClassifier("log_loss", solver, alpha=1e-3, max_iter=max_iter, tol=0)
    return make_pipeline(StandardScaler(), neuron).fit(X_train, y_train)


model = train("nesterov")
print(f"accuracy on held-out rows: {model.score(X_test, y_test):.1%}")

# %%
# The line is the decision boundary; the shades are the predicted probability.

DecisionBoundaryDisplay.from_estimator(
    model, X_test, y_test,
    feature_names=["mean radius (µm)", "mean concave points (fraction of the outline)"],
)  # fmt: skip

# %%
# The loss over the epochs, and over the time, for three solvers:

models = {solver: train(solver, max_iter=60) for solver in ("gd", "nesterov", "adaptive")}
_, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
LearningCurveDisplay.from_estimator(models, ax=left)
LearningCurveDisplay.from_estimator(models, over="seconds", ax=right)
right.set_ylabel("")

# %%
# Calibration and ROC curve, by scikit-learn's displays:

_, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
CalibrationDisplay.from_estimator(model, X_test, y_test, n_bins=5, name="neuron", ax=left)
left.set(xlabel="probability of malignant", ylabel="fraction that is malignant")
RocCurveDisplay.from_estimator(model, X_test, y_test, name="neuron", ax=right)
right.set(xlabel="false positive rate", ylabel="true positive rate")
