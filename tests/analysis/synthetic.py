"""Light curves with known truth, made from numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stream.config import APERTURE_LABEL
from stream.messages import Catalog, FloatArray, SourceFluxes

START_MJD = 60270.125


@dataclass(frozen=True)
class Field:
    """Six stars of 60,000 to 6,000 electrons under a sky that a cloud crosses."""

    n_frames: int = 300
    levels: tuple[float, ...] = tuple(float(level) for level in np.geomspace(60_000.0, 6_000.0, 6))
    variable: int = 0
    """Number of the star that varies; 0: none."""
    rms: float = 0.02
    frequency_hz: float = 0.135
    lag_rad: float = 0.0
    cadence_s: float = 1.0
    sky_e: float = 2000.0
    seed: int = 1
    key: str = "1:g"
    noise: float = 1.0

    def time_s(self) -> FloatArray:
        return self.cadence_s * np.arange(self.n_frames, dtype=np.float64)

    def signal(self) -> FloatArray:
        phase = 2.0 * np.pi * self.frequency_hz * self.time_s() - self.lag_rad
        return 1.0 + self.rms * np.sqrt(2.0) * np.sin(phase)

    def transparency(self) -> FloatArray:
        place = np.linspace(0.0, 1.0, self.n_frames)
        cloud = 1.0 - 0.4 * np.exp(-(((place - 0.5) / 0.1) ** 2))
        sky: FloatArray = cloud * np.exp(-0.15 * place)
        return sky

    def make(self) -> SourceFluxes:
        """Return fluxes with Gaussian noise of the right variance; `noise` 0 leaves it out."""
        random = np.random.default_rng(self.seed)
        truth = np.outer(self.transparency(), np.array(self.levels))
        if self.variable:
            truth[:, self.variable - 1] *= self.signal()
        error = np.sqrt(np.abs(truth) + self.sky_e)
        flux = truth + self.noise * error * random.normal(size=truth.shape)
        mjd = START_MJD + self.time_s() / 86400.0
        return SourceFluxes(
            key=self.key,
            label=APERTURE_LABEL,
            time_mjd_utc=mjd,
            time_bmjd_tdb=mjd + 0.005,
            exposure_s=np.ones(self.n_frames),
            airmass=np.full(self.n_frames, 1.2),
            flux=flux,
            flux_err=error,
            flags=np.zeros(truth.shape, dtype=np.int64),
            frame_ids=np.arange(1, self.n_frames + 1),
        )


def with_gap(fluxes: SourceFluxes, number: int, frames: slice, flag: int) -> SourceFluxes:
    """Return the fluxes with one star missing, NaN and flagged, on some frames."""
    flux, error, flags = fluxes.flux.copy(), fluxes.flux_err.copy(), fluxes.flags.copy()
    flux[frames, number - 1], error[frames, number - 1] = np.nan, np.nan
    flags[frames, number - 1] |= flag
    return replace(fluxes, flux=flux, flux_err=error, flags=flags)


def scaled(fluxes: SourceFluxes, number: int, factor: FloatArray) -> SourceFluxes:
    """Return the fluxes with one star multiplied, frame by frame."""
    flux = fluxes.flux.copy()
    flux[:, number - 1] *= factor
    return replace(fluxes, flux=flux)


def make_catalog(
    key: str, xy: Sequence[Sequence[float]] | FloatArray, pixel_scale_arcsec: float = 0.56, side_px: int = 512
) -> Catalog:
    """Return a catalog with sources at `xy`, in this order."""
    positions = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    n_sources = len(positions)
    return Catalog(
        key=key,
        version="v1",
        frame_shape=(side_px, side_px),
        binning=4,
        exposure_s=1.0,
        fwhm_px=4.0,
        pixel_scale_arcsec=pixel_scale_arcsec,
        x=tuple(positions[:, 0].tolist()),
        y=tuple(positions[:, 1].tolist()),
        flux_e=tuple(np.geomspace(60_000.0, 6_000.0, n_sources).tolist()),
        semi_major_sigma_px=(1.8,) * n_sources,
        semi_minor_sigma_px=(1.6,) * n_sources,
        orientation_deg=(30.0,) * n_sources,
        frames=("a.fit", "b.fit"),
    )
