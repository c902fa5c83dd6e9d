"""A whole night at once: columns of all frames of a key, where `LedgerReader` answers for one frame after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from stream.messages import FloatArray, FrameMeasured, IntArray, source_columns
from stream.night import ledger_schema as schema
from stream.night.ledger import LedgerReader
from stream.night.night_folder import CALIBRATION_FOLDER

_NUMBERS = tuple(
    field.name
    for field in msgspec.structs.fields(FrameMeasured)
    # A bounded number is an annotated one.
    if getattr(field.type, "__origin__", field.type) in (float, int) and field.name in schema.SCALAR_FIELDS
)


@dataclass(frozen=True, slots=True)
class FrameConditions:
    """What was found on the measured frames of one key, apart from its sources, in order of time.

    Attributes
    ----------
    key : str
    frame_ids : array of int, shape (n_frames,)
    columns : dict of array, shape (n_frames,)
        Scalar fields of `FrameMeasured` by name, as ``fwhm_px``; NaN where unknown.
    """

    key: str
    frame_ids: IntArray
    columns: dict[str, FloatArray]

    def __getitem__(self, name: str) -> FloatArray:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.frame_ids)


class NightReader(LedgerReader):
    """A `LedgerReader` that also reads the columns of a whole night, each with one query."""

    def all_labels(self) -> tuple[str, ...]:
        """Labels of the photometers of all sets of measurements, those of the newest set first."""
        with self._reading() as connection:
            rows = connection.execute("SELECT recipe FROM measurement_set ORDER BY set_id DESC").fetchall()
        return tuple(dict.fromkeys(label for (text,) in rows for label in self._recipe_of(text).labels()))

    def frame_paths(self) -> dict[int, str]:
        """Paths of all frames, relative to `folder`, by number."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT frame_id, path FROM frame").fetchall())

    def masters_folder(self) -> Path:
        """Where the masters of the night are, if it has any."""
        return self._path.parent / CALIBRATION_FOLDER

    def calibrations(self) -> dict[str, tuple[str, ...]]:
        """Versions of the masters that the frames of each key were measured with, in order; empty text for none."""
        versions: dict[str, list[str]] = {}
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT key, COALESCE(calibration_version, '') FROM outcome WHERE set_id = ? AND state = 'measured'"
                " GROUP BY 1, 2 ORDER BY 1, MIN(sequence)",
                (self._set(connection),),
            )
            for key, version in rows:
                versions.setdefault(key, []).append(version)
        return {key: tuple(each) for key, each in versions.items()}

    def header_times(self) -> dict[str, FloatArray]:
        """Middle of the exposures of each key, MJD (UTC), in order; frames that were rejected later included."""
        times: dict[str, list[float]] = {}
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT COALESCE(outcome.key, frame.key), COALESCE(outcome.time_mjd_utc, frame.time_mjd_utc)"
                " FROM frame LEFT JOIN outcome ON outcome.frame_id = frame.frame_id AND outcome.set_id = ?"
                " WHERE COALESCE(outcome.key, frame.key) IS NOT NULL"
                " AND COALESCE(outcome.time_mjd_utc, frame.time_mjd_utc) IS NOT NULL",
                (self._set(connection),),
            )
            for key, time in rows:
                times.setdefault(key, []).append(time)
        return {key: np.sort(np.array(times[key], dtype=np.float64)) for key in sorted(times)}

    def conditions(self, key: str) -> FrameConditions:
        """All scalars of the measured frames of `key`, in order of time; no frames for an unknown key."""
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT frame_id, {', '.join(_NUMBERS)} FROM outcome INDEXED BY outcome_by_time"
                " WHERE set_id = ? AND key = ? AND state = 'measured' ORDER BY time_mjd_utc, frame_id",
                (self._set(connection), key),
            ).fetchall()
        table = np.array(rows, dtype=np.float64).reshape(-1, 1 + len(_NUMBERS)).T
        columns = {name: np.ascontiguousarray(values) for name, values in zip(_NUMBERS, table[1:], strict=True)}
        return FrameConditions(key, table[0].astype(np.int64), columns)

    def peak_counts(self, key: str, frame_ids: IntArray) -> FloatArray:
        """Highest pixel of every source of `key`, counts as in the file, shape (n_frames, n_sources).

        NaN where a source was not measured, and on a frame that is no longer there.

        Parameters
        ----------
        frame_ids : array of int, shape (n_frames,)
            Of `SourceFluxes`.
        """
        with self._reading() as connection:
            set_id = self._set(connection)
            catalog = schema.read_catalogs(connection, set_id)[key]
            row_bytes = 8 * catalog.n_sources
            first = row_bytes * source_columns(self.recipe().labels()).index("peak_adu")
            rows = connection.execute(
                "SELECT frame_id, substr(sources, ?, ?) FROM outcome"
                " WHERE set_id = ? AND key = ? AND state = 'measured' AND catalog_version = ? ORDER BY frame_id",
                (1 + first, row_bytes, set_id, key, catalog.version),
            ).fetchall()
        known = np.array([row[0] for row in rows], dtype=np.int64)
        peaks = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f8").reshape(len(rows), catalog.n_sources)
        found = np.full((len(frame_ids), catalog.n_sources), np.nan)
        there = np.isin(frame_ids, known)
        found[there] = peaks[np.searchsorted(known, frame_ids[there])]
        return found
