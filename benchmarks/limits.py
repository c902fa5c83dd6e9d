"""The least noise that a simulated night allows, computed from its truth."""

from __future__ import annotations

import math

import numpy as np

from simulator.truth import Truth
from stream.config import OPTIMAL_LABEL, PhotometrySettings
from stream.measure.psf import FWHM_PER_SIGMA

READ_NOISE_E = {"1:g": 1.1, "2:r": 1.2, "3:i": 1.3}
STANDARD_FWHM = PhotometrySettings().aperture_radius_fwhm


def relative_noise(truth: Truth, key: str, label: str, radius_fwhm: float = STANDARD_FWHM) -> np.ndarray:
    """Noise over flux of each source, from the truth alone, shape (n_sources,).

    The CCD equation for an aperture; for the optimal photometer the Cramer-Rao limit with the true profile. Both with
    the background estimated in the annulus.
    """
    flux = truth.column("electrons", key).mean(axis=0)
    pixel_variance = float(truth.column("sky_e_per_px", key).mean()) + READ_NOISE_E[key] ** 2
    fwhm = float(truth.column("fwhm_px", key).mean())
    settings = PhotometrySettings()
    annulus_px = math.pi * fwhm**2 * (settings.annulus_outer_fwhm**2 - settings.annulus_inner_fwhm**2)
    if label != OPTIMAL_LABEL:
        area = math.pi * (radius_fwhm * fwhm) ** 2
        inside = flux * (1.0 - math.exp(-4.0 * math.log(2.0) * radius_fwhm**2))
        variance = inside + area * pixel_variance * (1.0 + area / annulus_px)
        return np.asarray(np.sqrt(variance) / inside)
    sigma = fwhm / FWHM_PER_SIGMA
    offsets = np.arange(-15, 16)
    profile = np.exp(-0.5 * (offsets[:, None] ** 2 + offsets[None, :] ** 2) / sigma**2) / (2.0 * math.pi * sigma**2)
    noise = []
    for electrons in flux:
        weights = profile / (pixel_variance + electrons * profile)
        norm = (weights * profile).sum()
        variance = 1.0 / norm + (weights.sum() / norm) ** 2 * pixel_variance / annulus_px
        noise.append(math.sqrt(variance) / electrons)
    return np.asarray(noise)
