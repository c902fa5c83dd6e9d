"""Names of the scenarios; they can be combined. Imports nothing heavy: the command line lists them in its help."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SCENARIOS: Mapping[str, str] = MappingProxyType(
    {
        "drift": "the field drifts steadily across the frame",
        "dither": "the pointing is offset by some per cent of the field every ten frames",
        "rotation": "the field rotates steadily about the centre of the frame",
        "flip": "meridian flip: the second half of the night is turned by 180 degrees",
        "seeing": "the width of the stars changes smoothly during the night",
        "clouds": "two clouds pass",
        "trailed": "every fifth frame or so is trailed",
        "hot_pixels": "pixels that are hot in every frame of a camera",
        "cosmic_rays": "tracks of cosmic rays",
        "saturation": "the brightest star is ten times brighter and saturates",
        "leaving": "a star near the edge drifts out of the frame",
        "gaps": "two pauses without frames",
        "transit": "a planet passes in front of the variable source",
        "flare": "the variable source flares",
        "cameras": "scale, rotation and centre differ from camera to camera, as those of the instrument do",
    }
)
"""What each scenario does; how strongly is in `simulator.settings.ScenarioScales`."""
