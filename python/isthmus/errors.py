"""The exceptions and warnings that are Isthmus's own; everything else is a built-in one."""

__all__ = [
    "DegenerateBandwidthWarning",
    "DomainScaleWarning",
    "ModelFileError",
    "NoTargetWarning",
    "TrainingDivergedError",
]


class NoTargetWarning(UserWarning):
    """An alignment was fitted without a target domain, so it is the identity."""


class DomainScaleWarning(UserWarning):
    """A column of the target is spread a thousand times wider or narrower than that of the source."""


class DegenerateBandwidthWarning(UserWarning):
    """A bandwidth rule met data without a positive distance; 1.0 was taken instead."""


class ModelFileError(ValueError):
    """A model file is truncated, damaged, of another kind, or from a later version. Nothing in it was run."""


class TrainingDivergedError(ArithmeticError):
    """A training loss is no longer finite. `epoch` counts from 1; the best parameters so far are kept."""

    def __init__(self, message: str, epoch: int | None = None) -> None:
        super().__init__(message)
        self.epoch = epoch
