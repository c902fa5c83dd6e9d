"""Frames to measure: any size, any number of sources, plain or packed, with the catalog that their truth gives.

The stars are 4 pixels wide at every size unless asked otherwise, so that only the number of pixels changes from one
size to the next. The catalog is made of the truth and not searched for: every case has exactly the sources it says.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from astropy.io import fits

from simulator.calibration import BIAS_FOLDER, DARK_FOLDER, FLAT_FOLDER, CalibrationPlan, generate_calibration
from simulator.night import FrameFactory
from simulator.settings import REFERENCE_BINNING, UNBINNED_PX, NightSettings
from simulator.sky import FrameState
from simulator.writer import pointing_of
from stream.config import CalibrationSettings, Recipe
from stream.instruments import OPTICAM_MX
from stream.measure.calibration import Calibration
from stream.measure.catalog import with_version
from stream.measure.master_files import CalibrationFolders, load_calibration, make_masters, save_masters
from stream.measure.psf import FWHM_PER_SIGMA
from stream.messages import Catalog

KEY, FILTER = "2:r", "r"
PLAIN, GZIPPED, TILED = "16-bit", ".gz", ".fz"
FWHM_PX = 4.0
_PLAN = CalibrationPlan(n_bias=4, n_darks=3, n_flats=4, dark_exposure_s=10.0)
_PIXEL_SCALE_ARCSEC = 0.14


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured.

    Attributes
    ----------
    size_px : int
        Rows and columns of the frames.
    storage : str
        `PLAIN`, `GZIPPED` or `TILED`.
    calibrated, cleaned : bool
        With bias, dark and flat frames; with cosmic rays looked for (there are some then).
    """

    size_px: int
    n_sources: int
    storage: str = PLAIN
    calibrated: bool = False
    cleaned: bool = False
    fwhm_px: float = FWHM_PX

    def night(self) -> NightSettings:
        """The night that the frames are of."""
        binning = UNBINNED_PX // self.size_px
        width = binning / REFERENCE_BINNING
        return NightSettings(
            n_images=1000,
            binning=binning,
            seed=47,
            filters=(FILTER,),
            n_sources=self.n_sources,
            fwhm_px=self.fwhm_px * width,
            guiding_rms_px=0.3 * width,
            scenarios=("cosmic_rays",) if self.cleaned else (),
        )

    def recipe(self) -> Recipe:
        """The default recipe, apart from what the case asks for."""
        return Recipe(OPTICAM_MX(), calibration=CalibrationSettings(remove_cosmic_rays=self.cleaned))


@dataclass(frozen=True, slots=True)
class SampleFrames:
    """Files of one case.

    Attributes
    ----------
    paths : tuple of Path
    calibration : Calibration or None
        Masters made of frames, where the case is calibrated.
    """

    case: Case
    paths: tuple[Path, ...]
    catalog: Catalog
    calibration: Calibration | None = field(default=None)

    @property
    def exposure_s(self) -> float:
        """Exposure time of the frames."""
        return self.catalog.exposure_s


def make_frames(folder: Path, case: Case, n_frames: int) -> SampleFrames:
    """Write `n_frames` frames of a case to `folder`; those that another case of the same night wrote are used again."""
    settings = case.night()
    factory = FrameFactory(settings)
    states = [factory.states(index)[0] for index in range(n_frames)]
    home = folder / f"{case.size_px}-{case.n_sources}-{case.fwhm_px:g}{'-cosmics' if case.cleaned else ''}"
    home.mkdir(parents=True, exist_ok=True)
    paths = []
    for state in states:
        plain = home / state.file_name
        if not plain.exists():
            plain.write_bytes(factory.content(state))
        paths.append(_packed(plain, case.storage))
    calibration = _calibration(folder / f"calibration-{case.size_px}", settings) if case.calibrated else None
    return SampleFrames(case, tuple(paths), catalog_of_truth(states[0], settings), calibration)


def catalog_of_truth(state: FrameState, settings: NightSettings) -> Catalog:
    """The catalog of a night without its bootstrap: sources where the truth of a frame has them, brightest first."""
    order = np.argsort(-state.electrons)
    sigma = (state.fwhm_px / FWHM_PER_SIGMA,) * len(order)
    return with_version(
        Catalog(
            key=state.key,
            version="",
            frame_shape=(settings.width_px, settings.width_px),
            binning=settings.binning,
            exposure_s=state.exposure_s,
            fwhm_px=state.fwhm_px,
            pixel_scale_arcsec=_PIXEL_SCALE_ARCSEC * settings.binning,
            x=tuple(state.x[order].tolist()),
            y=tuple(state.y[order].tolist()),
            flux_e=tuple(state.electrons[order].tolist()),
            semi_major_sigma_px=sigma,
            semi_minor_sigma_px=sigma,
            orientation_deg=(0.0,) * len(order),
            frames=(state.file_name,),
            pointing=pointing_of(settings).position,
        )
    )


def _packed(plain: Path, storage: str) -> Path:
    """The file in the storage that is asked for, beside the plain one."""
    if storage == PLAIN:
        return plain
    path = plain.with_name(plain.name + storage)
    if path.exists():
        return path
    if storage == GZIPPED:
        path.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=6))
        return path
    with fits.open(plain) as hdus:
        header = hdus[0].header.copy()
        tiled = fits.CompImageHDU(hdus[0].data, header, compression_type="RICE_1")
        fits.HDUList([fits.PrimaryHDU(), tiled]).writeto(path, output_verify="silentfix")
    return path


def _calibration(folder: Path, settings: NightSettings) -> Calibration | None:
    masters = folder / "masters"
    if not masters.exists():
        generate_calibration(folder, msgspec.structs.replace(settings, scenarios=()), _PLAN)
        folders = CalibrationFolders(folder / BIAS_FOLDER, folder / DARK_FOLDER, folder / FLAT_FOLDER)
        save_masters(make_masters(folders, Recipe(OPTICAM_MX())), masters)
    return load_calibration(masters, KEY)
