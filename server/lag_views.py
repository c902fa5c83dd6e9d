"""Lags and coherence between keys: at each frequency from cross spectra, at the peak from sinusoids."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from server.amounts import with_error
from server.timing_looks import TimingChoices
from server.timing_views import KeyStretch, StripView, TimingView, detrended, reference_and_others, with_errors
from stream.analysis.averaged_spectra import Averaging
from stream.analysis.cross_spectra import CrossSpectrum, cross_spectrum
from stream.analysis.periodogram import lomb_scargle
from stream.analysis.series import measured_points
from stream.analysis.sinusoid import FEWEST_POINTS, phase_lag
from stream.errors import AnalysisError, OpticamLiveError

_SHARES = (12.0, 24.0, 48.0, 96.0)
_GOOD_SEGMENTS = 10
_KNOWN_RAD = 0.5 * math.pi
_FAINT = 0.25


def lag_view(stretches: Sequence[KeyStretch], choices: TimingChoices, _previous: object = None) -> TimingView:
    """Phase lag and coherence of every other key behind the reference, after detrending.

    Raises
    ------
    AnalysisError
        If there are less than two keys, or the reference key has no peak.
    """
    reference, others = reference_and_others(stretches, choices.reference, "a lag")
    reference, done = detrended(reference, choices)
    good = measured_points(reference.series, f"a lag behind {reference.key}", fewest=FEWEST_POINTS)
    peak_hz = lomb_scargle(good.time_s - good.time_s[0], good.flux, good.flux_err).peak_frequency_hz
    strips: list[StripView] = []
    for other in others:
        strips.extend(_strips(reference, other, choices, peak_hz))
    text = f"A positive lag: that key is late behind {reference.key}. Noise is part of the coherence."
    text += f" {reference.key}: {done}."
    return TimingView(text=text, strips=tuple(strips))


def _strips(reference: KeyStretch, other: KeyStretch, choices: TimingChoices, peak_hz: float) -> list[StripView]:
    pair = f"{other.key} behind {reference.key}"
    at_peak, cross = "", None
    try:
        other, done = detrended(other, choices)
        lag = phase_lag(reference.series, other.series, peak_hz)
        time_err_s = lag.phase_err_rad / (2.0 * math.pi * peak_hz)
        at_peak = f" at {peak_hz:.5g} Hz\n{with_error(lag.phase_rad, lag.phase_err_rad, 'rad')}"
        at_peak += f" = {with_error(lag.time_s, time_err_s, 's')}"
        cross = _cross(reference, other, choices.segment_s)
        note = f"{cross.n_segments} segments of {cross.segment_s:.4g} s, {done}"
    except OpticamLiveError as problem:
        note = str(problem)
    return [
        _phases(pair, other.key, cross, title=pair + at_peak, note=note),
        _coherences(pair, other.key, cross),
    ]


def _cross(reference: KeyStretch, other: KeyStretch, segment_s: float) -> CrossSpectrum:
    """The cross spectrum of segments as long as asked for, or else of the longest that give ten of them."""
    if segment_s:
        return cross_spectrum(reference.series, other.series, Averaging(segment_s))
    times = reference.series.time_s
    span, best, problem = float(times[-1] - times[0]), None, None
    for share in _SHARES:
        try:
            found = cross_spectrum(reference.series, other.series, Averaging(span / share))
        except AnalysisError as error:
            problem = error
            continue
        if best is None or found.n_segments > best.n_segments:
            best = found
        if best.n_segments >= _GOOD_SEGMENTS:
            break
    if best is None:
        raise AnalysisError(str(problem)) from problem
    return best


def _phases(pair: str, key: str, cross: CrossSpectrum | None, *, title: str, note: str) -> StripView:
    nothing = np.empty(0)
    points = with_errors(nothing, nothing, nothing)
    if cross is not None:
        words = [
            f"{with_error(lag, error, 's')}" if error < math.pi / (2.0 * math.pi * frequency) else "not known"
            for lag, error, frequency in zip(cross.time_lag_s, cross.time_lag_err_s, cross.frequency_hz, strict=True)
        ]
        alpha = np.where(cross.phase_lag_err_rad < _KNOWN_RAD, 0.95, _FAINT)
        points = with_errors(cross.frequency_hz, cross.phase_lag_rad, cross.phase_lag_err_rad, text=words, alpha=alpha)
    edge = 1.1 * math.pi
    line = {"x": np.array(_limits(cross)), "y": np.zeros(2)}
    return StripView(f"lag {pair}", key, title, points, (-edge, edge), _limits(cross), line=line, note=note)


def _coherences(pair: str, key: str, cross: CrossSpectrum | None) -> StripView:
    nothing = np.empty(0)
    points = with_errors(nothing, nothing, nothing)
    if cross is not None:
        known = np.isfinite(cross.intrinsic_coherence)
        words = [
            f"without noise {with_error(value, error)}" if there else "noise hides what it is without it"
            for value, error, there in zip(cross.intrinsic_coherence, cross.intrinsic_coherence_err, known, strict=True)
        ]
        points = with_errors(cross.frequency_hz, cross.coherence, cross.coherence_err, text=words)
    return StripView(f"coherence {pair}", key, f"coherence of {pair}", points, (-0.08, 1.12), _limits(cross))


def _limits(cross: CrossSpectrum | None) -> tuple[float, float]:
    return (1e-3, 1.0) if cross is None else (float(cross.frequency_hz[0]) / 1.2, float(cross.frequency_hz[-1]) * 1.2)
