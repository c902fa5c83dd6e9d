"""Recipes, instruments, selections and notes that nobody can trust: read, or refused with one sentence."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.config import Recipe, load_recipe, with_settings
from stream.errors import ConfigurationError
from stream.instruments import OPTICAM_MX, load_instrument
from stream.measure.catalog import load_catalog
from stream.notes import NOTES_FILE, load_notes, save_notes, time_of_note
from stream.selection import SELECTION_FILE, load_selection, save_selection
from stream.toml_text import parse_toml

RECIPE_TEXT = Recipe(instrument=OPTICAM_MX()).to_toml()
SELECTION_TEXT = 'requested_target = "1:g#2"\n[targets]\n"1:g" = 2\n[ensembles.a]\n"1:g" = [1, 3]\n'
NOTES_TEXT = '[[note]]\ntime_mjd_utc = 60270.5\ntext = "clouds"\nwritten_unix_s = 1.0\n'
_VALUES = (
    *("nan", "inf", "-inf", "1e308", "-1", "0", "1", "9" * 30, "9" * 5000, "true", '""', '"a\\nb"', '"\\u202e"'),
    *("[]", "[[]]", "{}", "[" * 2000 + "]" * 2000, "1979-05-27", "2023-11-22T03:02:49Z", '"x:Y"', "[1, 'a']", "0x10"),
)


def read_recipe(folder: Path) -> None:
    recipe = load_recipe(folder / "settings.toml")
    recipe.hash()
    assert Recipe is type(recipe)
    assert tomllib.loads(recipe.to_toml())


def read_instrument(folder: Path) -> None:
    load_instrument(str(folder / "settings.toml"))


def read_selection(folder: Path) -> None:
    (folder / "settings.toml").replace(folder / SELECTION_FILE)
    selection = load_selection(folder)
    save_selection(folder, selection)
    assert load_selection(folder) == selection


def read_notes(folder: Path) -> None:
    (folder / "settings.toml").replace(folder / NOTES_FILE)
    notes = load_notes(folder)
    assert all(time_of_note(note) for note in notes)
    save_notes(folder, notes)
    assert load_notes(folder) == notes


READERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "recipe": (RECIPE_TEXT, read_recipe),
    "instrument": (tomli_w.dumps(tomllib.loads(RECIPE_TEXT)["instrument"]), read_instrument),
    "selection": (SELECTION_TEXT, read_selection),
    "notes": (NOTES_TEXT, read_notes),
}


def try_reading(kind: str, content: bytes) -> None:
    """Only the project's own error may come out, and in one sentence."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "settings.toml").write_bytes(content)
        try:
            READERS[kind][1](Path(folder))
        except ConfigurationError as error:
            assert kind in str(error)
            assert folder in str(error)


@pytest.mark.parametrize("kind", list(READERS))
def test_honest_settings_are_read(kind: str, tmp_path: Path) -> None:
    text, read = READERS[kind]
    (tmp_path / "settings.toml").write_text(text, encoding="utf-8")
    read(tmp_path)


@given(data=st.data(), kind=st.sampled_from(list(READERS)))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_settings_with_other_values_are_read_or_refused(data: st.DataObject, kind: str) -> None:
    lines = READERS[kind][0].splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(lines) - 1))
        name, equals, _ = lines[number].partition(" = ")
        value = data.draw(st.sampled_from(_VALUES))
        lines[number] = f"{name} = {value}" if equals else data.draw(st.sampled_from((name, f"x = {value}", "[", "")))
    content = "\n".join(lines).encode()
    place = data.draw(st.integers(0, len(content)))
    try_reading(kind, content[:place] if data.draw(st.integers(0, 4)) == 0 else content)


@given(kind=st.sampled_from(list(READERS)), content=st.binary(max_size=300))
@example(kind="recipe", content=b"a=" + b"[" * 100_000)
@example(kind="instrument", content=b"a=" + b"[" * 100_000)
@example(kind="selection", content=b"[targets]\n'1:g' = 9" + b"9" * 5000)
@example(kind="notes", content=NOTES_TEXT.replace("60270.5", "nan").encode())
@example(kind="notes", content=NOTES_TEXT.replace("60270.5", "1e300").encode())
@example(kind="notes", content=NOTES_TEXT.replace("clouds", "\\u001b[31m").encode())
@example(kind="notes", content=NOTES_TEXT.encode() * 1001)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_random_bytes_are_no_settings(kind: str, content: bytes) -> None:
    try_reading(kind, content)


@given(
    text=st.one_of(st.text(max_size=40), st.sampled_from([f"detection.threshold_sigma={value}" for value in _VALUES]))
)
@example(text="a=" + "[" * 100_000)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_setting_of_the_command_line_is_taken_or_refused(text: str) -> None:
    recipe = Recipe(instrument=OPTICAM_MX())
    try:
        assert with_settings(recipe, [text]).hash()
    except ConfigurationError as error:
        assert str(error)


@given(content=st.binary(max_size=400), place=st.integers(0, 400))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_hostile_catalog_is_refused(content: bytes, place: int) -> None:
    start = b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: number, datatype: int64}\n# meta: {key: '1:g'}\nnumber\n1\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "1-g_catalog.ecsv"
        path.write_bytes(start[:place] + content)
        with pytest.raises(ConfigurationError, match=str(path)):
            load_catalog(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a=" + "[" * 100_000, "nested too deeply"),
        ("a=" + "9" * 5000, "a number cannot be read"),
        ("#" * (2**24 + 1), "it has 16777217 characters: at most 16777216 are read"),
        ("a = b", "Invalid value"),
    ],
)
def test_what_is_no_toml_has_one_error(text: str, sentence: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match=sentence):
        parse_toml(text)
