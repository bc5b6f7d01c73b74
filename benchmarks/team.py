"""What the experts share: NumPy or torch behind one set of tile operations, ways to share the cores, tuning.

Cores are shared either by the library inside each operation, or by Python threads that take tiles in turn
while the library keeps to one thread; torch's tiles may lend their memory to NumPy's functions. Which is
fastest depends on the machine and the case, so it is tuned as the tile sizes are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from .availability import library

Call = Callable[[], Any]
Part = TypeVar("Part")
TUNING_SECONDS = {"quick": 0.4, "full": 3.0, "sweep": 1.0}  # for one contender of one case
HOPELESS = 1.3  # a call so many times slower than the best so far is not repeated


class NumpyTiles:
    """Operations on tiles, each written into memory made beforehand."""

    def __init__(self) -> None:
        self._blas = _blas()

    def array(self, a: Any) -> Any:
        return np.ascontiguousarray(a)

    def empty(self, *shape: int, dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def zeros(self, *shape: int, dtype: Any) -> Any:
        return np.zeros(shape, dtype)

    def numpy(self, a: Any) -> Any:
        return a

    def matmul(self, a: Any, b: Any, out: Any) -> Any:
        return np.matmul(a, b, out=out)

    def add_matmul(self, out: Any, a: Any, b: Any, factor: float = 1.0) -> None:
        product = a @ b
        if factor != 1.0:
            product *= product.dtype.type(factor)
        out += product

    def exp2(self, tile: Any) -> Any:
        return np.exp2(tile, out=tile)

    def cos(self, a: Any, out: Any) -> Any:
        return np.cos(a, out=out)

    def sin(self, a: Any, out: Any) -> Any:
        return np.sin(a, out=out)

    def scale(self, tile: Any, factor: float) -> Any:
        tile *= tile.dtype.type(factor)
        return tile

    def square(self, tile: Any) -> Any:
        return np.square(tile, out=tile)

    def relu(self, tile: Any) -> Any:
        return np.maximum(tile, 0, out=tile)

    def sum(self, tile: Any) -> float:
        return float(tile.sum())

    def rows_sum(self, tile: Any) -> Any:
        """Sum over the rows of a tile, float64; a product with ones is the fastest way."""
        return (np.ones(len(tile), tile.dtype) @ tile).astype(np.float64)

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        with self._blas.limit(limits=1):
            yield


@lru_cache(maxsize=1)
def _blas() -> Any:
    """Handle on the BLAS libraries; finding them takes milliseconds."""
    return library("threadpoolctl").ThreadpoolController().select(user_api="blas")


class TorchTiles:
    """The same operations on torch tensors."""

    def __init__(self) -> None:
        self._torch = library("torch")

    def _dtype(self, dtype: Any) -> Any:
        return getattr(self._torch, np.dtype(dtype).name)

    def array(self, a: Any) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(a))

    def empty(self, *shape: int, dtype: Any) -> Any:
        return self._torch.empty(shape, dtype=self._dtype(dtype))

    def zeros(self, *shape: int, dtype: Any) -> Any:
        return self._torch.zeros(shape, dtype=self._dtype(dtype))

    def numpy(self, a: Any) -> Any:
        return a.numpy()

    def matmul(self, a: Any, b: Any, out: Any) -> Any:
        return self._torch.matmul(a, b, out=out)

    def add_matmul(self, out: Any, a: Any, b: Any, factor: float = 1.0) -> None:
        out.addmm_(a, b, alpha=factor)

    def exp2(self, tile: Any) -> Any:
        return tile.exp2_()

    def cos(self, a: Any, out: Any) -> Any:
        return self._torch.cos(a, out=out)

    def sin(self, a: Any, out: Any) -> Any:
        return self._torch.sin(a, out=out)

    def scale(self, tile: Any, factor: float) -> Any:
        return tile.mul_(factor)

    def square(self, tile: Any) -> Any:
        return tile.square_()

    def relu(self, tile: Any) -> Any:
        return tile.relu_()

    def sum(self, tile: Any) -> float:
        return float(tile.sum())

    def rows_sum(self, tile: Any) -> Any:
        return (self._torch.ones(len(tile), dtype=tile.dtype) @ tile).double().numpy()

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        count = self._torch.get_num_threads()
        self._torch.set_num_threads(1)
        try:
            yield
        finally:
            self._torch.set_num_threads(count)


class LentTiles(TorchTiles):
    """torch's products and sums, NumPy's exponentials, cosines and sines on the same memory."""

    def exp2(self, tile: Any) -> Any:
        view = tile.numpy()
        np.exp2(view, out=view)
        return tile

    def cos(self, a: Any, out: Any) -> Any:
        np.cos(a.numpy(), out=out.numpy())
        return out

    def sin(self, a: Any, out: Any) -> Any:
        np.sin(a.numpy(), out=out.numpy())
        return out


Tiles = NumpyTiles | TorchTiles


class Team:
    """`size` workers that take items in turn; one worker means that the library shares the cores itself."""

    def __init__(self, tiles: Tiles, size: int) -> None:
        self.tiles, self.size = tiles, size
        self._pool = ThreadPoolExecutor(size - 1) if size > 1 else None

    def run(self, work: Callable[[int, Iterable[Any]], Part], items: Sequence[Any]) -> list[Part]:
        """work(worker, items it takes) of each worker; the calling thread is worker 0."""
        if self._pool is None:
            return [work(0, items)]
        shared = iter(items)  # `next` on a sequence's iterator is atomic
        with self.tiles.one_thread():
            others = [self._pool.submit(work, worker, shared) for worker in range(1, self.size)]
            first = work(0, shared)
            return [first, *(other.result() for other in others)]


def ways(name: str, threads: int) -> list[Team]:
    """Ways of sharing `threads` cores for the expert `name`, likeliest first."""
    if name == "numpy expert":
        return [Team(NumpyTiles(), count) for count in ([threads, 1] if threads > 1 else [1])]
    shared = [Team(LentTiles(), threads), Team(TorchTiles(), threads)]
    return [*shared, Team(TorchTiles(), 1)] if threads > 1 else shared


def tuned(tier: str, build: Callable[..., Call], choices: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The choice whose call ran fastest, of those there was time to try; give the likeliest first."""
    fastest, chosen, begin = float("inf"), None, perf_counter()
    for choice in choices:
        call = build(*choice)
        for _ in range(4):
            start = perf_counter()
            call()
            elapsed = perf_counter() - start
            if elapsed < fastest:
                fastest, chosen = elapsed, choice
            elif elapsed > HOPELESS * fastest:
                break
        if perf_counter() - begin > TUNING_SECONDS[tier]:
            break
    if chosen is None:
        raise ValueError("choices must hold at least one entry")
    return chosen
