"""Read digits from another camera without any label of its pictures, by several methods of alignment.

    python examples/align_digits.py

The source are digits of scikit-learn; the target are others, of less contrast, a brighter background and
uneven light from the left.
"""

import isthmus as im
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

METHODS = {
    "source only": im.make_transfer_pipeline(None, KNeighborsClassifier(1)),
    "each domain z-scored": im.make_transfer_pipeline(im.StandardScaling(), KNeighborsClassifier(1)),
    "CORAL": im.make_transfer_pipeline(im.CORAL(ridge=1e-3), KNeighborsClassifier(1)),
    "TCA": im.make_transfer_pipeline(im.TCA(30, reg=0.1), KNeighborsClassifier(1)),
    "JDA": im.make_transfer_pipeline(im.JDA(30, reg=0.1), KNeighborsClassifier(1)),
    "MEDA": im.MEDA(20),
    "EasyTL": im.EasyTL(),
}


def main() -> None:
    X, y = load_digits(return_X_y=True)
    X, X_target, y, y_target = train_test_split(X / 16, y, test_size=0.5, stratify=y, random_state=0)
    light = np.tile(np.linspace(0.5, 0.0, 8), 8)
    X_target = 0.3 + 0.4 * X_target + light
    for name, method in METHODS.items():
        accuracy = np.mean(method.fit(X, y, X_target).predict(X_target) == y_target)
        print(f"{name}: accuracy {accuracy:.3f} on the target")

    model = LogisticRegression(max_iter=1000)
    chosen = im.select_alignment(X, y, X_target, model=model, scorer="circular", y_target_test=y_target)
    print(chosen)


if __name__ == "__main__":
    main()
