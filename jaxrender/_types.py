"""The structs that flow from stage to stage: mesh, camera, lights, screen mesh, fragments, image.

All are frozen dataclasses and pytrees, so `jax.jit`, `jax.grad` and `jax.vmap` pass through
them. Each describes one scene and one view; a batch is `jax.vmap`. They check nothing when
they are built, because JAX rebuilds them with placeholders; the public functions do.

Shape legend: `V` vertices, `F` faces, `H, W` image, `D` directional and `P` point lights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.typing import ArrayLike

from jaxrender.ops.pytrees import static, struct

NO_FACE = -1  # in `Fragments.face`: no face is seen here


@struct
class Mesh:
    """A triangle mesh in world space.

    Attributes:
        vertices: `[V, 3]` positions, scene units.
        faces: `[F, 3]` int32 vertex indices; counter-clockwise on screen is the front.
        texture: one of `VertexColors`, `FaceTexels`, `FaceCubes`, `UVTexture`, or None for white.
    """

    vertices: jax.Array  # [V, 3]
    faces: jax.Array  # [F, 3]
    texture: Any = None


def is_padding(faces: jax.Array) -> jax.Array:
    """Which faces `[F]` name one vertex three times, as those that `pad_meshes` appends."""
    return (faces[:, 0] == faces[:, 1]) & (faces[:, 1] == faces[:, 2])


@struct
class Perspective:
    """A symmetric perspective projection.

    Attributes:
        fov: `[]` the full vertical field of view, degrees.
    """

    fov: jax.Array  # []


@struct
class Orthographic:
    """A parallel projection.

    Attributes:
        height: `[]` scene units from the bottom to the top of the picture.
    """

    height: jax.Array  # []


@struct
class Pinhole:
    """A calibrated camera with lens distortion.

    Attributes:
        matrix: `[3, 3]` intrinsics K in pixels; (0, 0) is the picture's upper left corner,
            so the centre of the first pixel is (0.5, 0.5).
        distortion: `[5]` k1, k2, p1, p2, k3 as in OpenCV.
        image_size: `(H, W)` of the picture that K was calibrated for; static.
    """

    matrix: jax.Array  # [3, 3]
    distortion: jax.Array  # [5]
    image_size: tuple[int, int] = static()


@struct
class Camera:
    """Where a camera stands and how it projects.

    A world point `X` lies at `X @ rotation.T + translation` in camera space: `x` right,
    `y` up, `z` forward. That space is left-handed, so in a right-handed world the rotation is
    orthonormal with determinant -1; it turns as `rotation @ exp(w)`.

    Attributes:
        rotation: `[3, 3]` rows are the camera's right, up and forward axes in the world.
        translation: `[3]` scene units.
        projection: how camera space meets the picture.
    """

    rotation: jax.Array  # [3, 3]
    translation: jax.Array  # [3]
    projection: Perspective | Orthographic | Pinhole


@struct
class Lights:
    """Ambient light plus any number of directional and point lights.

    Directions and positions are in world space. Colours are factors of rgb: they multiply the
    texture's values as they are, whatever its encoding (see `shade`).

    Attributes:
        ambient: `[3]` light from everywhere.
        directions: `[D, 3]` from the surface towards each directional light; their length
            scales the light, as in NMR and SoftRas.
        direction_colors: `[D, 3]`.
        positions: `[P, 3]` of the point lights, scene units.
        position_colors: `[P, 3]`.
        specular: `[3]` colour of the surface's mirror-like reflection; 0 is matte.
        shininess: `[]` exponent of that reflection.
    """

    ambient: jax.Array  # [3]
    directions: jax.Array  # [D, 3]
    direction_colors: jax.Array  # [D, 3]
    positions: jax.Array  # [P, 3]
    position_colors: jax.Array  # [P, 3]
    specular: jax.Array  # [3]
    shininess: jax.Array  # []


@struct
class ScreenMesh:
    """A mesh as the camera sees it, ready to be rasterised.

    Edges are straight between the vertices, and so 1/z or z: what a lens bends between them is
    not here (see `pinhole`). Large triangles want `subdivide`, or pictures drawn without the lens
    and moved, by `distort`.

    Attributes:
        vertices: `[V, 3]`: `x`, `y` in [-1, 1] across the picture's width and height, `y` up;
            `z` the camera-space depth, scene units. With `perspective`, a vertex behind the
            camera has `z < 0` and its `x`, `y` divided by that `z`, as `project` returns it.
        faces: `[F, 3]` int32.
        perspective: whether 1/z (True) or z (False) is linear on screen; static.
    """

    vertices: jax.Array  # [V, 3]
    faces: jax.Array  # [F, 3]
    perspective: bool = static(default=True)


@struct
class Fragments:
    """What a hard rasteriser sees at each pixel.

    Attributes:
        face: `[H, W]` int32 index of the nearest face, or `NO_FACE`.
        barycentrics: `[H, W, 3]` perspective-correct; 0 where there is no face.
        depth: `[H, W]` camera-space depth, scene units; where there is no face `far`, or 0
            without `far`.
    """

    face: jax.Array  # [H, W]
    barycentrics: jax.Array  # [H, W, 3]
    depth: jax.Array  # [H, W]


@struct
class Hard:
    """How `render` draws: with a z-buffer, each sample showing the one face nearest to it.

    Attributes:
        visibility_gradient: how the picture depends on which face is seen where: None, not at
            all, or "nmr", the approximation of Kato et al. 2018 (see `nmr_gradient`); static.
        eps: `[]` of that gradient: the least way of an edge, screen units.
        interpolation_gradient: whether colours also depend on the mesh and the camera by where
            on its face a sample looks, which is exact; NMR leaves it out. Static.
    """

    visibility_gradient: str | None = static(default=None)
    eps: ArrayLike = 1e-3  # []
    interpolation_gradient: bool = static(default=True)


@struct
class Soft:
    """How `render` draws: with all triangles that reach a pixel, blended (see `rasterize_soft`).

    Attributes:
        sigma: `[]` blur, in squared half image heights.
        gamma: `[]` depth temperature, in fractions of the depth range of what is drawn, or of
            `far - near` where `far` is given.
        eps: `[]` how near the background is, in the same fractions: from `far`, or from one depth
            range behind the farthest thing that is drawn.
        cutoff: `[]` the coverage below which a triangle does not count.
        distance: "euclidean", "barycentric" or "hard"; static.
        distribution: a name in `distributions.DISTRIBUTIONS`, or a function; static.
        squared: whether it takes the squared distance over `sigma`, or its root; static.
        aggregate_rgb: "softmax", "hard", or None: alpha alone is drawn; static.
        aggregate_alpha: "prod", "sum", "hard", or a T-conorm or its name; static.
        faithful: whether to reproduce SoftRas's arithmetic, quirks included; then `far` must be
            given. Static.
    """

    sigma: ArrayLike = 1e-5  # []
    gamma: ArrayLike = 1e-4  # []
    eps: ArrayLike = 1e-3  # []
    cutoff: ArrayLike = 1e-4  # []
    distance: str = static(default="euclidean")
    distribution: str | Callable[[jax.Array], jax.Array] = static(default="logistic")
    squared: bool = static(default=True)
    aggregate_rgb: str | None = static(default="softmax")
    aggregate_alpha: Any = static(default="prod")
    faithful: bool = static(default=False)

    @classmethod
    def softras(cls, **changes: Any) -> Soft:
        """The settings that SoftRas has by default, whatever the defaults of this class are.

        Its `gamma` and `eps` are fractions of its depth range: pass `near=1, far=100` beside it
        for the pictures of the original, and `faithful=True` here for its quirks as well.

        Args:
            **changes: fields of `Soft` in place of SoftRas's.

        Returns:
            The settings.

        Raises:
            TypeError: a name is not a field.

        Example:
            >>> import jaxrender as jr
            >>> how = jr.Soft.softras(sigma=1e-4)
            >>> how.sigma, how.gamma, how.distribution
            (0.0001, 0.0001, 'logistic')

        References:
            Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786, and its program.
        """
        return cls(**(SOFTRAS | changes))


# The defaults of SoftRas's renderer; its `dist_eps` is `cutoff` here.
SOFTRAS: dict[str, Any] = {
    "sigma": 1e-5,
    "gamma": 1e-4,
    "eps": 1e-3,
    "cutoff": 1e-4,
    "distance": "euclidean",
    "distribution": "logistic",
    "squared": True,
    "aggregate_rgb": "softmax",
    "aggregate_alpha": "prod",
}


@struct
class Image:
    """A rendered picture. Row 0 is the top.

    Attributes:
        rgb: `[H, W, C]` colour (or features), background included.
        alpha: `[H, W]` in [0, 1], how much of the pixel the mesh covers.
        depth: `[H, W]` camera-space depth, scene units, of what the mesh covers of the pixel;
            where there is nothing `far`, or 0 without `far`.
        encoding: of `rgb`, "display" or "linear", as the texture had it; static.
    """

    rgb: jax.Array  # [H, W, C]
    alpha: jax.Array  # [H, W]
    depth: jax.Array  # [H, W]
    encoding: str = static(default="display")
