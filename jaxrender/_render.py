"""`render` and `silhouette`: the stages in order, under the library's one jit.

Shapes: `V` vertices, `F` faces, `H, W` image, `C` channels.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from jaxrender._camera import check_camera, project, viewpoint
from jaxrender._checks import (
    check_anti_aliasing,
    check_array,
    check_background,
    check_choice,
    check_depth_range,
    check_faces,
    check_flag,
    check_image_size,
    check_is_mesh,
    check_normals,
    check_positive,
    is_concrete,
    warn_out_of_range,
)
from jaxrender._choices import CULLS, SHADINGS, Cull, Shading
from jaxrender._edges import Antialias, edge_gradient
from jaxrender._material import (
    check_material,
    drawn_channels,
    hole_test,
    is_masked,
    outline_of,
    surface_texture,
)
from jaxrender._nmr import NMR
from jaxrender._rasterize import draw_hard
from jaxrender._scene import Scene
from jaxrender._shading import (
    Lighting,
    check_lights,
    check_lit,
    is_like_opengl,
    lighting_of,
    shade,
)
from jaxrender._soft import LEAST_SHARE, check_soft, draw_soft, soft_silhouette
from jaxrender._textures import FaceTexels, check_texture, encoding_of
from jaxrender._textures.footprint import with_footprints
from jaxrender._types import (
    NO_FACE,
    Camera,
    Fragments,
    Hard,
    Image,
    Lights,
    Mesh,
    ScreenMesh,
    Soft,
    VisibilityGradient,
)
from jaxrender._watching import Story, Watched
from jaxrender.ops.deterministic import gather
from jaxrender.ops.hard.peel import masked_fragments
from jaxrender.ops.pytrees import is_named
from jaxrender.ops.view import View

# By name; each is made of the settings of `Hard`.
VISIBILITY_GRADIENTS: dict[str, Callable[[Hard], VisibilityGradient]] = {
    "nmr": lambda hard: NMR(hard.eps),
    "edge": lambda hard: edge_gradient,
    "antialias": lambda hard: Antialias(),
}
SILHOUETTE_EPS = 1e-4  # NMR's for silhouettes; for colours it takes ten times as much


def render(
    mesh: Mesh | Scene,
    camera: Camera,
    lights: Lights | None = None,
    *,
    image_size: tuple[int, int],
    near: ArrayLike = 0.1,
    far: ArrayLike | None = None,
    background: ArrayLike = 0.0,
    anti_aliasing: int = 1,
    cull: Cull = "none",
    shading: Shading = "flat",
    two_sided: bool = True,
    rasterizer: Hard | Soft | None = None,
) -> Image:
    """Draws a mesh, or a scene: `project`, `rasterize_hard`, `shade`, in one compiled program.

    Or `project` and `rasterize_soft`, with `rasterizer=Soft(…)`: every triangle that reaches a
    pixel is lit there, and blended in.

    With `anti_aliasing=k` the picture is drawn k times as large and each k x k block is averaged:
    colour and coverage over all samples, as in NMR, but depth over what is drawn alone: over the
    samples that see a face, or with `Soft(…)` over all, each weighted by the share of it that is
    not the background's. A pixel where nothing is drawn has the depth `far`, or 0 without.
    What the mesh does not cover shows the background: `rgb = colour + (1 - alpha) background`.

    The program is compiled once for each combination of shapes and static arguments; new
    values of all others reuse it. `jax.vmap` over cameras, meshes or lights draws all views in
    one fused call.

    Gradient: exact to textures, lights, background and `far`; to the mesh and the camera as far
    as they move and light what each pixel sees. Which face a pixel sees has no gradient, unless
    `rasterizer=Hard(visibility_gradient=…)` gives rgb and alpha, together, one: "edge" that of
    `edge_gradient`, "antialias" that of `antialias`, which also changes the picture, both in every
    mode; "nmr" that of NMR, reverse mode only. Depth has none, as in NMR. With `rasterizer=Soft(…)`
    it is exact, to everything that is drawn and to `sigma` and `gamma`, in both modes; but it
    is that of a blurred picture, see `rasterize_soft`.

    Args:
        mesh: the mesh in world space, with its texture; or a `Scene`.
        camera: from `look_at`, `look`, `pinhole`, `from_opencv` or `from_opengl`.
        lights: from `make_lights`; None is those of the scene, or half ambient, half from above.
        image_size: `(H, W)` in pixels; static.
        near: `[]` depth up to which nothing is drawn, scene units.
        far: `[]` depth from which nothing is drawn, scene units; None is no limit.
        background: one number, a colour `[C]`, or a picture `[H, W, C]`, in the texture's encoding.
        anti_aliasing: samples per pixel along each axis; static.
        cull: which side of faces is not drawn: "none", "back" or "front"; static.
        shading: "flat", "gouraud", "phong" or "none", see `shade`; static.
        two_sided: whether a face seen from behind is lit on that side; static.
        rasterizer: `Hard(…)` or `Soft(…)`, how faces become pixels and with what gradient; None is
            `Hard()`.

    Returns:
        `rgb` `[H, W, C]` colour, `alpha` `[H, W]` coverage in [0, 1], `depth` `[H, W]` scene units,
        where there is nothing `far`, or 0 if that is None, and `encoding`, that of the texture
        ("display" without one). Of a `Scene` also `face` and `object` `[H, W]` int32, of what is
        nearest at the middle of the pixel, whatever the rasterizer; -1 is nothing.

    Raises:
        ValueError: a shape, dtype or range is not as above, a vertex is not finite, or an index
            is out of range. Inside jit, where values are not known, faces with such a vertex or
            index, and only they, are not drawn; with near >= far nothing is. Where values are
            known, a warning says if the whole mesh lies outside of [near, far].

    Example:
        >>> import jaxrender as jr
        >>> image = jr.render(jr.shapes.cube(), jr.look_at((2.0, 2.0, 2.0)), image_size=(32, 48))
        >>> image.rgb.shape, image.alpha.shape
        ((32, 48, 3), (32, 48))
    """
    # Take a scene for the mesh that it is.
    object_of_face = None
    if isinstance(mesh, Scene):
        object_of_face = mesh.ids[mesh.parts.object_of_face]
        lights = mesh.lights if lights is None else lights
        mesh = mesh.mesh()

    # Check everything at the door, where values are known.
    vertices, faces, camera, view, options = _check_scene(
        mesh,
        camera,
        image_size,
        near,
        far,
        anti_aliasing,
        cull,
        Hard() if rasterizer is None else rasterizer,
    )
    check_choice("shading", shading, SHADINGS)
    normals = check_normals("mesh", mesh, vertices, faces)
    texture = check_texture(mesh.texture, Mesh(vertices, faces))
    material = check_material(mesh.material, Mesh(vertices, faces, texture))
    if shading != "none" and faces.shape[0] and material is None:
        check_lit(texture)
    mesh = Mesh(vertices, faces, texture, *normals, material)
    background = check_background(background, drawn_channels(mesh), view.image_size, vertices.dtype)
    lights = None if lights is None else check_lights(lights)
    watched = Watched("render", lambda: Story(mesh, camera, view, **options))
    parts = {
        name: watched.enter(f"mesh.{name}", getattr(mesh, name))
        for name in ("vertices", "texture", "material")
    }
    image = _render(
        dataclasses.replace(mesh, **parts),
        watched.enter("camera", camera),
        watched.enter("lights", lights),
        watched.enter("background", background),
        view,
        object_of_face,
        shading=shading,
        two_sided=check_flag("two_sided", two_sided),
        **options,
    )
    return watched.leave(image, image.alpha)


def silhouette(
    mesh: Mesh | Scene,
    camera: Camera,
    objects: ArrayLike | Sequence[int] | None = None,
    *,
    image_size: tuple[int, int],
    near: ArrayLike = 0.1,
    far: ArrayLike | None = None,
    anti_aliasing: int = 1,
    cull: Cull = "none",
    rasterizer: Hard | Soft | None = None,
) -> jax.Array:
    """Draws the outline of a mesh: `render(…).alpha`, with nothing shaded or looked up.

    Or those of some objects of a scene, of what is seen of each: the others may be in front of it.

    Gradient: to the mesh and the camera, that of visibility: by default NMR's, reverse mode.

    Args:
        mesh: the mesh in world space, or a `Scene`; of texture and material only holes count.
        camera: from `look_at`, `look`, `pinhole`, `from_opencv` or `from_opengl`.
        objects: `[K]` int32 ids of objects of the scene; None is all of them as one.
        image_size: `(H, W)` in pixels; static.
        near: `[]` depth up to which nothing is drawn, scene units.
        far: `[]` depth from which nothing is drawn, scene units; None is no limit.
        anti_aliasing: samples per pixel along each axis; static.
        cull: which side of faces is not drawn: "none", "back" or "front"; static.
        rasterizer: as of `render`; None is NMR's, `Hard(visibility_gradient="nmr", eps=1e-4)`.

    Returns:
        `[H, W]` coverage in [0, 1]; of `objects` `[H, W, K]`, each by itself.

    Raises:
        ValueError: as `render`; `objects` of a mesh, or with `Soft(…)` of surfaces with holes.

    Example:
        >>> import jax, jaxrender as jr
        >>> cube = jr.shapes.cube()
        >>> def covered(eye):
        ...     return jr.silhouette(cube, jr.look_at(eye), image_size=(32, 32)).mean()
        >>> closer = jax.grad(covered)(jax.numpy.array([0.0, 0.0, 3.0]))
        >>> bool(closer[2] < 0)
        True

    References:
        Kato et al., Neural 3D Mesh Renderer, CVPR 2018, arXiv:1711.07566.
    """
    labels = None if objects is None else _labels(mesh, objects)
    mesh = mesh.mesh() if isinstance(mesh, Scene) else mesh
    vertices, faces, camera, view, options = _check_scene(
        mesh,
        camera,
        image_size,
        near,
        far,
        anti_aliasing,
        cull,
        Hard(visibility_gradient="nmr", eps=SILHOUETTE_EPS) if rasterizer is None else rasterizer,
    )
    outline = outline_of(mesh, vertices, faces)
    if labels is not None and isinstance(rasterizer, Soft) and is_masked(outline):
        raise ValueError(
            "`objects` must be None for Soft(…) where surfaces have holes (`alpha_cutoff`). Draw "
            "them with Hard(…), or the scene without holes."
        )
    watched = Watched("silhouette", lambda: Story(outline, camera, view, **options))
    held = watched.enter("mesh.vertices", outline.vertices)
    alpha = _silhouette(
        dataclasses.replace(outline, vertices=held),
        watched.enter("camera", camera),
        view,
        labels,
        **options,
    )
    return watched.leave(alpha, alpha)


def _labels(scene: Any, objects: Any) -> jax.Array:
    """Which faces `[F, K]` belong to which of some objects: 1 where they do.

    Raises:
        ValueError: there are no objects, or none of a known id.
    """
    if not isinstance(scene, Scene):
        raise ValueError(
            f"`objects` must be None where `mesh` is no Scene, got {type(scene).__name__}. Pass "
            "jaxrender.make_scene([…])."
        )
    objects = check_array("objects", objects, ("K",), kind="int", hint="Pass ids of objects.")
    objects = objects.astype(jnp.int32)
    if is_concrete(objects, scene.ids):
        known = np.asarray(scene.ids)
        missing = np.setdiff1d(np.asarray(objects), known)
        if missing.size:
            raise ValueError(
                f"`objects` must be ids of the scene, {known.min()} to {known.max()}, got "
                f"{missing[0]}, which is none."
            )
    own = scene.ids[scene.parts.object_of_face]
    return (own[:, None] == objects[None]).astype(scene.shapes.vertices.dtype)


def _check_scene(
    mesh: Any,
    camera: Any,
    image_size: Any,
    near: Any,
    far: Any,
    anti_aliasing: Any,
    cull: Any,
    rasterizer: Any,
) -> tuple[jax.Array, jax.Array, Camera, View, dict[str, Any]]:
    """Returns vertices, faces, camera, view, and all else that says how to rasterise them."""
    image_size = check_image_size(image_size)
    check_choice("cull", cull, CULLS)
    anti_aliasing = check_anti_aliasing(anti_aliasing, image_size)
    check_is_mesh(mesh)
    vertices = check_array(
        "mesh.vertices",
        mesh.vertices,
        ("V", 3),
        finite=True,
        hint="Pass one mesh; use jax.vmap for several.",
    )
    faces = check_faces("mesh.faces", mesh.faces, vertices.shape[0])
    camera = check_camera(camera)
    perspective = not camera.projection.parallel
    near, far = check_depth_range(near, far, perspective=perspective, dtype=vertices.dtype)
    if is_concrete(vertices, faces, camera, near, far):
        forward, ahead = np.asarray(camera.rotation)[2], np.asarray(camera.translation)[2]
        with np.errstate(over="ignore", invalid="ignore"):
            depth = np.asarray(vertices) @ forward + ahead
        warn_out_of_range(depth, faces, near, far, stacklevel=3)
    options = {
        "rasterizer": _check_rasterizer(rasterizer, mesh.faces, far, vertices.dtype),
        "anti_aliasing": anti_aliasing,
    }
    return vertices, faces, camera, View(near, far, image_size, cull, perspective), options


def _check_rasterizer(
    rasterizer: Any, faces: ArrayLike, far: jax.Array | None, dtype: DTypeLike
) -> Hard | Soft:
    """Returns the settings with their numbers as scalars."""
    if isinstance(rasterizer, Soft):
        return check_soft(rasterizer, "rasterizer.", far=far, dtype=dtype)
    if not isinstance(rasterizer, Hard):
        raise ValueError(
            f"`rasterizer` must be Hard(…) or Soft(…), got {type(rasterizer).__name__}. "
            'Pass for example Hard(visibility_gradient="nmr") or Soft(sigma=1e-4).'
        )
    check_flag("rasterizer.interpolation_gradient", rasterizer.interpolation_gradient)
    eps = check_positive("rasterizer.eps", rasterizer.eps, dtype)
    rasterizer = dataclasses.replace(rasterizer, eps=eps)
    gradient = _check_visibility_gradient(rasterizer, dtype)
    prepared = getattr(gradient, "prepared", None)
    gradient = gradient if prepared is None else prepared(faces)
    return dataclasses.replace(rasterizer, visibility_gradient=gradient)


def _check_visibility_gradient(hard: Hard, dtype: DTypeLike) -> VisibilityGradient | None:
    """Returns the function that `visibility_gradient` is, or names.

    Raises:
        ValueError: it is not one, or finds its own numbers wrong, if it has a method `checked`.
    """
    chosen, name = hard.visibility_gradient, "rasterizer.visibility_gradient"
    if chosen is None:
        return None
    if isinstance(chosen, str):
        check_choice(name, chosen, (None, *VISIBILITY_GRADIENTS))
        return VISIBILITY_GRADIENTS[chosen](hard)
    if isinstance(chosen, type) or not callable(chosen):
        raise ValueError(
            f"`{name}` must be None, a name or a function, got {chosen!r}. Pass one of "
            f"{', '.join(map(repr, VISIBILITY_GRADIENTS))}, jaxrender.NMR(eps=1e-3), or "
            "f(picture, fragments, screen) -> picture."
        )
    if is_named(chosen):
        try:
            hash(chosen)
        except TypeError:
            raise ValueError(
                f"`{name}` must be hashable, got {type(chosen).__name__}, which is not. "
                "Make its class a jaxrender.struct, whose arrays are traced."
            ) from None
    checked = getattr(chosen, "checked", None)
    return chosen if checked is None else checked(name, dtype)


@functools.partial(jax.jit, static_argnames=("anti_aliasing", "shading", "two_sided"))
def _render(
    mesh: Mesh,
    camera: Camera,
    lights: Lights | None,
    background: jax.Array,
    view: View,
    object_of_face: jax.Array | None,
    *,
    rasterizer: Hard | Soft,
    anti_aliasing: int,
    shading: Shading,
    two_sided: bool,
) -> Image:
    """`render` of checked arguments, as one program; a scene is one mesh, with objects of faces."""
    samples = _supersample(view, anti_aliasing)
    screen = _project(mesh.vertices, mesh.faces, camera, view)
    texture = with_footprints(mesh.texture, screen, samples.image_size)
    mesh = dataclasses.replace(mesh, texture=texture)
    if background.ndim == 3:
        background = background.repeat(anti_aliasing, 0).repeat(anti_aliasing, 1)
    if isinstance(rasterizer, Soft):
        with jax.named_scope("shade"):
            light = _lighting(mesh, lights, camera, shading, two_sided)
        with jax.named_scope("rasterize"):
            lit = light is not None
            surface = surface_texture(mesh, lit=lit, tinted=not (lit and is_like_opengl(lights)))
            image, drawn = draw_soft(screen, surface, light, background, rasterizer, samples)
        ids = _ids(screen, mesh, view, object_of_face)
        return Image(
            rgb=_pool(image.rgb, anti_aliasing),
            alpha=_pool(image.alpha, anti_aliasing),
            depth=_pool_depth(image.depth, drawn, view, anti_aliasing),
            encoding=image.encoding,
            **ids,
        )

    fragments = _fragments(screen, mesh, samples)
    with jax.named_scope("shade"):
        barycentrics = fragments.barycentrics
        if not rasterizer.interpolation_gradient:
            barycentrics = jax.lax.stop_gradient(barycentrics)
        colors = shade(
            dataclasses.replace(fragments, barycentrics=barycentrics),
            mesh,
            lights,
            eye=viewpoint(camera),
            shading=shading,
            two_sided=two_sided,
        )

    # Show the background where there is no face; each sample has the colour of its pixel there.
    empty = (fragments.face < 0)[..., None]
    behind = jnp.broadcast_to(background, colors.shape).astype(colors.dtype)
    alpha = 1 - empty.astype(colors.dtype)
    picture = jnp.concatenate([jnp.where(empty, behind, colors), alpha], axis=-1)
    picture = _with_gradient(picture, fragments, screen, rasterizer, _is_faceted(mesh, shading))
    picture = _pool(picture, anti_aliasing)
    return Image(
        rgb=picture[..., :-1],
        alpha=picture[..., -1],
        depth=_pool_depth(fragments.depth, alpha[..., 0], view, anti_aliasing),
        encoding=encoding_of(mesh.texture),
        **_ids(screen, mesh, view, object_of_face, fragments),
    )


@functools.partial(jax.jit, static_argnames=("anti_aliasing",))
def _silhouette(
    mesh: Mesh,
    camera: Camera,
    view: View,
    labels: jax.Array | None,
    *,
    rasterizer: Hard | Soft,
    anti_aliasing: int,
) -> jax.Array:
    """`silhouette` of checked arguments, as one program; labels as of `_labels`."""
    samples = _supersample(view, anti_aliasing)
    screen = _project(mesh.vertices, mesh.faces, camera, view)
    if isinstance(rasterizer, Soft):
        with jax.named_scope("rasterize"):
            if labels is not None:
                colors = FaceTexels(labels[:, None, None])
                nothing = jnp.zeros((), labels.dtype)
                image, drawn = draw_soft(screen, colors, None, nothing, rasterizer, samples)
                # Share the coverage among the objects, as their colours are blended.
                whole = jnp.where(drawn > LEAST_SHARE, drawn, 1)[..., None]
                return _pool(image.alpha[..., None] * image.rgb / whole, anti_aliasing)
            surface = surface_texture(mesh, lit=False) if is_masked(mesh) else None
            return _pool(soft_silhouette(screen, surface, rasterizer, samples), anti_aliasing)
    fragments = _fragments(screen, mesh, samples)
    alpha = (fragments.face >= 0).astype(screen.vertices.dtype)
    if labels is not None:
        own = gather(labels, jnp.maximum(fragments.face, 0))
        alpha = alpha[..., None] * own
    return _pool(_with_gradient(alpha, fragments, screen, rasterizer), anti_aliasing)


def _project(vertices: jax.Array, faces: jax.Array, camera: Camera, view: View) -> ScreenMesh:
    """The mesh on screen."""
    with jax.named_scope("project"):
        # Find what the way back needs anew: each array that is handed on is a program to compile.
        place = functools.partial(project, image_size=view.image_size)
        positions = jax.checkpoint(place, prevent_cse=False)(vertices, camera)
        return ScreenMesh(positions, faces, view.perspective)


def _fragments(screen: ScreenMesh, mesh: Mesh, view: View) -> Fragments:
    """What the z-buffer sees, of what is there: see `Material`."""
    if not is_masked(mesh) or mesh.faces.shape[0] == 0:
        return draw_hard(screen, view)
    surface = surface_texture(mesh, lit=False)
    assert surface is not None
    is_hole = hole_test(surface, mesh.faces)
    with jax.named_scope("rasterize"):
        view = view.astype(screen.vertices.dtype)
        return Fragments(*masked_fragments(screen.vertices, screen.faces, view, is_hole))


def _ids(
    screen: ScreenMesh,
    mesh: Mesh,
    view: View,
    object_of_face: jax.Array | None,
    fragments: Fragments | None = None,
) -> dict[str, jax.Array]:
    """Faces and objects at the middle of pixels, of a scene; `fragments` are of all samples."""
    if object_of_face is None:
        return {}
    if fragments is None or fragments.face.shape != view.image_size:
        fragments = _fragments(jax.lax.stop_gradient(screen), mesh, view)
    face = fragments.face
    ids = gather(object_of_face, jnp.maximum(face, 0))
    return {"face": face, "object": jnp.where(face < 0, NO_FACE, ids)}


def _supersample(view: View, anti_aliasing: int) -> View:
    """The view with so many samples per pixel along each axis."""
    height, width = view.image_size
    return dataclasses.replace(view, image_size=(height * anti_aliasing, width * anti_aliasing))


def _lighting(
    mesh: Mesh, lights: Lights | None, camera: Camera, shading: Shading, two_sided: bool
) -> Lighting | None:
    """Light on the faces, for the soft rasteriser."""
    if shading == "none" or mesh.faces.shape[0] == 0:
        return None
    eye = viewpoint(camera)
    return lighting_of(mesh, lights, eye=eye, shading=shading, two_sided=two_sided)


def _is_faceted(mesh: Mesh, shading: Shading) -> bool:
    """Whether colours may jump where faces meet that look the same way."""
    material = mesh.material
    return (
        (mesh.texture is not None and mesh.texture.faceted)
        or (material is not None and material.group is not None)
        or shading == "flat"
        or (shading != "none" and mesh.normal_faces is not None)
    )


def _with_gradient(
    picture: jax.Array,
    fragments: Fragments,
    screen: ScreenMesh,
    rasterizer: Hard,
    faceted: bool = False,
) -> jax.Array:
    """The picture, with the gradient of visibility asked for."""
    gradient: Any = rasterizer.visibility_gradient
    if gradient is None:
        return picture
    if gradient is edge_gradient:
        gradient = functools.partial(edge_gradient, faceted=faceted)
    seen = gradient(picture, fragments, screen)
    if getattr(seen, "shape", None) != picture.shape:
        raise ValueError(
            "`rasterizer.visibility_gradient` must return a picture of the shape that it got, "
            f"{list(picture.shape)}, got {list(jnp.shape(seen))}. Return the picture it is given, "
            "with another gradient."
        )
    return seen


def _pool(image: jax.Array, anti_aliasing: int) -> jax.Array:
    """Averages blocks of samples `[H k, W k, …]` into pixels `[H, W, …]`."""
    if anti_aliasing == 1:
        return image
    height, width = (size // anti_aliasing for size in image.shape[:2])
    blocks = (height, anti_aliasing, width, anti_aliasing, *image.shape[2:])
    return image.reshape(blocks).mean((1, 3))


def _pool_depth(depth: jax.Array, drawn: jax.Array, view: View, anti_aliasing: int) -> jax.Array:
    """Averages depths of samples, weighted by how much of each is drawn; `far` or 0 for nothing."""
    if anti_aliasing == 1:
        return depth
    drawn = drawn.astype(depth.dtype)
    total, share = _pool(drawn * depth, anti_aliasing), _pool(drawn, anti_aliasing)
    nothing = share <= LEAST_SHARE
    fill = jnp.asarray(view.empty_depth, depth.dtype)
    return jnp.where(nothing, fill, total / jnp.where(nothing, 1, share))
