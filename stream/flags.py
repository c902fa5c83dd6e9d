"""The one registry of flags: a bit, a name and a sentence each.

A flag says why a number should be looked at twice, or why there is none. Frame flags hold for every source of
the frame; source flags for one source. Both are stored as integers and may be joined with ``|``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from types import MappingProxyType


class Flag(IntFlag):
    """Bits of the ``flags`` columns. A bit, once given, never changes its meaning."""

    GOOD = 0
    SATURATED = 1 << 0
    NEAR_EDGE = 1 << 1
    OFF_FRAME = 1 << 2
    NON_FINITE = 1 << 3
    BAD_PIXEL = 1 << 4
    COSMIC_RAY = 1 << 5
    POOR_ALIGNMENT = 1 << 6
    UNALIGNED = 1 << 7
    LOW_TRANSPARENCY = 1 << 8
    TIME_UNCERTAIN = 1 << 9
    NO_POINTING = 1 << 10
    POOR_BACKGROUND = 1 << 11
    TRAILED = 1 << 12
    NO_COMPARISON = 1 << 13
    NOT_DETECTED = 1 << 14
    MOVED = 1 << 15
    NO_OWN_FLUX = 1 << 16
    NONLINEAR = 1 << 17


SENTENCES: Mapping[Flag, str] = MappingProxyType(
    {
        Flag.SATURATED: "A pixel of the aperture is at or above the saturation level.",
        Flag.NEAR_EDGE: "Part of the aperture or of the background annulus lies outside the frame.",
        Flag.OFF_FRAME: "The source lies outside the frame; it has no flux.",
        Flag.NON_FINITE: "A pixel of the aperture is not a finite number.",
        Flag.BAD_PIXEL: "A pixel of the aperture is marked in the bad-pixel map.",
        Flag.COSMIC_RAY: "A pixel of the aperture was cleaned of a cosmic ray.",
        Flag.POOR_ALIGNMENT: "The alignment rests on few stars or leaves large residuals.",
        Flag.UNALIGNED: "The frame could not be aligned to the catalog; its sources have no flux.",
        Flag.LOW_TRANSPARENCY: "The stars are at less than half of their flux in the catalog: clouds.",
        Flag.TIME_UNCERTAIN: "The clock of the header is coarser than the exposure.",
        Flag.NO_POINTING: "The pointing is unknown; the time is not corrected to the barycentre.",
        Flag.POOR_BACKGROUND: "Too few pixels of the background annulus could be used.",
        Flag.TRAILED: "The stars are trailed: the point-spread function is more than twice as long as wide.",
        Flag.NO_COMPARISON: "No comparison star could be measured on the frame; there is no relative flux.",
        Flag.NOT_DETECTED: "The source was not found near its place; photometers that are not forced have no flux.",
        Flag.MOVED: "The star lies off its place against the others: a cosmic ray on it, a blend, or its own motion.",
        Flag.NO_OWN_FLUX: "A photometer or background of the user's own gave no number; that photometer has no flux.",
        Flag.NONLINEAR: "A pixel of the aperture reaches the counts from which on the detector is not linear.",
    }
)

NOT_MEASURED = Flag.OFF_FRAME | Flag.NON_FINITE | Flag.UNALIGNED
"""With any of these the flux is NaN."""

DOUBTFUL = (
    Flag.SATURATED
    | Flag.NEAR_EDGE
    | Flag.BAD_PIXEL
    | Flag.COSMIC_RAY
    | Flag.POOR_ALIGNMENT
    | Flag.POOR_BACKGROUND
    | Flag.MOVED
    | Flag.NONLINEAR
)
"""With any of these there is a flux, but an observer should not trust it blindly."""


def flag_names(flags: int) -> tuple[str, ...]:
    """Names of the bits set in `flags`, in the order of the registry."""
    return tuple(flag.name for flag in SENTENCES if flags & flag and flag.name is not None)
