"""Matching two lists of positions without a prediction: for frames that lost their alignment.

Few stars are matched by trying every pair of them, which is exact and repeats; astroalign (Beroiz, Cabral & Sanchez
2020, A&C 32, 100384) is for crowded lists, where the brightest of one are not the brightest of the other. It gives up
on fewer than about six stars.
"""

from __future__ import annotations

import math

import numpy as np

from stream.measure.transform import Transform, fit_similarity
from stream.messages import FloatArray

_FEWEST_STARS = 3
_MOST_PAIRED = 12
_SCALE_TOLERANCE = 0.02
_SHORTEST_PAIR_RADII = 4.0
_MOST_CANDIDATES = 3


def match_patterns(
    catalog_xy: FloatArray, found_xy: FloatArray, shape: tuple[int, int], *, n_control_points: int, radius_px: float
) -> list[Transform]:
    """Transforms that may carry the catalog onto the sources found on a frame, likeliest first.

    Each is refitted to all sources that it brings together, so that equal frames end with equal transforms although
    astroalign draws at random.

    Parameters
    ----------
    catalog_xy, found_xy : array, shape (n, 2)
        Pixels, brightest first.
    radius_px : float
        Positions nearer than this are taken for the same star.
    """
    identity = Transform.identity(shape)
    if min(len(catalog_xy), len(found_xy)) < _FEWEST_STARS:
        return _pairings_of_few(catalog_xy, found_xy, identity)
    candidates = _match_pairs(catalog_xy[:_MOST_PAIRED], found_xy[:_MOST_PAIRED], identity, radius_px=radius_px)
    candidates += _match_triangles(catalog_xy, found_xy, identity, n_control_points=n_control_points)
    return [_refit_on_neighbours(catalog_xy, found_xy, rough, radius_px) for rough in candidates]


def _match_pairs(
    catalog_xy: FloatArray, found_xy: FloatArray, identity: Transform, *, radius_px: float
) -> list[Transform]:
    """Put every pair of stars on every pair of sources, and keep what brings most stars onto sources.

    Positions are complex numbers about the centre: ``frame = turn * catalog + shift``.
    """
    centre = complex(identity.centre_x, identity.centre_y)
    stars = catalog_xy @ np.array([1.0, 1.0j]) - centre
    sources = found_xy @ np.array([1.0, 1.0j]) - centre
    star, other_star = np.nonzero(np.abs(stars[:, None] - stars) > _SHORTEST_PAIR_RADII * radius_px)
    source, other_source = np.nonzero(~np.eye(len(sources), dtype=bool))
    turns = (sources[other_source] - sources[source]) / (stars[other_star] - stars[star])[:, None]
    pairs, pairings = np.nonzero(np.abs(np.abs(turns) - 1.0) < _SCALE_TOLERANCE)
    turns = turns[pairs, pairings]
    shifts = sources[source[pairings]] - turns * stars[star[pairs]]
    distances = np.abs(turns[:, None, None] * stars[:, None] + shifts[:, None, None] - sources).min(
        axis=2, initial=np.inf
    )
    near = distances < radius_px
    n_near = near.sum(axis=1)
    misfit = np.where(near, distances, 0.0).sum(axis=1)
    order = np.lexsort((misfit, -n_near))
    chosen: list[int] = []
    for number in order[n_near[order] >= _FEWEST_STARS].tolist():
        places = turns[number] * stars + shifts[number]
        if all(np.abs(turns[other] * stars + shifts[other] - places).max() > radius_px for other in chosen):
            chosen.append(number)
        if len(chosen) == _MOST_CANDIDATES:
            break
    return [
        Transform(
            cosine=float(turns[number].real),
            sine=float(turns[number].imag),
            shift_x_px=float(shifts[number].real),
            shift_y_px=float(shifts[number].imag),
            centre_x=identity.centre_x,
            centre_y=identity.centre_y,
        )
        for number in chosen
    ]


def _match_triangles(
    catalog_xy: FloatArray, found_xy: FloatArray, identity: Transform, *, n_control_points: int
) -> list[Transform]:
    import astroalign

    candidates: list[Transform] = []
    for n_points in dict.fromkeys((min(n_control_points, 10), n_control_points, 25)):
        try:
            match, _ = astroalign.find_transform(
                catalog_xy[:n_points], found_xy[:n_points], max_control_points=n_points
            )
        except (astroalign.MaxIterError, ValueError, TypeError):
            continue
        scale, angle = float(match.scale), float(match.rotation)
        centre = np.array([[identity.centre_x, identity.centre_y]])
        shift = match(centre)[0] - centre[0]
        candidates.append(
            Transform(
                cosine=scale * math.cos(angle),
                sine=scale * math.sin(angle),
                shift_x_px=float(shift[0]),
                shift_y_px=float(shift[1]),
                centre_x=identity.centre_x,
                centre_y=identity.centre_y,
            )
        )
    return candidates


def _pairings_of_few(catalog_xy: FloatArray, found_xy: FloatArray, identity: Transform) -> list[Transform]:
    """With one or two stars there is no pattern: the brightest sources of both are put onto each other."""
    candidates = []
    if min(len(catalog_xy), len(found_xy)) >= 2:
        for order in ([0, 1], [1, 0]):
            pair = fit_similarity(catalog_xy[:2], found_xy[order], np.ones(2), identity)
            if abs(pair.scale - 1.0) < _SCALE_TOLERANCE:
                candidates.append(pair)
    if len(catalog_xy) == 1:
        candidates.append(fit_similarity(catalog_xy[:1], found_xy[:1], np.ones(1), identity))
    return candidates


def _refit_on_neighbours(catalog_xy: FloatArray, found_xy: FloatArray, rough: Transform, radius_px: float) -> Transform:
    transform = rough
    for _ in range(5):
        distances = np.hypot(*(transform.apply(catalog_xy)[:, None, :] - found_xy[None, :, :]).transpose(2, 0, 1))
        nearest, owner = distances.argmin(axis=1), distances.argmin(axis=0)
        numbers = np.arange(len(catalog_xy))
        mutual = (owner[nearest] == numbers) & (distances[numbers, nearest] < radius_px)
        if mutual.sum() < 2:
            return rough
        refitted = fit_similarity(catalog_xy[mutual], found_xy[nearest[mutual]], np.ones(mutual.sum()), transform)
        if refitted == transform:
            break
        transform = refitted
    return transform
