"""The benchmarks run and write what they say; no test asserts a time."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from benchmarks import __main__ as main
from benchmarks import (
    against,
    ahead,
    compare,
    cores,
    gradients,
    hands,
    loading,
    moving,
    plot,
    poses,
    quieter,
    roofline,
    scenes,
    shading,
    soft,
    stages,
)
from benchmarks.harness import Result

REPO = Path(__file__).resolve().parent.parent

CONTESTS = {
    "hard": {
        *("hard", "hard, depth", "hard, rgb", "hard, rgb, grad"),
        *("hard, rgb, antialias, grad", "hard, rgb, edge, grad"),
    },
    "nmr": {"nmr, alpha", "nmr, rgb 2x2, grad", "nmr, fitting step"},
    "soft": {"soft, alpha", "soft, rgb, grad"},
    "views": {"views, soft"},
}


@pytest.mark.parametrize(
    "module",
    [main, against, ahead, compare, cores, gradients, hands, loading, poses, quieter],
    ids=lambda m: m.__name__,
)
def test_help_speaks_no_python(module, capsys):
    with pytest.raises(SystemExit):
        module.main(["--help"])
    assert "None" not in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize("task", CONTESTS)
def test_quick_run_writes_a_record(task, tmp_path):
    path = tmp_path / "results" / f"{task}.json"
    command = [sys.executable, "-m", "benchmarks", task, "--quick", "--json", str(path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    record = json.loads(path.read_text())
    assert {"date", "cpu", "cores", "devices", "versions", "results"} <= record.keys()
    ours = [result for result in record["results"] if result["who"] == "jaxrender"]
    with_optax = importlib.util.find_spec("optax") is not None
    expected = CONTESTS[task] - (set() if with_optax else {"nmr, fitting step"})
    assert {result["task"] for result in ours} == expected
    assert {result["views"] for result in ours} == {1, 2}
    for result in ours:
        assert result["median_ms"] >= result["min_ms"] > 0
        assert result["scene"] in done.stdout

    # The C++ peer sees what we see, and finds the same gradient, up to ties and rounding at edges.
    theirs = [result for result in record["results"] if result["who"] != "jaxrender"]
    alone = {"nmr, fitting step", "views, soft", "hard, rgb", "hard, rgb, grad"}
    alone |= {"hard, rgb, antialias, grad", "hard, rgb, edge, grad"}
    assert {result["task"] for result in theirs} == expected - alone
    for result in theirs:
        if shutil.which("g++"):
            assert result["agreement"] > 0.99, result
            assert result["ratio"] > 0
        else:
            assert result["detail"] == "absent: g++ is not installed"


@pytest.mark.thorough
def test_roofline_counts_loops_as_often_as_they_run():
    def bend(x):
        return x * 2 + 1

    def loops(x, often):
        def inner(_, x):
            return bend(bend(x))

        def outer(_, x):
            return bend(jax.lax.fori_loop(0, often, inner, x))

        return jax.lax.fori_loop(0, 3, outer, bend(x)).sum()

    numbers = 1 << 12
    for often in (0, 5):
        work = roofline.work_of(loops, jnp.ones(numbers), jnp.int32(often))
        wanted = 2 * numbers * (1 + 3 * (1 + 2 * often)) + numbers
        assert work.flops == pytest.approx(wanted, rel=0.02)
        assert work.bytes > 4 * numbers
        assert work.steps == 3 * (1 + often)


@pytest.mark.slow
def test_roofline_of_loops_that_nobody_counts():
    mesh, size = jr.shapes.cube(), (8, 8)

    def draw(vertices):
        return jr.rasterize_hard(jr.ScreenMesh(vertices, mesh.faces), image_size=size).depth

    work = roofline.work_of(draw, mesh.vertices + jnp.array([[0, 0, 4.0]]))
    assert (work is None) == (jax.default_backend() == "cpu")


@pytest.mark.long
@pytest.mark.parametrize("task", ["hard", "nmr", "soft", "soft, 64 views"])
def test_a_frame_takes_few_loop_steps_on_a_gpu(task):
    """By the schedule that a GPU has; each step waits for the one before."""
    scene = {
        "hard": scenes.sphere(6, 512),
        "nmr": scenes.sphere(5, 512),
        "soft": scenes.sphere(4, 512),
        "soft, 64 views": scenes.sphere(3, 64, views=64),
    }[task]
    size = (scene.size, scene.size)

    def picture(vertices):
        screen = jr.ScreenMesh(vertices, scene.faces)
        if task == "hard":
            return jr.rasterize_hard(screen, image_size=size).depth
        if task == "nmr":
            fragments = jr.rasterize_hard(screen, image_size=size)
            alpha = (fragments.face >= 0).astype(jnp.float32)
            return jr.nmr_gradient(alpha[..., None], fragments, screen)
        return jr.rasterize_soft(screen, image_size=size, sigma=1e-4).alpha

    def loss(vertices):
        return jax.vmap(picture)(vertices).sum()

    function = loss if task == "hard" else jax.grad(loss)
    with ahead.schedules_of_a_gpu():
        assert 0 < sum(roofline.loop_steps(function, scene.vertices).values()) <= 10


def test_kernels_of_a_compiled_program():
    def loops(x, often):
        def inner(_, x):
            return jnp.sort(x) * 2

        return jax.lax.fori_loop(0, often, inner, x)

    numbers = jnp.ones(1 << 12)
    with roofline.known_loops():
        text = jax.jit(loops).lower(numbers, jnp.int32(3)).compile().as_text()
    sorts = [kernel for kernel in ahead.kernels_of(text) if "sort" in kernel.name]
    assert [kernel.loop for kernel in sorts] == [(0,)]
    assert sorts[0].bytes == 2 * numbers.nbytes
    assert any(kernel.loop == () for kernel in ahead.kernels_of(text))


def test_programs_compile_for_a_gpu_that_is_not_there(monkeypatch):
    pytest.importorskip("jax_plugins.xla_cuda12", reason="the CUDA plugin of JAX is not installed")
    contest = soft.differentiated(scenes.sphere(2, 32), "rgb")
    monkeypatch.setenv("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    compiled, _ = ahead.compile_for(ahead.H200, contest.function, *contest.args)
    assert {(), (0,), (1,), (2,)} <= {
        kernel.loop for kernel in ahead.kernels_of(compiled.as_text())
    }


@pytest.mark.long
def test_profile_tells_the_stages():
    corners = jnp.array([[-0.5, -0.5, -2.0], [0.5, -0.5, -2.0], [0.0, 0.5, -2.0]])
    mesh = jr.Mesh(corners, jnp.array([[0, 1, 2]]))

    def loss(vertices):
        moved = dataclasses.replace(mesh, vertices=vertices)
        options = {"image_size": (16, 16), "near": 0.1, "rasterizer": jr.Soft(sigma=1e-3)}
        return jr.render(moved, jr.look_at((0, 0, 1)), **options).rgb.sum()

    program = jax.jit(jax.grad(loss)).lower(corners).compile()
    times = stages.stage_times(program, corners, repeats=2)
    assert {"rasterize", "bin", "backward rasterize"} <= times.keys()
    assert all(time >= 0 for time in times.values())


@pytest.fixture
def record(tmp_path):
    """Writes a file of results."""

    def write(name, medians):
        rows = [
            {"task": "soft", "scene": scene, "who": who, "median_ms": ms, "compile_s": 1.0}
            for (scene, who), ms in medians.items()
        ]
        path = tmp_path / name
        path.write_text(json.dumps({"results": rows}))
        return str(path)

    return write


def test_compare_tells_the_machine_from_the_program(record, capsys):
    cpp = "soft (C++)"
    before = {("a", "jaxrender"): 10.0, ("a", cpp): 2.0, ("b", "jaxrender"): 3.0}
    after = {("a", "jaxrender"): 10.0, ("a", cpp): 4.0, ("c", "jaxrender"): 3.0}
    assert compare.main([record("before", before), record("after", after)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:6] == ["soft", "a", "10.00", "10.00", "1.00", "0.50"]
    assert "geometric mean of 1 rows: 1.00, by peer 0.50" in lines
    assert lines[-2:] == ["only before: soft; b", "only after: soft; c"]


def test_compare_wants_results(tmp_path, capsys):
    path = tmp_path / "empty.json"
    path.write_text("{}")
    with pytest.raises(SystemExit):
        compare.main([str(path), str(path)])
    assert "is not what `python -m benchmarks --json` writes" in capsys.readouterr().err


@pytest.mark.slow
def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        Result("soft", scene, 8, 16, 1, who, median_ms=ms)
        for scene in ("a", "b")
        for who, ms in (("jaxrender", 1.0), ("soft (C++)", None))
    ]
    plot.save_plot(tmp_path / "new" / "plot.png", rows, "title")
    assert iio.imread(tmp_path / "new" / "plot.png").shape[2] in (3, 4)


@pytest.mark.slow
def test_loading(capsys):
    pytest.importorskip("trimesh")
    assert loading.main(["--faces", "7", "--rounds", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["format", "obj", "ply", "glb"]


@pytest.mark.thorough
def test_moving_loads_its_own_model_and_moves_it():
    mujoco = pytest.importorskip("mujoco")
    model = moving.loaded(mujoco, None)
    first, second = moving.states(mujoco, model, 2)
    assert model.ngeom == 9
    assert (first.qpos != second.qpos).all()
    assert len(moving.scene_of(model).ids) == 9


def test_only_ids_beside_others_are_near_an_edge():
    ids = np.zeros((4, 6), int)
    ids[:, 4:] = 1
    assert moving.near_edge(ids).sum(0).tolist() == [0, 0, 0, 4, 4, 0]


@pytest.mark.thorough
def test_unknown_task_is_an_error():
    command = [sys.executable, "-m", "benchmarks", "sculpt"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no task sculpt; there is hard, nmr, soft, views" in done.stderr


@pytest.mark.parametrize("subdivisions", [0, 2])
def test_scenes_lie_in_the_picture(subdivisions):
    scene = scenes.sphere(subdivisions, 64, views=3)
    assert scene.faces.shape == (20 * 4**subdivisions, 3)
    assert scene.vertices.shape == (3, 10 * 4**subdivisions + 2, 3)
    assert np.abs(scene.vertices[..., :2]).max() < 1
    assert scene.vertices[..., 2].min() > scenes.NEAR


def test_crowded_scene_lies_in_a_square_of_16_pixels():
    scene = scenes.crowded(128)
    extent = np.ptp(scene.vertices[..., :2], axis=(0, 1)) * 128 / 2
    np.testing.assert_allclose(extent, 16, rtol=1e-4)


def test_quieter_of_two_runs(tmp_path):
    rows = {
        "noisy": {"jaxrender": 8.0, "peer": 3.0},
        "quiet": {"jaxrender": 4.0, "peer": 5.0},
    }
    for name, times in rows.items():
        results = [
            dataclasses.asdict(Result("soft", "a ball", 20, 8, 1, who, median_ms=ms, ratio=9.0))
            for who, ms in times.items()
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps({"results": results}))
    paths = [str(tmp_path / f"{name}.json") for name in rows]
    assert quieter.main([*paths, "--json", str(tmp_path / "both.json")]) == 0
    record = json.loads((tmp_path / "both.json").read_text())
    found = {row["who"]: (row["median_ms"], row["ratio"]) for row in record["results"]}
    assert record["runs"] == 2
    assert found == {"jaxrender": (4.0, None), "peer": (3.0, 4 / 3)}


@pytest.mark.slow
def test_costs_by_shading(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shading, "WAYS", {"Hard()": jr.Hard()})
    monkeypatch.setattr(shading, "SHADINGS", ("none",))
    kept = tmp_path / "shading.json"
    sizes = ["--rounds", "1", "--subdivisions", "0", "--size", "8"]
    assert shading.main([*sizes, "--json", str(kept)]) == 0
    found = json.loads(kept.read_text())["ms"]["Hard()"]["none"]
    assert found > 0
    assert capsys.readouterr().out == f'|  | "none" |\n| --- | --- |\n| `Hard()` | {found:.3g} |\n'


@pytest.mark.thorough
def test_against(tmp_path):
    """Ours in a fresh process, and the table in a page."""
    page, rows = tmp_path / "page.md", tmp_path / "rows.json"
    page.write_text(f"before\n{against.MARKS[0]}\nold\n{against.MARKS[1]}\nafter\n")
    command = ["--quick", "--rounds", "1", "--json", str(rows), "--docs", str(page)]
    assert against.main(["ours", *command]) == 0
    (ours,) = json.loads(rows.read_text())
    assert ours["same"] == 1
    assert min(ours["still"][0], ours["first s"], ours["MB"]) > 0
    before, *lines, after = page.read_text().splitlines()
    assert (before, after) == ("before", "after")
    assert "old" not in lines
    assert lines[3].startswith("| 320 faces, 64², 1 view | jaxrender |")


def test_against_without_one(capsys):
    """One that cannot draw is a row that says why."""
    row = {
        "scene": "a",
        "who": "pytorch3d",
        "same": None,
        "install MB": None,
        "detail": "a | b",
    }
    assert "| a | PyTorch3D | a / b |" in against.table([row])
    with pytest.raises(SystemExit):
        against.main(["nobody"])
    assert "nobody is called nobody" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_gain_of_cores(monkeypatch, capsys):
    monkeypatch.setattr(cores, "AIMS", ((2, 32, 0.5),))
    assert cores.main(["--rounds", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 views" in out
    assert "(aim 50%)" in out
