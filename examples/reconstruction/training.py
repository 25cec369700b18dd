"""The training step: one compiled program, on one device or many.

The batch is split over all devices of all hosts, each draws and differentiates its own objects,
and the mean of the gradients goes to all. What is learned is kept on each device whole.

The loss of an object, of which views a and b are shown, is

    L = mean of 1 - IoU over (a from a, a from b, b from a, b from b)
        + 0.005 Laplacian + 0.0005 flatten

where `a from b` is the mesh made from view a as camera b sees it. With colours, the mean
absolute difference of the four pictures is added.

Shapes: `B` objects, `V` vertices, `S` pixels.

References:
    Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786, section 4.1.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike

import jaxrender as jr
from data import Batch, camera
from model import DEVICES, Config, make_model, reconstruct, template

VIEWED = 4  # pictures that are drawn of each object in a step
SCHEDULES = ("step", "cosine")
CUTOFF = 1e-10  # coverage below which a triangle does not count, as in the original
GAMMA = 1e-2  # depth temperature of colours
NEAR, FAR = 1.0, 4.5  # nothing is nearer than 2.732 - √3/2, or farther than 2.732 + √3/2


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to train; the defaults are the original's.

    Attributes:
        steps: how many.
        batch: objects in each.
        seed: of the first weights, and of the order of the data.
        learning_rate: of Adam.
        sigma: blur of the silhouettes, in squared half image heights.
        schedule: "step", as in the original, multiplies learning rate and sigma with `decay` once;
            with "cosine" the rate falls along one to 0, and sigma geometrically to that part.
        decay: what they are multiplied with ...
        decay_at: ... after this part of the steps, by "step".
        laplacian: weight of that loss.
        flatten: weight of that loss.
        color: weight of the difference of colours, where there are any.
        initial: the folder of a run whose weights to start from; empty is none, see initial.py.
        recolor: whether to exchange and dim the colours of each object at random, lest the
            network knows it by them; not so in the original.
    """

    steps: int = 250_000
    batch: int = 64
    seed: int = 0
    learning_rate: float = 1e-4
    sigma: float = 1e-4
    schedule: str = "step"
    decay: float = 0.3
    decay_at: float = 0.6
    laplacian: float = 5e-3
    flatten: float = 5e-4
    color: float = 1.0
    initial: str = ""
    recolor: bool = False

    def check(self, devices: int) -> None:
        """Raises a ValueError if the numbers make no training."""
        for name in ("steps", "batch", "learning_rate", "sigma"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"`{name}` must be positive, got {value}.")
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"`schedule` must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}."
            )
        if self.batch % devices:
            raise ValueError(
                f"`batch` must be a multiple of the {devices} devices, got {self.batch}. Pass for "
                f"example {devices * max(self.batch // devices, 1)}."
            )


class State(NamedTuple):
    """All that a step changes; a checkpoint holds it."""

    params: Any
    statistics: eqx.nn.State
    optimizer: Any
    step: jax.Array  # []


class Trainer(NamedTuple):
    """The programs of a training, and where their arrays lie."""

    init: Callable[[], State]
    advance: Callable[[State, Batch], tuple[State, dict[str, jax.Array]]]
    model: Callable[[State], tuple[Any, eqx.nn.State]]
    replicated: NamedSharding
    split: NamedSharding


def make_trainer(
    config: Config, settings: Settings, devices: Sequence[Any] | None = None
) -> Trainer:
    """Prepares a training.

    Args:
        config: of the network.
        settings: of the training.
        devices: on which; None is all of all hosts.

    Raises:
        ValueError: a setting is out of range, or the batch cannot be split evenly.
    """
    config.check()
    devices = jax.devices() if devices is None else devices
    settings.check(len(devices))
    mesh = Mesh(np.array(devices), (DEVICES,))
    replicated, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(DEVICES))

    # What learning rate and sigma are multiplied with, by step.
    if settings.schedule == "cosine":
        rate = optax.cosine_decay_schedule(1.0, settings.steps)
        blur = optax.exponential_decay(1.0, settings.steps, settings.decay)
    else:
        rate = blur = optax.piecewise_constant_schedule(
            1.0, {int(settings.decay_at * settings.steps): settings.decay}
        )
    optimizer = optax.adam(lambda step: settings.learning_rate * rate(step))

    # Part the network in numbers to learn and the rest, which is fixed.
    shape, _ = eqx.filter_eval_shape(make_model, config, settings.seed)
    _, fixed = eqx.partition(shape, eqx.is_inexact_array)
    fixed = eqx.filter(fixed, lambda leaf: not isinstance(leaf, jax.ShapeDtypeStruct))

    def init() -> State:
        model, statistics = make_model(config, settings.seed)
        params = eqx.filter(model, eqx.is_inexact_array)
        return State(params, statistics, optimizer.init(params), jnp.zeros((), jnp.int32))

    def gradient(params: Any, statistics: eqx.nn.State, batch: Batch, sigma: jax.Array):
        def loss(params: Any):
            model = eqx.combine(params, fixed)
            return batch_loss(model, statistics, batch, sigma, settings)

        (_, aux), slope = jax.value_and_grad(loss, has_aux=True)(params)
        terms, statistics = aux
        return jax.lax.pmean((slope, terms), DEVICES), statistics

    # Equinox's batch statistics are means over pictures and devices at once, which the check of
    # `shard_map` takes for an error.
    sharded = jax.shard_map(
        gradient,
        mesh=mesh,
        in_specs=(P(), P(), P(DEVICES), P()),
        out_specs=P(),
        check_vma=False,
    )

    def advance(state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
        sigma = jnp.asarray(settings.sigma * blur(state.step))
        (slope, terms), statistics = sharded(state.params, state.statistics, batch, sigma)
        update, inner = optimizer.update(slope, state.optimizer, state.params)
        params = optax.apply_updates(state.params, update)
        return State(params, statistics, inner, state.step + 1), terms

    return Trainer(
        jax.jit(init, out_shardings=replicated),
        jax.jit(advance, donate_argnums=0),
        lambda state: (eqx.combine(state.params, fixed), state.statistics),
        replicated,
        split,
    )


def batch_loss(
    model: Any, statistics: eqx.nn.State, batch: Batch, sigma: jax.Array, settings: Settings
) -> tuple[jax.Array, tuple[dict[str, jax.Array], eqx.nn.State]]:
    """The mean loss of the objects, its terms, and new batch statistics."""
    images = jnp.asarray(batch.images)
    vertices, colors, statistics = reconstruct(
        model, statistics, images.reshape(-1, *images.shape[2:])
    )

    # Draw both meshes of each object from both of its views: [B, mesh, view, …].
    def pairs(array: jax.Array) -> jax.Array:
        return array.reshape(-1, 2, *array.shape[1:])

    drawn = draw(
        pairs(vertices),
        None if colors is None else pairs(colors),
        jnp.asarray(batch.views),
        sigma,
        faces=template(model.config.subdivisions).faces,
        size=images.shape[-1],
    )
    seen = jnp.broadcast_to((images / jnp.float32(255))[:, None], drawn.shape)
    overlap = jax.vmap(jax.vmap(jax.vmap(jr.losses.negative_iou)))
    topology = template(model.config.subdivisions).topology
    terms = {
        "iou": overlap(drawn[:, :, :, 3], seen[:, :, :, 3]).mean(),
        "laplacian": jax.vmap(lambda v: jr.losses.laplacian(v, topology))(vertices).mean(),
        "flatten": jax.vmap(lambda v: jr.losses.flatten(v, topology))(vertices).mean(),
    }
    total = (
        terms["iou"] + settings.laplacian * terms["laplacian"] + settings.flatten * terms["flatten"]
    )
    if colors is not None:
        # Compare on black, so that the background's colour does not matter.
        difference = jnp.abs(drawn[:, :, :, :3] - seen[:, :, :, :3] * seen[:, :, :, 3:])
        terms["color"] = difference.mean()
        total = total + settings.color * terms["color"]
    return total, ({"loss": total, **terms}, statistics)


def draw(
    vertices: jax.Array,
    colors: jax.Array | None,
    views: jax.Array,
    sigma: ArrayLike,
    *,
    faces: np.ndarray,
    size: int,
) -> jax.Array:
    """Draws each mesh of each object from each of its views, softly.

    Args:
        vertices: `[B, 2, V, 3]`.
        colors: `[B, 2, V, 3]`, or None to draw the silhouettes alone.
        views: `[B, 2]`.
        sigma: `[]` blur.
        faces: `[F, 3]` of all meshes.
        size: `S`.

    Returns:
        `[B, 2, 2, 4, S, S]`: by mesh and view, rgb on black (0 without colours) and coverage.
    """

    def picture(vertices: jax.Array, colors: jax.Array | None, view: jax.Array) -> jax.Array:
        if colors is None:
            alpha = outline(vertices, view, sigma, faces=faces, size=size)
            return jnp.stack([*[jnp.zeros_like(alpha)] * 3, alpha])
        mesh = jr.Mesh(vertices, jnp.asarray(faces), jr.VertexColors(colors))
        image = jr.render(mesh, camera(view), shading="none", **_blurred(sigma, size))
        return jnp.concatenate([jnp.moveaxis(image.rgb, -1, 0), image.alpha[None]])

    by_view = jax.vmap(picture, in_axes=(None, None, 0))
    by_mesh = jax.vmap(by_view, in_axes=(0, 0, None))
    return jax.vmap(by_mesh)(vertices, colors, views)


def outline(
    vertices: jax.Array, view: ArrayLike, sigma: ArrayLike, *, faces: np.ndarray, size: int
) -> jax.Array:
    """The soft silhouette `[S, S]` of a mesh `[V, 3]` from a view; other arguments as of `draw`."""
    mesh = jr.Mesh(vertices, jnp.asarray(faces))
    return jr.silhouette(mesh, camera(view), **_blurred(sigma, size))


def _blurred(sigma: ArrayLike, size: int) -> dict[str, Any]:
    """How all is drawn, with this blur."""
    soft = jr.Soft(sigma=sigma, gamma=GAMMA, cutoff=CUTOFF)
    return {"image_size": (size, size), "near": NEAR, "far": FAR, "rasterizer": soft}


def regularizers(vertices: jax.Array, subdivisions: int, settings: Settings) -> jax.Array:
    """The weighted losses `[]` that keep the triangles of a deformed sphere `[V, 3]` in order."""
    topology = template(subdivisions).topology
    return settings.laplacian * jr.losses.laplacian(
        vertices, topology
    ) + settings.flatten * jr.losses.flatten(vertices, topology)
