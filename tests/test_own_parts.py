"""Classes of a user's own: loading, what they are given, what they may return, and what becomes of their errors."""

from __future__ import annotations

import importlib
import logging
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from stream.batch.deep_stack import FramesOfKey, build_deep_catalog
from stream.config import (
    APERTURE_LABEL,
    CalibrationSettings,
    DetectionSettings,
    PhotometerSettings,
    PhotometrySettings,
    Recipe,
    recipe_from_toml,
)
from stream.errors import ConfigurationError, FrameRejectedError, Reason
from stream.flags import Flag
from stream.instruments import OPTICAM_MX
from stream.measure.calibration import calibrate
from stream.measure.detection import detect_sources
from stream.measure.frames import Frame
from stream.measure.photometry import StampGeometry, measure_forced_fluxes
from stream.measure.psf import Psf
from stream.messages import CatalogBuilt, CatalogNotBuilt, FrameMeasured
from stream.night.bootstrap import build_catalog
from stream.own_parts import load_part, name_of_part
from stream.pipeline import Reference, process_frame
from tests.measure.synthetic import noisy, round_stars
from tests.measure.uneven_camera import EXPOSURE_S, SKY_E, UnevenCamera
from tests.nights import RECIPE, SMALL, SimulatedNight

Measure = Callable[..., FrameMeasured]
"""Measures one frame by the photometers given."""
PACKAGE = "parts_of_an_observer"
PARTS = """
    import msgspec
    import numpy as np
    from stream.errors import FrameRejectedError, Reason
    from stream.measure.detection import detect_sources

    class Sum:
        def __init__(self, factor=1.0):
            self.factor = factor
        def measure(self, stamps):
            above = np.nan_to_num(stamps.electrons - stamps.sky_e_per_px[:, None, None])
            variance = stamps.variance(np.maximum(above, 0.0))
            return self.factor * above.sum(axis=(1, 2)), np.sqrt(variance.sum(axis=(1, 2)))
        class Inner:
            def measure(self, stamps): return 1.0, 1.0
    class NoFirst:
        def measure(self, stamps):
            flux = np.full(len(stamps.xy), 100.0)
            flux[0] = np.nan
            return flux, np.ones(len(flux))
    class OneNumber:
        def measure(self, stamps): return 1.0, 1.0
    class Words:
        def measure(self, stamps): return ["a"] * len(stamps.xy), np.ones(len(stamps.xy))
    class Infinite:
        def measure(self, stamps): return np.full(len(stamps.xy), np.inf), np.ones(len(stamps.xy))
    class NegativeError:
        def measure(self, stamps): return np.ones(len(stamps.xy)), -np.ones(len(stamps.xy))
    class Writes:
        def measure(self, stamps): stamps.electrons[:] = 0.0
    class Exits:
        def measure(self, stamps): raise SystemExit(3)
    class Refuses:
        def measure(self, stamps): raise FrameRejectedError(Reason.NOT_SCIENCE, "no frame of mine")
    class Variances:
        # Of the middle pixel without a source, and of the sky, which is all that there is without calibration.
        def measure(self, stamps):
            middle = stamps.electrons.shape[1] // 2
            assert np.hypot(*(stamps.xy - middle).T).max() < 1.0
            return stamps.variance(np.zeros(stamps.electrons.shape))[:, middle, middle], stamps.sky_sigma_e**2
    class Level:
        def estimate(self, stamps):
            n = len(stamps.xy)
            return np.full(n, 0.0), np.full(n, 2.0), np.full(n, 400)
    class NoLevel:
        def estimate(self, stamps):
            n = len(stamps.xy)
            return np.full(n, np.nan), np.full(n, np.nan), np.zeros(n)
    class TwoOfThree:
        def estimate(self, stamps): return 1.0, 2.0
    class Known:
        def find(self, image, star_sigma_px, settings): return [[60.0, 20.0], [20.0, 30.0]]
    class Flat:
        def find(self, image, star_sigma_px, settings): return np.arange(6.0)
    class Outside:
        def find(self, image, star_sigma_px, settings): return [[500.0, 3.0]]
    class Nothing:
        def find(self, image, star_sigma_px, settings): return []
    class Fails:
        def find(self, image, star_sigma_px, settings): return 1 / 0
    class Counts:
        # The built-in detection, counted.
        asked = []
        def find(self, image, star_sigma_px, settings):
            self.asked.append(star_sigma_px)
            built_in = msgspec.structs.replace(settings, finder="")
            return detect_sources(image, built_in, star_sigma_px=star_sigma_px).xy
    class Doubles(Counts):
        # Every star twice, half a pixel apart.
        def find(self, image, star_sigma_px, settings):
            xy = super().find(image, star_sigma_px, settings)
            return np.vstack([xy, np.clip(xy + 0.5, 0.0, min(image.shape) - 1.0)])
    class NeedsMore:
        def __init__(self, size): pass
        def measure(self, stamps): pass
    class Aperture(Sum):
        pass
    NOT_A_CLASS = 3
"""


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A package on the search path, as PYTHONPATH puts it there."""
    folder = tmp_path_factory.mktemp("observer")
    (folder / PACKAGE).mkdir()
    (folder / PACKAGE / "__init__.py").write_text("")
    (folder / PACKAGE / "parts.py").write_text(textwrap.dedent(PARTS))
    (folder / PACKAGE / "broken.py").write_text("import no_such_thing_at_all\n")
    (folder / PACKAGE / "wrong.py").write_text("1 / 0\n")
    sys.path.append(str(folder))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(folder))


def part(name: str) -> str:
    return f"{PACKAGE}.parts:{name}"


def with_photometers(*photometers: PhotometerSettings) -> Recipe:
    return msgspec.structs.replace(RECIPE, photometers=photometers)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> SimulatedNight:
    return SimulatedNight(tmp_path_factory.mktemp("own_parts"), SMALL)


@pytest.fixture(scope="module")
def measure(night: SimulatedNight) -> Measure:
    """Measure one frame by some photometers."""
    catalog = night.catalog()

    def run(*photometers: PhotometerSettings) -> FrameMeasured:
        recipe = with_photometers(*photometers)
        return process_frame(night.frame(6), Reference.from_catalog(catalog, recipe), recipe).message

    return run


def column(message: FrameMeasured, name: str) -> np.ndarray:
    return np.asarray(message.source_table()[message.columns().index(name)])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (f"{PACKAGE}.missing:Sum", f"there is no module {PACKAGE}.missing in PYTHONPATH or in "),
        ("no_such_package.parts:Sum", "there is no module no_such_package in PYTHONPATH or in "),
        (f"{PACKAGE}.broken:Sum", "failed with ModuleNotFoundError: No module named 'no_such_thing_at_all'"),
        (f"{PACKAGE}.wrong:Sum", f"importing {PACKAGE}.wrong failed with ZeroDivisionError: division by zero"),
        (part("Missing"), f"module {PACKAGE}.parts has no class Missing"),
        (part("NOT_A_CLASS"), f"module {PACKAGE}.parts has no class NOT_A_CLASS"),
        (part("NeedsMore"), r"NeedsMore\(\) failed with TypeError: .*; it must be made without arguments"),
        (part("Known"), "must have a method 'measure': see docs/own_parts.md"),
        ("Sum", "own photometer 'Sum' must be named as 'package.module:Class'"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        name_of_part(name, "photometer")


def test_objects_and_classes_are_named_by_their_module() -> None:
    made = load_part(part("Sum"), "photometer")
    assert name_of_part(made, "photometer") == name_of_part(type(made), "photometer") == part("Sum")
    assert name_of_part(type(made)(), "photometer") == part("Sum")
    assert name_of_part(type(made).Inner(), "photometer") == part("Sum.Inner")
    assert load_part(part("Sum"), "photometer") is made


def test_an_object_that_the_workers_could_not_make_is_refused() -> None:
    made = type(load_part(part("Sum"), "photometer"))
    with pytest.raises(ConfigurationError, match=r"differs from Sum\(\), which is what the workers make"):
        name_of_part(made(factor=2.0), "photometer")

    class Local:
        def measure(self) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Local must be a class of a module.*: it is defined in a function"):
        name_of_part(Local(), "photometer")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "psf"}, r"photometers.kind \('psf'\) must be aperture, optimal or a class as 'package.module:Class'"),
        ({"background": "os.system('x')"}, r"photometers.background .* must be annulus, mesh or a class"),
        ({"kind": "a.b:Aperture"}, r"photometers.kind \('a.b:Aperture'\) must be a class with a name of its own"),
    ],
)
def test_a_recipe_names_known_kinds_or_classes(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        PhotometerSettings(**settings)
    with pytest.raises(ConfigurationError, match=r"detection.finder \('dao'\) must be a class as"):
        DetectionSettings(finder="dao")


def test_a_recipe_keeps_the_names_and_its_readers_need_no_class() -> None:
    own = PhotometerSettings(kind="not.there:Gauss", background="not.there:Ring", name="b")
    assert own.label == "forced_gauss_ring_b"
    instrument = msgspec.structs.replace(OPTICAM_MX(), reader="not.there:Camera")
    recipe = Recipe(instrument, photometers=(own,), detection=DetectionSettings(finder="not.there:Finder"))
    assert recipe_from_toml(recipe.to_toml(), "test") == recipe
    assert [kind for _, kind in recipe.own_parts()] == ["photometer", "background", "finder", "instrument"]
    assert RECIPE.own_parts() == ()


def test_a_photometer_sees_the_stamps_and_its_flux_arrives(measure: Measure) -> None:
    message = measure(PhotometerSettings(kind="aperture"), PhotometerSettings(kind=part("Sum")))
    standard, own = column(message, f"{APERTURE_LABEL}_flux"), column(message, "forced_sum_annulus_flux")
    error = column(message, "forced_sum_annulus_flux_err")
    assert np.isfinite(own).all()
    bright = standard > 20.0 * error
    assert bright.sum() >= 3
    np.testing.assert_allclose(own[bright], standard[bright], atol=6.0 * error[bright].max())


def test_no_number_is_flagged_and_takes_none_from_the_others(measure: Measure) -> None:
    without = measure(PhotometerSettings(kind="aperture"))
    message = measure(
        PhotometerSettings(kind="aperture"),
        PhotometerSettings(kind=part("NoFirst")),
        PhotometerSettings(kind="optimal", background=part("NoLevel")),
    )
    np.testing.assert_array_equal(column(message, f"{APERTURE_LABEL}_flux"), column(without, f"{APERTURE_LABEL}_flux"))
    own = column(message, "forced_nofirst_annulus_flux")
    np.testing.assert_array_equal(np.isnan(own), np.arange(len(own)) == 0)
    assert np.isnan(column(message, "forced_nofirst_annulus_flux_err")[0])
    assert np.isnan(column(message, "forced_optimal_nolevel_flux")).all()
    flags = column(message, "flags").astype(int)
    assert (flags & Flag.NO_OWN_FLUX != 0).all()
    assert (column(without, "flags").astype(int) & Flag.NO_OWN_FLUX == 0).all()


def test_a_background_is_what_is_subtracted(measure: Measure) -> None:
    own = PhotometerSettings(kind="aperture", background=part("Level"), semi_axes_px=(3.0, 3.0))
    usual = PhotometerSettings(kind="aperture", semi_axes_px=(3.0, 3.0))
    message = measure(usual, own)
    difference = column(message, "forced_aperture_level_flux") - column(message, "forced_aperture_annulus_flux")
    np.testing.assert_allclose(difference, np.pi * 9.0 * column(message, "sky_e_per_px"), rtol=1e-6)


def test_the_variance_holds_the_noise_of_the_calibration() -> None:
    generator = np.random.default_rng(4)
    xy = np.stack(np.meshgrid(np.arange(30.0, 230.0, 40.0), np.arange(30.0, 230.0, 40.0)), axis=-1).reshape(-1, 2)
    light = SKY_E + round_stars((256, 256), xy, np.full(len(xy), 5000.0), 1.5)
    camera = UnevenCamera.draw(256, generator)
    calibration = camera.calibration(generator, 3, 4000.0)
    frame = camera.expose(light, EXPOSURE_S, generator)
    own = PhotometerSettings(kind=part("Variances"))
    for exposure in (frame, calibrate(frame, CalibrationSettings(remove_cosmic_rays=True), calibration)):
        measured = measure_forced_fluxes(
            exposure,
            xy,
            Psf(2.3, 0.0, 2.3),
            geometry=StampGeometry.for_fwhm(3.5, PhotometrySettings()),
            settings=PhotometrySettings(),
            photometers=(own,),
        )
        total, sky = measured.fluxes[own.label]
        if exposure is frame:
            np.testing.assert_allclose(total, sky, rtol=1e-12)
        else:
            ratios = (total / sky)[np.isfinite(total)]
            assert len(ratios) > 20
            assert 0.9 < np.median(ratios) < 1.1
            assert ratios.std() > 0.003


def test_parts_that_follow_the_source(measure: Measure) -> None:
    free = PhotometerSettings(kind=part("NoFirst"), forced=False)
    found = np.isfinite(column(measure(free), "nofirst_annulus_flux"))
    assert 0 < found.sum() < len(found)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": part("OneNumber")}, r"OneNumber returned flux of .*\.fit of shape \(\) where \(\d+,\) is required"),
        ({"kind": part("Words")}, "Words returned flux of .* where real numbers are required"),
        ({"kind": part("Infinite")}, "Infinite returned flux of .* with infinite numbers where finite ones or NaN"),
        ({"kind": part("NegativeError")}, "returned flux_err of .* with negative numbers where at least 0 is required"),
        ({"kind": part("Writes")}, r"\.fit: own photometer .*Writes failed with ValueError: .*read-only"),
        ({"kind": part("Exits")}, "Exits failed with SystemExit: 3"),
        ({"background": part("TwoOfThree")}, "own background .*TwoOfThree failed with ValueError: not enough values"),
        ({"kind": "no_such_package.parts:Sum"}, "failed with ConfigurationError: .*no module no_such_package"),
    ],
)
def test_what_a_part_does_wrong_rejects_the_frame(measure: Measure, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FrameRejectedError, match=sentence) as caught:
        measure(PhotometerSettings(**settings))
    assert caught.value.reason is Reason.OWN_PART_FAILED


def test_the_log_has_the_traceback(measure: Measure, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(FrameRejectedError):
        measure(PhotometerSettings(kind=part("Writes")))
    assert "stamps.electrons[:] = 0.0" in caplog.text


def test_a_part_may_reject_a_frame_in_its_own_words(measure: Measure) -> None:
    with pytest.raises(FrameRejectedError, match=r"^no frame of mine$") as caught:
        measure(PhotometerSettings(kind=part("Refuses")))
    assert caught.value.reason is Reason.NOT_SCIENCE


def picture() -> np.ndarray:
    expected = 50.0 + round_stars((64, 80), np.array([[20.0, 30.0], [60.0, 20.0]]), [4000.0, 2000.0], 1.5)
    return noisy(expected, np.random.default_rng(1)).astype(np.float32)


def test_a_finder_replaces_the_detection_and_its_sources_are_ordered_by_flux() -> None:
    found = detect_sources(picture(), DetectionSettings(finder=part("Known")), star_sigma_px=1.5)
    assert found.xy.tolist() == [[20.0, 30.0], [60.0, 20.0]]
    np.testing.assert_allclose(found.flux, [4000.0, 2000.0], rtol=0.15)
    assert not len(detect_sources(picture(), DetectionSettings(finder=part("Nothing"))).xy)


@pytest.mark.parametrize(
    ("finder", "sentence"),
    [
        ("Flat", r"own finder .*Flat returned an array of shape \(6,\) where one of shape \(n, 2\) is required"),
        ("Outside", r"returned the position \(500, 3\) where one on the 80 x 64 pixels is required: x before y"),
        ("Fails", "own finder .*Fails failed with ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_finder_does_wrong(finder: str, sentence: str) -> None:
    with pytest.raises(FrameRejectedError, match=sentence):
        detect_sources(picture(), DetectionSettings(finder=part(finder)))


def test_a_finder_that_fails_rejects_the_frames_of_the_catalog(night: SimulatedNight) -> None:
    recipe = msgspec.structs.replace(RECIPE, detection=DetectionSettings(finder=part("Fails")))
    reply = build_catalog(night.request(), night.folder, recipe).reply
    assert isinstance(reply, CatalogNotBuilt)
    assert [rejected.reason for rejected in reply.rejected] == [Reason.OWN_PART_FAILED] * 5


def test_the_finder_is_asked_again_where_the_alignment_is_lost(night: SimulatedNight) -> None:
    catalog = night.catalog()
    plain = night.frame(6)
    turned = replace(plain, pixels=plain.pixels[::-1, ::-1], name="turned.fit")

    def measured_with(finder: str, frame: Frame) -> FrameMeasured:
        recipe = msgspec.structs.replace(RECIPE, detection=DetectionSettings(finder=part(finder)))
        return process_frame(frame, Reference.from_catalog(catalog, recipe), recipe).message

    asked = load_part(part("Counts"), "finder").asked
    asked.clear()
    assert measured_with("Counts", plain).n_aligned >= 5
    assert asked == []
    message = measured_with("Counts", turned)
    assert len(asked) == 1
    assert abs(message.rotation_deg) == pytest.approx(180.0, abs=0.2)
    assert measured_with("Fails", plain).n_aligned >= 5
    with pytest.raises(FrameRejectedError, match="Fails failed with ZeroDivisionError") as caught:
        measured_with("Fails", turned)
    assert caught.value.reason is Reason.OWN_PART_FAILED


def test_a_star_that_a_finder_names_twice_is_in_the_catalog_once(night: SimulatedNight) -> None:
    recipe = msgspec.structs.replace(RECIPE, detection=DetectionSettings(finder=part("Doubles")))
    reply = build_catalog(night.request(), night.folder, recipe).reply
    assert isinstance(reply, CatalogBuilt)
    places = reply.catalog.positions()
    apart = np.hypot(*(places[:, None] - places).transpose(2, 0, 1)) + 99.0 * np.eye(len(places))
    assert apart.min() > reply.catalog.fwhm_px
    assert reply.catalog.n_sources == night.catalog().n_sources


def test_a_finder_that_fails_in_a_notebook_is_one_sentence(night: SimulatedNight) -> None:
    names = tuple(night.name(index) for index in range(6))
    for finder, sentence in (
        ("Fails", "^no catalog of 1:g: .*Fails failed with ZeroDivisionError: division by zero$"),
        ("Outside", r"^no catalog of 1:g: own finder .*Outside returned the position \(500, 3\) where"),
    ):
        recipe = msgspec.structs.replace(RECIPE, detection=DetectionSettings(finder=part(finder)))
        with pytest.raises(ConfigurationError, match=sentence) as caught:
            build_deep_catalog(FramesOfKey("1:g", names, night.folder, recipe))
        assert isinstance(caught.value.__cause__, FrameRejectedError)
