"""Fine-tune one source model on rescaled iris flowers in all three forms: full, partial, features.

    python examples/iris_three_ways.py

Source and target hold all three species; the target's columns are in other units and have an offset. One
scaler, fitted on the source, serves both: the shift is left to the fine-tuning.
"""

import isthmus as im
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler


def main() -> None:
    X, y = load_iris(return_X_y=True)
    X, X_target, y, y_target = train_test_split(X, y, test_size=75, stratify=y, random_state=0)
    X_target = X_target * [1.3, 0.8, 1.5, 0.6] + [0.0, 0.5, -1.0, 0.4]
    X_tune, X_test, y_tune, y_test = train_test_split(
        X_target, y_target, train_size=24, stratify=y_target, random_state=0
    )
    scaler = StandardScaler().fit(X)
    X, X_tune, X_test = scaler.transform(X), scaler.transform(X_tune), scaler.transform(X_test)

    source = im.MLPSourceClassifier((16, 8), learning_rate_init=0.01, max_iter=500, random_state=0).fit(X, y)
    print(f"source only: accuracy {source.score(X_test, y_test):.3f}")

    full = im.fine_tune(source, X_tune, y_tune, mode="full", X=X, y=y, max_iter=500)
    print(f"full: accuracy {full.score(X_test, y_test):.3f}, all {len(full.coefs_)} layers moved")

    partial = im.fine_tune(source, X_tune, y_tune, mode="partial", freeze="hidden*", max_iter=500)
    kept = [np.array_equal(a, b) for a, b in zip(source.coefs_, partial.coefs_, strict=True)]
    print(f"partial: accuracy {partial.score(X_test, y_test):.3f}, layers kept: {kept}")

    features = im.fine_tune(
        source, X_tune, y_tune, mode="features", target_model=KNeighborsClassifier(n_neighbors=3)
    )
    shape = features.features(X_test).shape
    print(f"features: accuracy {features.score(X_test, y_test):.3f}, nearest neighbours in f(x) {shape}")


if __name__ == "__main__":
    main()
