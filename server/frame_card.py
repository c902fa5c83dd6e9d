"""One frame as it was measured: its facts, its header, and stamps of target and comparison stars with apertures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from server.pictures import read_image, stretch
from stream.analysis.choice import KeyChoice
from stream.config import Recipe
from stream.flags import Flag, flag_names
from stream.frame_names import file_of
from stream.measure.apertures import Aperture, aperture_on_frame
from stream.measure.psf import Psf
from stream.messages import Catalog, FrameMeasured
from stream.night.ledger import LedgerReader

_MOST_STAMPS = 8
_MOST_CARDS = 300
_LARGEST_HALF_SIDE_PX = 48


@dataclass(frozen=True, slots=True)
class Stamp:
    """A source of a frame: its picture and its apertures.

    Attributes
    ----------
    text : str
        Number, and T for the target, c for a comparison star.
    pixels : array of uint8, shape (side, side)
        Row 0 is the lowest; black off the frame.
    x, y : float
        Where the catalog has the source, pixels of the stamp.
    apertures : tuple of Aperture
        One a photometer, each once.
    orientation_deg : float
    sentence : str
        Flux with its error, and flags in words.
    """

    text: str
    pixels: NDArray[np.uint8]
    x: float
    y: float
    apertures: tuple[Aperture, ...]
    orientation_deg: float
    sentence: str


@dataclass(frozen=True, slots=True)
class FrameCard:
    """A frame for a viewer; `sentence` says what is missing."""

    name: str
    facts: tuple[tuple[str, str], ...] = ()
    header: tuple[tuple[str, str, str], ...] = ()
    """Keyword, value and comment."""
    stamps: tuple[Stamp, ...] = ()
    annulus_px: tuple[float, float] = (0.0, 0.0)
    sentence: str = ""


def read_card(out: Path, frame_id: int, choice: KeyChoice | None, label: str) -> FrameCard:
    """Read what the ledger says of a frame, and the frame itself if it is still there.

    Raises
    ------
    LedgerError
        If there is no such frame.
    """
    reader = LedgerReader(out)
    try:
        outcome, recipe, folder = reader.outcome(frame_id), reader.recipe(), reader.folder()
        name = reader.frame_path(frame_id)
        catalogs = reader.catalogs()
    finally:
        reader.close()
    if outcome is None:
        return FrameCard(name, sentence=f"frame {name} has not been measured yet")
    if not isinstance(outcome, FrameMeasured):
        return FrameCard(name, sentence=outcome.sentence)
    path = folder / name
    facts = _facts(outcome)
    found = read_image(path)
    if found is None:
        gone = "is no longer there" if not file_of(path).exists() else "can no longer be read"
        return FrameCard(name, facts, sentence=f"{path} {gone}: its stamps cannot be shown")
    image, header = found
    catalog = catalogs.get(outcome.key)
    if catalog is None or choice is None:
        return FrameCard(name, facts, _cards(header), sentence=f"there is no target of {outcome.key} yet")
    numbers = (choice.target, *choice.comparisons)[:_MOST_STAMPS]
    stamps = tuple(_stamp(outcome, image, number, (recipe, catalog, choice, label)) for number in numbers)
    inner, outer = (
        factor * catalog.fwhm_px
        for factor in (recipe.photometry.annulus_inner_fwhm, recipe.photometry.annulus_outer_fwhm)
    )
    return FrameCard(name, facts, _cards(header), stamps, (inner, outer))


def _facts(frame: FrameMeasured) -> tuple[tuple[str, str], ...]:
    flags = ", ".join(flag_names(frame.flags)) or "none"
    return (
        ("key", frame.key),
        ("exposure", f"{frame.exposure_s:g} s"),
        ("airmass", _number(frame.airmass, 3)),
        ("FWHM", f"{_number(frame.fwhm_px, 2)} px"),
        ("sky", f"{_number(frame.sky_e_per_px, 1)} e⁻/px"),
        ("transparency", _number(frame.transparency, 3)),
        ("shift", f"{_number(frame.shift_x_px, 2)}, {_number(frame.shift_y_px, 2)} px"),
        ("rotation", f"{_number(frame.rotation_deg, 3)}°"),
        ("aligned on", f"{frame.n_aligned} stars, {_number(frame.alignment_rms_px, 3)} px"),
        ("flags of the frame", flags),
    )


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "unknown"


def _cards(header: fits.Header) -> tuple[tuple[str, str, str], ...]:
    cards = []
    for card in list(header.cards)[:_MOST_CARDS]:
        if card.keyword not in ("", "COMMENT", "HISTORY"):
            cards.append((card.keyword, str(card.value), card.comment))
    return tuple(cards)


def _stamp(
    frame: FrameMeasured,
    image: NDArray[np.float32],
    number: int,
    night: tuple[Recipe, Catalog, KeyChoice, str],
) -> Stamp:
    recipe, catalog, choice, label = night
    table = dict(zip(frame.columns(), frame.source_table()[:, number - 1].tolist(), strict=True))
    factor = max(1, round(image.shape[0] / catalog.frame_shape[0]))
    half = min(math.ceil(recipe.photometry.annulus_outer_fwhm * catalog.fwhm_px) + 1, _LARGEST_HALF_SIDE_PX)
    pixels, corner = _cut(image, (table["x"], table["y"]), half, factor)
    role = "T" if number == choice.target else "c"
    names = ", ".join(flag_names(int(table["flags"]))) or "no flag"
    flux = f"{table[f'{label}_flux']:,.0f} ± {table[f'{label}_flux_err']:,.0f} e⁻"
    sentence = names if int(table["flags"]) & int(Flag.OFF_FRAME) else f"{flux} · {names}"
    return Stamp(
        text=f"{number}{role}",
        pixels=pixels,
        x=table["x"] - corner[0],
        y=table["y"] - corner[1],
        apertures=_apertures(frame, recipe, catalog, label=label),
        orientation_deg=frame.orientation_deg,
        sentence=sentence,
    )


def _cut(
    image: NDArray[np.float32], place: tuple[float, float], half: int, factor: int
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A square around a place, in pixels of the measurement: squares of `factor` pixels of the file on a side."""
    side = 2 * half + 1
    if not all(map(math.isfinite, place)):
        return np.zeros((side, side), dtype=np.uint8), (0, 0)
    x, y = (round(coordinate) - half for coordinate in place)
    square = np.full((side, side), np.nan, dtype=np.float32)
    rows, columns = (np.arange(low, low + side) for low in (y, x))
    inside_rows = (rows >= 0) & (rows < image.shape[0] // factor)
    inside_columns = (columns >= 0) & (columns < image.shape[1] // factor)
    if inside_rows.any() and inside_columns.any():
        top, bottom = rows[inside_rows][[0, -1]]
        left, right = columns[inside_columns][[0, -1]]
        part = image[top * factor : (bottom + 1) * factor, left * factor : (right + 1) * factor]
        blocks = part.reshape(bottom - top + 1, factor, right - left + 1, factor).mean(axis=(1, 3))
        square[np.ix_(inside_rows, inside_columns)] = blocks
    return stretch(square), (x, y)


def _apertures(frame: FrameMeasured, recipe: Recipe, catalog: Catalog, *, label: str) -> tuple[Aperture, ...]:
    """Apertures of the standard photometers and of the one that is shown, as they were on this frame."""
    major, minor = frame.semi_major_sigma_px, frame.semi_minor_sigma_px
    if not (math.isfinite(major) and math.isfinite(minor) and minor > 0.0):
        return ()
    angle = math.radians(frame.orientation_deg if math.isfinite(frame.orientation_deg) else 0.0)
    cosine, sine = math.cos(angle), math.sin(angle)
    psf = Psf(
        xx=(major * cosine) ** 2 + (minor * sine) ** 2,
        xy=(major**2 - minor**2) * cosine * sine,
        yy=(major * sine) ** 2 + (minor * cosine) ** 2,
    )
    settings = recipe.photometry
    inner, outer = settings.annulus_inner_fwhm * catalog.fwhm_px, settings.annulus_outer_fwhm * catalog.fwhm_px
    apertures = [
        aperture_on_frame(one, psf, settings, inner_px=inner, half_side_px=math.ceil(outer) + 1)
        for one in recipe.photometers
        if one.kind == "aperture" and (not one.name or one.label == label)
    ]
    return tuple(dict.fromkeys(apertures))
