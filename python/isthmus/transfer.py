"""Estimators that align, train on the source and fine-tune on the target, in all ways of fine-tuning."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, has_fit_parameter

from .align.base import Reweighter
from .align.domains import fit_arguments, kind_or_numbers, plain_labels, read_domains
from .arrays import Array, check_finite, index_of, namespace
from .errors import NoTargetWarning
from .models import MLPSourceClassifier, MLPSourceRegressor
from .rows import as_given, check_rows, for_model
from .source_model import Freeze, SourceModel
from .tuning import Rows, check_label_sets, check_mode, checked_labels, for_arrays, tuned

__all__ = ["TransferClassifier", "TransferRegressor"]


class _Transfer(BaseEstimator):  # type: ignore[misc]
    """What the two estimators share; their parameters and fitted attributes stand in `TransferClassifier`."""

    __metadata_request__fit: ClassVar = {"sample_domain": True, "target_labelled": True}
    _on_device: ClassVar[bool] = True  # an aligner that is not refuses the rows itself

    def __init__(
        self,
        source: Any = None,
        *,
        mode: str = "full",
        align: Any = None,
        model: Any = None,
        freeze: Freeze = None,
        joint: bool = True,
        random_state: Any = None,
    ) -> None:
        self.source = source
        self.mode = mode
        self.align = align
        self.model = model
        self.freeze = freeze
        self.joint = joint
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        X_target: Any = None,
        y_target: Any = None,
        *,
        sample_domain: Any = None,
        target_labelled: Any = None,
    ) -> Self:
        """Align, train on the source, then fine-tune on the labelled target rows.

        Parameters
        ----------
        X, y : source rows (ns, d) and labels (ns,); with `sample_domain` the rows of all domains, (n, d), and
            the labels of target rows are read only where `target_labelled` is true
        X_target : target rows (nt, d)
        y_target : labels (nt,) of the target rows, or None: with `align` the target's rows then only shape
            the alignment, and the source model predicts; without, there is nothing to learn from them
        sample_domain : integers (n,), >= 0 source, < 0 target, in place of `X_target`
        target_labelled : booleans, (nt,) or with `sample_domain` (n,): which target labels may be used

        Returns
        -------
        self. Without any target row it is the source model, with a `NoTargetWarning`.

        Raises
        ------
        TypeError : a source, aligner or model of the wrong kind.
        ValueError : both forms at once, widths or lengths that disagree, values that are not finite, one
            target row, unlabelled target rows without `align`, label sets that differ (where some target rows
            are unlabelled, the labelled ones may miss classes).
        TrainingDivergedError : the loss is no longer finite.
        """
        check_mode(self.mode, self.freeze, self.model, "model")
        if isinstance(self.align, Reweighter):
            raise TypeError(
                f"align must move rows, {type(self.align).__name__} weighs them: pass it to "
                "make_transfer_pipeline with a model whose fit takes sample_weight"
            )
        forms = {"sample_domain": sample_domain, "target_labelled": target_labelled}
        domains = read_domains(self, X, y, X_target, y_target, **forms).domains
        X, y, X_target, y_target, labelled, of_source, of_target = domains
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "f":
            check_finite(y, "y")
        if is_classifier(self):
            check_classification_targets(y)
            if len(classes := np.unique(y)) < 2:
                raise ValueError(f"y must hold at least 2 classes, got one class: {classes.tolist()[0]!r}")
        self.align_ = None
        if X_target is None:
            warnings.warn(
                f"{type(self).__name__} was fitted without target rows, so it is the source model; pass "
                "X_target, or sample_domain with negative entries",
                NoTargetWarning,
                stacklevel=2,
            )
        else:
            self._check_target(X_target, labelled)
            if self.align is not None:
                # An aligner would take the whole numbers of a regression for classes.
                arguments = fit_arguments(domains._replace(y_source=y), labels=is_classifier(self))
                self.align_ = clone(self.align).fit(**arguments)
        y_target = plain_labels(y_target[labelled]) if y_target is not None and labelled.any() else None
        if y_target is not None and is_classifier(self):
            check_label_sets(classes, y_target, "y", "y_target", subset=not labelled.all())
        source, target = (self._moved(X, kind_or_numbers(of_source)), y), None
        if y_target is not None:
            rows = X_target[index_of(labelled, X_target)]
            target = (self._moved(rows, kind_or_numbers(of_target, labelled)), y_target)
        self.mode_, self.n_labelled_ = self.mode, int(labelled.sum())
        self.source_ = self._source_model(*source)
        if self.mode == "features":
            return self._fit_head(self.model, source if self.joint or target is None else None, target)
        self.model_ = deepcopy(self.source_)
        if target is not None:
            joined = source if self.joint else None
            overrides = {"random_state": self.random_state}
            self.model_ = tuned(self.source_, target, joined, self.mode, self.freeze, overrides)
        if is_classifier(self):
            self.classes_ = self.model_.classes_
        return self

    def predict(self, X: Any, *, domain: Any = "target") -> Array:
        """Predictions (n,) for rows `X` (n, d) of a domain, the target by default; on the host."""
        rows = self._input(X, domain)
        return np.asarray(self.model_.predict(rows))

    def features(self, X: Any, *, domain: Any = "target") -> Any:
        """Rows of a domain in the shared feature space: aligned, then f(x) where there is a source model.

        They are in the library and on the device of `X`.
        """
        return as_given(self._encoded(X, domain), X)

    def _encoded(self, X: Any, domain: Any) -> Any:
        Z = self._aligned(X, domain)
        encoder = self.source_ if self.mode_ == "features" else self.model_
        return Z if encoder is None else encoder.features(Z)

    def _input(self, X: Any, domain: Any) -> Any:
        """What `model_` takes."""
        check_is_fitted(self)
        rows = self._encoded(X, domain) if self.mode_ == "features" else self._aligned(X, domain)
        return for_model(self.model_, rows)

    def _aligned(self, X: Any, domain: Any) -> Any:
        check_is_fitted(self)
        return self._moved(check_rows(self, X, reset=False), domain)

    def _moved(self, rows: Any, domain: Any) -> Any:
        return rows if self.align_ is None else self.align_.transform(rows, domain=domain)

    def _check_target(self, X_target: Array, labelled: Array) -> None:
        if len(X_target) < 2:
            raise ValueError(f"X_target must have at least 2 rows, got {len(X_target)}")
        if not labelled.any() and self.align is None:
            raise ValueError(
                "target rows without labels can only shape an alignment: pass align, or y_target (with "
                "sample_domain: target_labelled), got neither"
            )

    def _source_model(self, Z: Array, y: Array) -> Any:
        """The source model on the rows Z: trained here, or a copy of the user's."""
        source = self.source
        if source is None:
            if self.mode == "features" and self.align is not None:
                return None
            kind = MLPSourceClassifier if is_classifier(self) else MLPSourceRegressor
            return kind(random_state=self.random_state).fit(Z, y)
        if not isinstance(source, SourceModel):
            found = type(source).__name__
            raise TypeError(f"source must be a LinearSource... or MLPSource... model, got {found}")
        if is_classifier(source) != is_classifier(self):
            raise TypeError(f"{type(self).__name__} cannot tune a {type(source).__name__}")
        try:
            check_is_fitted(source)
        except NotFittedError:
            return clone(source).fit(Z, y)
        if source.n_features_in_ != Z.shape[1]:
            raise ValueError(
                f"source was fitted on {source.n_features_in_} features, got {Z.shape[1]} "
                f"{'columns of X' if self.align_ is None else 'aligned columns'}"
            )
        if is_classifier(self):
            check_label_sets(source.classes_, y, "source", "y")
        return for_arrays(source)

    def _tuned(
        self,
        mode: str,
        target: Rows,
        source: Rows | None,
        freeze: Freeze,
        target_model: Any,
        overrides: dict[str, Any],
    ) -> Self:
        """A copy fitted to further target rows, behind the same alignment."""
        further = deepcopy(self)
        further.n_labelled_ = len(target[1])
        target = (self._aligned(target[0], "target"), target[1])
        source = None if source is None else (self._aligned(source[0], "source"), source[1])
        if mode != "features":
            if self.mode_ == "features":
                found = type(self.model_).__name__
                raise ValueError(f'mode="{mode}" needs a model that predicts by a source model, got {found}')
            further.model_ = tuned(self.model_, target, source, mode, freeze, overrides)
            return further
        if self.mode_ != "features":
            further.source_, further.mode_ = further.model_, mode
        elif target_model is None:
            target_model = self.model_
        return further._fit_head(target_model, source, target)

    def _fit_head(self, model: Any, source: Rows | None, target: Rows | None) -> Self:
        """Fit the target model on the features of the source's rows, the target's, or both."""
        if model is None:
            model = LogisticRegression(max_iter=1000) if is_classifier(self) else Ridge()
        if not (is_classifier(model) if is_classifier(self) else is_regressor(model)):
            kind = "classifier" if is_classifier(self) else "regressor"
            raise TypeError(f"the target model must be a {kind}, got {type(model).__name__}")
        parts = []
        for name, part in (("X", source), ("X_target", target)):
            if part is not None:
                features = part[0] if self.source_ is None else self.source_.features(part[0])
                parts.append((for_model(model, features), checked_labels(part[1], name, len(features))))
        rows, labels = zip(*parts, strict=True)
        Z, y = namespace(rows[0]).concatenate(rows), np.concatenate(labels)
        self.model_ = clone(model)
        if len(parts) == 2 and has_fit_parameter(model, "sample_weight"):
            share = [np.full(len(rows), len(Z) / (2.0 * len(rows))) for rows, _ in parts]
            self.model_.fit(Z, y, sample_weight=np.concatenate(share))
        else:
            self.model_.fit(Z, y)
        if is_classifier(self):
            self.classes_ = self.model_.classes_
        return self


def _has_probabilities(transfer: Any) -> bool:
    chosen = transfer.model if transfer.mode == "features" else None
    model = getattr(transfer, "model_", chosen)
    return model is None or hasattr(model, "predict_proba")


class TransferClassifier(ClassifierMixin, _Transfer):  # type: ignore[misc]
    """A classifier for the target, learned from many source rows and few labelled target rows.

    Parameters
    ----------
    source : a source model: not fitted (trained in `fit`), fitted (copied, never changed; its columns must be
        the aligned ones), or None: `MLPSourceClassifier`. With "features" and `align`, None: none at all, the
        aligned rows are the features.
    mode : "full": all parameters shared. "partial": those of `freeze` shared and kept, the others the
        target's own. "features": only the feature space is shared, `model` is fitted in it.
    align : an aligner such as `CORAL()`, fitted first; source rows go through its source map, target rows
        through its target map. None: the rows as they are.
    model : "features" only. Any scikit-learn classifier; None: LogisticRegression
    freeze : "partial" only, as in `fine_tune`
    joint : "full": minimise the sum of both mean losses, else the target's alone after training on the
        source. "features": fit `model` on source rows and labelled target rows, else on the latter alone.
    random_state : seed of the source model made here, and of the tuning; None: the source model's own

    Rows may be CuPy arrays or CUDA tensors where the aligner takes these: they are aligned there, and the
    source model trains and predicts there. `model` gets its features on the host, unless it is a source model
    itself. Labels and predictions are on the host.

    Fitted: `model_`, what predicts: the tuned copy of `source_`, or with "features" the target model;
    `source_`, the source model before tuning, or None; `align_`, the fitted aligner or None; `mode_`;
    `n_labelled_`, labelled target rows used; `classes_`; `n_features_in_`.
    """

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any, *, domain: Any = "target") -> Array:
        """Class probabilities (n, n_classes) of rows `X` of a domain, ordered as `classes_`, on the host."""
        rows = self._input(X, domain)
        return np.asarray(self.model_.predict_proba(rows))


class TransferRegressor(RegressorMixin, _Transfer):  # type: ignore[misc]
    """A regressor for the target, learned from many source rows and few labelled target rows.

    Parameters and fitted attributes are those of `TransferClassifier`, but for `classes_`. The source model
    made here is `MLPSourceRegressor`, the default of `model` is Ridge.
    """
