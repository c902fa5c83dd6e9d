"""A night that nobody observed, written through the real ledger and published as the real broker does.

Three keys, six sources, the second of them varies with a fractional rms of 0.02 at 0.135 Hz and lags by a quarter of a
cycle from key to key; the field drifts. The numbers are those of one seed.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.alerts import Alert
from stream.config import FORCED_PHOTOMETERS, PHOTOMETER_LABELS, Recipe
from stream.errors import Reason
from stream.flags import Flag
from stream.instruments import OPTICAM_MX
from stream.messages import (
    SOURCE_COLUMNS,
    Catalog,
    FrameArrived,
    FrameMeasured,
    FrameRejected,
    NightStatus,
)
from stream.night.ledger import Ledger

FREQUENCY_HZ = 0.135
RMS = 0.02
VARIABLE = 2
NOISE = 0.004
KEYS = ("1:g", "2:r", "3:i")
SIDE_PX = 256
START_MJD = 61000.125
POSITIONS = ((40.0, 60.0), (131.0, 115.0), (200.0, 50.0), (90.0, 200.0), (210.0, 190.0), (60.0, 130.0))
FLUXES_E = (90_000.0, 70_000.0, 60_000.0, 50_000.0, 40_000.0, 30_000.0)


@dataclass(frozen=True, slots=True)
class Cadence:
    """Time between frames of one key, how many of them are rejected and flagged, and a transit, if it has a depth."""

    step_s: float = 1.0
    rejected_each: int = 97
    flagged_each: int = 41
    transit_depth: float = 0.0
    transit_s: tuple[float, float, float] = (700.0, 500.0, 80.0)
    """Middle, duration and ingress, from the first frame on."""

    def transit(self, index: int) -> float:
        """Share of the flux of the variable that is left on a frame."""
        middle_s, duration_s, ingress_s = self.transit_s
        inside = (0.5 * duration_s - abs(index * self.step_s - middle_s)) / ingress_s
        return 1.0 - self.transit_depth * min(1.0, max(0.0, inside))


def catalog_of(key: str) -> Catalog:
    """The catalog of one key; all keys see the same field."""
    n_sources = len(POSITIONS)
    return Catalog(
        key=key,
        version=f"catalog-{key}",
        frame_shape=(SIDE_PX, SIDE_PX),
        binning=4,
        exposure_s=1.0,
        fwhm_px=4.0,
        pixel_scale_arcsec=0.56,
        x=tuple(x for x, _y in POSITIONS),
        y=tuple(y for _x, y in POSITIONS),
        flux_e=FLUXES_E,
        semi_major_sigma_px=(1.7,) * n_sources,
        semi_minor_sigma_px=(1.6,) * n_sources,
        orientation_deg=(0.0,) * n_sources,
        frames=("first.fit",),
    )


def drift_px(index: int) -> float:
    """How far the field has moved on a frame."""
    return 6.0 * math.sin(index / 90.0)


class FakeNight:
    """Writes frames of all keys into the ledger of `out`, in steps of one frame a key.

    Parameters
    ----------
    out : Path
        Folder of the night; made if it is not there.
    frames : Path or None
        Folder that pictures are written to, one a key, linked under the name of every frame.
    """

    def __init__(self, out: Path, *, frames: Path | None = None, cadence: Cadence = Cadence()) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out = out
        self.cadence = cadence
        self.index = 0
        self.n_measured = self.n_rejected = 0
        self._frames = frames
        self._random = np.random.default_rng(7)
        self._recipe = Recipe(instrument=OPTICAM_MX(), photometers=FORCED_PHOTOMETERS)
        self._ledger = Ledger(out, self._recipe, folder=frames or out)
        self._save_catalogs()
        if frames is not None:
            frames.mkdir(parents=True, exist_ok=True)
        self.save_status("live")

    def _save_catalogs(self) -> None:
        for key in KEYS:
            self._ledger.save_catalog(catalog_of(key))

    def remeasure(self) -> None:
        """Go on in a second set of measurements with the same recipe and catalogs."""
        self._ledger.close()
        self._ledger = Ledger(self.out, self._recipe, folder=self._frames or self.out, remeasure=True)
        self._save_catalogs()

    def complete_late(self, key: str, index: int) -> None:
        """Let a frame that was rejected be measured after all."""
        arrival = msgspec.structs.replace(self._arrival(key, index), size_bytes=200_000)
        (frame,) = self._ledger.enter([arrival])
        self._ledger.commit([self._outcome(frame.frame_id, frame.path, key, 0)])

    def correct(self, key: str, index: int, late_s: float) -> FrameMeasured:
        """Let a frame be overwritten by one that began so many seconds later, and be measured again."""
        (frame,) = self._ledger.enter([msgspec.structs.replace(self._arrival(key, index), mtime_ns=10**9 + index)])
        outcome = self._outcome(frame.frame_id, frame.path, key, index)
        assert isinstance(outcome, FrameMeasured)
        time_mjd = outcome.time_mjd_utc + late_s / 86400.0
        (committed,) = self._ledger.commit([msgspec.structs.replace(outcome, time_mjd_utc=time_mjd)])
        assert isinstance(committed, FrameMeasured)
        return committed

    def advance(self, n_steps: int, *, publish: bool = True) -> list[FrameMeasured | FrameRejected]:
        """Commit `n_steps` more frames of every key in one transaction and return them with their sequences."""
        names = [(key, index) for index in range(self.index, self.index + n_steps) for key in KEYS]
        self.index += n_steps
        arrivals = [self._arrival(key, index) for key, index in names]
        entered = self._ledger.enter(arrivals)
        outcomes = [
            self._outcome(frame.frame_id, frame.path, key, index)
            for frame, (key, index) in zip(entered, names, strict=True)
        ]
        committed = self._ledger.commit(outcomes)
        self.n_rejected += sum(isinstance(outcome, FrameRejected) for outcome in committed)
        self.n_measured += sum(isinstance(outcome, FrameMeasured) for outcome in committed)
        self.save_status("live")
        if self._frames is not None:
            self._write_pictures(names[-len(KEYS) :])
        return committed

    def save_status(self, state: str) -> NightStatus:
        """Store the health of the night."""
        now = time.time()
        status = NightStatus(
            state=state,
            unix_s=now,
            n_measured=self.n_measured,
            n_rejected=self.n_rejected,
            n_waiting=0,
            n_queued=2,
            n_in_work=2,
            n_workers=2,
            n_worker_restarts=0,
            frames_per_s=3.0 / self.cadence.step_s,
            lag_s=0.02,
            last_frame_unix_s=now if self.index else math.nan,
            awaited=(),
        )
        self._ledger.save_status(status)
        return status

    def tell(self, *alerts: Alert) -> None:
        """Store alerts."""
        self._ledger.save_alerts(alerts)

    def finish(self) -> None:
        """End the night and close its ledger."""
        self.save_status("finished")
        self._ledger.close()

    def _arrival(self, key: str, index: int) -> FrameArrived:
        return FrameArrived(
            path=f"frame_{key.replace(':', '-')}_{index:06d}.fit",
            size_bytes=131_072,
            mtime_ns=index,
            arrived_unix_s=time.time(),
            key=key,
            time_mjd_utc=START_MJD + index * self.cadence.step_s / 86400.0,
        )

    def _outcome(self, frame_id: int, path: str, key: str, index: int) -> FrameMeasured | FrameRejected:
        if index % self.cadence.rejected_each == self.cadence.rejected_each - 1:
            sentence = f"{path} holds 100 bytes of data where its header promises 131072"
            return FrameRejected(frame_id, path, Reason.TRUNCATED, sentence, key)
        table = source_table(key, index, self.cadence, self._random)
        time_mjd = START_MJD + index * self.cadence.step_s / 86400.0
        return FrameMeasured(
            frame_id=frame_id,
            path=path,
            key=key,
            recipe_hash=self._recipe.hash(),
            catalog_version=f"catalog-{key}",
            time_mjd_utc=time_mjd,
            time_bmjd_tdb=time_mjd + 300.0 / 86400.0,
            exposure_s=1.0,
            airmass=1.2,
            fwhm_px=4.0,
            semi_major_sigma_px=1.7,
            semi_minor_sigma_px=1.6,
            orientation_deg=0.0,
            sky_e_per_px=100.0,
            shift_x_px=drift_px(index),
            shift_y_px=0.0,
            rotation_deg=0.0,
            scale=1.0,
            transparency=1.0,
            n_aligned=6,
            alignment_rms_px=0.1,
            flags=0,
            core_s=0.002,
            sources=table.astype("<f8").tobytes(),
        )

    def _write_pictures(self, names: list[tuple[str, int]]) -> None:
        assert self._frames is not None
        for key, index in names:
            path = self._frames / self._arrival(key, index).path
            temporary = path.with_suffix(".part")
            write_picture(temporary, drift_px(index), self._random)
            temporary.replace(path)


def source_table(key: str, index: int, cadence: Cadence, random: np.random.Generator) -> NDArray[np.float64]:
    """The table of sources of one frame; source 5 has no flux on every 50th."""
    n_sources = len(POSITIONS)
    clouds = 1.0 + 0.1 * math.sin(index / 200.0)
    flux = np.array(FLUXES_E) * clouds
    phase = 2.0 * math.pi * FREQUENCY_HZ * index * cadence.step_s - 0.5 * math.pi * KEYS.index(key)
    flux[VARIABLE - 1] *= 1.0 + math.sqrt(2.0) * RMS * math.sin(phase)
    flux[VARIABLE - 1] *= cadence.transit(index)
    flux *= 1.0 + NOISE * random.standard_normal(n_sources)
    flags = np.zeros(n_sources)
    if index % cadence.flagged_each == 7:
        flags[VARIABLE - 1] = int(Flag.SATURATED)
    if index % 50 == 3:
        flux[4], flags[4] = math.nan, int(Flag.OFF_FRAME)
    rows = {
        "x": np.array([x for x, _y in POSITIONS]) + drift_px(index),
        "y": np.array([y for _x, y in POSITIONS]),
        "sky_e_per_px": np.full(n_sources, 100.0),
        "peak_adu": np.full(n_sources, 20_000.0),
        "flags": flags,
    }
    for label in PHOTOMETER_LABELS:
        rows[f"{label}_flux"], rows[f"{label}_flux_err"] = flux, np.array(FLUXES_E) * NOISE
    return np.array([rows[name] for name in SOURCE_COLUMNS])


def write_picture(path: Path, shift_px: float, random: np.random.Generator) -> None:
    """Write a frame of the field as the camera would."""
    from astropy.io import fits

    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    image = random.normal(300.0, 12.0, (SIDE_PX, SIDE_PX))
    for (source_x, source_y), flux in zip(POSITIONS, FLUXES_E, strict=True):
        image += flux / 40.0 * np.exp(-((x - source_x - shift_px) ** 2 + (y - source_y) ** 2) / (2.0 * 1.7**2))
    fits.PrimaryHDU(np.clip(image, 0, 65535).astype(np.uint16)).writeto(path, overwrite=True)
