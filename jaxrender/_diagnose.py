"""`why_not_drawn`: why faces are missing from a picture, in words.

Shapes: `V` vertices, `F` faces, `H, W` image.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxrender._camera import check_camera, project
from jaxrender._checks import (
    check_anti_aliasing,
    check_array,
    check_choice,
    check_depth_range,
    check_image_size,
    is_concrete,
)
from jaxrender._choices import CULLS, Cull
from jaxrender._material import hole_test, is_masked, outline_of, surface_texture
from jaxrender._types import Camera, Mesh, ScreenMesh
from jaxrender.ops.hard import nearest_faces
from jaxrender.ops.hard.peel import masked_fragments
from jaxrender.ops.hard.scene import reasons_not_drawn
from jaxrender.ops.triangle import MIN_AREA, MIN_DEPTH, TIES_IN_WORDS, Box, Reason
from jaxrender.ops.view import View

LISTED = 3  # how many of the faces that hide another are named


def why_not_drawn(
    mesh: Mesh | ScreenMesh,
    camera: Camera | None = None,
    face: int | None = None,
    *,
    image_size: tuple[int, int],
    near: ArrayLike = 0.1,
    far: ArrayLike | None = None,
    anti_aliasing: int = 1,
    cull: Cull = "none",
) -> str:
    """Tells why faces of a mesh are not seen in a picture.

    A face is drawn unless an index of it names no vertex, a vertex is not finite, it has no area on
    screen, lies before `near`, beyond `far` or off the picture, or turns its culled side to the
    camera. A face that is drawn may be seen nowhere: it is hidden behind others, covers no pixel
    centre, or has holes there, cut by a `Material`. Pass the same arguments as to `render` or
    `rasterize_hard`, which knows of no holes. It is the z-buffer's answer: with `Soft(…)` faces
    that are hidden, small or just beside the picture take part as well.

    Gradient: none; it returns text.

    Args:
        mesh: the mesh in world space, or a `ScreenMesh`, and then no camera. Unlike other
            functions this one takes indices out of range and vertices that are not finite.
        camera: from `look_at`, `look`, `pinhole`, `from_opencv` or `from_opengl`.
        face: the index of a face to ask about; None asks about all.
        image_size: `(H, W)` in pixels.
        near: `[]` depth up to which nothing is drawn, scene units.
        far: `[]` depth from which nothing is drawn, scene units; None is no limit.
        anti_aliasing: samples per pixel along each axis.
        cull: which side of faces is not drawn: "none", "back" or "front".

    Returns:
        For a mesh, how many faces are seen and how many are not for each reason, with one of them
        by its index. For one face, the reason, and what to change; or which faces hide it.

    Raises:
        ValueError: a shape, dtype or range is not as above, or values are not known, as inside
            `jax.jit`.

    Example:
        >>> import jaxrender as jr
        >>> mesh, camera = jr.shapes.cube(), jr.look_at((0.0, 0.0, 3.0))
        >>> print(jr.why_not_drawn(mesh, camera, image_size=(32, 32), cull="back"))
        12 faces: 2 drawn; 10 culled (back), such as face 0.
    """
    screen, view = _check_scene(mesh, camera, face, image_size, near, far, anti_aliasing, cull)
    count = screen.faces.shape[0]
    outline = None
    if isinstance(mesh, Mesh) and count:
        outline = outline_of(mesh, screen.vertices, screen.faces)
    picture = _Picture(screen, view, outline)
    if face is not None:
        index = int(face)
        if index != face or not 0 <= index < count:
            raise ValueError(
                f"`face` must be the index of one of {count} faces (0 to {count - 1}), got "
                f"{face!r}. Pass None to ask about all faces."
            )
        return _explain_face(picture, index)
    return _explain_mesh(picture) if count else "0 faces: nothing to draw."


def _check_scene(
    mesh: Any,
    camera: Any,
    face: Any,
    image_size: Any,
    near: Any,
    far: Any,
    anti_aliasing: Any,
    cull: Any,
) -> tuple[ScreenMesh, View]:
    """Returns the mesh on screen, bad vertices and indices as they are, and the view."""
    if not isinstance(mesh, Mesh | ScreenMesh):
        raise ValueError(
            f"`mesh` must be a Mesh, or a ScreenMesh, got {type(mesh).__name__}. "
            "Pass Mesh(vertices, faces)."
        )
    # Inside of jax.jit whatever is made is traced, though nothing that is given may be.
    if not is_concrete(mesh.vertices, mesh.faces, camera, near, far, face, jnp.zeros(())):
        raise ValueError(
            "`mesh` and all other arguments must have known values, got a traced one. "
            "Call why_not_drawn outside of jax.jit, jax.vmap and jax.grad."
        )
    height, width = check_image_size(image_size)
    check_choice("cull", cull, CULLS)
    anti_aliasing = check_anti_aliasing(anti_aliasing, (height, width))
    hint = "Pass one mesh."
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3), hint=hint)
    faces = check_array("mesh.faces", mesh.faces, ("F", 3), kind="int", hint=hint)

    # Project what is finite.
    if isinstance(mesh, ScreenMesh):
        if camera is not None:
            raise ValueError("`camera` must be None for a ScreenMesh, which is projected already.")
        perspective = mesh.perspective
    else:
        camera = check_camera(camera)
        perspective = not camera.projection.parallel
        finite = jnp.isfinite(vertices).all(-1, keepdims=True)
        positions = project(jnp.where(finite, vertices, 0), camera, image_size=(height, width))
        vertices = jnp.where(finite, positions, jnp.nan)
    near, far = check_depth_range(near, far, perspective=perspective, dtype=vertices.dtype)
    size = height * anti_aliasing, width * anti_aliasing
    screen = ScreenMesh(vertices, faces.astype(jnp.int32), perspective)
    return screen, View(near, far, size, cull, perspective)


class _Picture:
    """A mesh on screen, and what a z-buffer makes of some of its faces."""

    def __init__(self, screen: ScreenMesh, view: View, outline: Mesh | None) -> None:
        """Finds why faces are not drawn; `outline` says where they have holes."""
        self.vertices, self.faces = np.asarray(screen.vertices), np.asarray(screen.faces)
        # With a limit that is always traced, all drawings take one program.
        self.view = dataclasses.replace(view, far=view.limits[1])
        self.reason = np.full(len(self.faces), int(Reason.INDEX_OUT_OF_RANGE))
        self.box = Box(*jnp.zeros((4, len(self.faces))))
        if len(self.vertices):
            found = jax.jit(reasons_not_drawn)(screen.vertices, screen.faces, self.view)
            self.reason, self.box = np.asarray(found[0]), found[1]
        self._masked = None
        if outline is not None and is_masked(outline):
            surface = surface_texture(outline, lit=False)
            assert surface is not None
            is_hole = hole_test(surface, outline.faces)
            self._masked = jax.jit(functools.partial(masked_fragments, is_hole=is_hole))

    @functools.cached_property
    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """The picture of all faces, see `draw`."""
        return self.draw(np.full(len(self.faces), True))

    def draw(
        self, chosen: np.ndarray, *, limited: bool = True, whole: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The nearest of the chosen faces `[F]` at each pixel, -1 for none; and its depth.

        Not `limited`, near and far do not count; `whole`, holes do not.
        """
        view = self.view
        if not limited:
            near = 1e-6 * view.near if view.perspective else jnp.full_like(view.near, -jnp.inf)
            view = dataclasses.replace(view, near=near, far=jnp.full_like(near, jnp.inf))
        faces = np.where(chosen[:, None], self.faces, -1)
        draw = nearest_faces if whole or self._masked is None else self._masked
        face, _, depth = draw(jnp.asarray(self.vertices), jnp.asarray(faces), view)
        return np.asarray(face), np.asarray(depth)


def _explain_mesh(picture: _Picture) -> str:
    """How many faces are drawn, and how many are not for each reason."""
    # Peel layer after layer off, to tell what is hidden, or is all holes, from what covers no pixel
    # centre.
    unseen = picture.reason == Reason.DRAWN
    count, (seen, _) = unseen.size, picture.whole
    found = np.unique(seen[seen >= 0])
    unseen[found] = False
    drawn = found.size
    hidden, holes = (_peeled(picture, unseen, whole=whole) for whole in (False, True))

    # Put each reason in words.
    view = picture.view
    groups = [(WORDS[reason].of_many(view), picture.reason == reason) for reason in WORDS]
    groups += [
        ("hidden behind others", hidden),
        ("with holes at all pixel centres", holes),
        ("covering no pixel centre", unseen),
    ]
    parts = [
        f"{group.sum()} {word}, such as face {group.argmax()}"
        for word, group in groups
        if group.any()
    ]
    return f"{count} face{'s' * (count != 1)}: " + "; ".join([f"{drawn} drawn", *parts]) + "."


def _peeled(picture: _Picture, unseen: np.ndarray, *, whole: bool) -> np.ndarray:
    """Which of the `unseen` faces would be seen without others; these are taken out of it."""
    peeled = np.zeros_like(unseen)
    while unseen.any():
        seen, _ = picture.draw(unseen, whole=whole)
        layer = np.unique(seen[seen >= 0])
        if not layer.size:
            break
        peeled[layer], unseen[layer] = True, False
    return peeled


def _explain_face(picture: _Picture, face: int) -> str:
    """Why one face is not drawn, and what to change."""
    reason = Reason(picture.reason[face])
    if reason == Reason.DRAWN:
        return _explain_drawn_face(picture, face)
    return f"Face {face} is not drawn: {WORDS[reason].of_one(picture, face)}"


def _side(box: Box, face: int, image_size: tuple[int, int]) -> str:
    """Where a box beside the picture lies."""
    left, top, right, bottom = (float(side[face]) for side in box)
    height, width = image_size
    sides = {
        "to the left of": right < -width / 2,
        "to the right of": left > width / 2,
        "above": bottom < -height / 2,
        "below": top > height / 2,
    }
    return " and ".join(words for words, is_there in sides.items() if is_there)


# --- reasons in words -----------------------------------------------------------------------------


class Words(NamedTuple):
    """How a reason is told, of many faces and of one, with what to change."""

    of_many: Callable[[View], str]
    of_one: Callable[[_Picture, int], str]


def _index_out_of_range(picture: _Picture, face: int) -> str:
    index, count = picture.faces[face].tolist(), len(picture.vertices)
    return (
        f"its vertices are {index}, and the mesh has {count} (0 to {count - 1}). "
        "Pass 0-based indices of vertices."
    )


def _not_finite(picture: _Picture, face: int) -> str:
    index = picture.faces[face].tolist()
    bad = index[int(np.argmin(np.isfinite(picture.vertices[index]).all(-1)))]
    return (
        f"its vertex {bad} is not finite, or becomes so on screen. "
        "Pass finite vertices, not many orders of magnitude away."
    )


def _on_camera_plane(picture: _Picture, face: int) -> str:
    return (
        f"a corner lies within {MIN_DEPTH} of the plane through the camera, where nothing has "
        "a place on screen. Move the camera or the mesh a little."
    )


def _no_area(picture: _Picture, face: int) -> str:
    index = picture.faces[face].tolist()
    same = len(set(index)) < 3
    cause = f"it names a vertex twice ({index})" if same else "it is seen edge-on, or is a line"
    return f"{cause}, and spans no more than {MIN_AREA} square pixels. " + (
        "Leave it out." if same else "Move the camera, or leave it out."
    )


def _before_near(picture: _Picture, face: int) -> str:
    low, high = _depths(picture, face)
    if picture.view.perspective and high <= 0:
        return (
            f"it lies behind the camera, at depths from {low:.6g} to {high:.6g}. "
            "Turn the camera, or move it back."
        )
    return (
        f"it lies before near={_near(picture.view)}, at depths from {low:.6g} to {high:.6g}. "
        f"Pass near below {high:.6g} to see some of it, or move the camera back."
    )


def _beyond_far(picture: _Picture, face: int) -> str:
    low, high = _depths(picture, face)
    return (
        f"it lies beyond far={_far(picture.view)}, at depths from {low:.6g} to {high:.6g}. "
        f"Pass far above {low:.6g} to see some of it, or far=None for no limit."
    )


def _off_picture(picture: _Picture, face: int) -> str:
    return (
        f"it lies {_side(picture.box, face, picture.view.image_size)} the picture. "
        "Turn the camera, move it back, or widen its field of view."
    )


def _culled(picture: _Picture, face: int) -> str:
    cull, index = picture.view.cull, picture.faces[face].tolist()
    return (
        f'it turns its {cull} to the camera, and cull="{cull}" leaves that out. '
        f'Pass cull="none", or flip the face: {index[::-1]}.'
    )


def _near(view: View) -> str:
    return f"{float(view.limits[0]):.6g}"


def _far(view: View) -> str:
    return f"{float(view.limits[1]):.6g}"


def _depths(picture: _Picture, face: int) -> tuple[float, float]:
    """The depths of the nearest and of the farthest corner."""
    z = picture.vertices[picture.faces[face], 2]
    return float(z.min()), float(z.max())


# Of all reasons, in the order in which they are told.
WORDS: dict[Reason, Words] = {
    Reason.INDEX_OUT_OF_RANGE: Words(lambda _: "with an index out of range", _index_out_of_range),
    Reason.NOT_FINITE: Words(lambda _: "with a vertex that is not finite", _not_finite),
    Reason.ON_CAMERA_PLANE: Words(
        lambda _: "with a corner on the camera's plane", _on_camera_plane
    ),
    Reason.NO_AREA: Words(lambda _: "without area on screen", _no_area),
    Reason.BEFORE_NEAR: Words(lambda view: f"before near={_near(view)}", _before_near),
    Reason.BEYOND_FAR: Words(lambda view: f"beyond far={_far(view)}", _beyond_far),
    Reason.OFF_PICTURE: Words(lambda _: "off the picture", _off_picture),
    Reason.CULLED: Words(lambda view: f"culled ({view.cull})", _culled),
}


# --- faces that are drawn -------------------------------------------------------------------------


def _explain_drawn_face(picture: _Picture, face: int) -> str:
    """Whether a face that is drawn is seen, and what hides it."""
    alone = np.arange(len(picture.faces)) == face
    own, own_depth = picture.draw(alone)
    seen, depth = picture.whole
    covered = own == face
    total = int(covered.sum())
    if not total:
        pixels = int((picture.draw(alone, whole=True)[0] == face).sum())
        if pixels:
            return (
                f"Face {face} is not seen: its material has holes (`alpha_cutoff`) at all {pixels} "
                "pixels that it covers. Lower the cutoff, or raise alpha."
            )
        if (picture.draw(alone, limited=False, whole=True)[0] == face).any():
            return (
                f"Face {face} is not seen: the part of it between near and far covers no pixel "
                "centre. Pass other limits, or a larger `image_size`."
            )
        left, top, right, bottom = (float(side[face]) for side in picture.box)
        return (
            f"Face {face} is not seen: it covers no pixel centre, being {right - left:.3g} "
            f"pixels wide and {bottom - top:.3g} high. Pass a larger `image_size` or "
            "`anti_aliasing`, or move the camera closer."
        )

    # Count the pixels at which others are seen.
    others, pixels = np.unique(seen[covered & (seen != face)], return_counts=True)
    if not others.size:
        return f"Face {face} is drawn: it is seen at all {total} pixels that it covers."
    order = np.argsort(-pixels, kind="stable")
    named = [f"face {others[k]} at {pixels[k]}" for k in order[:LISTED]]
    if order.size > LISTED:
        named.append(f"{order.size - LISTED} more faces at {pixels[order[LISTED:]].sum()}")
    where = ", ".join(named)
    if pixels.sum() < total:
        shown = total - int(pixels.sum())
        return (
            f"Face {face} is drawn: it is seen at {shown} of the {total} pixels that it covers. "
            f"It is hidden by {where}."
        )
    ties = (depth == own_depth) & covered
    advice = "Leave out or move what hides it, or look from another side."
    if ties.any():
        advice = (
            f"At {ties.sum()} of them both lie at the same depth, where {TIES_IN_WORDS}. "
            "Leave out one of the two."
        )
    return f"Face {face} is hidden at all {total} pixels that it covers: by {where}. {advice}"
