"""Figures of the fault injections: what each test injected, how many frames went in and out, and what differed.

Every test leaves its own as a file; ``python -m tests.faults.figures`` writes the table of all into
``docs/reliability.md``, between its two marks. ``python -m tests.faults.figures night`` does so with the night of
100,000 frames, which has marks of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "test-artifacts" / "faults"
_PAGE = ROOT / "docs" / "reliability.md"
_LONG_NIGHT = 50_000


class FaultFigures(msgspec.Struct, frozen=True):
    """What one test did.

    Attributes
    ----------
    n_in, n_out : int
        Frames that reached the disk, and frames with exactly one terminal state.
    n_different : int
        Frames that differ from the undisturbed night.
    day : str
        When it ran.
    load : float
        Load average of the machine at its end.
    """

    what: str
    n_faults: int
    n_in: int
    n_out: int
    n_different: int
    seconds: float
    remark: str = ""
    day: str = ""
    load: float = 0.0

    @property
    def is_night(self) -> bool:
        """Whether this is the night of 100,000 frames."""
        return self.what.startswith("a mixed night") and self.n_in >= _LONG_NIGHT


def save(figures: FaultFigures, folder: Path = FOLDER) -> None:
    """Keep the figures of one test, instead of those of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() else "-" for letter in figures.what)
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)))


def load(folder: Path = FOLDER, *, night: bool = False) -> list[FaultFigures]:
    """Figures of all tests that ran, by name: of the night of 100,000 frames, or of all others."""
    decoder = msgspec.json.Decoder(FaultFigures)
    found = [decoder.decode(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    return [one for one in found if one.is_night == night]


def table(figures: list[FaultFigures]) -> str:
    """A table of Markdown, with a last line of sums."""
    lines = ["| faults | injected | frames in | frames out | different | seconds |", "|---|---|---|---|---|---|"]
    for one in figures:
        what = f"{one.what} ({one.remark})" if one.remark else one.what
        lines.append(f"| {what} | {one.n_faults} | {one.n_in} | {one.n_out} | {one.n_different} | {one.seconds:.0f} |")
    sums = [sum(getattr(one, name) for one in figures) for name in ("n_faults", "n_in", "n_out", "n_different")]
    seconds = sum(one.seconds for one in figures)
    return "\n".join(
        [*lines, f"| **all** | {' | '.join(map(str, sums))} | {seconds:.0f} |", "", _circumstances(figures)]
    )


def _circumstances(figures: list[FaultFigures]) -> str:
    days = sorted({one.day for one in figures})
    loads = [one.load for one in figures]
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    load_average = f"{min(loads):.1f} to {max(loads):.1f}"
    return f"Run on {when} on {os.cpu_count()} cores; load average, with the tests themselves: {load_average}."


def written_into(text: str, figures: list[FaultFigures], name: str = "figures") -> str:
    """The page with the table between its marks."""
    begin, end = f"<!-- {name} begin -->", f"<!-- {name} end -->"
    before, _, rest = text.partition(begin)
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"{_PAGE} lacks the marks {begin} and {end}")
    return f"{before}{begin}\n{table(figures)}\n{end}{after}"


def main(words: Sequence[str]) -> int:
    """Write the table into the page, and to the terminal."""
    is_night = list(words) == ["night"]
    figures = load(night=is_night)
    if not figures:
        leaves = "make faults-night" if is_night else "make faults"
        sys.stderr.write(f"error: there are no such figures in {FOLDER}: {leaves} leaves them\n")
        return 1
    name = "night" if is_night else "figures"
    _PAGE.write_text(written_into(_PAGE.read_text(encoding="utf-8"), figures, name), encoding="utf-8")
    sys.stdout.write(table(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
