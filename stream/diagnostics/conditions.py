"""How the night went: time between frames, background, sharpness, tracking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stream.diagnostics.folder import open_night, save
from stream.errors import AnalysisError
from stream.messages import Catalog, FloatArray
from stream.night.night_reader import FrameConditions, NightReader
from stream.plots.nights import NightSeries, Panel, header_times_figure, night_figure

if TYPE_CHECKING:
    from stream.plots import Figure

HEADER_TIMES_FILE = "header_times.pdf"
BACKGROUND_FILE = "background.pdf"
_BACKGROUND_PANELS = (
    Panel("sky_e_per_px_s", "background (e⁻ px⁻¹ s⁻¹)"),
    Panel("transparency", "transparency"),
    Panel("airmass", "airmass", whole=True, least_span=0.01),
)


def write_header_times(out: Path, times: Mapping[str, FloatArray] | None = None) -> Path:
    """Write ``diag/header_times.pdf``: the time between frames of each key.

    Parameters
    ----------
    times : mapping of str to array, optional
        Middle of the exposures by key, MJD (UTC), where there is no ledger yet; by default all frames of the ledger.

    Raises
    ------
    AnalysisError
        If no key has two frames.
    LedgerError
        If `times` is not given and the ledger cannot be read.
    """
    if times is None:
        with open_night(out) as reader:
            times = reader.header_times()
    if not any(len(time) > 1 for time in times.values()):
        raise AnalysisError("the time between frames needs two frames of a key")
    return save(header_times_figure(times), out, HEADER_TIMES_FILE)


def write_background(out: Path) -> Path:
    """Write ``diag/background.pdf``: background and transparency over the night.

    The background is the median over the sources of the local backgrounds, electrons per pixel and second; without
    bias frames it holds the pedestal of the camera.

    Raises
    ------
    AnalysisError
        If no frame is measured.
    """
    return save(background_figure(_all_series(out)), out, BACKGROUND_FILE)


def background_figure(series: Sequence[NightSeries]) -> Figure:
    """Return the figure of `write_background`; columns that no key has get no panel.

    Parameters
    ----------
    series : sequence of NightSeries
        With the column ``sky_e_per_px_s``, and, as far as they are known, ``transparency`` and ``airmass``.
    """
    known = {name for one in series for name in one.columns}
    panels = [panel for panel in _BACKGROUND_PANELS if panel.column in known]
    return night_figure(series, panels, "Background and sky" if len(panels) > 1 else "Background")


def write_psf(out: Path) -> Path:
    """Write ``diag/psf.png``: width, ellipticity and orientation of the stars over the night.

    Raises
    ------
    AnalysisError
        If no frame is measured.
    """
    panels = (
        Panel("fwhm_px", "FWHM (pixels)"),
        Panel("fwhm_arcsec", "FWHM (arcsec)"),
        Panel("ellipticity", "ellipticity 1 - b/a"),
        Panel("orientation_deg", "orientation (deg)", whole=True),
    )
    return save(night_figure(_all_series(out), panels, "Point-spread function"), out, "psf.png")


def write_alignment(out: Path) -> Path:
    """Write ``diag/alignment.png``: shift, rotation, scale, residuals and stars of the alignment over the night.

    Raises
    ------
    AnalysisError
        If no frame is measured.
    """
    panels = (
        Panel("shift_x_px", "shift in x (px)", whole=True),
        Panel("shift_y_px", "shift in y (px)", whole=True),
        Panel("rotation_deg", "rotation (deg)"),
        Panel("scale_ppm", "scale - 1 (10⁻⁶)"),
        Panel("alignment_rms_px", "rms (px)"),
        Panel("n_aligned", "stars", whole=True, counts=True),
    )
    return save(night_figure(_all_series(out), panels, "Alignment to the catalog"), out, "alignment.png")


def _all_series(out: Path) -> list[NightSeries]:
    with open_night(out) as reader:
        found = [_series(reader, catalog) for _, catalog in sorted(reader.catalogs().items())]
    if not any(len(one.time_mjd_utc) for one in found):
        raise AnalysisError("no frame is measured yet")
    return found


def _series(reader: NightReader, catalog: Catalog) -> NightSeries:
    conditions = reader.conditions(catalog.key)
    return NightSeries(catalog.key, conditions["time_mjd_utc"], conditions.columns | _derived(conditions, catalog))


def _derived(conditions: FrameConditions, catalog: Catalog) -> dict[str, FloatArray]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "sky_e_per_px_s": conditions["sky_e_per_px"] / conditions["exposure_s"],
            "fwhm_arcsec": conditions["fwhm_px"] * catalog.pixel_scale_arcsec,
            "ellipticity": 1.0 - conditions["semi_minor_sigma_px"] / conditions["semi_major_sigma_px"],
            "scale_ppm": 1e6 * (conditions["scale"] - 1.0),
        }
