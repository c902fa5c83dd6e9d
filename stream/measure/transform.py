"""The similarity that carries the catalog onto a frame, and its least-squares fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.messages import FloatArray


@dataclass(frozen=True, slots=True)
class Transform:
    """A similarity from catalog to frame, about the centre of the reference frame.

    ``frame = centre + shift + scale R(rotation) (catalog - centre)``, pixels, 0-based.
    """

    cosine: float
    """scale times cos(rotation)"""
    sine: float
    """scale times sin(rotation)"""
    shift_x_px: float
    shift_y_px: float
    centre_x: float
    centre_y: float

    @classmethod
    def identity(cls, shape: tuple[int, int]) -> Transform:
        """No shift, no rotation, for frames of this shape."""
        return cls(1.0, 0.0, 0.0, 0.0, 0.5 * (shape[1] - 1), 0.5 * (shape[0] - 1))

    @property
    def rotation_deg(self) -> float:
        """Rotation from +x towards +y, -180 to 180."""
        return math.degrees(math.atan2(self.sine, self.cosine))

    @property
    def scale(self) -> float:
        """Pixels of the frame per pixel of the reference frame."""
        return math.hypot(self.cosine, self.sine)

    def parameters(self) -> FloatArray:
        """Its six numbers in the order of its fields, shape (6,)."""
        return np.array(
            (self.cosine, self.sine, self.shift_x_px, self.shift_y_px, self.centre_x, self.centre_y), dtype=np.float64
        )

    def apply(self, xy: FloatArray) -> FloatArray:
        """Carry catalog positions, shape (n, 2), onto the frame."""
        # (x, y) times a matrix, and the same offset for all: two steps of numpy in the place of fourteen.
        x, y = self.centre_x, self.centre_y
        offset_x = x + self.shift_x_px - self.cosine * x + self.sine * y
        offset_y = y + self.shift_y_px - self.sine * x - self.cosine * y
        moved = xy @ np.array(((self.cosine, self.sine), (-self.sine, self.cosine)))
        moved += (offset_x, offset_y)
        return np.asarray(moved)

    def undo(self, xy: FloatArray) -> FloatArray:
        """Carry frame positions, shape (n, 2), back onto the catalog."""
        u = xy[:, 0] - self.centre_x - self.shift_x_px
        v = xy[:, 1] - self.centre_y - self.shift_y_px
        square = self.cosine**2 + self.sine**2
        x = self.centre_x + (self.cosine * u + self.sine * v) / square
        y = self.centre_y + (self.cosine * v - self.sine * u) / square
        return np.column_stack([x, y])


def fit_similarity(catalog_xy: FloatArray, frame_xy: FloatArray, weights: FloatArray, like: Transform) -> Transform:
    """Weighted least squares of the four parameters of a similarity about the centre of `like`.

    One star gives a shift alone; the rotation and scale are then those of the identity or of a half turn,
    whichever is nearer to `like`.
    """
    from stream.measure.fit_kernels import similarity  # with numba, which not every process needs

    found = similarity(np.ascontiguousarray(catalog_xy), np.ascontiguousarray(frame_xy), weights, like.parameters())
    return Transform(*found, like.centre_x, like.centre_y)
