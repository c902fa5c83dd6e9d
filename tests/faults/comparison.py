"""What must be equal of two reductions of the same frames, however the nights went."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from stream.messages import FrameMeasured, FrameRejected
from stream.night.ledger import LEDGER_FILE, LedgerReader

_OF_THE_ERROR = 1e-3
_ALL = 10_000_000
_SAME_FIELDS = ("key", "catalog_version", "time_mjd_utc", "exposure_s", "flags", "n_aligned")


def outcomes_of(out: Path) -> dict[str, FrameMeasured | FrameRejected]:
    """Outcomes of the newest set of measurements, by path."""
    reader = LedgerReader(out)
    try:
        return {outcome.path: outcome for outcome in reader.outcomes_since(0, _ALL)}
    finally:
        reader.close()


def closed_once(out: Path, paths: Sequence[str]) -> list[str]:
    """What is wrong with the ledger as a list of frames: missing, unknown, open, closed twice, out of sequence."""
    with sqlite3.connect(f"file:{out / LEDGER_FILE}?mode=ro", uri=True) as ledger:
        known = [path for (path,) in ledger.execute("SELECT path FROM frame")]
        rows = ledger.execute(
            "SELECT frame.path, COUNT(outcome.sequence) FROM frame LEFT JOIN outcome USING (frame_id) GROUP BY frame_id"
        ).fetchall()
        (integrity,) = ledger.execute("PRAGMA integrity_check").fetchone()
    ledger.close()
    wrong = [] if integrity == "ok" else [f"the ledger is damaged: {integrity}"]
    wrong += [f"{path} is not in the ledger" for path in sorted(set(paths) - set(known))]
    wrong += [f"{path} is in the ledger, but not in the night" for path in sorted(set(known) - set(paths))]
    return wrong + [f"{path} has {n} outcomes" for path, n in rows if n != 1]


def n_closed(out: Path) -> int:
    """Frames with exactly one outcome in the newest set of measurements."""
    reader = LedgerReader(out)
    try:
        counts = reader.counts()
    finally:
        reader.close()
    return counts.n_measured + counts.n_rejected


def differences(
    out: Path,
    undisturbed: Path,
    paths: Sequence[str] | None = None,
    *,
    rejected: Sequence[str] = (),
    original: Callable[[str], str] = lambda path: path,
) -> list[str]:
    """How a night differs from its undisturbed reduction, one sentence each; none if it does not.

    Parameters
    ----------
    paths : sequence of str, optional
        All frames that the night must know; those of the undisturbed night unless given.
    rejected : sequence of str
        Those among them that are to be rejected, for what was done to them.
    original : callable
        Path that a frame of the night has in the undisturbed one, where it has another name there.
    """
    expected, found = outcomes_of(undisturbed), outcomes_of(out)
    wanted = list(expected) if paths is None else list(paths)
    wrong = closed_once(out, wanted)
    for path in wanted:
        if path in rejected:
            wrong += [] if isinstance(found.get(path), FrameRejected) else [f"{path}: it is not rejected"]
        elif path in found:
            wrong += [f"{path}: {what}" for what in _unlike(found[path], expected[original(path)])]
    return wrong


def _unlike(found: FrameMeasured | FrameRejected, expected: FrameMeasured | FrameRejected) -> list[str]:
    if isinstance(found, FrameRejected):
        return [] if isinstance(expected, FrameRejected) else [f"rejected: {found.sentence}"]
    if isinstance(expected, FrameRejected):
        return ["measured"]
    wrong = [
        f"{name} is {getattr(found, name)}, not {getattr(expected, name)}"
        for name in _SAME_FIELDS
        if getattr(found, name) != getattr(expected, name)
    ]
    return wrong or _unlike_sources(found, expected)


def _unlike_sources(found: FrameMeasured, expected: FrameMeasured) -> list[str]:
    """Fluxes and errors within a thousandth of the error, NaN in the same places, the same flags."""
    ours = dict(zip(found.columns(), found.source_table(), strict=True))
    theirs = dict(zip(expected.columns(), expected.source_table(), strict=True))
    wrong = [] if np.array_equal(ours["flags"], theirs["flags"]) else ["flags of sources differ"]
    for label in expected.labels:
        error = theirs[f"{label}_flux_err"]
        for column in (f"{label}_flux", f"{label}_flux_err"):
            if not np.array_equal(np.isnan(ours[column]), np.isnan(theirs[column])):
                wrong.append(f"{column} is NaN elsewhere")
            elif np.nanmax(np.abs(ours[column] - theirs[column]) / error, initial=0.0) > _OF_THE_ERROR:
                wrong.append(f"{column} differs by more than a thousandth of the error")
    return wrong
