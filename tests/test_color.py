"""The sRGB curve, and who carries the encoding of colours from a file to a picture and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxrender as jr
from jaxrender._color import decode, encode, recode, recode_pixels
from jaxrender._surface import split_creases
from jaxrender._textures import check_texture

CASES = Path(__file__).parent / "cases"
RNG = np.random.default_rng(3)
CURVES = {"to_display": jr.to_display, "to_linear": jr.to_linear}
TRIED = [0.0, 1e-30, 1e-4, 0.003, 0.0031308, 0.0032, 0.04, 0.04045, 0.041, 0.2, 0.5, 1.0, 1.7, 20.0]


def slow_display(value: float) -> float:
    """IEC 61966-2-1, one number at a time; odd."""
    if value < 0:
        return -slow_display(-value)
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def slow_linear(value: float) -> float:
    if value < 0:
        return -slow_linear(-value)
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


SLOW = {"to_display": slow_display, "to_linear": slow_linear}


# --- the curve ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVES)
def test_curve_against_a_slow_reference(name):
    values = np.array([*TRIED, *RNG.random(50), *(-value for value in TRIED)])
    expected = np.array([SLOW[name](value) for value in values])
    numpy = encode if name == "to_display" else decode
    assert np.allclose(numpy(values), expected, rtol=1e-12, atol=2e-8)  # the knee has 8 digits
    curve = CURVES[name](values.astype(np.float32))
    assert curve.dtype == jnp.float32
    assert np.allclose(curve, expected, rtol=2e-6, atol=2e-8)
    assert np.allclose(jax.jit(CURVES[name])(values.astype(np.float32)), curve, rtol=1e-6)
    batch = jnp.asarray(values[:12].reshape(4, 3), jnp.float32)
    assert np.allclose(jax.vmap(CURVES[name])(batch), CURVES[name](batch), rtol=1e-6)


@pytest.mark.slow
def test_known_values_of_the_curve():
    assert np.allclose(jr.to_display(jnp.array([0.5])) * 255, 187.516, atol=1e-3)
    assert np.allclose(jr.to_linear(jnp.array([188 / 255])) * 255, 128.236, atol=1e-3)
    assert np.isclose(jr.to_display(1), 1)  # whole numbers serve as floats


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", CURVES)
def test_gradient_of_the_curve(name, x64):
    values = jnp.array([-0.7, -0.02, 0.001, 0.2, 0.9, 3.0])
    check_grads(CURVES[name], (values,), order=1, modes=["fwd", "rev"], atol=1e-6, rtol=1e-6)
    at_zero = jax.grad(CURVES[name])(0.0)
    assert np.isclose(at_zero, 12.92 if name == "to_display" else 1 / 12.92)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_curve_is_finite_for_every_finite_number(name, dtype, x64):
    info = jnp.finfo(dtype)
    values = jnp.array([0, info.tiny, info.max, -info.max, 1e4, -1e-4], dtype)
    result, slopes = jax.vmap(jax.value_and_grad(CURVES[name]))(values)
    assert result.dtype == slopes.dtype == dtype
    assert jnp.isfinite(result).all()
    assert jnp.isfinite(slopes).all()


@pytest.mark.slow
def test_there_and_back(x64):
    values = jnp.asarray(np.linspace(-1, 2, 1000))
    assert np.allclose(jr.to_linear(jr.to_display(values)), values, rtol=0, atol=1e-8)
    levels = np.arange(256) / 255
    assert np.allclose(encode(decode(levels)), levels, rtol=0, atol=1e-15)


@pytest.mark.slow
def test_curve_under_strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        assert jr.to_linear(jnp.float32(0.5)).dtype == jnp.float32
        assert jr.to_display(jnp.float32(0.5)).dtype == jnp.float32


@pytest.mark.parametrize("name", CURVES)
def test_bad_colors(name):
    with pytest.raises(ValueError, match=r"`colors` must be floating-point.*Divide 8-bit"):
        CURVES[name](np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="`colors` must be a floating-point array"):
        CURVES[name]("red")


def test_alpha_is_never_encoded():
    for count, alphas in ((1, 0), (2, 1), (3, 0), (4, 1)):
        pixels = np.full((2, 2, count), 0.5)
        found = recode_pixels(pixels, "linear", "display")[0, 0]
        expected = [slow_display(0.5)] * (count - alphas) + [0.5] * alphas
        assert np.allclose(found, expected)
    assert np.allclose(recode_pixels(np.full((2, 2), 0.5), "linear", "display"), slow_display(0.5))


# --- who carries the encoding ------------------------------------------------------------------


def dressed(kind: str, encoding: str, mesh: jr.Mesh | None = None) -> jr.Mesh:
    """A cube in a texture of that kind."""
    mesh = jr.shapes.cube() if mesh is None else mesh
    vertices, faces = len(mesh.vertices), len(mesh.faces)
    image, uv = np.float32(RNG.random((4, 5, 3))), np.float32(RNG.random((vertices, 2)))
    texture = {
        "colors": lambda: jr.VertexColors(np.float32(RNG.random((vertices, 3))), encoding),
        "texels": lambda: jr.FaceTexels(np.float32(RNG.random((faces, 1, 1, 3))), encoding),
        "cubes": lambda: jr.FaceCubes(np.float32(RNG.random((faces, 2, 2, 2, 3))), encoding),
        "uv": lambda: jr.UVTexture(image, uv, mesh.faces, encoding=encoding),
    }[kind]()
    return dataclasses.replace(mesh, texture=texture)


KINDS = ("colors", "texels", "cubes", "uv")
CAMERA = jr.look_at((0.0, 1.0, -3.0))


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_the_encoding_is_kept(kind):
    mesh = dressed(kind, "linear")
    assert check_texture(mesh.texture, mesh).encoding == "linear"
    small, _ = jr.pad_meshes([mesh, dressed(kind, "linear", jr.shapes.icosphere(1))])
    assert small.texture.encoding == "linear"
    assert jr.stack_meshes([mesh, mesh]).texture.encoding == "linear"
    assert split_creases(mesh, 40.0).texture.encoding == "linear"
    assert jr.normalize(mesh).texture.encoding == "linear"
    if kind != "cubes":
        assert jr.io.bake_cubes(mesh, 2).texture.encoding == "linear"
        assert jr.io.bake_texels(mesh, 2).texture.encoding == "linear"
    leaves, tree = jax.tree.flatten(mesh)
    assert jax.tree.unflatten(tree, leaves).texture.encoding == "linear"


@pytest.mark.long
@pytest.mark.parametrize("rasterizer", [None, jr.Soft(sigma=1e-4)])
def test_pictures_have_the_encoding_of_the_texture(rasterizer):
    def draw(mesh, **options):
        return jr.render(mesh, CAMERA, image_size=(8, 8), rasterizer=rasterizer, **options)

    plain, linear = dressed("colors", "display"), dressed("colors", "linear")
    assert draw(jr.shapes.cube()).encoding == "display"
    assert draw(plain).encoding == "display"
    assert draw(linear, anti_aliasing=2).encoding == "linear"
    assert jax.jit(draw)(linear).encoding == "linear"
    stacked = jr.stack_meshes([linear, linear])
    assert jax.vmap(draw)(stacked).encoding == "linear"

    # It names the values, and changes none of them.
    same = dataclasses.replace(linear.texture, encoding="display")
    assert np.array_equal(draw(linear).rgb, draw(dataclasses.replace(linear, texture=same)).rgb)


@pytest.mark.long
def test_soft_pictures_without_faces_and_without_colors_have_it_too():
    texture = jr.VertexColors(jnp.ones((3, 3)), "linear")
    corners = jnp.array([[-0.5, -0.5, 2.0], [0.5, -0.5, 2.0], [0.0, 0.5, 2.0]])
    faces = jnp.array([[0, 1, 2]])
    for some in (faces, faces[:0]):
        screen = jr.ScreenMesh(corners, some)
        for aggregate in ("softmax", "hard", None):
            image = jr.rasterize_soft(screen, texture, image_size=(4, 4), aggregate_rgb=aggregate)
            assert image.encoding == "linear"


def test_two_encodings_are_an_error():
    with pytest.raises(ValueError, match=r"one encoding, got 'display' in .*\[0\] and 'linear'"):
        jr.stack_meshes([dressed("colors", "display"), dressed("colors", "linear")])
    with pytest.raises(ValueError, match="textures of one kind"):
        jr.stack_meshes([jr.shapes.cube(), dressed("colors", "linear")])
    for kind in KINDS:
        with pytest.raises(ValueError, match=r"`texture\.encoding` must be one of 'display'"):
            jr.render(dressed(kind, "srgb"), CAMERA, image_size=(8, 8))


# --- files -------------------------------------------------------------------------------------


def colors_of(texture) -> np.ndarray:
    """The colours of a texture in 255ths, each once."""
    table = jax.tree.leaves(texture)[0]
    return np.unique(np.asarray(table, np.float64).reshape(-1, 3) * 255, axis=0)


@pytest.mark.parametrize(
    ("name", "display", "linear"),
    [
        ("factor_image.glb", (161,) * 3, (91,) * 3),
        ("factor_dark.glb", (5, 17, 25), (0.0015 * 255, 0.0055 * 255, 0.0095 * 255)),
        ("color_material.glb", (188, 137, 0), (127.5, 63.75, 0)),
        ("color_u16.glb", (124, 63, 25), (13209 / 257, 3258 / 257, 637 / 257)),
    ],
)
def test_glb_factors_and_colors_are_linear_and_pictures_are_not(name, display, linear):
    pytest.importorskip("trimesh")
    encoded = jr.load_mesh(CASES / name).texture
    assert encoded.encoding == "display"
    assert np.abs(colors_of(encoded) - [display]).max() < 0.5
    plain = jr.load_mesh(CASES / name, colors="linear").texture
    assert plain.encoding == "linear"
    assert np.abs(colors_of(plain) - [linear]).max() < (0.5 if "image" in name else 1e-4)


@pytest.mark.slow
def test_both_halves_of_a_mixed_file_are_the_same_gray():
    pytest.importorskip("imageio")
    camera = jr.look(
        (0.5, 0.5, 2.0), (0.0, 0.0, -1.0), projection=jr.orthographic(1.0), right_handed=True
    )
    for encoding, level in (("display", 188), ("linear", 128)):
        mesh = jr.load_mesh(CASES / "mixed.obj", colors=encoding)
        image = jr.render(mesh, camera, image_size=(16, 16), shading="none")
        assert image.encoding == encoding
        assert np.abs(np.asarray(image.rgb) * 255 - level).max() < 0.6


@pytest.mark.parametrize("encoding", ["display", "linear"])
@pytest.mark.parametrize(
    ("extension", "kind"),
    [
        (".obj", "colors"),
        (".obj", "texels"),
        (".obj", "uv"),
        (".ply", "colors"),
        (".ply", "texels"),
        (".off", "colors"),
        (".off", "texels"),
        (".glb", "colors"),
        (".glb", "texels"),
        (".glb", "uv"),
    ],
)
def test_what_is_written_comes_back(tmp_path, extension, kind, encoding):
    pytest.importorskip("trimesh")
    pytest.importorskip("imageio")
    mesh = dressed(kind, encoding)
    path = tmp_path / "new" / "folder" / f"a{extension}"
    jr.save_mesh(path, mesh)
    again = jr.load_mesh(path, colors=encoding)
    assert type(again.texture) is type(mesh.texture)
    assert again.texture.encoding == encoding
    table, found = (np.asarray(jax.tree.leaves(m.texture)[0]) for m in (mesh, again))
    exact = extension in (".obj", ".glb") and kind != "uv"
    if exact:
        assert np.abs(found - table).max() < 2e-7
        return

    # Eight bits are bits of display values.
    if encoding == "linear":
        table, found = encode(table), encode(found)
    assert np.abs(found - table).max() < 0.51 / 255


def test_what_formats_define_is_written(tmp_path):
    pytest.importorskip("imageio")
    mesh = dressed("texels", "display")
    gray = dataclasses.replace(mesh.texture, texels=jnp.full((12, 1, 1, 3), 188 / 255))
    jr.save_mesh(tmp_path / "a.obj", dataclasses.replace(mesh, texture=gray))
    kd = next(line for line in (tmp_path / "a.mtl").read_text().splitlines() if "Kd" in line)
    assert np.allclose([float(word) for word in kd.split()[1:]], slow_linear(188 / 255))
    linear = dataclasses.replace(gray, encoding="linear")
    jr.save_mesh(tmp_path / "a.off", dataclasses.replace(mesh, texture=linear))
    level = round(255 * slow_display(188 / 255))
    assert (tmp_path / "a.off").read_text().endswith(f" {level} {level} {level}\n")


def test_display_texels_come_back_to_the_bit(tmp_path):
    mesh = dressed("texels", "display")
    levels = np.float32(RNG.integers(0, 256, (12, 1, 1, 3)) / 255)
    mesh = dataclasses.replace(mesh, texture=jr.FaceTexels(jnp.asarray(levels)))
    jr.save_mesh(tmp_path / "a.obj", mesh)
    assert np.array_equal(jr.load_mesh(tmp_path / "a.obj").texture.texels, levels)


def test_files_that_hold_display_values_are_decoded(tmp_path):
    pytest.importorskip("trimesh")
    mesh = dressed("colors", "display")
    for extension in (".obj", ".ply", ".off"):
        jr.save_mesh(tmp_path / f"a{extension}", mesh)
        held = jr.load_mesh(tmp_path / f"a{extension}").texture.colors
        linear = jr.load_mesh(tmp_path / f"a{extension}", colors="linear").texture
        assert np.allclose(linear.colors, decode(np.asarray(held, np.float64)), atol=1e-6)
    with pytest.raises(ValueError, match="`colors` must be one of 'display', 'linear'"):
        jr.load_mesh(tmp_path / "a.obj", colors="srgb")


def test_clipping_of_mesh_colors_is_warned_of(tmp_path):
    pytest.importorskip("trimesh")
    mesh = dressed("colors", "display")
    bright = dataclasses.replace(mesh, texture=jr.VertexColors(2 * mesh.texture.colors))
    for extension in (".ply", ".off", ".glb"):
        with pytest.warns(
            UserWarning, match=rf"a\{extension}: .* of 24 values are not in \[0, 1\]"
        ):
            jr.save_mesh(tmp_path / f"a{extension}", bright)


def test_pictures_are_decoded_and_alpha_is_not(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for shape in ((3, 4), (3, 4, 2), (3, 4, 3), (3, 4, 4)):
        pixels = RNG.integers(0, 256, shape).astype(np.uint8)
        image.fromarray(pixels).save(tmp_path / "a.png")
        held = np.asarray(jr.io.load_image(tmp_path / "a.png"), np.float64)
        linear = jr.io.load_image(tmp_path / "a.png", colors="linear")
        expected = decode(held)
        if held.shape[-1] in (2, 4):
            expected[..., -1] = held[..., -1]
        assert np.allclose(linear, expected, atol=1e-6)
    deep = np.array([[0, 20000], [65535, 257]], np.uint16)
    image.fromarray(deep).save(tmp_path / "deep.png")
    linear = np.asarray(jr.io.load_image(tmp_path / "deep.png", colors="linear"))[..., 0]
    assert np.allclose(linear, decode(deep / 65535), atol=1e-6)
    with pytest.raises(ValueError, match="`colors` must be one of"):
        jr.io.load_image(tmp_path / "a.png", colors="sRGB")


def picture(values: np.ndarray, encoding: str) -> jr.Image:
    return jr.Image(jnp.asarray(values), jnp.ones(values.shape[:-1]), jnp.ones(values.shape[:-1]),
                    encoding)  # fmt: skip


def test_save_image_obeys_the_encoding(tmp_path):
    pytest.importorskip("imageio")
    linear = np.float32(RNG.random((4, 5, 4)))

    def saved(image, **options):
        jr.io.save_image(tmp_path / "a.png", image, **options)
        return np.asarray(jr.io.load_image(tmp_path / "a.png"))

    expected = encode(linear)
    expected[..., 3] = linear[..., 3]
    assert np.abs(saved(linear, encoding="linear") - expected).max() < 0.51 / 255
    for image in (linear, linear[..., :3], picture(linear[..., :3], "display")):
        raw = linear[..., : saved(image).shape[-1]]
        assert np.abs(saved(image) - raw).max() < 0.51 / 255
    found = saved(picture(linear[..., :3], "linear"))
    assert np.abs(found - expected[..., :3]).max() < 0.51 / 255
    assert np.array_equal(saved(picture(linear[..., :3], "linear"), encoding="linear"), found)
    with pytest.raises(ValueError, match="`encoding` must be that of `image`, 'linear', got 'disp"):
        saved(picture(linear[..., :3], "linear"), encoding="display")
    with pytest.raises(ValueError, match="`encoding` must be one of"):
        saved(linear, encoding="gamma")
    with pytest.raises(ValueError, match=r"`image\.rgb` must be floats .*\[4, 5, 2\]"):
        saved(picture(linear[..., :2], "display"))


def test_save_animation_obeys_the_encoding(tmp_path):
    image = pytest.importorskip("PIL.Image")
    frames = np.full((2, 4, 4, 3), 0.5, np.float32)

    def level(frames, **options):
        jr.io.save_animation(tmp_path / "a.gif", frames, **options)
        with image.open(tmp_path / "a.gif") as gif:
            return int(np.asarray(gif.convert("RGB"))[0, 0, 0])

    assert level(frames) == level(picture(frames, "display")) == 128
    linear = picture(frames, "linear")
    assert level(linear) == level(frames, encoding="linear") == 188
    assert level([picture(frames[0], "linear"), picture(frames[1], "linear")]) == 188
    with pytest.raises(ValueError, match=r"`encoding` must be that of `frames`, 'linear'"):
        level(linear, encoding="display")
    with pytest.raises(ValueError, match=r"`encoding` must be that of `frames\[0\]`"):
        level([picture(frames[0], "linear")], encoding="display")


def test_clipping_of_pictures_is_warned_of_once(tmp_path):
    pytest.importorskip("imageio")
    depth = np.linspace(0, 5, 12).reshape(3, 4)
    hint = r"10 of 12 values are not in \[0, 1\] \(from 1\.\d* to 5\) and are clipped\..*save_depth"
    hint = hint.replace("10", str(int((depth > 1.001).sum())))
    with pytest.warns(UserWarning, match=hint) as caught:
        jr.io.save_image(tmp_path / "a.png", depth)
    assert len(caught) == 1
    assert Path(caught[0].filename) == Path(__file__)
    with pytest.warns(UserWarning, match=r"2 of 32 values are not in \[0, 1\] \(-1\)") as caught:
        jr.io.save_animation(tmp_path / "a.gif", np.stack([np.diag([-1.0, 0, 0, 0])] * 2))
    assert len(caught) == 1
    jr.io.save_image(tmp_path / "a.png", np.array([[-5e-4, 1 + 5e-4]]))  # rounding
    with pytest.warns(UserWarning, match="1 of 1 values"):
        jr.io.save_image(tmp_path / "a.png", picture(np.full((1, 1, 1), 1.2), "linear"))


@pytest.mark.parametrize(("held", "wanted"), [("display", "linear"), ("linear", "display")])
def test_many_colours_of_eight_bits_are_looked_up(held, wanted):
    """The same numbers as one by one, and those of more bits are not rounded to them."""
    colors = np.tile(np.arange(256) / 255, 500).astype(np.float32)
    want = recode(colors[:256], held, wanted)
    np.testing.assert_allclose(recode(colors, held, wanted)[:256], want, rtol=1e-6, atol=1e-8)
    colors[7] += 1e-5
    assert recode(colors, held, wanted)[7] == recode(colors[:8], held, wanted)[7]
