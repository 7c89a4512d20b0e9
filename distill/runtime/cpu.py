"""How many threads numpy's linear algebra uses."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any


def one_blas_thread() -> AbstractContextManager[Any]:
    """For ``with``, around small products that are done thousands of times; or called alone, for the whole process.

    OpenBLAS divides even those between all cores and waits for them at every product. Where something else keeps a core
    busy, such as the next process of the same job, its share is late each time: 1000 ms instead of 14 for finding out
    whether an answer is bent. The setting is the process's: of threads that overlap, the first one decides.
    """
    return _pools().limit(limits=1)


@lru_cache(maxsize=1)
def _pools() -> Any:
    import scipy.linalg  # noqa: F401 - scipy's own library, and numpy's, have to be there to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
