"""The scene of a glTF file: which primitives are drawn, and where in the world.

Shapes: `V` vertices, `F` faces of one primitive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrender._formats.gltf_accessors import Document, numbers
from jaxrender._formats.gltf_motion import compose, sample_animations, world_matrices
from jaxrender._formats.gltf_primitives import Primitive, read_primitive

INSTANCES = "EXT_mesh_gpu_instancing"
VISIBILITY = "KHR_node_visibility"


class Shown(NamedTuple):
    """A mesh as a node shows it.

    Attributes:
        node: index of the node.
        shape: the same where the primitives are the same.
        primitives: of the mesh, morphed; those of a skin are bent by it, and in the world.
        matrix: `[4, 4]` from them to the world.
    """

    node: int
    shape: Any
    primitives: list[Primitive]
    matrix: np.ndarray


class Stage(NamedTuple):
    """A scene of a file, at a time.

    Attributes:
        nodes: indices of those that are there, each before its children.
        worlds: `[nodes of the file, 4, 4]` where each node stands.
        shown: the meshes, in the order of their nodes.
    """

    nodes: list[int]
    worlds: np.ndarray
    shown: list[Shown]

    def primitives(self) -> list[Primitive]:
        """All of them, in the world."""
        return [
            _placed(dataclasses.replace(primitive, node=own.node), own.matrix[None])
            for own in self.shown
            for primitive in own.primitives
        ]


def read_stage(
    document: Document,
    *,
    time: float | None = None,
    animations: Sequence[int | str] = (),
    scene: int | str | None = None,
) -> Stage:
    """What a scene shows, and where, in the order of its nodes, depth first.

    Args:
        document: the file.
        time: of the animations, seconds; None is the pose that the nodes themselves have.
        animations: their numbers or names; none is the first, and others are noted.
        scene: number or name; None is the file's own.

    Raises:
        ValueError: there is no such scene or animation, or the file is not as the standard says.
    """
    moved = {} if time is None else sample_animations(document, animations, time)
    worlds = world_matrices(document, moved)
    meshes: dict[Any, list[Primitive]] = {}
    nodes, shown = _drawn(document, scene), []
    for index in nodes:
        node = document.item("nodes", index)
        if "mesh" not in node:
            continue

        # Read each mesh once for all nodes that show it in the same shape.
        weights = moved.get(index, {}).get("weights", node.get("weights"))
        key = node["mesh"], None if weights is None else tuple(weights)
        if key not in meshes:
            meshes[key] = _read_mesh(document, node["mesh"], weights)
        matrices = worlds[index][None]
        if INSTANCES in node.get("extensions", {}):
            extension = node["extensions"][INSTANCES]
            matrices = matrices @ _instances(document, f"nodes[{index}]", extension)
        if "skin" in node:
            if len(matrices) > 1:
                document.note(f"{INSTANCES} of a node with a skin")
            bent = [_skinned(document, own, node["skin"], worlds) for own in meshes[key]]
            shown.append(Shown(index, (*key, index), bent, np.eye(4)))
        else:
            shown += [Shown(index, key, meshes[key], matrix) for matrix in matrices]
    return Stage(nodes, worlds, shown)


def _drawn(document: Document, scene: int | str | None) -> list[int]:
    """The nodes of a scene, each before its children."""
    scenes = document.items("scenes")
    nodes = document.items("nodes")
    names = [item.get("name") for item in scenes]
    if isinstance(scene, str):
        if scene not in names:
            raise ValueError(f"there is no scene {scene!r}, of {names}")
        scene = names.index(scene)
    if scene is not None or scenes:
        chosen = document.json.get("scene", 0) if scene is None else scene
        roots = document.item("scenes", chosen).get("nodes", [])
    else:
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [index for index in range(len(nodes)) if index not in children]

    found: dict[int, None] = {}
    waiting = list(reversed(roots))
    while waiting:
        index = waiting.pop()
        node = document.item("nodes", index)
        shown = node.get("extensions", {}).get(VISIBILITY, {}).get("visible", True)
        if index not in found and shown:  # else its children are not seen either
            found[index] = None
            waiting += reversed(node.get("children", []))
    return list(found)


def _read_mesh(document: Document, index: int, weights: Any) -> list[Primitive]:
    """The primitives of a mesh, morphed by the weights of the node, or else its own."""
    mesh = document.item("meshes", index)
    name = f"meshes[{index}]"
    weights = mesh.get("weights", []) if weights is None else weights
    weights = numbers(f"{name}.weights", weights, (-1,))
    read = [
        read_primitive(document, f"{name}.primitives[{number}]", described, weights)
        for number, described in enumerate(mesh["primitives"])
    ]
    return [primitive for primitive in read if primitive is not None and len(primitive.faces)]


def _instances(document: Document, name: str, extension: dict[str, Any]) -> np.ndarray:
    """Where the instances of a node stand in it, `[N, 4, 4]`."""
    attributes = extension.get("attributes", {})
    default = {"TRANSLATION": [0, 0, 0], "ROTATION": [0, 0, 0, 1], "SCALE": [1, 1, 1]}
    read = {key: document.accessor(attributes[key]) for key in default if key in attributes}
    counts = {len(values) for values in read.values()}
    if len(counts) != 1:
        raise ValueError(f"{name} has {len(counts)} different numbers of instances")
    (count,) = counts
    parts = [
        numbers(f"{name}, {key}", read.get(key, np.tile(value, (count, 1))), (count, len(value)))
        for key, value in default.items()
    ]
    return compose(*parts)


def _skinned(document: Document, primitive: Primitive, index: int, worlds: np.ndarray) -> Primitive:
    """A primitive moved by the joints of a skin; where its node stands does not count."""
    skin = document.item("skins", index)
    name = f"skins[{index}]"
    joints = skin.get("joints", [])
    for joint in joints:
        document.item("nodes", joint)
    binds = np.tile(np.eye(4), (len(joints), 1, 1))
    if "inverseBindMatrices" in skin:
        read = document.accessor(skin["inverseBindMatrices"])
        if read.shape[1:] != (4, 4) or len(read) < len(joints):
            raise ValueError(f"{name} has {list(read.shape)} bind matrices, for {len(joints)}")
        binds = numbers(name, read[: len(joints)], (-1, 4, 4)).swapaxes(1, 2)
    if not joints or not primitive.joints.shape[1]:
        raise ValueError(f"{primitive.name} is in {name}, but one of them has no joints")

    # Let what has no weight name any joint, and what has none at all follow its first.
    weights = primitive.weights
    named = np.where(weights != 0, primitive.joints, 0)
    if named.min() < 0 or named.max() >= len(joints):
        raise ValueError(f"{primitive.name} names joint {named.max()}, of {len(joints)} in {name}")
    total = weights.sum(axis=1, keepdims=True)
    loose = total[:, 0] <= 0
    if loose.any():
        document.note(f"{int(loose.sum())} vertices without weights, which follow the first joint")
        weights = np.where(loose[:, None], np.eye(weights.shape[1])[:1], weights)
        named = np.where(loose[:, None], 0, named)
        total = np.where(loose[:, None], 1, total)
    bones = worlds[joints] @ binds
    matrices = np.zeros((len(weights), 4, 4))
    for k in range(weights.shape[1]):
        matrices += (weights[:, k] / total[:, 0])[:, None, None] * bones[named[:, k]]
    return _placed(primitive, matrices)


def _placed(primitive: Primitive, matrices: np.ndarray) -> Primitive:
    """Moves a primitive by one matrix `[1, 4, 4]`, or one for each vertex `[V, 4, 4]`.

    Normals go by the cofactors, the inverse transpose times the determinant, which exist for flat
    scales too. Where a face is mirrored its corners change places, so that its front stays.
    """
    if len(matrices) == 1 and np.array_equal(matrices[0], np.eye(4)):
        return primitive
    linear = matrices[:, :3, :3]
    vertices = _turned(linear, primitive.vertices) + matrices[:, :3, 3]
    rows = np.moveaxis(linear, 1, 0)
    cofactors = np.stack([np.cross(rows[k - 2], rows[k - 1]) for k in range(3)], axis=1)
    signs = np.where((rows[0] * cofactors[:, 0]).sum(-1) < 0, -1.0, 1.0)
    normals = primitive.normals
    if normals is not None:
        normals = _turned(cofactors * signs[:, None, None], normals)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = normals / np.where(length > 0, length, 1)

    # Let two of three corners decide where bones differ.
    faces = primitive.faces
    if (signs < 0).any():
        mirrored = np.broadcast_to(signs, len(vertices))[faces].sum(axis=1) < 0
        faces = np.where(mirrored[:, None], faces[:, [0, 2, 1]], faces)
    return dataclasses.replace(primitive, vertices=vertices, faces=faces, normals=normals)


def _turned(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors `[V, 3]` times one matrix `[1, 3, 3]`, or each times its own `[V, 3, 3]`."""
    # Not by `@`: handed to BLAS, so narrow a product takes several times as long.
    if len(matrices) == 1:
        return np.einsum("ij,vj->vi", matrices[0], vectors)
    return np.einsum("vij,vj->vi", matrices, vectors)
