"""What a refresh of power spectra may cost: core time, beside astropy's default in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from astropy.timeseries import LombScargle

from benchmarks.timing import BUDGET_S, as_table, made_light_curves, timed_refreshes
from server.looks import Look
from server.spectrum_views import SpectrumMaker
from stream.analysis.detrending import Detrending, Trend
from stream.analysis.series import TimeSeries

pytestmark = pytest.mark.clock

N_POINTS, N_NEW, MOST_REFRESHES = 20_000, 3, 40


def core_s(work: Callable[[], object]) -> float:
    """Seconds of the processor, which others do not get by waiting."""
    started = time.process_time()
    work()
    return time.process_time() - started


@pytest.mark.parametrize(
    ("detrending", "times_astropy", "budget_s"),
    [(Detrending(), 12.0, BUDGET_S), (Detrending(Trend.MEDIAN, window_s=600.0), 6.0, 2.0 * BUDGET_S)],
    ids=["as they are", "less a running median"],
)
def test_the_spectra_of_a_page_are_brought_up_to_date_in_time(
    detrending: Detrending, times_astropy: float, budget_s: float
) -> None:
    """3 keys of 20,000 points and 3 new ones each, with levels and peaks: 50 ms of a core.

    Less a trend all points change with each new one, and the transform is that of all of them: twice as much.
    """
    keys = made_light_curves(N_POINTS + N_NEW * (MOST_REFRESHES + 1))
    makers = [SpectrumMaker(f"{number}:g", look=Look(detrending=detrending)) for number in range(len(keys))]

    def refresh(n_points: int) -> None:
        for maker, each in zip(makers, keys, strict=True):
            part = TimeSeries(each.time_s[:n_points], each.flux[:n_points], each.flux_err[:n_points])
            maker.make(part, np.full(n_points, np.nan), n_points)

    def astropy() -> None:
        for each in keys:
            LombScargle(each.time_s, each.flux, each.flux_err).autopower(nyquist_factor=1)

    refresh(N_POINTS)
    astropy_s, least_s = core_s(astropy), np.inf
    # The least of many: caches are shared with whatever else the machine does.
    for number in range(1, MOST_REFRESHES + 1):
        least_s = min(least_s, core_s(lambda number=number: refresh(N_POINTS + N_NEW * number)))  # type: ignore[misc]
        if number >= 5 and least_s <= budget_s and least_s < astropy_s / times_astropy:
            break
    print(f"{1e3 * least_s:.1f} ms after {number} refreshes, astropy {1e3 * astropy_s:.1f} ms")  # noqa: T201
    assert all(not maker.view.sentence and maker.view.alarm_level > 0.0 for maker in makers)
    assert least_s < astropy_s / times_astropy
    assert least_s <= budget_s


def test_the_benchmark_has_a_row_for_each_method() -> None:
    refreshes = timed_refreshes(n_points=2000, n_refreshes=2)
    assert [each.name for each in refreshes] == ["rolling", "whole", "astropy"]
    assert all(0.0 < each.least_s <= each.median_s for each in refreshes)
    assert as_table(refreshes, 2000).row_count == 3
