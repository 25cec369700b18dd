"""`render`: the stages in order, under the library's one jit.

Shapes: `V` vertices, `F` faces, `H, W` image, `C` channels.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxrender._camera import check_camera, project, viewpoint
from jaxrender._checks import (
    check_array,
    check_choice,
    check_depth_range,
    check_faces,
    check_image_size,
)
from jaxrender._rasterize import CULLS, rasterize_hard
from jaxrender._shading import SHADINGS, check_lights, shade
from jaxrender._textures import channels, check_texture
from jaxrender._types import Camera, Image, Lights, Mesh, Orthographic, ScreenMesh


def render(
    mesh: Mesh,
    camera: Camera,
    lights: Lights | None = None,
    *,
    image_size: tuple[int, int],
    near: ArrayLike = 0.1,
    far: ArrayLike = 100.0,
    background: ArrayLike = 0.0,
    anti_aliasing: int = 1,
    cull: str = "none",
    shading: str = "flat",
    two_sided: bool = True,
) -> Image:
    """Draws a mesh: `project`, `rasterize_hard`, `shade`, in one compiled program.

    With `anti_aliasing=k` the picture is drawn k times as large and each k x k block is
    averaged, as in NMR: colour, coverage, and also depth, where an empty sample counts as `far`.
    What the mesh does not cover shows the background: `rgb = colour + (1 - alpha) background`.

    The program is compiled once for each combination of shapes and static arguments; new
    values of all others reuse it. `jax.vmap` over cameras, meshes or lights draws all views in
    one fused call.

    Gradient: exact to textures, lights, background and `far`; to the mesh and the camera as far
    as they move and light what each pixel sees. Which face a pixel sees has no gradient.

    Args:
        mesh: the mesh in world space, with its texture.
        camera: from `look_at`, `look`, `pinhole`, `from_opencv` or `from_opengl`.
        lights: from `make_lights`; None is half ambient, half from above.
        image_size: `(H, W)` in pixels; static.
        near: `[]` depth up to which nothing is drawn, scene units.
        far: `[]` depth from which nothing is drawn, scene units.
        background: one number, a colour `[C]`, or a picture `[H, W, C]`.
        anti_aliasing: samples per pixel along each axis; static.
        cull: which side of faces is not drawn: "none", "back" or "front"; static.
        shading: "flat", "gouraud", "phong" or "none", see `shade`; static.
        two_sided: whether a face seen from behind is lit on that side; static.

    Returns:
        `rgb` `[H, W, C]` linear colour, `alpha` `[H, W]` coverage in [0, 1], `depth` `[H, W]`
        scene units.

    Raises:
        ValueError: a shape, dtype or range is not as above, a vertex is not finite, or an index
            is out of range. Inside jit, where values are not known, faces with such a vertex or
            index, and only they, are not drawn; with near >= far nothing is.

    Example:
        >>> import jaxrender as jr
        >>> image = jr.render(jr.shapes.cube(), jr.look_at((2.0, 2.0, -2.0)), image_size=(32, 48))
        >>> image.rgb.shape, image.alpha.shape
        ((32, 48, 3), (32, 48))
    """
    # Check everything at the door, where values are known.
    height, width = check_image_size(image_size)
    check_choice("cull", cull, CULLS)
    check_choice("shading", shading, SHADINGS)
    if int(anti_aliasing) != anti_aliasing or anti_aliasing < 1:
        raise ValueError(
            f"`anti_aliasing` must be a whole number of samples from 1, got {anti_aliasing!r}. "
            "Pass 1 for none, or for example 2."
        )
    if not isinstance(mesh, Mesh):
        raise ValueError(
            f"`mesh` must be a Mesh, got {type(mesh).__name__}. Pass Mesh(vertices, faces)."
        )
    vertices = check_array(
        "mesh.vertices",
        mesh.vertices,
        ("V", 3),
        finite=True,
        hint="Pass one mesh; use jax.vmap for several.",
    )
    faces = check_faces("mesh.faces", mesh.faces, vertices.shape[0])
    texture = check_texture(mesh.texture, Mesh(vertices, faces))
    camera = check_camera(camera)
    near, far = check_depth_range(
        near, far, perspective=not isinstance(camera.projection, Orthographic)
    )
    background = check_array("background", background, ("...",), finite=True)
    shapes = ((), (channels(texture),), (height, width, channels(texture)))
    if background.shape not in shapes:
        raise ValueError(
            f"`background` must be a number, a colour {list(shapes[1])} or a picture "
            f"{list(shapes[2])}, got {list(background.shape)}."
        )
    return _render(
        Mesh(vertices, faces, texture),
        camera,
        None if lights is None else check_lights(lights),
        near,
        far,
        background,
        image_size=(height, width),
        anti_aliasing=int(anti_aliasing),
        cull=cull,
        shading=shading,
        two_sided=bool(two_sided),
    )


@functools.partial(
    jax.jit, static_argnames=("image_size", "anti_aliasing", "cull", "shading", "two_sided")
)
def _render(
    mesh: Mesh,
    camera: Camera,
    lights: Lights | None,
    near: jax.Array,
    far: jax.Array,
    background: jax.Array,
    *,
    image_size: tuple[int, int],
    anti_aliasing: int,
    cull: str,
    shading: str,
    two_sided: bool,
) -> Image:
    samples = (image_size[0] * anti_aliasing, image_size[1] * anti_aliasing)
    with jax.named_scope("project"):
        screen = ScreenMesh(
            project(mesh.vertices, camera, image_size=image_size),
            mesh.faces,
            perspective=not isinstance(camera.projection, Orthographic),
        )
    with jax.named_scope("rasterize"):
        fragments = rasterize_hard(screen, image_size=samples, near=near, far=far, cull=cull)
    with jax.named_scope("shade"):
        colors = shade(
            fragments, mesh, lights, eye=viewpoint(camera), shading=shading, two_sided=two_sided
        )

    def pool(image: jax.Array) -> jax.Array:
        blocks = (image_size[0], anti_aliasing, image_size[1], anti_aliasing, *image.shape[2:])
        return image.reshape(blocks).mean((1, 3))

    alpha = pool((fragments.face >= 0).astype(colors.dtype))
    behind = (1 - alpha)[..., None] * jnp.broadcast_to(background, (*image_size, colors.shape[-1]))
    return Image(rgb=pool(colors) + behind, alpha=alpha, depth=pool(fragments.depth))
