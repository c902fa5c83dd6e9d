"""Compiling functions by numba, and keeping the machine code.

The cache is the folder ``__pycache__`` beside the source, or one of the user's where that cannot be written; the
environment variable ``NUMBA_CACHE_DIR`` names another. A file of it is written as a whole or not at all, so that
processes which compile at the same time do not disturb each other. Where no folder can be written, every process
compiles for itself. What changes a file compiles its functions anew: a function therefore calls only those of its own
file. Arithmetic is that of numpy, in the order written: no fast-math, and a division by 0 is not an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_log = logging.getLogger(__name__)

_Function = TypeVar("_Function", bound=Callable[..., object])


def compiled(signature: str) -> Callable[[_Function], _Function]:
    """Compile a function for arguments of these types, or take it from the cache if it is there."""

    def decorate(function: _Function) -> _Function:
        try:
            fast: Any = numba.njit(signature, cache=True, error_model="numpy")(function)
        except RuntimeError:  # "no locator available": numba has nowhere to write
            _log.warning("no folder for compiled code can be written: %s is compiled anew", function.__name__)
            fast = numba.njit(signature, error_model="numpy")(function)
        return cast(_Function, fast)

    return decorate


def inner(function: _Function) -> _Function:
    """Compile a function as a part of those that call it."""
    return cast(_Function, numba.njit(error_model="numpy")(function))
