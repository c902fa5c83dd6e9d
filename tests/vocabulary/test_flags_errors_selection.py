"""Flags, errors and the selection file."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from stream import errors
from stream.errors import ConfigurationError, FrameRejectedError, Reason
from stream.flags import DOUBTFUL, NOT_MEASURED, SENTENCES, Flag, flag_names
from stream.messages import Selection
from stream.selection import (
    SELECTION_FILE,
    load_selection,
    save_selection,
    with_ensemble_saved,
    with_ensemble_used,
)


def test_every_flag_is_one_bit_with_a_name_and_a_sentence() -> None:
    bits = [flag for flag in Flag if flag]
    assert set(SENTENCES) == set(bits)
    for flag, sentence in SENTENCES.items():
        assert int(flag).bit_count() == 1
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert flag_names(int(flag)) == (flag.name,)


def test_bits_never_change_their_meaning() -> None:
    """Nights of the past are read with the flags of today: this table may only grow."""
    assert [int(flag) for flag in (Flag.SATURATED, Flag.NEAR_EDGE, Flag.OFF_FRAME, Flag.NON_FINITE)] == [1, 2, 4, 8]
    assert [int(flag) for flag in (Flag.BAD_PIXEL, Flag.COSMIC_RAY, Flag.POOR_ALIGNMENT)] == [16, 32, 64]
    assert [int(flag) for flag in (Flag.UNALIGNED, Flag.LOW_TRANSPARENCY, Flag.TIME_UNCERTAIN)] == [128, 256, 512]
    assert [int(flag) for flag in (Flag.NO_POINTING, Flag.POOR_BACKGROUND, Flag.TRAILED)] == [1024, 2048, 4096]
    assert [int(flag) for flag in (Flag.NO_COMPARISON, Flag.NOT_DETECTED, Flag.MOVED)] == [8192, 16384, 32768]


def test_names_of_joined_flags() -> None:
    assert flag_names(0) == ()
    assert flag_names(int(Flag.UNALIGNED | Flag.SATURATED)) == ("SATURATED", "UNALIGNED")
    assert flag_names(1 << 40) == ()
    assert not NOT_MEASURED & DOUBTFUL


def test_the_tree_at_the_top_is_the_tree_of_the_errors() -> None:
    drawn: dict[str, str] = {}
    ancestors: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        name = next((word for word in line.split() if word.endswith("Error")), None)
        if name is not None and (line.startswith("OpticamLiveError") or "─" in line):
            depth = line.index(name) // 4
            ancestors[depth:] = [name]
            drawn[name] = ancestors[depth - 1] if depth else "Exception"
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, Exception)]
    assert drawn == {cls.__name__: cls.__mro__[1].__name__ for cls in classes}
    assert len(drawn) >= 9


def test_a_rejection_carries_reason_and_sentence() -> None:
    error = FrameRejectedError(Reason.EMPTY, "a.fit is empty")
    assert (error.reason, error.sentence, str(error)) == (Reason.EMPTY, "a.fit is empty", "a.fit is empty")
    assert all(reason.value == reason.name for reason in Reason)


def test_an_absent_selection_is_empty(tmp_path: Path) -> None:
    assert load_selection(tmp_path) == Selection()


def test_a_selection_survives_its_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    selection = Selection(
        {"1:g": 2}, {"1:g": (1, 3), "2:r": ()}, "1:g#2", ("424,286", "1:g#3"), {"quiet stars": {"1:g": (1, 3)}}
    )
    save_selection(tmp_path, Selection({"1:g": 7}))
    save_selection(tmp_path, selection)
    assert load_selection(tmp_path) == selection
    assert [path.name for path in tmp_path.iterdir()] == [SELECTION_FILE]


@pytest.mark.parametrize(
    "text", ["targets = 3", "[targets]\n'1:g' = 'two'", "target = '1:g#2'", "[targets", "[comparisons]\n'1:g' = [1.5]"]
)
def test_a_file_that_is_no_selection_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / SELECTION_FILE).write_text(text)
    with pytest.raises(ConfigurationError, match=rf"selection .*{SELECTION_FILE}: .+"):
        load_selection(tmp_path)


def test_a_selection_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / SELECTION_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=SELECTION_FILE):
        load_selection(tmp_path)


def test_an_ensemble_is_saved_by_a_name_and_recalled() -> None:
    first = Selection(targets={"1:g": 2}, comparisons={"2:r": (6,)}, requested_comparisons=("1:g#4",))
    saved = with_ensemble_saved(first, "quiet", {"1:g": [1, 3], "2:r": [1, 4], "3:i": []})
    saved = with_ensemble_saved(saved, "bright", {"1:g": (1,)})
    assert saved.comparisons == first.comparisons
    assert saved.ensembles == {"quiet": {"1:g": (1, 3), "2:r": (1, 4)}, "bright": {"1:g": (1,)}}
    used = with_ensemble_used(saved, "quiet", {"1:g": 6})
    assert (used.targets, used.comparisons) == ({"1:g": 2}, {"1:g": (1, 3), "2:r": (1, 4)})
    assert used.requested_comparisons == ()
    # A key that the ensemble does not name chooses for itself.
    assert with_ensemble_used(used, "bright", {}).comparisons == {"1:g": (1,)}
    replaced = with_ensemble_saved(used, "quiet", {"1:g": (5,)})
    assert replaced.ensembles["quiet"] == {"1:g": (5,)}
    assert saved.ensembles["quiet"] == {"1:g": (1, 3), "2:r": (1, 4)}


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 61])
def test_a_name_that_nobody_could_type_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="a name of 1 to 60 printable characters is required"):
        with_ensemble_saved(Selection(), name, {"1:g": (1,)})


def test_ensembles_without_stars_or_of_other_stars_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="ensemble 'quiet': there is no comparison star to save"):
        with_ensemble_saved(Selection(), "quiet", {"1:g": ()})
    with pytest.raises(ConfigurationError, match="ensemble 'quiet' was not saved in this night; saved are: none"):
        with_ensemble_used(Selection(), "quiet", {})
    saved = Selection(ensembles={"quiet": {"1:g": (1, 9)}, "bright": {}})
    with pytest.raises(ConfigurationError, match="'dim' was not saved in this night; saved are: quiet, bright"):
        with_ensemble_used(saved, "dim", {})
    with pytest.raises(ConfigurationError, match=r"'quiet': source 9 is not in the catalog of 1:g, .* 1 to 6"):
        with_ensemble_used(saved, "quiet", {"1:g": 6})
