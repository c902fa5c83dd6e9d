"""Words on a canvas are broken into lines that fit."""

from __future__ import annotations

from server.fitting import fitted

TITLE = "1:g · rms 2.05 % · errors 0.46 % · 300 points · target 2 / 1, 3, 4, 5, 6, 7"


def test_what_fits_or_has_unknown_room_stays_as_it_is() -> None:
    assert fitted(TITLE, None) == TITLE
    assert fitted(TITLE, 0.0) == TITLE
    assert fitted(TITLE, 600.0) == TITLE


def test_lines_break_between_parts() -> None:
    assert fitted(TITLE, 298.0) == "1:g · rms 2.05 % · errors 0.46 % · 300 points\ntarget 2 / 1, 3, 4, 5, 6, 7"


def test_a_part_that_is_too_long_breaks_between_words() -> None:
    text = "1:g · " + "no light curve, as all comparison stars are saturated, off the frame or left out by hand"
    lines = fitted(text, 180.0).split("\n")
    assert lines[0] == "1:g"
    assert max(map(len, lines)) <= 30
    assert " ".join(lines).replace("1:g ", "1:g · ") == text


def test_lines_that_are_there_are_kept() -> None:
    assert fitted("2:r behind 1:g by 1.8 s\ncorrelation 0.95", 150.0) == "2:r behind 1:g by 1.8 s\ncorrelation 0.95"
