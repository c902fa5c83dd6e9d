"""Figures of the fault injections: what each test injected, how many frames went in and out, and what differed.

Every test leaves its own as a file; ``python -m tests.faults.figures`` writes the table of all into
``docs/reliability.md``, between its two marks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "test-artifacts" / "faults"
_PAGE = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- figures begin -->", "<!-- figures end -->"


class FaultFigures(msgspec.Struct, frozen=True):
    """What one test did.

    Attributes
    ----------
    n_in, n_out : int
        Frames that reached the disk, and frames with exactly one terminal state.
    n_different : int
        Frames that differ from the undisturbed night.
    """

    what: str
    n_faults: int
    n_in: int
    n_out: int
    n_different: int
    seconds: float
    remark: str = ""


def save(figures: FaultFigures, folder: Path = FOLDER) -> None:
    """Keep the figures of one test, instead of those of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() else "-" for letter in figures.what)
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)))


def load(folder: Path = FOLDER) -> list[FaultFigures]:
    """Figures of all tests that ran, by name."""
    decoder = msgspec.json.Decoder(FaultFigures)
    return [decoder.decode(path.read_bytes()) for path in sorted(folder.glob("*.json"))]


def table(figures: list[FaultFigures]) -> str:
    """A table of Markdown, with a last line of sums."""
    lines = ["| faults | injected | frames in | frames out | different | seconds |", "|---|---|---|---|---|---|"]
    for one in figures:
        what = f"{one.what} ({one.remark})" if one.remark else one.what
        lines.append(f"| {what} | {one.n_faults} | {one.n_in} | {one.n_out} | {one.n_different} | {one.seconds:.0f} |")
    sums = [sum(getattr(one, name) for one in figures) for name in ("n_faults", "n_in", "n_out", "n_different")]
    seconds = sum(one.seconds for one in figures)
    return "\n".join([*lines, f"| **all** | {' | '.join(map(str, sums))} | {seconds:.0f} |"])


def written_into(text: str, figures: list[FaultFigures]) -> str:
    """The page with the table between its marks."""
    before, _, rest = text.partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise ValueError(f"{_PAGE} lacks the marks {_BEGIN} and {_END}")
    return f"{before}{_BEGIN}\n{table(figures)}\n{_END}{after}"


def main() -> int:
    """Write the table into the page, and to the terminal."""
    figures = load()
    if not figures:
        sys.stderr.write(f"error: there are no figures in {FOLDER}: make faults leaves them\n")
        return 1
    _PAGE.write_text(written_into(_PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
    sys.stdout.write(table(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
