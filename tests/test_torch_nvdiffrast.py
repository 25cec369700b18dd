"""nvdiffrast's names on a CPU, against its formulas in NumPy.

Needs PyTorch: `make test-torch` installs and runs it; elsewhere it is skipped.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import reference_nvdiffrast as reference  # noqa: E402

import jaxrender as jr  # noqa: E402
from jaxrender.torch import nvdiffrast as dr  # noqa: E402

pytestmark = pytest.mark.torch

SIZE = (12, 16)
CTX = dr.RasterizeCudaContext()


def soup(seed, count=12, behind=False):
    """Triangles in clip space; with `behind`, some reach behind the camera."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-0.8, 0.8, (count, 1, 3))
    point = middle + rng.uniform(-0.7, 0.7, (count, 3, 3))
    w = rng.uniform(0.5, 3.0, (count, 3, 1))
    if behind:
        w[::2, 0] = -rng.uniform(0.3, 1.0, (len(w[::2]), 1))
    point[..., 2] *= 0.5
    pos = np.concatenate([point * np.abs(w), w], -1).reshape(-1, 4).astype(np.float32)
    return pos, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def cube(scale=0.6, turn=0.5):
    """A cube in perspective, whose triangles share vertices."""
    mesh = jr.shapes.cube(2 * scale)
    points = np.asarray(mesh.vertices, np.float64)
    c, s = np.cos(turn), np.sin(turn)
    points = points @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) + (0.03, 0.05, -3.0)
    z = points[:, 2]
    near, far = 1.0, 10.0
    clip_z = -(far + near) / (far - near) * z - 2 * far * near / (far - near)
    pos = np.stack([points[:, 0] * 2.5 * SIZE[0] / SIZE[1], points[:, 1] * 2.5, clip_z, -z], 1)
    return pos.astype(np.float32), np.array(mesh.faces, np.int32)


def drawn(pos, tri, **options):
    rast, db = dr.rasterize(
        CTX, torch.from_numpy(pos)[None], torch.from_numpy(tri), SIZE, **options
    )
    return rast[0].numpy(), db[0].numpy()


@pytest.mark.parametrize("behind", [False, True], ids=["in front", "behind"])
def test_rasterize(behind):
    for seed in range(3):
        pos, tri = soup(seed, behind=behind)
        rast, db = drawn(pos, tri)
        wanted, slopes = reference.rasterize(pos.astype(np.float64), tri, SIZE)
        assert (rast[..., 3] > 0).mean() > 0.1
        np.testing.assert_array_equal(rast[..., 3], wanted[..., 3])
        np.testing.assert_allclose(rast[..., :3], wanted[..., :3], atol=2e-5)
        np.testing.assert_allclose(db, slopes, atol=2e-4, rtol=2e-3)


def test_the_whole_range_of_depths_is_seen():
    corners = np.array([[-1, -1], [3, -1], [-1, 3]], np.float32)
    for z, seen in ((-1, 1), (1, 1), (-1.001, 0), (1.001, 0)):
        pos = np.concatenate([corners, np.full((3, 1), z), np.ones((3, 1))], 1).astype(np.float32)
        assert (drawn(pos, np.array([[0, 1, 2]], np.int32))[0][..., 3] == seen).all()


def test_ranges():
    pos, tri = soup(0)
    ranges = torch.tensor([[0, 5], [5, 7], [3, 0]], dtype=torch.int32)
    args = torch.from_numpy(pos), torch.from_numpy(tri)
    rast, _ = dr.rasterize(CTX, *args, SIZE, ranges=ranges)
    colors = torch.rand(len(pos), 2)
    values, _ = dr.interpolate(colors, rast, args[1])
    for k, (start, count) in enumerate(ranges.tolist()):
        wanted, _ = reference.rasterize(pos.astype(np.float64), tri[start : start + count], SIZE)
        wanted[..., 3] += np.where(wanted[..., 3] > 0, start, 0)
        np.testing.assert_allclose(rast[k].numpy(), wanted, atol=2e-5)
        smooth, _ = reference.interpolate(colors.numpy(), wanted, tri, np.zeros_like(wanted))
        np.testing.assert_allclose(values[k].numpy(), smooth, atol=1e-5)


@pytest.mark.parametrize("behind", [False, True], ids=["in front", "behind"])
def test_peeling(behind):
    pos, tri = soup(4, behind=behind)
    args = torch.from_numpy(pos)[None].repeat(2, 1, 1), torch.from_numpy(tri), SIZE
    with dr.DepthPeeler(CTX, *args) as peeler:
        for layer in range(3):
            rast, _ = peeler.rasterize_next_layer()
            wanted, _ = reference.rasterize(pos.astype(np.float64), tri, SIZE, layer)
            np.testing.assert_allclose(rast[1].numpy(), wanted, atol=2e-5)
        with pytest.raises(RuntimeError, match="rasterize_next_layer"):
            dr.rasterize(CTX, *args)
    with pytest.raises(RuntimeError, match="inside of"):
        peeler.rasterize_next_layer()
    dr.rasterize(CTX, *args)


def test_interpolate():
    pos, tri = soup(1)
    rast, db = drawn(pos, tri)
    attr = np.random.default_rng(0).normal(size=(len(pos), 3)).astype(np.float32)
    args = [torch.from_numpy(x) for x in (attr[None], rast[None], tri, db[None])]
    values, slopes = dr.interpolate(*args, diff_attrs="all")
    wanted, wanted_slopes = reference.interpolate(attr, rast, tri, db)
    np.testing.assert_allclose(values[0].numpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(slopes[0].numpy(), wanted_slopes, atol=1e-5)
    _, some = dr.interpolate(*args, diff_attrs=[2, 0])
    np.testing.assert_array_equal(some.numpy(), slopes.numpy()[..., [4, 5, 0, 1]])
    assert dr.interpolate(*args[:3])[1].shape == (1, *SIZE, 0)


@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero"])
@pytest.mark.parametrize("linear", [False, True], ids=["nearest", "linear"])
def test_texture(boundary, linear):
    rng = np.random.default_rng(2)
    tex, uv = rng.uniform(size=(4, 6, 2)), rng.uniform(-1.5, 2.5, (9, 8, 2))
    args = [torch.from_numpy(x[None].astype(np.float32)) for x in (tex, uv)]
    mode = "linear" if linear else "nearest"
    found = dr.texture(*args, filter_mode=mode, boundary_mode=boundary)
    wanted = reference.texture(tex, uv, linear, boundary)
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=2e-5)


def test_cube_map():
    rng = np.random.default_rng(3)
    tex = rng.uniform(size=(6, 4, 4, 3)).astype(np.float32)
    uv = rng.normal(size=(16, 16, 3)).astype(np.float32)
    uv[0, 0] = 0
    args = [torch.from_numpy(x[None]) for x in (tex, uv)]
    found = dr.texture(*args, filter_mode="nearest", boundary_mode="cube")[0].numpy()
    wanted = [reference.cube_nearest(tex, direction) for direction in uv.reshape(-1, 3)[1:]]
    np.testing.assert_array_equal(found.reshape(-1, 3)[1:], wanted)
    np.testing.assert_array_equal(found[0, 0], 0)


def test_cube_map_is_smooth_across_edges():
    """Texels that are a linear function of the direction are read back as such, nearly."""
    width = 16
    middles = (2 * np.arange(width) + 1 - width) / width
    t, s = np.meshgrid(middles, middles, indexing="ij")
    inverse = [  # of OpenGL's table
        (np.ones_like(s), -t, -s),
        (-np.ones_like(s), -t, s),
        (s, np.ones_like(s), t),
        (s, -np.ones_like(s), -t),
        (s, -t, np.ones_like(s)),
        (-s, -t, -np.ones_like(s)),
    ]
    tex = np.stack([np.stack(side, -1) for side in inverse])
    tex /= np.linalg.norm(tex, axis=-1, keepdims=True)
    uv = np.random.default_rng(0).normal(size=(64, 64, 3))
    uv /= np.linalg.norm(uv, axis=-1, keepdims=True)
    args = [torch.from_numpy(x[None].astype(np.float32)) for x in (tex, uv)]
    found = dr.texture(*args, boundary_mode="cube")[0].numpy()
    assert np.abs(found - uv).max() < 0.06  # half a texel; a wrong neighbour is off by 1
    assert np.abs(found - uv).mean() < 2e-3


def test_antialias():
    same = total = 0
    for turn in np.linspace(0.1, 1.4, 8):
        pos, tri = cube(turn=turn)
        rast, _ = drawn(pos, tri)
        color = np.random.default_rng(0).uniform(size=(*SIZE, 2)).astype(np.float32)
        args = [torch.from_numpy(x) for x in (color[None], rast[None], pos[None], tri)]
        hash_ = dr.antialias_construct_topology_hash(args[3])
        found = dr.antialias(*args, topology_hash=hash_)[0].numpy()
        wanted = reference.antialias(*(x.astype(np.float64) for x in (color, rast, pos)), tri)
        touched = np.abs(wanted - color).max(-1) > 1e-6
        same += (np.abs(found - wanted).max(-1) < 1e-4)[touched].sum()
        total += touched.sum()
        assert np.abs(found - wanted).max(-1)[~touched].max() < 0.1  # its tolerance of 1/16
    assert total > 100
    assert same > 0.97 * total


def test_gradients(x64):
    """Against finite differences, through all four operations."""
    pos, tri = cube(scale=0.5)
    pos, tri = torch.from_numpy(pos.astype(np.float64))[None], torch.from_numpy(tri)
    size, rng = (6, 8), torch.Generator().manual_seed(0)
    rast, db = dr.rasterize(CTX, pos, tri, size)
    attr = torch.rand(8, 2, generator=rng, dtype=torch.float64)
    tex = torch.rand(1, 3, 4, 2, generator=rng, dtype=torch.float64)
    color = torch.rand(1, *size, 2, generator=rng, dtype=torch.float64)

    def check(function, *inputs):
        inputs = [x.detach().clone().requires_grad_() for x in inputs]
        assert torch.autograd.gradcheck(function, inputs, atol=1e-5, fast_mode=True)

    check(lambda p: [x[..., :2] for x in dr.rasterize(CTX, p, tri, size)], pos)
    check(lambda a, r, d: dr.interpolate(a, r, tri, d, "all"), attr, rast.detach(), db.detach())
    uv = torch.rand(1, 3, 3, 2, generator=rng, dtype=torch.float64)
    check(lambda t, u: dr.texture(t, u), tex, uv)
    cubes = torch.rand(1, 6, 3, 3, 1, generator=rng, dtype=torch.float64)
    directions = torch.randn(1, 2, 3, 3, generator=rng, dtype=torch.float64)
    check(lambda t, u: dr.texture(t, u, boundary_mode="cube"), cubes, directions)
    check(lambda c, p: dr.antialias(c, rast.detach(), p, tri), color, pos)


def test_options_of_gradients():
    pos, tri = cube()
    tri = torch.from_numpy(tri)

    def pull(function):
        leaf = torch.from_numpy(pos)[None].requires_grad_()
        result = function(leaf)
        if result.requires_grad:
            result.square().sum().backward()
        return leaf.grad

    assert pull(lambda p: dr.rasterize(CTX, p, tri, SIZE)[1]).abs().max() > 0
    still = pull(lambda p: dr.rasterize(CTX, p, tri, SIZE, grad_db=False)[1])
    assert still is None or still.abs().max() == 0
    rast = dr.rasterize(CTX, torch.from_numpy(pos)[None], tri, SIZE)[0]
    color = (rast[..., 3:] > 0).float()
    once = pull(lambda p: dr.antialias(color, rast, p, tri))
    thrice = pull(lambda p: dr.antialias(color, rast, p, tri, pos_gradient_boost=3.0))
    torch.testing.assert_close(thrice, 3 * once)


def test_hostile_positions_make_no_nan():
    rng = np.random.default_rng(1)
    for scale in (0.0, 1e-20, 1e6, 1e18):
        pos = torch.from_numpy((rng.normal(size=(1, 30, 4)) * scale).astype(np.float32))
        pos.requires_grad_()
        tri = torch.arange(30, dtype=torch.int32).reshape(-1, 3)
        rast, _ = dr.rasterize(CTX, pos, tri, (8, 8))
        value, _ = dr.interpolate(pos, rast, tri)
        picture = dr.antialias(torch.nan_to_num(value).clamp(-1, 1), rast, pos, tri)
        assert torch.isfinite(picture).all()
        assert torch.isfinite(rast).all()
        if scale in (0.0, 1e6):
            (picture.sum() + rast[..., :2].sum()).backward()
            assert torch.isfinite(pos.grad).all()


POS, TRI = torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]], dtype=torch.int32)
RAST, UV = torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 2, 2)
TEX = torch.zeros(1, 2, 2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dr.rasterize(None, POS, TRI, (2, 2)), "`glctx` must be"),
        (lambda: dr.rasterize(CTX, POS.numpy(), TRI, (2, 2)), "`pos` must be a torch.Tensor"),
        (lambda: dr.rasterize(CTX, POS[..., :3], TRI, (2, 2)), "`pos` must be .*B, V, 4"),
        (lambda: dr.rasterize(CTX, POS, TRI.float(), (2, 2)), "`tri` must be"),
        (lambda: dr.rasterize(CTX, POS, TRI, 2), "`resolution` must be"),
        (lambda: dr.rasterize(CTX, POS[0], TRI, (2, 2)), "`ranges` must be given"),
        (lambda: dr.rasterize(CTX, POS[0], TRI, (2, 2), TRI[:, :2] + 5), "`ranges` must lie"),
        (lambda: dr.rasterize(CTX, POS[0], TRI, (2, 2), TRI), "`ranges` must be"),
        (lambda: dr.rasterize(CTX, POS, TRI, (2, 2), grad_db=1), "`grad_db` must be"),
        (lambda: dr.rasterize(CTX, POS.double(), TRI, (2, 2)), "float64"),
        (lambda: dr.interpolate(POS[None], RAST, TRI), "`attr` must be"),
        (lambda: dr.interpolate(POS, RAST[0], TRI), "`rast` must be"),
        (lambda: dr.interpolate(POS, RAST, TRI, diff_attrs="all"), "`rast_db` must be given"),
        (lambda: dr.interpolate(POS, RAST, TRI, RAST, "some"), "`diff_attrs` must be"),
        (lambda: dr.interpolate(POS, RAST, TRI, RAST, [9]), "`diff_attrs` must be"),
        (lambda: dr.texture(TEX[0], UV), "`tex` must be"),
        (lambda: dr.texture(TEX, UV[..., :1]), "`uv` must be"),
        (lambda: dr.texture(TEX, UV, boundary_mode="mirror"), "`boundary_mode` must be"),
        (lambda: dr.texture(TEX, UV, filter_mode="cubic"), "`filter_mode` must be"),
        (lambda: dr.texture(TEX, UV, boundary_mode="cube"), "`tex` must be .*6, w, w"),
        (lambda: dr.antialias(TEX[0], RAST, POS, TRI), "`color` must be"),
        (lambda: dr.antialias(TEX, RAST, POS, TRI, topology_hash=3), "`topology_hash` must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_mipmaps_are_refused():
    for options in ({"uv_da": RAST}, {"filter_mode": "linear-mipmap-nearest", "uv_da": RAST}):
        with pytest.raises(NotImplementedError, match="no mipmaps yet"):
            dr.texture(TEX, UV, **options)
    with pytest.raises(NotImplementedError, match="mipmaps"):
        dr.texture_construct_mip(TEX)
    plain = dr.texture(TEX, UV, uv_da=RAST, max_mip_level=0)
    torch.testing.assert_close(plain, dr.texture(TEX, UV))


def test_contexts_and_log_levels():
    old = dr.RasterizeGLContext(output_db=False, mode="manual", device="cpu")
    old.set_context()
    old.release_context()
    pos, tri = cube()
    assert dr.rasterize(old, torch.from_numpy(pos)[None], torch.from_numpy(tri), SIZE)[0].any()
    dr.set_log_level(0)
    assert dr.get_log_level() == 0
    dr.set_log_level(1)
