"""Simulated nights in memory, for tests: any frame, with its truth, and the catalog of a key."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from simulator.night import FrameFactory
from simulator.settings import NightSettings, ScenarioScales
from simulator.sky import FrameState
from stream.config import Recipe
from stream.instruments import OPTICAM_MX
from stream.measure.frames import Frame, read_frame
from stream.measure.transform import Transform
from stream.messages import BuildCatalog, Catalog, CatalogBuilt, FrameMeasured, FrameToMeasure
from stream.night.bootstrap import build_catalog
from stream.pipeline import FrameMeasurement, Reference, process_frame

RECIPE = Recipe(OPTICAM_MX())
REAL_DENSITY = ScenarioScales(n_hot_pixels=60)
"""Hot pixels on 256 x 256 pixels, where the real frames have about a thousand on 1024 x 1024."""
SMALL = NightSettings(n_images=40, binning=8, n_sources=15, filters=("g",), scales=REAL_DENSITY)
"""256 x 256 pixels, one key, enough stars for any alignment."""


class SimulatedNight:
    """Frames of the first filter of a night; files are written to `folder` when they are first asked for."""

    def __init__(self, folder: Path, settings: NightSettings = SMALL, recipe: Recipe = RECIPE) -> None:
        self.folder, self.settings, self.recipe = folder, settings, recipe
        self._factory = FrameFactory(settings)

    def state(self, index: int) -> FrameState:
        """The truth of a frame."""
        return self._factory.states(index)[0]

    def name(self, index: int) -> str:
        """Write a frame unless it is there, and return the name of its file."""
        state = self.state(index)
        path = self.folder / state.file_name
        if not path.exists():
            path.write_bytes(self._factory.content(state))
        return state.file_name

    def frame(self, index: int) -> Frame:
        """A frame, read from its file."""
        return read_frame(self.folder / self.name(index), self.name(index), self.recipe.instrument)

    def request(self, indices: range = range(5)) -> BuildCatalog:
        """A request for the catalog of these frames."""
        entries = tuple(FrameToMeasure(index + 1, self.name(index)) for index in indices)
        return BuildCatalog(self.state(0).key, entries)

    def catalog(self, indices: range = range(5)) -> Catalog:
        """The catalog of these frames."""
        built = build_catalog(self.request(indices), self.folder, self.recipe).reply
        assert isinstance(built, CatalogBuilt)
        return built.catalog

    def truth_of(self, catalog: Catalog) -> np.ndarray:
        """Index of the simulated source of each catalog source; every one must be within a pixel."""
        state = next(self.state(index) for index in range(1000) if self.state(index).file_name == catalog.frames[0])
        distances = np.hypot(
            *(catalog.positions()[:, None, :] - np.column_stack([state.x, state.y])).transpose(2, 0, 1)
        )
        assert distances.min(axis=1).max() < 1.0
        return np.asarray(distances.argmin(axis=1))


def measured(frame: Frame, reference: Reference, hint: Transform | None = None) -> FrameMeasured:
    """The message of one frame."""
    return process(frame, reference, hint).message


def process(frame: Frame, reference: Reference, hint: Transform | None = None) -> FrameMeasurement:
    """One frame by the default recipe."""
    return process_frame(frame, reference, RECIPE, hint)


def with_stars(catalog: Catalog, numbers: list[int]) -> Catalog:
    """The catalog with the sources of these numbers alone."""
    columns = ("x", "y", "flux_e", "semi_major_sigma_px", "semi_minor_sigma_px", "orientation_deg")
    kept = {name: tuple(getattr(catalog, name)[number - 1] for number in numbers) for name in columns}
    return msgspec.structs.replace(catalog, **kept)
