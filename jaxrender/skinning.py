"""Bodies that move: linear blend skinning with pose and shape parameters, as SMPL has it.

    model = procedural_body()                      # or load_smpl("SMPL_NEUTRAL.pkl")
    vertices = skin(model, pose, shape)            # [V, 3], differentiable in everything
    image = jr.render(jr.Mesh(vertices, model.faces), camera, image_size=(256, 256))

Each function takes one body; a batch is `jax.vmap`:

    jax.vmap(skin, in_axes=(None, 0, 0))(model, poses, shapes)

Angles are in radians here, as in SMPL: an axis times an angle is not what a person types.

Shape legend: `V` vertices, `F` faces, `J` joints, `S` shape parameters.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxrender import _body
from jaxrender._checks import check_array, check_path, check_whole, same_float
from jaxrender._formats import smpl
from jaxrender._types import static, struct
from jaxrender.rotations import from_axis_angle

__all__ = [
    "BODY_JOINTS",
    "BODY_SHAPES",
    "NO_PARENT",
    "BodyModel",
    "joints",
    "load_smpl",
    "procedural_body",
    "rotation_matrices",
    "skin",
]


def __dir__() -> list[str]:
    return __all__


NO_PARENT = -1  #: in `BodyModel.parents`: the root

BODY_JOINTS = tuple(_body.JOINTS)  #: of `procedural_body`, in the order of its poses
BODY_SHAPES = ("tall", "stout", "long legs", "long arms")  #: its shape parameters

rotation_matrices = from_axis_angle  # by the name that it had here first

# GPUs would otherwise round the factors to 10 bits.
_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


@struct
class BodyModel:
    """A surface that follows the joints of a skeleton; `skin` moves it.

    `load_smpl` and `procedural_body` make one. A parent comes before its children in all that
    is numbered by joints.

    Attributes:
        template: `[V, 3]` the surface at rest, for the shape 0, scene units.
        faces: `[F, 3]` int32 vertex indices.
        shape_directions: `[V, 3, S]` how one unit of each shape parameter moves the vertices.
        pose_directions: `[V, 3, 9 (J - 1)]` how the rotations of all joints but the root,
            row by row and less the identity, correct the vertices.
        joint_regressor: `[J, V]` the weights with which vertices at rest make a joint's place.
        weights: `[V, J]` how much each vertex follows each joint; rows sum to 1.
        parents: J indices of the joints' parents, -1 for the first joint, the root; static.
    """

    template: jax.Array  # [V, 3]
    faces: jax.Array  # [F, 3]
    shape_directions: jax.Array  # [V, 3, S]
    pose_directions: jax.Array  # [V, 3, 9 (J - 1)]
    joint_regressor: jax.Array  # [J, V]
    weights: jax.Array  # [V, J]
    parents: tuple[int, ...] = static()


def skin(
    model: BodyModel,
    pose: ArrayLike,
    shape: ArrayLike | None = None,
    translation: ArrayLike | None = None,
) -> jax.Array:
    r"""The vertices of a body in a pose.

    With the template `T`, the directions `S` and `P`, the rotations `R(θ)`, the regressor `𝒥`
    and the weights `w` (Loper et al. 2015, Eq. 2-10),

        xᵢ = Tᵢ + Σₙ βₙ Sₙᵢ                          the shaped body at rest
        j = 𝒥 x                                      its joints
        Gₖ = Gₚ [R(θₖ) | jₖ - jₚ],   p = parent(k)    where joint k goes
        vᵢ = Σₖ wᵢₖ Gₖ [xᵢ + Σₙ (R(θ) - I)ₙ Pₙᵢ - jₖ] + t

    The root turns about its own place, so it stays where it is but for t.

    Gradient: exact to `pose` (also where an angle is 0), `shape`, `translation` and all arrays
    of the model.

    Args:
        model: the body.
        pose: `[J, 3]` each joint's rotation relative to its parent: an axis times an angle in
            radians; the root comes first.
        shape: `[S]` parameters of the shape, about 1 large; None is 0.
        translation: `[3]` added to all, scene units; None is 0.

    Returns:
        `[V, 3]` vertices, scene units.

    Raises:
        ValueError: a shape or dtype is wrong, a value is not finite, or the parents make no
            tree. Inside jit, a value that is not finite makes all vertices NaN, which the
            rasterisers ignore.

    Example:
        >>> model = procedural_body()
        >>> pose = jnp.zeros((len(model.parents), 3))
        >>> pose = pose.at[BODY_JOINTS.index("left elbow"), 1].set(-1.5)
        >>> skin(model, pose, shape=[1.0, 0.0, 0.0, 0.0]).shape
        (2452, 3)

    References:
        Loper et al., SMPL: A Skinned Multi-Person Linear Model, SIGGRAPH Asia 2015.
    """
    model, pose, betas, shift = _check(model, pose, shape, translation)
    rotations = from_axis_angle(pose)
    rest, shaped = _rest(model, betas)
    turns, places = _chain(rotations, rest, model.parents)

    # Correct the body for its pose.
    bends = (rotations[1:] - jnp.eye(3, dtype=pose.dtype)[None]).reshape(-1)
    posed = shaped + _einsum("vcp,p->vc", model.pose_directions, bends)

    # Joint k takes x to Gₖ (x - jₖ) + its place. Each vertex has a mean of these affine maps.
    shifts = places - _einsum("jab,jb->ja", turns, rest)
    maps = jnp.concatenate([turns, shifts[:, :, None]], axis=2)
    a = _einsum("vj,jab->abv", model.weights, maps)

    # Write out the product: XLA on CPU vectorises along vertices, but not short last axes.
    x, y, z = posed.T
    moved = a[:, 0] * x[None] + a[:, 1] * y[None] + a[:, 2] * z[None] + a[:, 3]
    return moved.T + shift[None]


def joints(
    model: BodyModel,
    pose: ArrayLike,
    shape: ArrayLike | None = None,
    translation: ArrayLike | None = None,
) -> jax.Array:
    """Where the joints of a body are in a pose; see `skin`.

    Gradient: exact to `pose`, `shape`, `translation` and the model.

    Args:
        model: the body.
        pose: `[J, 3]` axes times angles, radians.
        shape: `[S]` parameters of the shape; None is 0.
        translation: `[3]` added to all, scene units; None is 0.

    Returns:
        `[J, 3]` scene units.

    Raises:
        ValueError: as `skin`.

    Example:
        >>> model = procedural_body()
        >>> places = joints(model, jnp.zeros((17, 3)))
        >>> round(float(places[BODY_JOINTS.index("left wrist"), 0]), 3)
        0.68
    """
    model, pose, betas, shift = _check(model, pose, shape, translation)
    rest, _ = _rest(model, betas)
    return _chain(from_axis_angle(pose), rest, model.parents)[1] + shift[None]


def load_smpl(path: str | Path) -> BodyModel:
    """Reads a body model from a file of SMPL.

    SMPL's models are licensed: download them yourself, from https://smpl.is.tue.mpg.de. Both
    the official pickles (of Python 2, with chumpy's objects in them) and NumPy archives with
    the same keys are read: `v_template`, `f`, `shapedirs`, `posedirs`, `J_regressor`, `weights`
    and `kintree_table`. Neither chumpy nor SciPy is needed, and nothing that a pickle asks to
    call is called.

    Args:
        path: the `.pkl` or `.npz` file.

    Returns:
        the model, in JAX's default float type: metres, `y` up, facing `+z`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a model, or holds objects that no model needs.

    Example:
        >>> model = load_smpl("SMPL_NEUTRAL.pkl")  # doctest: +SKIP
        >>> skin(model, jnp.zeros((24, 3))).shape  # doctest: +SKIP
        (6890, 3)
    """
    path = check_path("path", path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no body model {path}. Download SMPL from https://smpl.is.tue.mpg.de (its licence "
            "does not let us bring it along) and pass its .pkl or .npz file, or use "
            "procedural_body(), which needs none."
        )
    try:
        arrays = smpl.read_smpl(path)
        _check_parents(tuple(arrays["parents"].tolist()))
    except OSError:
        raise  # that says more than that the file is bad
    except Exception as error:
        raise ValueError(
            f"cannot read the body model {path}: {error}. Pass a model of SMPL as it was "
            "downloaded, or an .npz file with plain arrays under the same keys."
        ) from error
    return _model(arrays)


def procedural_body(resolution: int = 54) -> BodyModel:
    """Makes a simple human body of our own, so that no licensed file is needed.

    It is 1.7 metres tall and stands upright with its arms spread (a T), `y` up, facing `+z`,
    its left hand at `+x`, the pelvis at the origin. The surface is closed and, in a
    right-handed world, counter-clockwise seen from outside.

    The joints are `BODY_JOINTS`. The four shape parameters are `BODY_SHAPES`: one unit makes
    all lengths 5% larger, the trunk some 15 mm thicker and the limbs less, the legs 40 mm
    longer, the arms 40 mm longer; from -2 to 2 it looks like a person. There are no corrections
    for the pose: `pose_directions` is 0.

    Args:
        resolution: cells along the height of the grid that the surface is found on: 54 make
            2,452 vertices, 36 about 1,000; their number grows with the square.

    Returns:
        the model, in JAX's default float type.

    Raises:
        ValueError: `resolution` is not a whole number from 16 to 128.

    Example:
        >>> procedural_body().faces.shape
        (4900, 3)
    """
    resolution = check_whole("resolution", resolution, least=16, most=128, example=54)
    return _model(_body.make_body(resolution))


def _model(arrays: dict[str, np.ndarray]) -> BodyModel:
    """A model of arrays by the names of its fields."""
    rest = {name: array for name, array in arrays.items() if name not in ("faces", "parents")}
    return BodyModel(
        **{name: jnp.asarray(array, jnp.result_type(float)) for name, array in rest.items()},
        faces=jnp.asarray(arrays["faces"], jnp.int32),
        parents=tuple(arrays["parents"].tolist()),
    )


def _rest(model: BodyModel, shape: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """The places of the joints `[J, 3]` and vertices `[V, 3]` of the shaped body at rest."""
    shaped = model.template
    if shape is not None:
        shaped = shaped + _einsum("vcs,s->vc", model.shape_directions, shape)
    return _einsum("jv,vc->jc", model.joint_regressor, shaped), shaped


def _chain(
    rotations: jax.Array, rest: jax.Array, parents: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """The rotations `[J, 3, 3]` and places `[J, 3]` of the joints in the world.

    Args:
        rotations: `[J, 3, 3]` relative to the parents.
        rest: `[J, 3]` places at rest.
        parents: of the joints.
    """
    # Put a joint that never moves behind the last: it is the parent of the root, and its own.
    count = len(parents)
    ancestors = np.append(np.where(np.array(parents) < 0, count, parents), count)
    places = jnp.pad(rest, ((0, 1), (0, 0)))
    places = places - places[ancestors]
    turns = jnp.concatenate([rotations, jnp.eye(3, dtype=rest.dtype)[None]])

    # Each joint knows its motion relative to an ancestor, and the ancestor its own. Joined,
    # they reach twice as far: a tree of 24 joints, 9 deep, takes four rounds.
    while (ancestors < count).any():
        places = places[ancestors] + _einsum("jab,jb->ja", turns[ancestors], places)
        turns = _einsum("jab,jbc->jac", turns[ancestors], turns)
        ancestors = ancestors[ancestors]
    return turns[:-1], places[:-1]


def _check(
    model: Any, pose: ArrayLike, shape: ArrayLike | None, translation: ArrayLike | None
) -> tuple[BodyModel, jax.Array, jax.Array | None, jax.Array]:
    """Returns all in one float type, once it fits together.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(model, BodyModel):
        raise ValueError(
            f"`model` must be a BodyModel, got {type(model).__name__}. "
            "Pass the result of load_smpl or procedural_body."
        )
    _check_parents(model.parents)
    count = len(model.parents)
    template = check_array("model.template", model.template, ("V", 3))
    rows = template.shape[0]
    expected = {
        "shape_directions": (rows, 3, "S"),
        "pose_directions": (rows, 3, 9 * (count - 1)),
        "joint_regressor": (count, rows),
        "weights": (rows, count),
    }
    arrays = {"template": template} | {
        name: check_array(f"model.{name}", getattr(model, name), size)
        for name, size in expected.items()
    }
    hint = "One row per joint of the model; use jax.vmap for more."
    arrays["pose"] = check_array("pose", pose, (count, 3), finite=True, hint=hint)
    if shape is not None:
        number = arrays["shape_directions"].shape[2]
        hint = "One number per shape direction of the model; use jax.vmap for more."
        arrays["shape"] = check_array("shape", shape, (number,), finite=True, hint=hint)
    if translation is not None:
        arrays["translation"] = check_array("translation", translation, (3,), finite=True)

    arrays = dict(zip(arrays, same_float(*arrays.values()), strict=True))
    turns, betas = arrays.pop("pose"), arrays.pop("shape", None)
    shift = arrays.pop("translation", jnp.zeros(3, turns.dtype))
    return dataclasses.replace(model, **arrays), turns, betas, shift


def _check_parents(parents: tuple[int, ...]) -> None:
    """Raises ValueError unless the first joint is the root and parents precede their children."""
    whole = isinstance(parents, tuple) and all(isinstance(p, int | np.integer) for p in parents)
    first, *others = parents if whole and parents else (0,)
    if first != NO_PARENT or any(not 0 <= parent <= j for j, parent in enumerate(others)):
        raise ValueError(
            f"`parents` must be -1 for the first joint and an earlier joint for each other, got "
            f"{parents}. Pass a tuple, and order the joints from the root outwards."
        )
