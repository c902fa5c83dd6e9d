"""A running night in whose folder somebody leaves what no camera writes: every frame beside it is measured as ever."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.frame_names import is_frame_name
from stream.measure.frames import read_frame
from stream.messages import FrameMeasured, FrameRejected
from stream.night.folder_scan import FolderScan, refusal_of, safe_name
from stream.night.ledger import LedgerReader
from stream.night.supervisor import child_environment
from stream.pipeline import Reference, process_frame
from tests.faults.resources import held_by
from tests.faults.whole_night import Watch
from tests.fuzz.hostile_folder import ENTRIES, complaints, fill
from tests.fuzz.parts import frame_bytes
from tests.fuzz.watch_once import NOBODY

pytestmark = pytest.mark.clock

N_BEFORE, N_BESIDE = 5, 25


def put_good(folder: Path, numbers: range) -> list[str]:
    """Write honest frames and return their names."""
    names = [f"good-{number:03d}.fit" for number in numbers]
    for number, name in zip(numbers, names, strict=True):
        (folder / name).write_bytes(frame_bytes(number))
    return names


def assert_measured_alone(out: Path, folder: Path, measured: dict[str, FrameMeasured]) -> None:
    """Frames were measured as they are without anything beside them."""
    reader = LedgerReader(out)
    try:
        recipe, catalog = reader.recipe(), reader.catalogs()["1:g"]
    finally:
        reader.close()
    reference = Reference.from_catalog(catalog, recipe)
    for name, found in measured.items():
        alone = process_frame(read_frame(folder / name, name, recipe.instrument), reference, recipe).message
        assert found.time_mjd_utc == alone.time_mjd_utc
        assert found.source_table() == pytest.approx(alone.source_table(), rel=1e-4, abs=1e-4, nan_ok=True)


def test_hostile_entries_are_rejected_and_frames_beside_them_are_measured(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    watch = Watch(folder, tmp_path / "out")
    names = put_good(folder, range(N_BEFORE))
    with watch:
        watch.wait(N_BEFORE)
        before_mb = held_by(watch.running.pid).memory_mb
        fill(folder)
        names += put_good(folder, range(N_BEFORE, N_BEFORE + N_BESIDE))
        n_expected = len(names) + sum(entry.reason != "absent" for entry in ENTRIES)
        watch.wait(n_expected, timeout_s=60.0)
        assert held_by(watch.running.pid).memory_mb < before_mb + 60.0
        assert all(held_by(pid).memory_mb < 350.0 for pid in watch.workers())
        assert watch.stop().status == 0
        log = watch.log()
    assert "ended with status" not in log
    assert "the watcher ended" not in log
    reader = LedgerReader(watch.out)
    try:
        outcomes = reader.outcomes_since(0)
    finally:
        reader.close()
    assert len(outcomes) == len({one.path for one in outcomes}) == n_expected
    told = {
        one.path: (str(one.reason), one.sentence) if isinstance(one, FrameRejected) else ("", "") for one in outcomes
    }
    assert complaints(told) == []
    good = {one.path: one for one in outcomes if isinstance(one, FrameMeasured) and one.path in names}
    assert sorted(good) == names
    assert_measured_alone(watch.out, folder, good)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="opticam-live-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.iterdir():
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_files_and_folders_that_must_not_be_read_are_named(open_folder: Path) -> None:
    (open_folder / "good.fit").write_bytes(frame_bytes())
    for name, mode in (("closed", 0o000), ("listed", 0o644)):
        (open_folder / name).mkdir()
        (open_folder / name / "a.fit").write_bytes(frame_bytes())
        (open_folder / name).chmod(mode)
    (open_folder / "secret.fit").write_bytes(frame_bytes())
    (open_folder / "secret.fit").chmod(0o000)
    (open_folder / "link.fit").symlink_to("closed/a.fit")
    if not os.geteuid():  # the process below is another one's then
        for path in (open_folder, *open_folder.iterdir()):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.watch_once", str(open_folder)],
        env=dict(child_environment()),
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert msgspec.json.decode(done.stdout) == [
        {
            "good.fit": "",
            "secret.fit": "secret.fit cannot be read: Permission denied",
            "link.fit": "link.fit is a link that cannot be followed: Permission denied",
            "listed/a.fit": "listed/a.fit cannot be looked at: Permission denied",
        },
        ["folder closed cannot be read: Permission denied"],
    ]


NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & {0, ord("/")})


@given(first=NAMES, second=NAMES)
@example(first=b"caf\xe9", second=b"caf\\xe9")
@example(first=b"'a\n'", second=b"a\n")
@example(first=b"a\\\n", second=b"a\\\\n")
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_two_files_have_one_name_in_the_ledger(first: bytes, second: bytes) -> None:
    names = [os.fsdecode(name + b".fit") for name in (first, second)]
    assert (safe_name(names[0]) == safe_name(names[1])) == (first == second)
    for name in names:
        assert safe_name(name).isprintable()
        assert safe_name(name).encode()
        assert (safe_name(name) == name) == is_frame_name(safe_name(name).lstrip(".")) or name.startswith(".")


def test_a_name_of_any_length_fits_into_a_message(tmp_path: Path) -> None:
    deep = "/".join("\udcff" * 250 for _ in range(16)) + "/a.fit"
    names = {safe_name(deep), safe_name(deep + "x.fit")}
    assert len(names) == 2
    assert all(len(name) < 5000 for name in names)
    assert refusal_of(tmp_path, deep) == f"{safe_name(deep)}: a file name of printable characters is required"


@pytest.mark.parametrize("target", ["out", "x" * 300, "gone", "/dev/full"])
def test_a_link_with_the_name_of_the_outputs_ends_no_scan(tmp_path: Path, target: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "out").symlink_to(target)
    (tmp_path / "sub" / "1.fit").write_bytes(frame_bytes())
    scan = FolderScan(tmp_path, tmp_path / "out")
    assert list(scan.new_names()) == ["sub/1.fit"]
    scan.is_searched("sub/out/1.fit")  # whatever is said of it
