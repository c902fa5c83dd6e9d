"""What the feed does for each new frame costs the same on a long night as on a short one: core time of its thread."""

from __future__ import annotations

import sys
import time
from dataclasses import fields

import numpy as np
import pytest

from server.columns import KeyColumns
from server.looks import Look
from server.night_model import NightModel
from server.solving import MOST_AT_ONCE, Solver
from stream.config import OPTIMAL_LABEL
from stream.messages import Selection, SourceFluxes
from tests.server.fake_night import FLUXES_E, KEYS, NOISE, START_MJD, VARIABLE, catalog_of
from tests.server.test_feed import wait_for

KEY = KEYS[0]
LOOK = Look()
SHORT, LONG = 1_000, 50_000
N_STEPS = 120
STEP_S = 0.1


def fluxes_of(first: int, last: int) -> SourceFluxes:
    """Frames by their number, ten a second."""
    random = np.random.default_rng(first)
    index = np.arange(first, last)
    times = START_MJD + index.astype(np.float64) * (STEP_S / 86400.0)
    flux = np.array(FLUXES_E) * (1.0 + NOISE * random.standard_normal((len(index), len(FLUXES_E))))
    flux[:, VARIABLE - 1] *= 1.0 + 0.02 * np.sin(0.85 * index * STEP_S)
    return SourceFluxes(
        key=KEY,
        label=OPTIMAL_LABEL,
        time_mjd_utc=times,
        time_bmjd_tdb=times + 0.003,
        exposure_s=np.full(len(index), STEP_S),
        airmass=np.full(len(index), 1.2),
        flux=flux,
        flux_err=np.broadcast_to(np.array(FLUXES_E) * NOISE, flux.shape).copy(),
        flags=np.zeros(flux.shape, dtype=np.int64),
        frame_ids=index + 1,
    )


class GrowingNight:
    """One key of a night that has some frames already, and how long the feed's thread works for the next ones."""

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        self.solver = Solver(MOST_AT_ONCE)
        self.model = NightModel(OPTIMAL_LABEL, solver=self.solver)
        self.columns = KeyColumns(KEY, OPTIMAL_LABEL, n_sources=len(FLUXES_E))
        self.columns.load(fluxes_of(0, n_frames))
        self.model.names.update((frame_id, f"frame_{frame_id:06d}.fit") for frame_id in range(1, n_frames + 1))
        self.model.add_key(catalog_of(KEY), self.columns)
        wait_for(self.is_whole)

    def is_whole(self) -> bool:
        """Whether target, light curve and spectrum are those of all frames."""
        self.model.refresh()
        (view,) = self.model.curve_views(LOOK).values()
        return view.n_points == len(self.columns) and len(view.spectrum.columns["power"]) > 0

    def step_ms(self) -> float:
        """One more frame."""
        fresh = fluxes_of(self.n_frames, self.n_frames + 1)
        self.n_frames += 1
        self.model.names[self.n_frames] = f"frame_{self.n_frames:06d}.fit"
        started = time.thread_time()
        self.columns.load(fresh)
        self.model.refresh()
        self.model.curve_views(LOOK)
        return 1e3 * (time.thread_time() - started)


@pytest.mark.clock
def test_a_step_of_a_long_night_costs_what_one_of_a_short_night_does(capsys: pytest.CaptureFixture[str]) -> None:
    short, long = GrowingNight(SHORT), GrowingNight(LONG)
    steps = np.array([(short.step_ms(), long.step_ms()) for _ in range(N_STEPS)])
    # A new target of the whole night is computed beside the thread, not on it.
    long.model.change_selection(Selection(targets={KEY: 4}))
    changed = np.array([long.step_ms() for _ in range(30)])
    wait_for(long.is_whole)
    assert long.model.key_views()[KEY].choice is not None
    with capsys.disabled():
        for name, of_steps in (("1,000 frames", steps[:, 0]), ("50,000 frames", steps[:, 1]), ("new target", changed)):
            middle, worst = np.median(of_steps), of_steps.max()
            sys.stdout.write(f"\ncore time of a step, {name}: median {middle:.2f} ms, longest {worst:.2f} ms")
    short.solver.stop()
    long.solver.stop()
    # 3000 points are drawn in the place of 1000: that is all that a longer night costs.
    assert np.median(steps[:, 1]) < 3.0 * np.median(steps[:, 0])
    assert np.percentile(steps[:, 1], 95) < 3.0 * np.percentile(steps[:, 0], 95)
    # On the thread of the feed this would be a hundred times as long.
    assert changed.max() < 40.0 * np.median(steps[:, 0])


def test_what_the_solver_works_on_stays_as_it_was_when_a_late_frame_comes() -> None:
    columns = KeyColumns(KEY, OPTIMAL_LABEL, n_sources=len(FLUXES_E))
    early, late = fluxes_of(0, 50), fluxes_of(50, 60)
    columns.load(early)
    columns.load(late)
    kept = columns.kept_fluxes()
    before = {
        field.name: np.array(getattr(kept, field.name)) for field in fields(kept) if field.name not in ("key", "label")
    }
    between = fluxes_of(60, 61)
    between.time_mjd_utc[0] = early.time_mjd_utc[20] + 1e-7
    columns.load(between)
    assert columns.fluxes().frame_ids[21] == 61
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(kept, name), values)


def test_a_key_whose_catalog_has_no_frames_yet_is_shown_without_points() -> None:
    model = NightModel(OPTIMAL_LABEL)
    model.change_selection(Selection(targets={KEY: VARIABLE}, comparisons={KEY: (1, 3)}))
    columns = KeyColumns(KEY, OPTIMAL_LABEL, n_sources=len(FLUXES_E))
    model.add_key(catalog_of(KEY), columns)
    for n_frames in (0, 3):
        columns.load(fluxes_of(0, n_frames))
        model.refresh()
        assert model.curve_views(LOOK)[KEY].n_points == n_frames
