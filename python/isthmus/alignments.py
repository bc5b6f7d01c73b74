"""The alignments that the whole job knows by name."""

from __future__ import annotations

from typing import Any

__all__ = ["ALIGNMENTS", "named_alignment"]

# Name on the command line: what it does, for --help and the reader of this file.
ALIGNMENTS = {
    "coral": "the target's mean and covariance for the source",
    "linear-ot": "the same by the optimal linear map",
    "standard": "mean 0 and standard deviation 1 in each domain",
    "subspace": "up to 20 principal directions of the source turned onto the target's",
    "gfk": "all subspaces between those of source and target, up to 20 directions each",
    "tca": "up to 30 transfer components",
    "none": "no alignment",
}


def named_alignment(name: str, n_columns: int) -> Any:
    """A new aligner for rows of `n_columns` columns by its name in `ALIGNMENTS`; None for "none"."""
    from . import align

    match name:
        case "coral":
            return align.CORAL()
        case "linear-ot":
            return align.LinearOT()
        case "standard":
            return align.StandardScaling()
        case "subspace":
            return align.SubspaceAlignment(with_mean=True)
        case "gfk":
            return align.GFK(with_mean=True)
        case "tca":
            return align.TCA(n_components=min(30, n_columns))
    return None
