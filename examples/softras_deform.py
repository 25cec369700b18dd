"""Soft Rasterizer, shape from silhouettes: a sphere becomes what 120 outlines show.

    python examples/softras_deform.py
    python examples/softras_deform.py --start hull    # needs gpytoolbox: pip install '.[remesh]'
    python examples/softras_deform.py --target object.obj
    python examples/softras_deform.py --silhouettes source.npy --cameras camera.npy --smoothness 5

By default the outlines are those of a teapot from 5 elevations and 24 azimuths, drawn here. The
last line reads pictures `[N, 4, H, W]` of 8 bits, whose last channel is coverage, and cameras
`[N, 3]`: distance, elevation and azimuth, as in SoftRas. Each step looks at some of the views.

SoftRas draws all this with a blur. Here pictures are sharp, with the gradient of what edges show
(`Hard("edge")`), which takes a fraction of the time, and `fitting.large_steps` carries the pull at
the outline into the surface. The last steps see four samples a pixel.

A sphere has no hole, so the teapot's handle stays filled. `--start hull` begins with what lies
within all outlines instead, remeshed: that has the handle's hole, and ends closer in fewer steps.

Most of SoftRas's own pictures of an airplane are edge: 252 pixels of 4,096 are covered, and 207
covered in part. So what is covered by half counts as the shape; wings are thin, and want less
smoothness.

In the end the shape is compared with the true one, if that is known: over voxels, and by how far
points on either surface are from the other, on average, as a part of the longest side of the true
mesh's box (chamfer distance). The surfaces are known by points, many but not all, so that is not 0
for the true mesh either; what it is for that is shown beside.

References:
    Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786, section 5.1; Nicolet et al., Large
    Steps in Inverse Rendering of Geometry, SIGGRAPH Asia 2021.
"""

import argparse
import dataclasses
import functools
import importlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import ConvexHull

import jaxrender as jr
from jaxrender import fitting

SHAPES = ("cube", "icosphere", "teapot", "torus")
# Far and wide, then the last part of a pixel; a hull begins close to its end. The weight is that of
# the angles between faces, without which the long steps at first fold the surface.
FAR = fitting.Schedule(
    steps=250, rate=(0.3, 0.015), sigma=None, weights={"flatness": (0.02, 0.002)}
)
NEAR = fitting.Schedule(
    steps=100, rate=(0.05, 0.0025), sigma=None, weights={"flatness": (0.002, 0.002)}
)
EDGES = jr.Hard("edge")
VOXELS = 32
LENS = jr.perspective(30.0)
HAND = {"right_handed": False}  # the world of SoftRas, whose pictures and cameras are read


class Views(NamedTuple):
    """What is known of the object: `N` pictures of `H, W` pixels."""

    eyes: jax.Array  # [N, 3]
    coverage: jax.Array  # [N, H, W]


class Result(NamedTuple):
    """What came of it; the last three are None where the true mesh is not known.

    `itself` is the chamfer distance of the true mesh from itself.
    """

    fits: list[fitting.Fit]
    mesh: jr.Mesh
    silhouette_iou: float
    voxel_iou: float | None = None
    chamfer: float | None = None
    itself: float | None = None


def sphere(count: int) -> jr.Mesh:
    """Points along a spiral, evenly spread over the sphere of radius 0.45, and their hull.

    Evenly matters: on a cube blown up into a sphere, the eight corners and the middles of the
    sides lag behind, and grow into spikes.
    """
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * (np.arange(count) + 0.5)
    width = np.sqrt(1 - height**2)
    points = np.stack([width * np.sin(turn), height, width * np.cos(turn)], axis=-1)

    # Wind the faces of the hull such that they are counter-clockwise from outside.
    faces = ConvexHull(points).simplices
    outward = np.linalg.det(points[faces]) > 0
    faces = np.where(outward[:, None], faces, faces[:, ::-1])
    return jr.Mesh(
        jnp.asarray(0.45 * points, jnp.result_type(float)), jnp.asarray(faces, jnp.int32)
    )


def hull(views: Views, count: int, reach: float = 0.6, cells: int = 64) -> jr.Mesh:
    """What lies within all outlines, as a mesh of about that many vertices.

    Each point of a grid is covered as much as in the picture where it is covered least; the
    surface is where that is a half.
    """
    kit: Any = importlib.import_module("gpytoolbox")
    axis = jnp.linspace(-reach, reach, cells)
    grid = jnp.stack(jnp.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    height, width = views.coverage.shape[1:]

    @jax.jit
    def seen(grid: jax.Array, view: Views) -> jax.Array:
        points = jr.project(grid, jr.look_at(view.eyes, projection=LENS, **HAND))
        row, column = (1 - points[:, 1]) * height / 2 - 0.5, (1 + points[:, 0]) * width / 2 - 0.5
        return jax.scipy.ndimage.map_coordinates(view.coverage, [row, column], order=1)

    covered = jnp.ones(len(grid))
    for view in zip(*views, strict=True):
        covered = jnp.minimum(covered, seen(grid, Views(*view)))
    field, points = np.asarray(covered, np.float64), np.asarray(grid, np.float64)
    found, faces = kit.marching_cubes(field, points, cells, cells, cells, 0.5)
    mesh = jr.Mesh(jnp.asarray(found, grid.dtype), jnp.asarray(faces, jnp.int32))
    return fitting.remesh(mesh, vertices=count).mesh


def outline(mesh: jr.Mesh, eye: jax.Array, size: tuple[int, int], **how) -> jax.Array:
    """The silhouette `[H, W]` from there."""
    camera = jr.look_at(eye, projection=LENS, **HAND)
    return jr.silhouette(mesh, camera, image_size=size, near=1.0, far=100.0, **how)


@functools.partial(jax.jit, static_argnames="size")
def outlines(mesh: jr.Mesh, eyes: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The silhouettes `[N, H, W]` from all eyes: which part of each pixel a z-buffer covers."""
    how = {"anti_aliasing": 4, "rasterizer": jr.Hard()}
    return jax.lax.map(lambda eye: outline(mesh, eye, size, **how), eyes)


def views_of(mesh: jr.Mesh, size: int = 64) -> Views:
    """The object from 5 elevations and 24 azimuths."""
    elevations, azimuths = jnp.arange(-60.0, 90.0, 30.0), jnp.arange(0.0, 360.0, 15.0)
    eyes = jr.points_from_angles(2.732, elevations[:, None], azimuths, **HAND).reshape(-1, 3)
    return Views(eyes, outlines(mesh, eyes, (size, size)))


def read_views(silhouettes: Path, cameras: Path) -> Views:
    """What the files of SoftRas show: its pictures are blurred, and half covered is the outline."""
    coverage = jnp.asarray(np.load(silhouettes)[:, -1] > 127, jnp.result_type(float))
    distance, elevation, azimuth = np.load(cameras).astype(np.float32).T
    return Views(jr.points_from_angles(distance, elevation, azimuth, **HAND), coverage)


def points_on(mesh: jr.Mesh, count: int, random: np.random.Generator) -> jax.Array:
    """Points `[count, 3]` spread evenly at random over the surface."""
    corners = np.asarray(mesh.vertices, np.float64)[np.asarray(mesh.faces)]
    area = np.linalg.norm(np.cross(*np.moveaxis(corners[:, 1:] - corners[:, :1], 1, 0)), axis=1)
    face = random.choice(len(corners), count, p=area / area.sum())
    shares = random.dirichlet(np.ones(3), count)
    return jnp.asarray((shares[..., None] * corners[face]).sum(1), jnp.result_type(float))


def chamfer_distance(mesh: jr.Mesh, truth: jr.Mesh) -> float:
    """The mean way from points on one surface to the other, both ways, over the truth's size."""
    random = np.random.default_rng(0)

    def way(start: jr.Mesh, end: jr.Mesh) -> jax.Array:
        ends = points_on(end, 50_000, random)
        return jax.lax.map(
            lambda point: jnp.linalg.norm(ends - point[None], axis=1).min(),
            points_on(start, 2_000, random),
            batch_size=20,
        ).mean()

    size = jnp.ptp(truth.vertices, axis=0).max()
    return float((way(mesh, truth) + way(truth, mesh)) / 2 / size)


def voxel_iou(mesh: jr.Mesh, truth: jr.Mesh) -> float:
    """How well they agree in the least cube around the origin that holds both."""
    reach = 1.01 * max(float(jnp.abs(thing.vertices).max()) for thing in (mesh, truth))
    grids = [
        jr.voxelize(thing.vertices, thing.faces, resolution=VOXELS, bounds=(-reach, reach))
        for thing in (mesh, truth)
    ]
    return float(jr.losses.iou(*grids))


def stage(
    template: jr.Mesh,
    known: Views,
    schedule: fitting.Schedule,
    views: int,
    anti_aliasing: int,
    smoothness: float,
    seed: int,
) -> tuple[fitting.Fit, list[jr.Mesh]]:
    """Fits a mesh to some of the views in each step; returns the meshes along the way as well."""
    topology = jr.losses.mesh_topology(template.faces, len(template.vertices))
    steps = fitting.large_steps(template.vertices, template.faces, smoothness=smoothness)
    count, *seen = known.coverage.shape
    resolution = (seen[0], seen[1])
    random = np.random.default_rng(seed)

    def loss(parameters: jax.Array, chosen: jax.Array, flatness: jax.Array) -> jax.Array:
        mesh = template.with_vertices(steps.from_differential(parameters))

        def mismatch(eye: jax.Array, coverage: jax.Array) -> jax.Array:
            how = {"rasterizer": EDGES, "anti_aliasing": anti_aliasing}
            return jr.losses.negative_iou(outline(mesh, eye, resolution, **how), coverage)

        flat = jr.losses.normal_consistency(mesh.vertices, topology)
        seen = jax.vmap(mismatch)(known.eyes[chosen], known.coverage[chosen])
        return seen.mean() + flatness * flat

    found = fitting.fit(
        loss,
        steps.to_differential(template.vertices),
        fitting.adam_uniform(schedule.learning_rate),
        schedule=schedule,
        schedules={"chosen": lambda _: random.choice(count, min(views, count), replace=False)},
        snapshot=jax.jit(lambda parameters: steps.from_differential(parameters)),
        snapshot_every=max(schedule.steps // 30, 1),
        progress="deforming",
    )
    # The views differ, and so do their losses: the last shape is the best.
    vertices = [*found.snapshots.values(), steps.from_differential(found.last_params)]
    return found, [template.with_vertices(jnp.asarray(each)) for each in vertices]


def main(
    steps: int,
    size: int,
    output: Path,
    target: str | None = None,
    silhouettes: Path | None = None,
    cameras: Path | None = None,
    views: int = 12,
    vertices: int = 1352,
    start: str = "sphere",
    smoothness: float = 16.0,
    seed: int = 0,
) -> Result:
    """Fits in `steps` steps; saves the mesh, and a GIF of `size`² pixels as it deforms."""
    # Take the pictures from files, or of a mesh whose longest side is 1.
    truth = None
    if target is None and silhouettes is None:
        target = "teapot"
    if target is not None:
        truth = getattr(jr.shapes, target)() if target in SHAPES else jr.load_mesh(target)
    if silhouettes is not None and cameras is not None:
        known = read_views(silhouettes, cameras)
    elif truth is not None:
        truth = jr.normalize(truth)
        truth = truth.with_vertices(truth.vertices / 2)
        known = views_of(truth)
    else:
        raise SystemExit("--silhouettes needs --cameras")

    # Fit from far away, then from close by.
    count, height, width = known.coverage.shape
    mesh = hull(known, vertices) if start == "hull" else sphere(vertices)
    rate = (NEAR.rate[0], FAR.rate[1]) if start == "hull" else FAR.rate
    far = max(round(steps * FAR.steps / (FAR.steps + NEAR.steps)), 1)
    plans = [
        (dataclasses.replace(FAR, steps=far, rate=rate), 1),
        (dataclasses.replace(NEAR, steps=max(steps - far, 1)), 2),
    ]
    fits, way = [], []
    for schedule, anti_aliasing in plans:
        found, meshes = stage(mesh, known, schedule, views, anti_aliasing, smoothness, seed)
        fits.append(found)
        way += meshes
        mesh = meshes[-1]

    jr.io.save_animation(output, turning(way + 30 * [mesh], size))
    jr.save_mesh(output.with_suffix(".obj"), mesh)
    drawn = outlines(mesh, known.eyes, (height, width)) > 0.5
    agreement = float(jax.vmap(jr.losses.iou)(drawn, known.coverage > 0.5).mean())
    result = Result(fits, mesh, agreement)
    report = f"silhouettes agree to {agreement:.3f} (IoU, the mean of {count} views)"
    if truth is not None:
        result = result._replace(
            voxel_iou=voxel_iou(mesh, truth),
            chamfer=chamfer_distance(mesh, truth),
            itself=chamfer_distance(truth, truth),
        )
        report += f", {VOXELS}³ voxels to {result.voxel_iou:.3f}; chamfer distance "
        report += f"{result.chamfer:.2%} ({result.itself:.2%} for the true mesh)"
    seconds = sum(found.seconds for found in fits)
    print(f"{report} ({sum(found.steps for found in fits)} steps, {seconds:.1f} s): {output}")
    return result


def turning(meshes: list[jr.Mesh], size: int) -> list[jax.Array]:
    """A picture of each, from one side after the other."""
    lights = jr.make_lights(0.35, [((0.4, 0.8, -0.5), 0.45), ((-0.5, 0.1, 0.6), 0.25)])

    @jax.jit
    def draw(mesh: jr.Mesh, azimuth: jax.Array) -> jax.Array:
        eye = jr.points_from_angles(2.732, 25.0, azimuth, **HAND)
        return jr.render(
            mesh,
            jr.look_at(eye, projection=LENS, **HAND),
            lights,
            image_size=(size, size),
            background=1.0,
            anti_aliasing=2,
            shading="gouraud",
        ).rgb

    azimuths = 12.0 * jnp.arange(len(meshes))
    return [draw(mesh, azimuth) for mesh, azimuth in zip(meshes, azimuths, strict=True)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=FAR.steps + NEAR.steps)
    parser.add_argument("--views", type=int, default=12, help="how many each step looks at")
    parser.add_argument("--size", type=int, default=256, help="of the GIF, pixels along each side")
    parser.add_argument("--target", help=f"a mesh file, or {', '.join(SHAPES)}")
    parser.add_argument("--silhouettes", type=Path, help="pictures of a .npy file, with --cameras")
    parser.add_argument("--cameras", type=Path, help="where they were taken from, a .npy file")
    parser.add_argument("--smoothness", type=float, default=16.0, help="of large steps")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of views")
    parser.add_argument("--start", choices=["sphere", "hull"], default="sphere")
    parser.add_argument("--output", type=Path, default="out/softras_deform.gif")
    main(**vars(parser.parse_args()))
