"""All sources of a key in a table: which one is the target, which are compared with it, and why. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

import numpy as np

from stream.analysis.choice import KeyChoice
from stream.analysis.comparisons import choose_comparisons
from stream.analysis.ensemble import (
    BoolArray,
    ensemble_weights,
    fit_for_comparison,
    nan_median,
    relative_error,
    relative_to_others,
    robust_scatter,
)
from stream.messages import FloatArray, SourceFluxes

TARGET, COMPARISON, NEITHER = "T", "c", ""
_FEWEST_POINTS = 3
_FEW_ROWS = 20


@dataclass(frozen=True, slots=True)
class StarFacts:
    """What the night says of one source.

    Attributes
    ----------
    flux_e : float
        Median, electrons within the exposure; NaN where it was never measured.
    scatter : float
        Robust, relative, against the comparison stars without itself: the larger of that over the night and that from
        frame to frame. NaN where there is nothing to compare with.
    error : float
        Median error over median flux; NaN where it was never fit for a comparison.
    weight : float
        Share in the ensemble of the comparison stars; NaN for all others.
    is_suggested : bool
        Whether the program would compare with it.
    objection : str
        Why it would not; may be empty.
    """

    flux_e: float
    scatter: float
    error: float
    weight: float
    is_suggested: bool
    objection: str


def star_facts(fluxes: SourceFluxes, choice: KeyChoice) -> tuple[StarFacts, ...]:
    """Judge every source of a key by its fluxes, those of the choice and all others.

    Returns
    -------
    tuple of StarFacts
        Source number i stands at i - 1.
    """
    use = fit_for_comparison(fluxes)
    level = nan_median(np.where(np.isfinite(fluxes.flux), fluxes.flux, np.nan), np.nan)
    error = relative_error(fluxes.flux, fluxes.flux_err, use)
    scatter, weight = _against_comparisons(fluxes, use, choice)
    suggested, excluded = choice.comparisons, choice.excluded
    if not choice.automatic_comparisons:
        found = choose_comparisons(fluxes, exclude=(choice.target,))
        suggested, excluded = found.comparisons, found.excluded
    return tuple(
        StarFacts(
            float(level[index]),
            float(scatter[index]),
            float(error[index]),
            float(weight[index]),
            index + 1 in suggested,
            excluded.get(index + 1, ""),
        )
        for index in range(fluxes.n_sources)
    )


def _against_comparisons(fluxes: SourceFluxes, use: BoolArray, choice: KeyChoice) -> tuple[FloatArray, FloatArray]:
    """Scatter of every source against the comparison stars, and the share of weight that each of these has."""
    scatter, share = np.full(fluxes.n_sources, np.nan), np.full(fluxes.n_sources, np.nan)
    enough = np.flatnonzero(use.sum(axis=0) >= _FEWEST_POINTS)
    chosen = np.isin(enough + 1, choice.comparisons)
    if not chosen.any():
        return scatter, share
    flux, flux_err, use = fluxes.flux[:, enough], fluxes.flux_err[:, enough], use[:, enough]
    weights = np.zeros(len(enough))
    weights[chosen] = ensemble_weights(flux[:, chosen], flux_err[:, chosen], use[:, chosen])
    relative, _others = relative_to_others(flux, flux_err, use, weights)
    found = robust_scatter(relative)
    scatter[enough] = np.fmax(found.whole, found.quick)
    share[enough[chosen]] = weights[chosen] / weights.sum()
    return scatter, share


def role_of(number: int, choice: KeyChoice | None) -> str:
    """`TARGET`, `COMPARISON` or `NEITHER`, as it stands behind the number of a source."""
    if choice is None:
        return NEITHER
    return TARGET if number == choice.target else COMPARISON if number in choice.comparisons else NEITHER


def why(number: int, choice: KeyChoice, facts: StarFacts | None) -> str:
    """Why a source is what it is, in words."""
    role, by_hand = role_of(number, choice), not choice.automatic_comparisons
    if role == TARGET:
        return "target, chosen automatically" if choice.automatic else "target, chosen by hand"
    if facts is None:
        return ""
    objection = facts.objection or "it is too faint to matter beside the others"
    if role == COMPARISON:
        weight = f"{100.0 * facts.weight:.0f} % of the weight" if math.isfinite(facts.weight) else "without weight"
        if not by_hand:
            return f"suggested: {weight}"
        return f"taken by hand: {weight}" if facts.is_suggested else f"taken by hand: {weight}; {objection}"
    return "left out by hand: it would be suggested" if facts.is_suggested else f"left out: {objection}"


def star_table(
    choice: KeyChoice,
    facts: tuple[StarFacts, ...],
    *,
    n_sources: int,
    press: str,
    may_change: bool,
) -> str:
    """The table of the sources of one key as HTML; the faint ones that have no part are folded away.

    Parameters
    ----------
    choice : KeyChoice
    facts : tuple of StarFacts
        Empty while they are being measured.
    press : str
        Name of the model of the page that is told which button was pressed, as ``target 3``, ``in 3`` or ``out 3``.
    may_change : bool
        Whether the buttons can be pressed.
    """
    rows = {
        number: _row(number, choice, facts[number - 1] if number <= len(facts) else None, (press, may_change))
        for number in range(1, n_sources + 1)
    }
    shown = [number for number in rows if number <= _FEW_ROWS or role_of(number, choice)]
    rest = [rows[number] for number in rows if number not in shown]
    table = _table([rows[number] for number in shown])
    if rest:
        table += f"<details><summary>{len(rest)} fainter sources</summary>{_table(rest)}</details>"
    return table


def _table(rows: list[str]) -> str:
    head = "<tr><th scope='col'>star</th><th scope='col'>flux / e⁻</th><th scope='col'>scatter</th>"
    return f"<table class='stars'>{head}<th scope='col' class='take'>take as</th></tr>{''.join(rows)}</table>"


def _row(number: int, choice: KeyChoice, facts: StarFacts | None, button: tuple[str, bool]) -> str:
    role = role_of(number, choice)
    style = {TARGET: "target", COMPARISON: "comparison", NEITHER: ""}[role]
    flux = "…" if facts is None else short_flux(facts.flux_e)
    scatter = "…" if facts is None else _per_cent(facts.scatter)
    target = _button("target", f"target {number}", role == TARGET, button)
    verb = "out" if role == COMPARISON else "in"
    compare = "" if role == TARGET else _button("compare", f"{verb} {number}", role == COMPARISON, button)
    error = "" if facts is None or not math.isfinite(facts.error) else f" · errors\u00a0{_per_cent(facts.error)}"
    reason = escape(why(number, choice, facts) + error)
    return (
        f"<tr class='{style}'><th scope='row'>{number}{role}</th><td>{flux}</td><td>{scatter}</td>"
        f"<td class='take'>{target}{compare}</td></tr><tr class='reason'><td colspan='4'>{reason}</td></tr>"
    )


def _button(word: str, command: str, is_on: bool, button: tuple[str, bool]) -> str:
    press, may_change = button
    off = "" if may_change else " disabled"
    label = f"{word} {command.split()[-1]}"
    return (
        f"<button type='button' data-press='{press}' data-value='{command}' aria-pressed='{str(is_on).lower()}'"
        f" aria-label='{label}'{off}>{word}</button>"
    )


def short_flux(flux_e: float) -> str:
    """A flux in few letters: ``71,809``, ``126 k``, ``1.26 M``."""
    if not math.isfinite(flux_e):
        return "–"
    if abs(flux_e) < 1e5:
        return f"{flux_e:,.0f}"
    return f"{flux_e / 1e3:.0f} k" if abs(flux_e) < 1e6 else f"{flux_e / 1e6:.2f} M"


def _per_cent(value: float) -> str:
    return f"{100.0 * value:.2f}\u00a0%" if math.isfinite(value) else "–"
