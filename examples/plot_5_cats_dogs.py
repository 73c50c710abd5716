"""
Cats and dogs
=============

One neuron classifies images: each pixel has a weight, and the weights form an image of the evidence
for the one animal or the other.

The images are in ``animals.npz`` (28 × 28 grey pixels of ten animals), in the folder named by the
environment variable ``SCHUSS_DATA``. Without it the example uses the handwritten digits 3 and 8
that scikit-learn ships.
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
        images, animals, names = file["images"], file["labels"], ("cat", "dog")
        codes = [list(file["names"]).index(name) for name in names]
else:
    digits = load_digits()
    images, animals = digits.data.astype(np.uint8), digits.target
    codes, names = (3, 8), ("three", "eight")
rows = np.isin(animals, codes)
X, y = images[rows].reshape(rows.sum(), -1), np.where(animals[rows] == codes[1], *names[::-1])
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

# %%
# uint8 pixels are read without a copy. The number of iterations is the regularisation, so all of
# them are run.

neuron = schuss.SigmoidClassifier(solver="nesterov", max_iter=200, tol=0)
neuron.fit(X_train, y_train)
accuracy = neuron.score(X_test, y_test)
print(f"{len(X_train):,} training images, accuracy {accuracy:.1%} on {len(X_test):,} others")

# %%
# The weights of the pixels:

WeightsDisplay.from_estimator(neuron)

# %%
# The images with the most confident predictions, correct or not, of either class:

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
figure.suptitle(f"label, and predicted probability of {neuron.classes_[1]}", fontsize=10)

# %%
# It recognises outlines, which is enough to be better than chance at every threshold:

display = RocCurveDisplay.from_estimator(
    neuron, X_test, y_test, name="one neuron", plot_chance_level=True
)
display.ax_.set(
    xlabel=f"false positive rate ({neuron.classes_[0]} classified as {neuron.classes_[1]})",
    ylabel=f"true positive rate ({neuron.classes_[1]})",
)
