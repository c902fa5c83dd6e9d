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
    total = weights.sum()
    x, y = catalog_xy[:, 0] - like.centre_x, catalog_xy[:, 1] - like.centre_y
    u, v = frame_xy[:, 0] - like.centre_x, frame_xy[:, 1] - like.centre_y
    mean_x, mean_y = (weights @ x) / total, (weights @ y) / total
    mean_u, mean_v = (weights @ u) / total, (weights @ v) / total
    if len(catalog_xy) == 1:
        cosine, sine = (1.0 if like.cosine >= 0.0 else -1.0), 0.0
    else:
        dx, dy, du, dv = x - mean_x, y - mean_y, u - mean_u, v - mean_v
        spread = max(float(weights @ (dx**2 + dy**2)), 1e-12)
        cosine = float(weights @ (dx * du + dy * dv)) / spread
        sine = float(weights @ (dx * dv - dy * du)) / spread
    shift_x = mean_u - (cosine * mean_x - sine * mean_y)
    shift_y = mean_v - (sine * mean_x + cosine * mean_y)
    return Transform(cosine, sine, float(shift_x), float(shift_y), like.centre_x, like.centre_y)
