"""Axes that follow what is drawn, and those that a viewer holds."""

from __future__ import annotations

from bokeh.models import Range1d

from server.followed_range import FollowedRange


def shown(limits: Range1d) -> tuple[float, float, float, float]:
    return limits.start, limits.end, limits.reset_start, limits.reset_end


def test_an_axis_follows_until_somebody_zooms_and_again_after_a_reset() -> None:
    limits = Range1d(0.0, 1.0)
    axis = FollowedRange(limits)
    axis.show((0.0, 10.0))
    axis.show((0.0, 11.0))
    assert shown(limits) == (0.0, 11.0, 0.0, 11.0)
    limits.update(start=2.0, end=3.0)
    axis.show((0.0, 12.0))
    assert shown(limits) == (2.0, 3.0, 0.0, 12.0)
    limits.update(start=limits.reset_start, end=limits.reset_end)
    axis.show((0.0, 13.0))
    assert shown(limits) == (0.0, 13.0, 0.0, 13.0)


def test_small_changes_do_not_make_an_axis_tremble() -> None:
    limits = Range1d(0.0, 1.0)
    axis = FollowedRange(limits, tolerance=0.1)
    axis.show((0.0, 10.0))
    axis.show((0.0, 10.9))
    assert limits.end == 10.0
    axis.show((0.0, 11.5))
    assert limits.end == 11.5


def test_a_logarithmic_axis_counts_in_decades() -> None:
    limits = Range1d(1.0, 2.0)
    axis = FollowedRange(limits, tolerance=0.1, is_log=True)
    axis.show((1e-6, 1.0))
    axis.show((3e-6, 1.0))
    assert limits.start == 1e-6
    axis.show((1e-5, 1.0))
    assert limits.start == 1e-5
