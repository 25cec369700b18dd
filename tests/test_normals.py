"""`Mesh.normals`: drawn in place of computed ones, carried along, turned, and never stale."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_files import load, write
from quick import jit

import jaxrender as jr
from jaxrender._shading import lighting_of, lit_at
from jaxrender._surface import split_creases
from jaxrender._turntable import show_normals

SQUARE = "v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\n"
EYE = np.array([0.4, 0.3, 5.0], np.float32)
LIGHTS = jr.make_lights(0.1, [((0.3, 0.5, 1.0), 0.6)], [((1.0, 2.0, 3.0), 0.4)], specular=0.3)


def cut_ball() -> jr.Mesh:
    """A ball with the normal of its face at each corner, so that it looks cut like a gem."""
    ball = jr.shapes.icosphere(1)
    normals = jr.face_normals(ball.vertices, ball.faces)
    own = jnp.repeat(jnp.arange(len(ball.faces), dtype=jnp.int32)[:, None], 3, axis=1)
    return dataclasses.replace(ball, normals=normals, normal_faces=own)


def seen_of(mesh: jr.Mesh) -> jr.Fragments:
    """The middle of each face and a point beside it."""
    face = np.repeat(np.arange(len(mesh.faces)), 2)
    where = np.tile([[1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1]], (len(mesh.faces), 1))
    return jr.Fragments(jnp.asarray(face), jnp.asarray(where), jnp.ones(len(face)))


def shaded(mesh, eye=EYE):
    """In all shadings, and what the soft rasteriser makes of the two that interpolate."""
    seen = seen_of(mesh)
    found = {
        how: jr.shade(seen, mesh, LIGHTS, eye=eye, shading=how)
        for how in ("flat", "gouraud", "phong")
    }
    white, eye = jnp.ones((*seen.face.shape, 3)), jnp.append(eye, 1)
    for how in ("gouraud", "phong"):
        light = lighting_of(mesh, LIGHTS, eye=eye, shading=how, two_sided=True)
        found[f"soft {how}"] = lit_at(light, white, seen.face, seen.barycentrics)
    return found


shade_quickly = jit(shaded)


# --- what they say is drawn ---------------------------------------------------------------------


@pytest.mark.thorough
def test_a_cut_ball_is_lit_as_by_the_book():
    mesh = cut_ball()
    found = shade_quickly(mesh)
    seen = seen_of(mesh)
    corners = np.asarray(mesh.vertices)[np.asarray(mesh.faces)][np.asarray(seen.face)]
    normal = np.asarray(mesh.normals)[np.asarray(seen.face)]
    weights = np.asarray(seen.barycentrics)

    def light(point, normal):
        side = np.where(((EYE - corners.mean(1)) * normal).sum(-1) < 0, -1, 1)
        normal = side[:, None] * normal
        to_eye = unit(EYE - point)
        diffuse, reflection = np.full((len(point), 1), 0.1), np.zeros((len(point), 1))
        sun = np.tile([0.3, 0.5, 1.0], (len(point), 1))
        for toward, color in ((sun, 0.6), (unit(np.array([1.0, 2.0, 3.0]) - point), 0.4)):
            facing = (normal * toward).sum(-1, keepdims=True)
            glint = (normal * unit(unit(toward) + to_eye)).sum(-1, keepdims=True)
            diffuse += color * np.maximum(facing, 0)
            strength = np.linalg.norm(toward, axis=-1, keepdims=True) * (facing > 0)
            reflection += color * strength * np.maximum(glint, 0) ** 32
        return np.repeat(diffuse + 0.3 * reflection, 3, axis=1)

    at_corners = np.stack([light(corners[:, k], normal) for k in range(3)], 1)
    gouraud = (at_corners * weights[..., None]).sum(1)
    phong = light((corners * weights[..., None]).sum(1), normal)
    for name, want in (("gouraud", gouraud), ("phong", phong)):
        np.testing.assert_allclose(found[name], want, atol=2e-6)
        np.testing.assert_allclose(found[f"soft {name}"], want, atol=2e-6)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.thorough
def test_those_of_the_vertices_change_nothing():
    ball = jr.shapes.icosphere(1)
    own = dataclasses.replace(ball, normals=3 * jr.vertex_normals(ball.vertices, ball.faces))
    cornered = dataclasses.replace(own, normal_faces=own.faces)
    want = shade_quickly(ball)
    for mesh in (own, cornered):
        for name, value in shade_quickly(mesh).items():
            np.testing.assert_allclose(value, want[name], atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_winding_does_not_turn_them():
    """An object that was mirrored is wound inward, and its normals point outward."""
    mesh = cut_ball()
    turned = dataclasses.replace(
        mesh, faces=mesh.faces[:, ::-1], normal_faces=mesh.normal_faces[:, ::-1]
    )
    want, found = shade_quickly(mesh), shade_quickly(turned)
    for name in ("gouraud", "phong", "soft gouraud", "soft phong"):
        np.testing.assert_allclose(found[name][::2], want[name][::2], atol=2e-6, err_msg=name)


@pytest.mark.thorough
def test_vmap_is_a_loop_and_the_gradient_is_that_of_differences(x64):
    mesh = cut_ball()
    mesh = jax.tree.map(lambda a: a[:8] if a.dtype == jnp.int32 else a, mesh)
    mesh = jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, mesh)
    rng = np.random.default_rng(0)
    normals = mesh.normals[:8] + 0.2 * rng.normal(size=(8, 3))
    upstream = jnp.asarray(rng.normal(size=(5, 16, 3)))

    def value(normals):
        found = shaded(dataclasses.replace(mesh, normals=normals))
        return (jnp.stack(list(found.values())) * upstream).sum()

    slope = jit(jax.grad(value))(normals)
    way = jnp.asarray(rng.normal(size=(8, 3)))
    step, raw, value = 1e-6, value, jit(value)
    difference = (value(normals + step * way) - value(normals - step * way)) / (2 * step)
    np.testing.assert_allclose((slope * way).sum(), difference, rtol=1e-6)
    many = jnp.stack([normals, normals[::-1]])
    np.testing.assert_allclose(jit(jax.vmap(raw))(many), [value(n) for n in many], rtol=1e-12)


@pytest.mark.thorough
def test_zero_and_broken_ones_leave_no_nan():
    mesh = cut_ball()

    def value(normals):
        found = shaded(dataclasses.replace(mesh, normals=normals))
        return sum(part.sum() for part in found.values())

    both = jit(jax.value_and_grad(value))
    for bad in (0.0, np.nan, np.inf, 1e30, 1e-30):
        found, slope = both(mesh.normals.at[3].set(bad))
        assert np.isfinite(found)
        assert np.isfinite(np.asarray(slope)).all()


@pytest.mark.long
def test_both_rasterisers_draw_them():
    """A gem in "phong" looks as in "flat", where light has one direction."""
    mesh = cut_ball()
    lights = jr.make_lights(0.2, [((0.3, 0.5, 1.0), 0.6)])
    camera = jr.look_at((0.3, 0.5, 3.0), projection=jr.orthographic(2.2))
    for rasterizer in (jr.Hard(), jr.Soft(sigma=1e-6)):

        @jit
        def both(mesh, rasterizer=rasterizer):
            return [
                jr.render(
                    mesh, camera, lights, image_size=(12, 12), shading=how, rasterizer=rasterizer
                ).rgb
                for how in ("flat", "phong")
            ]

        flat, phong = both(mesh)
        assert 0.3 < flat.max() < 1
        np.testing.assert_allclose(phong, flat, atol=2e-6)


# --- they are carried, turned and dropped ------------------------------------------------------


def test_new_vertices_drop_them():
    mesh = cut_ball()
    moved = mesh.with_vertices(np.asarray(mesh.vertices) * 2)
    assert moved.normals is None
    assert moved.normal_faces is None
    assert moved.faces is mesh.faces
    assert isinstance(moved.vertices, jax.Array)


def test_transformed_takes_whole_numbers_for_floats():
    mesh = jr.Mesh([[0, 0, 0], [2, 0, 0], [0, 2, 0]], [[0, 1, 2]])
    moved = mesh.transformed([[0.25, 0, 0, 0.5], [0, 0.5, 0, 0], [0, 0, 1, 0]])
    assert moved.vertices.tolist() == [[0.5, 0, 0], [1, 0, 0], [0.5, 1, 0]]


@pytest.mark.parametrize("mirror", [1, -1])
def test_transformed_turns_them(mirror):
    rng = np.random.default_rng(1)
    matrix = np.append(rng.normal(size=(3, 3)) * [[mirror], [1], [1]], [[1], [2], [3]], axis=1)
    ball = jr.shapes.icosphere(1)
    mesh = dataclasses.replace(ball, normals=ball.vertices)  # a unit ball: n = v
    moved = mesh.transformed(matrix)
    vertices = np.asarray(ball.vertices) @ matrix[:, :3].T + matrix[:, 3]
    np.testing.assert_allclose(moved.vertices, vertices, atol=1e-5)
    want = unit(np.asarray(ball.vertices) @ np.linalg.inv(matrix[:, :3]))
    np.testing.assert_allclose(unit(np.asarray(moved.normals)), want, atol=1e-4)
    square = np.append(matrix, [[0, 0, 0, 1]], axis=0)
    np.testing.assert_array_equal(jax.jit(jr.Mesh.transformed)(mesh, square).normals, moved.normals)
    with pytest.raises(ValueError, match="affine map"):
        mesh.transformed(np.eye(3))


@pytest.mark.thorough
def test_padding_stacking_cutting_and_turning_carry_them():
    gem, smooth = cut_ball(), jr.shapes.icosphere(1)
    vertexwise = dataclasses.replace(smooth, normals=2 * smooth.vertices)
    small = jr.shapes.cube()
    stacked = jr.stack_meshes([gem, vertexwise, small])
    assert stacked.normals.shape == (3, max(len(gem.normals), len(smooth.vertices)), 3)
    assert stacked.normal_faces.shape == stacked.faces.shape
    np.testing.assert_array_equal(stacked.normals[1, : len(smooth.vertices)], vertexwise.normals)
    want = jr.vertex_normals(small.vertices, small.faces)
    np.testing.assert_allclose(stacked.normals[2, : len(small.vertices)], want, atol=1e-6)
    plain = jr.pad_meshes([vertexwise, small])
    assert plain[1].normal_faces is None
    assert plain[1].normals.shape == plain[0].normals.shape == smooth.vertices.shape
    assert jr.pad_meshes([smooth, small])[0].normals is None

    # Cut in four, a gem stays one, and a new vertex of the ball gets the mean.
    fine = jr.subdivide(gem)
    got = np.asarray(fine.normals)[np.asarray(fine.normal_faces)]
    want = np.repeat(np.asarray(gem.normals)[np.asarray(gem.normal_faces)][:, :1], 12, axis=1)
    np.testing.assert_allclose(got.reshape(-1, 12, 3), want, atol=1e-6)
    fine = jr.subdivide(vertexwise)
    np.testing.assert_allclose(fine.normals, 2 * fine.vertices, atol=1e-6)

    # Turned faces keep the normal of each corner.
    mixed = dataclasses.replace(gem, faces=gem.faces.at[::3].set(gem.faces[::3][:, [1, 0, 2]]))
    numbered = jnp.arange(gem.faces.size, dtype=jnp.int32).reshape(-1, 3)
    mixed = dataclasses.replace(mixed, normals=jnp.ones((gem.faces.size, 3)), normal_faces=numbered)
    turned = jr.orient_faces(mixed)
    np.testing.assert_array_equal(turned.normal_faces[::3], numbered[::3][:, [1, 0, 2]])
    np.testing.assert_array_equal(turned.normal_faces[1::3], numbered[1::3])


@pytest.mark.slow
def test_the_command_line_shows_them():
    mesh = cut_ball()
    shown = show_normals(mesh, "phong")
    got = np.asarray(shown.texture.colors)[np.asarray(shown.faces)] * 2 - 1
    want = np.asarray(mesh.normals)[np.asarray(mesh.normal_faces)]
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_array_equal(
        np.asarray(shown.vertices)[np.asarray(shown.faces)],
        np.asarray(mesh.vertices)[np.asarray(mesh.faces)],
    )
    assert split_creases(mesh, 30.0) is mesh


@pytest.mark.slow
def test_bad_ones_are_rejected():
    mesh = cut_ball()
    count = len(mesh.faces)
    cases = [
        ({"normals": None}, "normal_faces` must be None"),
        ({"normal_faces": None}, "one row for each of the 42 vertices, got 80"),
        ({"normals": mesh.normals.at[0, 0].set(np.nan)}, "normals` must be finite"),
        ({"normals": mesh.normals[:, :2]}, r"normals` must be a floating-point array \[N, 3\]"),
        ({"normals": mesh.normals[:4]}, "must index 4 vertices"),
        ({"normal_faces": mesh.normal_faces[:4]}, f"one row for each of the {count} faces, got 4"),
    ]
    for changes, message in cases:
        bad = dataclasses.replace(mesh, **changes)
        with pytest.raises(ValueError, match=message):
            jr.render(bad, jr.look_at((0, 0, 3)), image_size=(4, 4))
        with pytest.raises(ValueError, match=message):
            jr.pad_meshes([bad])
        with pytest.raises(ValueError, match=message):
            jr.shade(seen_of(mesh), bad, shading="phong")


# --- files ----------------------------------------------------------------------------------------


def test_obj_has_normals_of_corners(tmp_path):
    text = f"{SQUARE}vn 0 0 2\nvn 1 0 0\nf 1//1 2//1 3//2\nf 1//1 3//1 4//1\n"
    mesh, said = load(write(tmp_path / "a.obj", text))
    assert not said
    assert mesh.normals.tolist() == [[0, 0, 2], [1, 0, 0]]
    assert mesh.normal_faces.tolist() == [[0, 0, 1], [0, 0, 0]]


@pytest.mark.slow
def test_corners_without_get_those_of_the_vertices(tmp_path):
    text = f"{SQUARE}v 1 -1 5\nvn 1 0 0\nvn 0 0 0\nf 1//1 2//1 3//1\nf 1 3 4\nf 2//2 5//2 3//2\n"
    mesh, said = load(write(tmp_path / "a.obj", text))
    assert not said
    got = np.asarray(mesh.normals)[np.asarray(mesh.normal_faces)]
    want = jr.vertex_normals(mesh.vertices, mesh.faces)[mesh.faces]
    np.testing.assert_array_equal(got[0], [[1, 0, 0]] * 3)
    np.testing.assert_allclose(got[1:], want[1:], atol=1e-6)


def test_ply_has_normals_of_vertices(tmp_path):
    text = (
        "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
        "property float z\nproperty float nx\nproperty float ny\nproperty float nz\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
        "0 0 0 1 0 0\n1 0 0 0 1 0\n0 1 0 0 0 1\n3 0 1 2\n"
    )
    mesh, said = load(write(tmp_path / "a.ply", text))
    assert not said
    assert mesh.normals.tolist() == np.eye(3).tolist()
    assert mesh.normal_faces is None


def test_all_zero_is_none(tmp_path):
    mesh, _ = load(write(tmp_path / "a.obj", f"{SQUARE}vn 0 0 0\nf 1//1 2//1 3//1\n"))
    assert mesh.normals is None


@pytest.mark.slow
def test_blenders_cube_is_sharp(cases):
    """Its GLB has six normals; smoothed, they are 54.7 degrees off."""
    mesh, _ = load(cases.path("blender/uvimage.glb"))
    normals = np.asarray(mesh.normals)
    assert normals.shape == mesh.vertices.shape
    assert mesh.normal_faces is None
    own = np.asarray(jr.face_normals(mesh.vertices, mesh.faces))
    cosine = (normals[np.asarray(mesh.faces)] * own[:, None]).sum(-1)
    assert cosine.min() > 0.9999


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_they_are_written(tmp_path, suffix):
    ball = jr.shapes.icosphere(0)
    mesh = dataclasses.replace(ball, normals=2 * ball.vertices)
    if suffix == ".obj":
        mesh = dataclasses.replace(cut_ball(), texture=mesh.texture)
    jr.save_mesh(tmp_path / f"a{suffix}", mesh)
    again, said = load(tmp_path / f"a{suffix}")
    assert not said
    if suffix == ".obj":
        np.testing.assert_array_equal(again.normals, mesh.normals)
        np.testing.assert_array_equal(again.normal_faces, mesh.normal_faces)
    else:
        got, want = np.asarray(again.normals), np.asarray(mesh.normals)
        np.testing.assert_allclose(unit(got), unit(want), atol=1e-6)


@pytest.mark.parametrize(("suffix", "what"), [(".off", "its normals"), (".ply", "of corners")])
def test_formats_without_say_so(tmp_path, suffix, what):
    mesh = cut_ball()
    if suffix == ".off":
        mesh = dataclasses.replace(jr.shapes.icosphere(0), normals=jr.shapes.icosphere(0).vertices)
    with pytest.warns(UserWarning, match=f"does not store .*{what}"):
        jr.save_mesh(tmp_path / f"a{suffix}", mesh)
