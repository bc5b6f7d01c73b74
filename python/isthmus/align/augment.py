"""Alignment by feature augmentation: a shared copy of the features and one copy for each domain."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from ..arrays import Array
from .base import Aligner, TargetPredictor
from .checks import check_flag, check_number
from .domains import Domains, domain_numbers
from .labelled import Labelled, labelled_rows, need_target
from .mathematics.pencil import row_blocks, weighted_mean

__all__ = ["AugmentedRidge", "FeatureAugmentation"]


class FeatureAugmentation(Aligner):
    """Frustratingly easy adaptation: a model of the copied features shares what the domains have in common.

    A row x of domain k becomes (x, 0, ..., x, ..., 0): block 0 is shared, each domain has one more. A kernel
    machine on these columns has twice the kernel inside a domain and the kernel itself across. It takes
    labelled target rows for the model to gain by it, in `TransferPipeline` for example.

    Parameters
    ----------
    intercept : whether each domain's block also gets a column of ones, by which a linear model can learn an
        intercept for each domain

    Fitted: `domains_` (D,), the domain numbers of `fit` in the order of their blocks, targets (< 0) first;
    `has_target_`.

    Cost: O(n d D) time and memory for n rows, the zeros being stored. `AugmentedRidge` is the same ridge
    regression without them. Source: Daume, ACL 2007.
    """

    _each_domain = True

    def __init__(self, *, intercept: bool = False) -> None:
        self.intercept = intercept

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        check_flag(self, "intercept")
        width = domains.X_source.shape[1]
        self._n_features_out = width + len(self.domains_) * (width + bool(self.intercept))

    def _keeps_columns(self) -> bool:
        return not self.has_target_

    def _map(self, rows: Array, domain: int) -> Array:
        n, width = rows.shape
        own = width + bool(self.intercept)
        start = width + own * int(np.searchsorted(self.domains_, domain))
        out = np.zeros((n, width + own * len(self.domains_)), rows.dtype)
        out[:, :width] = out[:, start : start + width] = rows
        if self.intercept:
            out[:, start + width] = 1
        return out


class AugmentedRidge(RegressorMixin, TargetPredictor):  # type: ignore[misc]
    """Ridge regression on augmented features, w_k = w_0 + v_k for domain k, without the augmented columns.

    Minimises the sum over domains k and their labelled rows i of (x_i'(w_0 + v_k) + b_0 + c_k - y_i)^2, plus
    reg |w_0|^2 + reg_domain sum_k (|v_k|^2 + c_k^2), b_0 not penalised. Rows count from the mean of all
    labelled rows.

    Parameters
    ----------
    reg : float > 0, on the shared weights, in the unit of X squared times rows
    reg_domain : float > 0, on how far a domain may be from them; the larger, the more is shared
    intercept : whether domains have intercepts c_k of their own; False: c_k = 0

    Fitted: `domains_` (D,), the domain numbers of `fit`, targets (< 0) first; `coef_` (D, d) and `intercept_`
    (D,), w_k and its intercept for each; `shared_coef_` (d,) and `shared_intercept_`; `has_target_`. A domain
    without labelled rows has the shared ones. Without any target it is Ridge(alpha=reg) on all rows.

    No target row with a label: ValueError. A weight k counts as the row repeated k times.

    Cost: O(n d^2 + D d^3) time and O(D d^2) memory, not O(n (D d)^2). Source: Daume, ACL 2007.
    """

    _each_domain = True
    _without_target = "it is one ridge regression on all rows"

    def __init__(self, *, reg: float = 1.0, reg_domain: float = 1.0, intercept: bool = False) -> None:
        self.reg = reg
        self.reg_domain = reg_domain
        self.intercept = intercept

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        known = self._checked_rows(domains, source_weight, target_weight)
        need_target(known, type(self).__name__)
        of_source = domains.source_domain[... if source_weight is None else source_weight > 0]
        chosen = domains.target_labelled & (True if target_weight is None else target_weight > 0)
        number = np.concatenate([of_source, domains.target_domain[chosen]])
        self._solve(known, [number == k for k in self.domains_])

    def _learn_alone(self, domains: Domains, source_weight: Array | None) -> None:
        self.domains_: Array = np.zeros(0, dtype=np.int64)
        self._solve(self._checked_rows(domains, source_weight, None), [])

    def predict(self, X: Any, *, domain: Any = "target") -> Array:
        """The predicted values (n,) of rows `X` (n, d), of X's float type.

        `domain` : "target", or integers of shape (n,), the domain of each row: numbers known from `fit`, or
        new ones, for which the shared weights are taken. With several targets "target" is a ValueError.
        """
        rows = self._checked(X)
        if isinstance(domain, str):
            targets = self.domains_[self.domains_ < 0]
            if domain != "target":
                raise ValueError(f"domain must be 'target' or an array of integers, got {domain!r}")
            if len(targets) > 1:
                raise ValueError(
                    f"AugmentedRidge has weights for each of the target domains {targets.tolist()}: pass "
                    "domain as an array with the number of each row"
                )
            numbers = np.full(len(rows), targets[0] if len(targets) else -1)
        else:
            numbers = domain_numbers(domain, len(rows), "domain")
        coefs = np.vstack([self.coef_, self.shared_coef_]).astype(rows.dtype)
        intercepts = np.append(self.intercept_, self.shared_intercept_).astype(rows.dtype)
        out = np.empty(len(rows), rows.dtype)
        for number in np.unique(numbers):
            place = np.append(np.flatnonzero(self.domains_ == number), -1)[0]
            part = numbers == number
            out[part] = rows[part] @ coefs[place] + intercepts[place]
        return out

    def _checked_rows(
        self, domains: Domains, source_weight: Array | None, target_weight: Array | None
    ) -> Labelled:
        check_number(self, "reg")
        check_number(self, "reg_domain")
        check_flag(self, "intercept")
        return labelled_rows(domains, source_weight, target_weight, classes=False)

    def _solve(self, known: Labelled, members: list[Array]) -> None:
        """Eliminate every v_k = (G_k + r I)^-1 O_k'(y_k - Z_k w_0), G_k = O_k'O_k, r = reg_domain.

        Z_k = [X_k, 1] has the shared columns, O_k those with weights v_k: X_k, or all with `intercept`. It
        leaves (diag(reg, ..., reg, 0) + sum_k Z_k'M_k Z_k) w_0 = sum_k Z_k'M_k y_k with M_k = I - O_k (G_k +
        r I)^-1 O_k', and O_k'M_k = r (G_k + r I)^-1 O_k' without a difference of like numbers.
        """
        origin = weighted_mean(known.rows, known.weight)
        middle = float(known.weight @ known.labels / known.weight.sum())
        d, reg = known.rows.shape[1], float(self.reg_domain)
        own = d + bool(self.intercept)
        system = np.diag(np.append(np.full(d, float(self.reg)), 0.0))
        right = np.zeros(d + 1)
        parts = []
        for member in members or [np.full(len(known.rows), True)]:
            rows, labels, weight = known.rows[member], known.labels[member], known.weight[member]
            sums = np.zeros((d + 1, d + 2))
            for block in row_blocks(len(rows), 8 * (d + 2)):
                centred = rows[block] - origin
                table = np.column_stack([centred, np.ones(len(centred)), labels[block] - middle])
                sums += (weight[block, None] * table[:, :-1]).T @ table
            parts.append((sums, sums[:own, :own] + reg * np.eye(own)))
            if members:
                solved = np.linalg.solve(parts[-1][1], sums[:own])
                sums = np.vstack([reg * solved, sums[own:] - sums[own:, :own] @ solved])
            system += sums[:, :-1]
            right += sums[:, -1]
        shared = np.linalg.solve(system, right)
        found = np.tile(shared, (len(members), 1))
        for k, (sums, ridged) in enumerate(parts[: len(members)]):
            found[k, :own] += np.linalg.solve(ridged, (sums[:, -1] - sums[:, :-1] @ shared)[:own])
        self.shared_coef_, self.coef_ = shared[:-1], found[:, :-1]
        self.shared_intercept_ = float(middle + shared[-1] - origin @ shared[:-1])
        self.intercept_ = middle + found[:, -1] - found[:, :-1] @ origin
