"""Writes the calibration frames that go with a simulated night: bias, dark and flat frames of every camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from simulator.detector import CountsArray, Detector, detector_of
from simulator.settings import NightSettings
from simulator.structure import DetectorStructure
from simulator.writer import HeaderTemplate, encode_pixels
from stream.atomic_files import write_atomically
from stream.errors import ConfigurationError
from stream.frame_names import is_frame_name

BIAS_FOLDER, DARK_FOLDER, FLAT_FOLDER = "bias", "darks", "flats"
FLAT_ELECTRONS = 20_000.0
UNEVEN_CAMERA = DetectorStructure(vignetting=0.3, response_rms=0.01, bias_rms_adu=2.0, dark_e_per_s=1.0)
"""A camera whose frames are better for being calibrated."""
_BIAS_EXPOSURE_S, _FLAT_EXPOSURE_S = 0.001, 1.0


@dataclass(frozen=True, slots=True)
class CalibrationPlan:
    """How many calibration frames are written, and how long the darks are exposed."""

    n_bias: int = 20
    n_darks: int = 10
    n_flats: int = 20
    dark_exposure_s: float = 10.0
    flat_electrons: float = FLAT_ELECTRONS

    @property
    def counts(self) -> dict[str, tuple[str, int]]:
        """First letter of the kind, and number of frames of each key, by folder."""
        return {
            BIAS_FOLDER: ("b", self.n_bias),
            DARK_FOLDER: ("d", self.n_darks),
            FLAT_FOLDER: ("f", self.n_flats),
        }


def refuse_other_calibration(folder: Path, settings: NightSettings, plan: CalibrationPlan | None = None) -> None:
    """Raise ConfigurationError if the folders of calibration frames hold others than `generate_calibration` writes."""
    for name, (letter, n_frames) in (plan or CalibrationPlan()).counts.items():
        ours = {settings.file_name(key, index, letter) for key in settings.filters for index in range(n_frames)}
        found = (folder / name).iterdir() if (folder / name).is_dir() else ()
        other = next((path for path in found if is_frame_name(path.name) and path.name not in ours), None)
        if other is not None:
            raise ConfigurationError(
                f"{folder / name} holds {other.name}, a calibration frame of another night: an empty folder is required"
            )


def generate_calibration(
    folder: Path,
    settings: NightSettings,
    plan: CalibrationPlan | None = None,
    *,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Write ``bias``, ``darks`` and ``flats`` into `folder`, which is created; files that are there are replaced.

    `advance` is called after each file.
    """
    chosen = plan if plan is not None else CalibrationPlan()

    def bias(detector: Detector, index: int) -> CountsArray:
        return detector.expose_dark(index, 0.0)

    def dark(detector: Detector, index: int) -> CountsArray:
        return detector.expose_dark(chosen.n_bias + index, chosen.dark_exposure_s)

    def flat(detector: Detector, index: int) -> CountsArray:
        return detector.expose_flat(index, chosen.flat_electrons)

    kinds = (
        (BIAS_FOLDER, "bias", _BIAS_EXPOSURE_S, bias),
        (DARK_FOLDER, "dark", chosen.dark_exposure_s, dark),
        (FLAT_FOLDER, "flat", _FLAT_EXPOSURE_S, flat),
    )
    for name, kind, exposure_s, expose in kinds:
        for _ in _write(folder / name, settings, (kind, exposure_s), chosen.counts[name][1], expose):
            advance()


def _write(
    folder: Path,
    settings: NightSettings,
    kind: tuple[str, float],
    n_frames: int,
    expose: Callable[[Detector, int], CountsArray],
) -> Iterator[Path]:
    image_type, exposure_s = kind
    folder.mkdir(parents=True, exist_ok=True)
    of_kind = msgspec.structs.replace(settings, exposure_s=exposure_s, cadence_s=max(settings.cadence_s, exposure_s))
    for name in settings.filters:
        header, detector = HeaderTemplate(of_kind, name, image_type), detector_of(settings, name)
        for index in range(n_frames):
            path = folder / settings.file_name(name, index, image_type[0])
            content = header.encode(path.name, settings.start_of_exposure_unix_ms(index))
            write_atomically(path, content + encode_pixels(expose(detector, index)))
            yield path
