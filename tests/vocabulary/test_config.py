"""The recipe: there and back, a hash that nothing slips past, and settings that are all explained."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream import cameras, config, instruments
from stream.config import (
    APERTURE_LADDER,
    DEFAULT_LABEL,
    PHOTOMETER_LABELS,
    AlignmentSettings,
    DetectionSettings,
    PhotometerSettings,
    PhotometrySettings,
    Recipe,
    load_recipe,
    recipe_differences,
    recipe_from_toml,
    with_settings,
)
from stream.errors import ConfigurationError
from stream.instruments import OPTICAM_MX
from stream.timestamps import SkyPosition

RECIPE = Recipe(OPTICAM_MX())
TAKEN_FROM_A_LIST = {
    "time_marks": "middle",
    "time_scale": "gps",
    "time_format": "mjd",
    "ra_unit": "hours",
    "dec_unit": "degrees",
    "plane_time": "UT#",
    "extensions": ["SCI"],
    "reader": "package.module:Class",
    "finder": "package.module:Class",
    "deblend_contrast": 0.1,
    "linearity": [2e-6, -1e-11],
}
RELATED = {"photometry.annulus_inner_fwhm": 4.0}


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all single settings within nested tables."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path


def changed(path: tuple[str, ...]) -> Recipe:
    """The default recipe with one setting changed to something else that is allowed."""
    content = msgspec.to_builtins(RECIPE)
    table = content
    for name in path[:-1]:
        table = table[name]
    old = table[path[-1]]
    if ".".join(path) in RELATED:
        new: Any = RELATED[".".join(path)]
    elif path[-1] in TAKEN_FROM_A_LIST:
        new = TAKEN_FROM_A_LIST[path[-1]]
    elif path[-2:-1] == ("camera_of_filter",):
        new = "2" if old == "1" else "1"
    elif path == ("photometers",):
        new = [{"kind": "optimal", "background": "mesh"}]
    elif path == ("target_position",):
        new = {"ra_deg": 1.0, "dec_deg": 2.0}
    elif isinstance(old, bool):
        new = not old
    elif isinstance(old, str):
        new = old + "X"
    elif isinstance(old, int | float):
        new = old + 1
    else:
        new = [["9", "9"]]
    table[path[-1]] = new
    return msgspec.convert(content, Recipe)


ALL_SETTINGS = list(leaves(msgspec.to_builtins(RECIPE)))


def test_all_settings_are_looped_over() -> None:
    assert len(ALL_SETTINGS) > 50
    assert ("photometry", "aperture_radius_fwhm") in ALL_SETTINGS
    assert ("instrument", "cameras", "1", "read_noise_e") in ALL_SETTINGS


@pytest.mark.parametrize("path", ALL_SETTINGS, ids=".".join)
def test_every_setting_changes_the_hash_is_named_and_survives_toml(path: tuple[str, ...]) -> None:
    recipe = changed(path)
    assert recipe.hash() != RECIPE.hash()
    assert recipe_from_toml(recipe.to_toml(), "night.toml") == recipe
    differences = recipe_differences(RECIPE, recipe)
    assert differences
    assert all(difference.startswith(".".join(path)) for difference in differences)
    assert " -> " in differences[0]


def test_default_recipe_survives_toml_and_a_file(tmp_path: Path) -> None:
    assert recipe_from_toml(RECIPE.to_toml(), "night.toml") == RECIPE
    path = tmp_path / "night.toml"
    path.write_text(RECIPE.to_toml(), encoding="utf-8")
    assert load_recipe(path) == RECIPE
    assert load_recipe(path).hash() == RECIPE.hash()
    assert recipe_differences(RECIPE, load_recipe(path)) == ()


def test_differences_are_written_as_before_and_after() -> None:
    other = msgspec.structs.replace(RECIPE, photometry=PhotometrySettings(aperture_radius_fwhm=1.2))
    assert recipe_differences(RECIPE, other) == ("photometry.aperture_radius_fwhm: 1.5 -> 1.2",)
    placed = msgspec.structs.replace(RECIPE, target_position=SkyPosition(31.0, 46.5))
    assert recipe_differences(RECIPE, placed) == (
        "target_position.dec_deg: unset -> 46.5",
        "target_position.ra_deg: unset -> 31.0",
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[photometry]\naperture_radius = 1.5", "aperture_radius"),
        ("[photometry]\naperture_radius_fwhm = -1.5", r"> 0.0 - at `\$.photometry.aperture_radius_fwhm`"),
        ("[photometry]\naperture_radius_fwhm = nan", r"at `\$.photometry.aperture_radius_fwhm`"),
        ("[photometry]\naperture_radius_fwhm = inf", r"at `\$.photometry.aperture_radius_fwhm`"),
        ("[photometry]\naperture_radius_fwhm = 'wide'", r"at `\$.photometry.aperture_radius_fwhm`"),
        ("[photometry]\nannulus_inner_fwhm = 6.0", r"annulus_inner_fwhm \(6.0\) must be below .*_outer_fwhm \(5.5\)"),
        ("[photometry]\naperture_max_px = 1.0", r"aperture_min_px \(1.5\) must be below photometry.aperture_max_px"),
        ("[photometry]\nannulus_clip_sigma = 0.1", r">= 1.0 - at `\$.photometry.annulus_clip_sigma`"),
        ("[detection]\nmin_pixels = 0", r">= 1 - at `\$.detection.min_pixels`"),
        ("[detection]\ndeblend_contrast = 1.5", r"<= 1.0 - at `\$.detection.deblend_contrast`"),
        ("[detection]\ndeblend_levels = 1", r">= 2 - at `\$.detection.deblend_levels`"),
        ("[alignment]\nn_control_points = 26", r"<= 25 - at `\$.alignment.n_control_points`"),
        ("[alignment]\nn_stars = 2.5", r"at `\$.alignment.n_stars`"),
        ("[camera]\nname = 'x'", "camera"),
        ("[photometry", "night.toml"),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(text: str, sentence: str) -> None:
    kept = {"instrument": msgspec.to_builtins(OPTICAM_MX())}
    whole = text + "\n" + msgspec.toml.encode(kept).decode()
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        recipe_from_toml(whole, "night.toml")
    assert str(caught.value).startswith("recipe night.toml: ")


def test_single_settings_are_changed_by_their_names() -> None:
    texts = (
        "detection.threshold_sigma=4",
        " detection.finder = my_parts:LocalMaxima ",
        "instrument.cameras.1.read_noise_e=1.9",
        "bootstrap.n_frames=9",
        'photometers=[{kind = "optimal"}, {semi_axes_px = [6.0, 4.0], name = "wide"}]',
    )
    made = with_settings(RECIPE, texts)
    assert (made.detection.threshold_sigma, made.detection.finder) == (4.0, "my_parts:LocalMaxima")
    assert made.instrument.cameras["1"].read_noise_e == 1.9
    assert made.bootstrap.n_frames == 9
    assert made.labels() == ("forced_optimal_annulus", "forced_aperture_annulus_wide")
    rest = msgspec.structs.replace(made, instrument=RECIPE.instrument, photometers=RECIPE.photometers)
    assert recipe_differences(RECIPE, rest) == (
        "bootstrap.n_frames: 5 -> 9",
        "detection.finder:  -> my_parts:LocalMaxima",
        "detection.threshold_sigma: 5.0 -> 4.0",
    )
    assert with_settings(RECIPE, ()) == RECIPE


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("detection.threshold_sigma", r"^setting 'detection.threshold_sigma' must be as detection.threshold_sigma=4$"),
        ("=4", r"^setting '=4' must be as"),
        ("finding.sigma=4", r"^setting 'finding.sigma' does not exist: 'finding' is no table of the recipe$"),
        ("photometers.kind=optimal", r"'photometers' is no table of the recipe$"),
        ("detection.sigma=4", r"^setting detection.sigma=4: .*unknown field `sigma` - at `\$.detection`$"),
        ("detection.max_sources=0", r"^setting detection.max_sources=0: .*>= 1 - at `\$.detection.max_sources`$"),
        ("detection.max_sources=many", r"Expected `int`, got `str` - at `\$.detection.max_sources`$"),
        ("photometry.aperture_min_px=50", r"aperture_min_px \(50.0\) must be below photometry.aperture_max_px"),
    ],
)
def test_settings_that_are_none_are_refused_by_name(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        with_settings(RECIPE, (text,))


def test_a_recipe_without_instrument_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="missing required field `instrument`"):
        recipe_from_toml("", "night.toml")
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        load_recipe(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"binary\.toml"):
        load_recipe(tmp_path / "binary.toml")


def documented_in_class(node: ast.ClassDef, name: str) -> bool:
    return any(
        line.split(":")[0].strip().split(", ").count(name) for line in (ast.get_docstring(node) or "").splitlines()
    )


def undocumented(path: str) -> Iterator[str]:
    """Fields of the Structs of a module that neither a text behind them nor their class explains."""
    for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ClassDef) or "Struct" not in ast.unparse(node.bases[0] if node.bases else node):
            continue
        for field, following in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                explained = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                if not explained and not documented_in_class(node, field.target.id):
                    yield f"{node.name}.{field.target.id}"


def test_every_setting_of_the_recipe_is_explained() -> None:
    sections = {
        "detection",
        "bootstrap",
        "alignment",
        "photometry",
        "calibration",
    }  # explained by the docstrings of their types
    missing = set(undocumented(config.__file__)) - {f"Recipe.{name}" for name in sections}
    assert not missing
    for settings in (DetectionSettings, AlignmentSettings, PhotometrySettings):
        assert settings.__doc__


def test_every_field_of_an_instrument_is_explained() -> None:
    speaks_for_itself = {
        *(f"Keywords.{name}" for name in ("filter", "ra", "dec", "image_type", "object")),
        *(f"Site.{name}" for name in ("longitude_deg", "latitude_deg", "height_m")),
        *(f"Instrument.{name}" for name in ("name", "site", "aperture_m", "keywords")),
    }
    assert {*undocumented(instruments.__file__), *undocumented(cameras.__file__)} <= speaks_for_itself


def test_labels_say_what_a_photometer_does() -> None:
    assert PhotometerSettings().label == "forced_aperture_annulus"
    assert PhotometerSettings(kind="optimal", forced=False, background="mesh").label == "optimal"
    assert PhotometerSettings(forced=False).label == "aperture_annulus"
    assert PhotometerSettings(radius_fwhm=0.8, name="0.8fwhm").label == "forced_aperture_annulus_0.8fwhm"


def test_a_recipe_measures_something_and_each_thing_once() -> None:
    for photometers in ((), (PhotometerSettings(), PhotometerSettings(radius_fwhm=2.0))):
        with pytest.raises(ConfigurationError, match=r"photometers \(.*\) must be at least one, each with a label"):
            Recipe(OPTICAM_MX(), photometers=photometers)
    with pytest.raises(ConfigurationError, match=r"only one of radius_fwhm, .* not radius_fwhm and semi_axes_fwhm$"):
        PhotometerSettings(radius_fwhm=1.0, semi_axes_fwhm=(1.0, 0.5))
    with pytest.raises(
        ConfigurationError, match=r"photometers.semi_axes_px \(3.5, 6.0\) must begin with the semi-major"
    ):
        PhotometerSettings(semi_axes_px=(3.5, 6.0))
    with pytest.raises(ConfigurationError, match=r"photometers.name \('../x'\) must be letters"):
        PhotometerSettings(name="../x")


def test_the_first_photometers_are_shown_and_the_ladder_on_demand() -> None:
    assert RECIPE.main_labels() == PHOTOMETER_LABELS
    assert RECIPE.default_label() == DEFAULT_LABEL
    assert Recipe(OPTICAM_MX(), photometers=APERTURE_LADDER).default_label() == APERTURE_LADDER[0].label
