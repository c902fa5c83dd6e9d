"""Signals of the variable source: relative flux against time, composable, without noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.settings import NightSettings

FloatArray = NDArray[np.float64]

PHASE_LAG_RAD: Mapping[str, float] = MappingProxyType(
    {"u": 0.0, "g": 0.0, "r": math.pi / 2.0, "i": math.pi, "z": math.pi}
)
"""Phase lag of the sinusoid by filter, radians: flux = 1 + A sin(2 pi f t - lag), so a positive lag comes later."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


class Signal(Protocol):
    """Relative flux of a source, 1 where it is quiet."""

    def relative_flux(self, time_s: FloatArray, filter_name: str) -> FloatArray:
        """Value at `time_s`, seconds since the start of the first exposure; same shape as `time_s`."""
        ...


@dataclass(frozen=True, slots=True)
class Sinusoid:
    """1 + sqrt(2) rms sin(2 pi f t - lag), with a phase lag for each filter."""

    rms: float
    frequency_hz: float
    lag_rad: Mapping[str, float] = field(default_factory=lambda: PHASE_LAG_RAD)

    def relative_flux(self, time_s: FloatArray, filter_name: str) -> FloatArray:
        """See `Signal.relative_flux`."""
        phase = 2.0 * math.pi * self.frequency_hz * time_s - self.lag_rad[filter_name]
        return 1.0 + math.sqrt(2.0) * self.rms * np.sin(phase)


@dataclass(frozen=True, slots=True)
class Transit:
    """A trapezoid: the same depth in all filters, straight ingress and egress; no limb darkening."""

    middle_s: float
    duration_s: float
    """From first to last contact, seconds."""
    ingress_s: float
    depth: float

    def relative_flux(self, time_s: FloatArray, filter_name: str) -> FloatArray:
        """See `Signal.relative_flux`."""
        from_contact_s = 0.5 * self.duration_s - np.abs(time_s - self.middle_s)
        return 1.0 - self.depth * np.clip(from_contact_s / self.ingress_s, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Flare:
    """Straight rise, exponential decay; weaker in the red."""

    peak_s: float
    rise_s: float
    decay_s: float
    amplitude: float
    strength: Mapping[str, float] = field(default_factory=lambda: {"u": 1.0, "g": 1.0, "r": 0.6, "i": 0.3, "z": 0.2})

    def relative_flux(self, time_s: FloatArray, filter_name: str) -> FloatArray:
        """See `Signal.relative_flux`."""
        since_peak_s = time_s - self.peak_s
        rise = np.clip(1.0 + since_peak_s / self.rise_s, 0.0, 1.0)
        decay = np.exp(-np.maximum(since_peak_s, 0.0) / self.decay_s)
        return 1.0 + self.amplitude * self.strength[filter_name] * np.where(since_peak_s < 0.0, rise, decay)


def signals_of(settings: NightSettings) -> tuple[Signal, ...]:
    """Signals of the variable source; its relative flux is their product."""
    night_s = (settings.start_of_exposure_unix_ms(settings.n_images) - settings.start_unix_ms) / 1000.0
    signals: list[Signal] = [Sinusoid(settings.variable_rms, settings.variable_frequency_hz)]
    if settings.has("transit"):
        signals.append(Transit(0.5 * night_s, 0.35 * night_s, 0.05 * night_s, settings.scales.transit_depth))
    if settings.has("flare"):
        signals.append(Flare(0.65 * night_s, 0.01 * night_s, 0.05 * night_s, settings.scales.flare_amplitude))
    return tuple(signals)


def mean_over_exposure(signals: Sequence[Signal], middle_s: float, exposure_s: float, filter_name: str) -> float:
    """Mean of the product of `signals` over an exposure.

    Gauss-Legendre quadrature with eight nodes: exact to rounding for a sinusoid with up to two periods in the
    exposure; a corner of a transit or flare within the exposure is good to a hundredth of its change there.
    """
    time_s = middle_s + 0.5 * exposure_s * _NODES
    product = np.ones_like(time_s)
    for signal in signals:
        product = product * signal.relative_flux(time_s, filter_name)
    return float(0.5 * np.dot(_WEIGHTS, product))


def observed_rms(settings: NightSettings) -> float:
    """Fractional rms of the sinusoid once it is averaged over the exposure."""
    return settings.variable_rms * abs(float(np.sinc(settings.variable_frequency_hz * settings.exposure)))
