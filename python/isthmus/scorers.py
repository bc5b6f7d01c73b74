"""scikit-learn scorers for a target without labels: higher is better, and target labels are never read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metadata_routing import UNUSED

from .align.domains import domain_numbers, label_array, plain_labels
from .arrays import Array, namespace
from .kernel_base import Kernel
from .kernels import DEFAULT_KERNEL
from .mmd import mmd2
from .per_domain import aligned_rows, fit_names, found_by_search, respond
from .rows import as_array, labels_on_host, picked_rows
from .unlabelled import (
    density_ratio,
    dev_risk,
    importance_weighted_score,
    prediction_entropy,
    proxy_a_distance,
    soft_neighborhood_density,
)

__all__ = [
    "CircularValidation",
    "DeepEmbeddedValidation",
    "ImportanceWeightedScorer",
    "MMDScorer",
    "PredictionEntropyScorer",
    "ProxyADistanceScorer",
    "SoftNeighborhoodDensity",
    "UnlabelledScorer",
]

Metric = Callable[..., Any]


class _Sample(NamedTuple):
    """Rows of one side, their `domain` ("source", "target" or the number of each row), labels of a source."""

    rows: Any
    domain: Any
    labels: Any


class UnlabelledScorer(BaseEstimator):  # type: ignore[misc]
    """What the scorers share: `scorer(estimator, X, y, sample_domain=)` is a float, higher is better.

    scikit-learn calls a scorer with the rows of a test part. Their domain numbers (>= 0 source, < 0 target)
    arrive as `sample_domain` where metadata routing is on, which every scorer here requests by itself
    (`set_score_request(sample_domain=False)` declines). Without routing there are none: then all rows count
    as target rows, and a scorer that needs source rows takes those of its parameter `source`.

    The `y` of target rows is never read.

    Rows may be CuPy arrays or CUDA tensors where the estimator takes these. MMD is computed there; what tells
    the domains apart (importance weights, DEV, proxy A-distance) is a classifier of scikit-learn, which gets
    a copy of the aligned rows on the host.
    """

    __metadata_request__score: ClassVar = {"estimator": UNUSED, "sample_domain": True}
    # "no": target rows are enough. "rows": source rows. "labels": source rows and their labels.
    _needs_source: ClassVar[str] = "no"
    source: Any = None

    def __call__(self, estimator: Any, X: Any, y: Any = None, *, sample_domain: Any = None) -> float:
        """The score of a fitted estimator; parameters as in `score`."""
        return self.score(estimator, X, y, sample_domain=sample_domain)

    def score(self, estimator: Any, X: Any, y: Any = None, *, sample_domain: Any = None) -> float:
        """The score of a fitted estimator.

        Parameters
        ----------
        estimator : a fitted classifier or regressor; how it is asked for rows of either domain, and where its
            aligned rows come from, stands in `isthmus.per_domain`
        X : rows (n, d) that the estimator was not fitted on
        y : labels (n,) or None; only those of source rows are read
        sample_domain : integers (n,), >= 0 source, < 0 target; None: all rows are target rows

        Raises
        ------
        TypeError : the estimator lacks a method that the score needs.
        ValueError : source rows, their labels or target rows are needed and absent.
        """
        name = type(self).__name__
        source, target = self._two_samples(X, y, sample_domain)
        if not len(target.rows):
            raise ValueError(f"{name} needs target rows, got none among {np.shape(X)[0]} rows")
        if self._needs_source != "no" and not len(source.rows):
            raise ValueError(
                f"{name} needs source rows beside the target rows: pass sample_domain (in cross-validation "
                'by metadata routing, with DomainSplit(test="both")), or source= to the scorer'
            )
        if self._needs_source == "labels" and source.labels is None:
            raise ValueError(f"{name} needs the labels y of the source rows, got None")
        return float(self._value(estimator, source, target))

    def _two_samples(self, X: Any, y: Any, sample_domain: Any) -> tuple[_Sample, _Sample]:
        if sample_domain is None:
            rows, labels = ((), None) if self.source is None else self.source
            return _Sample(rows, "source", labels_on_host(labels)), _Sample(X, "target", None)
        numbers = domain_numbers(sample_domain, np.shape(X)[0])
        of_source, of_target = np.flatnonzero(numbers >= 0), np.flatnonzero(numbers < 0)
        labels = None if y is None else plain_labels(label_array(y)[of_source])
        source = _Sample(picked_rows(X, of_source), numbers[of_source], labels)
        return source, _Sample(picked_rows(X, of_target), numbers[of_target], None)

    def _value(self, estimator: Any, source: _Sample, target: _Sample) -> float:
        """The score: what every scorer brings."""
        raise NotImplementedError


class _Weighted(UnlabelledScorer):
    """Scorers that weigh source rows by p_target / p_source."""

    _needs_source = "labels"
    ratio: Any
    random_state: Any

    def _weights(self, estimator: Any, source: _Sample, target: _Sample) -> Array:
        Z_source, Z_target = _both_aligned(estimator, source, target, predicted=True)
        ratio = self.ratio
        if ratio is not None and not isinstance(ratio, BaseEstimator) and callable(ratio):
            return np.asarray(ratio(Z_source, Z_target), dtype=np.float64)
        if ratio is None or hasattr(ratio, "predict_proba"):
            return density_ratio(Z_source, Z_target, classifier=ratio, random_state=self.random_state)
        return np.asarray(clone(ratio).fit(Z_source, X_target=Z_target).weights_, dtype=np.float64)


class ImportanceWeightedScorer(_Weighted):
    """The score on source rows, each weighted by how likely the target is there.

    sum_i w_i metric_i / sum_i w_i over source rows, w(z) = p_target(z) / p_source(z) at the aligned rows z:
    the expected target score if the label depends on z alike in both domains.

    Parameters
    ----------
    metric : callable(y_true, y_pred, sample_weight=), higher is better; None: accuracy, for regressors R2
    ratio : where the weights come from. None: `density_ratio` by logistic regression. A classifier with
        `predict_proba`: by it. A reweighting method (its `weights_`, fitted on the aligned rows).
        callable(Z_source, Z_target) -> weights (ns,).
    source : (X, y), labelled source rows left out of the fit, used where no `sample_domain` arrives
    random_state : how rows are dealt in the cross-fit of the ratio

    Source: Sugiyama, Krauledat, Mueller, JMLR 8 (2007).
    """

    def __init__(
        self, *, metric: Metric | None = None, ratio: Any = None, source: Any = None, random_state: Any = 0
    ) -> None:
        self.metric = metric
        self.ratio = ratio
        self.source = source
        self.random_state = random_state

    def _value(self, estimator: Any, source: _Sample, target: _Sample) -> float:
        weight = self._weights(estimator, source, target)
        predicted = respond(estimator, "predict", source.rows, source.domain)
        return importance_weighted_score(
            source.labels, predicted, weight, metric=_metric(self.metric, estimator)
        )


class DeepEmbeddedValidation(_Weighted):
    """Minus the target risk estimated on source rows, the variance of the weights taken out (DEV).

    -(mean(w l) + eta mean(w) - eta), eta = -Cov(w l, w) / Var(w), over source rows with losses l and weights
    w = p_target / p_source at the aligned rows.

    Parameters
    ----------
    loss : "zero_one", "log" (needs `predict_proba`), "squared", or callable(y_true, y_pred) -> losses (ns,);
        None: "log" for a classifier with `predict_proba`, "zero_one" without, "squared" for a regressor;
        scores by different losses do not compare
    ratio, source, random_state : as in `ImportanceWeightedScorer`; weights are taken as they are

    Source: You, Wang, Long, Jordan, ICML 2019.
    """

    def __init__(
        self,
        *,
        loss: str | Metric | None = None,
        ratio: Any = None,
        source: Any = None,
        random_state: Any = 0,
    ) -> None:
        self.loss = loss
        self.ratio = ratio
        self.source = source
        self.random_state = random_state

    def _value(self, estimator: Any, source: _Sample, target: _Sample) -> float:
        weight = self._weights(estimator, source, target)
        return -dev_risk(self._losses(estimator, source), weight)

    def _losses(self, estimator: Any, source: _Sample) -> Array:
        loss, y_source = self.loss, np.asarray(source.labels)
        if loss is None:
            has_proba = hasattr(estimator, "predict_proba")
            loss = "squared" if is_regressor(estimator) else "log" if has_proba else "zero_one"
        if isinstance(loss, str) and loss not in ("zero_one", "log", "squared"):
            raise ValueError(f"loss must be 'zero_one', 'log', 'squared' or a function, got {loss!r}")
        if loss == "log":
            proba = respond(estimator, "predict_proba", source.rows, source.domain)
            place = {label: i for i, label in enumerate(np.asarray(estimator.classes_).tolist())}
            column = np.array([place.get(label, -1) for label in y_source.tolist()])
            # A class that the fit has not seen has probability 0.
            right = np.where(column < 0, 0.0, proba[np.arange(len(proba)), column])
            return np.asarray(-np.log(np.maximum(right, np.finfo(np.float64).eps)))
        predicted = respond(estimator, "predict", source.rows, source.domain)
        if loss == "zero_one":
            return np.asarray(predicted != y_source, dtype=np.float64)
        if loss == "squared":
            return np.asarray((predicted - y_source) ** 2, dtype=np.float64)
        assert callable(loss)
        return np.asarray(loss(y_source, predicted), dtype=np.float64)


class PredictionEntropyScorer(UnlabelledScorer):
    """Minus the mean entropy of the predicted probabilities of target rows; sure predictions score high.

    Needs `predict_proba`. A model that is sure and wrong scores high too.

    Source: Morerio, Cavazza, Murino, ICLR 2018.
    """

    def _value(self, estimator: Any, source: _Sample, target: _Sample) -> float:
        return -prediction_entropy(respond(estimator, "predict_proba", target.rows, target.domain))


class SoftNeighborhoodDensity(UnlabelledScorer):
    """The mean entropy of each target row's neighbourhood among the predictions; dense clusters score high.

    The formula stands in `soft_neighborhood_density`. Needs `predict_proba`.

    Parameters
    ----------
    temperature : float > 0, 0.05 as published

    Cost: O(n^2 C) time for n target rows.
    Source: Saito, Kim, Teterwak, Sclaroff, Darrell, Saenko, ICCV 2021.
    """

    def __init__(self, *, temperature: float = 0.05) -> None:
        self.temperature = temperature

    def _value(self, estimator: Any, source: _Sample, target: _Sample) -> float:
        proba = respond(estimator, "predict_proba", target.rows, target.domain)
        return soft_neighborhood_density(proba, temperature=self.temperature)


class CircularValidation(UnlabelledScorer):
    """The score on source labels of a model trained backwards, on the target's predicted labels.

    A clone of the estimator is fitted with the target rows and their predictions as its source and the source
    rows as its unlabelled target, and its predictions of the source rows are compared with their labels.
    Known as reverse validation too. Where a single class was predicted, that class is the backward model.
    A method that cannot do without labelled target rows has no backward model: ValueError.

    Parameters
    ----------
    metric : callable(y_true, y_pred), higher is better; None: accuracy, for regressors R2
    source : (X, y), labelled source rows left out of the fit, used where no `sample_domain` arrives

    Cost: one fit a score.
    Source: Zhong, Fan, Yang, Verscheure, Ren, ECML PKDD 2010; Bruzzone, Marconcini, IEEE Transactions on
    Pattern Analysis and Machine Intelligence 32 (2010).
    """

    _needs_source = "labels"

    def __init__(self, *, metric: Metric | None = None, source: Any = None) -> None:
        self.metric = metric
        self.source = source

    def _value(self, estimator: Any, source: _Sample, target: _Sample) -> float:
        pseudo = respond(estimator, "predict", target.rows, target.domain)
        if is_classifier(estimator) and len(np.unique(pseudo)) == 1:
            back = np.repeat(pseudo[:1], len(source.labels))
        else:
            back = self._backward(estimator, source, target, pseudo)
        return float(_metric(self.metric, estimator)(source.labels, back))

    @staticmethod
    def _backward(estimator: Any, source: _Sample, target: _Sample, pseudo: Array) -> Array:
        """What a clone says of the source rows after a fit with the domains exchanged."""
        rows = [as_array(part.rows) for part in (target, source)]
        labels = np.concatenate([pseudo, np.repeat(pseudo[:1], len(rows[1]))])  # of source rows: never read
        if isinstance(target.domain, str):
            new_target, domain = "target", np.repeat([0, -1], [len(part) for part in rows])
        else:
            new_target, domain = ~source.domain, ~np.concatenate([target.domain, source.domain])
        with config_context(enable_metadata_routing=False):
            copy = clone(found_by_search(estimator))
            takers = fit_names(copy, "sample_domain")
            try:
                if takers:
                    copy.fit(namespace(rows[0]).concatenate(rows), labels, **dict.fromkeys(takers, domain))
                else:
                    copy.fit(rows[0], pseudo)
            except ValueError as error:
                raise ValueError(
                    f"CircularValidation cannot fit {type(copy).__name__} with the domains exchanged: {error}"
                ) from error
        return respond(copy, "predict", rows[1], new_target)


class MMDScorer(UnlabelledScorer):
    """Minus the squared maximum mean discrepancy (unbiased) of the aligned rows of both domains.

    It says nothing of the labels: a map that takes all rows to one point scores highest.

    Parameters
    ----------
    kernel : Kernel; bandwidth rules are resolved in each model's own space
    source : (X, y) or (X, None), source rows used where no `sample_domain` arrives

    Source: Gretton et al., JMLR 13 (2012).
    """

    _needs_source = "rows"

    def __init__(self, *, kernel: Kernel = DEFAULT_KERNEL, source: Any = None) -> None:
        self.kernel = kernel
        self.source = source

    def _value(self, estimator: Any, source: _Sample, target: _Sample) -> float:
        return -float(mmd2(*_both_aligned(estimator, source, target), kernel=self.kernel))


class ProxyADistanceScorer(UnlabelledScorer):
    """Minus the proxy A-distance of the aligned rows: how well a classifier tells the domains apart.

    -2 (1 - 2 error), between -2 and about 0; see `proxy_a_distance`. It says nothing of the labels.

    Parameters
    ----------
    classifier : a scikit-learn classifier with `predict_proba`; None: LogisticRegression on scaled columns
    source : (X, y) or (X, None), source rows used where no `sample_domain` arrives
    random_state : how rows are dealt in the cross-fit

    Source: Ben-David, Blitzer, Crammer, Pereira, NIPS 2006.
    """

    _needs_source = "rows"

    def __init__(self, *, classifier: Any = None, source: Any = None, random_state: Any = 0) -> None:
        self.classifier = classifier
        self.source = source
        self.random_state = random_state

    def _value(self, estimator: Any, source: _Sample, target: _Sample) -> float:
        both = _both_aligned(estimator, source, target)
        return -proxy_a_distance(*both, classifier=self.classifier, random_state=self.random_state)


def _both_aligned(
    estimator: Any, source: _Sample, target: _Sample, *, predicted: bool = False
) -> tuple[Array, Array]:
    both = (aligned_rows(estimator, part.rows, part.domain, predicted=predicted) for part in (source, target))
    return next(both), next(both)


def _metric(metric: Metric | None, estimator: Any) -> Metric:
    if metric is not None:
        return metric
    chosen: Metric = r2_score if is_regressor(estimator) else accuracy_score
    return chosen
