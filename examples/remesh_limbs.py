"""From a ball to a shape with long limbs: the mesh is made anew between the stages of a fit.

    pip install '.[remesh]'
    python examples/remesh_limbs.py

A ball's triangles do not suffice for arms: where a limb grows out of it a few are stretched along
its whole length, and elsewhere they crowd. So the fit begins with few vertices, and after each
stage `fitting.remesh` covers the surface with triangles of one size, smaller each time. Colours of
the vertices, which say where each was on the ball, come along, as the optimiser's moments do.

References:
    Nicolet et al., Large Steps in Inverse Rendering of Geometry, SIGGRAPH Asia 2021; Botsch and
    Kobbelt, A Remeshing Approach to Multiresolution Modeling, SGP 2004.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from jaxrender import fitting
from jaxrender.skinning import procedural_body

COUNTS = 600, 1200, 2000  # vertices, about, of each stage
SMOOTHNESS = 4.0
FIRST = fitting.Schedule(
    steps=120, rate=(0.12, 0.05), sigma=None, weights={"flatness": (0.04, 0.002)}
)
LATER = dataclasses.replace(FIRST, rate=(0.1, 0.01), weights={"flatness": (0.002, 0.001)})
VIEWS, SIZE = 8, 64
CAMERA = jr.perspective(40.0)


def silhouette(mesh: jr.Mesh, eye: jax.Array, rasterizer: jr.Hard, samples: int) -> jax.Array:
    """The outline `[SIZE, SIZE]` from there."""
    return jr.silhouette(
        mesh,
        jr.look_at(eye, projection=CAMERA),
        image_size=(SIZE, SIZE),
        rasterizer=rasterizer,
        anti_aliasing=samples,
    )


def main(steps: int, size: int, output: Path, remeshing: bool = True) -> list[float]:
    """Fits in stages of `steps` steps; saves the mesh and a picture of all stages.

    Returns how well outlines agree after each stage (IoU, the mean of all views).
    """
    body = procedural_body(36)
    target = jr.normalize(jr.Mesh(body.template, body.faces))
    elevations = jnp.array([[-30.0], [0.0], [35.0]])
    eyes = jr.points_from_angles(3.2, elevations, jnp.arange(0.0, 360.0, 30.0)).reshape(-1, 3)
    known = jax.jit(
        lambda eyes: jax.lax.map(lambda eye: silhouette(target, eye, jr.Hard(), 4), eyes)
    )(eyes)
    random = np.random.default_rng(0)

    ball = jr.shapes.icosphere(3 if remeshing else 4)
    ball = jr.Mesh(0.6 * ball.vertices, ball.faces, jr.VertexColors(0.5 + 0.5 * ball.vertices))
    mesh, state, agreement, shown = ball, None, [], [ball]
    for number, count in enumerate(COUNTS):
        # Make triangles of one size, and carry the optimiser's moments over.
        if remeshing:
            remeshed = fitting.remesh(mesh, vertices=count)
            mesh, state = remeshed.mesh, remeshed.carry(state)
        schedule = dataclasses.replace(LATER if number else FIRST, steps=steps)
        found, mesh = stage(mesh, eyes, known, schedule, fresh(state), random)
        state = found.state
        drawn = jax.lax.map(lambda eye, mesh=mesh: silhouette(mesh, eye, jr.Hard(), 4), eyes) > 0.5
        agreement.append(float(jax.vmap(jr.losses.iou)(drawn, known > 0.5).mean()))
        shown.append(mesh)
        print(
            f"{len(mesh.vertices)} vertices: silhouettes agree to {agreement[-1]:.3f} "
            f"({found.steps} steps, {found.seconds:.1f} s)"
        )

    jr.save_mesh(output.with_suffix(".obj"), mesh)
    jr.io.save_image(output, jnp.concatenate([picture(each, size) for each in shown], axis=1))
    print(output)
    return agreement


def fresh(state: Any) -> Any:
    """An optimiser's state whose counts begin anew, as those of a learning rate must."""
    return jax.tree.map(lambda leaf: leaf if jnp.ndim(leaf) else jnp.zeros_like(leaf), state)


def stage(
    template: jr.Mesh,
    eyes: jax.Array,
    known: jax.Array,
    schedule: fitting.Schedule,
    state: Any,
    random: np.random.Generator,
) -> tuple[fitting.Fit, jr.Mesh]:
    """Fits a mesh to the outlines `known` `[N, SIZE, SIZE]`, from `eyes` `[N, 3]`."""
    topology = jr.losses.mesh_topology(template.faces, len(template.vertices))
    steps = fitting.large_steps(template.vertices, template.faces, smoothness=SMOOTHNESS)

    def loss(parameters: jax.Array, chosen: jax.Array, flatness: jax.Array) -> jax.Array:
        mesh = template.with_vertices(steps.from_differential(parameters))

        def mismatch(eye: jax.Array, coverage: jax.Array) -> jax.Array:
            return jr.losses.negative_iou(silhouette(mesh, eye, jr.Hard("edge"), 1), coverage)

        flat = jr.losses.normal_consistency(mesh.vertices, topology)
        return jax.vmap(mismatch)(eyes[chosen], known[chosen]).mean() + flatness * flat

    found = fitting.fit(
        loss,
        steps.to_differential(template.vertices),
        fitting.adam_uniform(schedule.learning_rate),
        schedule=schedule,
        schedules={"chosen": lambda _: random.choice(len(eyes), VIEWS, replace=False)},
        state=state,
        progress=f"{len(template.vertices)} vertices",
    )
    return found, template.with_vertices(steps.from_differential(found.last_params))


def picture(mesh: jr.Mesh, size: int) -> jax.Array:
    """The mesh from the front, flat, so that its triangles show: `[size, size, 3]`."""
    camera = jr.look_at(jr.points_from_angles(3.2, 10.0, 20.0), projection=CAMERA)
    lights = jr.make_lights(0.45, [((0.4, 0.8, 0.5), 0.45)])
    how = {"image_size": (size, size), "background": 1.0, "anti_aliasing": 2, "shading": "flat"}
    return jr.render(mesh, camera, lights, **how).rgb


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=120, help="of each of the three stages")
    parser.add_argument("--size", type=int, default=256, help="of the pictures")
    parser.add_argument(
        "--no-remeshing", dest="remeshing", action="store_false", help="one mesh for all stages"
    )
    parser.add_argument("--output", type=Path, default="out/remesh_limbs.png")
    main(**vars(parser.parse_args()))
