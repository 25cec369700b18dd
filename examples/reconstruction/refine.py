"""Refines what the network makes of pictures, each by the outline that it shows.

    python examples/reconstruction/test.py --data out/shapes --run out/run --refine 40

Drawn from where its picture was taken, the network's mesh has not quite the outline that is seen.
So this moves the code of the picture, of which the decoder makes a mesh, by a few steps of Adam:
the decoder has learned how shapes go on where nobody sees them. The loss is that of the training,
from one side. Which side is not told: it is that of the 24 from which the network's mesh looks most
like the picture.

Shapes: `B` pictures, `S` pixels, `V` vertices.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrender as jr
from data import VIEWS
from model import PICTURES, Reconstructor, template
from training import Settings, outline, regularizers

RATE = 0.05  # of Adam, in parts of how large the numbers of a code are


@eqx.filter_jit
def refine(
    model: Reconstructor,
    statistics: eqx.nn.State,
    images: jax.Array | np.ndarray,
    steps: jax.Array | int,
    settings: Settings,
) -> tuple[jax.Array, jax.Array | None]:
    """Vertices `[B, V, 3]` and colours `[B, V, 3]` or None, as `predict`, after so many steps.

    Args:
        model: the network.
        statistics: of the batches that it was trained on.
        images: `[B, 4, S, S]` uint8.
        steps: how many.
        settings: of the training, whose first blur is taken: with a finer one meshes fill more.
    """
    model = eqx.nn.inference_mode(model)
    pictures = jnp.asarray(images).astype(jnp.float32) / 255
    seen, size = pictures[:, 3], pictures.shape[-1]
    subdivisions = model.config.subdivisions
    faces = template(subdivisions).faces

    def miss(vertices: jax.Array, seen: jax.Array, view: jax.Array) -> jax.Array:
        drawn = outline(vertices, view, settings.sigma, faces=faces, size=size)
        return jr.losses.negative_iou(drawn, seen)

    encode = jax.vmap(model.encode, in_axes=(0, None), out_axes=(0, None), axis_name=PICTURES)
    decode = jax.vmap(model.decode)
    code, _ = encode(pictures, statistics)

    # Find out which side is seen.
    guess, _ = decode(code)
    from_each = jax.lax.map(
        lambda view: jax.vmap(miss, in_axes=(0, 0, None))(guess, seen, view), jnp.arange(VIEWS)
    )
    views = from_each.argmin(0)

    # Move each code on its own: the sum of the losses parts into those of the pictures.
    scale = jnp.sqrt(jnp.mean(code**2, axis=1, keepdims=True))
    optimizer = optax.adam(RATE)

    def loss(moved: jax.Array) -> jax.Array:
        vertices, _ = decode(code + scale * moved)
        order = jax.vmap(lambda one: regularizers(one, subdivisions, settings))(vertices)
        return (jax.vmap(miss)(vertices, seen, views) + order).sum()

    def advance(_: jax.Array, state: tuple) -> tuple:
        moved, inner = state
        update, inner = optimizer.update(jax.grad(loss)(moved), inner)
        return optax.apply_updates(moved, update), inner

    start = jnp.zeros_like(code)
    moved, _ = jax.lax.fori_loop(0, steps, advance, (start, optimizer.init(start)))
    vertices, features = decode(code + scale * moved)
    painter = model.painter
    return vertices, None if painter is None else jax.vmap(painter)(pictures, features)
