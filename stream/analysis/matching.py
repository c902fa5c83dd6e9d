"""Which source of one catalog is which source of another: other camera, other filter, other field of view.

Positions alone decide. Every pair of bright stars in one catalog is laid on every pair of the other that the pixel
scales allow; the similarity under which most stars find each other is refitted on all of them. All pairs are tried in a
fixed order, so the result repeats; a random search over triangles (astroalign) was not taken because it does not, and
because it needs three stars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.messages import Catalog

ComplexArray = NDArray[np.complex128]

_BRIGHTEST_PAIRED = 14
_BRIGHTEST_CHECKED = 40
_SCALE_MISFIT = 0.05
_SHORTEST_BASELINE = 0.05
_TOLERANCE_FWHM = 0.7
_TOLERANCE_MIN_PX = 2.0
_REFITTED = 20
_CHANCE = 1e-3
_FEWEST_MIRRORED = 5
_FEWEST_OF_OVERLAP = 0.35
_BLOCK = 2000


@dataclass(frozen=True, slots=True)
class CatalogMatch:
    """Which source is which.

    Attributes
    ----------
    numbers : dict
        Number in the destination by number in the source; empty where the match is not sure.
    sure : bool
        Whether chance or another arrangement of the same stars would hardly do as well.
    sentence : str
        The match in words, with the reason where it is not sure.
    """

    numbers: dict[int, int]
    sure: bool
    sentence: str


class _Similarity(NamedTuple):
    """``destination = factor * source + shift`` in complex numbers; of the conjugate source if mirrored."""

    factor: complex
    shift: complex


class _Trial(NamedTuple):
    similarity: _Similarity
    pairs: tuple[tuple[int, int], ...]
    misfit_px: float


class _Task(NamedTuple):
    """Positions as complex numbers, the expected scale (NaN if unknown) and how near a match must be."""

    source: ComplexArray
    destination: ComplexArray
    scale: float
    tolerance_px: float
    area_px: float


def match_catalogs(source: Catalog, destination: Catalog) -> CatalogMatch:
    """Match two catalogs of the same field by the positions of their sources.

    Scale, rotation, shift and field of view may differ, sources may be missing from either, and the picture may be
    mirrored (beam splitters do that). The scale must be that of the pixel scales of the catalogs within five per cent,
    where both are known. First the frames are laid on each other as they are, pixel on pixel too, which is enough for
    one or two stars.

    A match is sure if the number of stars that agree, beyond those that the transform was made of, would come about
    by chance less than once in a thousand tries, if they are more than a third of those in the common field, and if
    no other arrangement has as many. What is not sure is
    not returned.
    """
    words = f"{source.key} to {destination.key}"
    if not source.n_sources or not destination.n_sources:
        empty = source.key if not source.n_sources else destination.key
        return CatalogMatch({}, False, f"{words}: not matched, the catalog of {empty} has no source")
    task = _task(source, destination)
    unmoved = _unmoved(task, source, destination)
    if unmoved.pairs and _by_chance(task, len(unmoved.pairs), n_used=0, n_tries=2.0) < _CHANCE and _most(task, unmoved):
        return _matched(unmoved, words, task, "as the frames lie")
    match = _verdict(task, _search(task), words, "turned")
    if match.sure:
        return match
    reflected = task._replace(source=task.source.conj())
    trials = [trial for trial in _search(reflected) if len(trial.pairs) >= _FEWEST_MIRRORED]
    mirrored = _verdict(reflected, trials, words, "mirrored and turned")
    return mirrored if mirrored.sure else match


def _task(source: Catalog, destination: Catalog) -> _Task:
    from_xy, to_xy = source.positions(), destination.positions()
    scales = (source.pixel_scale_arcsec, destination.pixel_scale_arcsec)
    known = all(math.isfinite(scale) and scale > 0.0 for scale in scales)
    fwhm = destination.fwhm_px if math.isfinite(destination.fwhm_px) else 0.0
    rows, columns = destination.frame_shape
    return _Task(
        source=from_xy[:, 0] + 1j * from_xy[:, 1],
        destination=to_xy[:, 0] + 1j * to_xy[:, 1],
        scale=scales[0] / scales[1] if known else math.nan,
        tolerance_px=max(_TOLERANCE_MIN_PX, _TOLERANCE_FWHM * fwhm),
        area_px=float(max(rows * columns, 1)),
    )


def _unmoved(task: _Task, source: Catalog, destination: Catalog) -> _Trial:
    """The frames laid on each other with their centres, pixel on pixel or scaled by their pixels, then refitted."""
    centres = [
        complex((shape[1] - 1) / 2.0, (shape[0] - 1) / 2.0) for shape in (source.frame_shape, destination.frame_shape)
    ]
    scales = (1.0, task.scale) if math.isfinite(task.scale) else (1.0,)
    trials = [_refit(task, _Similarity(scale + 0j, centres[1] - scale * centres[0])) for scale in scales]
    return max(trials, key=lambda trial: (len(trial.pairs), -trial.misfit_px))


def _most(task: _Task, trial: _Trial) -> bool:
    """Whether most stars of the shorter catalog agree."""
    return 2 * len(trial.pairs) > min(len(task.source), len(task.destination))


def _search(task: _Task) -> list[_Trial]:
    """Distinct arrangements, best first: most pairs, then the least misfit."""
    if min(len(task.source), len(task.destination)) < 2:
        return []
    factor, shift = _hypotheses(task)
    if not len(factor):
        return []
    votes = _votes(task, factor, shift)
    trials: dict[tuple[tuple[int, int], ...], _Trial] = {}
    for index in np.argsort(-votes, kind="stable")[: 4 * _REFITTED]:
        trial = _refit(task, _Similarity(complex(factor[index]), complex(shift[index])))
        trials.setdefault(trial.pairs, trial)
        if len(trials) >= _REFITTED:
            break
    return sorted(trials.values(), key=lambda trial: (-len(trial.pairs), trial.misfit_px))


def _hypotheses(task: _Task) -> tuple[ComplexArray, ComplexArray]:
    """Similarities that lay a pair of bright stars on another whose length the scale allows."""
    source, destination = task.source[:_BRIGHTEST_PAIRED], task.destination[:_BRIGHTEST_PAIRED]
    shortest = max(_SHORTEST_BASELINE * math.sqrt(task.area_px), 2.0 * task.tolerance_px)
    first, second = np.nonzero(~np.eye(len(source), dtype=bool))
    third, fourth = np.nonzero(~np.eye(len(destination), dtype=bool))
    half = first < second  # the pair the other way round makes the same similarity
    first, second = first[half], second[half]
    long_enough = np.abs(destination[fourth] - destination[third]) >= shortest
    third, fourth = third[long_enough], fourth[long_enough]
    length = source[second] - source[first]
    apart = np.abs(length) > 0.0
    first, length = first[apart], length[apart]
    factor = (destination[fourth] - destination[third])[None, :] / length[:, None]
    if math.isfinite(task.scale):
        wanted = np.abs(np.abs(factor) / task.scale - 1.0) < _SCALE_MISFIT
    else:
        wanted = (np.abs(factor) > 0.1) & (np.abs(factor) < 10.0)
    rows, columns = np.nonzero(wanted)
    chosen = factor[rows, columns]
    return chosen, destination[third[columns]] - chosen * source[first[rows]]


def _votes(task: _Task, factor: ComplexArray, shift: ComplexArray) -> NDArray[np.int64]:
    """Number of bright source stars that come near a destination star, for each similarity."""
    # Importing it takes a while, and a night of one key never needs it.
    from scipy.spatial import cKDTree

    source = task.source[:_BRIGHTEST_CHECKED]
    destination = task.destination[:_BRIGHTEST_CHECKED]
    tree = cKDTree(np.column_stack([destination.real, destination.imag]))
    votes = np.zeros(len(factor), dtype=np.int64)
    for start in range(0, len(factor), _BLOCK):
        part = slice(start, start + _BLOCK)
        moved = (factor[part, None] * source + shift[part, None]).ravel()
        distance, _ = tree.query(
            np.column_stack([moved.real, moved.imag]), distance_upper_bound=2.0 * task.tolerance_px
        )
        votes[part] = np.isfinite(distance).reshape(-1, len(source)).sum(axis=1)
    return votes


def _refit(task: _Task, similarity: _Similarity) -> _Trial:
    """Pair mutual nearest neighbours and fit the similarity to all of them, until the pairs stand."""
    pairs = _mutual(task, similarity, 2.0 * task.tolerance_px)
    for _ in range(6):
        if len(pairs) >= 2:
            similarity = _least_squares(task, pairs)
        again = _mutual(task, similarity, task.tolerance_px)
        if again == pairs:
            break
        pairs = again
    residuals = [abs(similarity.factor * task.source[i] + similarity.shift - task.destination[j]) for i, j in pairs]
    misfit = math.sqrt(sum(residual**2 for residual in residuals) / len(residuals)) if residuals else math.inf
    return _Trial(similarity, pairs, misfit)


def _mutual(task: _Task, similarity: _Similarity, within_px: float) -> tuple[tuple[int, int], ...]:
    moved = similarity.factor * task.source + similarity.shift
    distance = np.abs(moved[:, None] - task.destination[None, :])
    forth, back = distance.argmin(axis=1), distance.argmin(axis=0)
    return tuple(
        (index, int(nearest))
        for index, nearest in enumerate(forth)
        if back[nearest] == index and distance[index, nearest] <= within_px
    )


def _least_squares(task: _Task, pairs: tuple[tuple[int, int], ...]) -> _Similarity:
    source = task.source[[pair[0] for pair in pairs]]
    destination = task.destination[[pair[1] for pair in pairs]]
    from_mean, to_mean = source.mean(), destination.mean()
    centred = source - from_mean
    factor = complex((centred.conj() @ (destination - to_mean)) / max(float((np.abs(centred) ** 2).sum()), 1e-12))
    return _Similarity(factor, complex(to_mean - factor * from_mean))


def _by_chance(task: _Task, n_agreeing: int, *, n_used: int, n_tries: float) -> float:
    """Expected number of tries that would do as well with stars strewn at random.

    `n_used` stars of either catalog make the transform; the others agree with each other or not.
    """
    from scipy.special import pdtrc

    if n_agreeing <= n_used:
        return n_tries
    near = math.pi * task.tolerance_px**2 * (len(task.destination) - n_used) / task.area_px
    return float(n_tries * pdtrc(n_agreeing - n_used - 1, near * (len(task.source) - n_used)))


def _overlap(task: _Task, similarity: _Similarity) -> int:
    """Stars of the poorer catalog within the common field, as wide as the stars of each catalog lie."""
    forth = similarity.factor * task.source + similarity.shift
    back = (task.destination - similarity.shift) / similarity.factor
    return min(_number_inside(forth, task.destination), _number_inside(back, task.source))


def _number_inside(positions: ComplexArray, others: ComplexArray) -> int:
    inside = (positions.real >= others.real.min()) & (positions.real <= others.real.max())
    inside &= (positions.imag >= others.imag.min()) & (positions.imag <= others.imag.max())
    return int(inside.sum())


def _verdict(task: _Task, trials: list[_Trial], words: str, how: str) -> CatalogMatch:
    if not trials or len(trials[0].pairs) < 3:
        n_stars = min(len(task.source), len(task.destination))
        return CatalogMatch({}, False, f"{words}: not matched, no arrangement of the {n_stars} stars stands out")
    best = trials[0]
    n_source, n_destination = (min(len(stars), _BRIGHTEST_PAIRED) for stars in (task.source, task.destination))
    n_tries = n_source * (n_source - 1) / 2.0 * n_destination * (n_destination - 1)
    if math.isfinite(task.scale):
        n_tries *= 2.0 * _SCALE_MISFIT
    if _by_chance(task, len(best.pairs), n_used=2, n_tries=n_tries) >= _CHANCE:
        sentence = f"{words}: not matched, the agreement of {len(best.pairs)} stars may be chance"
        return CatalogMatch({}, False, sentence)
    if len(best.pairs) < _FEWEST_OF_OVERLAP * _overlap(task, best.similarity):
        sentence = f"{words}: not matched, {len(best.pairs)} stars agree but most that should be there do not"
        return CatalogMatch({}, False, sentence)
    rivals = [trial for trial in trials[1:] if len(trial.pairs) >= len(best.pairs) - (len(best.pairs) > 5)]
    if any(not set(trial.pairs) & set(best.pairs) for trial in rivals):
        sentence = f"{words}: not matched, {len(best.pairs)} stars agree in more than one arrangement"
        return CatalogMatch({}, False, sentence)
    return _matched(best, words, task, f"{how} by {math.degrees(np.angle(best.similarity.factor)):.1f} degrees")


def _matched(trial: _Trial, words: str, task: _Task, how: str) -> CatalogMatch:
    numbers = {index + 1: nearest + 1 for index, nearest in trial.pairs}
    fewest = min(len(task.source), len(task.destination))
    sentence = f"{words}: {len(numbers)} of {fewest} stars matched {how}, within {trial.misfit_px:.1f} px"
    return CatalogMatch(numbers, True, sentence)
