"""Power spectra averaged over segments of the good-time intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from stream.analysis.good_times import EvenLightCurves, even_light_curves
from stream.analysis.periodogram import Normalisation
from stream.analysis.segments import transformed_segments
from stream.analysis.series import TimeSeries, check_variable
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray, IntArray

FEWEST_CELLS = 8


@dataclass(frozen=True, slots=True)
class Averaging:
    """How a light curve is cut into segments.

    Attributes
    ----------
    segment_s : float
        Length of a segment; segments that do not fit into a good-time interval are not used.
    normalisation : Normalisation
    longest_fill : int
        Gaps of so many points are interpolated.

    Raises
    ------
    ConfigurationError
        If one of them is out of range.
    """

    segment_s: float
    normalisation: Normalisation = Normalisation.FRACTIONAL
    longest_fill: int = 1

    def __post_init__(self) -> None:
        if not 0.0 < self.segment_s < math.inf:
            raise ConfigurationError(f"segment_s ({self.segment_s}) must be greater than 0")
        if self.normalisation not in tuple(Normalisation):
            raise ConfigurationError(f"normalisation ({self.normalisation}) must be one of {', '.join(Normalisation)}")
        object.__setattr__(self, "normalisation", Normalisation(self.normalisation))  # its plain name is as good


@dataclass(frozen=True, slots=True)
class AveragedPower:
    """Mean of the power spectra of segments.

    Attributes
    ----------
    frequency_hz, power, power_err : array, shape (n_frequencies,)
        From 1/segment up to the Nyquist frequency; the error is power over the square root of the number of segments.
    noise_level : float
        Mean power that the errors of the points alone would make.
    normalisation : Normalisation
    n_segments : int
    segment_s : float
        A whole number of cadences.
    sentence : str
        What was averaged, for a plot.
    n_averaged : array of int, shape (n_frequencies,), or None
        Frequencies that each one is the mean of; None: they were not rebinned.
    """

    frequency_hz: FloatArray
    power: FloatArray
    power_err: FloatArray
    noise_level: float
    normalisation: Normalisation
    n_segments: int
    segment_s: float
    sentence: str
    n_averaged: IntArray | None = None


def averaged_power_spectrum(series: TimeSeries, settings: Averaging) -> AveragedPower:
    """Average the power spectra of the segments that fit into good-time intervals (van der Klis 1989).

    Each segment's periodogram ``|F|^2``, with the mean of all of them taken off, is normalised by
    ``2 dt / (n mean^2)`` (fractional), ``2 dt / n`` (absolute) or ``2 / (n <err^2>)`` (Leahy, 2 for noise of the
    errors), as with stingray (Huppenkothen et al. 2019, ApJ 881, 39).

    Raises
    ------
    AnalysisError
        If not one segment of eight points or more fits into a good-time interval, the flux is constant, or its mean
        is not greater than 0 though the power is to be fractional.
    """
    curves = even_light_curves({"flux": series}, longest_fill=settings.longest_fill)
    check_variable(curves.flux["flux"][curves.good], "power spectrum")
    segment_s = checked_segment_s(curves, settings)
    segments = transformed_segments(curves, round(segment_s / curves.cadence_s))
    variance, n_segments = mean_variance(curves, "flux"), segments.n_segments
    scale = power_scale(
        settings.normalisation,
        curves.cadence_s,
        n_cells=segments.n_cells,
        mean=segments.means["flux"],
        variance=variance,
    )
    power = segments.mean_power("flux") * scale
    return AveragedPower(
        frequency_hz=segments.frequency_hz,
        power=power,
        power_err=power / math.sqrt(n_segments),
        noise_level=segments.n_cells * variance * scale,
        normalisation=settings.normalisation,
        n_segments=n_segments,
        segment_s=segment_s,
        sentence=segments_sentence(curves, n_segments, segment_s),
    )


def rebinned(spectrum: AveragedPower, growth: float) -> AveragedPower:
    """Average neighbouring frequencies in bins each of which is wider than the one before by a constant factor.

    The first bin has one frequency. The error is that of independent powers, the power over ``sqrt(m k)`` for k
    frequencies of m segments (van der Klis 1989); a bin is at the mean of its frequencies. The edges are those of
    `stingray.Powerspectrum.rebin_log`.

    Parameters
    ----------
    spectrum : AveragedPower
        As `averaged_power_spectrum` returns it.
    growth : float
        Relative width that each bin has more than the one before, above 0 and up to 1: 0.05 is usual.

    Raises
    ------
    ConfigurationError
        If `growth` is out of range, or the spectrum was rebinned already.
    """
    if not 0.0 < growth <= 1.0:
        raise ConfigurationError(f"growth ({growth}) of the bins of a spectrum must be above 0 and at most 1")
    if spectrum.n_averaged is not None:
        raise ConfigurationError("a spectrum that was rebinned cannot be rebinned again: rebin the one it is from")
    frequency = spectrum.frequency_hz
    step = float(frequency[0])  # the first frequency is one over the length of a segment
    widths, edges = step, [0.5 * step]
    while edges[-1] <= frequency[-1]:
        edges.append(edges[-1] + widths)
        widths *= 1.0 + growth
    place = np.searchsorted(np.array(edges), frequency, side="right") - 1
    starts = np.concatenate([[0], np.flatnonzero(np.diff(place)) + 1])
    count = np.diff(np.append(starts, len(frequency)))
    power = np.add.reduceat(spectrum.power, starts) / count
    return replace(
        spectrum,
        frequency_hz=np.add.reduceat(frequency, starts) / count,
        power=power,
        power_err=power / np.sqrt(spectrum.n_segments * count),
        sentence=f"{spectrum.sentence}, bins of frequency that grow by {100.0 * growth:.3g} %",
        n_averaged=count.astype(np.int64),
    )


def checked_segment_s(curves: EvenLightCurves, settings: Averaging) -> float:
    """Length of the segments in whole cells.

    Raises
    ------
    AnalysisError
        If it is shorter than eight cells or longer than the longest good-time interval.
    """
    # The cadence is fitted: a segment of 200 s at 1.00001 s is one of 200 points.
    n_cells = math.floor(settings.segment_s / curves.cadence_s + 0.01)
    if n_cells < FEWEST_CELLS:
        raise AnalysisError(
            f"segment_s ({settings.segment_s:.4g}) must hold at least {FEWEST_CELLS} points of a cadence of "
            f"{curves.cadence_s:.4g} s"
        )
    segment_s = n_cells * curves.cadence_s
    longest = float(np.diff(curves.intervals_s, axis=1).max())
    if segment_s > longest * (1.0 + 1e-9):
        raise AnalysisError(
            f"segment_s ({settings.segment_s:.4g}) must not be longer than the longest stretch without a gap, "
            f"{longest:.4g} s"
        )
    return segment_s


def power_scale(normalisation: Normalisation, cadence_s: float, *, n_cells: int, mean: float, variance: float) -> float:
    """Factor from ``|F|^2`` to the power, with the mean flux of the segments and the mean of err^2.

    Raises
    ------
    AnalysisError
        If a fractional power is asked for and the mean is not greater than 0.
    """
    if normalisation is Normalisation.LEAHY:
        return 2.0 / (n_cells * variance)
    absolute = 2.0 * cadence_s / n_cells
    if normalisation is Normalisation.ABSOLUTE:
        return absolute
    if mean <= 0.0:
        raise AnalysisError(f"a fractional power spectrum needs a mean flux greater than 0, not {mean:.3g}")
    return absolute / mean**2


def mean_variance(curves: EvenLightCurves, key: str) -> float:
    """Mean of err^2 over the good cells: what the noise adds to ``|F|^2 / n``."""
    return float(np.mean(curves.flux_err[key][curves.good] ** 2))


def segments_sentence(curves: EvenLightCurves, n_segments: int, segment_s: float) -> str:
    """What was averaged, for a plot."""
    used = n_segments * segment_s / (curves.cadence_s * max(1, int(curves.good.sum())))
    filled = f", {curves.n_filled} points interpolated" if curves.n_filled else ""
    return (
        f"{n_segments} segment{'s' if n_segments != 1 else ''} of {segment_s:.4g} s, "
        f"{100.0 * min(1.0, used):.0f} % of the good times{filled}"
    )
