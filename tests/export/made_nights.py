"""Nights in a ledger, made from light curves with known truth, without frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from stream.config import APERTURE_LABEL, FORCED_PHOTOMETERS, OPTIMAL_LABEL, Recipe
from stream.flags import Flag
from stream.instruments import OPTICAM_MX
from stream.messages import SOURCE_COLUMNS, FrameArrived, FrameMeasured, Selection, SourceFluxes
from stream.night.ledger import Ledger
from stream.selection import save_selection
from tests.analysis.synthetic import Field, make_catalog

RECIPE = Recipe(instrument=OPTICAM_MX(), photometers=FORCED_PHOTOMETERS)
XY = np.array([[60.0, 80.0], [420.0, 100.0], [300.0, 250.0], [90.0, 400.0], [440.0, 430.0], [200.0, 180.0]])
N_FRAMES = 120


def write_night(out: Path, keys: dict[str, SourceFluxes], optimal: dict[str, SourceFluxes] | None = None) -> None:
    """Enter light curves of both standard photometers; the optimal ones are a tenth brighter, unless they are given."""
    ledger = Ledger(out, RECIPE, folder=out / "frames")
    for key, fluxes in keys.items():
        ledger.save_catalog(make_catalog(key, XY))
        names = [f"n#{number:04d},{key.replace(':', '-')}.fit" for number in range(len(fluxes.frame_ids))]
        frames = ledger.enter([FrameArrived(name, 1, number, 0.0, key) for number, name in enumerate(names)])
        by_label = {
            APERTURE_LABEL: fluxes,
            OPTIMAL_LABEL: optimal[key]
            if optimal
            else replace(fluxes, flux=1.1 * fluxes.flux, flux_err=1.1 * fluxes.flux_err),
        }
        ledger.commit([_measured(by_label, row, frame.frame_id, frame.path) for row, frame in enumerate(frames)])
    ledger.close()


def _measured(by_label: dict[str, SourceFluxes], row: int, frame_id: int, path: str) -> FrameMeasured:
    fluxes = by_label[APERTURE_LABEL]
    sources = np.zeros((len(SOURCE_COLUMNS), fluxes.n_sources), dtype="<f8")
    sources[SOURCE_COLUMNS.index("flags")] = fluxes.flags[row]
    for label, measured in by_label.items():
        sources[SOURCE_COLUMNS.index(f"{label}_flux")] = measured.flux[row]
        sources[SOURCE_COLUMNS.index(f"{label}_flux_err")] = measured.flux_err[row]
    return FrameMeasured(
        frame_id=frame_id,
        path=path,
        key=fluxes.key,
        recipe_hash=RECIPE.hash(),
        catalog_version="v1",
        time_mjd_utc=float(fluxes.time_mjd_utc[row]),
        time_bmjd_tdb=float(fluxes.time_bmjd_tdb[row]),
        exposure_s=1.0,
        airmass=1.25,
        fwhm_px=4.0,
        semi_major_sigma_px=1.8,
        semi_minor_sigma_px=1.6,
        orientation_deg=0.0,
        sky_e_per_px=10.0,
        shift_x_px=0.0,
        shift_y_px=0.0,
        rotation_deg=0.0,
        scale=1.0,
        transparency=1.0,
        n_aligned=6,
        alignment_rms_px=0.02,
        flags=0,
        core_s=0.002,
        sources=sources.tobytes(),
    )


def make_night(out: Path) -> Path:
    """Two keys whose source 6 varies and is the target: 1:g with barycentric times and a hole, 2:r without."""
    first = Field(n_frames=N_FRAMES, variable=6).make()
    first.flux[7, 5], first.flux_err[7, 5], first.flags[7, 5] = np.nan, np.nan, int(Flag.NON_FINITE)
    second = Field(n_frames=N_FRAMES, variable=6, key="2:r", seed=2).make()
    second.time_bmjd_tdb[:] = np.nan
    write_night(out, {"1:g": first, "2:r": second})
    save_selection(out, Selection(requested_target="1:g#6"))
    return out
