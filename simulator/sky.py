"""The sky above the camera: sources, and how they fall on each frame. Expectation values only, no noise.

Pixels are ``(x, y)``, 0-based, integers are pixel centres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulator.settings import NightSettings, key_of_filter
from simulator.signals import mean_over_exposure, signals_of
from stream.instruments import OPTICAM_MX
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY

FloatArray = NDArray[np.float64]

VARIABLE = 1
"""Index of the variable source: the second brightest, as in the tutorial."""
_LEAVING = 4

# At 4x4. All lie so that drift, rotation and meridian flip together keep them on the frame, and no two of them are
# each other's mirror image about the centre, so that a flipped field looks different.
_X = (310.0, 131.0, 390.0, 330.0, 160.0, 236.0)
_Y = (395.0, 115.0, 268.0, 140.0, 350.0, 222.0)
_RATE_E_PER_S = (320_000.0, 180_000.0, 80_000.0, 32_000.0, 12_000.0, 5_200.0)
_FAINTEST_E_PER_S, _BRIGHTEST_EXTRA_E_PER_S = 5_200.0, 60_000.0
_LEAVING_X, _LEAVING_Y = 0.96, 0.62  # in widths of the frame
_LEAVING_DRIFT_FRACTION = 0.1

_RATE_OF_FILTER = {"u": 0.3, "g": 0.8, "r": 1.0, "i": 0.9, "z": 0.5}
_SKY_E_PER_S_OF_FILTER = {"u": 8.0, "g": 20.0, "r": 30.0, "i": 40.0, "z": 45.0}  # a pixel at 4x4

_DRIFT_DIRECTION = (0.8, -0.6)
_DITHER_EVERY = 10
# Scale, rotation (degrees) and shift (pixels at 4x4) of the cameras against camera 1; scales from the pixel scales.
_CAMERA_TURN = {"1": (0.0, 0.0, 0.0), "2": (0.3, 4.0, -3.0), "3": (-0.5, -6.0, 5.0)}

_FIELD, _GUIDING, _DITHER, _SEEING, _CLOUDS, _TRAILS = range(6)


def night_generator(settings: NightSettings, *purpose: int) -> np.random.Generator:
    """A generator that depends on the seed and the purpose alone, never on what was drawn before or elsewhere."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((settings.seed, *purpose))))


@dataclass(frozen=True, slots=True)
class FieldTransform:
    """From reference pixels to those of a frame: scale and rotation about the centre of the frame, then a shift.

    Attributes
    ----------
    shift_x_px, shift_y_px : float
        Where the centre of the reference field lies on the frame, less the centre.
    rotation_deg : float
        From +x towards +y.
    """

    shift_x_px: float
    shift_y_px: float
    rotation_deg: float
    scale: float

    def apply(self, x: FloatArray, y: FloatArray, width_px: int) -> tuple[FloatArray, FloatArray]:
        """Positions on the frame, pixels, same shape as `x` and `y`."""
        centre = 0.5 * (width_px - 1)
        cosine = self.scale * math.cos(math.radians(self.rotation_deg))
        sine = self.scale * math.sin(math.radians(self.rotation_deg))
        dx, dy = x - centre, y - centre
        return (
            centre + cosine * dx - sine * dy + self.shift_x_px,
            centre + sine * dx + cosine * dy + self.shift_y_px,
        )


@dataclass(frozen=True, slots=True)
class FrameState:
    """All that is true of one frame before there is noise.

    Attributes
    ----------
    time_mjd_utc : float
        Middle of the exposure, days.
    transparency : float
        Fraction of the light that passes the clouds.
    sky_e_per_px : float
        Background of the sky within the exposure, electrons, where no aperture shadows it.
    x, y : array, shape (n_sources,)
        Positions, pixels; also of sources outside the frame.
    electrons : array, shape (n_sources,)
        Expected from each source within the exposure, all of its light, before the shadow of the aperture.
    """

    key: str
    filter_name: str
    index: int
    file_name: str
    start_unix_ms: int
    exposure_s: float
    time_mjd_utc: float
    transform: FieldTransform
    fwhm_px: float
    trail_px: float
    trail_angle_deg: float
    transparency: float
    sky_e_per_px: float
    x: FloatArray
    y: FloatArray
    electrons: FloatArray


class Sky:
    """The sources of a night and the state of each of its frames, computed from the settings alone."""

    def __init__(self, settings: NightSettings) -> None:
        self.settings = settings
        self.x, self.y, self._rate_e_per_s = _sources(settings)
        self._signals = signals_of(settings)

    def rate_e_per_s(self, filter_name: str) -> FloatArray:
        """Mean flux of the sources, electrons per second, shape (n_sources,)."""
        return self._rate_e_per_s * _RATE_OF_FILTER[filter_name]

    def state(self, filter_name: str, index: int) -> FrameState:
        """The state of frame `index` of a filter."""
        settings = self.settings
        start_ms = settings.start_of_exposure_unix_ms(index)
        exposure_s = settings.exposure
        middle_s = (start_ms - settings.start_unix_ms) / 1000.0 + 0.5 * exposure_s
        transform = self.transform(filter_name, index)
        x, y = transform.apply(self.x, self.y, settings.width_px)
        transparency = self.transparency(index)
        electrons = self.rate_e_per_s(filter_name) * exposure_s * transparency
        electrons[VARIABLE] *= mean_over_exposure(self._signals, middle_s, exposure_s, filter_name)
        trail_px, trail_angle_deg = self._trail(index)
        return FrameState(
            key=key_of_filter(filter_name),
            filter_name=filter_name,
            index=index,
            file_name=settings.file_name(filter_name, index),
            start_unix_ms=start_ms,
            exposure_s=exposure_s,
            time_mjd_utc=MJD_OF_UNIX_EPOCH + (start_ms / 1000.0 + 0.5 * exposure_s) / SECONDS_PER_DAY,
            transform=transform,
            fwhm_px=self.fwhm_px(index),
            trail_px=trail_px,
            trail_angle_deg=trail_angle_deg,
            transparency=transparency,
            sky_e_per_px=_SKY_E_PER_S_OF_FILTER[filter_name] * exposure_s / settings.magnification**2,
            x=x,
            y=y,
            electrons=electrons,
        )

    def transform(self, filter_name: str, index: int) -> FieldTransform:
        """Where the reference field lies on a frame."""
        settings, scales = self.settings, self.settings.scales
        guiding = night_generator(settings, _GUIDING, index).normal(0.0, 1.0, 2)
        shift = guiding * settings.guiding_rms_px * settings.magnification
        drift_fraction = scales.drift_fraction if settings.has("drift") else 0.0
        if settings.has("leaving"):
            drift_fraction = max(drift_fraction, _LEAVING_DRIFT_FRACTION)
        shift += np.array(_DRIFT_DIRECTION) * drift_fraction * settings.width_px * settings.phase(index)
        block = index // _DITHER_EVERY
        if settings.has("dither") and block > 0:
            offset = night_generator(settings, _DITHER, block).uniform(-1.0, 1.0, 2)
            shift += offset * scales.dither_fraction * settings.width_px
        rotation_deg = scales.rotation_deg * settings.phase(index) if settings.has("rotation") else 0.0
        if settings.has("flip") and 2 * index >= settings.n_images:
            rotation_deg += 180.0
        scale = 1.0
        if settings.has("cameras"):
            scale, turn_deg, offset_px = _camera(filter_name)
            rotation_deg += turn_deg
            shift += np.array(offset_px) * settings.magnification
        return FieldTransform(float(shift[0]), float(shift[1]), _wrapped_deg(rotation_deg), scale)

    def fwhm_px(self, index: int) -> float:
        """Full width at half maximum of the stars, without the trail, pixels."""
        settings = self.settings
        change = 0.0
        if settings.has("seeing"):
            waves, jitter = self._seeing_waves, night_generator(settings, _SEEING, index).normal(0.0, 0.02)
            # Better seeing than the nominal one is rarer than worse.
            swing = float(np.mean(np.sin(2.0 * np.pi * (np.array([1.3, 2.9, 6.1]) * settings.phase(index) + waves))))
            change = settings.scales.seeing_fraction * (swing if swing > 0.0 else 0.4 * swing) + jitter
        return settings.fwhm_px * settings.magnification * max(0.4, 1.0 + change)

    def transparency(self, index: int) -> float:
        """Fraction of the light that passes the clouds."""
        if not self.settings.has("clouds"):
            return 1.0
        light = 1.0
        for middle, depth in self._clouds:
            light *= 1.0 - depth * math.exp(-0.5 * ((self.settings.phase(index) - middle) / 0.05) ** 2)
        return light

    def _trail(self, index: int) -> tuple[float, float]:
        if not self.settings.has("trailed"):
            return 0.0, 0.0
        generator = night_generator(self.settings, _TRAILS, index)
        trailed = generator.random() < 0.2
        angle_deg = float(generator.uniform(0.0, 180.0))
        return (self.settings.scales.trail_px * self.settings.magnification, angle_deg) if trailed else (0.0, 0.0)

    @cached_property
    def _seeing_waves(self) -> FloatArray:
        return night_generator(self.settings, _SEEING).random(3)

    @cached_property
    def _clouds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        generator = night_generator(self.settings, _CLOUDS)
        depth = self.settings.scales.cloud_depth
        return (float(generator.uniform(0.25, 0.4)), depth), (float(generator.uniform(0.65, 0.8)), 0.5 * depth)


def _sources(settings: NightSettings) -> tuple[FloatArray, FloatArray, FloatArray]:
    x, y = np.array(_X) * settings.magnification, np.array(_Y) * settings.magnification
    rate = np.array(_RATE_E_PER_S)
    if settings.has("leaving") and settings.n_sources > _LEAVING:
        x[_LEAVING], y[_LEAVING] = _LEAVING_X * settings.width_px, _LEAVING_Y * settings.width_px
    n_extra = settings.n_sources - len(rate)
    if n_extra > 0:
        extra_x, extra_y, extra_rate = _extra_sources(settings, (x, y), n_extra)
        x, y = np.append(x, extra_x), np.append(y, extra_y)
        rate = np.append(rate, extra_rate)
    x, y, rate = x[: settings.n_sources], y[: settings.n_sources], rate[: settings.n_sources]
    order = np.argsort(-rate, kind="stable")  # sources are numbered by decreasing flux
    x, y, rate = x[order], y[order], rate[order]
    if settings.has("saturation"):
        rate[0] *= 10.0
    return x, y, rate * settings.brightness


def _extra_sources(
    settings: NightSettings, first: tuple[FloatArray, FloatArray], n_extra: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Random sources that keep their distance from each other and from the edge."""
    generator = night_generator(settings, _FIELD)
    x, y = list(first[0]), list(first[1])
    margin = 0.05 * settings.width_px
    span = settings.width_px - 1 - 2.0 * margin
    distance = min(6.0 * settings.fwhm_px * settings.magnification, 0.6 * span / math.sqrt(settings.n_sources))
    while len(x) < len(first[0]) + n_extra:
        new_x, new_y = margin + span * generator.random(2)
        if np.min(np.hypot(np.array(x) - new_x, np.array(y) - new_y)) >= distance:
            x.append(float(new_x))
            y.append(float(new_y))
    low, high = math.log(_FAINTEST_E_PER_S), math.log(_BRIGHTEST_EXTRA_E_PER_S)
    rate = np.sort(np.exp(generator.uniform(low, high, n_extra)))[::-1]
    return np.array(x[len(first[0]) :]), np.array(y[len(first[0]) :]), rate


def _camera(filter_name: str) -> tuple[float, float, tuple[float, float]]:
    cameras = OPTICAM_MX().cameras
    name = key_of_filter(filter_name).partition(":")[0]
    rotation_deg, shift_x, shift_y = _CAMERA_TURN[name]
    return cameras["1"].pixel_scale_arcsec / cameras[name].pixel_scale_arcsec, rotation_deg, (shift_x, shift_y)


def _wrapped_deg(angle: float) -> float:
    """The same angle within -180 (excluded) to 180."""
    wrapped = math.fmod(angle, 360.0)
    if wrapped > 180.0:
        return wrapped - 360.0
    return wrapped + 360.0 if wrapped <= -180.0 else wrapped
