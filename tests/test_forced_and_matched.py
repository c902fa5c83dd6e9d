"""Forced and matched photometry of whole frames, with both backgrounds in one pass, against the truth."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy import stats

from stream.config import PhotometerSettings, PhotometrySettings, Recipe
from stream.flags import Flag
from stream.messages import Catalog, FloatArray, FrameMeasured
from stream.pipeline import Reference, process_frame
from tests.nights import RECIPE, SMALL, SimulatedNight

FORCED = tuple(
    PhotometerSettings(kind=kind, background=background)
    for kind in ("aperture", "optimal")
    for background in ("annulus", "mesh")
)
MATCHED = tuple(msgspec.structs.replace(photometer, forced=False) for photometer in FORCED)
BOTH = msgspec.structs.replace(RECIPE, photometers=(*FORCED, *MATCHED))
FAINT = msgspec.structs.replace(SMALL, n_sources=40, brightness=0.02, scenarios=("dither",), circular_aperture=False)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> SimulatedNight:
    return SimulatedNight(tmp_path_factory.mktemp("forced"), SMALL)


@pytest.fixture(scope="module")
def catalog(night: SimulatedNight) -> Catalog:
    return night.catalog()


def with_places(catalog: Catalog, x: FloatArray, y: FloatArray) -> Catalog:
    """The catalog with more sources at the end, fainter than all others and of the same shape."""
    more: dict[str, list[float]] = {
        "x": x.tolist(),
        "y": y.tolist(),
        "flux_e": [0.5 * min(catalog.flux_e)] * len(x),
        **{
            name: [float(np.median(getattr(catalog, name)))] * len(x)
            for name in ("semi_major_sigma_px", "semi_minor_sigma_px", "orientation_deg")
        },
    }
    return msgspec.structs.replace(catalog, **{name: (*getattr(catalog, name), *more[name]) for name in more})


def column(message: FrameMeasured, name: str) -> FloatArray:
    return np.asarray(message.source_table()[message.columns().index(name)])


def measured(night: SimulatedNight, index: int, catalog: Catalog, recipe: Recipe) -> FrameMeasured:
    return process_frame(night.frame(index), Reference.from_catalog(catalog, recipe), recipe).message


def test_one_pass_measures_forced_and_matched_on_both_backgrounds(night: SimulatedNight, catalog: Catalog) -> None:
    message = measured(night, 7, catalog, BOTH)
    labels = ["aperture_annulus", "aperture", "optimal_annulus", "optimal"]
    assert list(message.labels) == [f"forced_{label}" for label in labels] + labels
    truth = night.state(7).electrons[night.truth_of(catalog)]
    for label in message.labels:
        flux, error = column(message, f"{label}_flux"), column(message, f"{label}_flux_err")
        seen = np.isfinite(flux)
        assert seen.sum() >= 0.8 * len(truth), label
        assert np.abs((flux - truth) / np.hypot(error, 0.005 * truth))[seen].max() < 4.5, label


def test_a_source_is_itself_within_the_tolerance_and_nothing_beyond(night: SimulatedNight, catalog: Catalog) -> None:
    """The catalog puts the fifth star 1.2 pixels off, and a source on an empty place."""
    off_px, fifth = 1.2, 4
    x, y = list(catalog.x), np.asarray(catalog.y)
    x[fifth] += off_px
    rows, columns = np.mgrid[60:190:5, 60:190:5]
    empty = np.column_stack([columns.ravel(), rows.ravel()])
    distance = np.hypot(*(empty[:, None] - np.column_stack([night.state(0).x, night.state(0).y])).transpose(2, 0, 1))
    place = empty[distance.min(axis=1).argmax()].astype(float)
    wrong = with_places(msgspec.structs.replace(catalog, x=tuple(x)), place[:1], place[1:])
    assert len(wrong.y) == len(y) + 1
    truth = night.state(7).electrons[night.truth_of(catalog)][fifth]
    for tolerance, is_found in ((1.0, True), (0.8 * off_px / catalog.fwhm_px, False)):
        photometry = PhotometrySettings(match_tolerance_fwhm=tolerance)
        message = measured(night, 7, wrong, msgspec.structs.replace(BOTH, photometry=photometry))
        flags = column(message, "flags").astype(int) & int(Flag.NOT_DETECTED) != 0
        assert flags[fifth] == (not is_found)
        assert flags[-1]
        for label in message.labels:
            flux, error = column(message, f"{label}_flux"), column(message, f"{label}_flux_err")
            assert np.isfinite(flux[[fifth, -1]]).tolist() == [is_found or "forced" in label, "forced" in label]
            if "forced" in label:
                assert abs(flux[-1]) < 4.0 * error[-1]
        forced, matched = (column(message, f"{label}optimal_annulus_flux")[fifth] for label in ("forced_", ""))
        assert forced < 0.95 * truth
        if is_found:
            assert matched == pytest.approx(truth, rel=0.02)


def test_the_forced_flux_of_a_star_too_faint_to_detect_is_unbiased_with_a_true_error(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Stars that are in no catalog, at their true places: positions come from the bright ones alone."""
    night = SimulatedNight(tmp_path_factory.mktemp("faint"), FAINT)
    catalog = night.catalog()
    missing = np.setdiff1d(np.arange(FAINT.n_sources), night.truth_of(catalog))
    first = night.state(0)
    whole = with_places(catalog, first.x[missing], first.y[missing])
    recipe = msgspec.structs.replace(RECIPE, photometers=FORCED)
    pulls: dict[str, list[FloatArray]] = {photometer.label: [] for photometer in FORCED}
    for index in range(5, 40):
        message = measured(night, index, whole, recipe)
        truth = night.state(index).electrons[missing]
        for label, found in pulls.items():
            flux, error = (column(message, f"{label}_{name}")[catalog.n_sources :] for name in ("flux", "flux_err"))
            assert np.nanmax(truth / error) < 6.0
            found.append((flux - truth) / error)
    for label, found in pulls.items():
        pull = np.concatenate(found)
        pull = pull[np.isfinite(pull)]
        assert len(pull) > 250
        assert abs(np.mean(pull)) < 0.15, label
        assert np.std(pull) == pytest.approx(1.0, abs=0.1), label
        assert stats.kstest(pull, "norm").pvalue > 0.01, label
