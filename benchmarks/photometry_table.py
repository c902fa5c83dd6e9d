"""Simulated frames of each key: this program beside a plain photutils loop and the noise limit.

The variable source is compared with the other five and its true signal divided out; what is left is noise.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.limits import READ_NOISE_E, STANDARD_FWHM, relative_noise
from benchmarks.photutils_loop import StarsOfFirstFrame, measure_with_photutils
from benchmarks.sections import Section
from simulator.night import simulate_night
from simulator.settings import NightSettings
from simulator.truth import Truth, load_truth
from stream.analysis.relative import relative_light_curve
from stream.config import APERTURE_LABEL, LADDER_FWHM, OPTIMAL_LABEL
from stream.measure.frames import read_frame
from stream.messages import FloatArray, SourceFluxes
from stream.night.night_reader import NightReader
from stream.pipeline import Reference, process_frame

KEYS = ("1:g", "2:r", "3:i")
VARIABLE, OTHERS = 2, (1, 3, 4, 5, 6)
RADII = {APERTURE_LABEL: STANDARD_FWHM} | {f"{APERTURE_LABEL}_{radius}fwhm": radius for radius in LADDER_FWHM}
SEED = 31
COLUMNS = ("key", "method", "scatter %", "limit %", "over limit", "flux / truth", "ms a frame")
_TIMED_FRAMES = 100
_TEXTS = (
    "{n} simulated frames of each key, 512 x 512 pixels, six sources, the settings "
    "of the tutorial. The variable source is compared with the other five and its true signal divided out. *limit* is "
    "the least scatter that the truth allows: the CCD equation for apertures (Howell 2006), the Cramer-Rao limit with "
    "the true profile for the optimal photometer, both with the background estimated in the annulus. *flux / truth* is "
    "that of the source which is farthest from 1; apertures are corrected for the light of a Gaussian outside of them.",
    "The scatter of {n} frames is itself known to {known}, but the methods share the noise of the frames and can be "
    "compared more closely than that. The best of seven apertures is low by chance, by half a per cent or so.",
    "The photutils loop centres each star near its place on the first frame, sums a circle of 1.5 FWHM and takes the "
    "background from a sigma-clipped annulus. Its relative light curve is computed by the same code as the others. "
    "This is a quiet night, on which such a loop does as well as anything; it would lose the stars of a field that "
    "drifts.",
    "Time is core time in one process, file to fluxes: this program's includes alignment, barycentric times and all "
    "eight photometers of the standard recipe. It depends on what else the machine does; the ratio within one run is "
    "what counts.",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one key.

    Attributes
    ----------
    scatter, limit : float
        Relative; standard deviation of the curve without its true signal, and the least that the truth allows.
    worst_flux : float
        Mean flux over the true one, of the source where that is farthest from 1.
    core_ms : float
        Core time of a frame, file to fluxes, milliseconds.
    """

    key: str
    method: str
    scatter: float
    limit: float
    worst_flux: float
    core_ms: float

    def cells(self) -> tuple[str, ...]:
        """Texts in the order of `COLUMNS`."""
        return (
            self.key,
            self.method,
            f"{100.0 * self.scatter:.4f}",
            f"{100.0 * self.limit:.4f}",
            f"{self.scatter / self.limit:.3f}",
            f"{self.worst_flux:.4f}",
            f"{self.core_ms:.2f}",
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """A simulated night, its truth, and what this program measured of it."""

    frames: Path
    truth: Truth
    reader: NightReader

    def rows(self, key: str) -> list[Row]:
        """All methods on one key."""
        core_ms = self._core_ms(key)
        ladder = [self._row(fluxes, self._name(fluxes.label), core_ms) for fluxes in self._ladder(key)]
        best = min(ladder, key=lambda row: row.scatter)
        optimal = self._row(self.reader.source_fluxes(key, OPTIMAL_LABEL), "forced optimal", core_ms)
        return [
            replace(ladder[0], method="forced aperture, 1.5 FWHM"),
            replace(best, method=f"best of the ladder, {best.method}"),
            optimal,
            self._photutils(key),
        ]

    def _ladder(self, key: str) -> list[SourceFluxes]:
        return [self.reader.source_fluxes(key, label) for label in RADII]

    def _name(self, label: str) -> str:
        return f"{RADII[label]} FWHM"

    def _row(self, fluxes: SourceFluxes, method: str, core_ms: float) -> Row:
        electrons = self.truth.column("electrons", fluxes.key)
        curve = relative_light_curve(fluxes, VARIABLE, OTHERS)
        residual = curve.flux / (electrons[:, VARIABLE - 1] / electrons[:, 0])
        scatter = float(residual.std() / residual.mean())
        ratios = (fluxes.flux / electrons).mean(axis=0) / self._light_within(fluxes.label)
        worst = float(ratios[np.abs(ratios - 1.0).argmax()])
        return Row(fluxes.key, method, scatter, self._limit(fluxes.key, fluxes.label), worst, core_ms)

    def _light_within(self, label: str) -> float:
        """Share of a Gaussian's light within the aperture; the optimal photometer is corrected for it already."""
        if label == OPTIMAL_LABEL:
            return 1.0
        return float(1.0 - np.exp(-4.0 * np.log(2.0) * RADII.get(label, STANDARD_FWHM) ** 2))

    def _limit(self, key: str, label: str) -> float:
        """Noise of the source and of the ensemble weighted by inverse variance, from the truth."""
        noise = relative_noise(self.truth, key, label, RADII.get(label, STANDARD_FWHM))
        others = 1.0 / np.sum(1.0 / noise[[number - 1 for number in OTHERS]] ** 2)
        return float(np.sqrt(noise[VARIABLE - 1] ** 2 + others))

    def _core_ms(self, key: str) -> float:
        """Core time of the pipeline with all of its photometers, one process, file to fluxes."""
        recipe = self.reader.recipe()
        reference = Reference.from_catalog(self.reader.catalogs()[key], recipe)
        hint = None
        first, *paths = self._paths(key)[: _TIMED_FRAMES + 1]
        started = 0.0
        for path in (first, *paths):
            result = process_frame(read_frame(path, path.name, recipe.instrument), reference, recipe, hint)
            hint = result.transform
            # The first frame fills caches. The clock is asked twice in all: in virtual machines that is not for free.
            started = time.process_time() if path is first else started
        return 1000.0 * (time.process_time() - started) / len(paths)

    def _paths(self, key: str) -> list[Path]:
        names, ids = self.reader.frame_paths(), self.reader.source_fluxes(key, APERTURE_LABEL).frame_ids
        return [self.frames / names[int(number)] for number in ids]

    def _photutils(self, key: str) -> Row:
        ours = self.reader.source_fluxes(key, APERTURE_LABEL)
        first: FloatArray = np.column_stack([self.truth.column("x", key)[0], self.truth.column("y", key)[0]])
        width = float(self.truth.column("fwhm_px", key)[0, 0])
        loop = measure_with_photutils(self._paths(key), StarsOfFirstFrame(first, width, READ_NOISE_E[key]))
        fluxes = replace(ours, flux=loop.flux, flux_err=loop.flux_err, flags=np.zeros_like(ours.flags))
        return self._row(fluxes, "photutils loop, 1.5 FWHM", 1000.0 * loop.core_s)


def run_bench(root: Path, n_images: int) -> list[Row]:
    """Simulate, reduce and compare; frames and outputs stay below `root`."""
    frames, out = root / "frames", root / "out"
    simulate_night(frames, NightSettings(n_images=n_images, seed=SEED), processes=os.cpu_count() or 1)
    words = ("reduce", str(frames), "--out", str(out), "--no-diagnostics")
    subprocess.run([sys.executable, "-m", "opticam_live", *words], check=True)
    reader = NightReader(out)
    try:
        bench = Bench(frames, load_truth(frames), reader)
        return [row for key in KEYS for row in bench.rows(key)]
    finally:
        reader.close()


def noise_section(rows: Sequence[Row], n_images: int) -> Section:
    """The table of noise."""
    known = f"{100.0 / np.sqrt(2.0 * n_images):.1f} %"
    texts = tuple(part.format(n=n_images, known=known) for part in _TEXTS)
    return Section("Noise of light curves", texts, COLUMNS, tuple(row.cells() for row in rows), n_words=2)
