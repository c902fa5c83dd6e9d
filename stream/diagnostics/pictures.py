"""The frames themselves: apertures on the reference frame, films of aligned frames and of the target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.analysis.choice import KeyChoice
from stream.atomic_files import write_atomically
from stream.config import Recipe
from stream.diagnostics.apertures import median_psf, night_aperture, standard_photometer
from stream.diagnostics.folder import choices_of, open_night, place, save
from stream.diagnostics.frames import FrameToShow, aligned_image, frames_to_show, read_image, stamp
from stream.errors import AnalysisError
from stream.messages import Catalog
from stream.night.night_reader import FrameConditions, NightReader
from stream.plots.fields import Apertures, apertures_figure
from stream.plots.films import film
from stream.timestamps import mjd_to_iso

_MOST_FRAMES = 60
_FILM_SIDE_PX, _STAMP_SIDE_PX = 400, 320
_STAMP_HALF_FWHM = 8.0
_SMALLEST_HALF_PX, _LARGEST_HALF_PX = 12, 60


def write_apertures(out: Path) -> list[Path]:
    """Write ``diag/<key>_apertures.png``: the standard aperture and the annulus of every source, to scale.

    Raises
    ------
    AnalysisError
        If no reference frame can be read.
    """
    written = []
    with open_night(out) as reader:
        recipe, choices = reader.recipe(), choices_of(reader, out)
        for key, catalog in sorted(reader.catalogs().items()):
            image = None
            if catalog.frames:
                image = read_image(reader.folder(), catalog.frames[0], recipe.instrument, catalog.hot_pixels)
            if image is None:
                continue
            apertures = _apertures(recipe, catalog, reader.conditions(key), choices.get(key))
            title = (
                f"{key}    {standard_photometer(recipe).label}: semi-axes {apertures.semi_major_px:.1f} x "
                f"{apertures.semi_minor_px:.1f} px, annulus {apertures.inner_px:.1f} to {apertures.outer_px:.1f} px"
            )
            figure = apertures_figure(catalog, image, apertures, title)
            written.append(save(figure, out, f"{_in_file_names(key)}_apertures.png"))
    if not written:
        raise AnalysisError("no reference frame of the night can be read")
    return written


def write_aligned_films(out: Path) -> list[Path]:
    """Write ``diag/<key>_aligned.gif``: at most sixty frames of the night on the reference frame, below 5 MB.

    Raises
    ------
    AnalysisError
        If no aligned frame can be read.
    """
    written = []
    with open_night(out) as reader:
        for key, catalog in sorted(reader.catalogs().items()):
            factor = max(1, max(catalog.frame_shape) // _FILM_SIDE_PX)
            images, captions = [], []
            for shown, image in _readable(reader, catalog):
                images.append(aligned_image(image, shown.transform, factor))
                captions.append(_caption(key, shown))
            if images:
                content = film(images, captions, side_px=_FILM_SIDE_PX)
                written.append(_save_film(out, f"{_in_file_names(key)}_aligned.gif", content))
    return _some(written)


def write_target_films(out: Path) -> list[Path]:
    """Write ``diag/<key>_target.gif``: the surroundings of the target on the same frames, with its aperture.

    Raises
    ------
    AnalysisError
        If no aligned frame can be read.
    """
    written = []
    with open_night(out) as reader:
        recipe, choices, catalogs = reader.recipe(), choices_of(reader, out), reader.catalogs()
        for key, choice in sorted(choices.items()):
            catalog = catalogs[key]
            centre = (catalog.x[choice.target - 1], catalog.y[choice.target - 1])
            half = int(np.clip(_STAMP_HALF_FWHM * catalog.fwhm_px, _SMALLEST_HALF_PX, _LARGEST_HALF_PX))
            images, captions = [], []
            for shown, image in _readable(reader, catalog):
                images.append(stamp(image, centre, shown.transform, half))
                captions.append(_caption(f"{key}#{choice.target}", shown))
            if images:
                apertures = _apertures(recipe, catalog, reader.conditions(key), choice)
                radius = float(np.sqrt(apertures.semi_major_px * apertures.semi_minor_px))
                content = film(images, captions, side_px=_STAMP_SIDE_PX, circle_px=radius)
                written.append(_save_film(out, f"{_in_file_names(key)}_target.gif", content))
    return _some(written)


def _readable(reader: NightReader, catalog: Catalog) -> Iterator[tuple[FrameToShow, NDArray[np.float32]]]:
    recipe, folder = reader.recipe(), reader.folder()
    conditions = reader.conditions(catalog.key)
    for shown in frames_to_show(conditions, catalog, reader.frame_paths(), _MOST_FRAMES):
        image = read_image(folder, shown.name, recipe.instrument, catalog.hot_pixels)
        if image is not None and image.shape == catalog.frame_shape:
            yield shown, image


def _apertures(recipe: Recipe, catalog: Catalog, conditions: FrameConditions, choice: KeyChoice | None) -> Apertures:
    """The standard aperture at the median shape of the stars, within its limits."""
    psf = median_psf(catalog, conditions)
    aperture = night_aperture(standard_photometer(recipe), recipe, catalog, psf=psf)
    settings = recipe.photometry
    return Apertures(
        aperture.major_px,
        aperture.minor_px,
        psf.orientation_deg,
        settings.annulus_inner_fwhm * catalog.fwhm_px,
        settings.annulus_outer_fwhm * catalog.fwhm_px,
        choice.target if choice else 0,
        choice.comparisons if choice else (),
    )


def _caption(name: str, shown: FrameToShow) -> str:
    return f"{name}  {mjd_to_iso(shown.time_mjd_utc)[:19].replace('T', ' ')}"


def _save_film(out: Path, name: str, content: bytes) -> Path:
    path = place(out, name)
    write_atomically(path, content)
    return path


def _some(written: list[Path]) -> list[Path]:
    if not written:
        raise AnalysisError("no aligned frame of the night can be read")
    return written


def _in_file_names(key: str) -> str:
    return key.replace(":", "-")
