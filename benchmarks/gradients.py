"""`python -m benchmarks.gradients`: which gradient of a sharp picture is right when.

Of each scene (`gradient_scenes.py`) the loss is linear: a smooth picture of weights times the unlit
picture. The truth is its central difference, by pictures of 24 x 24 samples a pixel in float64; its
own error is how far the differences of two steps, one half of the other, are apart. Beside it
stands what each gradient says of the same motions of vertices: the pose of what moves (three
shifts, three turns), its shift along x alone, and single vertices. The cosine is that of the angle
between the two, the length that of the gradient in units of the truth's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from benchmarks.gradient_scenes import EYE, FOV, Scene, scenes

SIZE, SAMPLES = 48, 24  # of pictures; of the truth, along each axis
STEPS = {"pose": 0.25, "vertex": 0.1}  # pixels by which what moves most moves
LEAST_KNOWN = 0.05  # error of the truth up to which anything is compared with it
RESULTS = Path(__file__).parent / "results" / "gradients.json"
BEGIN, END = "<!-- GRADIENT TABLES: python -m benchmarks.gradients -->", "<!-- END OF TABLES -->"

# By the names of the tables: how to draw, and with how many samples along each axis.
WAYS: dict[str, tuple[jr.Hard | jr.Soft, int]] = {
    "NMR": (jr.Hard("nmr"), 1),
    "NMR 4x4": (jr.Hard("nmr"), 4),
    "Soft": (jr.Soft(gamma=0.3), 1),
    "Soft, gamma 1e-4": (jr.Soft(gamma=1e-4), 1),
    "edge": (jr.Hard("edge"), 1),
    "edge 4x4": (jr.Hard("edge"), 4),
    "antialias": (jr.Hard("antialias"), 1),
    "antialias 4x4": (jr.Hard("antialias"), 4),
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser("benchmarks.gradients", description=__doc__)
    option = parser.add_argument
    option("--scene", default="", metavar="TEXT", help="only scenes with TEXT in their name")
    option("--json", type=Path, default=RESULTS, metavar="PATH", help="where results are kept")
    option("--write", type=Path, metavar="PATH", help="put the tables into that page")
    option("--measured", action="store_true", help="measure nothing, take what is in the file")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    results = json.loads(options.json.read_text()) if options.json.exists() else {}
    for scene in [] if options.measured else scenes():
        if options.scene in scene.name:
            results[scene.name] = measure(scene)
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{scene.name}: {results[scene.name]['ways']}", flush=True)
    print(tables(results))
    if options.write:
        page = options.write.read_text()
        before, rest = page.split(BEGIN)
        page = f"{before}{BEGIN}\n{tables(results)}\n{END}{rest.split(END)[1]}"
        options.write.write_text(page)
    return 0


# --- what is measured -----------------------------------------------------------------------------


def camera() -> jr.Camera:
    """The view of all scenes."""
    return jr.look_at(jnp.asarray(EYE), projection=jr.perspective(FOV))


def weights(size: int) -> jax.Array:
    """The smooth picture that makes a loss of a picture; another for each colour."""
    y, x = jnp.mgrid[:size, :size] / size
    waves = [jnp.cos(5 * x + 2 * y) + jnp.sin(4 * y - x), jnp.sin(6 * x - 3 * y + 1)]
    waves.append(jnp.cos(3 * x + 5 * y + 2) - 0.5 * jnp.sin(5 * x))
    return jnp.stack(waves, -1) / size**2


def loss(
    vertices: jax.Array,
    mesh: jr.Mesh,
    silhouette: bool,
    way: jr.Hard | jr.Soft,
    *,
    samples: int,
    size: int = SIZE,
) -> jax.Array:
    """The weighted sum of the picture of a mesh whose vertices are elsewhere."""
    image = jr.render(
        jr.Mesh(vertices, mesh.faces, mesh.texture),
        camera(),
        image_size=(size, size),
        shading="none",
        anti_aliasing=samples,
        rasterizer=way,
    )
    weight = weights(size)
    colors, coverage = (image.rgb * weight).sum(), (image.alpha * weight[..., 0]).sum()
    return jnp.where(silhouette, coverage, colors)


STATIC = ("samples", "size")
draw = jax.jit(loss, static_argnames=STATIC)
slope = jax.jit(jax.grad(loss), static_argnames=STATIC)


def slope_by(scene: Scene, way: jr.Hard | jr.Soft, samples: int, size: int = SIZE) -> np.ndarray:
    """The gradient of vertices `[V, 3]`."""
    if isinstance(way, jr.Hard) and way.visibility_gradient == "antialias":
        way = jr.Hard(jr.Antialias(jr.number_edges(scene.mesh.faces)))
    vertices = scene.mesh.vertices
    return np.asarray(
        slope(vertices, scene.mesh, scene.silhouette, way, samples=samples, size=size)
    )


def truth(
    scene: Scene, kind: str, samples: int = SAMPLES, size: int = SIZE
) -> tuple[np.ndarray, float]:
    """The derivatives by motions `[K]`, and how far those of two steps are apart, relatively."""
    hard, found = jr.Hard(), []
    for motion in scene.motions()[kind]:
        for share in (1.0, 0.5):
            step = share * STEPS[kind] / _pixels_per_unit(scene, motion, size)
            up, down = (
                draw(end, scene.mesh, scene.silhouette, hard, samples=samples, size=size)
                for end in (scene.mesh.vertices + sign * step * motion for sign in (1, -1))
            )
            found.append(float(up - down) / (2 * step))
    whole, half = np.reshape(found, (-1, 2)).T
    return half, float(np.linalg.norm(whole - half) / np.linalg.norm(half))


def _pixels_per_unit(scene: Scene, motion: np.ndarray, size: int) -> float:
    """How far on screen the vertex that moves most goes, by a small unit."""
    small = 1e-4
    places = (scene.mesh.vertices + end * motion for end in (0.0, small))
    here, there = (np.asarray(jr.project(p, camera(), image_size=(size, size))) for p in places)
    way = np.linalg.norm((there - here)[:, :2] * size / 2, axis=-1)
    return float(way[np.abs(here[:, :2]).max(-1) < 1.5].max() / small)


def compare(found: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The cosine between two gradients, and the length of one over that of the other."""
    lengths = np.linalg.norm(found), np.linalg.norm(right)
    cosine = found @ right / max(lengths[0] * lengths[1], 1e-300)
    return float(cosine), float(lengths[0] / lengths[1])


def measure(scene: Scene) -> dict[str, Any]:
    """All figures of a scene."""
    motions = scene.motions()
    right, errors = {}, {}
    for kind in motions:
        right[kind], errors[kind] = truth(scene, kind)
    right["x"], errors["x"] = right["pose"][:1], errors["pose"]
    inside = _inside(scene) if scene.hides else None
    result: dict[str, Any] = {"errors": errors, "ways": {}}
    for name, (way, samples) in WAYS.items():
        gradient = slope_by(scene, way, samples)
        found = {kind: (ways * gradient).sum((1, 2)) for kind, ways in motions.items()}
        found["x"] = found["pose"][:1]
        row: dict[str, Any] = {kind: compare(found[kind], right[kind]) for kind in right}
        if inside is not None:
            sizes = np.linalg.norm(gradient, axis=-1) * scene.moved
            row["inside"] = float(sizes[inside].sum() / sizes.sum())
        result["ways"][name] = row
    return result


def _inside(scene: Scene) -> np.ndarray:
    """Which vertices are corners of no face that is seen next to the background."""
    count = SIZE * SAMPLES
    screen = jr.ScreenMesh(
        jr.project(scene.mesh.vertices, camera(), image_size=(count, count)), scene.mesh.faces
    )
    face = np.asarray(jr.rasterize_hard(screen, image_size=(count, count)).face)
    pairs = [(a, b) for x in (face, face.T) for a, b in ((x[1:], x[:-1]), (x[:-1], x[1:]))]
    outer = np.concatenate([one[other < 0] for one, other in pairs])
    inside = np.ones(len(scene.moved), bool)
    inside[np.asarray(scene.mesh.faces)[outer[outer >= 0]]] = False
    return inside


# --- how it is told -------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> str:
    """The figures as tables in Markdown, one for each kind of motion."""
    titles = {
        "pose": "Pose, three shifts and three turns: cosine / length",
        "x": "Shift along x alone: the slope, in units of the truth's",
        "vertex": "Single vertices: cosine / length",
    }
    told: dict[str, Callable[[Any], str]] = {
        "pose": _both,
        "x": lambda pair: f"{pair[1] * np.sign(pair[0]):.2f}",
        "vertex": _both,
    }
    lines = []
    for kind, title in titles.items():
        lines += ["", f"{title}:", "", f"| scene | {' | '.join(WAYS)} | truth's own error |"]
        lines.append("| --- " * (len(WAYS) + 2) + "|")
        for name, result in results.items():
            known = result["errors"][kind] <= LEAST_KNOWN
            cells = [told[kind](result["ways"][way][kind]) if known else "–" for way in WAYS]
            lines.append(f"| {name} | {' | '.join(cells)} | {result['errors'][kind]:.1%} |")
    lines += ["", "Share of the gradient at vertices that have none:", ""]
    lines += [f"| scene | {' | '.join(WAYS)} |", "| --- " * (len(WAYS) + 1) + "|"]
    for name, result in results.items():
        if "inside" in result["ways"]["NMR"]:
            cells = [f"{result['ways'][way]['inside']:.0%}" for way in WAYS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines[1:]) + "\n"


def _both(pair: tuple[float, float]) -> str:
    cosine, length = pair
    size = f"{length:.2f}" if length < 10 else f"{length:.0f}"
    return f"{cosine:.3f}".replace("0.", ".", 1) + f" / {size}"


if __name__ == "__main__":
    sys.exit(main())
