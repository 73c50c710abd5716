"""XOR, which no single neuron can learn, by backpropagation through one hidden layer.

Run it with ``python examples/xor.py``.
"""

import numpy as np

from schuss import MLPClassifier, SigmoidClassifier

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
y = np.array([0, 1, 1, 0])


def main():
    neuron = SigmoidClassifier(learning_rate=1.0, tol=0).fit(X, y)
    print("one neuron:", neuron.predict_proba(X)[:, 1].round(2))

    for seed in range(5):
        network = MLPClassifier(
            hidden_layer_sizes=(4,), activation="logistic", solver="sgd", learning_rate_init=1.0,
            batch_size=4, alpha=0, max_iter=5000, tol=0, random_state=seed,
        )  # fmt: skip
        # The textbook's cost: squared errors of a sigmoid output.
        network.fit(X, y, loss="squared_error")
        print(
            f"seed {seed}: {network.stop_reason_} after {network.n_iter_} epochs, "
            f"loss {network.loss_:.5f}, outputs {network.predict_proba(X)[:, 1].round(2)}"
        )


if __name__ == "__main__":
    main()
