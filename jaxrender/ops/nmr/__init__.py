r"""The approximate gradient of visibility of the Neural 3D Mesh Renderer (Kato et al. 2018).

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image, `C` channels, `E` = 6 sweeps, which are
the 3 edges of a face x 2 axes, `P` pixels of a pass, `K` edge pixels of a sweep, `L` pixels of a
scanline.

**What it approximates.** A hard picture is piecewise constant in the positions of vertices: a
pixel changes only when an edge arrives at its centre, so the true derivative is zero almost
everywhere. NMR takes the finite difference to that arrival instead. Follow one scanline,
a column for the vertical axis, a row for the horizontal one; let `v` count along it, `u` number
it, and let an edge from `a` to `b` of the face that a pixel sees cross it at

    v*(u) = a_v + (b_v - a_v) (u - a_u) / (b_u - a_u)

Moving `a` along the line by some distance moves the crossing by (b_u - u) / (b_u - a_u) times as
much. So to bring the edge to pixel `q` of the line, `a` must move by

    D_a(q) = (v_q - v*) (b_u - a_u) / (b_u - u)     and b by  (v_q - v*) (b_u - a_u) / (u - a_u)

When it arrives, `q` takes the colour of a reference pixel `r` on the other side of the edge, and
with the cotangent `G` of the picture the loss falls by about

    δ(q) = Σ_c (I_c[q] - I_c[r]) G_c[q]

The gradient to `a` is the slope of that fall, -δ / D_a, summed over all pixels `q`:

- **outwards** (the face grows): `r` is the pixel just inside the edge, where it is this face that
  is seen; `q` runs from the pixel just outside to the border of the picture;
- **inwards** (the face shrinks): `r` is the pixel just outside the edge; `q` runs over all pixels
  of the line that see this face.

`D` is in screen units and kept `eps` away from zero.

**When it is zero.** Where no pixel sees the face; where δ <= 0, that is where the loss would
rise: the gradient only ever says which way is downhill (its opposite direction is another edge's
affair); where nothing changes, δ = 0. The channels are summed before that test, so the gradient
of rgb and alpha together is not the sum of their gradients. There is none in depth.

**Why it reaches far.** A pixel pulls on every edge of its row and column however distant, with a
strength that falls as 1 / distance: a silhouette is drawn to a target that it does not touch yet.

**How it is done.** On a CPU a kernel does it face by face (see `ops/cpu/visibility.py`). On a GPU,
and where no kernel can run, the inward part is one term for each (visible pixel, sweep), with no
search: its face tells the edge, the edge tells v* and r. The outward part exists only at pixels
right inside an edge; these are listed, and each is one row of a table [K, L] over its whole line.
Both run in passes of fixed size, as many as it takes: there is no capacity, and memory is
O(pixels + faces). A CPU sweeps six times over the pixels of a pass, a GPU all six ways at once.

Peculiarities kept from the original, with rows counted from the bottom as it does:

- an edge that ends less than one pixel before the picture still acts, extrapolated, on line 0;
- where the inward limit v_lim, the far side of the face, is undefined because an edge lies along
  the line through a pixel centre, it is 0;
- an end that lies exactly on the line (its divisor is 0) gets nothing from it.

Beyond the original: under perspective an edge that passes behind the camera is cut in front of it,
where the picture has it, and the gradient of the cut goes to both ends by the chain rule, depth
included; the original takes such corners where they are mirrored to.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrender.ops import cpu
from jaxrender.ops.batching import batch_size, fold_vmap_scheduled
from jaxrender.ops.cpu import Kernel
from jaxrender.ops.nmr.passes import CPU, GPU, Schedule, differentiate_by_passes

SCHEDULES: dict[str, Schedule | None] = {"kernel": None, "cpu": CPU, "gpu": GPU}


def visibility_gradient(
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    image: jax.Array,
    cotangent: jax.Array,
    eps: jax.Array,
    *,
    perspective: bool = True,
    schedule: str | None = None,
) -> jax.Array:
    """The gradient `[V, 3]` to screen-space vertices. Not differentiable itself.

    Args:
        vertices: `[V, 3]` screen space.
        faces: `[F, 3]` int32.
        face: `[H, W]` int32 the face that each pixel sees, -1 for none.
        image: `[H, W, C]` the picture, background included.
        cotangent: `[H, W, C]` of the picture: the gradient of the loss to it.
        eps: `[]` least distance, screen units.
        perspective: whether edges are cut where they pass behind the camera.
        schedule: a key of `SCHEDULES`; by default that of the platform.
    """
    operation = _single_view(perspective, schedule)
    return operation(vertices, faces, face, image, cotangent, eps)


@functools.cache
def _single_view(perspective: bool, schedule: str | None):
    """The operation for these static settings; made once, so that `vmap` rules are too."""
    differentiate = functools.partial(_differentiate, perspective=perspective)
    return fold_vmap_scheduled(differentiate, SCHEDULES, schedule)


def _differentiate(
    *arrays: jax.Array,  # as of `visibility_gradient`, each [B or 1, ...]
    perspective: bool,
    schedule: Schedule | None,  # None is by the kernel, where it can run
) -> jax.Array:
    vertices, faces, face, image, cotangent, eps = arrays
    if 0 in (*vertices.shape, *faces.shape, *image.shape):
        return jnp.zeros((batch_size(*arrays), *vertices.shape[1:]), vertices.dtype)
    if schedule is None and cpu.can_take(vertices.dtype):
        integers = (index.astype(jnp.int32) for index in (faces, face))
        pictures = (array.astype(vertices.dtype) for array in (image, cotangent, eps))
        shape = batch_size(*arrays), *vertices.shape[1:]
        (gradient,) = _VISIBILITY(
            vertices,
            *integers,
            *pictures,
            results=[(shape, vertices.dtype)],
            options=[perspective],
        )
        return gradient
    return differentiate_by_passes(*arrays, perspective=perspective, schedule=schedule or CPU)


def _by_passes(*arrays: jax.Array, results: Any, options: Any) -> Sequence[jax.Array]:
    """The same as the kernel."""
    return [differentiate_by_passes(*arrays, perspective=bool(options[0]), schedule=CPU)]


_VISIBILITY = Kernel("visibility", _by_passes)
