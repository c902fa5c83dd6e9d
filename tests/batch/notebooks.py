"""A notebook of docs/, executed cell by cell in a fresh kernel, and what its cells said and showed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parents[2] / "docs"
_LONGEST_CELL_S = 240


class Executed:
    """A notebook after its cells ran in an empty folder.

    Parameters
    ----------
    name : str
        File in docs/.
    folder : Path
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.reduced = folder / "out" / "reduced"
        self._book: Any = nbformat.read(DOCS / name, as_version=4)
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(self._book, timeout=_LONGEST_CELL_S, kernel_name="python3", resources=resources).execute()

    def outputs(self, words: str) -> list[Any]:
        """Outputs of the only cell of code with these words."""
        (cell,) = (cell for cell in self._book.cells if cell.cell_type == "code" and words in cell.source)
        return list(cell.outputs)

    def said(self, words: str, stream: str = "stdout") -> str:
        """What that cell wrote."""
        return "".join(each.text for each in self.outputs(words) if each.get("name") == stream)

    def n_pictures(self, words: str) -> int:
        """How many pictures stand below that cell."""
        return sum("image/png" in each.get("data", {}) for each in self.outputs(words))

    def n_all_pictures(self) -> int:
        """How many pictures stand below all cells."""
        outputs = [each for cell in self._book.cells for each in cell.get("outputs", [])]
        return sum("image/png" in each.get("data", {}) for each in outputs)


@contextmanager
def executed_notebook(name: str, folder: Path) -> Iterator[Executed]:
    """Execute a notebook with all that Jupyter keeps in the same folder."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
            patch.setenv(variable, str(folder / variable.lower()))
        yield Executed(name, folder)
