"""The geodesic between two subspaces and the root of its flow kernel, against quadrature."""

import numpy as np
import pytest
from isthmus.align.mathematics.geodesic import flow_root, geodesic, geodesic_point, principal_angles


def pair_with_angles(angles, d, seed=0):
    """Bases (d, k) of two subspaces with the principal `angles`, each turned inside its span."""
    rng = np.random.default_rng(seed)
    k = len(angles)
    frame = np.linalg.qr(rng.standard_normal((d, 2 * k)))[0]
    turns = [np.linalg.qr(rng.standard_normal((k, k)))[0] for _ in range(2)]
    first = frame[:, :k]
    second = first * np.cos(angles) + frame[:, k:] * np.sin(angles)
    return first @ turns[0], second @ turns[1]


def projector(basis):
    return basis @ basis.T


ANGLES = {
    "spread": [0.1, 0.4, 0.9, 1.5],
    "small": [1e-12, 1e-9, 3e-9, 1e-5],
    "mixed": [0.0, 1e-7, 0.8, np.pi / 2 - 1e-9],
    "identical": [0.0, 0.0, 0.0],
    "orthogonal": [np.pi / 2, np.pi / 2],
    "around the change of formula": [0.0999999, 0.1000001],
    "around a quarter turn": [np.pi / 4 - 1e-9, np.pi / 4, np.pi / 4 + 1e-9],
    "one": [0.7],
}


@pytest.mark.parametrize("angles", ANGLES.values(), ids=ANGLES.keys())
def test_flow_kernel_equals_the_integral_along_the_geodesic(angles):
    way = geodesic(*pair_with_angles(np.array(angles), 11))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    integral = sum(
        w / 2 * projector(geodesic_point(way, (x + 1) / 2)) for x, w in zip(nodes, weights, strict=True)
    )
    root = flow_root(way)
    assert root.shape == (11, 2 * len(angles))
    np.testing.assert_allclose(root @ root.T, integral, atol=1e-13)


@pytest.mark.parametrize("angles", [a for name, a in ANGLES.items() if name != "orthogonal"])
def test_flow_kernel_is_the_published_block_matrix(angles):
    first, second = pair_with_angles(np.array(angles), 11)
    left, cosines, right = np.linalg.svd(first.T @ second)
    t = np.arccos(np.minimum(cosines, 1))
    across = second @ right.T - first @ left * cosines
    across /= np.where(np.sin(t) > 1e-6, np.sin(t), np.inf)
    safe = np.where(t > 1e-6, t, 1.0)
    blocks = [
        np.where(t > 1e-6, value, limit)
        for value, limit in [
            ((1 + np.sin(2 * t) / (2 * safe)) / 2, 1),
            ((1 - np.cos(2 * t)) / (4 * safe), 0),
            ((1 - np.sin(2 * t) / (2 * safe)) / 2, 0),
        ]
    ]
    both = np.hstack([first @ left, across])
    middle = np.block([[np.diag(blocks[0]), np.diag(blocks[1])], [np.diag(blocks[1]), np.diag(blocks[2])]])
    root = flow_root(geodesic(first, second))
    # The formula above drops angles below 1e-6, so it is that far off.
    np.testing.assert_allclose(root @ root.T, both @ middle @ both.T, atol=1e-6)


@pytest.mark.parametrize("angles", ANGLES.values(), ids=ANGLES.keys())
def test_the_geodesic_is_orthonormal_and_joins_both_subspaces(angles):
    first, second = pair_with_angles(np.array(angles), 11)
    way = geodesic(first, second)
    for u in (0.0, 0.3, 1.0):
        point = geodesic_point(way, u)
        np.testing.assert_allclose(point.T @ point, np.eye(len(angles)), atol=1e-13)
    np.testing.assert_allclose(projector(geodesic_point(way, 0)), projector(first), atol=1e-13)
    np.testing.assert_allclose(projector(geodesic_point(way, 1)), projector(second), atol=1e-13)


@pytest.mark.parametrize("angles", ANGLES.values(), ids=ANGLES.keys())
def test_principal_angles_are_those_the_subspaces_were_made_with(angles):
    first, second = pair_with_angles(np.array(angles), 11)
    found = principal_angles(first, second)
    np.testing.assert_allclose(found, np.sort(angles), atol=1e-13)


def test_subspaces_of_more_than_half_the_dimension_share_directions():
    rng = np.random.default_rng(0)
    first, second = (np.linalg.qr(rng.standard_normal((5, 4)))[0] for _ in range(2))
    way = geodesic(first, second)
    np.testing.assert_allclose(way.angles[:3], 0, atol=1e-13)
    np.testing.assert_array_equal(way.direction[:, :3], 0)
    np.testing.assert_allclose(projector(geodesic_point(way, 1)), projector(second), atol=1e-13)


def test_flow_kernel_does_not_depend_on_the_bases_or_on_the_way_round():
    first, second = pair_with_angles(np.array(ANGLES["spread"]), 11)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 4)))[0]
    expected, turned, back = (
        projector(flow_root(geodesic(*pair)))
        for pair in ((first, second), (first @ turn, -second), (second, first))
    )
    np.testing.assert_allclose(turned, expected, atol=1e-13)
    np.testing.assert_allclose(back, expected, atol=1e-13)


def test_float32_bases_give_a_float32_root():
    pair = pair_with_angles(np.array(ANGLES["spread"]), 11)
    narrow = flow_root(geodesic(*(basis.astype(np.float32) for basis in pair)))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(projector(narrow), projector(flow_root(geodesic(*pair))), atol=2e-6)
