"""Parts of a user's own: classes named as ``package.module:Class``, made where they are used, and guarded there.

A recipe names such a class and does not hold it, so that no object crosses a process boundary: each worker imports
the class and makes one object of it without arguments, which serves all of its frames. What the parts are asked for is
in `stream.measure.protocols`.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from stream.errors import ConfigurationError, FrameRejectedError, Reason

PartKind = Literal["photometer", "background", "finder", "instrument"]

METHODS: Mapping[PartKind, str] = MappingProxyType(
    {"photometer": "measure", "background": "estimate", "finder": "find", "instrument": "describe"}
)
"""The method that each kind of part must have."""

_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_PART_NAME = re.compile(f"{_DOTTED}:{_DOTTED}")
_log = logging.getLogger(__name__)


def is_part_name(text: str) -> bool:
    """Whether a text has the form ``package.module:Class``."""
    return _PART_NAME.fullmatch(text) is not None


def short_name(name: str) -> str:
    """Class of ``package.module:Class`` in lower case, as it stands in labels."""
    return name.rpartition(":")[2].rpartition(".")[2].lower()


def name_of_part(part: object, kind: PartKind) -> str:
    """Name a part that is given as an object, as its class, or by its name already.

    Raises
    ------
    ConfigurationError
        If a worker could not make the same object from the name: the class is not in a module, is not of this kind,
        or the object differs from one that is made without arguments.
    """
    if isinstance(part, str):
        if not is_part_name(part):
            raise ConfigurationError(f"own {kind} {part!r} must be named as 'package.module:Class'")
        load_part(part, kind)
        return part
    made = part if isinstance(part, type) else type(part)
    name = f"{made.__module__}:{made.__qualname__}"
    if made.__module__ == "__main__" or not is_part_name(name):
        raise ConfigurationError(
            f"own {kind} {made.__qualname__} must be a class of a module, which the workers can import: "
            f"it is defined in {'the notebook or script itself' if made.__module__ == '__main__' else 'a function'}"
        )
    fresh = load_part(name, kind)
    if not isinstance(part, type) and not _same_state(part, fresh):
        raise ConfigurationError(
            f"own {kind} {name} is given as an object that differs from {made.__qualname__}(), which is what the "
            "workers make: a class with the settings as its defaults is required, given itself or by its name"
        )
    return name


@cache
def load_part(name: str, kind: PartKind) -> Any:
    """Import a class and make the one object of it that serves this process.

    Modules are searched where Python searches, and in the folder that the program was started in.

    Raises
    ------
    ConfigurationError
        If there is no such module or class, importing it or making the object fails, or the object lacks the method
        of its kind (`METHODS`).
    """
    module_name, _, class_name = name.partition(":")
    found = _import(module_name, f"own {kind} {name}")
    for inner in class_name.split("."):
        found = getattr(found, inner, None)
    if not isinstance(found, type):
        raise ConfigurationError(f"own {kind} {name}: module {module_name} has no class {class_name}")
    try:
        part = found()
    except Exception as error:
        raise ConfigurationError(
            f"own {kind} {name}: {class_name}() failed with {_in_words(error)}; it must be made without arguments"
        ) from error
    if not callable(getattr(part, METHODS[kind], None)):
        raise ConfigurationError(f"own {kind} {name} must have a method {METHODS[kind]!r}: see docs/own_parts.md")
    return part


def check_parts(parts: Iterable[tuple[str, PartKind]]) -> None:
    """Load parts before a night begins that would reject every frame without them; raises ConfigurationError."""
    for name, kind in parts:
        load_part(name, kind)


@contextmanager
def guarded(name: str, kind: PartKind, frame_name: str) -> Iterator[None]:
    """Turn whatever an own part raises over a frame into the rejection of that frame; the log has the traceback.

    Raises
    ------
    FrameRejectedError
        With `Reason.OWN_PART_FAILED`; or as it is, where the part itself raised one.
    """
    try:
        yield
    except FrameRejectedError:
        raise
    except (Exception, SystemExit) as error:
        _log.exception("own %s %s, %s", kind, name, frame_name)
        sentence = f"{frame_name}: own {kind} {name} failed with {_in_words(error)}"
        raise FrameRejectedError(Reason.OWN_PART_FAILED, sentence) from error


def refuse_result(name: str, kind: PartKind, what: str) -> FrameRejectedError:
    """Error for a part that returned something else than its protocol says; `what` says what, and what is required."""
    return FrameRejectedError(Reason.OWN_PART_FAILED, f"own {kind} {name} returned {what}")


def _import(module_name: str, part: str) -> Any:
    here = os.getcwd()  # noqa: PTH109  (an entry of sys.path is text)
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigurationError(f"{part}: importing {module_name} failed with {_in_words(error)}") from error
        raise ConfigurationError(f"{part}: there is no module {error.name} in PYTHONPATH or in {here}") from error
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{part}: importing {module_name} failed with {_in_words(error)}") from error


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no text'}"


def _same_state(one: object, other: object) -> bool:
    first, second = _state(one), _state(other)
    return first.keys() == second.keys() and all(_equal(first[name], second[name]) for name in first)


def _state(part: object) -> dict[str, Any]:
    slots = [name for each in type(part).__mro__ for name in getattr(each, "__slots__", ())]
    held = {name: getattr(part, name) for name in slots if name != "__dict__" and hasattr(part, name)}
    return held | getattr(part, "__dict__", {})


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (ValueError, TypeError):  # arrays have no one truth: what cannot be compared is taken for different
        return False
