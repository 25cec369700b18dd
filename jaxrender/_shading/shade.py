"""`shade`: the colour of what the hard rasteriser sees.

Shape legend: `V` vertices, `F` faces, `C` channels, `...` any number of pixels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from jaxrender._checks import (
    check_array,
    check_choice,
    check_faces,
    check_flag,
    check_fragments,
    check_is_mesh,
    check_normals,
)
from jaxrender._choices import SHADINGS, Shading
from jaxrender._material import check_material, surface_texture
from jaxrender._shading.lighting import (
    base_of,
    finish_surface,
    gloss_of,
    light_faces,
    light_vertices,
    multiply_like_opengl,
    shows_back,
)
from jaxrender._shading.lights import check_eye, check_lights, check_lit, make_lights
from jaxrender._shading.normals import corner_normals, finite_or_zero, front_normals
from jaxrender._shading.reflection import light_columns
from jaxrender._textures import VertexColors, check_texture, encoding_of, sample_texture
from jaxrender._textures.base import columns_of
from jaxrender._types import Fragments, Lights, Mesh
from jaxrender._vectors import unit3
from jaxrender.ops.deterministic import gather
from jaxrender.ops.fusion import computed_once


def shade(
    fragments: Fragments,
    mesh: Mesh,
    lights: Lights | None = None,
    *,
    eye: ArrayLike | None = None,
    shading: Shading = "flat",
    two_sided: bool = True,
) -> jax.Array:
    """The colour of what is seen at each pixel: texture times light, plus reflection.

    With the unit normal n at the point x, the unit direction v to the viewer, and for each
    light its colour c and direction l (for a point light the unit vector to it),

        colour = texture · (ambient + Σ c max(0, n·l)) + specular · Σ c max(0, n·h)ˢ

    with s the shininess and the half vector `h = n(l + v)` (Blinn-Phong), only for lights in
    front of the surface. The `l` of a directional light is not normalised, as in NMR and
    SoftRas: its length scales the light. Point lights fall off with distance as their attenuation
    says, by default not, and outside of cones they do not shine (see `make_lights`). There are no
    shadows. Light multiplies the texture's values as they are, be they display-encoded or
    linear: NMR and SoftRas light display values; light adds up as in nature with linear ones
    (`load_mesh(…, colors="linear")`). What is evaluated where:

        "flat"     light per face, at its centroid, with its own normal
        "gouraud"  light per vertex, with its normal, interpolated
        "phong"    normals interpolated, light per pixel
        "none"     no light: the texture alone, with any number of channels

    The normals of "gouraud" and "phong" are the mesh's own, or without any `vertex_normals`, which
    need faces that are wound alike: see `orient_faces`.

    With `two_sided` and an `eye`, a face seen from behind is lit on the side that is seen: its
    normal, as `face_normals` gives it, is flipped. Where the mesh has normals of its own, these
    say which side is the front. Without, its own normal counts whatever side is seen, as in NMR
    and SoftRas.

    A material of the mesh's own says what is reflected in place of the lights, what is unlit and
    what is emitted; see `Material`. Where its surface is not there, the fragments should not be:
    `render` sees to that, `rasterize_hard` knows of no material.

    Gradient: exact to textures, materials, lights, `eye`, the mesh's normals, its vertices (through
    normals and positions) and barycentrics. Which face is seen, and from which side, has none.

    Args:
        fragments: what the rasteriser saw; `face` `[...]` and `barycentrics` `[..., 3]`.
        mesh: the mesh in world space, with its texture.
        lights: of `make_lights` or `Lights`; None is NMR's and SoftRas's: half ambient, half
            from (0, 1, 0).
        eye: where the scene is seen from, `[3]` a world position or `[4]` as `viewpoint` gives
            it; None is nowhere: no reflection, and `two_sided` is ignored.
        shading: "flat", "gouraud", "phong" or "none"; static.
        two_sided: whether the back of a face is lit as a front; static.

    Returns:
        `[..., C]` colours, in the texture's encoding; 0 where there is no face.

    Raises:
        ValueError: a shape, dtype, index or texture is wrong; light on a texture that has not 3
            channels; specular reflection without `eye`. Inside jit, where values are not
            known, faces with a vertex that is not finite have no normal.

    Example:
        >>> import jaxrender as jr, jax.numpy as jnp
        >>> mesh = jr.Mesh(jnp.eye(3), jnp.array([[0, 1, 2]]))
        >>> seen = jr.Fragments(jnp.array([0]), jnp.full((1, 3), 1 / 3), jnp.ones(1))
        >>> jr.shade(seen, mesh, jr.make_lights(0.25, directional=())).tolist()
        [[0.25, 0.25, 0.25]]

    References:
        Blinn, Models of light reflection for computer synthesized pictures, SIGGRAPH 1977.
    """
    # Check everything at the door.
    check_choice("shading", shading, SHADINGS)
    check_flag("two_sided", two_sided)
    check_is_mesh(mesh)
    fragments = check_fragments("fragments", fragments)
    face, barycentrics = fragments.face, fragments.barycentrics
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3), finite=True)
    faces = check_faces("mesh.faces", mesh.faces, vertices.shape[0])
    normals = check_normals("mesh", mesh, vertices, faces)
    texture = check_texture(mesh.texture, Mesh(vertices, faces))
    material = check_material(mesh.material, Mesh(vertices, faces, texture))
    by_default = lights is None
    lights = check_lights(make_lights() if lights is None else lights)
    lit = shading != "none" and faces.shape[0] > 0
    eye = check_eye(eye, None if by_default else lights, material if lit else None)

    # Read the texture.
    mesh = Mesh(vertices, faces, texture, *normals, material)
    like_opengl = lit and lights.like_opengl
    surface = surface_texture(mesh, lit=lit, tinted=not like_opengl)
    colors = sample_texture(surface, faces, face, barycentrics)
    emitted = ()
    if material is not None:
        if lit and material.emissive is not None:
            emitted = columns_of(colors[..., 3:6])
        colors = colors[..., :3]
    if not lit:
        return colors
    if material is None:
        check_lit(texture)

    # Light it, and keep the reflection from where no face is.
    diffuse, reflection = _light_seen(
        face,
        barycentrics,
        mesh,
        lights,
        shading,
        facing_eye=eye if two_sided else None,
        specular_eye=None if by_default else eye,
    )
    own, base = colors, colors
    if like_opengl:
        base = gather(base_of(mesh), jnp.maximum(face, 0))
    colors = base * diffuse
    if reflection is not None:
        colors = colors + jnp.where((face >= 0)[..., None], reflection, 0)
    unlit = None
    if material is not None and material.unlit is not None:
        unlit = material.by_face("unlit", faces.shape[0])
        unlit = jnp.take(unlit, jnp.maximum(face, 0), axis=0, mode="clip")
    parts = columns_of(colors), columns_of(own), list(emitted)
    if like_opengl:
        lit, own, emitted = parts
        return jnp.stack(multiply_like_opengl(own, columns_of(base), lit, emitted, unlit), axis=-1)
    if unlit is None and not emitted:
        return colors

    # Add what is emitted, and leave what is unlit as it is.
    return jnp.stack(finish_surface(*parts, unlit, encoding_of(texture)), axis=-1)


def _light_seen(
    face: jax.Array,
    barycentrics: jax.Array,
    mesh: Mesh,
    lights: Lights,
    shading: Shading,
    *,
    facing_eye: jax.Array | None,
    specular_eye: jax.Array | None,
) -> tuple[jax.Array, jax.Array | None]:
    """Diffuse light and reflection `[..., 3]` at each pixel; see `shade`.

    The viewpoints say to whom normals are turned, and to whom light is reflected, if to anyone.
    """
    vertices, faces = mesh.vertices, mesh.faces
    own_face = jnp.clip(face, 0, faces.shape[0] - 1)

    # Light faces, and spread each face's light over its pixels.
    if shading == "flat":
        diffuse, reflection = jax.tree.map(
            lambda light: gather(light, own_face),
            light_faces(mesh, lights, facing_eye, specular_eye),
        )
        return diffuse, reflection

    # Light vertices, and interpolate.
    if shading == "gouraud":
        sides, light = light_vertices(mesh, lights, facing_eye, specular_eye)
        diffuse, reflection = jax.tree.map(
            lambda light: sample_texture(VertexColors(light), sides, face, barycentrics), light
        )
        return diffuse, reflection

    # Interpolate positions and normals, and light every pixel.
    positions, (normals, own) = finite_or_zero(vertices), corner_normals(mesh)
    if mesh.normal_faces is None:
        surface = jnp.concatenate([positions, normals], -1)
        points = sample_texture(VertexColors(surface), faces, face, barycentrics)
    else:
        parts = (VertexColors(positions), faces), (VertexColors(normals), own)
        points = [sample_texture(*part, face, barycentrics) for part in parts]
        points = jnp.concatenate(points, -1)
    points = columns_of(points.reshape(-1, 6))
    back = shows_back(mesh, front_normals(mesh), facing_eye)
    normals = unit3((points[3], points[4], points[5]))
    if back is not None:
        flipped = jnp.take(back, own_face.reshape(-1), axis=0, mode="clip")
        normals = [jnp.where(flipped, -axis, axis) for axis in normals]
    gloss = gloss_of(mesh)
    if gloss is not None:
        gloss = jnp.stack([gather(number, own_face.reshape(-1)) for number in gloss.T])
    light = light_columns(
        jnp.stack(points[:3]), jnp.stack(computed_once(normals)), lights, specular_eye, gloss
    )
    diffuse, reflection = (
        None if part is None else jnp.stack([own.reshape(face.shape) for own in part], -1)
        for part in light
    )
    assert diffuse is not None
    return diffuse, reflection
