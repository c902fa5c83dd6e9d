"""The squares around all sources of a frame: whole ones for the background, their inner parts for the fluxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.measure.apertures import Aperture
from stream.measure.background import LocalBackground, clipped_background
from stream.measure.exposure import Exposure
from stream.measure.psf import Psf
from stream.measure.stamps import IntegerStamps, cut_stamps
from stream.messages import FloatArray

_PROFILE_RADIUS_SIGMA = 4.0
_LEAST_SHARE = 1e-9  # of a pixel: less of one without a number is rounding


@dataclass(frozen=True, slots=True)
class SourceSquares:
    """Squares around all sources; what is stored as whole numbers is made electrons where it is used alone.

    Attributes
    ----------
    stored : IntegerStamps or None
        The squares as whole numbers, or
    electrons : array, shape (n_sources, side, side), or None
        as electrons where they are no whole numbers.
    bad : array of bool, shape (n_sources, side, side), or None
        Marks bad pixels.
    """

    stored: IntegerStamps | None
    electrons: FloatArray | None
    bad: NDArray[np.bool_] | None

    @classmethod
    def cut(
        cls, frame: Exposure, corners: NDArray[np.intp], side_px: int, bad_pixels: NDArray[np.bool_] | None
    ) -> SourceSquares:
        """Cut squares out of a frame; `corners` as in `stream.measure.stamps`."""
        bad = None if bad_pixels is None else cut_stamps(bad_pixels, corners, side_px, False)
        stored = frame.integer_stamps(corners, side_px)
        electrons = frame.stamps(corners, side_px) if stored is None else None
        return cls(stored, electrons, bad)

    @property
    def n_sources(self) -> int:
        """How many there are."""
        return len(self.stored.values if self.stored is not None else self.inner())

    @property
    def side_px(self) -> int:
        """Pixels along one side."""
        return int(self.stored.values.shape[1] if self.stored is not None else self.inner().shape[1])

    def inner(self, part: slice = slice(None)) -> FloatArray:
        """Electrons of rows and columns `part`; NaN where there is no number. Bad pixels have theirs."""
        if self.stored is not None:
            return self.stored.electrons(part)
        assert self.electrons is not None  # one of the two is there
        return np.ascontiguousarray(self.electrons[:, part, part])

    def masked(self) -> FloatArray:
        """Electrons of whole squares, NaN for bad pixels too."""
        electrons = self.inner()
        return electrons if self.bad is None else np.where(self.bad, np.nan, electrons)

    def background(self, annulus: NDArray[np.intp], clip_sigma: float) -> LocalBackground:
        """Clipped background of the pixels `annulus` of each flattened square."""
        stored, flat = self.stored, (self.n_sources, self.side_px**2)
        if stored is None:
            electrons = self.masked()
            return clipped_background(electrons.reshape(flat).take(annulus, axis=1), clip_sigma)
        values = stored.values.reshape(flat).take(annulus, axis=1)
        masks = [mask for mask in (stored.missing, self.bad) if mask is not None and mask.any()]
        missing = None
        if masks:
            without = masks[0] if len(masks) == 1 else masks[0] | masks[1]
            missing = without.reshape(flat).take(annulus, axis=1)
            values[missing] = np.iinfo(values.dtype).max
        found = clipped_background(values, clip_sigma, missing)
        return LocalBackground(
            found.level * stored.scale + stored.zero, found.sigma * abs(stored.scale), found.n_pixels
        )


@dataclass(frozen=True, slots=True)
class SourceCore:
    """The inner part of all squares, with the profile of a source on each; arrays of shape (n_sources, side, side).

    `bad` and `missing` (no number) are None where no pixel is, `usable` is None where all pixels are.
    """

    electrons: FloatArray
    bad: NDArray[np.bool_] | None
    missing: NDArray[np.bool_] | None
    usable: NDArray[np.bool_] | None
    profile: FloatArray
    in_aperture: NDArray[np.bool_]
    aperture_part: slice
    offsets: FloatArray
    orientation_rad: float

    @classmethod
    def cut(
        cls, squares: SourceSquares, offsets: FloatArray, psf: Psf, *, standard: Aperture, largest: Aperture
    ) -> SourceCore:
        """Cut the part that profile and apertures reach; `offsets` are positions from the middle pixel."""
        middle = squares.side_px // 2
        reach = max(largest.major_px, largest.minor_px, _PROFILE_RADIUS_SIGMA * psf.semi_major_sigma_px)
        half = min(math.ceil(reach) + 1, middle)
        part = slice(middle - half, middle + half + 1)
        electrons = squares.inner(part)
        bad = None if squares.bad is None else squares.bad[:, part, part]
        bad = bad if bad is not None and bad.any() else None
        # A sum is not finite where one of its numbers is not.
        missing = None if np.isfinite(electrons.sum()) else ~np.isfinite(electrons)
        marked = [mask for mask in (bad, missing) if mask is not None]
        radius2 = _radius_squared(half, offsets, psf)
        in_aperture = radius2 <= (standard.major_px / psf.semi_major_sigma_px) ** 2
        reach_px = min(math.ceil(standard.major_px) + 1, half)
        radius2 *= -0.5
        profile = np.exp(radius2, out=radius2)
        profile *= 1.0 / (2.0 * math.pi * math.sqrt(psf.xx * psf.yy - psf.xy**2))
        return cls(
            electrons=electrons,
            bad=bad,
            missing=missing,
            usable=~np.logical_or.reduce(marked) if marked else None,
            profile=profile,
            in_aperture=in_aperture,
            aperture_part=slice(half - reach_px, half + reach_px + 1),
            offsets=offsets + half,
            orientation_rad=math.radians(psf.orientation_deg),
        )

    @property
    def side_px(self) -> int:
        """Pixels along one side."""
        return int(self.electrons.shape[1])

    def any_within(self, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Which sources have a marked pixel within the standard aperture."""
        if mask is None:
            return np.zeros(len(self.electrons), dtype=bool)
        return np.asarray((mask & self.in_aperture).any(axis=(1, 2)))

    def peak(self, stored: FloatArray | None) -> FloatArray:
        """Highest usable pixel of each aperture, electrons; NaN where there is none.

        Of the pixels before calibration, `stored`, where there are such.
        """
        part = self.aperture_part
        electrons = (self.electrons if stored is None else stored)[:, part, part]
        seen = self.in_aperture[:, part, part]
        if self.usable is not None:
            seen = seen & self.usable[:, part, part]
        highest = np.where(seen, electrons, -np.inf).max(axis=(1, 2))
        return np.where(np.isfinite(highest), highest, np.nan)

    def profile_seen(self) -> FloatArray:
        """Share of the profile of each source that lies on usable pixels."""
        if self.usable is None:
            return np.ones(len(self.profile))
        return np.asarray((self.profile * self.usable).sum(axis=(1, 2)) / self.profile.sum(axis=(1, 2)))

    def sum_apertures(self, data: FloatArray, apertures: Sequence[Aperture]) -> FloatArray:
        """Exact sums of `data`, shape of the stamps, over apertures around each source: (n_apertures, n_sources).

        The stamps are laid one above the other, so that one call does all.
        """
        from stream.measure.ellipse_kernels import ellipse_sums  # with numba, which not every process needs

        axes = np.array(apertures, dtype=np.float64).reshape(-1, 2)
        if np.isfinite(data.sum()):
            return ellipse_sums(data, self.offsets, axes, self.orientation_rad)
        holes = ~np.isfinite(data)
        sums = ellipse_sums(np.where(holes, 0.0, data), self.offsets, axes, self.orientation_rad)
        sums[ellipse_sums(holes.astype(np.float64), self.offsets, axes, self.orientation_rad) > _LEAST_SHARE] = np.nan
        return sums

    def missing_on_frame(self, middles: NDArray[np.intp], shape: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Mark pixels that lie on the frame but hold no number; None where there are none."""
        if self.missing is None:
            return None
        half = self.side_px // 2
        steps = np.arange(-half, half + 1)
        columns, rows = middles[:, :1] + steps, middles[:, 1:] + steps
        on_frame = ((rows >= 0) & (rows < shape[0]))[:, :, None] & ((columns >= 0) & (columns < shape[1]))[:, None, :]
        return np.asarray(self.missing & on_frame)


def _radius_squared(half: int, offsets: FloatArray, psf: Psf) -> FloatArray:
    """Squared distance of the pixels from their source, in standard deviations of the profile."""
    pixels = np.arange(-half, half + 1, dtype=np.float64)
    dx, dy = pixels - offsets[:, :1], pixels - offsets[:, 1:]
    determinant = psf.xx * psf.yy - psf.xy**2
    radius2 = (psf.yy / determinant * dx**2)[:, None, :] + (psf.xx / determinant * dy**2)[:, :, None]
    if psf.xy:
        radius2 += (-2.0 * psf.xy / determinant * dx)[:, None, :] * dy[:, :, None]
    return radius2
