"""Published accuracies in percent, as data with their sources, and what their definitions give.

Office-Caltech10 with SURF histograms (domains Caltech, Amazon, Webcam, DSLR) and the digits USPS -> MNIST.
"""

from __future__ import annotations

from dataclasses import dataclass

TASKS = ("C-A", "C-W", "C-D", "A-C", "A-W", "A-D", "W-C", "W-A", "W-D", "D-C", "D-A", "D-W")
DIGITS = "USPS-MNIST"
MEAN = "mean"

MEDA = "Wang, Feng, Chen, Yu, Huang, Yu, ACM MM 2018 (MEDA)"
EASYTL = "Wang, Chen, Yu, Huang, Yang, ICME 2019 (EasyTL), released results"
LPJT = "Li, Jing, Lu, Zhu, Shen, IEEE TIP 2019 (LPJT), table III"


@dataclass(frozen=True)
class Figures:
    """One method's accuracies: `surf` in the order of `TASKS`, their `mean` as printed, the `digits`.

    `digits_source` where the digits come from another place than `source`. None: not published there.
    """

    source: str
    surf: tuple[float, ...] | None = None
    mean: float | None = None
    digits: float | None = None
    digits_source: str = ""

    def of(self, task: str) -> float | None:
        """The figure of one task, of the mean or of the digits."""
        if task == DIGITS:
            return self.digits
        if task == MEAN:
            return self.mean
        return None if self.surf is None else self.surf[TASKS.index(task)]


PUBLISHED = {
    "1-NN": Figures(
        f"{MEDA}, tables 2 and 3",
        (23.7, 25.8, 25.5, 26.0, 29.8, 25.5, 19.9, 23.0, 59.2, 26.3, 28.5, 63.4),
        31.4,
        44.7,
    ),
    "TCA": Figures(
        f"{MEDA}, tables 2 and 3",
        (45.6, 39.3, 45.9, 42.0, 40.0, 35.7, 31.5, 30.5, 91.1, 33.0, 32.8, 87.5),
        46.2,
        51.2,
    ),
    "GFK": Figures(
        f"{MEDA}, tables 2 and 3",
        (46.0, 37.0, 40.8, 40.7, 37.0, 40.1, 24.8, 27.6, 85.4, 29.3, 28.7, 80.3),
        43.1,
        46.45,
        LPJT,
    ),
    "SA": Figures(LPJT, digits=48.80),
    "JDA": Figures(
        f"{MEDA}, tables 2 and 3",
        (43.1, 39.3, 49.0, 40.9, 38.0, 42.0, 33.0, 29.8, 92.4, 31.2, 33.4, 89.2),
        46.8,
        59.65,
        LPJT,
    ),
    "TJM": Figures(
        f"{MEDA}, tables 2 and 3",
        (46.8, 39.0, 44.6, 39.5, 42.0, 45.2, 30.2, 30.0, 89.2, 31.4, 32.8, 85.4),
        46.3,
        52.25,
        LPJT,
    ),
    "JGSA": Figures(
        f"{MEDA}, tables 2 and 3",
        (51.5, 45.4, 45.9, 41.5, 45.8, 47.1, 33.2, 39.9, 90.5, 29.9, 38.0, 91.9),
        50.0,
        68.2,
    ),
    "CORAL + SVM": Figures(
        f"{MEDA}, tables 2 and 3 (Sun, Feng, Saenko, AAAI 2016, their own protocol)",
        (52.1, 46.4, 45.9, 45.1, 44.4, 39.5, 33.7, 36.0, 86.6, 33.8, 37.7, 84.7),
        48.8,
        30.5,
    ),
    "EasyTL(c)": Figures(
        EASYTL,
        (50.1, 49.5, 48.4, 43.0, 40.7, 38.9, 29.7, 35.2, 77.1, 31.2, 31.9, 69.5),
        45.4,
    ),
    "EasyTL": Figures(
        EASYTL,
        (52.6, 53.9, 51.6, 42.3, 43.1, 48.4, 35.4, 38.2, 79.6, 36.1, 38.3, 86.1),
        50.5,
    ),
    "MEDA": Figures(
        f"{MEDA}, tables 2 and 3",
        (56.5, 53.9, 50.3, 43.9, 53.2, 45.9, 34.0, 42.7, 88.5, 34.9, 41.2, 87.5),
        52.7,
        72.1,
    ),
}

# What the definitions give under the protocols of `benchmarks.protocols`: float64, dense solvers (QZ, eigh),
# programs independent of Isthmus. Two digits, so that single tasks can be held.
BY_DEFINITION_SOURCE = "dense float64 solution of the definition, independent of Isthmus"
BY_DEFINITION = {
    "1-NN": Figures(
        BY_DEFINITION_SOURCE,
        (23.70, 25.76, 25.48, 26.00, 29.83, 25.48, 19.86, 22.96, 59.24, 26.27, 28.50, 63.39),
        31.37,
        44.70,
    ),
    "1-NN, unit rows": Figures(
        BY_DEFINITION_SOURCE,
        (36.01, 29.15, 38.22, 34.19, 31.19, 35.67, 28.76, 31.63, 84.71, 29.56, 28.29, 83.73),
        40.93,
        44.70,
    ),
    "SA": Figures(
        BY_DEFINITION_SOURCE,
        (40.40, 38.98, 43.95, 39.36, 41.36, 36.31, 31.17, 31.21, 77.07, 32.41, 34.13, 79.66),
        43.83,
        48.80,
    ),
    "GFK": Figures(
        BY_DEFINITION_SOURCE,
        (41.02, 40.68, 41.40, 40.25, 40.00, 36.31, 30.72, 31.84, 87.90, 30.10, 32.05, 84.41),
        44.72,
        46.45,
    ),
    "TCA": Figures(
        BY_DEFINITION_SOURCE,
        (46.14, 37.97, 45.86, 40.61, 40.00, 31.85, 31.26, 31.94, 89.17, 33.39, 31.21, 87.46),
        45.57,
        52.90,
    ),
    "JDA": Figures(
        BY_DEFINITION_SOURCE,
        (44.78, 41.69, 45.22, 39.36, 37.97, 39.49, 31.17, 32.78, 89.17, 31.52, 33.09, 89.49),
        46.31,
        59.65,
    ),
    "BDA": Figures(
        BY_DEFINITION_SOURCE,
        (44.2, 41.7, 45.2, 38.8, 38.0, 40.1, 31.0, 32.5, 89.2, 31.3, 33.1, 89.5),
        46.21,
        59.85,
    ),
    "W-BDA": Figures(
        BY_DEFINITION_SOURCE,
        (44.7, 43.7, 45.2, 39.6, 40.3, 38.9, 31.9, 33.6, 88.5, 33.3, 33.8, 91.2),
        47.07,
        59.90,
    ),
    "TJM": Figures(
        BY_DEFINITION_SOURCE,
        (46.8, 39.0, 44.6, 39.4, 42.0, 45.2, 30.2, 30.0, 89.2, 31.4, 32.8, 85.4),
        46.33,
        52.25,
    ),
    "JGSA": Figures(
        BY_DEFINITION_SOURCE,
        (51.5, 45.4, 45.9, 41.5, 45.8, 47.1, 33.2, 39.9, 90.4, 29.9, 38.0, 91.9),
        50.04,
        68.15,
    ),
    "EasyTL(c)": Figures(
        BY_DEFINITION_SOURCE,
        (50.1, 49.5, 48.4, 43.0, 40.7, 38.9, 29.7, 35.2, 77.1, 31.2, 31.9, 69.5),
        45.42,
        23.3,
    ),
    "EasyTL": Figures(
        BY_DEFINITION_SOURCE,
        (52.6, 53.9, 51.6, 42.3, 43.1, 48.4, 35.4, 38.2, 79.6, 36.1, 38.3, 86.1),
        50.46,
        42.3,
    ),
    "MEDA": Figures(
        BY_DEFINITION_SOURCE,
        (56.5, 53.9, 50.3, 44.0, 53.2, 45.9, 33.9, 42.7, 88.5, 34.8, 40.1, 87.5),
        52.61,
        70.85,
    ),
}
