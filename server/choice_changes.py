"""What somebody else changed while a viewer looked, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from stream.analysis.choice import KeyChoice


def what_changed(before: Mapping[str, KeyChoice], after: Mapping[str, KeyChoice]) -> tuple[str, ...]:
    """A sentence for every key whose stars were changed by hand; none where the program chose anew by itself."""
    sentences = []
    for key, choice in after.items():
        former = before.get(key)
        if former is None:
            continue
        parts = []
        if choice.target != former.target and not choice.automatic:
            parts.append(f"source {choice.target} is the target now, source {former.target} no more")
        if not choice.automatic_comparisons or not former.automatic_comparisons:
            removed = [star for star in former.comparisons if star not in choice.comparisons and star != choice.target]
            added = [star for star in choice.comparisons if star not in former.comparisons]
            parts += [f"{_stars(removed)} compared with no more"] if removed else []
            parts += [f"{_stars(added)} compared with now"] if added else []
        if parts:
            sentences.append(f"another viewer changed {key}: {'; '.join(parts)}")
    return tuple(sentences)


def _stars(numbers: list[int]) -> str:
    names = ", ".join(str(number) for number in sorted(numbers))
    return f"source {names} is" if len(numbers) == 1 else f"sources {names} are"
