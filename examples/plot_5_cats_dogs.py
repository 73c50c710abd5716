"""
Cats and dogs
=============

One neuron looks at pictures: each pixel has a weight, and the weights are themselves a picture
of what speaks for the one animal or the other.

The pictures are in ``animals.npz`` (28 × 28 grey pixels of ten animals), in the folder that the
environment variable ``SCHUSS_DATA`` names. Without it the example takes the handwritten threes and
eights that scikit-learn ships.
"""

import os
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import schuss
from schuss.plot import RocCurveDisplay, WeightsDisplay

path = Path(os.environ.get("SCHUSS_DATA", ".")) / "animals.npz"
if path.is_file():
    with np.load(path) as file:
        pictures, animals, names = file["images"], file["labels"], ("cat", "dog")
        codes = [list(file["names"]).index(name) for name in names]
else:
    digits = load_digits()
    pictures, animals = digits.data.astype(np.uint8), digits.target
    codes, names = (3, 8), ("three", "eight")
rows = np.isin(animals, codes)
X, y = pictures[rows].reshape(rows.sum(), -1), np.where(animals[rows] == codes[1], *names[::-1])
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

# %%
# The bytes are read as they are. The number of steps is the regularisation, so all are taken.

neuron = schuss.SigmoidClassifier(solver="nesterov", max_iter=200, tol=0)
neuron.fit(X_train, y_train)
share = neuron.score(X_test, y_test)
print(f"{len(X_train):,} pictures learnt, right on {share:.1%} of {len(X_test):,} others")

# %%
# Which pixels say the one, which the other:

WeightsDisplay.from_estimator(neuron)

# %%
# The pictures of which it is surest, right or wrong, on either side:

probability = neuron.predict_proba(X_test)[:, 1]
order = np.argsort(probability)
figure, axes = plt.subplots(2, 6, figsize=(7, 2.9), layout="constrained")
side = int(X.shape[1] ** 0.5)
for column, (low, high) in enumerate(zip(order[:6], order[:-7:-1], strict=True)):
    for axis, row in ((axes[0, column], low), (axes[1, column], high)):
        axis.imshow(X_test[row].reshape(side, side), cmap="gray")
        axis.set_title(f"{y_test[row]}, {probability[row]:.2f}", fontsize="small")
        axis.set_xticks(())
        axis.set_yticks(())
figure.suptitle(f"what it is, and the neuron's probability of {neuron.classes_[1]}", fontsize=10)

# %%
# What it goes by are outlines; that is enough to be better than chance at every threshold:

display = RocCurveDisplay.from_estimator(
    neuron, X_test, y_test, name="one neuron", plot_chance_level=True
)
display.ax_.set(
    xlabel=f"share of {neuron.classes_[0]}s called {neuron.classes_[1]}",
    ylabel=f"share of {neuron.classes_[1]}s found",
)
