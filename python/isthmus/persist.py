"""Models to one file and back: a closed list of classes, arrays as tensors, the rest as JSON. No pickle."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sklearn
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

from . import __version__, align, features, kernels, model_file, model_shapes, models
from .align.base import Aligner
from .arrays import Array
from .errors import ModelFileError
from .transfer import TransferClassifier, TransferRegressor

__all__ = ["load", "save"]

FORMAT_VERSION = 1
_OWN = [
    *(getattr(module, name) for module in (align, features, models) for name in module.__all__),
    TransferClassifier,
    TransferRegressor,
]
_SKLEARN = [
    StandardScaler,
    PCA,
    LogisticRegression,
    Ridge,
    LinearSVC,
    KNeighborsClassifier,
    KNeighborsRegressor,
    Pipeline,
]
CLASSES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (*_OWN, *_SKLEARN)
    if isinstance(kind, type) and issubclass(kind, BaseEstimator)
}
NEIGHBOURS = (KNeighborsClassifier, KNeighborsRegressor)  # kept as training rows, fitted again by `load`
NAMES = "feature_names_in_"
_FITTED = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*_|_n_features_out")
MAX_TEXT = 1 << 24  # bytes of one text array: its entries all have the width of the longest
MAX_BLIND = 1_000_000  # features a model without any array may claim


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to one file, which `load` reads back with the same predictions, bit for bit.

    Parameters
    ----------
    model : an estimator of Isthmus, or scikit-learn's StandardScaler, PCA, LogisticRegression, Ridge,
        LinearSVC, KNeighborsClassifier or KNeighborsRegressor, alone, inside one of Isthmus, or in a Pipeline
    path : the file; one that is there is replaced in one step, once the new one was read back and compared

    Random generators are not stored (`random_state` becomes None), nor is `n_jobs`.

    Raises
    ------
    TypeError : a class outside this list, or a value that has no place in the file; it is named, and nothing
        is written.
    ValueError : a model that is not fitted, or NaN or infinity in its arrays.
    OSError : the file cannot be written; one that was there is as before.

    The file is safetensors, with JSON in its header's metadata; nothing in it is ever executed.
    """
    check_is_fitted(model)
    writer = _Writer()
    tree = writer.value(model, type(model).__name__)

    def compare(draft: Path) -> None:
        again = _Writer()
        same = tree == again.value(load(draft), type(model).__name__)
        same = same and writer.tensors.keys() == again.tensors.keys()
        if not same or any(writer.tensors[k].tobytes() != again.tensors[k].tobytes() for k in writer.tensors):
            raise OSError(f"{path}: the model read back from the file differs from the one written")

    versions = {"isthmus": __version__, "scikit-learn": sklearn.__version__}
    document = {"format_version": FORMAT_VERSION, "versions": versions, "model": tree}
    model_file.write(path, document, writer.tensors, compare)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model that `save` wrote. Safe for files of unknown origin: nothing in them is executed.

    Raises
    ------
    FileNotFoundError : no such file.
    ModelFileError : anything but a complete model file of a version known here: truncated or changed, a
        pickle, a link or a folder, an unknown class or parameter, shapes that do not fit together.

    Cost: reads the file once; memory near its size (nearest-neighbour models build their search tree again),
    besides the JSON of the header, which a hostile file can blow up to about 150 MB.
    """
    document, tensors = model_file.read(path)
    try:
        if (version := document.get("format_version")) != FORMAT_VERSION:
            raise ModelFileError(
                f"format_version must be {FORMAT_VERSION}, got {version!r}: from a later Isthmus?"
            )
        reader = _Reader(tensors)
        model = reader.value(document["model"])
        reader.give_names()
        if reader.tensors:
            raise ModelFileError(f"the tensors {sorted(reader.tensors)} belong to no parameter")
        if type(model) not in CLASSES.values():
            raise ModelFileError(f"it holds a {type(model).__name__}, not a model")
        check_is_fitted(model)
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error.__cause__
    except Exception as error:
        raise ModelFileError(f"{os.fspath(path)}: its values do not make a model: {error}") from error
    return model


class _Writer:
    """Turns values into JSON and collects their arrays in `tensors`.

    JSON's own values stand for themselves; any other is an object with one key, from `_Reader.KINDS`.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Array] = {}

    def value(self, value: Any, where: str) -> Any:
        if value is None or isinstance(value, bool | str):
            return value
        if type(value) is int or (type(value) is float and np.isfinite(value)):
            return value
        if type(value) is float and not np.isnan(value):
            return {"infinity": 1 if value > 0 else -1}
        if isinstance(value, np.bool_ | np.integer | np.floating):
            return {"scalar": [value.dtype.name, self.value(value.item(), where)]}
        if isinstance(value, np.random.Generator | np.random.RandomState):
            return None
        if type(value) is list:
            return [self.value(item, f"{where}.{i}") for i, item in enumerate(value)]
        if type(value) is tuple:
            return {"tuple": [self.value(item, f"{where}.{i}") for i, item in enumerate(value)]}
        if type(value) is dict and all(isinstance(key, str) for key in value):
            return {"dict": {key: self.value(item, f"{where}.{key}") for key, item in value.items()}}
        if isinstance(value, np.ndarray):
            return self._array(value, where)
        if isinstance(value, kernels.Kernel):
            return {"kernel": kernels.to_json(value)}
        if isinstance(value, BaseEstimator) and type(value) in CLASSES.values():
            return {"estimator": self._estimator(value, where)}
        found = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(
            f"{where} must be a number, text, an array, a kernel, a list of these, or one of the classes "
            f"{', '.join(sorted(CLASSES))}, got {found}"
        )

    def _array(self, value: Array, where: str) -> Any:
        if value.dtype.kind == "U":
            return {"text": [value.ravel().tolist(), list(value.shape), max(1, value.dtype.itemsize // 4)]}
        if value.dtype.kind == "O":
            flat = [self.value(item, f"{where}.{i}") for i, item in enumerate(value.ravel().tolist())]
            return {"objects": [flat, list(value.shape)]}
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            raise TypeError(f"{where} must be an array of real numbers, booleans or text, got {value.dtype}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"{where} must hold finite numbers, got NaN or infinity")
        # The memory order is kept: BLAS takes another path for it, with other last bits.
        order = "scalar" if value.ndim == 0 else "F" if value.flags.fnc else "C"
        array = value.reshape(1) if order == "scalar" else value.T if order == "F" else value
        self.tensors[where] = np.ascontiguousarray(array, dtype=value.dtype.newbyteorder("<"))
        return {"array": [where, order]}

    def _estimator(self, model: Any, where: str) -> Any:
        params = model.get_params(deep=False)
        params |= {"n_jobs": None} if "n_jobs" in params else {}
        if params.get("memory") is not None:
            raise TypeError(f"{where}.memory must be None, got {params['memory']!r}")
        found: dict[str, Any] = {"class": type(model).__name__}
        found["params"] = {name: self.value(value, f"{where}.{name}") for name, value in params.items()}
        fitted = {name: v for name, v in vars(model).items() if name not in params}
        if isinstance(model, NEIGHBOURS):
            kept = {"rows": "_fit_X", "labels": "_y", "classes_": "classes_", NAMES: NAMES}
            fitted = {name: fitted[key] for name, key in kept.items() if key in fitted}
        else:
            fitted = {name: v for name, v in sorted(fitted.items()) if _FITTED.fullmatch(name)}
        found["fitted"] = {name: self.value(value, f"{where}.{name}") for name, value in fitted.items()}
        return found


class _Reader:
    """Turns the JSON of `_Writer` back into values, taking each tensor once."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        self.tensors = dict(tensors)
        self.most_features = max(MAX_BLIND, sum(array.size for array in tensors.values()))
        self.names: list[tuple[Any, Any]] = []  # models with the names of their columns

    def give_names(self) -> None:
        """Hand out the names of columns, after the last row without names went through the models."""
        for model, names in self.names:
            if not isinstance(names, np.ndarray) or names.shape != (model.n_features_in_,):
                raise ModelFileError(f"{NAMES} must name {model.n_features_in_} features, got {names!r:.50}")
            setattr(model, NAMES, names)

    def value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1 or (kind := next(iter(value))) not in self.KINDS:
            raise ModelFileError(f"unknown value {sorted(value)}")
        return self.KINDS[kind](self, value[kind])

    def _infinity(self, sign: Any) -> float:
        return float(np.copysign(np.inf, sign))

    def _scalar(self, pair: Any) -> Any:
        name, value = pair
        if np.dtype(name).kind not in "biuf":
            raise ModelFileError(f"a number of type {name!r}")
        return np.dtype(name).type(self.value(value))

    def _tuple(self, items: Any) -> tuple[Any, ...]:
        return tuple(self.value(item) for item in items)

    def _dict(self, items: Any) -> dict[str, Any]:
        return {key: self.value(item) for key, item in items.items()}

    def _tensor(self, place: Any) -> Array:
        name, order = place
        array = self.tensors.pop(name)
        if order not in ("C", "F", "scalar"):
            raise ModelFileError(f"memory order must be C, F or scalar, got {order!r}")
        return array.reshape(()) if order == "scalar" else array.T if order == "F" else array

    def _text(self, parts: Any) -> Array:
        items, shape, width = parts
        if not 1 <= width <= MAX_TEXT // (4 * max(1, len(items))):
            raise ModelFileError(f"{len(items)} texts of width {width}")
        if not all(isinstance(item, str) and len(item) <= width for item in items):
            raise ModelFileError(f"texts must have at most {width} characters")
        return _shaped(np.array(items, dtype=f"U{width}"), shape)

    def _objects(self, parts: Any) -> Array:
        items, shape = parts
        array = np.empty(len(items), dtype=object)
        array[:] = [self.value(item) for item in items]
        return _shaped(array, shape)

    def _estimator(self, found: Any) -> Any:
        if found["class"] not in CLASSES:
            raise ModelFileError(f"unknown class {found['class']!r}")
        kind = CLASSES[found["class"]]
        params = {name: self.value(value) for name, value in found["params"].items()}
        known = set(inspect.signature(kind).parameters)
        if params.keys() != known:
            raise ModelFileError(f"{kind.__name__} has the parameters {sorted(known)}, got {sorted(params)}")
        if params.get("n_jobs") is not None or params.get("memory") is not None:
            raise ModelFileError(f"n_jobs and memory of {kind.__name__} must be null")
        model = kind(**params)
        fitted = {name: self.value(value) for name, value in found["fitted"].items()}
        if NAMES in fitted:
            self.names.append((model, fitted.pop(NAMES)))
        if kind in NEIGHBOURS and fitted:
            model.fit(fitted.pop("rows"), fitted.pop("labels"))
            if len(fitted.get("classes_", ())) != len(getattr(model, "classes_", ())):
                raise ModelFileError(f"{kind.__name__} must have a name for each of its classes")
        for name, value in fitted.items():
            if not _FITTED.fullmatch(name):
                raise ModelFileError(f"{kind.__name__} cannot have the attribute {name!r}")
            model_shapes.check_value(name, value)
            setattr(model, name, value)
        model_shapes.check_shapes(model)
        self._try_out(model)
        return model

    def _try_out(self, model: Any) -> None:
        """Put one row of zeros through a fitted model."""
        try:
            check_is_fitted(model)
        except NotFittedError:
            return
        width = model.n_features_in_
        if not isinstance(width, int) or not 1 <= width <= self.most_features:
            raise ModelFileError(f"n_features_in_ must be a number of features, got {width!r}")
        # So many names are made on demand.
        count = vars(model).get("_n_features_out", width)
        if not isinstance(count, int) or not 0 <= count <= self.most_features:
            raise ModelFileError(f"_n_features_out must be a number of features, got {count!r}")
        row = np.zeros((1, width))
        each = getattr(model, "_each_domain", False)
        domains: Any = vars(model).get("domains_", ()) if each else ()
        with np.errstate(all="ignore"):
            if len(domains):  # several targets: "target" names none of them
                if not (np.diff(domains) > 0).all() or not domains[0] < 0 <= domains[-1]:
                    raise ModelFileError(f"domains_ must ascend from targets to sources, got {domains}")
                for number in domains[[0, -1]]:
                    call = model.predict if hasattr(model, "predict") else model.transform
                    call(row, domain=np.array([number]))
                return
            if isinstance(model, Aligner):
                model.transform(row, domain="source")
            if hasattr(model, "density_ratio"):
                model.density_ratio(row)
            (model.predict if hasattr(model, "predict") else model.transform)(row)

    KINDS: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = {
        "infinity": _infinity,
        "scalar": _scalar,
        "tuple": _tuple,
        "dict": _dict,
        "array": _tensor,
        "text": _text,
        "objects": _objects,
        "kernel": lambda self, value: kernels.from_json(value),
        "estimator": _estimator,
    }


def _shaped(array: Array, shape: Any) -> Array:
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ModelFileError(f"a shape must hold whole numbers, got {shape}")
    return array.reshape(shape)
