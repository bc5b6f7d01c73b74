"""The classes of both domains as numbers, those of the source first, and which target rows are known."""

from __future__ import annotations

import numpy as np

from ..arrays import Array
from .domains import Domains
from .labelled import labelled_rows

__all__ = ["KnownClasses"]


class KnownClasses:
    """Known classes of the rows of positive weight, by number: `source` (ns,) and `target` (nt,), -1 unknown.

    `names` (C,): first the `n_source_classes` of the source, then classes that only target labels have.
    Raises ValueError as `labelled_rows` does.
    """

    def __init__(
        self, domains: Domains, source_weight: Array | None = None, target_weight: Array | None = None
    ) -> None:
        known = labelled_rows(domains, source_weight, target_weight, classes=True)
        names, number = np.unique(known.labels, return_inverse=True)
        of_source = np.zeros(len(names), dtype=bool)
        of_source[number[~known.target]] = True
        order = np.argsort(~of_source, kind="stable")
        number = np.argsort(order)[number]
        used = np.ones(len(domains.target_labelled), dtype=bool)
        if target_weight is not None:
            used = target_weight > 0
        self.names, self.n_source_classes = names[order], int(of_source.sum())
        self.source: Array = number[~known.target]
        self.target: Array = np.full(int(used.sum()), -1)
        self.target[domains.target_labelled[used]] = number[known.target]
