"""The structs that flow from stage to stage: mesh, camera, lights, screen mesh, fragments, image.

All are frozen dataclasses and pytrees, so `jax.jit`, `jax.grad` and `jax.vmap` pass through
them. Each describes one scene and one view; a batch is `jax.vmap`. They check nothing when
they are built, because JAX rebuilds them with placeholders; the public functions do.

Shape legend: `V` vertices, `F` faces, `N` normals, `H, W` image, `D` directional and `P` point
lights.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import ArrayLike as NumPyArrayLike

from jaxrender._arrays import as_array, float_dtype
from jaxrender._choices import ColorAggregation, Distance, Distribution, Encoding
from jaxrender._pixels import CLIP_HINT, clipped, eight_bit, encode, warn_of_clipping
from jaxrender.ops.pytrees import static, struct, variant

LEAST_ALPHA = 1e-3  # by which `Image.to_rgba` divides
SHEET = 8  # pictures in a row, where a batch shows itself
NO_FACE = -1  # in `Fragments.face`: no face is seen here

# GPUs would otherwise round the factors to 10 bits.
_times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


@struct
class Mesh:
    """A triangle mesh in world space.

    Attributes:
        vertices: `[V, 3]` positions, scene units.
        faces: `[F, 3]` int32 vertex indices; counter-clockwise on screen is the front.
        texture: a `Texture`, such as `VertexColors` or one of your own, or None for white.
        normals: `[N, 3]` normals of any length but 0, which "gouraud" and "phong" shading take in
            place of `vertex_normals`; or None. They are those of a shape: change the vertices
            with `with_vertices`, which drops them, or with `transformed`, which turns them.
        normal_faces: `[F, 3]` int32 indices into `normals`, one per corner of each face; or None:
            there is one normal for each vertex, and `faces` serve.
        material: a `Material`, what surfaces do beyond colours, or None.
    """

    vertices: jax.Array  # [V, 3]
    faces: jax.Array  # [F, 3]
    texture: Any = None
    normals: jax.Array | None = None  # [N, 3]
    normal_faces: jax.Array | None = None  # [F, 3]
    material: Any = None

    def with_vertices(self, vertices: NumPyArrayLike) -> Mesh:
        """The mesh with its vertices elsewhere, as in a fit, and without the normals that it had.

        Normals of a file belong to the shape in the file. Without them, light falls by
        `vertex_normals`, which follow the vertices.

        Gradient: passes through.

        Args:
            vertices: `[V, 3]` scene units; what draws the mesh checks them.

        Returns:
            The mesh, with the same faces and texture.

        Raises:
            ValueError: they are no array.

        Example:
            >>> import jaxrender as jr
            >>> ball = jr.shapes.icosphere(1)
            >>> ball.with_vertices(2 * ball.vertices).faces is ball.faces
            True
        """
        vertices = as_array("vertices", vertices)
        return dataclasses.replace(self, vertices=vertices, normals=None, normal_faces=None)

    def transformed(self, matrix: NumPyArrayLike) -> Mesh:
        """The mesh moved as a whole, by an affine map: its normals turn with it.

        A vertex `v` goes to `A v + t`, a normal `n` to `± det(A) A⁻ᵀ n`, which keeps to the side of
        the surface that it was on; faces keep their corners, so a map that mirrors turns their
        fronts to the inside.

        Gradient: exact to the matrix, vertices and normals.

        Args:
            matrix: `[4, 4]`, or its upper three rows `[3, 4]`: `A` and behind it `t`.

        Returns:
            The mesh, with the same faces and texture.

        Raises:
            ValueError: the matrix has another shape.

        Example:
            >>> import jax.numpy as jnp, jaxrender as jr
            >>> up = jnp.eye(4).at[1, 3].set(2.0)
            >>> jr.shapes.cube(2.0).transformed(up).vertices[0].tolist()
            [-1.0, 1.0, -1.0]
        """
        vertices = as_array("vertices", self.vertices)
        vertices = vertices.astype(float_dtype(vertices))
        matrix = as_array("matrix", matrix, vertices.dtype)
        if matrix.shape not in ((4, 4), (3, 4)):
            raise ValueError(
                f"`matrix` must be an affine map [4, 4] or [3, 4], got {list(matrix.shape)}. "
                "Pass one; use jax.vmap for several."
            )
        linear, shift = matrix[:3, :3], matrix[:3, 3]
        vertices = _times(vertices, linear.T) + shift[None]
        normals = self.normals
        if normals is not None:
            cofactors = jnp.stack([jnp.cross(linear[k - 2], linear[k - 1]) for k in range(3)])
            sign = jnp.where((cofactors[0] * linear[0]).sum() < 0, -1, 1).astype(matrix.dtype)
            normals = _times(jnp.asarray(normals, matrix.dtype), (sign * cofactors).T)
        return dataclasses.replace(self, vertices=vertices, normals=normals)


def is_padding(faces: jax.Array) -> jax.Array:
    """Which faces `[F]` name one vertex three times, as those that `pad_meshes` appends."""
    return (faces[:, 0] == faces[:, 1]) & (faces[:, 1] == faces[:, 2])


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
class Projection:
    """How camera space meets the picture: what all camera models share.

    To add one, derive a class from this one: annotate its arrays, as in a dataclass, write
    `to_screen`, and hand it to `look_at`, `look` or `Camera`. It becomes a `struct` by itself. Only
    vertices go through `to_screen`; edges between them are straight on screen, and what lies 90
    degrees or more off the axis is behind the camera. `distort` takes `Pinhole` alone.

    Attributes:
        parallel: whether the rays are parallel, so that depth is linear on screen; else they
            meet in one point, and 1/depth is. Of the class.
        shapes: of fields by name, those that are not to be any; of the class.
        image_size: `(H, W)` of the picture that the model was calibrated for, or None: pictures of
            any aspect; a class attribute, or a static field.

    Example:
        >>> import jax.numpy as jnp, jaxrender as jr
        >>> class Fisheye(jr.Projection):  # equidistant: 90 degrees off the axis lie at 1
        ...     def to_screen(self, x, y, image_size):
        ...         height, width = image_size or (1, 1)
        ...         r = jnp.sqrt(x**2 + y**2 + 1e-12)
        ...         scale = jnp.arctan(r) / r * (2 / jnp.pi)
        ...         return x * scale * height / width, y * scale
        >>> camera = jr.look_at((0.0, 0.0, 1.0), projection=Fisheye())
        >>> jr.project([[1.0, 0.0, 0.0]], camera).tolist()
        [[0.5, 0.0, 1.0]]
    """

    parallel: ClassVar[bool] = False
    shapes: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    image_size: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Makes the model a frozen dataclass and a pytree."""
        super().__init_subclass__(**kwargs)
        struct(cls)

    def to_screen(
        self, x: jax.Array, y: jax.Array, image_size: tuple[int, int] | None
    ) -> tuple[jax.Array, jax.Array]:
        """Where rays of camera space meet the picture.

        Its gradient must be finite wherever the ray goes, also far outside of the picture.

        Args:
            x: `[V]` to the right: `X / Z` of points of camera space, or `X` if `parallel`.
            y: `[V]` up: `Y / Z`, or `Y` if `parallel`. A point behind the camera lies on the ray
                of the point opposite to it.
            image_size: `(H, W)` of the picture to be made, or None: the model's own, or a square.

        Returns:
            `x`, `y` `[V]`, [-1, 1] across the picture's width and height, `y` up.

        Raises:
            NotImplementedError: the class does not say.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no to_screen. Write to_screen(self, x, y, image_size), "
            "which returns x and y in [-1, 1]; see jaxrender.Projection."
        )


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
    projection: Projection


@struct
class Lights:
    """Ambient light plus any number of directional, point and spot lights.

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
        reflection: how a point of a surface reflects all this: "blinn_phong", or a function of
            your own, see `make_lights`; static.
        spot_directions: `[P, 3]` along which each point light shines, of any length but 0; None:
            all shine all round.
        spot_cutoffs: `[P]` degrees from there at which its cone ends, 90 at most, or 180 for no
            cone; they come with the directions.
        spot_exponents: `[P]` of the cosine by which it fades towards the border; likewise.
        spot_inners: `[P]` degrees from there up to which it is as bright as in the middle; from
            there to the cutoff it fades to nothing. None is the cutoff: the border is sharp.
        attenuations: `[P, 3]` by whose `a + b d + c d²` the light of each point light is divided at
            the distance `d`; None is 1.
        direction_speculars: `[D, 3]` colours of what directional lights add to the mirror-like
            reflection; None is `direction_colors`.
        position_speculars: `[P, 3]` likewise.
        like_opengl: whether light falls as in OpenGL's fixed pipeline, see `make_lights`; static.
    """

    ambient: jax.Array  # [3]
    directions: jax.Array  # [D, 3]
    direction_colors: jax.Array  # [D, 3]
    positions: jax.Array  # [P, 3]
    position_colors: jax.Array  # [P, 3]
    specular: jax.Array  # [3]
    shininess: jax.Array  # []
    reflection: str | Callable[..., Any] = static(default="blinn_phong")
    spot_directions: jax.Array | None = None  # [P, 3]
    spot_cutoffs: jax.Array | None = None  # [P]
    spot_exponents: jax.Array | None = None  # [P]
    attenuations: jax.Array | None = None  # [P, 3]
    direction_speculars: jax.Array | None = None  # [D, 3]
    position_speculars: jax.Array | None = None  # [P, 3]
    like_opengl: bool = static(default=False)
    spot_inners: jax.Array | None = None  # [P]


# The shapes of the arrays of `Lights`, all of them; a letter is the number of lights of a kind.
LIGHT_SHAPES: dict[str, tuple[str | int, ...]] = {
    "ambient": (3,),
    "directions": ("D", 3),
    "direction_colors": ("D", 3),
    "positions": ("P", 3),
    "position_colors": ("P", 3),
    "specular": (3,),
    "shininess": (),
    "spot_directions": ("P", 3),
    "spot_cutoffs": ("P",),
    "spot_exponents": ("P",),
    "spot_inners": ("P",),
    "attenuations": ("P", 3),
    "direction_speculars": ("D", 3),
    "position_speculars": ("P", 3),
}


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


# How a picture depends on which face is seen where: `(picture, fragments, screen) -> picture`.
#
# It gets the samples before they are averaged, `[H, W, C + 1]`, alpha last, or alpha alone
# `[H, W]`, and returns a picture of that shape, as a rule the same one, with a gradient to
# `screen.vertices`. It is a function, or a struct with `__call__`, whose arrays are traced, and
# which may have
#
#     checked(name, dtype)    itself with its numbers checked, for a mesh of that dtype; errors call
#                             it by that name
#     prepared(faces)         itself with what it needs of the faces `[F, 3]`, found once, before
#                             the program is compiled
#
# One that is no function of the vertices as it stands is a `jax.custom_vjp`, here of a struct with
# one number:
#
#     @struct
#     class Mine:
#         reach: jax.Array
#
#         def __call__(self, picture, fragments, screen):
#             return _passed(picture, screen.vertices, fragments.face, screen.faces, self.reach)
#
#     @jax.custom_vjp
#     def _passed(picture, vertices, face, faces, reach):
#         return picture
#
#     def _forward(*args):
#         return args[0], args
#
#     def _backward(args, d_picture):    # as shapes say, and None for what has no gradient
#         return d_picture, d_vertices_of(d_picture, *args), None, None, None
#
#     _passed.defvjp(_forward, _backward)
#
# `VISIBILITY_GRADIENTS` of `_render.py` gives it a name.
VisibilityGradient = Callable[[jax.Array, Fragments, ScreenMesh], jax.Array]


@struct
class Hard:
    """How `render` draws: with a z-buffer, each sample showing the one face nearest to it.

    Attributes:
        visibility_gradient: how the picture depends on which face is seen where: None, not at all;
            a name, or a struct of numbers, such as "edge", the derivative of what edges show (see
            `edge_gradient`), "antialias" or `Antialias(…)`, which blends pixels at silhouettes (see
            `antialias`), "nmr" or `NMR(eps=…)`, the approximation of Kato et al. 2018 (see
            `nmr_gradient`); or any function `(picture, fragments, screen) -> picture`, which gets
            rgb and alpha of all samples `[H, W, C + 1]`, or alpha alone `[H, W]`, before they are
            averaged. A function is static; of a struct with `__call__` the arrays are traced.
        eps: `[]` of "nmr", by name: the least way of an edge, screen units.
        interpolation_gradient: whether colours also depend on the mesh and the camera by where
            on its face a sample looks, which is exact; NMR leaves it out. Static.
    """

    visibility_gradient: VisibilityGradient | str | None = variant(default=None)
    eps: ArrayLike = 1e-3  # []
    interpolation_gradient: bool = static(default=True)


@struct
class Soft:
    """How `render` draws: with all triangles that reach a pixel, blended (see `rasterize_soft`).

    Attributes:
        sigma: `[]` blur, in squared half image heights.
        gamma: `[]` depth temperature, in fractions of the depth range of what is drawn, or of
            `far - near` where `far` is given. None is 0.3, at which colours move the edges
            between objects but what lies behind shows through; or with `far` 1e-4, SoftRas's.
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
    gamma: ArrayLike | None = None  # []
    eps: ArrayLike = 1e-3  # []
    cutoff: ArrayLike = 1e-4  # []
    distance: Distance = static(default="euclidean")
    distribution: Distribution | Callable[[jax.Array], jax.Array] = static(default="logistic")
    squared: bool = static(default=True)
    aggregate_rgb: ColorAggregation | None = static(default="softmax")
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
        face: of a `Scene`, `[H, W]` int32 the face of `scene.mesh()` at the middle of the pixel, or
            `NO_FACE`; else None.
        object: of a `Scene`, `[H, W]` int32 the id of that face's object, or -1; else None.
    """

    rgb: jax.Array  # [H, W, C]
    alpha: jax.Array  # [H, W]
    depth: jax.Array  # [H, W]
    encoding: Encoding = static(default="display")
    face: jax.Array | None = None  # [H, W]
    object: jax.Array | None = None  # [H, W]

    def to_rgba(self, background: ArrayLike = 0.0) -> jax.Array:
        """Colour and straight alpha, to be put on another background, or written as a PNG.

        `rgb` is mixed with the background by coverage: over black it is premultiplied by alpha.
        Here that is undone: `(rgb - (1 - alpha) background) / alpha`, as picture files and
        programs that compose pictures want it. Pixels with alpha below 1 / 1000 are darker.

        A soft picture weighs colours otherwise than alpha, so this is near, not exact, at its
        edges.

        Gradient: exact.

        Args:
            background: what the picture was drawn on: a number, `[C]` or `[H, W, C]`.

        Returns:
            `[H, W, C + 1]`, in the encoding of `rgb`.

        Raises:
            ValueError: the background is not as above.

        Example:
            >>> import jax.numpy as jnp, jaxrender as jr
            >>> half = jnp.full((1, 1), 0.5)
            >>> jr.Image(jnp.full((1, 1, 3), 0.5), half, half).to_rgba().tolist()
            [[[1.0, 1.0, 1.0, 0.5]]]
        """
        alpha = self.alpha[..., None]
        background = as_array("background", background, self.rgb.dtype)
        shape = self.rgb.shape
        if background.ndim and background.shape not in (shape[-1:], shape[-3:], shape):
            raise ValueError(
                f"`background` must be a number, [{shape[-1]}] or {list(shape)}, got "
                f"{list(background.shape)}."
            )
        beside = (1 - alpha) * jnp.broadcast_to(background, shape)
        color = (self.rgb - beside) / jnp.maximum(alpha, LEAST_ALPHA)
        return jnp.concatenate([color, alpha], axis=-1)

    def to_uint8(self) -> np.ndarray:
        """The colours as display values from 0 to 255, as screens and other programs take them.

        Linear colours are encoded first, as `to_display` does, but for alpha. What is not in [0, 1]
        is clipped, and warned of, as by `io.save_image`.

        Gradient: none; the image must be known, so not inside of `jax.jit`.

        Returns:
            `[H, W, C]` uint8, of a batch `[N, H, W, C]`.

        Raises:
            ValueError: a colour is NaN or infinite.

        Example:
            >>> import jax.numpy as jnp, jaxrender as jr
            >>> half = jnp.full((1, 1), 0.5)
            >>> jr.Image(jnp.full((1, 1, 3), 0.5), half, half).to_uint8().tolist()
            [[[128, 128, 128]]]
        """
        values = self._display_values()
        warn_of_clipping("Image.to_uint8", [clipped(values)], CLIP_HINT)
        return eight_bit(values)

    def to_pil(self) -> Any:
        """The picture as one of pillow's, grey, rgb or, with four channels, rgba; see `to_uint8`.

        Returns:
            a `PIL.Image.Image`.

        Raises:
            ValueError: it is a batch, has other channels, or a colour is NaN or infinite.
            ImportError: pillow is not installed.

        Example:
            >>> import jaxrender as jr
            >>> image = jr.render(jr.shapes.cube(), jr.look_at((2, 2, 2)), image_size=(24, 32))
            >>> image.to_pil().size, image.to_pil().mode
            ((32, 24), 'RGB')
        """
        return _pil_image(self.to_uint8())

    def _repr_png_(self) -> bytes | None:
        """The picture, as notebooks show it; of a batch all, in rows of up to eight.

        Without pillow, or of other than 1, 3 or 4 channels, the line of text is shown.
        """
        if self.rgb.shape[-1] not in (1, 3, 4) or not np.size(self.rgb):
            return None
        pixels = eight_bit(self._display_values())
        if pixels.ndim > 3:
            pixels = _contact_sheet(pixels.reshape(-1, *pixels.shape[-3:]))
        png = io.BytesIO()
        try:
            _pil_image(pixels).save(png, "PNG")
        except ImportError:
            return None
        return png.getvalue()

    def _display_values(self) -> np.ndarray:
        values = np.asarray(self.rgb)
        if not np.isfinite(values).all():
            raise ValueError("`rgb` must be finite, got NaN or infinity. Show finite numbers.")
        if self.encoding == "linear":
            # Alpha, the last of 2 or 4 channels, is no light.
            count = values.shape[-1] - (values.shape[-1] in (2, 4))
            values = np.concatenate([encode(values[..., :count]), values[..., count:]], axis=-1)
        return values


def _pil_image(pixels: np.ndarray) -> Any:
    """A picture `[H, W, 1, 3 or 4]` of 8 bits as pillow's."""
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"`rgb` must be one picture [H, W, 1, 3 or 4], got {list(pixels.shape)}. Of a batch "
            "take one: jax.tree.map(lambda leaf: leaf[0], images)."
        )
    try:
        from PIL import Image as pillow
    except ImportError as error:
        raise ImportError("Image.to_pil needs pillow: pip install pillow") from error
    return pillow.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _contact_sheet(pictures: np.ndarray) -> np.ndarray:
    """Pictures `[N, H, W, C]` beside each other, in rows: `[R H, K W, C]`, the rest black."""
    count, height, width, channels = pictures.shape
    columns = min(count, SHEET)
    missing = -count % columns
    pictures = np.pad(pictures, ((0, missing), (0, 0), (0, 0), (0, 0)))
    rows = pictures.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
    return rows.reshape(-1, columns * width, channels)
