"""A process beside this one that unpacks tiles by code which writes past its memory over damaged ones.

The decoders of HCOMPRESS and PLIO below astropy trust the stream that they unpack: a few wrong bytes of it, and memory
of the process is overwritten that belongs to something else. A crash later is the lesser evil, a wrong flux the larger
one. So they run where nothing else lives: in a process that is asked over pipes, ended after every error, and started
again when it is needed.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.processes import bound_memory

_LONGEST_S = 30.0
_MEMORY_SHARE = 0.5
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
_LENGTH = struct.Struct("<Q")
_ROOT = Path(__file__).resolve().parents[2]


class TileRequest(msgspec.Struct, frozen=True):
    """What to unpack; one plane of a cube, or an image where `plane` is None."""

    path: bytes
    hdu: int
    plane: int | None


class TileAnswer(msgspec.Struct, frozen=True):
    """What kind of pixels follow, or why there are none."""

    error: str = ""
    dtype: str = ""
    shape: tuple[int, ...] = ()
    n_bytes: int = 0


class TileProcessError(Exception):
    """The tiles could not be unpacked; the text says why."""


class TileProcess:
    """Unpacks tiles in a process of its own, which is started when it is first asked; safe to share between threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def read(self, path: Path, hdu: int, plane: int | None) -> NDArray:
        """Return the stored pixels.

        Raises
        ------
        TileProcessError
            If they cannot be unpacked, or the process that tried died twice or took longer than 30 s.
        """
        request = msgspec.msgpack.encode(TileRequest(os.fsencode(path), hdu, plane))
        with self._lock:
            try:
                # What another file has overwritten may end the process over this one: a new one tells.
                return self._ask(request) if self._process is not None else self._ask_new(request)
            except EOFError:
                return self._ask_new(request)
            finally:
                if self._process is not None and self._process.poll() is not None:
                    self._end()

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def _ask_new(self, request: bytes) -> NDArray:
        self._end()
        try:
            return self._ask(request)
        except EOFError as error:
            raise TileProcessError("the process that unpacked it died") from error

    def _ask(self, request: bytes) -> NDArray:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None  # both are pipes
        too_long = threading.Timer(_LONGEST_S, process.kill)
        too_long.start()
        try:
            _write(process.stdin, request)
            answer = msgspec.msgpack.decode(_read(process.stdout), type=TileAnswer)
            content = _read_exactly(process.stdout, answer.n_bytes)
        except (OSError, EOFError, msgspec.DecodeError) as error:
            self._end()
            raise EOFError from error
        finally:
            too_long.cancel()
        if answer.error:
            self._end()
            raise TileProcessError(answer.error)
        return np.frombuffer(content, dtype=answer.dtype).reshape(answer.shape)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stream.measure.tile_process"],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            atexit.register(self.close)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            atexit.unregister(self.close)
            process.kill()
            with suppress(OSError):  # of what it was still to be sent
                process.communicate()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    from stream.measure.compressed import section_of

    while True:
        try:
            request = msgspec.msgpack.decode(_read(requests), type=TileRequest)
        except EOFError:
            return
        content = b""
        try:
            pixels = section_of(Path(os.fsdecode(request.path)), request.hdu, request.plane)
            if pixels is None:
                raise TileProcessError("there are no tiles")
            content = pixels.tobytes()
            answer = TileAnswer(dtype=pixels.dtype.str, shape=pixels.shape, n_bytes=len(content))
        except Exception as error:  # noqa: BLE001  (a damaged file makes astropy raise almost anything)
            answer = TileAnswer(error=f"{type(error).__name__}: {' '.join(str(error).split()) or 'no text'}")
        _write(answers, msgspec.msgpack.encode(answer))
        answers.write(content)
        answers.flush()


def _write(file: IO[bytes], content: bytes) -> None:
    file.write(_LENGTH.pack(len(content)) + content)
    file.flush()


def _read(file: IO[bytes]) -> bytes:
    (n_bytes,) = _LENGTH.unpack(_read_exactly(file, _LENGTH.size))
    return _read_exactly(file, n_bytes)


def _read_exactly(file: IO[bytes], n_bytes: int) -> bytes:
    content = file.read(n_bytes)
    if len(content) < n_bytes:
        raise EOFError
    return content


def main() -> None:
    """Serve whoever started this process, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(AttributeError, OSError):  # of a system other than Linux: it ends with its pipe
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    bound_memory(_MEMORY_SHARE)
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
