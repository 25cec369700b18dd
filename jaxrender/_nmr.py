"""`nmr_gradient`: a gradient of visibility for a picture that has none.

Shapes: `H, W` image, `C` channels, `V` vertices.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike, DTypeLike

from jaxrender._checks import check_drawn, check_positive
from jaxrender._types import Fragments, ScreenMesh, struct
from jaxrender.ops.linear import LinearMap, batched_zeros, over_batch
from jaxrender.ops.nmr import visibility_gradient
from jaxrender.ops.sharding import match_varying_axes

MIN_EPS = 1e-9  # where `eps` is traced and not positive


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _with_visibility_gradient(
    image: jax.Array,
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    eps: jax.Array,
    perspective: bool,
) -> jax.Array:
    """The picture as it is; its transpose has what NMR adds, see `nmr_gradient`."""
    return image


def _with_visibility_gradient_jvp(perspective, primals, tangents):
    image, vertices, faces, face, eps = primals
    d_image, d_vertices = tangents[:2]
    moved = jnp.zeros_like(image) if isinstance(d_image, SymbolicZero) else d_image
    if not isinstance(d_vertices, SymbolicZero):
        (by_vertices,) = _VISIBILITY([vertices, faces, face, image, eps], [d_vertices], perspective)
        # The sum hands its cotangent to both; without a tangent there is none to hand it to.
        moved = by_vertices if isinstance(d_image, SymbolicZero) else moved + by_vertices
    return image, moved


_with_visibility_gradient.defjvp(_with_visibility_gradient_jvp, symbolic_zeros=True)


class _VisibilityMap(LinearMap):
    """Stands for a Jacobian that has no program, only a transpose: NMR's rule.

    The tangents of vertices go in, that of the picture would come out. Reverse mode transposes the
    map before it runs; whoever runs it wants forward mode. (The rule is not linear in the
    cotangent. JAX adds a cotangent up before it calls a transpose, so that changes nothing.)
    """

    def forward(self, *arrays, count, shapes, options, unused=()):
        raise NotImplementedError(
            "NMR's gradient of visibility has reverse mode only, got forward mode, as of jax.jvp, "
            'jax.jacfwd or fitting.least_squares. Draw with Hard(visibility_gradient="edge"), '
            '"antialias" or Soft(…), which have both.'
        )

    def backward(self, *arrays, count, shapes, options, unused=()):
        def single(vertices, faces, face, image, eps, cotangent):
            return [
                visibility_gradient(
                    vertices, faces, face, image, cotangent, eps, perspective=options
                )
            ]

        return over_batch(single, arrays)

    def plainly_backward(self, *arrays, count, shapes, options, unused=()):
        raise NotImplementedError(
            "A picture with NMR's gradient of visibility can be differentiated once, got a "
            "derivative of its derivative, as of jax.hessian. Draw with "
            'Hard(visibility_gradient="antialias"), which has derivatives of any order.'
        )

    def abstract_forward(self, *arrays, count, shapes, options, unused=()):
        image = arrays[3]
        return batched_zeros([(image.shape[1:], image.dtype)], arrays)

    def abstract_backward(self, *arrays, count, shapes, options, unused=()):
        return batched_zeros(shapes, arrays)


_VISIBILITY = _VisibilityMap(
    "jaxrender_nmr_visibility", lambda *args: None, lambda *args: None
)  # its programs are its own


def nmr_gradient(
    image: jax.Array, fragments: Fragments, screen: ScreenMesh, *, eps: ArrayLike = 1e-3
) -> jax.Array:
    r"""Gives a hard picture the visibility gradient of the Neural 3D Mesh Renderer.

    Returns the picture as it is. Backwards, besides handing the gradient on to the picture, it
    adds one to `screen.vertices`, `x` and `y`: for each edge of each visible face, and each pixel
    of the rows and columns that it crosses, how far the loss would fall if the edge moved
    there, over how far its ends would have to move. With `G` the gradient of the loss to the
    picture, `r` the pixel across the edge whose colour pixel `q` would take, and `D_a` the way of
    end `a`,

        ∂L/∂a = -Σ_q max(0, Σ_c (I_c[q] - I_c[r]) G_c[q]) / (D_a(q) ± eps)

    It is not the derivative of the picture, which is zero almost everywhere, nor of what its edges
    show, and it need not point downhill: it was measured up to 190 times as long as that, and
    now and then the other way (for an object that the picture's border cuts, or smooth colours).
    What it has is reach: a pixel pulls on all edges of its row and column, however far. For the
    derivative at edges take `edge_gradient` or `antialias`. It is zero at faces that no pixel sees,
    and where no change lowers the loss. The channels are summed before the maximum is taken, so
    apply it once to all channels of a loss, and before anti-aliased samples are averaged.
    `jaxrender/ops/nmr` has the derivation.

    An edge that passes behind the camera is cut in front of it, and only there `z` gets a
    gradient too.

    Gradient: reverse mode, once; there are no second derivatives, and `jax.jvp` to
    `vertices` raises; the image has both modes. None to `eps`. Under `jax.vmap` all views are
    one fused call.

    Args:
        image: `[H, W, C]` any channels (rgb, alpha, features), background included; or `[H, W]`.
        fragments: what `rasterize_hard` made of `screen`; only `face` `[H, W]` is used.
        screen: the mesh in screen space: `vertices` `[V, 3]`, `faces` `[F, 3]`.
        eps: `[]` least way of an edge, screen units; positive. It bounds the gradient.

    Returns:
        The image.

    Raises:
        ValueError: a shape, dtype or range is not as above.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrender as jr
        >>> corners = jnp.array([[-0.5, -0.5, 2.0], [0.5, -0.5, 2.0], [0.0, 0.5, 2.0]])
        >>> def missing(corners):  # how much of the picture is empty
        ...     screen = jr.ScreenMesh(corners, jnp.array([[0, 1, 2]]))
        ...     seen = jr.rasterize_hard(screen, image_size=(16, 16))
        ...     alpha = jr.nmr_gradient((seen.face >= 0).astype(float), seen, screen)
        ...     return 1 - alpha.mean()
        >>> downhill = -jax.grad(missing)(corners)
        >>> bool(downhill[0, 0] < 0 < downhill[1, 0]), bool(downhill[2, 1] > 0)
        (True, True)

    References:
        Kato et al., Neural 3D Mesh Renderer, CVPR 2018, arXiv:1711.07566, section 3.
    """
    channels, screen = check_drawn(image, fragments, screen, "nmr_gradient")
    eps = jnp.maximum(check_positive("eps", eps, screen.vertices.dtype), MIN_EPS)
    args = (channels, screen.vertices, screen.faces, fragments.face, eps)
    with jax.named_scope("visibility"):
        args = (*match_varying_axes(args, args), screen.perspective)
        return jnp.reshape(_with_visibility_gradient(*args), jnp.shape(image))


@struct
class NMR:
    """`Hard(visibility_gradient=NMR(eps=…))`: `nmr_gradient`, as `render` and `silhouette` take it.

    Attributes:
        eps: `[]` least way of an edge, screen units; positive; traced.
    """

    eps: ArrayLike = 1e-3  # []

    def __call__(self, picture: jax.Array, fragments: Fragments, screen: ScreenMesh) -> jax.Array:
        """The picture, with that gradient."""
        return nmr_gradient(picture, fragments, screen, eps=self.eps)

    def checked(self, name: str, dtype: DTypeLike) -> NMR:
        """Itself, with `eps` as a scalar.

        Raises:
            ValueError: it is not a positive number.
        """
        return NMR(check_positive(f"{name}.eps", self.eps, dtype))
