"""`Scene`: many objects, each with its own pose, drawn as one mesh.

Shape legend: `N` objects, `P` parts of all objects, `M` materials; `V` vertices, `J` normals and
`F` faces of all parts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._arrays import as_array
from jaxrender._batch import checked_mesh, with_normals
from jaxrender._checks import check_array, check_several, check_whole, is_concrete
from jaxrender._join import join_meshes
from jaxrender._material import MAPS, NUMBERS, Material, alike_materials
from jaxrender._shading import check_lights
from jaxrender._surface import turn_around
from jaxrender._textures import Texture
from jaxrender._textures.instances import InstancedTexture
from jaxrender._types import Lights, Mesh, struct
from jaxrender.ops.deterministic import gather

MOST_ID = 2**31 - 1  # pictures have ids in int32
POSE = "Pass a matrix [4, 4], or its upper rows [3, 4]."
POSES = "Pass one 4 x 4 matrix for each object, or rotations and translations."


@struct
class Object:
    """A thing of a scene: what it looks like, and where it is. See `make_scene`.

    Attributes:
        mesh: a `Mesh` in the object's own space, or several: its parts, which move together.
        pose: `[4, 4]` or `[3, 4]` from the object's space to the world, any affine map; None is
            where it is.
        material: a `Material` in place of that of its mesh, or meshes; None is theirs.
        local: `[4, 4]` or `[P, 4, 4]` from the space of its mesh, or of each of its parts, to the
            object's, as that by which a unit ball has its size; None is the same.
        id: what pictures call it, a whole number from 0; None is its place in the list.
        visible: whether it is drawn.
    """

    mesh: Any
    pose: Any = None  # [4, 4]
    material: Material | None = None
    local: Any = None  # [4, 4] or [P, 4, 4]
    id: Any = None
    visible: Any = True


@struct
class Parts:
    """Which part has which rows of the shapes; all int32."""

    object_of_part: jax.Array  # [P]
    object_of_face: jax.Array  # [F]
    part_of_vertex: jax.Array  # [V]
    faces: jax.Array  # [F, 3]
    face_source: jax.Array  # [F] of the faces of the shapes
    vertex_source: jax.Array | None  # [V] of the vertices of the shapes; None: each, in order
    part_of_normal: jax.Array | None  # [J]; None: there are none
    normal_source: jax.Array | None  # [J] of the normals of the shapes; None: each, in order
    normal_faces: jax.Array | None  # [F, 3]


@struct
class Scene:
    """Objects with poses and materials, which `render` and `silhouette` draw as they draw a mesh.

    Made by `make_scene`. All arrays may be traced: poses, material values, vertices. What many
    objects show alike is kept once; under `jax.vmap` over poses no more is copied than the vertices
    (and normals) that these move.

    Attributes:
        poses: `[N, 4, 4]` from the objects' spaces to the world; see `at`.
        ids: `[N]` int32 what pictures call the objects.
        material: the `Material` of all, or None. If each object has one, its rows are those of the
            objects; see `with_material`.
        visible: `[N]` bool which objects are drawn; None is all.
        lights: `Lights` that `render` takes if it is given none, or None.
        shapes: what the objects look like, a `Mesh` of all shapes, each in its own space.
        locals: `[P, 4, 4]` from the shapes' spaces to the objects', or None.
        parts: which object shows which shape.
    """

    poses: jax.Array  # [N, 4, 4]
    ids: jax.Array  # [N]
    material: Material | None
    visible: jax.Array | None  # [N]
    lights: Lights | None
    shapes: Mesh
    locals: jax.Array | None  # [P, 4, 4]
    parts: Parts

    def at(self, poses: Any) -> Scene:
        """The scene with its objects elsewhere.

        Gradient: passes through.

        Args:
            poses: `[N, 4, 4]`, or their upper rows `[N, 3, 4]`, or a pair of rotations `[N, 3, 3]`
                and translations `[N, 3]`.

        Returns:
            The scene; shapes and materials are the same arrays.

        Raises:
            ValueError: they have another shape, or are not finite.

        Example:
            >>> import jax.numpy as jnp, jaxrender as jr
            >>> scene = jr.make_scene([jr.shapes.cube(), jr.shapes.icosphere(1)])
            >>> apart = scene.at(jnp.tile(jnp.eye(4), (2, 1, 1)).at[1, 0, 3].set(3.0))
            >>> apart.mesh().vertices.max().item()
            4.0
        """
        count, dtype = len(self.ids), self.shapes.vertices.dtype
        if isinstance(poses, tuple):
            if len(poses) != 2:
                raise ValueError(
                    f"`poses` must be a pair of rotations and translations, got {len(poses)} "
                    f"things. {POSES}"
                )
            rotations, translations = poses
            linear = check_array("poses[0]", rotations, (count, 3, 3), hint=POSES, dtype=dtype)
            shift = check_array("poses[1]", translations, (count, 3), hint=POSES, dtype=dtype)
            poses = jnp.concatenate([linear, shift[..., None]], axis=-1)
        return dataclasses.replace(self, poses=_check_poses("poses", poses, count, dtype))

    def with_visible(self, visible: ArrayLike) -> Scene:
        """The scene with some objects not drawn.

        Args:
            visible: `[N]` bool, may be traced; no gradient.

        Returns:
            The scene.

        Raises:
            ValueError: the shape is another, or they are no flags.

        Example:
            >>> import jaxrender as jr
            >>> scene = jr.make_scene([jr.shapes.cube(), jr.shapes.icosphere(1)])
            >>> picture = jr.render(
            ...     scene.with_visible([False, True]), jr.look_at((0, 0, 4)), image_size=(8, 8)
            ... )
            >>> picture.object.max().item(), (picture.object == 0).any().item()
            (1, False)
        """
        visible = _check_flags("visible", visible)
        if visible.shape != self.ids.shape:
            raise ValueError(
                f"`visible` must have one value for each of the {len(self.ids)} objects, got shape "
                f"{list(visible.shape)}."
            )
        return dataclasses.replace(self, visible=visible)

    def with_material(self, **numbers: ArrayLike) -> Scene:
        """The scene with other numbers of its material.

        Gradient: passes through.

        Args:
            **numbers: fields of `Material` with a row for each of its `M` materials, or one for
                all: `base_color=`, `specular=` and so on.

        Returns:
            The scene.

        Raises:
            ValueError: it is no such field, or has another shape.

        Example:
            >>> import jaxrender as jr
            >>> scene = jr.make_scene([jr.shapes.cube(), jr.shapes.icosphere(1)])
            >>> scene.with_material(base_color=[[1, 0, 0, 1], [0, 0, 1, 1]]).material.count
            2
        """
        unknown = sorted(set(numbers) - set(NUMBERS))
        if unknown:
            raise ValueError(
                f"`with_material` takes the numbers of a Material, got {unknown[0]!r}. Pass one of "
                f"{', '.join(NUMBERS)}."
            )
        given, count, dtype = self.material, len(self.ids), self.shapes.vertices.dtype
        if given is None:
            given = Material(group=self.parts.object_of_face)
        else:
            count = given.count
        rows = {}
        for name, value in numbers.items():
            shape = NUMBERS[name][0]
            row = check_array(name, value, ("M", *shape), dtype=dtype)
            if len(row) not in (1, count):
                raise ValueError(
                    f"`{name}` must have one row, or one for each of the {count} materials, got "
                    f"{len(row)}."
                )
            rows[name] = jnp.broadcast_to(row, (count, *shape))
        return dataclasses.replace(self, material=dataclasses.replace(given, **rows))

    def mesh(self) -> Mesh:
        """The scene as one mesh in the world.

        Gradient: exact to poses, shapes, materials.

        Returns:
            The mesh. Its faces stand object by object; `parts.object_of_face` `[F]`
            says which object each belongs to. Objects that are not visible have faces without
            corners, as padding has.

        Example:
            >>> import jaxrender as jr
            >>> cube = jr.shapes.cube()
            >>> scene = jr.make_scene([cube, cube])
            >>> scene.mesh().faces.shape, scene.shapes.faces.shape
            ((24, 3), (12, 3))
        """
        shapes, parts = self.shapes, self.parts
        bare = dataclasses.replace(shapes, texture=None)
        vertices, normals = _posed(bare, parts, self.poses, self.locals)
        # Faces stay known, where they are: their edges are then numbered once, see `Antialias`.
        faces = parts.faces
        if self.visible is not None:
            is_drawn = gather(self.visible, parts.object_of_face)
            faces = jnp.where(is_drawn[:, None], faces, 0)

        def shown(texture: Texture) -> Texture:
            return InstancedTexture(texture, shapes.faces, parts.face_source)

        texture = None if shapes.texture is None else shown(shapes.texture)
        material = self.material
        if material is not None:
            material = material.with_maps(shown)
        return Mesh(vertices, faces, texture, normals, parts.normal_faces, material)


def make_scene(objects: Iterable[Object | Mesh], lights: Lights | None = None) -> Scene:
    """Makes a scene of objects.

    Meshes are joined as by `join_meshes`: their textures and materials may be of different kinds.
    A mesh that several objects have, the same one, is kept once, whatever their poses and
    materials.

    Gradient: exact to vertices, normals and colours of all meshes, to poses and materials.

    Args:
        objects: at least one; a `Mesh` alone is an object where it is. One whose pose is known, and
            mirrors, has its faces turned around, so that their fronts stay outside.
        lights: what `render` takes if it is given none.

    Returns:
        The scene.

    Raises:
        ValueError: there is no object, one is not as `Object` says, two have one id, or textures
            do not go together.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrender as jr
        >>> ball = jr.shapes.icosphere(1)
        >>> up = jnp.eye(4).at[1, 3].set(2.0)
        >>> scene = jr.make_scene([jr.Object(ball, id=7), jr.Object(ball, pose=up, id=8)])
        >>> camera = jr.look_at((0, 1, 8))
        >>> image = jr.render(scene, camera, image_size=(32, 32))
        >>> sorted(set(image.object.ravel().tolist()))
        [-1, 7, 8]
        >>> moved = jnp.stack([scene.poses, scene.poses.at[0, 0, 3].set(1.0)])
        >>> draw = lambda poses: jr.render(scene.at(poses), camera, image_size=(32, 32)).rgb
        >>> jax.vmap(draw)(moved).shape
        (2, 32, 32, 3)
    """
    given = check_several("objects", objects, "meshes and Objects")
    things = [_checked(f"objects[{index}]", thing) for index, thing in enumerate(given)]
    pieces = [piece for thing in things for piece in thing.pieces]
    if not pieces:
        raise ValueError(
            "`objects` must hold at least one object with a mesh, got "
            f"{len(things)} without. Pass meshes, or Object(mesh, pose=…)."
        )
    ids = [index if thing.id is None else thing.id for index, thing in enumerate(things)]
    if len(set(ids)) < len(ids):
        again = next(own for own in ids if ids.count(own) > 1)
        raise ValueError(f"`objects` must have ids of their own, got {again} twice.")

    # Keep each shape once, and say who shows it.
    known = {piece.key: piece.mesh for piece in pieces}
    shapes = list(known.values())
    if any(piece.material is not None for piece in pieces):
        shapes = [dataclasses.replace(mesh, material=_maps_of(mesh.material)) for mesh in shapes]
    shapes = with_normals(shapes)
    number = {key: index for index, key in enumerate(known)}
    joined, _ = join_meshes(shapes)
    parts = _parts(joined, shapes, [number[piece.key] for piece in pieces], things)

    dtype = joined.vertices.dtype
    visible = None
    if not all(thing.visible is True for thing in things):
        visible = jnp.stack([jnp.asarray(thing.visible) for thing in things])
    locals_ = None
    if any(piece.local is not None for piece in pieces):
        locals_ = _stacked([piece.local for piece in pieces], dtype)
    return Scene(
        poses=_stacked([thing.pose for thing in things], dtype),
        ids=jnp.asarray(ids, jnp.int32),
        material=_join_materials(things, joined),
        visible=visible,
        lights=None if lights is None else check_lights(lights),
        shapes=dataclasses.replace(joined, material=None),
        locals=locals_,
        parts=parts,
    )


class _Piece(NamedTuple):
    """A part of an object: its shape and where that is, and its material."""

    given: Mesh  # kept, for as long as ids name its arrays
    key: Any  # the same where the shape is
    mesh: Mesh
    local: jax.Array | None  # [4, 4]
    material: Material | None
    owner: int  # the same where the material is


class _Thing(NamedTuple):
    """An `Object`, checked."""

    pieces: list[_Piece]
    pose: jax.Array | None
    id: int | None
    visible: Any


def _checked(name: str, thing: Any) -> _Thing:
    """An object, with its meshes checked.

    Raises:
        ValueError: it is none, or something of it is wrong.
    """
    if isinstance(thing, Mesh):
        thing = Object(thing)
    if not isinstance(thing, Object):
        raise ValueError(
            f"`{name}` must be an Object or a Mesh, got {type(thing).__name__}. Pass "
            "jaxrender.Object(mesh, pose=…)."
        )
    several = isinstance(thing.mesh, Sequence)
    meshes = list(thing.mesh) if several else [thing.mesh]
    own_id = thing.id
    if own_id is not None:
        own_id = check_whole(f"{name}.id", own_id, least=0, most=MOST_ID, example=7)
    pose = None
    if thing.pose is not None:
        given = check_array(f"{name}.pose", thing.pose, ("3 or 4", 4), hint=POSE)
        pose = _check_poses(f"{name}.pose", given[None], 1)[0]
    places: Any = [None] * len(meshes)
    if thing.local is not None:
        local = check_array(f"{name}.local", thing.local, ("...",), hint=POSE)
        local = local[None] if local.ndim == 2 else local
        places = list(_check_poses(f"{name}.local", local, len(meshes)))
    pieces = []
    for number, (mesh, place) in enumerate(zip(meshes, places, strict=True)):
        title = f"{name}.mesh[{number}]" if several else f"{name}.mesh"
        if not isinstance(mesh, Mesh):
            raise ValueError(f"`{title}` must be a Mesh, got {type(mesh).__name__}.")
        if thing.material is not None:
            if not isinstance(thing.material, Material):
                raise ValueError(
                    f"`{name}.material` must be a Material or None, got "
                    f"{type(thing.material).__name__}. Pass jaxrender.Material(base_color=…)."
                )
            mesh = dataclasses.replace(mesh, material=thing.material)
        pieces.append(_piece(title, mesh, place, pose))
    visible = thing.visible
    if visible is not True:
        visible = _check_flags(f"{name}.visible", visible)
        if visible.shape:
            raise ValueError(
                f"`{name}.visible` must be True or False, got shape {list(visible.shape)}."
            )
    return _Thing(pieces, pose, own_id, visible)


def _piece(name: str, mesh: Mesh, local: jax.Array | None, pose: jax.Array | None) -> _Piece:
    """A part, turned around where it is mirrored."""
    mirrored = _is_mirrored(pose) != _is_mirrored(local)
    bare = dataclasses.replace(mesh, material=_maps_of(mesh.material))
    leaves, structure = jax.tree.flatten(bare)
    checked = checked_mesh(name, mesh)
    return _Piece(
        given=mesh,
        key=(mirrored, structure, *map(id, leaves)),
        mesh=turn_around(checked) if mirrored else checked,
        local=local,
        material=checked.material,
        owner=id(mesh.material),
    )


def _is_mirrored(matrix: jax.Array | None) -> bool:
    """Whether a known matrix turns right to left."""
    if matrix is None or not is_concrete(matrix):
        return False
    return bool(np.linalg.det(np.asarray(matrix, np.float64)[:3, :3]) < 0)


def _check_poses(name: str, poses: Any, count: int, dtype: Any = None) -> jax.Array:
    """Poses `[N, 4, 4]`, of whole matrices or of their upper three rows.

    Raises:
        ValueError: they are neither, or not finite.
    """
    poses = check_array(name, poses, (count, "3 or 4", 4), finite=True, hint=POSES, dtype=dtype)
    if poses.shape[1] == 4:
        return poses
    last = jnp.broadcast_to(jnp.asarray([0, 0, 0, 1], poses.dtype), (count, 1, 4))
    poses = jnp.concatenate([poses, last], axis=1)
    return check_array(name, poses, (count, 4, 4), hint=POSES)


def _check_flags(name: str, flags: Any) -> jax.Array:
    """Returns bools of any shape; 0 and 1 are such too.

    Raises:
        ValueError: they are neither.
    """
    array = as_array(name, flags)
    whole = jnp.issubdtype(array.dtype, jnp.integer)
    if array.dtype != bool and not (
        whole and (not is_concrete(array) or np.isin(np.asarray(array), (0, 1)).all())
    ):
        told = np.asarray(array).tolist() if whole else array.dtype.name
        raise ValueError(f"`{name}` must be bools, got {told}. Pass for example weights > 0.")
    return array.astype(bool)


def _maps_of(material: Material | None) -> Material:
    """The textures of a material."""
    material = Material() if material is None else material
    return Material(**{name: getattr(material, name) for name in MAPS})


def _stacked(matrices: list[jax.Array | None], dtype: Any) -> jax.Array:
    """Matrices `[P, 4, 4]`, of which None is the unit."""
    known = [jnp.eye(4) if matrix is None else matrix for matrix in matrices]
    return jnp.stack([matrix.astype(dtype) for matrix in known])


def _parts(joined: Mesh, shapes: list[Mesh], shown: list[int], things: list[_Thing]) -> Parts:
    """The tables of parts, that show the shapes of these numbers."""
    objects = np.repeat(np.arange(len(things)), [len(thing.pieces) for thing in things])
    vertices = _Rows.of([len(mesh.vertices) for mesh in shapes], shown)
    faces = _Rows.of([len(mesh.faces) for mesh in shapes], shown)
    normals, has_normals = vertices, joined.normals is not None
    if joined.normal_faces is not None:
        normals = _Rows.of([len(mesh.normals) for mesh in shapes], shown)  # pyright: ignore
    each = shown == list(range(len(shapes)))

    def moved(corners: jax.Array, rows: _Rows) -> jax.Array:
        return gather(corners, faces.source) + gather(rows.shift, faces.part)[:, None]

    return Parts(
        object_of_part=jnp.asarray(objects, jnp.int32),
        object_of_face=jnp.asarray(objects[np.asarray(faces.part)], jnp.int32),
        part_of_vertex=vertices.part,
        faces=moved(joined.faces, vertices),
        face_source=faces.source,
        vertex_source=None if each else vertices.source,
        part_of_normal=normals.part if has_normals else None,
        normal_source=normals.source if has_normals and not each else None,
        normal_faces=None if joined.normal_faces is None else moved(joined.normal_faces, normals),
    )


class _Rows(NamedTuple):
    """Rows of the shapes, as the parts show them one after the other; all int32."""

    source: jax.Array  # which row of the shapes each is
    part: jax.Array  # that it belongs to
    shift: jax.Array  # [P] from the rows of a part's shape to its own

    @classmethod
    def of(cls, sizes: list[int], shown: list[int]) -> _Rows:
        """The rows of parts that show those of the shapes of these sizes."""
        first, counts = np.cumsum([0, *sizes])[shown], np.asarray(sizes)[shown]
        begin = np.cumsum([0, *counts])[:-1]
        part = np.repeat(np.arange(len(shown)), counts)
        source = np.arange(counts.sum()) + (first - begin)[part]
        with jax.ensure_compile_time_eval():
            return cls(*(jnp.asarray(table, jnp.int32) for table in (source, part, begin - first)))


def _join_materials(things: list[_Thing], shapes: Mesh) -> Material | None:
    """The material of all faces: the rows of the objects, one object after the other."""
    if all(piece.material is None for thing in things for piece in thing.pieces):
        return None

    # Give each object the rows of its materials, once; one that says nothing gets one row as well.
    owners: list[Mesh] = []
    groups, count = [], 0
    nothing = jnp.zeros((0, 3), shapes.vertices.dtype)
    for thing in things:
        rows: dict[int, int] = {}
        for piece in thing.pieces:
            material, faces = piece.material or Material(), len(piece.mesh.faces)
            if piece.owner not in rows:
                rows[piece.owner] = count
                numbers = {name: getattr(material, name) for name in NUMBERS}
                owners.append(Mesh(nothing, nothing, material=Material(**numbers)))
                count += material.count
            own = jnp.zeros(faces, jnp.int32) if material.group is None else material.group
            groups.append(own + rows[piece.owner])
        if not rows:
            owners.append(Mesh(nothing, nothing, material=Material()))
            count += 1
    alike: list[Any] = alike_materials(owners)
    joined = {
        name: jnp.concatenate([getattr(material, name) for material in alike])
        for name in NUMBERS
        if getattr(alike[0], name) is not None
    }
    maps = {name: getattr(shapes.material, name) for name in MAPS}
    return Material(group=jnp.concatenate(groups), **joined, **maps)


@jax.jit
def _posed(
    shapes: Mesh, parts: Parts, poses: jax.Array, locals_: jax.Array | None
) -> tuple[jax.Array, jax.Array | None]:
    """Vertices and normals in the world."""
    matrices = gather(poses, parts.object_of_part)
    if locals_ is not None:
        # In sums of products, one by one: a batch gets the bits that one alone has.
        matrices = (matrices[:, :3, :, None] * locals_[:, None]).sum(2)
    matrices = matrices[:, :3]
    vertices = shapes.vertices
    if parts.vertex_source is not None:
        vertices = gather(vertices, parts.vertex_source)
    moved = _times(matrices, vertices, parts.part_of_vertex)

    # Turn normals by the cofactors: right for every affine map, and to the side they were on.
    normals = shapes.normals
    if normals is not None:
        assert parts.part_of_normal is not None
        if parts.normal_source is not None:
            normals = gather(normals, parts.normal_source)
        linear = matrices[:, :, :3]
        cofactors = jnp.stack([jnp.cross(linear[:, k - 2], linear[:, k - 1]) for k in range(3)], 1)
        side = jnp.where((cofactors[:, 0] * linear[:, 0]).sum(-1) < 0, -1, 1)
        cofactors = cofactors * side.astype(cofactors.dtype)[:, None, None]
        normals = _times(cofactors, normals, parts.part_of_normal)
    return moved, normals


def _times(matrices: jax.Array, vectors: jax.Array, part: jax.Array) -> jax.Array:
    """The vectors `[V, 3]`, each times the matrix `[P, 3, 3]` or `[P, 3, 4]` of its part."""
    # By components, which XLA makes one loop of: no matrix is copied to a vertex.
    columns = [*vectors.T, jnp.ones((), vectors.dtype)][: matrices.shape[2]]
    rows = [
        [gather(matrices[:, i, j], part) * column for j, column in enumerate(columns)]
        for i in range(3)
    ]
    return jnp.stack([functools.reduce(jnp.add, row) for row in rows], axis=-1)
