"""Alignment by transfer components of the classes too, predicted for the target: JDA and BDA."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, namespace, to_numpy
from ..kernels import Kernel
from .checks import check_choice, check_count, check_share
from .classes import number_classes, predicted
from .component_base import NORMALIZE, PencilAligner
from .domains import Domains
from .mathematics.contrasts import MARGINAL, estimate_balance, joint_contrasts

__all__ = ["BDA", "JDA"]

WEIGHTED = (False, "paper", "released")


class _JointAligner(PencilAligner):
    """Solve, predict the target's classes on the embedding, and solve again with the contrasts of classes.

    A method gives `_balance` and `_priors`, what `joint_contrasts` needs to know.
    """

    n_iter: Any
    classifier: Any
    marginal: str

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
        self._check_joint()
        known = number_classes(domains, source_weight, target_weight, self._name())
        problem = self._pose(self._unit_input(domains), source_weight, target_weight)
        weights = problem.rows.weights
        contrasts, balances, passes = problem.mean_contrast(), [0.0], 0
        while True:
            solution, factor = self._solve(problem, contrasts)
            passes += solution.passes
            embedded, n_source = problem.embed(solution), len(known.source)
            halves = [self._unit(half, "output") for half in (embedded[:n_source], embedded[n_source:])]
            model = known.model(self.classifier, halves[0], halves[1], weights)
            classes = known.predicted(model, halves[1])
            if len(balances) == int(self.n_iter):
                break
            before, balance = contrasts, self._balance(halves, known.source, classes, weights)
            contrasts = joint_contrasts(
                known.source,
                classes,
                known.n_classes,
                *weights,
                balance=balance,
                marginal=self.marginal,
                priors=self._priors(),
            )
            if np.array_equal(contrasts, before):
                break  # the same problem again, with the same solution
            balances.append(balance)
        self._finish(problem, solution._replace(passes=passes), factor)
        self.n_iter_, self.mu_ = len(balances), np.array(balances)
        self.classes_: Array = np.sort(known.names)
        if target_weight is not None:
            assert domains.X_target is not None
            # Rows of weight 0 have had no part, but their classes may be asked for.
            every = predicted(model, self._map(domains.X_target, "target"))
            every[target_weight > 0] = classes
            classes = every
        self.pseudo_labels_: Array = known.names[classes]
        moved: Array = namespace(embedded).concatenate(halves)
        return moved

    def _balance(
        self, halves: list[Array], source: Array, target: Array, weights: tuple[Array, Array]
    ) -> float:
        """mu of the next solution, from the embedding `halves` and the classes of both domains."""
        return 0.5

    def _priors(self) -> str | None:
        return None

    def _check_joint(self) -> None:
        check_count(self, "n_iter")
        check_choice(self, "normalize", NORMALIZE)
        check_choice(self, "marginal", MARGINAL)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class JDA(_JointAligner):
    """Joint distribution adaptation: the means of all rows and of each class nearly agree between domains.

    The classes of the target are those a classifier predicts on the embedding of the iteration before; the
    first iteration, which knows none, is TCA. As published the rows have unit length before and after, and
    the classifier is 1-NN.

    Parameters
    ----------
    n_components, kernel, reg, scaling, eigen_solver, tol, max_passes, n_landmarks, random_state : as in `TCA`
    n_iter : int >= 1, most solutions, the first among them; fewer where the pseudo-labels repeat, as the
        next would be the same
    classifier : None for 1-NN, or a scikit-learn classifier, of which clones are fitted on the embedded rows
        whose label is known
    normalize : which rows get unit length, new rows alike: "both" those given and those embedded, "input",
        "output", or None
    marginal : weight of the contrast of all rows beside those of C classes: C with "released", 1 with "paper"

    Labels of the source are needed. Target labels that may be used (`target_labelled`) stand in for
    predictions and train the classifier. A class never predicted keeps its source's mean in the contrasts; a
    class that only target labels have takes no part in them.

    Fitted: as `TCA`; `pseudo_labels_` (nt,), known or predicted labels of the target rows; `classes_` (C,);
    `n_iter_`, the number of solutions; `mu_` (n_iter_,), the share of the class contrasts in each.

    Of rows on a device, as in `TCA`, 1-NN is searched there; another classifier gets the embedded rows on the
    host.

    Cost: n_iter times that of a solution of `TCA` and of the classifier, O(ns nt k) for 1-NN.
    Source: Long, Wang, Ding, Sun, Yu, ICCV 2013.
    """

    def __init__(
        self,
        n_components: int = 30,
        *,
        kernel: Kernel | None = None,
        reg: float = 1.0,
        scaling: str = "unit",
        n_iter: int = 10,
        classifier: Any = None,
        normalize: str | None = "both",
        marginal: str = "released",
        eigen_solver: str = "auto",
        tol: float | None = None,
        max_passes: int = 60,
        n_landmarks: int | None = None,
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.reg = reg
        self.scaling = scaling
        self.n_iter = n_iter
        self.classifier = classifier
        self.normalize = normalize
        self.marginal = marginal
        self.eigen_solver = eigen_solver
        self.tol = tol
        self.max_passes = max_passes
        self.n_landmarks = n_landmarks
        self.random_state = random_state


class BDA(JDA):
    """Balanced distribution adaptation: JDA with a weight mu between the classes and the rows as a whole.

    The contrasts are those of all rows, with weight 1 - mu, and of each class, with mu: 0 is TCA, 0.5 JDA.

    Parameters
    ----------
    mu : number in [0, 1]; "estimate": anew from each embedding, by how well a linear classifier tells the
        domains apart, as a whole and class by class; None, as published: "estimate", or 1 with
        `weighted="released"`. The first iteration, without classes, has 0.
    weighted : False; "paper": the mean of a class weighs as the root of its share in its domain (weighted
        BDA); "released", as in the authors' code: the target's mean times the ratio of the shares
    others : as in `JDA`

    Fitted, cost: as `JDA`, and where mu is estimated twice about ten systems of size k an iteration.
    Source: Wang, Chen, Hao, Feng, Shen, ICDM 2017.
    """

    def __init__(
        self,
        n_components: int = 30,
        *,
        kernel: Kernel | None = None,
        reg: float = 1.0,
        scaling: str = "unit",
        mu: float | str | None = None,
        weighted: bool | str = False,
        n_iter: int = 10,
        classifier: Any = None,
        normalize: str | None = "both",
        marginal: str = "released",
        eigen_solver: str = "auto",
        tol: float | None = None,
        max_passes: int = 60,
        n_landmarks: int | None = None,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            n_components,
            kernel=kernel,
            reg=reg,
            scaling=scaling,
            n_iter=n_iter,
            classifier=classifier,
            normalize=normalize,
            marginal=marginal,
            eigen_solver=eigen_solver,
            tol=tol,
            max_passes=max_passes,
            n_landmarks=n_landmarks,
            random_state=random_state,
        )
        self.mu = mu
        self.weighted = weighted

    def _balance(
        self, halves: list[Array], source: Array, target: Array, weights: tuple[Array, Array]
    ) -> float:
        mu = self.mu
        if mu is None:
            mu = 1.0 if self.weighted == "released" else "estimate"
        if mu == "estimate":
            return estimate_balance(to_numpy(halves[0]), to_numpy(halves[1]), source, target, *weights)
        return float(mu)

    def _priors(self) -> str | None:
        return self.weighted if isinstance(self.weighted, str) else None

    def _check_joint(self) -> None:
        super()._check_joint()
        check_choice(self, "weighted", WEIGHTED)
        check_share(self, "mu", words=("estimate", None))
