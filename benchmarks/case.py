"""One row of the benchmark table."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .targets import Target

ONE_SAMPLE = ("project", "random_features", "features_mean")
COMPONENTS = ("tca", "jda", "gfk")  # q counts components: never more than the rows of a domain


@dataclass(frozen=True)
class Case:
    """One row of the benchmark table.

    `n` and `m` are the rows of X and Y, `d` their columns. `batch` > 0 means that many independent pairs of
    samples. `q` counts columns of V or W, features, components or permutations. `threads` and `level`
    override what the command line asks for. `sampling` is that of `RandomFourierFeatures`; peers always draw
    independent frequencies. `peers` are names in `peers.CONTENDERS`.
    """

    operation: str
    n: int
    m: int
    d: int
    dtype: str = "float32"
    kernel: str = "rbf"
    threads: int | None = None
    level: str | None = None
    peers: tuple[str, ...] = ()
    tier: str = "full"
    batch: int = 0
    q: int = 0
    sampling: str = "independent"
    targets: tuple[Target, ...] = ()

    @property
    def id(self) -> str:
        """A name that says all that tells this case from the others."""
        rows = f"{self.n}" if self.operation in ONE_SAMPLE else f"{self.n}x{self.m}"
        parts = [self.operation, f"{self.batch}x({rows})" if self.batch else rows, f"d{self.d}"]
        parts += [f"q{self.q}"] if self.q else []
        parts += [self.dtype] + ([self.kernel] if self.kernel != "rbf" else [])
        parts += [self.sampling] if self.sampling != "independent" else []
        parts += [f"threads{self.threads}"] if self.threads else []
        return "-".join(parts + ([self.level] if self.level else []))

    def shrunk(self, factor: int) -> Case:
        """The same case with `factor` times fewer rows (and batch items), to try the machinery quickly."""
        full_rank = self.operation in ("coral", "linear_ot")  # fewer rows than columns leave the map open
        least = 2 * self.d if full_rank else 40
        smaller = replace(self, n=max(self.n // factor, least), m=max(self.m // factor, least))
        if self.operation in COMPONENTS:
            smaller = replace(smaller, q=min(self.q, smaller.n // 2))
        return replace(smaller, batch=max(self.batch // factor, 2)) if self.batch else smaller
