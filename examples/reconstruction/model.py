"""The network: it looks at one picture and gives a mesh, and colours if asked.

The encoder and decoder are SoftRas's: three convolutions and three dense layers, then two dense
layers, a centroid, and a bias for each vertex of a sphere. A vertex stays in its octant around
the centroid. The batch statistics of the normalisation are those of the whole batch, on however
many devices it lies.

The colour variant chooses a palette from the picture, each of its colours a weighted mean of the
picture's cells, and mixes each vertex's colour from the palette.

Shapes: `B` pictures, `S` pixels along each side, `V` vertices, `F` faces, `P` palette colours,
`C` cells of the picture that colours are taken from.

References:
    Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786, sections 4 and 5.1.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr

# The axes over which batch statistics are taken: pictures of a device, and devices.
PICTURES, DEVICES = "pictures", "devices"

CENTROID_SCALE = 0.1
MOMENTUM = 0.9  # of the running batch statistics
CELL = 4  # pixels along each side of a cell


@dataclasses.dataclass(frozen=True)
class Config:
    """How large the network is; the defaults are the original's.

    Attributes:
        size: `S`, a multiple of 8.
        channels: of the first convolution; the others have 2 and 4 times as many.
        hidden: width of the dense layers; one has half of it, one twice.
        subdivisions: of the sphere; 3 gives 642 vertices.
        palette: `P`; 0 is a network without colours.
    """

    size: int = 64
    channels: int = 64
    hidden: int = 1024
    subdivisions: int = 3
    palette: int = 0

    def check(self) -> None:
        """Raises a ValueError if the numbers make no network."""
        if self.size % 8 or self.size < 8:
            raise ValueError(
                f"`size` must be a multiple of 8, got {self.size}. Pass for example 64."
            )
        for name in ("channels", "hidden"):
            value = getattr(self, name)
            if value < 2 or value % 2:
                raise ValueError(f"`{name}` must be even and positive, got {value}.")
        for name, most in (("subdivisions", 6), ("palette", 4096)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise ValueError(f"`{name}` must lie between 0 and {most}, got {value}.")


@dataclasses.dataclass(frozen=True)
class Template:
    """The sphere of radius 1/2 that is deformed, in host memory."""

    vertices: np.ndarray  # [V, 3]
    faces: np.ndarray  # [F, 3]
    topology: jr.losses.MeshTopology


@functools.cache
def template(subdivisions: int) -> Template:
    """The icosphere; made once, and also while a program is being traced."""
    with jax.ensure_compile_time_eval():
        sphere = jr.shapes.icosphere(subdivisions, radius=0.5)
        topology = jr.losses.mesh_topology(sphere.faces, len(sphere.vertices))
        return Template(*jax.tree.map(np.asarray, (sphere.vertices, sphere.faces, topology)))


class Painter(eqx.Module):
    """Chooses a palette from the picture, and a mixture of it for each vertex."""

    sampling: eqx.nn.Linear
    selecting: eqx.nn.Linear
    config: Config = eqx.field(static=True)

    def __init__(self, config: Config, key: jax.Array):
        cells = (config.size // CELL) ** 2
        vertices = len(template(config.subdivisions).vertices)
        keys = jax.random.split(key)
        features = 2 * config.hidden
        self.sampling = eqx.nn.Linear(features, config.palette * cells, key=keys[0])
        self.selecting = eqx.nn.Linear(features, vertices * config.palette, key=keys[1])
        self.config = config

    def __call__(self, image: jax.Array, features: jax.Array) -> jax.Array:
        """Colours `[V, 3]`.

        Args:
            image: `[4, S, S]` rgb and coverage.
            features: of the decoder.
        """
        # Let a cell show the mean colour of what the object covers there.
        side = self.config.size // CELL
        cells = image.reshape(4, side, CELL, side, CELL)
        covered = cells[3:].mean((2, 4)).reshape(1, -1)
        colors = (cells[:3] * cells[3:]).mean((2, 4)).reshape(3, -1) / jnp.maximum(covered, 1e-3)

        # Choose the palette from cells that show the object, and each vertex's colour from it.
        wish = self.sampling(features).reshape(self.config.palette, -1)
        weights = jax.nn.softmax(jnp.where(covered > 0.05, wish, wish - 30.0), axis=-1)  # [P, C]
        mixture = jax.nn.softmax(self.selecting(features).reshape(-1, self.config.palette), axis=-1)
        return mixture @ (weights @ colors.T)


class Reconstructor(eqx.Module):
    """The whole network; `reconstruct` runs it on a batch."""

    convolutions: list[eqx.nn.Conv2d]
    normalizations: list[eqx.nn.BatchNorm]
    encoder: list[eqx.nn.Linear]
    decoder: list[eqx.nn.Linear]
    centroid: eqx.nn.Linear
    biases: eqx.nn.Linear
    painter: Painter | None
    config: Config = eqx.field(static=True)

    def __init__(self, config: Config, key: jax.Array):
        config.check()
        keys = iter(jax.random.split(key, 12))
        count, wide, vertices = (
            config.channels,
            config.hidden,
            template(config.subdivisions).vertices,
        )
        channels = [4, count, 2 * count, 4 * count]
        self.convolutions = [
            eqx.nn.Conv2d(channels[i], channels[i + 1], 5, stride=2, padding=2, key=next(keys))
            for i in range(3)
        ]
        self.normalizations = [
            eqx.nn.BatchNorm(width, (PICTURES, DEVICES), momentum=MOMENTUM, mode="batch")
            for width in channels[1:]
        ]
        flat = 4 * count * (config.size // 8) ** 2
        self.encoder = [
            eqx.nn.Linear(inputs, outputs, key=next(keys))
            for inputs, outputs in ((flat, wide), (wide, wide), (wide, wide // 2))
        ]
        self.decoder = [
            eqx.nn.Linear(inputs, outputs, key=next(keys))
            for inputs, outputs in ((wide // 2, wide), (wide, 2 * wide))
        ]
        self.centroid = eqx.nn.Linear(2 * wide, 3, key=next(keys))
        self.biases = eqx.nn.Linear(2 * wide, 3 * len(vertices), key=next(keys))
        self.painter = Painter(config, next(keys)) if config.palette else None
        self.config = config

    def __call__(
        self, image: jax.Array, statistics: eqx.nn.State
    ) -> tuple[jax.Array, jax.Array | None, eqx.nn.State]:
        """Vertices `[V, 3]`, their colours `[V, 3]` or None, and new batch statistics.

        Args:
            image: `[4, S, S]` rgb and coverage in [0, 1].
            statistics: those of the batches before.
        """
        code, statistics = self.encode(image, statistics)
        vertices, features = self.decode(code)
        return vertices, self.painter and self.painter(image, features), statistics

    def encode(self, image: jax.Array, statistics: eqx.nn.State) -> tuple[jax.Array, eqx.nn.State]:
        """What the picture shows, `[hidden / 2]`, and new batch statistics; as `__call__`."""
        x = image
        for convolution, normalization in zip(self.convolutions, self.normalizations, strict=True):
            x, statistics = normalization(convolution(x), statistics)
            x = jax.nn.relu(x)
        x = x.reshape(-1)
        for layer in self.encoder:
            x = jax.nn.relu(layer(x))
        return x, statistics

    def decode(self, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Vertices `[V, 3]` of such a code, and the features `[2 hidden]` that they come of."""
        x = code
        for layer in self.decoder:
            x = jax.nn.relu(layer(x))
        vertices = deformed(
            template(self.config.subdivisions).vertices,
            CENTROID_SCALE * self.centroid(x),
            self.biases(x).reshape(-1, 3),
        )
        return vertices, x


def deformed(vertices: np.ndarray, centroid: jax.Array, biases: jax.Array) -> jax.Array:
    """The sphere's vertices, each moved within its octant, and all with the octants' corner.

    A vertex at `v` goes to `s sigmoid(log(|v| / (1 - |v|)) + bias)` on each axis, with the sign
    `s` of `v`; then the octant is scaled such that its inner corner lies at `c = tanh(centroid)`
    and its outer one stays at `s`. All of it ends in [-1/2, 1/2]. One on a plane between octants
    stays there.

    Args:
        vertices: `[V, 3]` of the sphere, less than 1 from 0.
        centroid: `[3]` before the tanh.
        biases: `[V, 3]`.
    """
    size, side = np.maximum(np.abs(vertices), 1e-6), np.sign(vertices)
    inner = side * jax.nn.sigmoid(np.log(size / (1 - size)) + biases)
    corner = jnp.tanh(centroid)[None]
    outer = jax.nn.relu(inner) * (1 - corner) - jax.nn.relu(-inner) * (1 + corner)
    return (corner + outer) / 2


def reconstruct(
    model: Reconstructor, statistics: eqx.nn.State, images: jax.Array
) -> tuple[jax.Array, jax.Array | None, eqx.nn.State]:
    """Runs the network on a batch.

    Args:
        model: for testing `eqx.nn.inference_mode(model)`; else call it inside `jax.shard_map`
            over the axis `DEVICES`, and it normalises by the batch on all devices.
        statistics: those of the batches before.
        images: `[B, 4, S, S]` uint8.

    Returns:
        vertices `[B, V, 3]`, colours `[B, V, 3]` or None, and new statistics.
    """
    return jax.vmap(model, in_axes=(0, None), out_axes=(0, 0, None), axis_name=PICTURES)(
        images.astype(jnp.float32) / 255, statistics
    )


@eqx.filter_jit
def predict(
    model: Reconstructor, statistics: eqx.nn.State, images: jax.Array | np.ndarray
) -> tuple[jax.Array, jax.Array | None]:
    """Vertices `[B, V, 3]` and colours, as `reconstruct`, of pictures to test on."""
    return reconstruct(eqx.nn.inference_mode(model), statistics, jnp.asarray(images))[:2]


def make_model(config: Config, seed: int) -> tuple[Reconstructor, eqx.nn.State]:
    """A new network and its batch statistics."""
    return eqx.nn.make_with_state(Reconstructor)(config, jax.random.key(seed))
