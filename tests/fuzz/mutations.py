"""Changes of files for a fuzzer that knows bytes alone: cards are exchanged whole, so that a header stays a header."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from stream.measure.headers import BLOCK_BYTES
from tests.fuzz.hostile_files import KEYWORDS, VALUES
from tests.fuzz.parts import CARD_BYTES, KINDS, TILED_KINDS, base_content

ENDINGS = (".fit", ".fits.fz", ".fits.gz", ".fts.fz.gz")
_SHARE_OF_CARDS = 0.7


def write_corpus(folder: Path) -> None:
    """Write an honest file of every kind, behind a byte that tells its ending."""
    for kind in (*KINDS, *TILED_KINDS):
        content, ending = base_content(kind)
        number = ENDINGS.index(".fits.fz") if ending.endswith(".fz") else 0
        (folder / kind).write_bytes(bytes([number]) + content)


def change_file(content: bytes, longest: int, number: int, *, mutate: Callable[[bytes, int], bytes]) -> bytes:
    """Exchange the value of a card, or let the fuzzer change what it likes.

    Parameters
    ----------
    content : bytes
        The byte that tells the ending, then the file.
    number : int
        Seeds the choice.
    """
    choose = random.Random(number)
    if choose.random() > _SHARE_OF_CARDS or len(content) < BLOCK_BYTES:
        return mutate(content, longest)
    n_cards = min(len(content) - 1, 4 * BLOCK_BYTES) // CARD_BYTES
    start = 1 + CARD_BYTES * choose.randrange(n_cards)
    keyword = content[start : start + 8] if choose.random() < 0.5 else choose.choice(KEYWORDS).ljust(8).encode()
    card = (keyword + b"= " + choose.choice(VALUES).rjust(20).encode())[:CARD_BYTES].ljust(CARD_BYTES)
    return content[:start] + card + content[start + CARD_BYTES :]
