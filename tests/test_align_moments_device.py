"""Aligners by moments on rows that live on a device: the maps and rows that numpy arrays give."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes, two_covariances
from isthmus.align.mathematics import pencil
from sklearn.base import clone

METHODS = [
    im.CORAL(),
    im.CORAL(ridge=0.1, shrinkage="ledoit_wolf"),
    im.LinearOT(reg=0.01),
    im.StandardScaling(),
    im.StandardScaling(with_mean=False),
    im.StandardScaling(with_std=False),
    im.MeanDiscrepancy(),
    im.MeanDiscrepancy("directions"),
    im.SubspaceAlignment(3),
    im.SubspaceAlignment("auto", with_mean=True),
    im.GFK(2),
    im.GFK("auto", with_mean=True),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=str)
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def fitted_arrays(estimator):
    return {name: value for name, value in vars(estimator).items() if name.endswith("_") and name[0] != "_"}


def compare(torch, method, dtype, given, moved):
    """Fit on numpy rows and on tensors: equal fitted arrays, on the host, and equal moved rows."""
    plain, there = clone(method).fit(**given), clone(method)
    tensors = {
        name: torch.from_numpy(part) if name in ("X", "X_target", "sample_weight") else part
        for name, part in given.items()
    }
    there.fit(**tensors)
    tol = {"rtol": 1e-4, "atol": 2e-5} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-11}
    expected = fitted_arrays(plain)
    for name, value in fitted_arrays(there).items():
        assert not isinstance(value, torch.Tensor)
        np.testing.assert_allclose(value, expected[name], err_msg=name, **tol)
    for rows, domain in moved:
        found = there.transform(torch.from_numpy(rows), domain=domain)
        assert isinstance(found, torch.Tensor) and found.dtype == torch.from_numpy(rows).dtype
        exact = plain.transform(rows, domain=domain)
        np.testing.assert_allclose(found.numpy(), exact, rtol=tol["rtol"], atol=tol["atol"] * np.std(exact))


@every_method
@both_types
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("shape", [(300, 260, 7), (9, 30, 12)], ids=["many rows", "few rows"])
def test_a_device_gives_what_numpy_gives(torch_as_device, monkeypatch, method, dtype, offset, shape):
    monkeypatch.setattr(pencil, "DEVICE_BLOCK_BYTES", 1)  # blocks of 64 rows
    X, X_target = ((part + offset).astype(dtype) for part in two_covariances(*shape))
    given = {"X": X, "X_target": X_target}
    compare(torch_as_device, method, dtype, given, [(X, "source"), (X_target, "target")])


@every_method
def test_weights_and_labels_on_a_device_count_as_they_do_in_numpy(torch_as_device, method):
    X, y, X_target, y_target = shifted_classes(3.0, 0, n=60)
    weight = np.random.default_rng(0).integers(0, 4, 60).astype(float)
    given = {"X": X, "y": y, "X_target": X_target, "y_target": y_target, "sample_weight": weight}
    given["target_labelled"] = np.arange(60) % 3 == 0
    compare(torch_as_device, method, np.float64, given, [(X, "source"), (X_target, "target")])


@every_method
@both_types
def test_several_domains_on_a_device_are_told_apart(torch_as_device, method, dtype):
    parts = [*two_covariances(40, 30), *two_covariances(25, 35, seed=1)]
    rows, domain = np.concatenate(parts).astype(dtype), np.repeat([0, -1, 4, -3], [40, 30, 25, 35])
    order = np.random.default_rng(0).permutation(len(rows))
    rows, domain = rows[order], domain[order]
    compare(torch_as_device, method, dtype, {"X": rows, "sample_domain": domain}, [(rows, domain)])
