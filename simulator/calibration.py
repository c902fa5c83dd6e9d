"""Writes the calibration frames that go with a simulated night: bias, dark and flat frames of every camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from simulator.detector import CountsArray, Detector, detector_of
from simulator.settings import NightSettings
from simulator.writer import HeaderTemplate, encode_pixels
from stream.atomic_files import write_atomically

BIAS_FOLDER, DARK_FOLDER, FLAT_FOLDER = "bias", "darks", "flats"
FLAT_ELECTRONS = 20_000.0
_BIAS_EXPOSURE_S, _FLAT_EXPOSURE_S = 0.001, 1.0


@dataclass(frozen=True, slots=True)
class CalibrationPlan:
    """How many calibration frames are written, and how long the darks are exposed."""

    n_bias: int = 20
    n_darks: int = 10
    n_flats: int = 20
    dark_exposure_s: float = 10.0
    flat_electrons: float = FLAT_ELECTRONS


def generate_calibration(folder: Path, settings: NightSettings, plan: CalibrationPlan | None = None) -> None:
    """Write ``bias``, ``darks`` and ``flats`` into `folder`, which is created; files that are there are replaced."""
    chosen = plan if plan is not None else CalibrationPlan()

    def bias(detector: Detector, index: int) -> CountsArray:
        return detector.expose_dark(index, 0.0)

    def dark(detector: Detector, index: int) -> CountsArray:
        return detector.expose_dark(chosen.n_bias + index, chosen.dark_exposure_s)

    def flat(detector: Detector, index: int) -> CountsArray:
        return detector.expose_flat(index, chosen.flat_electrons)

    _write(folder / BIAS_FOLDER, settings, ("bias", _BIAS_EXPOSURE_S), chosen.n_bias, bias)
    _write(folder / DARK_FOLDER, settings, ("dark", chosen.dark_exposure_s), chosen.n_darks, dark)
    _write(folder / FLAT_FOLDER, settings, ("flat", _FLAT_EXPOSURE_S), chosen.n_flats, flat)


def _write(
    folder: Path,
    settings: NightSettings,
    kind: tuple[str, float],
    n_frames: int,
    expose: Callable[[Detector, int], CountsArray],
) -> None:
    image_type, exposure_s = kind
    folder.mkdir(parents=True, exist_ok=True)
    of_kind = msgspec.structs.replace(settings, exposure_s=exposure_s, cadence_s=max(settings.cadence_s, exposure_s))
    for name in settings.filters:
        header, detector = HeaderTemplate(of_kind, name, image_type), detector_of(settings, name)
        for index in range(n_frames):
            path = folder / settings.file_name(name, index, image_type[0])
            content = header.encode(path.name, settings.start_of_exposure_unix_ms(index))
            write_atomically(path, content + encode_pixels(expose(detector, index)))
