"""What viewers change of a night: target, comparison stars and notes, for everybody who looks at it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from server import selecting
from server.night_view import NightView
from stream.errors import ConfigurationError, OpticamLiveError
from stream.messages import Catalog, Selection
from stream.notes import Note, load_notes, save_notes, with_note
from stream.selection import load_selection, save_selection, with_ensemble_saved, with_ensemble_used


class Chooser(ABC):
    """Writes the choices of viewers into the folder of the night, one at a time.

    Parameters
    ----------
    place : Path
        Folder of the night.

    Attributes
    ----------
    may_change : bool
        Whether changes are carried out at all; where not, each is answered with a sentence.
    """

    may_change = True

    def __init__(self, place: Path) -> None:
        self._place = place
        self._choosing = threading.Lock()

    @property
    @abstractmethod
    def view(self) -> NightView:
        """The newest snapshot of the night."""

    @abstractmethod
    def _changed(self) -> None:
        """Look at the files of the folder soon."""

    def set_target(self, key: str, number: int) -> tuple[str, ...]:
        """Make a source the target for all keys and viewers; returns a sentence a key."""
        return self._change(
            lambda selection, view: selecting.with_target(selection, _catalogs(view), key=key, number=number)
        )

    def toggle_comparison(self, key: str, number: int, *, wanted: bool | None = None) -> tuple[str, ...]:
        """Add or take out a comparison star for all keys and viewers; returns a sentence a key.

        `wanted` says which of both was meant, by who saw a choice that others may have changed since.
        """
        return self._change(
            lambda selection, view: selecting.with_comparison_toggled(
                selection,
                _catalogs(view),
                {name: shown.choice for name, shown in view.keys.items() if shown.choice is not None},
                key=key,
                number=number,
                wanted=wanted,
            )
        )

    def choose_automatically(self) -> tuple[str, ...]:
        """Let target and comparison stars be chosen automatically again."""
        return self._change(lambda selection, _view: selecting.automatic(selection))

    def selection(self) -> Selection:
        """The choices as they are now; raises ConfigurationError if they cannot be read."""
        return load_selection(self._place)

    def undo(self, before: Selection, left: Selection) -> tuple[str, ...]:
        """Bring back the choices that were `before` a viewer `left` others, unless they have been changed since."""

        def change(selection: Selection, _view: NightView) -> selecting.Change:
            if selection != left:
                raise ConfigurationError("somebody has changed the choice since: it stays as it is")
            return selecting.Change(before, ("the last change is taken back",))

        return self._change(change)

    def save_ensemble(self, name: str) -> tuple[str, ...]:
        """Keep the comparison stars of all keys by a name; returns sentences."""

        def change(selection: Selection, view: NightView) -> selecting.Change:
            chosen = {key: shown.choice.comparisons for key, shown in view.keys.items() if shown.choice is not None}
            return selecting.Change(with_ensemble_saved(selection, name, chosen), (f"saved as {name}",))

        return self._change(change)

    def use_ensemble(self, name: str) -> tuple[str, ...]:
        """Recall the comparison stars that were saved by a name; returns sentences."""

        def change(selection: Selection, view: NightView) -> selecting.Change:
            n_sources = {key: catalog.n_sources for key, catalog in _catalogs(view).items()}
            return selecting.Change(with_ensemble_used(selection, name, n_sources), (f"{name} is in use",))

        return self._change(change)

    def pin(self, note: Note) -> None:
        """Pin a note to its time, for all viewers.

        Raises
        ------
        ConfigurationError
            If the note has no words or too many, or the notes of the night cannot be read or written.
        """
        self._change_notes(lambda notes: with_note(notes, note))

    def take_off(self, note: Note) -> None:
        """Take a note off; one that is gone already stays gone. Raises ConfigurationError as `pin`."""
        self._change_notes(lambda notes: tuple(each for each in notes if each != note))

    def _change_notes(self, change: Callable[[tuple[Note, ...]], tuple[Note, ...]]) -> None:
        with self._choosing:
            try:
                save_notes(self._place, change(load_notes(self._place)))
            except OSError as error:
                raise ConfigurationError(f"notes in {self._place} cannot be written: {error}") from error
        self._changed()

    def _change(self, change: Callable[[Selection, NightView], selecting.Change]) -> tuple[str, ...]:
        with self._choosing:
            try:
                changed = change(load_selection(self._place), self.view)
                save_selection(self._place, changed.selection)
            except OpticamLiveError as problem:
                return (str(problem),)
            except OSError as error:
                return (f"selection in {self._place} cannot be written: {error}",)
        self._changed()
        return changed.sentences


def _catalogs(view: NightView) -> dict[str, Catalog]:
    return {key: shown.catalog for key, shown in view.keys.items()}
