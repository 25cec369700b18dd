"""Many views on many devices: the same gradient, each device with a share of the views.

    python examples/many_devices.py
    XLA_FLAGS=--xla_force_host_platform_device_count=2 python examples/many_devices.py

The second line makes two devices of one processor, to try it. `over_views` is the recipe for one
mesh seen from many sides: the mesh goes to all devices, the cameras are dealt out, each device
draws its own views, and losses and gradients are added up. `over_meshes` is the one for many
meshes, as in a training step: nothing has to be added up.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrender as jr

DEVICES = "devices"  # the axis over which work is dealt out


def loss(vertices: jax.Array, faces: jax.Array, eye: jax.Array, size: int) -> jax.Array:
    """What one view has against a mesh; here, that it is seen at all."""
    seen = jr.silhouette(
        jr.Mesh(vertices, faces),
        jr.look_at(eye),
        image_size=(size, size),
        near=1.0,
        rasterizer=jr.Soft(sigma=1e-4),
    )
    return jnp.sum(seen**2)


def over_views(devices: jax.sharding.Mesh, size: int) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Makes `(vertices [V, 3], faces [F, 3], eyes [N, 3]) -> (loss [], gradient [V, 3])`.

    `N` must be a multiple of the number of devices.
    """

    def share(vertices: jax.Array, faces: jax.Array, eyes: jax.Array) -> jax.Array:
        losses = jax.vmap(lambda eye: loss(vertices, faces, eye, size))(eyes)
        return jax.lax.psum(losses.sum(), DEVICES)

    specs = {"in_specs": (P(), P(), P(DEVICES)), "out_specs": P()}
    return jax.jit(jax.value_and_grad(jax.shard_map(share, mesh=devices, **specs)))


def over_meshes(devices: jax.sharding.Mesh, size: int) -> Callable[..., jax.Array]:
    """Makes `(vertices [N, V, 3], faces [F, 3], eye [3]) -> gradient [N, V, 3]`."""

    def share(vertices: jax.Array, faces: jax.Array, eye: jax.Array) -> jax.Array:
        return jax.vmap(jax.grad(lambda one: loss(one, faces, eye, size)))(vertices)

    specs = {"in_specs": (P(DEVICES), P(), P()), "out_specs": P(DEVICES)}
    return jax.jit(jax.shard_map(share, mesh=devices, **specs))


def milliseconds(run: Callable[[], object], repeats: int) -> float:
    """The median time of a run, once compiled."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def main(views: int, size: int, subdivisions: int, repeats: int) -> dict[str, list]:
    """Times both recipes on one device and on all; returns times and gradients by recipe."""
    ball = jr.shapes.icosphere(subdivisions)
    eyes = jr.points_from_angles(2.732, 20.0, np.linspace(0, 360, views, endpoint=False))
    grown = ball.vertices * jnp.linspace(0.8, 1.2, views)[:, None, None]
    found = {"over views": [], "over meshes": []}
    for count in dict.fromkeys((1, jax.device_count())):
        if views % count:
            raise SystemExit(f"--views must be a multiple of {count}, the number of devices")
        devices = jax.make_mesh((count,), (DEVICES,), devices=jax.devices()[:count])
        everywhere = NamedSharding(devices, P())
        dealt = NamedSharding(devices, P(DEVICES))

        # Send the arrays where they are needed once, not at each call.
        vertices, faces, eye = jax.device_put((ball.vertices, ball.faces, eyes[0]), everywhere)
        many_eyes, many_vertices = jax.device_put((eyes, grown), dealt)
        work = {
            "over views": (over_views(devices, size), vertices, faces, many_eyes),
            "over meshes": (over_meshes(devices, size), many_vertices, faces, eye),
        }
        for name, (function, *args) in work.items():
            run = functools.partial(function, *args)
            took = milliseconds(run, repeats)
            found[name].append((took, np.asarray(jax.tree.leaves(run())[-1])))
            first = found[name][0][0]
            print(
                f"{name:11s} {count} device{'s' * (count > 1)}: {took / views:.2f} ms per picture, "
                f"{first / took / count:.0%} of {count} times as fast as one device"
            )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--views", type=int, default=64)
    parser.add_argument("--size", type=int, default=64, help="pixels along each side")
    parser.add_argument("--subdivisions", type=int, default=3, help="of the icosphere")
    parser.add_argument("--repeats", type=int, default=9)
    main(**vars(parser.parse_args()))
