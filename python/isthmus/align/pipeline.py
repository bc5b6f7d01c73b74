"""An aligner and a model fitted together, the model on source rows and on target rows declared labelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ..arrays import Array, index_of, namespace
from ..rows import check_rows, for_model, labels_on_host
from .base import Reweighter
from .domains import fit_arguments, kind_or_numbers, plain_labels, read_domains
from .labelled import need_labels

__all__ = ["TransferPipeline", "make_transfer_pipeline"]


def make_transfer_pipeline(align: Any, model: Any) -> TransferPipeline:
    """An estimator that aligns the domains and fits `model` on what is labelled.

    scikit-learn's `make_pipeline(align, model)` trains `model` on every row it is given, unlabelled target
    rows and whatever stands in their `y` included. This one leaves them out.

    Parameters
    ----------
    align : an aligner such as `CORAL()`, or None for no alignment
    model : a scikit-learn classifier or regressor

    Rows on a GPU are aligned there by an aligner that takes them; `model` gets the aligned rows on the host,
    unless it is one of Isthmus that takes them there.

    Returns
    -------
    TransferPipeline, with the `fit` of the aligners and `predict` for target rows
    """
    return TransferPipeline(align, model)


def _model_has(name: str) -> Callable[[Callable[..., Any]], Any]:
    def check(pipeline: TransferPipeline) -> bool:
        getattr(getattr(pipeline, "model_", pipeline.model), name)
        return True

    decorate: Callable[[Callable[..., Any]], Any] = available_if(check)
    return decorate


class TransferPipeline(BaseEstimator):  # type: ignore[misc]
    """Align, then fit the model on the source rows and on the target rows declared labelled.

    `predict` and its like take target rows. With `domain` ("source", or the domain number of each row, as in
    the aligners' `transform`) they take rows of a source, moved by its own map.

    Rows may be CuPy arrays or CUDA tensors where the aligner takes these (or is None). They are aligned on
    the device. A source model such as `LinearSourceClassifier` trains there too; for one of scikit-learn's
    they leave it once, aligned. Labels, weights and what `predict` and its like return are on the host.

    Fitted: `align_` (the fitted aligner, or None), `model_` (the fitted model), `n_features_in_`, `classes_`
    where the model has them. Made by `make_transfer_pipeline`.
    """

    __metadata_request__fit: ClassVar = {"sample_domain": True, "target_labelled": True}
    _on_device: ClassVar[bool] = True  # an aligner that is not refuses the rows itself

    def __init__(self, align: Any, model: Any) -> None:
        self.align = align
        self.model = model

    def fit(
        self,
        X: Any,
        y: Any = None,
        X_target: Any = None,
        y_target: Any = None,
        *,
        sample_domain: Any = None,
        target_labelled: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Fit the aligner on both domains, then the model on aligned rows whose label is known.

        Parameters as in the aligners' `fit`: with `sample_domain` the `y` of a target row is read only where
        `target_labelled` is true; with `X_target` all of `y_target` is, unless `target_labelled` (nt,) says
        less. The aligner sees these labels too, unless the model is a regressor and the aligner made
        for classes. `sample_weight` (one per row
        of `X`) reaches the aligner and the model; labelled rows of `X_target` weigh 1.
        """
        forms = {"sample_domain": sample_domain, "target_labelled": target_labelled}
        given = read_domains(self, X, y, X_target, y_target, sample_weight=sample_weight, **forms)
        domains = given.domains
        need_labels(domains.y_source, "TransferPipeline")
        weight, target_weight = given.weights
        self.align_ = None
        if self.align is not None:
            # Most aligners would take the whole numbers of a regression for classes.
            labels_read = not is_regressor(self.model) or getattr(self.align, "_takes_numbers", False)
            arguments = fit_arguments(domains, given.weights, labels=labels_read)
            self.align_ = clone(self.align).fit(**arguments)
            if isinstance(self.align_, Reweighter):
                weight = self.align_.weights_ if weight is None else weight * self.align_.weights_
        moved, labels = (
            self._aligned(domains.X_source, kind_or_numbers(domains.source_domain)),
            domains.y_source,
        )
        chosen = domains.target_labelled
        if chosen.any():
            assert domains.X_target is not None and domains.y_target is not None
            kind = kind_or_numbers(domains.target_domain, chosen)
            rows = domains.X_target[index_of(chosen, domains.X_target)]
            moved = namespace(moved).concatenate([moved, self._aligned(rows, kind)])
            labels = np.concatenate([labels, plain_labels(domains.y_target[chosen])])
            if weight is not None:
                rest = np.ones(len(chosen)) if target_weight is None else target_weight
                weight = np.concatenate([weight, rest[chosen]])
        if weight is None:
            self.model_ = clone(self.model).fit(moved, labels)
        elif has_fit_parameter(self.model, "sample_weight"):
            self.model_ = clone(self.model).fit(moved, labels, sample_weight=weight)
        else:
            giver = "the caller" if sample_weight is not None else type(self.align_).__name__
            raise ValueError(f"{type(self.model).__name__}.fit takes no sample_weight, got one from {giver}")
        return self

    def predict(self, X: Any, *, domain: Any = "target") -> Any:
        """The model's predictions for rows `X` (n, d) of a domain, the target by default."""
        return self._said("predict", X, domain)

    @_model_has("predict_proba")
    def predict_proba(self, X: Any, *, domain: Any = "target") -> Any:
        """The model's class probabilities for rows `X` (n, d) of a domain, the target by default."""
        return self._said("predict_proba", X, domain)

    @_model_has("decision_function")
    def decision_function(self, X: Any, *, domain: Any = "target") -> Any:
        """The model's decision values for rows `X` (n, d) of a domain, the target by default."""
        return self._said("decision_function", X, domain)

    @_model_has("score")
    def score(self, X: Any, y: Any, sample_weight: Any = None, *, domain: Any = "target") -> float:
        """The model's own score (accuracy or R2) on rows `X` of a domain with labels `y`."""
        check_is_fitted(self)
        extra = {} if sample_weight is None else {"sample_weight": labels_on_host(sample_weight)}
        rows = self._aligned(check_rows(self, X, reset=False), domain)
        return float(self.model_.score(rows, labels_on_host(y), **extra))

    @property
    def classes_(self) -> Array:
        """The classes of the fitted model."""
        classes: Array = self.model_.classes_
        return classes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        model = get_tags(self.model)
        tags.estimator_type, tags.target_tags = model.estimator_type, model.target_tags
        tags.classifier_tags, tags.regressor_tags = model.classifier_tags, model.regressor_tags
        tags.non_deterministic = model.non_deterministic
        return tags

    def _aligned(self, rows: Array, domain: Any) -> Any:
        """Rows of a domain aligned where they are, as the model takes them."""
        moved = rows if self.align_ is None else self.align_.transform(rows, domain=domain)
        return for_model(self.model, moved)

    def _said(self, method: str, X: Any, domain: Any) -> Any:
        check_is_fitted(self)
        return getattr(self.model_, method)(self._aligned(check_rows(self, X, reset=False), domain))
