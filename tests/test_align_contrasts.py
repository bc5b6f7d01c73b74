"""The contrasts of joint alignment against the dense matrices of the papers, and the estimate of mu."""

import numpy as np
import pytest
from isthmus.align.mathematics.contrasts import domain_distance, estimate_balance, joint_contrasts
from isthmus.align.mathematics.pencil import contrast_norm
from sklearn.svm import LinearSVC

VARIANTS = [
    {"balance": balance, "marginal": marginal, "priors": priors}
    for balance in (0.0, 0.3, 0.5, 1.0)
    for marginal in ("released", "paper")
    for priors in (None, "paper", "released")
]


def labels(seed=0, n_source=40, n_target=33):
    """Four classes; class 2 is never predicted, and some target rows are of no class of the source."""
    rng = np.random.default_rng(seed)
    source = rng.permutation(np.arange(n_source) % 4)
    return source, rng.permutation(np.array([0, 1, 3, -1])[np.arange(n_target) % 4])


def dense(source, target, n_classes, *, balance, marginal, priors):
    """M over all pairs of rows, one class at a time, divided by its Frobenius norm."""
    n_source, n_target = len(source), len(target)

    def outer(ours, theirs, a, b):
        column = np.zeros(n_source + n_target)
        column[:n_source][ours] = a
        column[n_source:][theirs] = -b
        return np.outer(column, column)

    every, each = np.ones(n_source, bool), np.ones(n_target, bool)
    factor = n_classes if marginal == "released" else 1
    whole = (1 - balance) * factor * outer(every, each, 1 / n_source, 1 / n_target)
    for label in range(n_classes):
        ours, theirs = source == label, target == label
        a, b = 1 / ours.sum(), 1 / max(theirs.sum(), 1)
        p_source, p_target = ours.mean(), theirs.mean()
        if priors == "paper":
            a, b = a * np.sqrt(p_source), b * np.sqrt(p_target)
        elif priors == "released":
            b = b * p_target / p_source
        whole = whole + balance * outer(ours, theirs, a, b)
    return whole / np.linalg.norm(whole)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_contrasts_give_the_dense_matrix_of_the_method(variant):
    source, target = labels()
    E = joint_contrasts(source, target, 4, np.ones(40), np.ones(33), **variant)
    M = E @ E.T / contrast_norm(E)
    assert E.shape[1] == {0.0: 1, 1.0: 4}.get(variant["balance"], 5)
    np.testing.assert_allclose(M, dense(source, target, 4, **variant), rtol=0, atol=1e-15)


@pytest.mark.parametrize("priors", [None, "paper", "released"])
def test_a_weight_is_a_repetition_in_every_column(priors):
    source, target = labels()
    rng = np.random.default_rng(1)
    times = rng.integers(1, 4, 40), rng.integers(1, 4, 33)
    E = joint_contrasts(source, target, 4, *(t.astype(float) for t in times), priors=priors, balance=0.3)
    repeated = [np.repeat(labels, t) for labels, t in zip((source, target), times, strict=True)]
    ones = [np.ones(len(part)) for part in repeated]
    expected = joint_contrasts(*repeated, 4, *ones, priors=priors, balance=0.3)
    every = np.concatenate(times)
    np.testing.assert_allclose(np.repeat(E / np.sqrt(every)[:, None], every, axis=0), expected, atol=1e-15)


def test_a_class_without_target_rows_keeps_its_source_half():
    E = joint_contrasts(np.array([0, 1, 1]), np.array([0, 0]), 2, np.ones(3), np.ones(2), balance=1.0)
    np.testing.assert_allclose(E, [[1, 0], [0, 0.5], [0, 0.5], [-0.5, 0], [-0.5, 0]])


def test_a_class_without_source_rows_has_no_column():
    E = joint_contrasts(np.array([0, 2]), np.array([1, 2]), 3, np.ones(2), np.ones(2), balance=1.0)
    np.testing.assert_allclose(E, [[1, 0], [0, 1], [0, 0], [0, -1]])


def test_unknown_variants_are_refused_by_name():
    arguments = (np.array([0, 1]), np.array([0, 1]), 2, np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="marginal must be 'released' or 'paper', got 'both'"):
        joint_contrasts(*arguments, marginal="both")
    with pytest.raises(ValueError, match="priors must be None, 'paper' or 'released', got 'all'"):
        joint_contrasts(*arguments, priors="all")


def two_clouds(shift, n=120, m=90, d=6, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(m, d))
    target[:, 0] += shift
    return rng.normal(size=(n, d)), target


@pytest.mark.parametrize("shift", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("width", [6, 300])
def test_domain_distance_is_that_of_a_linear_svm(shift, width):
    source, target = two_clouds(shift, d=width)
    rows, side = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
    model = LinearSVC(tol=1e-10, max_iter=1_000_000, random_state=0).fit(rows, side)
    assert domain_distance(source, target) == pytest.approx(4 * model.score(rows, side) - 2, abs=1e-12)


def test_domain_distance_of_rows_of_any_size():
    source, target = two_clouds(1.0)
    source[:, 1], target[:, 1] = source[:, 0], target[:, 0]
    for scale in (1e-12, 1e9, 1e12):
        assert 0 <= domain_distance(scale * source, scale * target) <= 2


def test_domain_distance_counts_a_weight_as_repetitions():
    source, target = two_clouds(0.7)
    times = np.arange(len(source)) % 3, np.arange(len(target)) % 4
    weighted = domain_distance(source, target, times[0].astype(float), times[1].astype(float))
    repeated = domain_distance(np.repeat(source, times[0], axis=0), np.repeat(target, times[1], axis=0))
    assert weighted == pytest.approx(repeated, abs=1e-12)


def test_balance_is_the_share_of_the_distance_between_classes():
    source, target = two_clouds(0.7)
    ours, theirs = np.arange(len(source)) % 3, np.arange(len(target)) % 3
    theirs[theirs == 2] = -1
    of_classes = np.mean([domain_distance(source[ours == c], target[theirs == c]) for c in (0, 1)])
    overall = domain_distance(source, target)
    found = estimate_balance(source, target, ours, theirs)
    assert 0.3 < found < 0.9
    assert found == pytest.approx(of_classes / (of_classes + overall), abs=1e-12)


def test_balance_is_zero_where_domains_or_classes_do_not_differ():
    same = np.tile([[0.0, 1.0], [1.0, 0.0]], (10, 1))
    classes = np.arange(20) % 2
    assert estimate_balance(same, same, classes, classes) == 0
    assert estimate_balance(same, same + 9, classes, np.full(20, -1)) == 0
