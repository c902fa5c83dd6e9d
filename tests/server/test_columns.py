"""Growing columns, thinning and the changes that are sent to a browser."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.columns import KeyColumns, change_between, extreme_indices, robust_range
from stream.config import APERTURE_LABEL
from stream.messages import FrameMeasured, SourceFluxes
from stream.night.ledger import LedgerReader
from tests.server.fake_night import KEYS, FakeNight


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[FrameMeasured], SourceFluxes]:
    night = FakeNight(tmp_path_factory.mktemp("night"))
    outcomes = night.advance(1500)
    night.finish()
    reader = LedgerReader(night.out)
    fluxes = reader.source_fluxes(KEYS[0], APERTURE_LABEL)
    reader.close()
    return [frame for frame in outcomes if isinstance(frame, FrameMeasured) and frame.key == KEYS[0]], fluxes


def assert_same(actual: SourceFluxes, expected: SourceFluxes) -> None:
    for name in ("frame_ids", "time_mjd_utc", "time_bmjd_tdb", "exposure_s", "airmass", "flux", "flux_err", "flags"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 400))
@settings(max_examples=25, deadline=None)
def test_any_order_and_repetition_gives_what_the_ledger_gives(
    frames: tuple[list[FrameMeasured], SourceFluxes], seed: int, size: int
) -> None:
    measured, expected = frames
    shuffled = list(measured)
    np.random.default_rng(seed).shuffle(shuffled)
    columns = KeyColumns(KEYS[0], APERTURE_LABEL, n_sources=6)
    for start in range(0, len(shuffled), size):
        batch = shuffled[start : start + size]
        assert columns.insert([*batch, batch[0]]) == len(batch)
        assert columns.insert(batch[:1]) == 0
    assert_same(columns.fluxes(), expected)


def test_bulk_and_live_frames_join_without_doubles(frames: tuple[list[FrameMeasured], SourceFluxes]) -> None:
    measured, expected = frames
    columns = KeyColumns(KEYS[0], APERTURE_LABEL, n_sources=6)
    assert columns.insert(measured[700:]) == len(measured) - 700
    assert columns.load(expected) == 700
    assert_same(columns.fluxes(), expected)


def test_frames_that_come_anew_take_the_place_of_the_former(frames: tuple[list[FrameMeasured], SourceFluxes]) -> None:
    measured, expected = frames
    late = [msgspec.structs.replace(frame, time_mjd_utc=frame.time_mjd_utc + 1.0) for frame in measured[300:1400:50]]
    columns = KeyColumns(KEYS[0], APERTURE_LABEL, n_sources=6)
    columns.insert([frame for frame in measured if frame not in measured[300:1400:50]] + late)
    kept, n_before = columns.kept_fluxes(), columns.n_merges
    before = kept.frame_ids.copy(), kept.flux.copy()
    assert columns.forget([frame.frame_id for frame in late] + [10**9]) == len(late)
    assert len(columns) == len(measured) - len(late)
    assert columns.insert(measured[300:1400:50]) == len(late)
    assert_same(columns.fluxes(), expected)
    assert columns.first_changed(n_before) == 300
    np.testing.assert_array_equal(kept.frame_ids, before[0])
    np.testing.assert_array_equal(kept.flux, before[1])
    n_merges = columns.n_merges
    assert columns.forget([10**9]) == 0
    assert columns.n_merges == n_merges


def test_a_frame_of_another_catalog_is_refused(frames: tuple[list[FrameMeasured], SourceFluxes]) -> None:
    columns = KeyColumns(KEYS[0], APERTURE_LABEL, n_sources=5)
    with pytest.raises(ValueError, match=r"frame_1-g_000000\.fit has 6 sources, the catalog of 1:g 5"):
        columns.insert(frames[0][:1])


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3000),
    max_points=st.integers(20, 500),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_thinning_keeps_the_extremes_of_every_bin(values: list[float], max_points: int, seed: int) -> None:
    value = np.array(values)
    position = np.sort(np.random.default_rng(seed).uniform(0.0, 1e4, len(value)))
    kept = extreme_indices(position, value, max_points)
    assert np.all(np.diff(kept) > 0)
    assert value[kept].min() == value.min()
    assert value[kept].max() == value.max()
    assert len(kept) <= max(max_points, 1) * 1.5 + 2
    if len(value) <= max_points:
        assert len(kept) == len(value)
    else:
        for chunk in np.array_split(np.arange(len(value)), 4):
            # Each quarter of the night keeps its own extremes to within the bins at its ends.
            inside = kept[(kept >= chunk[0]) & (kept <= chunk[-1])]
            assert len(inside) > 0 or np.ptp(position[chunk]) < np.ptp(position) / 10.0


def test_thinned_points_stay_while_the_night_grows() -> None:
    random = np.random.default_rng(3)
    position, value = np.arange(6000.0), random.standard_normal(6000)
    before = extreme_indices(position[:5990], value[:5990], 1000)
    after = extreme_indices(position, value, 1000)
    settled = 5990 - 16 - 250
    np.testing.assert_array_equal(before[before < settled], after[after < settled])


def columns_of(ids: range, level: float = 1.0) -> dict[str, np.ndarray]:
    number = np.array(ids, dtype=float)
    return {"frame_id": number, "flux": level + 0.01 * np.sin(number), "flux_err": np.full(len(number), 0.01)}


def test_new_points_are_appended_and_old_ones_fall_out_of_the_window() -> None:
    change = change_between(columns_of(range(0, 50)), columns_of(range(10, 55)), tolerance=0.05)
    assert change.kind == "append"
    assert change.columns["frame_id"].tolist() == [50.0, 51.0, 52.0, 53.0, 54.0]


@pytest.mark.parametrize(
    ("sent", "fresh", "kind"),
    [
        (columns_of(range(5)), columns_of(range(5)), "none"),
        (columns_of(range(0)), columns_of(range(0)), "none"),
        (columns_of(range(0)), columns_of(range(3)), "replace"),
        (columns_of(range(3)), columns_of(range(0)), "replace"),
        (columns_of(range(3)), columns_of(range(9, 12)), "replace"),
        (columns_of(range(5)), columns_of(range(5), level=1.0004), "none"),
        (columns_of(range(5)), columns_of(range(7), level=1.0004), "append"),
        (columns_of(range(5)), columns_of(range(7), level=1.02), "replace"),
        (columns_of(range(0, 10, 2)), columns_of(range(0, 10)), "replace"),
        (columns_of(range(10)), columns_of(range(0, 8)), "replace"),
        (columns_of(range(20)), columns_of(range(10, 20)), "replace"),
    ],
)
def test_change_between(sent: dict[str, np.ndarray], fresh: dict[str, np.ndarray], kind: str) -> None:
    assert change_between(sent, fresh, tolerance=0.05).kind == kind


def test_small_drifts_do_not_add_up_unseen() -> None:
    sent = columns_of(range(5))
    kinds = [
        change_between(sent, columns_of(range(5), level=1.0 + 1e-4 * step), tolerance=0.05).kind for step in range(20)
    ]
    assert [kind for kind, _group in itertools.groupby(kinds)] == ["none", "replace"]


def test_range_is_not_blown_up_by_a_few_points() -> None:
    flux = 1.0 + 0.01 * np.random.default_rng(1).standard_normal(1000)
    flux[[3, 500]] = 40.0, np.nan
    low, high = robust_range(flux, np.full(1000, 0.01))
    assert 0.9 < low < 0.99
    assert 1.01 < high < 1.1
    assert robust_range(np.array([np.nan]), np.array([np.nan])) == (0.9, 1.1)
