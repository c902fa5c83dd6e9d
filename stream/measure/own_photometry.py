"""Photometers and backgrounds of the user's own: what they are given, and what they may return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream.config import BACKGROUND_KINDS, PHOTOMETER_KINDS, PhotometerSettings
from stream.measure.background import LocalBackground
from stream.measure.exposure import CalibrationNoise
from stream.measure.pixel_variance import PixelVariance
from stream.measure.protocols import BackgroundStamps, SourceStamps
from stream.messages import FloatArray
from stream.own_parts import PartKind, guarded, load_part, refuse_result

if TYPE_CHECKING:
    from stream.measure.protocols import LocalBackgroundEstimator, Photometer

_NUMBER_KINDS = "fiu"


@dataclass(frozen=True, slots=True)
class OwnMeasuring:
    """The squares of one frame for the user's own parts.

    Attributes
    ----------
    frame_name : str
        For errors.
    stamps : BackgroundStamps
    noise : CalibrationNoise or None
        What calibration does to the noise of the same pixels.
    """

    frame_name: str
    stamps: BackgroundStamps
    noise: CalibrationNoise | None

    def backgrounds(self, photometers: Sequence[PhotometerSettings]) -> dict[str, LocalBackground]:
        """Backgrounds by those of the user's own estimators that the photometers name.

        Raises
        ------
        FrameRejectedError
            With `Reason.OWN_PART_FAILED` if one of them fails or returns what cannot be.
        """
        names = dict.fromkeys(one.background for one in photometers if one.background not in BACKGROUND_KINDS)
        return {name: self._background(name) for name in names}

    def flux(self, photometer: PhotometerSettings, background: LocalBackground) -> tuple[FloatArray, FloatArray]:
        """Flux and error of all sources by a photometer of the user's own; raises FrameRejectedError as above."""
        name, stamps = photometer.kind, self.stamps
        given = SourceStamps(
            electrons=stamps.electrons,
            xy=stamps.xy,
            psf=stamps.psf,
            facts=stamps.facts,
            sky_e_per_px=read_only(background.level),
            sky_sigma_e=read_only(background.sigma),
            sky_n_pixels=read_only(background.n_pixels),
            noise=PixelVariance.of(background, self.noise),
        )
        with guarded(name, "photometer", self.frame_name):
            part: Photometer = load_part(name, "photometer")
            flux, error = part.measure(given)
            values = self._checked(name, "photometer", {"flux": flux, "flux_err": error})
        return values[0], values[1]

    def _background(self, name: str) -> LocalBackground:
        with guarded(name, "background", self.frame_name):
            part: LocalBackgroundEstimator = load_part(name, "background")
            level, sigma, n_pixels = part.estimate(self.stamps)
            values = self._checked(name, "background", {"level": level, "sigma": sigma, "n_pixels": n_pixels})
            if not np.isfinite(values[2]).all():
                raise refuse_result(name, "background", "n_pixels that are NaN where whole numbers are required")
        return LocalBackground(values[0], values[1], values[2].astype(np.intp))

    def _checked(self, name: str, kind: PartKind, returned: dict[str, ArrayLike]) -> list[FloatArray]:
        """Copies of what was returned; what follows the first must not be negative."""
        checked = []
        n_sources = len(self.stamps.electrons)
        for number, (what, values) in enumerate(returned.items()):
            array = np.asarray(values)
            of = f"{what} of {self.frame_name}"
            if array.dtype.kind not in _NUMBER_KINDS:
                raise refuse_result(name, kind, f"{of} as {array.dtype} where real numbers are required")
            if array.shape != (n_sources,):
                raise refuse_result(name, kind, f"{of} of shape {array.shape} where ({n_sources},) is required")
            if np.isinf(array).any():
                raise refuse_result(name, kind, f"{of} with infinite numbers where finite ones or NaN are required")
            if number and (array < 0).any():
                raise refuse_result(name, kind, f"{of} with negative numbers where at least 0 is required")
            checked.append(array.astype(np.float64))
        return checked


def read_only(array: NDArray) -> NDArray:
    """The same numbers, which nobody can change through what is returned."""
    view = array.view()
    view.flags.writeable = False
    return view


def is_own_kind(photometer: PhotometerSettings) -> bool:
    """Whether the photometer itself, not only its background, is a class of the user's own."""
    return photometer.kind not in PHOTOMETER_KINDS
