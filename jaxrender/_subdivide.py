"""`subdivide`: each triangle cut in four, in the same place and the same colours.

Shape legend: `V` vertices, `F` faces.
"""

from __future__ import annotations

import jax

from jaxrender._checks import (
    check_array,
    check_is_mesh,
    check_known_faces,
    check_normals,
    check_whole,
)
from jaxrender._material import check_material
from jaxrender._textures import check_texture
from jaxrender._textures.quarters import quarter, with_middles
from jaxrender._types import Mesh

MOST_TIMES = 15  # more, and a single face becomes more than indices of 32 bits can count


def subdivide(mesh: Mesh, times: int = 1) -> Mesh:
    """Cuts every triangle in four at the middles of its edges; the surface stays as it is.

    Faces that share an edge share its new vertex, so a closed mesh stays closed. The old vertices
    come first, in their order, then the new ones. The quarters of face f are the faces 4f to
    4f + 3: those at its corners 0, 1 and 2, and the one in the middle. So after n times,
    `face // 4**n` is the face that a face is a part of.

    Every kind of texture looks as before; one of your own needs a method `subdivided`, see
    `Texture`. `VertexColors` and the coordinates of a `UVTexture` get the mean of both ends at new
    vertices. The texels of `FaceTexels` and `FaceCubes` are cut up between the quarters, each side
    in two if that is possible (R even, or T odd), else at twice the resolution: R or T then stay,
    and the texture is 4 times as large.

    Normals of the mesh's own are interpolated: at a new vertex they have the mean of both ends.

    Lens distortion bends edges that are drawn straight; on a finer mesh they are shorter. Light
    per face or vertex also gets finer: shading "flat" and "gouraud" change where it varies.

    Gradient: exact to vertices and texture: a new vertex hands half of its own to either end.

    Args:
        mesh: with known faces; vertices and colours may be traced.
        times: how often, from 0; `4**times` faces for each; static.

    Returns:
        The finer mesh.

    Raises:
        ValueError: the mesh or `times` is not as above, or faces (of the mesh, or of its
            `UVTexture`) are traced by `jax.jit`: close over them, or subdivide outside.

    Example:
        >>> import jaxrender as jr
        >>> cube = jr.shapes.cube()
        >>> fine = jr.subdivide(cube, 2)
        >>> fine.vertices.shape, fine.faces.shape
        ((98, 3), (192, 3))
    """
    check_is_mesh(mesh)
    times = check_whole("times", times, least=0, most=MOST_TIMES, example=1, floats=False)
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3), finite=True)
    faces = check_known_faces("mesh.faces", mesh.faces, vertices.shape[0])
    # Keep what is known of the texture known.
    with jax.ensure_compile_time_eval():
        texture = check_texture(mesh.texture, Mesh(vertices, faces))
        material = check_material(mesh.material, Mesh(vertices, faces, texture))
    normals, own = check_normals("mesh", mesh, vertices, faces)
    if normals is not None and own is not None:
        own = check_known_faces("mesh.normal_faces", own, len(normals))
    for _ in range(times):
        ends, quarters = quarter(faces, vertices.shape[0])
        if normals is not None and own is not None:
            between, own_quarters = quarter(own, normals.shape[0])
            normals, own = with_middles(normals, between), own_quarters
        elif normals is not None:
            normals = with_middles(normals, ends)
        texture = None if texture is None else texture.subdivided(faces, ends)
        if material is not None:
            material = material.subdivided(faces, ends)
        vertices, faces = with_middles(vertices, ends), quarters
    return Mesh(vertices, faces, texture, normals, own, material)
