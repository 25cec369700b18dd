"""Finds where a known object is from one mask and one depth picture, by Gauss's and Newton's steps.

    python examples/pose_from_cad.py
    python examples/pose_from_cad.py part.stl --size 128 --starts 400 --adam

A camera with a depth sensor sees an object whose CAD model is at hand. Starts are up to 30 degrees
and a fifth of the object's size off. Each is first shifted to where the middle of the depth picture
lies: a step that explains a shift by a turn leads into another valley. Then all are moved at once
by `fitting.least_squares`, on what can be seen of an error:

    outline    the mask, and depth times mask, with the gradient of edges; as means of squares of
               pixels, large ones first: those see where to go from afar
    surface    the depth where both the picture and the model have one; large errors are parts that
               hide each other, and count less

The gradient is that of "edge", not "antialias": CAD models have faces smaller than a pixel, whose
silhouettes the latter does not see. The sensor's depth has noise, its mask is what covers at least
half a pixel. With `--adam` the same residuals go to Adam, at three rates and from the same places,
until as many starts have arrived.

References:
    Marquardt, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters", 1963;
    Pidhorskyi et al., Rasterized Edge Gradients, 2024, arXiv:2405.02508.
"""

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrender as jr
from jaxrender.fitting import Rotation, least_squares
from jaxrender.rotations import angle_between, from_axis_angle, random

FIELD = 45.0  # of view, degrees
CAMERA = jr.look_at((0.8, 1.0, 3.2), projection=jr.perspective(FIELD))
NOISE = 0.002  # of depth, in halves of the object's size
ORDINARY = 0.1  # a difference in depth that is not yet another part of the object

# How much the squares of 1/4, 1/8, 1/16, 1/32 of the side, and single pixels, count; and depth.
# Each row is for a quarter of the steps.
SQUARES = (4, 8, 16, 32)
WEIGHTS = jnp.array(
    [[4, 2, 1, 0, 0, 4], [0, 4, 2, 1, 0, 4], [0, 0, 2, 1, 0, 4], [0, 0, 0, 1, 1, 4]], float
)

RATES = (0.1, 0.03, 0.01)  # of Adam
ANGLE, SHIFT = 0.5, 0.01  # what has arrived: degrees, part of the object's size


class Seen(NamedTuple):
    """What a camera sees, or would see."""

    outline: jax.Array  # [H, H, 2] mask, and depth from the middle of the object times mask
    depth: jax.Array  # [H, H], 0 where there is nothing


def draw(mesh: jr.Mesh, turn: jax.Array, shift: jax.Array, middle: float, size: int) -> Seen:
    """The object in a pose, with edges that have a gradient."""
    vertices = mesh.vertices @ turn.T + shift[None]
    depth = vertices @ CAMERA.rotation[2] + CAMERA.translation[2]
    image = jr.render(
        jr.Mesh(vertices, mesh.faces, jr.VertexColors(depth[:, None] - middle)),
        CAMERA,
        image_size=(size, size),
        shading="none",
        rasterizer=jr.Hard(visibility_gradient="edge"),
    )
    return Seen(jnp.concatenate([image.alpha[..., None], image.rgb], axis=-1), image.depth)


def observe(mesh: jr.Mesh, turn: jax.Array, shift: jax.Array, size: int) -> tuple[Seen, float]:
    """What the sensor gives of the object in its true pose, and how far away that is about."""
    placed = jr.Mesh(mesh.vertices @ turn.T + shift[None], mesh.faces)
    image = jr.render(placed, CAMERA, image_size=(size, size), shading="none")
    cover = jr.render(
        placed, CAMERA, image_size=(size, size), shading="none", anti_aliasing=4
    ).alpha
    mask = (cover >= 0.5) & (image.depth > 0)
    noise = NOISE * jax.random.normal(jax.random.key(7), image.depth.shape)
    depth = jnp.where(mask, image.depth + noise, 0)
    middle = float(depth.sum() / mask.sum())
    relative = jnp.where(mask, depth - middle, 0)
    return Seen(jnp.stack([mask.astype(depth.dtype), relative], axis=-1), depth), middle


def residuals(drawn: Seen, seen: Seen, weights: jax.Array) -> list[jax.Array]:
    """Differences of outlines at several scales, and of depth."""
    size = len(seen.depth)
    mean = (drawn.outline - seen.outline) * jnp.array([1.0, 2.0])[None, None]
    parts = [weights[len(SQUARES)] * mean]
    for weight, squares in zip(weights[len(SQUARES) - 1 :: -1], SQUARES[::-1], strict=True):
        # Take the means of squares from those of smaller ones.
        side = len(mean) // squares
        mean = mean.reshape(squares, side, squares, side, 2).mean((1, 3))
        parts.append(weight * (size // squares) * mean)
    both = (drawn.depth > 0) & (seen.depth > 0)
    off = jnp.where(both, drawn.depth - seen.depth, 0)
    # Weigh as Cauchy does, by numbers that are no function of the pose.
    ordinary = jax.lax.rsqrt(1 + jax.lax.stop_gradient(off / ORDINARY) ** 2)
    return [*parts, weights[-1] * ordinary * off]


def middle_seen(depth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean `[3]` of the points of a depth picture, in camera space, and whether it has any."""
    size, covered = len(depth), depth > 0
    across = jnp.tan(jnp.radians(FIELD / 2)) * ((jnp.arange(size) + 0.5) * 2 / size - 1)
    points = jnp.stack([across[None] * depth, -across[:, None] * depth, depth], axis=-1)
    count = covered.sum()
    points = jnp.where(covered[..., None], points, 0)
    return points.sum((0, 1)) / jnp.maximum(count, 1), count > 0


def shift_to_middle(
    mesh: jr.Mesh, turns: jax.Array, shifts: jax.Array, seen: Seen, middle: float
) -> jax.Array:
    """The shifts `[N, 3]` with which the model's depth has the same middle as the sensor's.

    It is drawn once for each start, at half the resolution: a twentieth of a step's time.
    """
    wanted, _ = middle_seen(seen.depth)

    @jax.jit
    def shift_all(turns: jax.Array, shifts: jax.Array) -> jax.Array:
        def shift_one(start: tuple[jax.Array, jax.Array]) -> jax.Array:
            turn, shift = start
            drawn = draw(mesh, turn, shift, middle, len(seen.depth) // 2)
            here, any_seen = middle_seen(drawn.depth)
            return jnp.where(any_seen, shift + CAMERA.rotation.T @ (wanted - here), shift)

        return jax.lax.map(shift_one, (turns, shifts), batch_size=8)

    return shift_all(turns, shifts)


def weights_of(step: int, steps: int) -> jax.Array:
    """Those of the quarter that a step lies in."""
    return WEIGHTS[min(len(WEIGHTS) * step // steps, len(WEIGHTS) - 1)]


def random_starts(
    key: jax.Array, turn: jax.Array, shift: jax.Array, count: int, angle: float, far: float
) -> tuple[jax.Array, jax.Array]:
    """Poses up to so many degrees and parts of the object's size off."""
    axis, angles, way, lengths = jax.random.split(key, 4)
    axes = jax.random.normal(axis, (count, 3))
    axes = axes / jnp.linalg.norm(axes, axis=1, keepdims=True)
    turns = from_axis_angle(axes * jnp.radians(angle) * jax.random.uniform(angles, (count, 1)))
    ways = jax.random.normal(way, (count, 3))
    ways = ways / jnp.linalg.norm(ways, axis=1, keepdims=True)
    return turn[None] @ turns, shift[None] + 2 * far * ways * jax.random.uniform(
        lengths, (count, 1)
    )


def arrived(poses: Any, turn: jax.Array, shift: jax.Array) -> np.ndarray:
    """Which poses `[N]` are right."""
    angle = angle_between(poses["turn"], turn[None])
    return np.asarray(
        (angle < ANGLE) & (jnp.linalg.norm(poses["shift"] - shift[None], axis=1) / 2 < SHIFT)
    )


class Adam:
    """Moves all starts by Adam on the same residuals, squared."""

    def __init__(self, problem: Any, starts: dict) -> None:
        self.starts, self.optimizer = starts, optax.adam(1.0)

        def loss(moves: dict, step: jax.Array) -> jax.Array:
            def one(pose: dict) -> jax.Array:
                return jnp.sum(
                    jnp.stack([jnp.sum(part**2) for part in problem(pose, WEIGHTS[step])])
                )

            return jnp.sum(jax.vmap(one)(self.poses(moves)))

        @jax.jit
        def advance(moves: dict, state: Any, step: jax.Array, rate: jax.Array) -> Any:
            update, state = self.optimizer.update(jax.grad(loss)(moves, step), state)
            return jax.tree.map(lambda move, way: move + rate * way, moves, update), state

        self.advance = advance

    def poses(self, moves: dict) -> dict:
        """Where moves from the starts lead."""
        turns = self.starts["turn"] @ from_axis_angle(moves["turn"])
        return {"turn": turns, "shift": self.starts["shift"] + moves["shift"]}

    def run(
        self, rate: float, seconds: float, enough: Any, clock: Any = time.perf_counter
    ) -> tuple[bool, float]:
        """Goes on until enough have arrived; whether that came, and when."""
        zeros = jnp.zeros_like(self.starts["shift"])
        moves = {"turn": zeros, "shift": zeros}
        state = self.optimizer.init(moves)
        jax.block_until_ready(self.advance(moves, state, 0, rate))
        begun = clock()
        while (spent := clock() - begun) < seconds:
            quarter = min(int(len(WEIGHTS) * spent / seconds), len(WEIGHTS) - 1)
            moves, state = self.advance(moves, state, quarter, rate)
            if enough(self.poses(moves)):
                return True, clock() - begun
        return False, spent


def main(
    mesh: str,
    size: int,
    starts: int,
    steps: int,
    angle: float,
    far: float,
    compare: bool,
    output: Path,
) -> float:
    """Moves all starts; returns the part of them that arrives."""
    model = jr.shapes.teapot() if mesh == "teapot" else jr.load_mesh(mesh)
    model = jr.io.normalize(jr.Mesh(model.vertices, model.faces))
    turn, shift = random(jax.random.key(3)), jnp.array([0.1, -0.05, 0.1])
    seen, middle = observe(model, turn, shift, size)

    def problem(pose: dict, weights: jax.Array) -> list[jax.Array]:
        return residuals(draw(model, pose["turn"], pose["shift"], middle, size), seen, weights)

    turns, shifts = random_starts(jax.random.key(0), turn, shift, starts, angle, far)
    begun = time.perf_counter()
    placed = shift_to_middle(model, turns, shifts, seen, middle)
    found = least_squares(
        problem,
        {"turn": Rotation(turns), "shift": placed},
        steps=steps,
        many=True,
        chunk=8,
        schedules={"weights": lambda step: weights_of(step, steps)},
        progress="Levenberg and Marquardt",
    )
    right = arrived(found.every, turn, shift)
    best, seconds = found.params, time.perf_counter() - begun
    print(
        f"{right.mean():.1%} of {starts} starts end within {ANGLE} degrees and {SHIFT:.0%} of the "
        f"size, in {found.steps} steps and {seconds:.1f} s; the best is "
        f"{float(angle_between(best['turn'], turn)):.3f} degrees off"
    )
    if compare:
        descent = Adam(problem, {"turn": turns, "shift": placed})
        for rate in RATES:
            came, spent = descent.run(
                rate,
                20 * seconds,
                lambda poses: arrived(poses, turn, shift).mean() >= right.mean(),
            )
            told = "as many" if came else "fewer"
            print(f"Adam at {rate}: {told} after {spent:.1f} s")

    # Show what the sensor saw, the first start, and where it ended.
    pictures = [seen, draw(model, turns[0], shifts[0], middle, size)]
    last = jax.tree.map(lambda leaf: leaf[0], found.every)
    pictures.append(draw(model, last["turn"], last["shift"], middle, size))
    shown = [jnp.where(picture.depth > 0, middle + 1 - picture.depth, 0) for picture in pictures]
    jr.io.save_image(output, jnp.clip(jnp.concatenate(shown, axis=1) / 2, 0, 1))
    return float(right.mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mesh", nargs="?", default="teapot", help="a mesh file, or teapot")
    parser.add_argument("--size", type=int, default=64, help="side of the pictures, pixels")
    parser.add_argument("--starts", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--angle", type=float, default=30.0, help="at most off, degrees")
    parser.add_argument("--far", type=float, default=0.2, help="at most off, parts of the size")
    parser.add_argument("--adam", action="store_true", help="compare with gradient descent")
    parser.add_argument("--output", type=Path, default=Path("out/pose_from_cad.png"))
    options = parser.parse_args()
    main(
        options.mesh,
        options.size,
        options.starts,
        options.steps,
        options.angle,
        options.far,
        options.adam,
        options.output,
    )
