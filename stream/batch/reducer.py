"""A reduction in steps, for notebooks: headers, catalogs, then one photometer after the other."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from stream.batch.deep_stack import DeepCatalog, FramesOfKey, build_deep_catalog
from stream.batch.outputs import write_raw_light_curves
from stream.batch.own_photometers import recipe_with, with_finder
from stream.batch.photometers import Photometer
from stream.batch.progress_by_key import KeyBars
from stream.config import Recipe
from stream.diagnostics.conditions import BACKGROUND_FILE, HEADER_TIMES_FILE, background_figure
from stream.diagnostics.folder import place
from stream.diagnostics.scatter import rms_vs_median_figure
from stream.errors import AnalysisError, ConfigurationError, LedgerError, NightError
from stream.instruments import OPTICAM_MX, Instrument
from stream.measure.catalog import load_catalog, save_catalog
from stream.measure.master_files import CalibrationFolders, load_calibration, make_masters, save_masters
from stream.measure.protocols import HeaderReader, SourceFinder
from stream.measure.protocols import Photometer as OwnMeasure
from stream.messages import Catalog, FloatArray
from stream.night.ledger import LEDGER_FILE, LedgerReader
from stream.night.night_folder import CALIBRATION_FOLDER, CATALOG_FOLDER
from stream.night.run import NightOptions, Onlooker, refuse_same_folder, run_night
from stream.notebook import progress, say, show_figure, step
from stream.own_instruments import instrument_of
from stream.plots import catalogs_figure, save_figure
from stream.plots.nights import NightSeries, header_times_figure
from stream.scan import frame_names, scan_with_progress

_SENTENCES_SHOWN = 5


class Reducer:
    """Reduces the frames of a folder with the pipeline, the workers and the ledger of the live night.

    Parameters
    ----------
    data_directory : path
        Folder of the frames.
    out_directory : path
        Folder of the outputs; it is made if it does not exist.
    instrument : Instrument, optional
        How headers are read; default `OPTICAM_MX`, or that of the recipe. Also a name or file, or a class of the
        user's own (`stream.measure.protocols.HeaderReader`).
    recipe : Recipe, optional
        All other settings. Its photometers are not used: `photometry` is told which.
    calibration : CalibrationFolders, optional
        Where bias, dark and flat frames are.
    remove_cosmic_rays : bool, optional
        Look for cosmic rays with L.A.Cosmic; by default what the recipe says, which is no unless it was changed.
    n_workers : int, optional
        Worker processes; one a core unless given.
    show_plots : bool
        Show figures below the cells of a notebook; they are saved in any case.
    finder : SourceFinder or str, optional
        Class of the user's own that finds the sources of the catalogs, an object of it, or its name.

    Raises
    ------
    ConfigurationError
        If the folder of the frames does not exist, holds no frame, or none whose header can be used, or is that of
        the outputs; if a folder of calibration frames holds none; or if a class of the user's own cannot be used by
        the workers.
    """

    def __init__(
        self,
        data_directory: Path | str,
        out_directory: Path | str,
        instrument: Instrument | HeaderReader | str | None = None,
        *,
        recipe: Recipe | None = None,
        calibration: CalibrationFolders | None = None,
        remove_cosmic_rays: bool | None = None,
        n_workers: int | None = None,
        show_plots: bool = True,
        finder: SourceFinder | str | None = None,
    ) -> None:
        self.data_directory, self.out_directory = Path(data_directory), Path(out_directory)
        if instrument is not None:
            instrument = instrument_of(instrument)
        self.recipe = _recipe_of(instrument, recipe, remove_cosmic_rays)
        self._calibration = calibration or CalibrationFolders()
        self._n_workers = n_workers or os.cpu_count() or 1
        self._show = show_plots
        self.recipe = with_finder(self.recipe, finder)
        refuse_same_folder(self.data_directory, self.out_directory)
        self._calibration.refuse_empty()
        names = frame_names(
            self.data_directory, self.out_directory, *self._calibration.paths_outside_of(self.data_directory)
        )
        self._make_out()
        self.scan = scan_with_progress(self.data_directory, names, self.recipe.instrument)
        for line in self.scan.lines():
            say(line)
        say()
        if not self.scan.facts:
            raise ConfigurationError(f"no frame in {self.data_directory} has a header that {self._instrument} explains")
        self._keep(header_times_figure(self._header_times()), place(self.out_directory, HEADER_TIMES_FILE))

    @property
    def keys(self) -> tuple[str, ...]:
        """Cameras and filters that the headers name."""
        return tuple(self.scan.by_key)

    def create_catalogs(self) -> None:
        """Align and stack all frames of each key, and find, number and measure the sources of the stack.

        Writes ``cat/<key>_catalog.ecsv``, a picture of all of them as ``cat/catalogs.pdf`` and ``.png``, and the
        background of each frame as ``diag/background.pdf``. What was measured with former catalogs stays as it is.

        Raises
        ------
        ConfigurationError
            If the frames of a key show no source, or a finder of the user's own fails. No catalog is written then.
        """
        say("Creating source catalogs.")
        if self._calibration:
            masters = self.out_directory / CALIBRATION_FOLDER
            save_masters(make_masters(self._calibration, self.recipe), masters)
            _say_some(self._calibration.missing_masters(masters, self.keys))
        built = {key: self._build_catalog(key) for key in self.keys}
        folder = self.out_directory / CATALOG_FOLDER
        folder.mkdir(exist_ok=True)
        for key, made in built.items():
            save_catalog(made.catalog, _catalog_path(folder, key))
        figure = catalogs_figure([(made.catalog, made.picture) for made in built.values()])
        save_figure(figure, folder / "catalogs.png")
        self._keep(figure, folder / "catalogs.pdf")
        series = [
            NightSeries(key, made.time_mjd_utc, {"sky_e_per_px_s": made.sky_e_per_px / made.exposure_s})
            for key, made in built.items()
        ]
        self._keep(background_figure(series), place(self.out_directory, BACKGROUND_FILE))

    def photometry(self, photometer: Photometer | OwnMeasure | str) -> None:
        """Measure every source on every frame, and write ``lcs/<label>/<key>_source_<n>.csv``.

        Each photometer makes a set of measurements of its own in the ledger; light curves of former ones stay. The
        same call again measures only frames that came since. A photometer of the user's own is given as an
        `OwnPhotometer`, or as an object, a class or a name alone.

        Raises
        ------
        ConfigurationError
            If there are no catalogs yet, or the photometer is given something that it cannot work with.
        NightError
            If the output folder is in use, or workers do not start.
        """
        recipe = recipe_with(photometer, self.recipe)
        (label,) = recipe.labels()
        catalogs = self._catalogs()
        say(f"Photometry results will be saved to lcs/{label} in {self.out_directory}.")
        options = NightOptions(
            self.data_directory,
            self.out_directory,
            self._n_workers,
            finite=True,
            remeasure=needs_new_set(self.out_directory, recipe, catalogs),
            catalogs=tuple(_catalog_path(self.out_directory / CATALOG_FOLDER, key) for key in catalogs),
            calibration=self._calibration,
        )
        with self._bars() as onlooker:
            counts = run_night(options, recipe, stop=threading.Event(), onlooker=onlooker)
        if counts.n_pending:
            raise NightError(f"{counts.n_pending} frames were not measured: the same call goes on with them")
        self._say_rejections(label)
        write_raw_light_curves(self.out_directory, label)
        self._draw_scatter(label)

    @property
    def _instrument(self) -> str:
        return self.recipe.instrument.name

    def _header_times(self) -> dict[str, FloatArray]:
        """Middle of the exposures of each key, MJD (UTC), in order."""
        return {
            key: np.sort([facts.time_mjd_utc for facts in self.scan.facts.values() if facts.key == key])
            for key in self.keys
        }

    def _make_out(self) -> None:
        if self.out_directory.is_dir():
            return
        say(f"{self.out_directory} not found, attempting to create ...")
        try:
            self.out_directory.mkdir(parents=True)
        except OSError as error:
            raise ConfigurationError(f"output folder {self.out_directory} cannot be made: {error.strerror}") from error
        say(f"{self.out_directory} created.")

    def _build_catalog(self, key: str) -> DeepCatalog:
        frames = [(facts.time_mjd_utc, name) for name, facts in self.scan.facts.items() if facts.key == key]
        names = tuple(name for _, name in sorted(frames))
        masters = self.out_directory / CALIBRATION_FOLDER
        calibration = load_calibration(masters, key) if self._calibration else None
        with progress(f"Aligning {key} images", len(names)) as bar:
            made = build_deep_catalog(
                FramesOfKey(key, names, self.data_directory, self.recipe, calibration), lambda: step(bar)
            )
        say("Done.")
        say(f"{made.n_aligned} image(s) aligned.")
        say(f"{len(made.not_aligned)} image(s) could not be aligned.")
        _say_some(made.not_aligned)
        say()
        return made

    def _catalogs(self) -> dict[str, Catalog]:
        """Catalogs of the output folder, those of an earlier session included."""
        folder = self.out_directory / CATALOG_FOLDER
        paths = {key: _catalog_path(folder, key) for key in self.keys}
        missing = [key for key, path in paths.items() if not path.is_file()]
        if missing:
            raise ConfigurationError(
                f"{folder} holds no catalog of {', '.join(missing)}: create_catalogs() must come before photometry()"
            )
        return {key: load_catalog(path) for key, path in paths.items()}

    @contextmanager
    def _bars(self) -> Iterator[Onlooker]:
        bars = KeyBars(self.out_directory, self.scan.by_key)
        try:
            yield Onlooker(on_status=bars.show)
            bars.finish()
        finally:
            bars.close()

    def _say_rejections(self, label: str) -> None:
        reader = LedgerReader(self.out_directory, label=label)
        try:
            rejected = reader.rejected()
            n_rejected = reader.counts().n_rejected
        finally:
            reader.close()
        if n_rejected:
            say(f"{n_rejected} image(s) could not be measured.")
            _say_some([each.sentence for each in rejected])

    def _draw_scatter(self, label: str) -> None:
        try:
            _, figure = rms_vs_median_figure(self.out_directory, label)
        except AnalysisError as error:
            say(f"No picture of scatter against flux: {error}.")
        else:
            self._keep(figure, place(self.out_directory, f"{label}_rms_vs_median.pdf"))

    def _keep(self, figure: Any, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
        say(f"Plot saved to {path}.")
        if self._show:
            show_figure(figure)


def _recipe_of(instrument: Instrument | None, recipe: Recipe | None, remove_cosmic_rays: bool | None) -> Recipe:
    if recipe is None:
        recipe = Recipe(instrument=instrument or OPTICAM_MX())
    elif instrument is not None:
        recipe = msgspec.structs.replace(recipe, instrument=instrument)
    if remove_cosmic_rays is not None:
        calibration = msgspec.structs.replace(recipe.calibration, remove_cosmic_rays=remove_cosmic_rays)
        recipe = msgspec.structs.replace(recipe, calibration=calibration)
    return recipe


def needs_new_set(out: Path, recipe: Recipe, catalogs: Mapping[str, Catalog]) -> bool:
    """Whether the newest set of measurements in `out` is by another recipe or with other catalogs."""
    if not (out / LEDGER_FILE).is_file():
        return False
    reader = LedgerReader(out)
    try:
        same = reader.recipe().hash() == recipe.hash()
        measured_with = reader.catalogs()
    except LedgerError:
        return True  # of another version of the program, or without a single set
    finally:
        reader.close()
    return not same or any(
        measured_with[key].version != catalogs[key].version for key in measured_with & catalogs.keys()
    )


def _catalog_path(folder: Path, key: str) -> Path:
    return folder / f"{key.replace(':', '-')}_catalog.ecsv"


def _say_some(sentences: tuple[str, ...] | list[str]) -> None:
    for sentence in sentences[:_SENTENCES_SHOWN]:
        say(f"  {sentence}")
    if len(sentences) > _SENTENCES_SHOWN:
        say(f"  and {len(sentences) - _SENTENCES_SHOWN} more")
