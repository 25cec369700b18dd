"""The peers: other rasterisers on the same scenes, each behind a small adapter.

An adapter takes a scene and returns a `Drawer`. What can be done once (moving data, building a
tree) it does at once, outside the timing. It raises `Absent` where it cannot run. The peers that
are written by hand for these benchmarks are in `native`. What an adapter needs it imports itself,
so that in a process of its own nothing else takes time and memory.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import itertools
import os
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.scenes import FAR, NEAR, Scene

Pictures = tuple[np.ndarray | None, np.ndarray]  # face (None: not told), depth; [N, H, W] each


class Absent(Exception):
    """A peer is not installed here, or cannot do this scene; the message says which."""


@dataclasses.dataclass(frozen=True)
class Drawer:
    """A peer, ready to draw one scene.

    Attributes:
        draw: draws all views and waits for them; this is what is timed.
        read: makes of what `draw` returned what the contest compares: in the task `hard` face
            ids (-1: none) and depths (`FAR`: none). None where there is nothing to compare.
        detail: version or setting, for the record.
    """

    draw: Callable[[], Any]
    read: Callable[[Any], Any] | None
    detail: str = ""


# z_ndc = A + B / z carries depth from [NEAR, FAR] to [-1, 1], for the peers that want it so.
_A = (FAR + NEAR) / (FAR - NEAR)
_B = -2 * FAR * NEAR / (FAR - NEAR)


def mitsuba(scene: Scene, *, moving: bool = False) -> Drawer:
    """Mitsuba 3: one ray through each pixel centre, its tree already built.

    With `moving` the tree is built anew for each picture, as it must be where vertices move.
    """
    mi, dr = _import("mitsuba"), _import("drjit")
    mi.set_variant(*(["cuda_ad_rgb"] if _on_gpu() else []), "llvm_ad_rgb")

    # Build one scene per view, in camera space with the picture's edge at x = ± z.
    worlds, moves = [], []
    for points in _camera_space(scene):
        mesh = mi.Mesh("mesh", len(points), len(scene.faces))
        parameters = mi.traverse(mesh)
        parameters["vertex_positions"] = mi.Float(points.ravel())
        parameters["faces"] = mi.UInt32(scene.faces.ravel().astype(np.uint32))
        parameters.update()
        worlds.append(mi.load_dict({"type": "scene", "mesh": mesh}))
        # It builds nothing where it is given the very array that it has: so take turns with two.
        places = [mi.Float(points.ravel()) for _ in range(2)]
        moves.append((mi.traverse(worlds[-1]), itertools.cycle(places)))

    # Give rays the length 1 along z, so that their parameter is the depth.
    x, y = (mi.Float(axis.ravel()) for axis in _pixel_centres(scene.size))
    rays = mi.Ray3f(mi.Point3f(0, 0, 0), mi.Vector3f(x, y, 1))
    dr.eval(rays)

    def draw() -> list[Any]:
        for parameters, vertices in moves if moving else []:
            parameters["mesh.vertex_positions"] = next(vertices)
            parameters.update()
        hits = [world.ray_intersect_preliminary(rays, coherent=True) for world in worlds]
        seen = [(hit.prim_index, hit.t) for hit in hits]
        dr.eval(seen)
        dr.sync_thread()
        return seen

    def read(seen: list[Any]) -> Pictures:
        shape = (scene.views, scene.size, scene.size)
        face, depth = (np.stack([np.array(hit[k]) for hit in seen]).reshape(shape) for k in (0, 1))
        hit = np.isfinite(depth)
        return np.where(hit, face.astype(np.int32), -1), np.where(hit, depth, FAR)

    return Drawer(draw, read, f"{mi.__version__} {mi.variant()}")


def embree(scene: Scene, *, moving: bool = False) -> Drawer:
    """Embree by embreex, which trimesh casts rays with: one ray through each pixel centre.

    With `moving` the tree is built anew for each picture.
    """
    rtcore, meshes = _import("embreex.rtcore_scene"), _import("embreex.mesh_construction")
    shape = (scene.views, scene.size, scene.size)
    directions = _rays(scene.size)
    origins = np.zeros_like(directions)

    def build() -> list[Any]:
        worlds = []
        for points in _camera_space(scene):
            worlds.append(rtcore.EmbreeScene())
            meshes.TriangleMesh(worlds[-1], points.astype(np.float32), scene.faces)
        return worlds

    built = build()
    for world in built:
        world.run(origins[:1], directions[:1])  # it builds the tree where the first ray is cast

    def draw() -> list[Any]:
        worlds = build() if moving else built
        return [world.run(origins, directions, output=True) for world in worlds]

    def read(seen: list[Any]) -> Pictures:
        face = np.stack([hits["primID"] for hits in seen]).reshape(shape)
        depth = np.stack([hits["tfar"] for hits in seen]).reshape(shape)
        return face, np.where(face < 0, FAR, depth)

    return Drawer(draw, read, f"embreex {importlib.metadata.version('embreex')}")


def open3d(scene: Scene, *, moving: bool = False) -> Drawer:
    """Open3D's RaycastingScene: one ray through each pixel centre.

    With `moving` the tree is built anew for each picture.
    """
    o3d = _import("open3d")
    shape = (scene.views, scene.size, scene.size)
    directions = _rays(scene.size)
    rays = o3d.core.Tensor(np.concatenate([np.zeros_like(directions), directions], -1))

    def build() -> list[Any]:
        worlds = []
        for points in _camera_space(scene):
            worlds.append(o3d.t.geometry.RaycastingScene())
            worlds[-1].add_triangles(points.astype(np.float32), scene.faces.astype(np.uint32))
        return worlds

    built = build()

    def draw() -> list[Any]:
        return [world.cast_rays(rays) for world in (build() if moving else built)]

    def read(seen: list[Any]) -> Pictures:
        depth = np.stack([hits["t_hit"].numpy() for hits in seen]).reshape(shape)
        face = np.stack([hits["primitive_ids"].numpy() for hits in seen]).reshape(shape)
        hit = np.isfinite(depth)
        return np.where(hit, face.astype(np.int32), -1), np.where(hit, depth, FAR)

    return Drawer(draw, read, o3d.__version__)


def pytorch3d(scene: Scene, *, upstream: np.ndarray | None = None) -> Drawer:
    """PyTorch3D: its rasteriser alone, one face per pixel, no blur.

    With `upstream` `[N, H, W, 1]` also the gradient of the depth, which is what its hard pictures
    have. They have none of visibility, so nothing is compared.
    """
    torch, structures = _import("torch"), _import("pytorch3d.structures")
    rasterizer = _import("pytorch3d.renderer.mesh.rasterize_meshes")
    _limit(scene, 5_120 * 512**2)
    device = "cuda" if _on_gpu() and torch.cuda.is_available() else "cpu"

    # Mirror x: its screen's x axis points left.
    vertices = torch.tensor(scene.vertices * np.asarray([-1, 1, 1], np.float32), device=device)
    faces = torch.tensor(scene.faces.astype(np.int64), device=device)
    vertices.requires_grad_(upstream is not None)
    meshes = structures.Meshes(vertices, faces.expand(scene.views, -1, -1))
    weights = None if upstream is None else torch.tensor(upstream, device=device)

    def draw() -> Any:
        fragments = rasterizer.rasterize_meshes(
            meshes, scene.size, blur_radius=0.0, faces_per_pixel=1, perspective_correct=True
        )
        if weights is not None:
            torch.autograd.grad(fragments[1], vertices, weights, retain_graph=True)
        if device == "cuda":
            torch.cuda.synchronize()
        return fragments

    def read(fragments: Any) -> Pictures:
        packed, depth = (fragments[k][..., 0].cpu().numpy() for k in (0, 1))
        first = len(scene.faces) * np.arange(scene.views)[:, None, None]
        return np.where(packed < 0, -1, packed - first), np.where(packed < 0, FAR, depth)

    detail = f"{_import('pytorch3d').__version__} {device}"
    return Drawer(draw, read if upstream is None else None, detail)


def pytorch3d_soft(
    scene: Scene,
    *,
    colors: np.ndarray | None,
    sigma: float,
    gamma: float,
    upstream: np.ndarray,
) -> Drawer:
    """PyTorch3D's soft rasteriser, the nearest 50 faces a pixel, and the gradient to vertices.

    Its blend is SoftRas's with another background, so nothing is compared. `colors` `[F, 3]` of
    the faces, or None for alpha alone; `upstream` `[N, H, W, C]` as of `native.soft`.
    """
    torch, structures = _import("torch"), _import("pytorch3d.structures")
    rasterizer = _import("pytorch3d.renderer.mesh.rasterize_meshes")
    blending = _import("pytorch3d.renderer.blending")
    _limit(scene, 5_120 * 256**2)
    device = "cuda" if _on_gpu() and torch.cuda.is_available() else "cpu"

    # Mirror x: its screen's x axis points left.
    vertices = torch.tensor(scene.vertices * np.asarray([-1, 1, 1], np.float32), device=device)
    faces = torch.tensor(scene.faces.astype(np.int64), device=device)
    vertices.requires_grad_(True)
    meshes = structures.Meshes(vertices, faces.expand(scene.views, -1, -1))
    weights = torch.tensor(upstream, device=device)
    params = blending.BlendParams(sigma=sigma, gamma=gamma, background_color=(0.0, 0.0, 0.0))
    texels = None
    if colors is not None:
        texels = torch.tensor(np.tile(colors, (scene.views, 1)), device=device)

    def draw() -> Any:
        found = rasterizer.rasterize_meshes(
            meshes,
            scene.size,
            blur_radius=float(np.log(1 / 1e-4 - 1) * sigma),
            faces_per_pixel=50,
            perspective_correct=True,
        )
        fragments = types.SimpleNamespace(pix_to_face=found[0], zbuf=found[1], dists=found[3])
        if texels is None:
            blank = torch.ones((*found[0].shape, 3), device=device)
            image = blending.sigmoid_alpha_blend(blank, fragments, params)[..., 3:]
        else:
            pixels = texels[found[0].clamp(min=0)]
            image = blending.softmax_rgb_blend(pixels, fragments, params, znear=NEAR, zfar=FAR)
        torch.autograd.grad(image, vertices, weights, retain_graph=True)
        if device == "cuda":
            torch.cuda.synchronize()

    return Drawer(draw, None, f"{_import('pytorch3d').__version__} {device}")


def deodr(scene: Scene, *, colors: np.ndarray, upstream: np.ndarray | None = None) -> Drawer:
    """DEODR: the picture in the colours of its vertices, its edges smoothed over a pixel.

    With `upstream` `[N, H, W, C]` also the gradient to vertices and colours `[V, C]`, which of the
    vertices is that of the smoothed edges too, so nothing is compared. It is C++ for one thread,
    in double precision, and colours are linear on screen.
    """
    renderer, size = _import("deodr.differentiable_renderer"), scene.size
    faces, (count, channels) = scene.faces.astype(np.uint32), colors.shape
    off, none = np.zeros(len(faces), bool), np.zeros((count, 2))
    made = []
    for points in scene.vertices.astype(np.float64):
        x, y = points[:, 0] * size, -points[:, 1] * size
        made.append(
            renderer.Scene2D(
                faces=faces,
                faces_uv=faces,
                ij=np.ascontiguousarray(0.5 * (np.stack([x, y], -1) + size - 1)),
                depths=np.ascontiguousarray(points[:, 2]),
                textured=off,
                uv=none,
                shade=np.zeros(count),
                colors=colors.astype(np.float64),
                shaded=off,
                edgeflags=np.ones((len(faces), 3), bool),
                height=size,
                width=size,
                nb_colors=channels,
                texture=np.zeros((0, 0, channels)),
                background_color=np.zeros(channels),
                clockwise=True,
                backface_culling=True,
            )
        )
    weights = None if upstream is None else upstream.astype(np.float64)

    def draw() -> list[np.ndarray]:
        pictures = []
        for view, one in enumerate(made):
            pictures.append(one.render()[0])
            if weights is not None:
                one.clear_gradients()
                one.render_backward(weights[view].copy(), make_copies=False)
        return pictures

    return Drawer(draw, None, f"{importlib.metadata.version('deodr')}, 1 thread")


def jaxrenderer(scene: Scene) -> Drawer:
    """jaxrenderer: its depth shader."""
    jax = _import("jax")
    geometry, pipeline = _import("renderer.geometry"), _import("renderer.pipeline")
    shader, types = _import("renderer.shaders.depth"), _import("renderer.types")
    _limit(scene, 5_120 * 256**2)

    # Give it camera space; w is the depth, and pixel (0, 0) the upper left one.
    unit, half, size = np.eye(4), scene.size / 2, scene.size
    projection = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, _A, _B], [0, 0, 1, 0]])
    centre = half - 0.5
    viewport = np.array([[half, 0, 0, centre], [0, -half, 0, centre], [0, 0, 1, 0], [0, 0, 0, 1]])
    matrices = (unit, projection, viewport, projection, unit, viewport @ projection, unit, unit)
    camera = geometry.Camera(*(jax.numpy.asarray(m, np.float32) for m in matrices))
    views = [shader.DepthExtraInput(jax.numpy.asarray(p)) for p in _camera_space(scene)]
    faces = jax.numpy.asarray(scene.faces[:, ::-1])  # it culls what looks the other way

    def draw() -> list[Any]:
        buffers = [types.Buffers(jax.numpy.ones((size, size)), ()) for _ in views]
        drawn = [
            pipeline.render(camera, shader.DepthShader, buffer, faces, view)
            for buffer, view in zip(buffers, views, strict=True)
        ]
        return jax.block_until_ready([buffer.zbuffer for buffer in drawn])

    def read(buffers: list[Any]) -> Pictures:
        ndc = np.stack([np.asarray(buffer).T for buffer in buffers])
        return None, np.where(ndc < 1, _B / (ndc - _A), FAR)

    return Drawer(draw, read, importlib.metadata.version("jaxrenderer"))


def mujoco(scene: Scene, *, moving: bool = False) -> Drawer:
    """`mujoco.Renderer`: depth, by OpenGL.

    With `moving` the mesh is uploaded anew for each picture.
    """
    mj = _import("mujoco")
    worlds = []
    for points in _camera_space(scene):
        spec = mj.MjSpec()
        turned = (points * [1, 1, -1]).astype(float)  # its cameras look along -z
        spec.add_mesh(
            name="mesh",
            uservert=turned.ravel(),
            userface=scene.faces[:, ::-1].ravel(),  # seen from the other hand
            inertia=mj.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        spec.worldbody.add_geom(type=mj.mjtGeom.mjGEOM_MESH, meshname="mesh")
        spec.worldbody.add_camera(fovy=90.0)
        size = spec.visual.global_
        size.offwidth = size.offheight = scene.size
        spec.visual.quality.offsamples = 0
        spec.stat.extent, spec.visual.map.znear, spec.visual.map.zfar = 1.0, NEAR, FAR
        model = spec.compile()
        data = mj.MjData(model)
        mj.mj_forward(model, data)
        renderer = mj.Renderer(model, scene.size, scene.size)
        renderer.enable_depth_rendering()
        worlds.append((model, data, renderer))

    def draw() -> list[np.ndarray]:
        pictures = []
        for model, data, renderer in worlds:
            renderer.update_scene(data, 0)
            if moving:
                renderer._gl_context.make_current()
                mj.mjr_uploadMesh(model, renderer._mjr_context, 0)
            pictures.append(renderer.render().copy())
        return pictures

    def read(pictures: list[np.ndarray]) -> Pictures:
        depth = np.stack(pictures)
        return None, np.where(depth < 0.99 * FAR, depth, FAR)

    return Drawer(draw, read, f"{mj.__version__} {os.environ.get('MUJOCO_GL', '')}")


def ours(scene: Scene) -> Drawer:
    """Our own: face, depth and barycentrics by `rasterize_hard`."""
    jax, jr = _import("jax"), _import("jaxrender")

    def rasterize(vertices: Any, faces: Any) -> Any:
        size = scene.size, scene.size
        screen = jr.ScreenMesh(vertices, faces)
        return jr.rasterize_hard(screen, image_size=size, near=NEAR, far=FAR)

    program = jax.jit(jax.vmap(rasterize, (0, None)))
    args = jax.device_put((scene.vertices, scene.faces))

    def draw() -> Any:
        return jax.block_until_ready(program(*args))

    def read(fragments: Any) -> Pictures:
        return np.asarray(fragments.face), np.asarray(fragments.depth)

    return Drawer(draw, read, f"jax {jax.__version__}")


PEERS: dict[str, Callable[[Scene], Drawer]] = {
    "mitsuba": mitsuba,
    "mitsuba, moving": functools.partial(mitsuba, moving=True),
    "embree": embree,
    "embree, moving": functools.partial(embree, moving=True),
    "open3d": open3d,
    "open3d, moving": functools.partial(open3d, moving=True),
    "pytorch3d": pytorch3d,
    "jaxrenderer": jaxrenderer,
    "mujoco": mujoco,
    "mujoco, moving": functools.partial(mujoco, moving=True),
}


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Absent(f"not importable ({error})") from error


def _limit(scene: Scene, tests: int) -> None:
    if len(scene.faces) * scene.size**2 * scene.views > tests and not _on_gpu():
        raise Absent("left out: it tests every face at every pixel, which takes too long here")


def _on_gpu() -> bool:
    return "jax" in sys.modules and sys.modules["jax"].default_backend() == "gpu"


def _camera_space(scene: Scene) -> np.ndarray:
    """The vertices `[N, V, 3]` before the division by depth; the half angle is 45 degrees."""
    x, y, z = np.moveaxis(scene.vertices, -1, 0)
    return np.stack([x * z, y * z, z], axis=-1)


def _rays(size: int) -> np.ndarray:
    """Directions `[H W, 3]` through all pixel centres, of length 1 along z."""
    x, y = (axis.ravel() for axis in _pixel_centres(size))
    return np.stack([x, y, np.ones_like(x)], -1)


def _pixel_centres(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Screen x and y of all pixel centres, `[H, W]` each, the top row first."""
    x = (2 * np.arange(size, dtype=np.float32) + 1 - size) / size
    right, up = np.meshgrid(x, -x)
    return right, up
