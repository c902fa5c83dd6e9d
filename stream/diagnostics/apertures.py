"""Apertures and profiles at the median shape of a night's stars: what diagnostics draw and reckon with."""

from __future__ import annotations

import math

import numpy as np

from stream.config import PhotometerSettings, Recipe
from stream.errors import AnalysisError
from stream.measure.apertures import Aperture, aperture_on_frame
from stream.measure.photometry import StampGeometry
from stream.measure.psf import Psf
from stream.messages import Catalog, FloatArray
from stream.night.night_reader import FrameConditions


def standard_photometer(recipe: Recipe) -> PhotometerSettings:
    """The standard aperture photometer; the first of all where there is none."""
    standard = (one for one in recipe.photometers if one.kind == "aperture" and not one.name)
    return next(standard, recipe.photometers[0])


def photometer_of(recipe: Recipe, label: str) -> PhotometerSettings:
    """The photometer of this label; AnalysisError if the recipe has none."""
    found = next((one for one in recipe.photometers if one.label == label), None)
    if found is None:
        raise AnalysisError(f"photometer {label!r} is not one of the recipe: {', '.join(recipe.labels())}")
    return found


def median_psf(catalog: Catalog, conditions: FrameConditions) -> Psf:
    """Profile of the stars at the median of the night; that of the catalog where no frame was measured."""
    major = _median(conditions["semi_major_sigma_px"], catalog.semi_major_sigma_px[0])
    minor = _median(conditions["semi_minor_sigma_px"], catalog.semi_minor_sigma_px[0])
    angle = math.radians(_median(conditions["orientation_deg"], catalog.orientation_deg[0]))
    cosine, sine = math.cos(angle), math.sin(angle)
    return Psf(
        xx=(major * cosine) ** 2 + (minor * sine) ** 2,
        xy=(major**2 - minor**2) * cosine * sine,
        yy=(major * sine) ** 2 + (minor * cosine) ** 2,
    )


def night_aperture(photometer: PhotometerSettings, recipe: Recipe, catalog: Catalog, *, psf: Psf) -> Aperture:
    """Aperture of a photometer on a frame with this profile, as `stream.measure.photometry` makes it."""
    geometry = StampGeometry.for_fwhm(catalog.fwhm_px, recipe.photometry)
    return aperture_on_frame(
        photometer, psf, recipe.photometry, inner_px=geometry.inner_px, half_side_px=geometry.half_side_px
    )


def pixels_of_background(photometer: PhotometerSettings, recipe: Recipe, catalog: Catalog) -> float:
    """Pixels that the level of the background rests on; infinite for a background of the user's own."""
    if photometer.background == "annulus":
        return float(len(StampGeometry.for_fwhm(catalog.fwhm_px, recipe.photometry).annulus))
    return float(recipe.detection.mesh_px**2) if photometer.background == "mesh" else math.inf


def _median(values: FloatArray, otherwise: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else otherwise
