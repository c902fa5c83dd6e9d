"""Rows for tests of the ledger: catalogs, arrivals and measurements with numbers that can be told apart."""

from __future__ import annotations

import numpy as np

from stream.config import FORCED_PHOTOMETERS, OPTIMAL_LABEL, Recipe
from stream.instruments import OPTICAM_MX
from stream.messages import SOURCE_COLUMNS, Catalog, FrameArrived, FrameMeasured, FrameToMeasure

RECIPE = Recipe(instrument=OPTICAM_MX(), photometers=FORCED_PHOTOMETERS)


def make_catalog(key: str = "1:g", n_sources: int = 3, version: str = "abc") -> Catalog:
    """Return a catalog with sources on a diagonal."""
    ones = (1.5,) * n_sources
    positions = tuple(50.0 + 40.0 * number for number in range(n_sources))
    return Catalog(
        key=key,
        version=version,
        frame_shape=(512, 512),
        binning=4,
        exposure_s=1.0,
        fwhm_px=3.5,
        pixel_scale_arcsec=0.56,
        x=positions,
        y=positions,
        flux_e=tuple(1e5 / (number + 1) for number in range(n_sources)),
        semi_major_sigma_px=ones,
        semi_minor_sigma_px=ones,
        orientation_deg=ones,
        frames=("a.fits",),
    )


def make_arrival(number: int, key: str | None = "1:g") -> FrameArrived:
    """Return the arrival of frame `number`, one second after the one before."""
    return FrameArrived(
        path=f"{number:06d}{(key or 'none').replace(':', '-')}.fit",
        size_bytes=527_040,
        mtime_ns=number,
        arrived_unix_s=1.7e9 + number,
        key=key,
        time_mjd_utc=60270.0 + number / 86400.0,
    )


def make_measured(frame: FrameToMeasure, number: int, key: str = "1:g", n_sources: int = 3) -> FrameMeasured:
    """Return a measurement whose fluxes are 1000 x source number + frame number."""
    sources = np.zeros((len(SOURCE_COLUMNS), n_sources), dtype="<f8")
    fluxes = 1000.0 * np.arange(1, n_sources + 1) + number
    sources[SOURCE_COLUMNS.index(f"{OPTIMAL_LABEL}_flux")] = fluxes
    sources[SOURCE_COLUMNS.index(f"{OPTIMAL_LABEL}_flux_err")] = np.sqrt(fluxes)
    sources[SOURCE_COLUMNS.index("flags"), 0] = 1
    return FrameMeasured(
        frame_id=frame.frame_id,
        path=frame.path,
        key=key,
        recipe_hash=RECIPE.hash(),
        catalog_version="abc",
        time_mjd_utc=60270.0 + number / 86400.0,
        time_bmjd_tdb=float("nan"),
        exposure_s=1.0,
        airmass=1.2,
        fwhm_px=3.5,
        semi_major_sigma_px=1.6,
        semi_minor_sigma_px=1.4,
        orientation_deg=10.0,
        sky_e_per_px=100.0,
        shift_x_px=0.5,
        shift_y_px=-0.5,
        rotation_deg=0.1,
        scale=1.0,
        transparency=0.98,
        n_aligned=3,
        alignment_rms_px=0.02,
        flags=1 << 10,
        core_s=0.002,
        sources=sources.tobytes(),
    )
