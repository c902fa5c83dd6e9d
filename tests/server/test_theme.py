"""Colours that can be read in every theme: contrasts of WCAG 2.1 (success criterion 1.4.3, level AA)."""

from __future__ import annotations

import pytest

from server.theme import PALETTES, Palette

LEAST_CONTRAST = 4.5


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.1 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255.0 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    dark, bright = sorted((luminance(first), luminance(second)))
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
def test_all_that_is_written_can_be_read(palette: Palette) -> None:
    words = ("text", "faint", "accent", "comparison", "warning", "bad")
    pairs = [(word, ground) for word in words for ground in ("panel", "background")]
    # Buttons that are chosen or pointed at lie on the colour of the grid.
    pairs += [("text", "grid"), ("accent", "grid")]
    pairs += [("on_state", state) for state in ("good", "warning", "bad", "source")]
    faint = {
        f"{word} on {ground}": round(found, 2)
        for word, ground in pairs
        if (found := contrast(getattr(palette, word), getattr(palette, ground))) < LEAST_CONTRAST
    }
    assert faint == {}


@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
def test_curves_stand_out_from_the_panel(palette: Palette) -> None:
    assert all(contrast(colour, palette.panel) >= 3.0 for colour in palette.keys)


def test_red_light_is_red_alone() -> None:
    """Rods hardly see it: little green and less blue in whatever is drawn."""
    red = PALETTES["red"]
    colours = [getattr(red, name) for name in ("text", "faint", "accent", "comparison", "source", "good", "warning")]
    for colour in (*colours, red.bad, *red.keys):
        parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert max(parts[1:]) <= 0.55 * parts[0], colour
