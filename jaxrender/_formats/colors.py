"""The colours of text formats: in which unit they count, and which of several are drawn.

Shapes: `V` vertices, `F` faces, `U` texture coordinates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxrender._color import recode
from jaxrender._formats.raw import RawMesh
from jaxrender._formats.text import Notes
from jaxrender._pixels import CLIP_SLACK

BRIGHT = 8.0  # fractions above are 255ths; up to here they are light brighter than white


def recoded(colors: np.ndarray, held: str, wanted: str) -> np.ndarray:
    """Colours `[..., 3 or 4]` in another encoding; alpha, the fourth, stays as it is."""
    if held == wanted or colors.shape[-1] == 3:
        return recode(colors, held, wanted)
    return np.concatenate([recode(colors[..., :3], held, wanted), colors[..., 3:]], axis=-1)


def in_unit(
    values: np.ndarray, path: Path, notes: Notes, what: str, *, scales: tuple[int, ...] = ()
) -> np.ndarray:
    """Colours `[V, 3]` such that 1 is full, white where they are not finite.

    Numbers from 0 to 1 are taken as they are, and those below 0 for 0. Where the largest is above
    1, whole numbers, and all above 8, are 255ths, or 65535ths.

    Args:
        values: as the file has them.
        path: the file.
        notes: takes what is approximated.
        what: of what these are the colours.
        scales: numbers that may be full without a word.
    """
    finite = np.asarray(np.isfinite(values).all(axis=1))
    if not finite.all():
        notes.add(path, f"{what} that are no finite numbers become white")
        values = np.where(finite[:, None], values, np.nan)
    most = np.max(values, initial=0, where=np.isfinite(values))
    known = values[finite]
    if most > 1 + CLIP_SLACK and (most > BRIGHT or (known == np.rint(known)).all()):
        scale = 255 if most <= 255 else 65535
        if scale not in scales:
            notes.add(path, f"takes {what} for numbers from 0 to {scale}: the largest is {most:g}")
        values = values / scale
    if np.min(values, initial=0, where=np.isfinite(values)) < -CLIP_SLACK:
        notes.add(path, f"takes {what} below 0 for 0")
    values = np.maximum(values, 0)
    return np.where(finite[:, None], values, 1.0)


def settle(raw: RawMesh, known: np.ndarray, path: Path, notes: Notes) -> None:
    """Decides which colours are drawn where a file has several kinds.

    Pictures go before colours of vertices, these before those of faces; but vertices that are all
    white, as some programs write them beside real colours, do not count. A vertex without a colour
    has that of its face.

    Args:
        raw: with all colours of the file; what is not drawn is taken away.
        known: `[V]` which vertices have a colour in the file.
        path: the file.
        notes: takes what is dropped.
    """
    colors = raw.vertex_colors
    pictured = np.zeros(len(raw.faces), bool)
    if raw.face_image is not None:
        pictured = raw.face_image >= 0
    if colors is None:
        return
    if (raw.face_colors is not None or pictured.any()) and (colors[known] == 1).all():
        raw.vertex_colors = None
        return

    # Give the other vertices the colour of their face.
    faces = raw.face_colors
    if faces is None and not pictured.any() and known.all():
        return
    colors = np.where(known[:, None], colors, 1.0)
    whole = known[raw.faces].all(axis=1)
    if faces is not None:
        corners = raw.faces[~whole]
        first = np.full(len(known), -1)
        first[corners[::-1].reshape(-1)] = np.repeat(np.flatnonzero(~whole)[::-1], 3)
        bare = ~known & (first >= 0)
        colors[bare] = faces[first[bare]]
        told = colors[corners] != faces[~whole][:, None]
        if (told.any(axis=-1) & ~known[corners]).any():
            notes.add(path, "ignores colours of faces at vertices that faces of several share")
        own = faces[whole & ~pictured]
        if (own != own[:1]).any():
            notes.add(path, "ignores colours of faces where vertices have some")
    raw.vertex_colors = colors
    if pictured.any():
        _tint(raw, pictured, path, notes)


def _tint(raw: RawMesh, pictured: np.ndarray, path: Path, notes: Notes) -> None:
    """Lets faces without a picture read white, times the colours of their vertices."""
    colors = raw.vertex_colors
    assert colors is not None
    assert raw.uv is not None
    assert raw.uv_faces is not None
    if (colors[raw.faces[pictured]] != 1).any():
        notes.add(path, "ignores colours of vertices where there is a picture")
    count = len(raw.uv)
    if raw.images and raw.images[0].shape[-1] == 4:
        colors = np.concatenate([colors, np.ones((len(colors), 1))], axis=1)
    raw.tint = np.concatenate([np.ones((count, colors.shape[1])), colors])
    raw.uv = np.concatenate([raw.uv, np.zeros((len(colors), 2))])
    raw.uv_faces = np.where(pictured[:, None], raw.uv_faces, raw.faces + count)
    raw.face_colors = np.ones((len(raw.faces), colors.shape[1]))
    raw.vertex_colors = None
