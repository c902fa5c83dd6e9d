"""The camera: expectation values of a frame become counts with noise.

Counts = bias + Poisson(source + sky + dark + hot pixels) + read noise, rounded, at a gain of 1 electron per count, and
clipped at 16 bits. All noise is independent from pixel to pixel and from frame to frame.

Drawing a Poisson number for each pixel of the background costs more than everything else together. Its distribution
is the same for all pixels that get the same light, and discrete once rounded, so it is tabulated once and drawn by
table lookup (Marsaglia, Tsang & Wang 2004, J. Stat. Softw. 11, 3): of 65536 equally likely cells each value gets as
many whole ones as its probability holds; the cells that are left over are few, and a draw that hits one of them is
replaced by one from the distribution of the remainders. The result has the exact distribution, at one 16-bit random
number a pixel. Light of sources is then added on stamps as Poisson numbers of its own: a sum of independent Poisson
numbers is Poisson.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulator.settings import NightSettings
from simulator.sky import FloatArray, FrameState, night_generator
from simulator.structure import PixelMaps
from stream.instruments import OPTICAM_MX

CountsArray = NDArray[np.uint16]

BIAS_ADU = 100
GAIN_E_PER_ADU = 1.0
DARK_E_PER_S = 0.0986
SATURATION_ADU = 32302
HIGHEST_ADU = 65535
MOFFAT_BETA = 3.0

_N_CELLS = 1 << 16
_N_LEVELS = 64
_SHADOW_STARTS, _SHADOW_LIGHT = 0.9, 0.02  # radius in half widths of the frame; fraction of light outside
_FIRST_PURPOSE = 100
_PIXELS, _HOT_PIXELS, _COSMIC_RAYS, _FLAT, _STRUCTURE, _DARK = range(_FIRST_PURPOSE, _FIRST_PURPOSE + 6)
_FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
_GAUSSIAN_REACH_SIGMA = 5.0
_MOFFAT_REACH_FWHM = 8.0
_MOFFAT_SUBPIXELS = 5


@dataclass(frozen=True, slots=True)
class Stamps:
    """Expected electrons of the sources, each on a square around it.

    Attributes
    ----------
    left, bottom : array of int, shape (n_sources,)
        First column and row of each stamp on the frame; may lie outside of it.
    electrons : array, shape (n_sources, size, size)
        Expected electrons per pixel, indexed (source, row, column).
    """

    left: NDArray[np.int64]
    bottom: NDArray[np.int64]
    electrons: FloatArray


class NoiseTable:
    """Draws counts of pixels that hold nothing but background: bias, Poisson background, read noise.

    Parameters
    ----------
    background_e : array, shape (n_levels,)
        Expected electrons per pixel of each level of illumination.
    read_noise_e : float
        Standard deviation of the read noise, electrons.
    """

    def __init__(self, background_e: FloatArray, read_noise_e: float) -> None:
        values: list[CountsArray] = []
        self._n_whole = np.empty(len(background_e), dtype=np.int64)
        self._left_over: list[tuple[CountsArray, FloatArray]] = []
        for level, mean_e in enumerate(background_e):
            counts, probability = _background_distribution(float(mean_e), read_noise_e)
            cells = probability * _N_CELLS
            whole = np.floor(cells).astype(np.int64)
            self._n_whole[level] = whole.sum()
            cumulative = np.cumsum(cells - whole)
            self._left_over.append((counts, cumulative / cumulative[-1]))
            padding = np.zeros(_N_CELLS - self._n_whole[level], dtype=np.uint16)
            values.append(np.concatenate([np.repeat(counts, whole), padding]))
        self._cells = np.concatenate(values)

    def draw(self, generator: np.random.Generator, levels: NDArray[np.int64] | None, n_pixels: int) -> CountsArray:
        """Counts of `n_pixels` pixels; `levels` is the level of each of them, or None where there is one level."""
        raw = generator.bit_generator.random_raw(-(-n_pixels // 4))
        cell: CountsArray = np.asarray(raw).astype("<u8", copy=False).view("<u2")[:n_pixels]
        if levels is None:
            counts = self._cells.take(cell, mode="clip")  # clip: no cell is out of bounds, and no check is faster
            hit = np.flatnonzero(cell >= self._n_whole[0])
        else:
            counts = self._cells.take(levels * _N_CELLS + cell, mode="clip")
            hit = np.flatnonzero(cell >= self._n_whole[levels])
        uniform = generator.random(len(hit))
        level_of_hit = np.zeros(len(hit), dtype=np.int64) if levels is None else levels[hit]
        for level in np.unique(level_of_hit):
            of_level = level_of_hit == level
            values, cumulative = self._left_over[level]
            counts[hit[of_level]] = values[np.searchsorted(cumulative, uniform[of_level], side="right")]
        return counts


class Detector:
    """One camera of a simulated night."""

    def __init__(self, settings: NightSettings, filter_name: str) -> None:
        self.settings = settings
        self.filter_name = filter_name
        self._number = settings.filters.index(filter_name)
        camera = OPTICAM_MX().camera_of_filter[filter_name]
        self.read_noise_e = OPTICAM_MX().cameras[camera].read_noise_e
        self.transmission, self._levels = transmission_map(settings.width_px, settings.circular_aperture)
        self._level_of_pixel = self._levels.ravel() if settings.circular_aperture else None
        self.hot_row, self.hot_column, self.hot_e = self._hot_pixels()
        self._tables: dict[float, NoiseTable] = {}
        self.pixels: PixelMaps | None = None
        if not settings.structure.is_even:
            generator = night_generator(settings, _STRUCTURE, self._number)
            self.pixels = PixelMaps.draw(settings.structure, settings.width_px, generator, DARK_E_PER_S)

    def dark_e_per_px(self, exposure_s: float) -> float:
        """Expected electrons of the dark current within an exposure."""
        return DARK_E_PER_S * exposure_s

    def expose(self, state: FrameState) -> CountsArray:
        """The counts of a frame, shape (rows, columns)."""
        generator = night_generator(self.settings, _PIXELS, self._number, state.index)
        if self.pixels is None:
            counts = self._expose_even(state, generator)
        else:
            counts = self._expose_uneven(state, generator, self.pixels)
        if len(self.hot_e):
            _add(counts, (self.hot_row, self.hot_column), generator.poisson(self.hot_e))
        if self.settings.has("cosmic_rays"):
            row, column, electrons = self.cosmic_rays(state.index)
            _add(counts, (row, column), electrons)
        return counts

    def _expose_even(self, state: FrameState, generator: np.random.Generator) -> CountsArray:
        width = self.settings.width_px
        table = self._noise_table(state.sky_e_per_px, self.dark_e_per_px(state.exposure_s))
        counts = table.draw(generator, self._level_of_pixel, width * width).reshape(width, width)
        stamps = render_stamps(state, self.settings.profile)
        for left, bottom, electrons in zip(stamps.left, stamps.bottom, stamps.electrons, strict=True):
            rows, columns, inside = _overlap(int(left), int(bottom), electrons, width)
            expected = inside * self.transmission[rows, columns]
            if expected.size:
                _add(counts, (rows, columns), generator.poisson(expected))
        return counts

    def _expose_uneven(self, state: FrameState, generator: np.random.Generator, pixels: PixelMaps) -> CountsArray:
        """The light of every pixel, then its noise: no two pixels are alike."""
        light = np.full(self.transmission.shape, state.sky_e_per_px)
        stamps = render_stamps(state, self.settings.profile)
        for left, bottom, electrons in zip(stamps.left, stamps.bottom, stamps.electrons, strict=True):
            rows, columns, inside = _overlap(int(left), int(bottom), electrons, self.settings.width_px)
            light[rows, columns] += inside
        light *= self.transmission * pixels.response
        return self._read_out(light + pixels.dark_e_per_s * state.exposure_s, generator)

    def _read_out(self, expected_e: FloatArray, generator: np.random.Generator) -> CountsArray:
        zero = BIAS_ADU + (self.pixels.bias_adu if self.pixels is not None else 0.0)
        counts = generator.poisson(expected_e) + generator.normal(zero, self.read_noise_e, expected_e.shape)
        return np.clip(np.rint(counts), 0, HIGHEST_ADU).astype(np.uint16)

    def expose_dark(self, index: int, exposure_s: float) -> CountsArray:
        """A frame without light; a bias frame if it is not exposed."""
        generator = night_generator(self.settings, _DARK, self._number, index)
        dark = self.pixels.dark_e_per_s if self.pixels is not None else np.full(self.transmission.shape, DARK_E_PER_S)
        return self._read_out(dark * exposure_s, generator)

    def expose_flat(self, index: int, mean_e: float) -> CountsArray:
        """A flat field: even light of `mean_e` electrons through the aperture."""
        generator = night_generator(self.settings, _FLAT, self._number, index)
        response = self.pixels.response if self.pixels is not None else 1.0
        return self._read_out(mean_e * self.transmission * response, generator)

    def cosmic_rays(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Row, column and electrons of the pixels that cosmic rays hit on frame `index`, each pixel once."""
        generator = night_generator(self.settings, _COSMIC_RAYS, self._number, index)
        width = self.settings.width_px
        image: dict[tuple[int, int], int] = {}
        for _ in range(int(generator.poisson(self.settings.scales.n_cosmic_rays))):
            x, y = generator.uniform(0.0, width, 2)
            angle, length = generator.uniform(0.0, 2.0 * math.pi), 1.0 + generator.exponential(2.5)
            electrons_per_px = 500.0 * generator.pareto(1.5) + 500.0
            for step in range(int(length) + 1):
                pixel = int(y + step * math.sin(angle)), int(x + step * math.cos(angle))
                if 0 <= pixel[0] < width and 0 <= pixel[1] < width:
                    image[pixel] = min(image.get(pixel, 0) + int(generator.poisson(electrons_per_px)), HIGHEST_ADU)
        pixels = np.array(list(image), dtype=np.int64).reshape(-1, 2)
        return pixels[:, 0], pixels[:, 1], np.array(list(image.values()), dtype=np.int64)

    def _hot_pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
        """Row, column and expected electrons of the hot pixels.

        Electrons per exposure, not per second: the real frames were exposed for 5 s, and a night of short exposures
        has to be as hard as they are. Their brightnesses follow the real ones: many faint, few as bright as stars.
        """
        n_pixels = self.settings.scales.n_hot_pixels if self.settings.has("hot_pixels") else 0
        generator = night_generator(self.settings, _HOT_PIXELS, self._number)
        width = self.settings.width_px
        where = generator.choice(width * width, size=min(n_pixels, width * width // 2), replace=False)
        electrons = np.minimum(150.0 * (1.0 - generator.random(len(where))) ** -1.1, 30_000.0)
        return where // width, where % width, electrons

    def _noise_table(self, sky_e: float, dark_e: float) -> NoiseTable:
        if sky_e not in self._tables:
            levels = np.unique(self._levels) if not self.settings.circular_aperture else np.arange(_N_LEVELS)
            self._tables[sky_e] = NoiseTable(sky_e * _light_of_level(levels) + dark_e, self.read_noise_e)
        return self._tables[sky_e]


def render_stamps(state: FrameState, profile: str) -> Stamps:
    """Expected electrons of every source of a frame, integrated over pixels, before the shadow of the aperture.

    Stamps reach to 5 sigma of a Gaussian (a part in 10^6 of its light is outside) and 8 FWHM of a Moffat profile
    (2 in 10^4).
    """
    reach = _MOFFAT_REACH_FWHM * state.fwhm_px
    if profile == "gaussian":
        reach = _GAUSSIAN_REACH_SIGMA * state.fwhm_px / _FWHM_PER_SIGMA
    half = math.ceil(reach + 0.5 * state.trail_px) + 1
    left = np.rint(state.x).astype(np.int64) - half
    bottom = np.rint(state.y).astype(np.int64) - half
    offset_x, offset_y = _trail_offsets(state)
    x = (state.x - left)[:, None] + offset_x
    y = (state.y - bottom)[:, None] + offset_y
    integrate = _gaussian_stamps if profile == "gaussian" else _moffat_stamps
    return Stamps(left, bottom, state.electrons[:, None, None] * integrate(x, y, state.fwhm_px, 2 * half + 1))


def transmission_map(width_px: int, circular_aperture: bool) -> tuple[FloatArray, NDArray[np.int64]]:
    """Fraction of the light that reaches each pixel, and its level, both of shape (rows, columns).

    The fraction takes one of 64 values, so that the background needs no more than 64 tables.
    """
    if not circular_aperture:
        return np.ones((width_px, width_px)), np.full((width_px, width_px), _N_LEVELS - 1)
    offset = (np.arange(width_px) - 0.5 * (width_px - 1)) / (0.5 * width_px)
    radius = np.hypot(offset[:, None], offset[None, :])
    into_shadow = np.clip((radius - _SHADOW_STARTS) / (1.0 - _SHADOW_STARTS), 0.0, 1.0)
    levels = np.rint(np.cos(0.5 * np.pi * into_shadow) ** 2 * (_N_LEVELS - 1)).astype(np.int64)
    return _light_of_level(levels), levels


def _light_of_level(levels: NDArray[np.int64]) -> FloatArray:
    return _SHADOW_LIGHT + (1.0 - _SHADOW_LIGHT) * levels / (_N_LEVELS - 1)


def _background_distribution(mean_e: float, read_noise_e: float) -> tuple[CountsArray, FloatArray]:
    """Counts and their probabilities: Poisson electrons and Gaussian read noise, rounded, on the bias."""
    from scipy.special import gammaln, ndtr

    highest = int(mean_e + 12.0 * math.sqrt(mean_e) + 20.0)
    reach = math.ceil(7.0 * read_noise_e) + 1
    edges = np.arange(-reach, reach + 2) - 0.5
    read_noise = np.diff(ndtr(edges / read_noise_e))
    electrons = np.arange(highest + 1)
    poisson = np.exp(electrons * math.log(mean_e) - mean_e - gammaln(electrons + 1.0))
    probability = np.convolve(poisson, read_noise)
    counts = np.arange(BIAS_ADU - reach, BIAS_ADU + highest + reach + 1)
    return counts.astype(np.uint16), probability / probability.sum()


def _trail_offsets(state: FrameState) -> tuple[FloatArray, FloatArray]:
    """Offsets along the trail, symmetric about the position of the star; one of zero where there is no trail."""
    n_steps = max(1, math.ceil(2.0 * state.trail_px))
    along = state.trail_px * ((np.arange(n_steps) + 0.5) / n_steps - 0.5)
    angle = math.radians(state.trail_angle_deg)
    return along * math.cos(angle), along * math.sin(angle)


def _gaussian_stamps(x: FloatArray, y: FloatArray, fwhm_px: float, size: int) -> FloatArray:
    """Light of a Gaussian in each pixel, shape (n_sources, size, size); `x`, `y` of shape (n_sources, n_steps)."""
    from scipy.special import ndtr

    edges = np.arange(size + 1) - 0.5
    sigma = fwhm_px / _FWHM_PER_SIGMA
    columns = np.diff(ndtr((edges - x[..., None]) / sigma))
    rows = np.diff(ndtr((edges - y[..., None]) / sigma))
    return np.matmul(rows.swapaxes(1, 2), columns) / x.shape[1]


def _moffat_stamps(x: FloatArray, y: FloatArray, fwhm_px: float, size: int) -> FloatArray:
    """The same of a Moffat profile of exponent 3 (Moffat 1969, A&A 3, 455), by 5 x 5 samples a pixel."""
    core = fwhm_px / (2.0 * math.sqrt(2.0 ** (1.0 / MOFFAT_BETA) - 1.0))
    fine = (np.arange(size * _MOFFAT_SUBPIXELS) + 0.5) / _MOFFAT_SUBPIXELS - 0.5
    stamps = np.empty((len(x), size, size))
    for number, (source_x, source_y) in enumerate(zip(x, y, strict=True)):
        light = np.zeros((size * _MOFFAT_SUBPIXELS, size * _MOFFAT_SUBPIXELS))
        for step_x, step_y in zip(source_x, source_y, strict=True):
            light += (1.0 + ((fine - step_x) ** 2 + (fine - step_y)[:, None] ** 2) / core**2) ** -MOFFAT_BETA
        stamps[number] = light.reshape(size, _MOFFAT_SUBPIXELS, size, _MOFFAT_SUBPIXELS).mean(axis=(1, 3))
    return stamps * (MOFFAT_BETA - 1.0) / (math.pi * core**2) / x.shape[1]


def _overlap(left: int, bottom: int, stamp: FloatArray, width_px: int) -> tuple[slice, slice, FloatArray]:
    """Rows and columns of the frame that a stamp covers, and that part of the stamp; empty if it lies outside."""
    size = len(stamp)
    first_row, first_column = min(max(bottom, 0), width_px), min(max(left, 0), width_px)
    last_row, last_column = max(min(bottom + size, width_px), first_row), max(min(left + size, width_px), first_column)
    part = stamp[first_row - bottom : last_row - bottom, first_column - left : last_column - left]
    return slice(first_row, last_row), slice(first_column, last_column), part


def light_on_frame(state: FrameState, detector: Detector) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Fraction of each source's light that the frame holds, and whether its expected peak is saturated."""
    stamps = render_stamps(state, detector.settings.profile)
    background = BIAS_ADU + state.sky_e_per_px + detector.dark_e_per_px(state.exposure_s)
    fraction = np.zeros(len(state.x))
    saturated = np.zeros(len(state.x), dtype=np.bool_)
    for number, (left, bottom) in enumerate(zip(stamps.left, stamps.bottom, strict=True)):
        rows, columns, inside = _overlap(int(left), int(bottom), stamps.electrons[number], detector.settings.width_px)
        if inside.size:
            light = inside * detector.transmission[rows, columns]
            fraction[number] = light.sum() / state.electrons[number]
            saturated[number] = light.max() + background >= SATURATION_ADU
    return fraction, saturated


def _add(
    counts: CountsArray,
    where: tuple[slice, slice] | tuple[NDArray[np.int64], NDArray[np.int64]],
    electrons: NDArray[np.int64],
) -> None:
    """Add electrons to distinct pixels; a pixel that overflows stays at the highest count."""
    counts[where] = np.minimum(counts[where] + electrons, HIGHEST_ADU)


@lru_cache(maxsize=8)
def detector_of(settings: NightSettings, filter_name: str) -> Detector:
    """The camera of a filter; its tables are computed once per night."""
    return Detector(settings, filter_name)
