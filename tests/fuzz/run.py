"""A long run of the fuzz: ``python -m tests.fuzz.run --seconds 600 --seed 1 [--engine atheris]``.

Hypothesis draws files at random, in rounds of their own seeds; their frames are measured. Atheris (libFuzzer), where it
is installed, changes honest files by the branches of the reading code that they reach; frames are read alone. Either
prints what it did, and ends with the file that was too much for the program, if there was one.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.hostile_files import HostileFile
    from tests.fuzz.way_of_a_file import WayOfAFile

_ROUND = 50
_INSTRUMENTED = (
    *("stream.measure.headers", "stream.measure.hdus", "stream.measure.frames", "stream.measure.compressed"),
    *("stream.instruments", "stream.header_times", "stream.header_values", "stream.header_pointing"),
)
_SAVED = Path("test-artifacts") / "fuzz"


def main(words: list[str]) -> int:
    """Run for so many seconds; exit status 1 where a file was too much."""
    parser = argparse.ArgumentParser(prog="tests.fuzz.run", description="Fuzz the reading of frames.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    given = parser.parse_args(words)
    logging.disable(logging.CRITICAL)  # what a worker would write into its log
    if given.engine == "atheris":
        return _run_atheris(given.seconds, given.seed)
    return _run_hypothesis(given.seconds, given.seed)


def _run_hypothesis(seconds: int, seed: int) -> int:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    from tests.fuzz.hostile_files import hostile_files
    from tests.fuzz.way_of_a_file import WayOfAFile, strict_process

    with tempfile.TemporaryDirectory() as root:
        way, until_s = WayOfAFile(Path(root)), time.monotonic() + seconds
        take = _kept(way)
        plain = settings(
            max_examples=_ROUND,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        try:
            with strict_process():
                while time.monotonic() < until_s:
                    seeded(seed)(plain(given(hostile_files())(take)))()
                    seed += 1
        finally:
            sys.stdout.write(way.figures.sentence() + "\n")
    return 0


def _run_atheris(seconds: int, seed: int) -> int:
    try:
        import atheris
    except ImportError:
        sys.stderr.write("atheris is not installed (group fuzz of pyproject.toml): its run is left out\n")
        return 0
    with atheris.instrument_imports(include=list(_INSTRUMENTED)):
        from tests.fuzz.way_of_a_file import WayOfAFile, strict_process
    from tests.fuzz.hostile_files import HostileFile
    from tests.fuzz.mutations import ENDINGS, change_file, write_corpus

    root, corpus = _SAVED / "night", _SAVED / "corpus"
    for folder in (root, corpus):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    way, until_s = WayOfAFile(root, measures=False), time.monotonic() + seconds
    take, told = _kept(way), False
    write_corpus(corpus)

    def one(content: bytes) -> None:
        nonlocal told
        if not told and time.monotonic() > until_s:  # libFuzzer lets nobody speak after the last one
            told = True
            sys.stdout.write(way.figures.sentence() + "\n")
            sys.stdout.flush()
        take(HostileFile(ENDINGS[content[0] % len(ENDINGS)] if content else ".fit", content[1:], "by atheris"))

    def mutate(content: bytes, longest: int, number: int) -> bytes:
        return change_file(content, longest, number, mutate=atheris.Mutate)

    bounds = ["-max_len=65536", f"-max_total_time={seconds + 5}", "-rss_limit_mb=0", f"-artifact_prefix={_SAVED}/"]
    atheris.Setup(["fuzz", f"-seed={seed}", *bounds, str(corpus)], one, custom_mutator=mutate)
    with strict_process():
        atheris.Fuzz()
    return 0


def _kept(way: WayOfAFile) -> Callable[[HostileFile], None]:
    """Take files, and keep the one that is too much."""

    def take(hostile: HostileFile) -> None:
        try:
            way.take(hostile)
        except Exception:
            _SAVED.mkdir(parents=True, exist_ok=True)
            (_SAVED / f"fault{hostile.ending}").write_bytes(hostile.content)
            sys.stderr.write(f"{hostile.what}\nkept as {_SAVED}/fault{hostile.ending}\n")
            raise

    return take


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
