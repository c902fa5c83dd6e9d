"""What night is simulated: the settings.

Lengths "at 4x4" are pixels of a 512 x 512 frame and scale with the binning, so that one set of settings is the same sky
at every binning.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from simulator.scenarios import SCENARIOS
from simulator.structure import DetectorStructure
from stream.errors import ConfigurationError
from stream.instruments import OPTICAM_MX

UNBINNED_PX = 2048
REFERENCE_BINNING = 4
LONGEST_DEFAULT_EXPOSURE_S = 0.5


class ScenarioScales(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How strong each scenario is; the values act only where the scenario is switched on."""

    drift_fraction: float = 0.2
    """Way of the field over the whole night, in widths of the frame."""
    dither_fraction: float = 0.03
    """Largest offset on either axis, in widths of the frame."""
    rotation_deg: float = 10.0
    """Over the whole night, from +x towards +y."""
    seeing_fraction: float = 0.45
    """Largest change of the width of the stars, as a fraction of it."""
    cloud_depth: float = 0.6
    """Fraction of the light that the thicker of the two clouds takes."""
    trail_px: float = 12.0
    """Length of the trail at 4x4, pixels."""
    n_hot_pixels: int = 1000
    """On each camera."""
    n_cosmic_rays: float = 5.0
    """Expected tracks on each frame."""
    transit_depth: float = 0.024
    flare_amplitude: float = 0.5
    """Of the flare in the bluest filter, as a fraction of the quiet flux."""


class NightSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides a simulated night: equal settings give equal files.

    Raises
    ------
    ConfigurationError
        If a value is out of bounds or a scenario is unknown.
    """

    n_images: int = 100
    """Frames of each key; the scenarios stretch over this number."""
    binning: int = 4
    cadence_s: float = 1.0
    """From the start of one exposure to the next, seconds."""
    exposure_s: float | None = None
    """Seconds; None takes nine tenths of the cadence, at most 0.5 s."""
    seed: int = 123
    scenarios: tuple[str, ...] = ()
    scales: ScenarioScales = ScenarioScales()
    structure: DetectorStructure = DetectorStructure()
    filters: tuple[str, ...] = ("g", "r", "i")
    n_sources: int = 6
    brightness: float = 1.0
    """Factor on the flux of all sources."""
    variable_rms: float = 0.02
    """Root mean square of the sinusoid as a fraction of the mean flux, before it is averaged over the exposure."""
    variable_frequency_hz: float = 0.135
    profile: Literal["gaussian", "moffat"] = "gaussian"
    fwhm_px: float = 4.0
    """Full width at half maximum of the stars at 4x4, pixels."""
    guiding_rms_px: float = 0.3
    """Random offset of each frame on either axis at 4x4, pixels; the same for all cameras."""
    circular_aperture: bool = False
    """The telescope's optics leave the corners of the frame dark."""
    start_unix_ms: int = 1_700_622_169_000
    """Start of the first exposure, milliseconds since 1970; the default is 2023-11-22T03:02:49 UTC."""
    pointing: str = "auto"
    """``auto`` (close to the zenith), ``placeholder`` (as the camera writes it without a telescope), or ``RA Dec`` in
    sexagesimal hours and degrees, six numbers."""

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        self._check_names()
        bounds: tuple[tuple[str, float, float, float], ...] = (
            ("n_images", self.n_images, 1, 10_000_000),
            ("cadence_s", self.cadence_s, 0.001, 86400.0),
            ("n_sources", self.n_sources, 2, 2000),
            ("brightness", self.brightness, 1e-6, 1e6),
            ("variable_rms", self.variable_rms, 0.0, 0.5),
            ("variable_frequency_hz", self.variable_frequency_hz, 0.0, 1e6),
            ("fwhm_px", self.fwhm_px, 0.5, 50.0),
            ("guiding_rms_px", self.guiding_rms_px, 0.0, 50.0),
            ("seed", self.seed, 0, 2**63),
        )
        for name, value, low, high in bounds:
            if not low <= value <= high:
                raise ConfigurationError(f"{name} ({value}) must be from {low:g} to {high:g}")
        if self.exposure_s is not None and not 0.0 < self.exposure_s <= self.cadence_s:
            raise ConfigurationError(
                f"exposure_s ({self.exposure_s}) must be greater than 0 and at most cadence_s ({self.cadence_s})"
            )
        if not 0.0 <= self.scales.cloud_depth < 1.0:
            raise ConfigurationError(f"cloud_depth ({self.scales.cloud_depth}) must be at least 0 and below 1")

    def _check_names(self) -> None:
        if self.binning not in (1, 2, 4, 8, 16):
            raise ConfigurationError(f"binning ({self.binning}) must be 1, 2, 4, 8 or 16")
        for scenario in self.scenarios:
            if scenario not in SCENARIOS:
                raise ConfigurationError(f"unknown scenario {scenario!r}: it must be one of {', '.join(SCENARIOS)}")
        known = OPTICAM_MX().camera_of_filter
        for filter_name in self.filters:
            if filter_name not in known:
                raise ConfigurationError(f"unknown filter {filter_name!r}: it must be one of {', '.join(known)}")
        if not self.filters or len({known[name] for name in self.filters}) < len(self.filters):
            raise ConfigurationError(
                f"filters ({', '.join(self.filters)}) must be at least one and of different cameras"
            )

    @property
    def exposure(self) -> float:
        """Exposure time, seconds, whole milliseconds."""
        if self.exposure_s is not None:
            return self.exposure_s
        return min(LONGEST_DEFAULT_EXPOSURE_S, max(1, math.floor(900.0 * self.cadence_s)) / 1000.0)

    @property
    def width_px(self) -> int:
        """Rows and columns of a frame."""
        return UNBINNED_PX // self.binning

    @property
    def magnification(self) -> float:
        """Pixels of this binning per pixel at 4x4."""
        return REFERENCE_BINNING / self.binning

    def has(self, scenario: str) -> bool:
        """Whether a scenario is switched on."""
        return scenario in self.scenarios

    def phase(self, index: int) -> float:
        """Position of a frame in the night: 0 at the first, 1 at the last, beyond 1 where a live night goes on."""
        return index / (self.n_images - 1) if self.n_images > 1 else 0.0

    def start_of_exposure_unix_ms(self, index: int) -> int:
        """Start of an exposure, whole milliseconds since 1970, as the header has it."""
        pauses = 0.0
        if self.has("gaps"):
            pause_s = max(20.0, 0.1 * self.n_images) * self.cadence_s
            pauses = pause_s * ((index >= 0.3 * self.n_images) + (index >= 0.6 * self.n_images))
        return self.start_unix_ms + round((index * self.cadence_s + pauses) * 1000.0)

    def file_name(self, filter_name: str, index: int, image_type: str = "o") -> str:
        """Name as the camera writes it: date of the start, filter, running number, ``o`` (object) or ``f`` (flat)."""
        from datetime import UTC, datetime

        night = datetime.fromtimestamp(self.start_unix_ms / 1000.0, tz=UTC)
        return f"{night:%y%m%d}{filter_name}{200143431 + index}{image_type}.fit"


def key_of_filter(filter_name: str) -> str:
    """``camera:filter`` of a filter of OPTICAM-MX."""
    return f"{OPTICAM_MX().camera_of_filter[filter_name]}:{filter_name}"
