"""The demo's two examples, made from real data that comes with scikit-learn."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.datasets import load_diabetes, load_digits

DIGITS_LABELLED = 120  # target rows of the digits that keep their label


@dataclass(frozen=True, eq=False)
class Example:
    """A source and a target domain; None in `y_target` is a row without a label."""

    name: str
    title: str
    label: str
    features: tuple[str, ...]
    X: NDArray[Any]  # (ns, d)
    y: Sequence[Any]
    X_target: NDArray[Any]  # (nt, d)
    y_target: Sequence[Any]
    test_size: float  # share of the labelled target rows held out


def digits(random_state: int = 0) -> Example:
    """Digits as scanned (source), and other digits as a tilted camera would see them (target).

    The rows are split at random, so no image is in both domains. Each target image of 8 x 8 pixels with
    values 0 to 16 is rotated, loses contrast, gains a grey background and sensor noise, and is rounded to
    whole numbers again. 120 target rows keep their label.
    """
    rng = np.random.default_rng(random_state)
    data = load_digits()
    order = rng.permutation(len(data.data))
    source, target = np.array_split(order, 2)
    seen = np.array([_camera(image, rng) for image in data.images[target]])
    labels = data.target[target].tolist()
    labels[DIGITS_LABELLED:] = [None] * (len(labels) - DIGITS_LABELLED)
    return Example(
        "digits",
        "Handwritten digits: from a flatbed scanner to a tilted camera",
        "digit",
        tuple(data.feature_names),
        data.data[source],
        data.target[source].tolist(),
        seen.reshape(len(seen), -1),
        labels,
        0.7,  # few labels to learn from, enough to measure with
    )


def _camera(image: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    tilted = ndimage.rotate(image, rng.normal(10.0, 5.0), reshape=False, order=1)  # degrees
    grey = rng.uniform(0.45, 0.75) * tilted + rng.uniform(2.0, 5.0)
    return np.asarray(np.clip(np.round(grey + rng.normal(0.0, 1.0, image.shape)), 0.0, 16.0))


def diabetes() -> Example:
    """Progression of diabetes after one year (regression): from one sex (source) to the other (target).

    The column that tells the sexes apart is no feature. Every target row has its label.
    """
    data = load_diabetes(scaled=False)
    at = data.feature_names.index("sex")
    kept = [j for j in range(data.data.shape[1]) if j != at]
    first = data.data[:, at] == data.data[:, at].min()
    return Example(
        "diabetes",
        "Diabetes progression: from patients of one sex to those of the other",
        "progression",
        tuple(data.feature_names[j] for j in kept),
        data.data[first][:, kept],
        data.target[first].tolist(),
        data.data[~first][:, kept],
        data.target[~first].tolist(),
        0.5,
    )


def write_csv(path: Path, X: NDArray[Any], y: Sequence[Any], example: Example) -> None:
    """One domain as CSV: the features, then the label, empty where there is none."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([*example.features, example.label])
        for row, label in zip(X.tolist(), y, strict=True):
            out.writerow([*(f"{value:g}" for value in row), "" if label is None else label])
