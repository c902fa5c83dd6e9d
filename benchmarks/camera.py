"""Three cameras that expose together: frames rendered once and written again and again, each with a time of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from simulator.detector import detector_of
from simulator.settings import NightSettings
from simulator.sky import Sky
from simulator.writer import HeaderTemplate, encode_pixels

CADENCE_S = 0.1
SETTINGS = NightSettings(n_images=1000, cadence_s=CADENCE_S, exposure_s=0.09, seed=53)
"""The tutorial's night, 512 x 512 pixels, six sources, at ten frames a second and camera."""
N_CAMERAS = len(SETTINGS.filters)
_RENDERED = 20


class Cameras:
    """Frames of `SETTINGS`: the pixels of a few exposures in turn, the headers of any number of them."""

    def __init__(self) -> None:
        sky = Sky(SETTINGS)
        self._headers = {name: HeaderTemplate(SETTINGS, name) for name in SETTINGS.filters}
        self._pixels = {
            name: [
                encode_pixels(detector_of(SETTINGS, name).expose(sky.state(name, index))) for index in range(_RENDERED)
            ]
            for name in SETTINGS.filters
        }

    def exposure(self, index: int) -> Iterator[tuple[str, bytes]]:
        """Name and content of the files of one exposure, one a camera."""
        start_ms = SETTINGS.start_of_exposure_unix_ms(index)
        for name, pixels in self._pixels.items():
            file_name = SETTINGS.file_name(name, index)
            yield file_name, self._headers[name].encode(file_name, start_ms) + pixels[index % _RENDERED]

    def write(self, folder: Path, exposures: range) -> dict[str, float]:
        """Write exposures as fast as it goes; see `write_paced` for what is returned."""
        closed: dict[str, float] = {}
        for index in exposures:
            closed |= {name: _write_as_camera(folder / name, content) for name, content in self.exposure(index)}
        return closed

    def write_paced(self, folder: Path, exposures: range, cadence_s: float) -> dict[str, float]:
        """Write an exposure every `cadence_s` seconds; returns when each file was closed, seconds since 1970."""
        closed: dict[str, float] = {}
        pause, started = threading.Event(), time.monotonic()
        for number, index in enumerate(exposures):
            files = list(self.exposure(index))
            pause.wait(max(0.0, started + number * cadence_s - time.monotonic()))
            closed |= {name: _write_as_camera(folder / name, content) for name, content in files}
        return closed


def _write_as_camera(path: Path, content: bytes) -> float:
    """Write under the final name and close; the moment before it was closed: whoever watches cannot know earlier."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, content)
    finally:
        closed_unix_s = time.time()
        os.close(descriptor)
    return closed_unix_s
