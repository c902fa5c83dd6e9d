"""How long ago something was, in words."""

from __future__ import annotations


def age_text(age_s: float) -> str:
    """An age in the unit that suits it: ``3 s``, ``12 min``, ``5.2 h``, ``4 days``."""
    if age_s < 120.0:
        return f"{max(age_s, 0.0):.0f} s"
    if age_s < 7200.0:
        return f"{age_s / 60.0:.0f} min"
    return f"{age_s / 3600.0:.1f} h" if age_s < 172800.0 else f"{age_s / 86400.0:.0f} days"
