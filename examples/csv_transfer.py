"""Train on a source CSV file, save, load, fine-tune on a few rows of a target CSV file, and compare.

    python examples/csv_transfer.py                        # writes two example files first
    python examples/csv_transfer.py source.csv target.csv  # yours: numbers, and labels in a column `target`

A fifth of the target rows fine-tunes, the others are the test.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import isthmus as im
import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def write_example(folder: Path) -> tuple[Path, Path]:
    """Digits as scanned, and 200 other digits turned by 20 degrees, pale on grey paper, with noise."""
    X, y = load_digits(return_X_y=True)
    X, X_target, y, y_target = train_test_split(X, y, test_size=200, stratify=y, random_state=0)
    turned = rotate(X_target.reshape(-1, 8, 8), 20, axes=(2, 1), reshape=False, order=1).reshape(-1, 64)
    X_target = 5.0 + 0.5 * turned + np.random.default_rng(0).normal(size=turned.shape)
    paths = folder / "source.csv", folder / "target.csv"
    for path, rows, labels in zip(paths, (X, X_target), (y, y_target), strict=True):
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*(f"pixel{i}" for i in range(rows.shape[1])), "target"])
            for row, label in zip(rows, labels, strict=True):
                writer.writerow([*map(float, row), f"digit {label}"])
    return paths


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, d) in float32, and the labels of the column `target`."""
    with path.open(newline="") as file:
        records = list(csv.DictReader(file))
    columns = [name for name in records[0] if name != "target"]
    X = np.array([[record[name] for name in columns] for record in records], dtype=np.float32)
    return X, np.array([record["target"] for record in records])


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune a source model on a target CSV file.")
    parser.add_argument("files", nargs="*", type=Path, metavar="CSV", help="source and target file")
    files = parser.parse_args().files
    if len(files) not in (0, 2):
        parser.error(f"give a source and a target file, or none, got {len(files)}")

    with tempfile.TemporaryDirectory() as folder:
        source, target = files or write_example(Path(folder))
        X, y = read(source)
        X_target, y_target = read(target)
        X_tune, X_test, y_tune, y_test = train_test_split(
            X_target, y_target, test_size=0.8, stratify=y_target, random_state=0
        )
        print(f"source: {len(X)} rows, target: {len(X_tune)} rows to fine-tune, {len(X_test)} to test")

        # Each domain is scaled by its own rows: a paler scan is then no shift at all.
        X = StandardScaler().fit_transform(X)
        scaler = StandardScaler().fit(X_tune)
        X_tune, X_test = scaler.transform(X_tune), scaler.transform(X_test)

        model = im.MLPSourceClassifier(
            hidden_layer_sizes=(100, 100),
            solver="sgd",
            learning_rate_init=0.05,
            random_state=0,
        ).fit(X, y)
        path = Path(folder) / "model.safetensors"
        im.save(model, path)
        loaded = im.load(path)
        same = np.array_equal(model.predict_proba(X_test), loaded.predict_proba(X_test))
        print(f"saved {path.stat().st_size} bytes, loaded again: {'same' if same else 'OTHER'} probabilities")

        alone = im.MLPSourceClassifier((100, 100), solver="sgd", learning_rate_init=0.05, random_state=0)
        models = {
            "source only": loaded,
            "target only": alone.fit(X_tune, y_tune),
            "fine-tuned, full": im.fine_tune(loaded, X_tune, y_tune, mode="full", X=X, y=y),
            "fine-tuned, head only": im.fine_tune(loaded, X_tune, y_tune, mode="partial"),
            "fine-tuned, new model on the features": im.fine_tune(loaded, X_tune, y_tune, mode="features"),
        }
        for name, candidate in models.items():
            print(f"{name}: accuracy {candidate.score(X_test, y_test):.3f}")


if __name__ == "__main__":
    main()
