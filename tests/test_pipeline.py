"""One frame through the pipeline: the truth comes out, whatever the hint, the order, and the way of the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from simulator.settings import ScenarioScales
from simulator.sky import VARIABLE
from stream.config import APERTURE_LABEL, OPTIMAL_LABEL, AlignmentSettings, Recipe
from stream.errors import FrameRejectedError, Reason
from stream.flags import Flag
from stream.measure.frames import Frame
from stream.measure.transform import Transform
from stream.messages import SOURCE_COLUMNS, FrameMeasured
from stream.pipeline import Reference, process_frame
from stream.timestamps import SkyPosition, barycentric_mjd_tdb
from tests.measure.synthetic import noisy, round_stars
from tests.nights import RECIPE, SMALL, SimulatedNight, measured, process, with_stars

FLAGS = SOURCE_COLUMNS.index("flags")
OPTIMAL, OPTIMAL_ERR = (SOURCE_COLUMNS.index(f"{OPTIMAL_LABEL}_{name}") for name in ("flux", "flux_err"))
APERTURE, APERTURE_ERR = (SOURCE_COLUMNS.index(f"{APERTURE_LABEL}_{name}") for name in ("flux", "flux_err"))
SATURATING = 30_000.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


def make_night(folder: Path, name: str, **changes: object) -> SimulatedNight:
    """A night like `SMALL` with other settings, in a folder of its own."""
    (folder / name).mkdir(exist_ok=True)
    return SimulatedNight(folder / name, msgspec.structs.replace(SMALL, **changes))


@pytest.fixture(scope="module")
def plain(folder: Path) -> SimulatedNight:
    return make_night(folder, "plain", scenarios=("drift", "rotation", "hot_pixels", "seeing"))


@pytest.fixture(scope="module")
def reference(plain: SimulatedNight) -> Reference:
    return Reference.from_catalog(plain.catalog(), RECIPE)


def assert_same_measurement(one: FrameMeasured, other: FrameMeasured) -> None:
    """Equal flags; every flux within a thousandth of its error, every place within a thousandth of a pixel."""
    assert one.flags == other.flags
    first, second = one.source_table(), other.source_table()
    np.testing.assert_array_equal(first[FLAGS], second[FLAGS])
    for flux, error in ((APERTURE, APERTURE_ERR), (OPTIMAL, OPTIMAL_ERR)):
        np.testing.assert_array_equal(np.isnan(first[flux]), np.isnan(second[flux]))
        seen = np.isfinite(first[flux])
        assert (np.abs(first[flux] - second[flux])[seen] <= 1e-3 * first[error][seen]).all()
    np.testing.assert_allclose(first[:2], second[:2], atol=1e-3, equal_nan=True)


def assert_true(night: SimulatedNight, reference: Reference, index: int, message: FrameMeasured) -> None:
    """Places, transform and fluxes of a measured frame against the truth."""
    numbers = night.truth_of(reference.catalog)
    state, first = night.state(index), night.state(0)
    table = message.source_table()
    on_frame = np.isfinite(table[OPTIMAL])
    assert on_frame.sum() >= 3
    offsets = np.hypot(table[0] - state.x[numbers], table[1] - state.y[numbers])
    assert offsets[on_frame].max() < 0.25
    assert message.rotation_deg == pytest.approx(state.transform.rotation_deg - first.transform.rotation_deg, abs=0.1)
    assert message.scale == pytest.approx(1.0, abs=2e-3)
    quiet = on_frame & (numbers != VARIABLE) & (table[FLAGS] == 0)
    pulls = (table[OPTIMAL] - state.electrons[numbers])[quiet] / table[OPTIMAL_ERR][quiet]
    assert np.abs(pulls).max() < 5.5
    assert message.fwhm_px == pytest.approx(np.hypot(state.fwhm_px, 0.68), rel=0.08)


@pytest.mark.parametrize("index", [0, 7, 20, 39])
def test_what_is_measured_is_true(plain: SimulatedNight, reference: Reference, index: int) -> None:
    message = measured(plain.frame(index), reference)
    assert message.flags == 0
    assert message.n_aligned >= 5
    assert message.transparency == pytest.approx(1.0, abs=0.05)
    assert message.time_mjd_utc == pytest.approx(plain.state(index).time_mjd_utc, abs=2e-11)
    assert_true(plain, reference, index, message)


def test_fluxes_over_a_night_are_as_exact_as_their_errors_say(plain: SimulatedNight, reference: Reference) -> None:
    numbers = plain.truth_of(reference.catalog)
    pulls = {OPTIMAL: [], APERTURE: []}  # type: dict[int, list[np.ndarray]]
    for index in range(0, 40, 2):
        table = measured(plain.frame(index), reference).source_table()
        expected = plain.state(index).electrons[numbers]
        clean = table[FLAGS] == 0
        for column, found in pulls.items():
            found.append(((table[column] - expected) / table[column + 1])[clean])
    for column, found in pulls.items():
        pull = np.concatenate(found)
        assert pull.size > 200
        # The aperture holds 0.998 of the light: half an error of a bright star.
        assert abs(np.median(pull)) < (0.25 if column == OPTIMAL else 0.6)
        assert 1.4826 * np.median(np.abs(pull - np.median(pull))) == pytest.approx(1.0, abs=0.15)


def test_frames_are_aligned_on_as_many_stars_as_the_recipe_says(plain: SimulatedNight) -> None:
    recipe = msgspec.structs.replace(RECIPE, alignment=AlignmentSettings(n_stars=4))
    few = Reference.from_catalog(plain.catalog(), recipe)
    assert len(few.stars.xy) == 4
    assert process_frame(plain.frame(7), few, recipe).message.n_aligned == 4


HINTS: dict[str, Callable[[Transform], Transform | None]] = {
    "none": lambda t: None,
    "true": lambda t: t,
    "0.4 px off": lambda t: replace(t, shift_x_px=t.shift_x_px + 0.4, shift_y_px=t.shift_y_px - 0.3),
    "3 px off": lambda t: replace(t, shift_x_px=t.shift_x_px - 3.0),
    "20 px off": lambda t: replace(t, shift_x_px=t.shift_x_px + 20.0, shift_y_px=t.shift_y_px - 11.0),
    "off the frame": lambda t: replace(t, shift_x_px=t.shift_x_px + 5000.0),
    "turned by 1 degree": lambda t: replace(t, sine=t.sine + 0.0175),
    "turned by 90 degrees": lambda t: replace(t, cosine=-t.sine, sine=t.cosine),
    "turned by 180 degrees": lambda t: replace(t, cosine=-t.cosine, sine=-t.sine),
}


@pytest.mark.parametrize("kind", [kind for kind in HINTS if kind != "true"])
def test_a_hint_does_not_move_the_result(plain: SimulatedNight, reference: Reference, kind: str) -> None:
    for index in (3, 17, 33):
        frame = plain.frame(index)
        first = process(frame, reference)
        assert first.transform is not None
        best = process(frame, reference, first.transform)
        hinted = process(frame, reference, HINTS[kind](first.transform))
        assert_same_measurement(best.message, hinted.message)


def test_frames_in_any_order_give_the_same_numbers(plain: SimulatedNight, reference: Reference) -> None:
    def in_order(indices: list[int]) -> dict[int, FrameMeasured]:
        hint, messages = None, {}
        for index in indices:
            result = process(plain.frame(index), reference, hint)
            hint, messages[index] = result.transform or hint, result.message
        return messages

    indices = list(range(0, 40, 3))
    shuffled = np.random.default_rng(1).permutation(indices).tolist()
    forwards, mixed, backwards = in_order(indices), in_order(shuffled), in_order(indices[::-1])
    for index in indices:
        assert_same_measurement(forwards[index], mixed[index])
        assert_same_measurement(forwards[index], backwards[index])


def test_faint_and_cloudy_frames_keep_their_independence_of_hints(folder: Path) -> None:
    night = make_night(folder, "clouds", scenarios=("clouds",), scales=ScenarioScales(cloud_depth=0.9), brightness=0.3)
    reference = Reference.from_catalog(night.catalog(), RECIPE)
    low = []
    for index in range(0, 40, 3):
        frame = night.frame(index)
        without = process(frame, reference)
        assert without.transform is not None
        assert_same_measurement(
            without.message, process(frame, reference, HINTS["20 px off"](without.transform)).message
        )
        low.append((night.state(index).transparency, without.message))
    for transparency, message in low:
        assert message.transparency == pytest.approx(transparency, rel=0.15)
        assert bool(message.flags & int(Flag.LOW_TRANSPARENCY)) == (message.transparency < 0.5)
    assert any(message.flags & int(Flag.LOW_TRANSPARENCY) for _, message in low)


def test_a_drift_of_half_the_field(folder: Path) -> None:
    night = make_night(
        folder,
        "drift",
        scenarios=("drift", "hot_pixels"),
        scales=ScenarioScales(drift_fraction=0.5, n_hot_pixels=60),
        n_sources=25,
    )
    reference = Reference.from_catalog(night.catalog(), RECIPE)
    for index in (10, 25, 39):  # without the frames between, and without a hint
        message = measured(night.frame(index), reference)
        assert not message.flags & int(Flag.UNALIGNED)
        assert_true(night, reference, index, message)
        table = message.source_table()
        outside = (night.state(index).x > 257.0) | (night.state(index).y < -1.0)
        lost = table[FLAGS].astype(int) & int(Flag.OFF_FRAME) != 0
        np.testing.assert_array_equal(lost, outside[night.truth_of(reference.catalog)] | lost)
        np.testing.assert_array_equal(np.isnan(table[OPTIMAL]), lost)


@pytest.mark.parametrize("n_sources", [6, 15, 60])
def test_a_meridian_flip(folder: Path, n_sources: int) -> None:
    night = make_night(folder, f"flip{n_sources}", scenarios=("flip", "drift", "hot_pixels"), n_sources=n_sources)
    reference = Reference.from_catalog(night.catalog(), RECIPE)
    before = process(night.frame(19), reference)
    after = process(night.frame(20), reference, before.transform)
    assert abs(after.message.rotation_deg) == pytest.approx(180.0, abs=0.2)
    table, state = after.message.source_table(), night.state(20)
    numbers = night.truth_of(reference.catalog)
    assert np.hypot(table[0] - state.x[numbers], table[1] - state.y[numbers]).max() < 0.3
    assert_same_measurement(after.message, measured(night.frame(20), reference))


def fake(frame: Frame, counts: np.ndarray, name: str = "fake.fit") -> Frame:
    """The frame with other pixels (counts as a camera gives them)."""
    return replace(frame, pixels=counts, bscale=1.0, bzero=0.0, name=name)


def test_fixed_hot_pixels_do_not_pass_for_stars(plain: SimulatedNight, reference: Reference) -> None:
    """A closed dome: the sky is empty, the hot pixels are where they always are."""
    generator = np.random.default_rng(3)
    assert len(reference.catalog.hot_pixels) > 40
    for excess in (300.0, 3_000.0, 20_000.0):
        counts = generator.normal(110.0, 4.0, (256, 256))
        counts.flat[list(reference.catalog.hot_pixels)] += excess
        frame = fake(plain.frame(9), counts)
        for hint in (None, Transform.identity((256, 256))):
            try:
                result = process(frame, reference, hint)
            except FrameRejectedError as error:
                assert error.reason is Reason.NO_STARS
                assert "fake.fit" in error.sentence
            else:
                assert result.message.flags & int(Flag.UNALIGNED)


def test_hot_pixels_on_the_places_of_all_stars_are_no_stars(plain: SimulatedNight, reference: Reference) -> None:
    """The worst case: a pattern that fits, of single pixels that no map knows."""
    counts = np.random.default_rng(4).normal(110.0, 4.0, (256, 256))
    x, y = np.rint(reference.positions).astype(int).T
    counts[y, x] += np.array(reference.catalog.flux_e) / 5.0
    try:
        message = measured(fake(plain.frame(9), counts), reference)
    except FrameRejectedError as error:
        assert error.reason is Reason.NO_STARS
    else:
        assert message.flags & int(Flag.UNALIGNED)


def with_light(frame: Frame, places: list[tuple[int, int]], counts: float) -> Frame:
    """The frame with so many counts more on single pixels (x, y)."""
    lit = np.asarray(frame.pixels, dtype=np.float64) * frame.bscale + frame.bzero
    for x, y in places:
        lit[y, x] += counts
    return fake(frame, lit)


@pytest.mark.parametrize(("star", "counts"), [(0, 20_000.0), (1, 20_000.0), (4, 20_000.0), (4, 60_000.0)])
def test_a_cosmic_ray_on_a_reference_star_does_not_lose_the_field(
    plain: SimulatedNight, reference: Reference, star: int, counts: float
) -> None:
    """The star is flagged and left out of the transform; the others stay where they were, and keep their fluxes."""
    index = 7
    clean = measured(plain.frame(index), reference)
    before = clean.source_table()
    x, y = np.rint(before[:2, star]).astype(int)
    message = measured(
        with_light(plain.frame(index), [(x + 2, y + 1), (x + 3, y + 2), (x + 4, y + 3)], counts), reference
    )
    after = message.source_table()
    flagged = (after[FLAGS].astype(int) & int(Flag.MOVED)) != 0
    # At the saturation level it is flagged for that, and no centroid is asked for.
    saturated = (after[FLAGS].astype(int) & int(Flag.SATURATED)) != 0
    assert np.flatnonzero(flagged | saturated).tolist() == [star]
    assert flagged[star] == (counts < SATURATING)
    assert not (before[FLAGS].astype(int) & int(Flag.MOVED)).any()
    assert message.flags == clean.flags
    assert message.n_aligned == clean.n_aligned - 1
    np.testing.assert_allclose(after[:2], before[:2], atol=0.02)
    others = np.arange(after.shape[1]) != star
    np.testing.assert_allclose(after[OPTIMAL, others], before[OPTIMAL, others], rtol=2e-3)


def test_a_star_that_moves_is_flagged_and_left_out(plain: SimulatedNight, reference: Reference) -> None:
    """The catalog says that a star stands 0.6 pixels from where it is seen, as of one with a motion of its own."""
    places = list(reference.catalog.x)
    places[2] += 0.6
    elsewhere = msgspec.structs.replace(reference.catalog, x=tuple(places))
    moved = Reference.from_catalog(elsewhere, RECIPE)
    for index in (3, 22):
        message, true = measured(plain.frame(index), moved), measured(plain.frame(index), reference)
        flags = message.source_table()[FLAGS].astype(int)
        assert np.flatnonzero(flags & int(Flag.MOVED)).tolist() == [2]
        others = np.arange(len(flags)) != 2
        offsets = (message.source_table()[:2] - true.source_table()[:2])[:, others]
        assert np.abs(offsets).max() < 0.02


@pytest.mark.parametrize("n_sources", [8, 15, 40, 100])
def test_a_frame_of_another_field_is_unaligned_and_has_no_fluxes(
    folder: Path, reference: Reference, n_sources: int
) -> None:
    """Never a guess: random fields, of few and of many stars, do not match the catalog."""
    generator = np.random.default_rng(n_sources)
    night = make_night(folder, "other", n_sources=15)
    state, frame = night.state(0), night.frame(0)
    for _ in range(6):
        places = generator.uniform(8.0, 248.0, (n_sources, 2))
        fluxes = np.exp(generator.uniform(np.log(3e3), np.log(1e5), n_sources))
        counts = noisy(110.0 + round_stars((256, 256), places, fluxes, state.fwhm_px / 2.3548), generator)
        result = process(fake(frame, counts), reference, Transform.identity((256, 256)))
        message, table = result.message, result.message.source_table()
        assert message.flags & int(Flag.UNALIGNED)
        assert result.transform is None
        for column in (APERTURE, APERTURE_ERR, OPTIMAL, OPTIMAL_ERR):
            assert np.isnan(table[column]).all()
        assert (table[FLAGS] == 0).all()
        assert message.n_aligned == 0
        assert np.isnan([message.rotation_deg, message.shift_x_px, message.transparency, message.fwhm_px]).all()
        assert message.time_mjd_utc > 0.0


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (np.full((256, 256), 100.0), Reason.NO_STARS),
        (np.zeros((256, 256)), Reason.NO_STARS),
        (np.random.default_rng(1).normal(100.0, 5.0, (256, 256)), Reason.NO_STARS),
        (np.full((256, 256), 65535.0), Reason.NO_STARS),
        (np.full((256, 256), np.nan), Reason.NON_FINITE),
        (np.full((256, 256), np.inf), Reason.NON_FINITE),
    ],
    ids=["flat", "zeros", "noise", "saturated", "nan", "inf"],
)
def test_frames_without_anything_are_rejected_with_their_name(
    plain: SimulatedNight, reference: Reference, counts: np.ndarray, reason: Reason
) -> None:
    for hint in (None, Transform.identity((256, 256))):
        with pytest.raises(FrameRejectedError, match=r"empty\.fit ") as caught:
            process(fake(plain.frame(0), counts, "empty.fit"), reference, hint)
        assert caught.value.reason is reason


def test_frames_that_do_not_fit_the_catalog_are_rejected(plain: SimulatedNight, reference: Reference) -> None:
    frame = plain.frame(0)
    smaller = fake(frame, frame.electrons()[:200])
    with pytest.raises(
        FrameRejectedError, match=r"fake\.fit has 256 x 200 pixels .*1:g requires 256 x 256 at 8"
    ) as caught:
        measured(smaller, reference)
    assert caught.value.reason is Reason.WRONG_SHAPE
    binned = replace(frame, facts=replace(frame.facts, binning=4))
    with pytest.raises(FrameRejectedError, match="at binning 4; the catalog of 1:g") as caught:
        measured(binned, reference)
    assert caught.value.reason is Reason.WRONG_SHAPE
    other = replace(frame, facts=replace(frame.facts, key="2:r"))
    with pytest.raises(FrameRejectedError, match="is of key 2:r, the catalog of 1:g") as caught:
        measured(other, reference)
    assert caught.value.reason is Reason.BAD_KEYWORD


@pytest.mark.parametrize("numbers", [[1], [3], [1, 2], [2, 4], [1, 2, 3]])
def test_catalogs_of_one_to_three_stars(plain: SimulatedNight, reference: Reference, numbers: list[int]) -> None:
    few = Reference.from_catalog(with_stars(reference.catalog, numbers), RECIPE)
    truth = plain.truth_of(few.catalog)
    for index in (0, 12, 30):
        known = process(plain.frame(index), reference).transform
        assert known is not None
        message = measured(plain.frame(index), few, known)
        assert not message.flags & int(Flag.UNALIGNED)
        assert message.n_aligned == len(numbers)
        table, state = message.source_table(), plain.state(index)
        assert np.hypot(table[0] - state.x[truth], table[1] - state.y[truth]).max() < 0.3
        assert bool(message.flags & int(Flag.POOR_ALIGNMENT)) == (len(numbers) == 1)


def test_saturated_and_trailed_stars_are_flagged(folder: Path) -> None:
    night = make_night(folder, "trailed", scenarios=("trailed", "saturation"))
    reference = Reference.from_catalog(night.catalog(), RECIPE)
    trailed = 0
    for index in range(0, 40, 2):
        state, message = night.state(index), measured(night.frame(index), reference)
        assert not message.flags & int(Flag.UNALIGNED)
        assert bool(message.flags & int(Flag.TRAILED)) == (state.trail_px > 0.0)
        trailed += bool(message.flags & int(Flag.TRAILED))
        table = message.source_table()
        brightest = int(np.argmin(np.abs(night.truth_of(reference.catalog) - 0)))
        assert bool(int(table[FLAGS, brightest]) & int(Flag.SATURATED)) == (table[3, brightest] >= 32302.0)
        if not state.trail_px:
            assert int(table[FLAGS, brightest]) & int(Flag.SATURATED)
    assert trailed >= 2


def test_times_pointings_and_clocks(plain: SimulatedNight, reference: Reference) -> None:
    frame = plain.frame(5)
    message = measured(frame, reference)
    site = RECIPE.instrument.site.position()
    pointing = reference.catalog.pointing
    assert pointing is not None
    assert message.time_bmjd_tdb == barycentric_mjd_tdb(frame.facts.time_mjd_utc, pointing, site)
    assert 1.0 <= message.airmass < 1.2
    nowhere = Reference.from_catalog(msgspec.structs.replace(reference.catalog, pointing=None), RECIPE)
    blind = measured(frame, nowhere)
    assert blind.flags == int(Flag.NO_POINTING)
    assert np.isnan([blind.time_bmjd_tdb, blind.airmass]).all()
    assert blind.sources == message.sources
    target = SkyPosition(351.0, 40.0)
    aimed = msgspec.structs.replace(RECIPE, target_position=target)
    again = measured(frame, Reference.from_catalog(nowhere.catalog, aimed))
    assert again.time_bmjd_tdb == barycentric_mjd_tdb(frame.facts.time_mjd_utc, target, site)
    coarse = replace(frame, facts=replace(frame.facts, time_resolution_s=1.0))
    assert measured(coarse, reference).flags == int(Flag.TIME_UNCERTAIN)


def test_coordinates_of_the_target_that_cannot_be_are_refused(plain: SimulatedNight) -> None:
    frame, catalog = plain.frame(7), plain.catalog()
    pointing = frame.facts.pointing
    assert pointing is not None
    near = SkyPosition(pointing.ra_deg + 0.5, pointing.dec_deg)
    process_frame(frame, Reference.from_catalog(catalog, with_target(near)), with_target(near))
    wrong = {
        "degrees below the horizon": SkyPosition((pointing.ra_deg + 180.0) % 360.0, -60.0),
        r"degrees away from the pointing of .*keywords RA, DEC": SkyPosition((pointing.ra_deg + 30.0) % 360.0, 31.0),
    }
    for words, target in wrong.items():
        recipe = with_target(target)
        with pytest.raises(FrameRejectedError, match=words) as caught:
            process_frame(frame, Reference.from_catalog(catalog, recipe), recipe)
        assert caught.value.reason is Reason.BAD_POINTING
        assert frame.name in caught.value.sentence


def with_target(position: SkyPosition) -> Recipe:
    return msgspec.structs.replace(RECIPE, target_position=position)


def test_the_frame_is_not_changed_and_the_message_is_repeatable(plain: SimulatedNight, reference: Reference) -> None:
    frame = plain.frame(8)
    before = frame.pixels.copy()
    first, second = measured(frame, reference), measured(frame, reference)
    np.testing.assert_array_equal(frame.pixels, before)
    assert first.sources == second.sources
    assert process(frame, reference).to_message(77).frame_id == 77
    assert (first.path, first.key, first.recipe_hash) == (frame.name, "1:g", RECIPE.hash())
    assert first.catalog_version == reference.catalog.version
    assert 0.0 < first.core_s < 5.0


def test_cosmic_rays_and_missing_pixels_do_not_end_a_frame(plain: SimulatedNight, reference: Reference) -> None:
    frame = plain.frame(11)
    clean = measured(frame, reference).source_table()
    counts = frame.electrons().astype(np.float64)
    generator = np.random.default_rng(6)
    counts[generator.integers(0, 256, 40), generator.integers(0, 256, 40)] += 20_000.0
    counts[:, 200:203] = np.nan
    table = measured(fake(frame, counts), reference).source_table()
    assert (np.abs(table[:2] - clean[:2])).max() < 0.2
    np.testing.assert_array_equal(np.isnan(table[OPTIMAL]), (table[FLAGS].astype(int) & int(Flag.NON_FINITE)) != 0)


@pytest.mark.parametrize(("binning", "tolerance"), [(4, 0.02), (16, 0.2)])
def test_other_binnings(folder: Path, binning: int, tolerance: float) -> None:
    """At 16 x 16 a star is one pixel wide, less than can be measured well: there is a flux, but not all of it."""
    night = make_night(folder, f"binning{binning}", binning=binning, n_sources=6, scenarios=("drift",))
    reference = Reference.from_catalog(night.catalog(), RECIPE)
    numbers = night.truth_of(reference.catalog)
    message = measured(night.frame(30), reference)
    assert not message.flags & int(Flag.UNALIGNED)
    ratio = message.source_table()[APERTURE] / night.state(30).electrons[numbers]
    assert ratio[:3] == pytest.approx([1.0] * 3, abs=tolerance)
