"""Loops in machine code, and the walk over pixel blocks in columns."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxrender.ops import hard, native
from jaxrender.ops.blocks import Bounds
from jaxrender.ops.hard.column_framebuffer import ColumnFramebuffer, PixelBlock, walk
from jaxrender.ops.native import apart, one_function, weigh_down
from jaxrender.ops.view import View

ON_CPU = jax.default_backend() == "cpu"


def running_sum(table: jax.Array, *unused: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A loop that writes into what it reads, and a loop in it that is a small one to XLA."""

    def step(row: jax.Array, carry: tuple) -> tuple:
        table, total = carry
        total = total + apart(lambda table: 2 * table[row])(table)
        table = lax.dynamic_update_slice(table, total[None], (row, jnp.int32(0)))

        def small(number: jax.Array, total: jax.Array) -> jax.Array:
            return total + weigh_down(number)

        return table, lax.fori_loop(jnp.int32(0), jnp.int32(3), small, total)

    return lax.fori_loop(
        jnp.int32(0), jnp.int32(len(table)), step, (table, jnp.zeros(table.shape[1], table.dtype))
    )


class TestOneFunction:
    table = jnp.arange(60.0).reshape(6, 10)

    def check(self, found, table):
        for one, other in zip(found, running_sum(table), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)

    @pytest.mark.slow
    @pytest.mark.parametrize("extra", [(), (jnp.zeros((0, 3)),), (jnp.ones(4), jnp.zeros(0, int))])
    def test_equals_the_plain_function(self, extra):
        function = one_function(running_sum)
        self.check(function(self.table, *extra), self.table)
        self.check(jax.jit(function)(self.table, *extra), self.table)
        # Arguments that XLA knows the values of.
        self.check(jax.jit(lambda: function(self.table, *extra))(), self.table)

    def test_large_constants(self):
        """As of a mesh that a function closes over: XLA knows their values."""
        table = jnp.arange(60000.0).reshape(6, 10000) / 1e4
        unused = jnp.arange(20000)

        @jax.jit
        def found(factor: jax.Array) -> list[jax.Array]:
            results = one_function(running_sum)(table, unused)
            return [factor * result for result in results]

        self.check(found(1.0), table)

    @pytest.mark.slow
    def test_under_vmap(self):
        tables = jnp.stack([self.table, 3 - self.table])
        found = jax.jit(jax.vmap(one_function(running_sum)))(tables)
        for k, table in enumerate(tables):
            self.check([array[k] for array in found], table)

    @pytest.mark.skipif(not ON_CPU, reason="XLA makes one function of a loop on a CPU only")
    def test_is_one_function(self):
        """What the mark is for: no loop is left to XLA's runtime."""
        compiled = jax.jit(one_function(running_sum)).lower(self.table).compile().as_text()
        entry = compiled[compiled.index("ENTRY") :]
        assert 'xla_cpu_small_call="true"' in entry
        assert " while(" not in entry


class TestWhereAvailable:
    """Elsewhere a CPU draws in passes."""

    @pytest.mark.parametrize(
        ("version", "flags", "asked", "wanted"),
        [
            ((0, 8, 0), "", "", True),
            ((0, 12, 3), "--xla_force_host_platform_device_count=2", "", True),
            ((0, 13, 0), "", "", False),
            ((1, 0, 0), "", "", False),
            ((0, 13, 0), "", "1", True),
            ((0, 10, 1), "", "0", False),
            ((0, 10, 1), "--xla_backend_extra_options=xla_cpu_small_while_loop_x=1", "", False),
        ],
    )
    def test_by_version_flags_and_wish(self, monkeypatch, version, flags, asked, wanted):
        monkeypatch.setattr(native.jax, "__version_info__", version)
        monkeypatch.setenv("XLA_FLAGS", flags)
        monkeypatch.setenv("JAXRENDER_NATIVE_LOOPS", asked)
        assert native.are_native_loops_available() == wanted
        with jax.disable_jit():
            assert not native.are_native_loops_available()

    def test_they_are_tried_with_this_jax(self):
        """Else run all tests with JAXRENDER_NATIVE_LOOPS=1, and raise `native.UNTRIED`."""
        assert native.are_native_loops_available()

    @pytest.mark.slow
    def test_same_faces_without(self, monkeypatch):
        draw = functools.partial(hard._draw, facing_first=True)
        scene = small_mesh((20, 30))
        found = []
        for asked in ("1", "0"):
            monkeypatch.setenv("JAXRENDER_NATIVE_LOOPS", asked)
            found.append(jax.jit(functools.partial(draw, schedule=hard.SCHEDULES["loop"]))(*scene))
        np.testing.assert_array_equal(found[0][0], found[1][0])
        np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-5)


def small_mesh(image_size: tuple[int, int]) -> tuple:
    """The arguments of `hard._draw`, of faces across a picture."""
    rng = np.random.default_rng(0)
    vertices = rng.uniform((-1.2, -1.2, 1), (1.2, 1.2, 3), (1, 90, 3)).astype(np.float32)
    faces = np.arange(90, dtype=np.int32).reshape(1, 30, 3)
    view = View(jnp.array([0.1]), jnp.array([10.0]), image_size)
    return jnp.array(vertices), jnp.array(faces), view


@pytest.mark.slow
@pytest.mark.skipif(not ON_CPU, reason="the loop is the schedule of a CPU")
def test_no_step_copies_the_picture():
    """An array that is read and written in the wrong order is copied, block by block."""
    draw = functools.partial(hard._draw, facing_first=True, schedule=hard.SCHEDULES["loop"])
    compiled = jax.jit(draw).lower(*small_mesh((40, 56))).compile().as_text()
    size = f"[{ColumnFramebuffer(1, (40, 56)).size}]"
    assert size in compiled
    bodies = re.findall(r"body=(%[\w.\-]+)", compiled)
    assert len(bodies) >= 4  # two walks, each over faces and blocks
    for body in bodies:
        start = compiled.index(f"\n{body} (")
        lines = compiled[start : compiled.index("\n}", start)].splitlines()
        assert not [line for line in lines if size in line and " copy(" in line]


class TestWalk:
    """Every pixel within the bounds of a face is met once; faces come from the last one."""

    @pytest.mark.slow
    @pytest.mark.parametrize("views", [1, 3])
    @pytest.mark.parametrize("image_size", [(1, 1), (8, 8), (21, 30)])
    def test_meets_all(self, views, image_size):
        height, width = image_size
        rng = np.random.default_rng(views)
        rows = np.sort(rng.integers(0, height, (2, 7 * views)), axis=0)
        columns = np.sort(rng.integers(0, width, (2, 7 * views)), axis=0)
        # Of each view the first face is nowhere, and the second beyond the right border.
        rows[1, ::7] = rows[0, ::7] - 1
        columns[:, 1::7] = [[width], [width - 1]]
        sides = (rows[0], columns[0], rows[1], columns[1])
        bounds = Bounds(*(jnp.array(side, jnp.int32) for side in sides))
        framebuffer = ColumnFramebuffer(views, image_size)

        def count(state: tuple, block: PixelBlock) -> tuple:
            met, latest, order = state
            x, y = block.pixels(image_size, jnp.float32)
            x, y = x + (width - 1) / 2, y + (height - 1) / 2
            face = block.face
            inside = (x >= bounds.left[face]) & (x <= bounds.right[face])
            inside &= (y >= bounds.top[face]) & (y <= bounds.bottom[face])
            met = block.write(met, block.read(met) + inside * (face + 1))
            return met, face, order & (face <= latest)

        start = framebuffer.full(0, jnp.int32), jnp.int32(1000), jnp.array(True)
        met, _, in_order = jax.jit(lambda start: walk(count, start, bounds, framebuffer))(start)
        wanted = np.zeros((views, *image_size), int)
        for face, (top, left, bottom, right) in enumerate(zip(*sides, strict=True)):
            wanted[face // 7, top : bottom + 1, left : right + 1] += face + 1
        np.testing.assert_array_equal(framebuffer.crop(met), wanted)
        assert in_order
