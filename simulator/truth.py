"""What is true of a simulated night: ``truth.ecsv`` and ``truth.json`` beside the frames.

``truth.ecsv`` has one row per frame and source. ``truth.json`` has the settings, the signal, the sources on the
reference field and the transform of every frame, as columns. Everything is an expectation value, free of noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from simulator.detector import (
    BIAS_ADU,
    GAIN_E_PER_ADU,
    HIGHEST_ADU,
    SATURATION_ADU,
    detector_of,
    light_on_frame,
)
from simulator.settings import NightSettings, key_of_filter
from simulator.signals import PHASE_LAG_RAD, observed_rms
from simulator.sky import VARIABLE, FrameState, Sky
from simulator.writer import pointing_of
from stream.atomic_files import write_atomically
from stream.errors import ConfigurationError

if TYPE_CHECKING:
    from astropy.table import Table

TABLE_FILE, SUMMARY_FILE = "truth.ecsv", "truth.json"
_MOST_PENDING = 500  # frames that wait for their rows: bounds the memory of a long night

_COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("file", "string", "", "name of the frame"),
    ("key", "string", "", "camera:filter"),
    ("frame", "int64", "", "number of the frame within its key, from 0"),
    ("source", "int64", "", "number of the source, from 1, by decreasing flux on the reference field"),
    ("time_mjd_utc", "float64", "d", "middle of the exposure"),
    ("x", "float64", "pix", "position on the frame, 0-based; also of sources outside of it"),
    ("y", "float64", "pix", "position on the frame, 0-based; also of sources outside of it"),
    ("electrons", "float64", "electron", "expected from the source within the exposure, all of its light"),
    ("fraction_on_frame", "float64", "", "fraction of this light that falls on the frame and through the aperture"),
    ("sky_e_per_px", "float64", "electron", "expected from the sky on each pixel where no aperture shadows it"),
    ("fwhm_px", "float64", "pix", "full width at half maximum of the stars, without the trail"),
    ("trail_px", "float64", "pix", "length of the trail"),
    ("transparency", "float64", "", "fraction of the light that passes the clouds; it is contained in electrons"),
    ("saturated", "int64", "", "1 where the expected peak reaches the saturation level"),
)

_FRAME_COLUMNS = (
    "file",
    "key",
    "frame",
    "time_mjd_utc",
    "shift_x_px",
    "shift_y_px",
    "rotation_deg",
    "scale",
    "fwhm_px",
    "trail_px",
    "trail_angle_deg",
    "transparency",
)


class SignalTruth(msgspec.Struct, frozen=True):
    """The sinusoid of the variable source."""

    source: int
    frequency_hz: float
    rms: float
    rms_observed: float
    lag_rad: dict[str, float]
    convention: str = (
        "flux = mean * (1 + sqrt(2) rms sin(2 pi frequency_hz t - lag_rad)), t in seconds since reference_mjd_utc, lag "
        "by key; electrons in truth.ecsv are the mean of it over each exposure, whose fractional rms is rms_observed"
    )
    reference_mjd_utc: float = 0.0


class SourcesTruth(msgspec.Struct, frozen=True):
    """The sources on the reference field, in the order of their numbers."""

    x: list[float]
    y: list[float]
    rate_e_per_s: dict[str, list[float]]
    """Mean over the night before clouds, electrons per second, by key."""


class Summary(msgspec.Struct, frozen=True):
    """Content of ``truth.json``; `frames` are columns: lists of equal length by name."""

    settings: NightSettings
    signal: SignalTruth
    sources: SourcesTruth
    frames: dict[str, list[Any]]
    exposure_s: float
    dark_e_per_px: float
    read_noise_e: dict[str, float]
    gain_e_per_adu: float
    bias_adu: float
    saturation_adu: float
    highest_adu: float
    ra_dec_deg: tuple[float, float] | None
    """Pointing, degrees; None where the headers have the placeholder."""
    transform: str = (
        "position on the frame = centre + scale * R(rotation_deg) (reference position - centre) + shift, "
        "rotation from +x towards +y, centre = (columns - 1) / 2, (rows - 1) / 2"
    )


@dataclass(frozen=True)
class Truth:
    """The truth of a night, read back.

    Attributes
    ----------
    summary : Summary
    table : astropy.table.Table
        One row per frame and source, columns as described in the file.
    """

    summary: Summary
    table: Table

    def column(self, name: str, key: str) -> np.ndarray:
        """A column of the table for one key as an array of shape (n_frames, n_sources), in order of time."""
        rows = self.table[np.asarray(self.table["key"]) == key]
        rows.sort(["frame", "source"])
        return np.asarray(rows[name]).reshape(-1, self.summary.settings.n_sources)


class TruthWriter:
    """Collects the truth while a night is written; `flush` makes the files complete so far."""

    def __init__(self, folder: Path, settings: NightSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._sky = Sky(settings)
        self._frames: dict[str, list[Any]] = {name: [] for name in _FRAME_COLUMNS}
        self._pending: list[FrameState] = []
        (folder / TABLE_FILE).write_text(_ecsv_header(), encoding="ascii")
        self.flush()

    def add(self, states: Sequence[FrameState]) -> None:
        """Note frames that were written."""
        self._pending.extend(states)
        if len(self._pending) >= _MOST_PENDING:
            self._append_rows()

    def flush(self) -> None:
        """Append pending rows to the table and replace the summary, atomically."""
        self._append_rows()
        write_atomically(self._folder / SUMMARY_FILE, msgspec.json.encode(self._summary()))

    def _append_rows(self) -> None:
        with (self._folder / TABLE_FILE).open("a", encoding="ascii") as file:
            for state in self._pending:
                file.write(self._rows(state))
                for name in _FRAME_COLUMNS:
                    self._frames[name].append(_frame_value(state, name))
        self._pending.clear()

    def _rows(self, state: FrameState) -> str:
        fraction, saturated = light_on_frame(state, detector_of(self._settings, state.filter_name))
        start = f"{state.file_name},{state.key},{state.index},"
        end = f"{state.sky_e_per_px:.4f},{state.fwhm_px:.5f},{state.trail_px:.2f},{state.transparency:.6f},"
        return "".join(
            f"{start}{number + 1},{state.time_mjd_utc:.11f},{state.x[number]:.5f},{state.y[number]:.5f},"
            f"{state.electrons[number]:.4f},{fraction[number]:.6f},{end}{saturated[number]:d}\n"
            for number in range(len(state.x))
        )

    def _summary(self) -> Summary:
        settings, sky = self._settings, self._sky
        keys = {name: key_of_filter(name) for name in settings.filters}
        detectors = {key: detector_of(settings, name) for name, key in keys.items()}
        position = pointing_of(settings).position
        return Summary(
            settings=settings,
            signal=SignalTruth(
                source=VARIABLE + 1,
                frequency_hz=settings.variable_frequency_hz,
                rms=settings.variable_rms,
                rms_observed=observed_rms(settings),
                lag_rad={key: PHASE_LAG_RAD[name] for name, key in keys.items()},
                reference_mjd_utc=40587.0 + settings.start_unix_ms / 86_400_000.0,
            ),
            sources=SourcesTruth(
                x=sky.x.tolist(),
                y=sky.y.tolist(),
                rate_e_per_s={key: sky.rate_e_per_s(name).tolist() for name, key in keys.items()},
            ),
            frames=self._frames,
            exposure_s=settings.exposure,
            dark_e_per_px=next(iter(detectors.values())).dark_e_per_px(settings.exposure),
            read_noise_e={key: detector.read_noise_e for key, detector in detectors.items()},
            gain_e_per_adu=GAIN_E_PER_ADU,
            bias_adu=BIAS_ADU,
            saturation_adu=SATURATION_ADU,
            highest_adu=HIGHEST_ADU,
            ra_dec_deg=(position.ra_deg, position.dec_deg) if position else None,
        )


def load_truth(folder: Path | str) -> Truth:
    """Read the truth of a simulated night.

    Raises
    ------
    ConfigurationError
        If the folder holds no truth, or one that cannot be read.
    """
    from astropy.table import Table

    try:
        summary = load_summary(folder)
        table = Table.read(Path(folder) / TABLE_FILE, format="ascii.ecsv")
    except OSError as error:
        raise ConfigurationError(f"{Path(folder)} holds no truth of a simulated night: {error}") from error
    return Truth(summary, table)


def load_summary(folder: Path | str) -> Summary:
    """Read ``truth.json`` alone; OSError if it is absent, ConfigurationError if it is not a truth."""
    path = Path(folder) / SUMMARY_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Summary)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path} is not the truth of a simulated night: {error}") from error


def _frame_value(state: FrameState, name: str) -> str | int | float:
    if name == "file":
        return state.file_name
    if name == "frame":
        return state.index
    return getattr(state, name) if hasattr(state, name) else getattr(state.transform, name)


def _ecsv_header() -> str:
    lines = ["%ECSV 1.0", "---", "delimiter: ','", "datatype:"]
    for name, datatype, unit, description in _COLUMNS:
        unit_text = f"unit: {unit}, " if unit else ""
        lines.append(f"- {{name: {name}, {unit_text}datatype: {datatype}, description: '{description}'}}")
    names = ",".join(name for name, *_ in _COLUMNS)
    return "".join(f"# {line}\n" for line in lines) + names + "\n"
