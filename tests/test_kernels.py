"""Kernels in machine code: when they run, and that they are no more than a quicker way."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import soup

import jaxrender as jr
from jaxrender.ops import blocks, cpu, hard, nmr
from jaxrender.ops.cpu import calls
from jaxrender.ops.view import View

ON_CPU = jax.default_backend() == "cpu"
SIZE = (400, 403)  # large enough for several threads


def scene(views: int = 1) -> tuple[jax.Array, jax.Array]:
    """Vertices `[B, V, 3]` and the faces that all views share."""
    vertices, faces = soup(0, 300)
    moved = np.linspace(0, 0.5, views, dtype=np.float32)[:, None, None]
    return jnp.array(vertices + moved), jnp.array(faces)


@functools.partial(jax.jit, static_argnames=("size", "schedule"))
def draw(vertices, faces, *, size=SIZE, schedule=None):
    view = View(jnp.float32(0.1), jnp.float32(100), size)
    see = functools.partial(hard.nearest_faces, view=view, schedule=schedule)
    return jax.vmap(see, (0, None))(vertices, faces)


@functools.partial(jax.jit, static_argnames="schedule")
def visibility(vertices, faces, face, *, schedule=None):
    """NMR's gradient of pictures with 3 channels, which see these faces, and of each its own."""
    image = jnp.stack([face % 7, face % 5, face >= 0], -1).astype(vertices.dtype)
    upstream = jnp.cos(jnp.arange(image.size, dtype=vertices.dtype).reshape(image.shape))
    differentiate = functools.partial(nmr.visibility_gradient, schedule=schedule)
    mapped = jax.vmap(differentiate, (0, None, 0, 0, 0, None))
    return mapped(vertices, faces, face, image, upstream, jnp.asarray(1e-3, vertices.dtype))


@pytest.fixture
def forget():
    """Lets programs be traced anew, now and afterwards."""
    operations = hard._single_view, nmr._single_view

    def clear():
        jax.clear_caches()
        for operation in operations:
            operation.cache_clear()

    clear()
    yield
    clear()


class TestWhereAvailable:
    def test_wish(self, monkeypatch):
        monkeypatch.delenv("JAXRENDER_NUMBA", raising=False)
        assert cpu.are_available()
        monkeypatch.setenv("JAXRENDER_NUMBA", "0")
        assert not cpu.are_available()

    def test_without_numba(self, monkeypatch):
        """One warning says what it costs."""
        plain = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "numba" else plain(name)
        )
        cpu._find_numba.cache_clear()
        with pytest.warns(UserWarning, match=r"not installed.*8 times as long.*pip install numba"):
            assert not cpu.are_available()
        assert not cpu.are_available()
        cpu._find_numba.cache_clear()

    @pytest.mark.slow
    @pytest.mark.usefixtures("forget")
    @pytest.mark.skipif(not ON_CPU, reason="kernels are for a CPU")
    def test_numba_that_cannot_be_imported(self, monkeypatch):
        """As where it wants another numpy: known once a kernel is to be compiled."""
        seen = draw(*scene(), size=(9, 10))

        def refuse(kernel, dtype):
            raise ImportError("wants numpy 1")

        jax.clear_caches()
        cpu._target_of.cache_clear()
        monkeypatch.setattr(calls, "target_of", refuse)
        with pytest.warns(UserWarning, match=r"wants numpy 1.*8 times as long"):
            same = draw(*scene(), size=(9, 10))
        cpu._target_of.cache_clear()
        np.testing.assert_array_equal(seen[0], same[0])

    @pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5"])
    def test_bad_number_of_threads(self, monkeypatch, asked):
        monkeypatch.setenv("JAXRENDER_THREADS", asked)
        with pytest.raises(ValueError, match="JAXRENDER_THREADS must be a number of threads"):
            cpu.thread_limit()

    def test_dtypes(self, monkeypatch):
        """One that there are kernels for, of all arrays."""
        monkeypatch.delenv("JAXRENDER_NUMBA", raising=False)
        assert cpu.can_take(jnp.float32, jnp.float32)
        assert not cpu.can_take(jnp.float32, jnp.float64)
        assert not cpu.can_take(jnp.bfloat16)

    def test_number_of_threads(self, monkeypatch):
        monkeypatch.setenv("JAXRENDER_THREADS", "3")
        assert cpu.thread_limit() == 3
        monkeypatch.delenv("JAXRENDER_THREADS")
        assert cpu.thread_limit() == 0

    @pytest.mark.thorough
    @pytest.mark.usefixtures("forget")
    def test_wish_is_obeyed(self, monkeypatch):
        monkeypatch.setenv("JAXRENDER_NUMBA", "0")
        program = draw.lower(*scene(), size=(9, 10)).as_text()
        assert "jaxrender_zbuffer" not in program
        program = visibility.lower(*scene(), jnp.zeros((1, 9, 10), jnp.int32)).as_text()
        assert "jaxrender_visibility" not in program

    @pytest.mark.slow
    def test_exported_programs_have_none(self):
        """Nor has another device: there the passes draw."""
        pytest.importorskip("flatbuffers")
        vertices, faces = scene()
        function = jax.jit(lambda vertices, faces: draw(vertices, faces, size=(9, 10))[0])
        exported = jax.export.export(function, platforms=["cpu", "cuda"])(vertices, faces)
        assert "jaxrender_zbuffer" not in exported.mlir_module()
        again = jax.export.deserialize(exported.serialize())
        np.testing.assert_array_equal(again.call(vertices, faces), function(vertices, faces))


@pytest.mark.slow
@pytest.mark.skipif(not ON_CPU, reason="kernels are for a CPU")
class TestCalls:
    def test_one_thread_registers_at_a_time(self, monkeypatch):
        """XLA refuses a name that another thread has just registered."""
        inside, most = [], []

        def register(kernel, dtype, key):
            inside.append(kernel)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

        monkeypatch.setattr(calls, "_target_of", register)
        threads = [threading.Thread(target=calls.target_of, args=("a", "b")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1] * 4

    def test_nothing_is_copied_or_made_unasked(self):
        """Shared faces are passed once, and barycentrics are left out where nobody reads them."""

        def calls(function):
            text = jax.jit(function).lower(*scene(3)).compile().as_text()
            return re.findall(r"custom-call\((.*?)\), custom_call_target", text)

        both = calls(lambda *scene: draw(*scene, size=(9, 10)))
        (depth,) = calls(lambda *scene: draw(*scene, size=(9, 10))[2])
        assert len(both) == 2
        shapes = jax.jit(lambda *scene: draw(*scene, size=(9, 10))[2]).lower(*scene(3))
        assert "tensor<1x300x3xi32>" in shapes.as_text()
        assert depth

    @pytest.mark.thorough
    @pytest.mark.usefixtures("forget")
    @pytest.mark.parametrize("views", [1, 7])
    def test_threads_change_nothing(self, monkeypatch, views):
        """Whether they share a picture or have views of their own."""
        results = []
        for threads in ("1", "2", ""):
            monkeypatch.setenv("JAXRENDER_THREADS", threads)
            jax.clear_caches()
            results.append(draw(*scene(views)))
        passes = draw(*scene(views), schedule="passes")
        np.testing.assert_array_equal(results[0][0], passes[0])
        np.testing.assert_allclose(results[0][2], passes[2], rtol=3e-6)
        for other in results[1:]:
            for one, two in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(one, two)

    @pytest.mark.thorough
    @pytest.mark.usefixtures("forget")
    @pytest.mark.parametrize("views", [1, 5])
    def test_threads_change_nothing_of_visibility(self, monkeypatch, views, x64):
        """Some faces pass behind the camera, and the picture has another height than width."""
        vertices, faces = scene(views)
        vertices = vertices.at[:, ::11, 2].multiply(-1)
        face = draw(vertices, faces, size=(61, 50))[0]
        results = {"float32": [], "float64": []}
        for threads in ("1", "2", ""):
            monkeypatch.setenv("JAXRENDER_THREADS", threads)
            jax.clear_caches()
            for dtype, found in results.items():
                found.append(visibility(vertices.astype(dtype), faces, face))
        for found in results.values():
            for other in found[1:]:
                np.testing.assert_array_equal(found[0], other)
        # In float32 a corner close to the camera leaves two digits, whoever derives it.
        wanted = visibility(vertices.astype("float64"), faces, face, schedule="cpu")
        assert (wanted[..., 2] != 0).any()
        scale = np.linalg.norm(wanted)
        assert np.linalg.norm(results["float64"][0] - wanted) < 1e-8 * scale

    def test_visibility_of_faces_that_are_none(self):
        """Ids and indices out of range are clipped, or of no face, and nothing is read beyond."""
        vertices, faces = scene()
        bad = faces.at[::3, 1].set(10**6).at[1::3, 2].set(-5)
        face = draw(vertices, faces, size=(20, 30))[0].at[0, ::4, ::3].set(10**7)
        assert jnp.isfinite(visibility(vertices, bad, face)).all()

    def test_several_calls_at_once(self):
        vertices, faces = scene(5)
        wanted, found = draw(vertices, faces), []

        def run():
            found.extend(draw(vertices, faces) for _ in range(5))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 20
        for result in found:
            for one, other in zip(result, wanted, strict=True):
                np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("width", [1, 7, 8, 9, 30])
    def test_narrow_pictures(self, width):
        """Rows shorter than a vector, and those that are no multiple of one."""
        size = (31, width)
        one, other = (draw(*scene(), size=size, schedule=name) for name in hard.SCHEDULES)
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_allclose(one[1], other[1], atol=1e-5)

    def test_wide_faces(self):
        """Rows that a face enters and leaves far from its bounds, and beyond the picture."""
        rng = np.random.default_rng(0)
        vertices = rng.uniform((-3, -3, 1), (3, 3, 3), (1, 90, 3)).astype(np.float32)
        vertices[0, :6, :2] *= 1e5
        faces = np.arange(90, dtype=np.int32).reshape(30, 3)
        one, other = (draw(vertices, faces, schedule=name) for name in hard.SCHEDULES)
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_allclose(one[2], other[2], rtol=3e-6)

    def test_shard_map(self):
        """On as many devices as there are."""
        devices = np.array(jax.devices())
        mesh = jax.sharding.Mesh(devices, ("view",))
        views, spec = len(devices), jax.sharding.PartitionSpec
        vertices, faces = scene(views)
        split = jax.shard_map(
            lambda vertices: draw(vertices, faces, size=(9, 10)),
            mesh=mesh,
            in_specs=spec("view"),
            out_specs=spec("view"),
        )
        found, wanted = jax.jit(split)(vertices), draw(vertices, faces, size=(9, 10))
        np.testing.assert_array_equal(found[0], wanted[0])
        split = jax.shard_map(
            lambda vertices, face: visibility(vertices, faces, face),
            mesh=mesh,
            in_specs=spec("view"),
            out_specs=spec("view"),
        )
        found = jax.jit(split)(vertices, wanted[0])
        np.testing.assert_array_equal(found, visibility(vertices, faces, wanted[0]))


EXIT_AT_WORK = """
import jax, jaxrender as jr
mesh = jr.shapes.icosphere(4)
camera = jr.look_at((0, 0, 3))
draw = jax.jit(jax.vmap(lambda v: jr.rasterize_hard(
    jr.ScreenMesh(jr.project(v, camera), mesh.faces), image_size=(256, 256)).depth.sum()))
many = jax.numpy.broadcast_to(mesh.vertices, (32, *mesh.vertices.shape))
drawn = draw(many).block_until_ready()
for _ in range(20):
    drawn = draw(many + 0 * drawn[0])
print("leaving", flush=True)
"""


@pytest.mark.long
@pytest.mark.skipif(not ON_CPU, reason="kernels are for a CPU")
def test_leaving_python_while_it_draws():
    """Calls that nobody waits for are still running, or waiting, when the interpreter ends."""
    done = subprocess.run(
        [sys.executable, "-c", EXIT_AT_WORK],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == "leaving\n"
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
class TestObjects:
    """Machine code on disk."""

    @pytest.fixture
    def objects(self, tmp_path, monkeypatch):
        pytest.importorskip("numba")
        from jaxrender.ops.cpu import objects

        monkeypatch.setattr(objects, "_folders", lambda: iter([tmp_path / "none" / "yet"]))
        return objects

    def test_kept_whole_or_not_at_all(self, objects, tmp_path):
        made = []

        def function():
            made.append(1)
            return _twice

        for _ in range(2):
            assert _call(objects.load("test_twice", function), 4) == 8
        assert len(made) == 1
        (file,) = tmp_path.rglob("*.*")
        assert re.fullmatch(r"test_twice-\w{12}-\w{16}\.o", file.name)
        for damaged in (b"", file.read_bytes()[:-1], b"\0" + file.read_bytes()[1:]):
            file.write_bytes(damaged)
            assert _call(objects.load("test_twice", function), 4) == 8
        assert len(made) == 4

    def test_without_a_folder(self, objects, tmp_path):
        (tmp_path / "none").write_text("no folder")
        assert _call(objects.load("test_twice", lambda: _twice), 4) == 8

    def test_needs_no_wrapper_of_numba(self, objects):
        """Which would want numba imported."""
        code, alone = objects.compile_object(_twice)
        assert alone
        assert b"numba_gil" not in code
        assert b"PyErr" not in code

    def test_what_only_numba_can_link_is_not_kept(self, objects, tmp_path):
        assert _call(objects.load("test_counts", lambda: _counts), 4) == 4
        assert not any(tmp_path.rglob("*.o"))

    def test_folders(self, tmp_path, monkeypatch):
        objects = pytest.importorskip("jaxrender.ops.cpu.objects")
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "chosen"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
        chosen, beside, home = objects._folders()
        assert chosen == tmp_path / "chosen" / "jaxrender"
        assert beside == objects.HERE / "__pycache__"
        assert home == tmp_path / "home" / "jaxrender" / "kernels"

    @pytest.mark.thorough
    @pytest.mark.skipif(not ON_CPU, reason="kernels are for a CPU")
    def test_second_process_imports_no_numba(self, tmp_path, monkeypatch):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
        monkeypatch.delenv("JAXRENDER_NUMBA", raising=False)
        code = "import sys, jaxrender as jr; jr.silhouette(jr.shapes.cube(), "
        code += "jr.look_at((0, 0, 3)), image_size=(8, 8)).block_until_ready(); "
        code += "print('numba' in sys.modules)"
        told = [
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout.strip()
            for _ in range(2)
        ]
        assert told[1] == "False"  # nor the first, where they lie beside the source


def _call(address, number):
    """The result of a C function at an address."""
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(number)


def _twice(number):
    return 2 * number


def _counts(number):
    return len([k for k in range(number)])  # a list, which numba allocates


@pytest.mark.slow
def test_float64_mesh_of_int64_faces(x64):
    """As x64 makes them."""
    mesh = jr.shapes.icosphere(1)
    screen = jr.ScreenMesh(
        jr.project(jnp.asarray(mesh.vertices, jnp.float64), jr.look_at((0.0, 0.0, 3.0))),
        jnp.asarray(mesh.faces, jnp.int64),
    )
    seen = jr.rasterize_hard(screen, image_size=(20, 21))
    assert seen.depth.dtype == np.float64
    assert seen.face.dtype == np.int32
    assert (seen.face >= 0).any()


@pytest.mark.slow
@pytest.mark.skipif(not ON_CPU, reason="kernels are for a CPU")
class TestWalk:
    """The blocks of a pass."""

    SIZE, COUNT = (4, 16), 7

    def expected(self, bounds):
        (height, width), found = self.SIZE, []
        for face in reversed(range(bounds.shape[1])):
            top, left, bottom, right = bounds[:, face]
            rows, columns = range(top, bottom + 1, height), range(left, right + 1, width)
            found += [(face, row, column) for row in rows for column in columns]
        return found

    @pytest.mark.parametrize("by_kernel", [True, False])
    def test_lists_each_block_once(self, by_kernel):
        random = np.random.default_rng(0)
        first = random.integers(0, 40, (2, 50))
        bounds = np.concatenate([first, first + random.integers(-3, 40, (2, 50))]).astype(np.int32)
        shapes = ((1, 4, self.COUNT), jnp.int32), ((1, 2), jnp.int32)
        operation = blocks._WALK if by_kernel else blocks._walk_plainly
        options = {"results": shapes, "options": self.SIZE}
        walk = jax.jit(lambda table, place: operation(table, place, **options))
        for table in (bounds, bounds - [[0], [0], [99], [99]]):
            place, found = jnp.array([[table.shape[1] - 1, 0]]), []
            while place[0, 0] >= 0:
                listed, place = walk(table[None].astype(np.int32), place)
                face, row, column, valid = np.asarray(listed[0])
                found += zip(*(part[valid > 0] for part in (face, row, column)), strict=True)
            assert found == self.expected(table)
