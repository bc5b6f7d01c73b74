"""The squared maximum mean discrepancy of two samples together with its gradients by their rows."""

from __future__ import annotations

from typing import Any

from . import arrays, backends
from .kernel_base import Kernel
from .kernels import DEFAULT_KERNEL
from .mmd import Blocks, two_samples

__all__ = ["mmd2_grad"]


@arrays.on_its_device
def mmd2_grad(
    X: Any,
    Y: Any,
    *,
    kernel: Kernel = DEFAULT_KERNEL,
    estimator: str = "unbiased",
    x_weights: Any = None,
    y_weights: Any = None,
) -> tuple[Any, Any, Any]:
    """Squared maximum mean discrepancy of two samples, or of b pairs of samples, and its gradients.

    Parameters
    ----------
    X : array of shape (n, d) or (b, n, d), float32 or float64
    Y : array of shape (m, d) or (b, m, d), same library, device and dtype as `X`
    kernel : Kernel; its bandwidth is in the unit of `X`. A rule is evaluated once, on the rows of all
        samples; the gradient takes its number for a constant
    estimator : "unbiased" (U-statistic, can fall below zero) or "biased" (V-statistic)
    x_weights, y_weights : arrays of shape (n,) and (m,), or (b, n) and (b, m), or None for equal weights. Not
        negative; their scale does not matter

    Returns
    -------
    value : float64 of shape () or (b,): what `mmd2` returns, to its accuracy
    dX, dY : d value / d X and d value / d Y, in the shape, dtype, library and on the device of `X` and `Y`

    Rows that coincide contribute 0 for kernels with a cusp there (Laplacian, Exponential, Matern of nu = 1/2,
    Energy): a subgradient.

    Accuracy: an entry of row i of a gradient is within 5e-6 p_i S (float32) or 1e-13 p_i S (float64) of the
    exact one. p_i is the row's share w_i / sum w of its sample; S is the largest derivative of the kernel by
    one coordinate of a row, at any distance or, for Linear and Polynomial, over the pairs of rows; for
    kernels of a scale, times max(1, |z - mean| / scale) of the row z that is farthest from the pooled mean.

    Raises
    ------
    TypeError : not an array of real numbers.
    ValueError : X and Y differ in library or device, shapes disagree, a value is not finite, or fewer than
        two rows with "unbiased".

    Cost: O(b (n + m)^2 d) time, some three times that of `mmd2`; O(b (n + m) d) memory.
    Source: the derivative of Gretton et al., JMLR 13 (2012), section 2.2.
    """
    given, kernel, weights = two_samples(X, Y, kernel, estimator, x_weights, y_weights)
    blocks = Blocks(given, ["X", "Y"], weights, estimator)
    x, y = blocks.stacks()
    dx, dy = (given.target("mmd2_grad", tuple(z.shape)) for z in (x, y))
    values = backends.mmd2_grad(
        x,
        y,
        blocks.weights,
        blocks.factors(),
        estimator == "biased",
        kernel,
        dx,
        dy,
        given.where,
    )
    single = given["X"].ndim == 2
    gradients = (given.give("mmd2_grad", dz[0] if single else dz) for dz in (dx, dy))
    return given.where.give(values[0] if single else values), *gradients
