"""The reconstruction example: its data, network, training and test, on tiny pictures."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imageio.v3 import imread

import jaxrender as jr

ROOM = Path(__file__).resolve().parent.parent / "examples" / "reconstruction"
MODULES = ("arrays", "baselines", "ceiling", "checkpoints", "data", "initial", "make_dataset")
MODULES += ("model", "pictures", "procedural", "refine", "speed", "test", "train", "training")

# A run that takes seconds: 16² pictures, 42 vertices.
SIZE, STEPS, EVERY = 16, 40, 2
SMALL = {"channels": 2, "hidden": 16, "subdivisions": 1}
SCHEDULE = {"steps": STEPS, "batch": 8, "learning_rate": 1e-3}
COUNTS = {"train": 3, "val": 1, "test": 2}


@pytest.fixture(scope="module", autouse=True)
def room() -> Iterator[None]:
    """Lets the modules of the example be found by their names, and forgets them at the end."""
    hidden = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(ROOM))
    jax.config.update("jax_disable_most_optimizations", True)  # they take longer than the tests
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    sys.path.remove(str(ROOM))
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.modules.update(hidden)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reconstruction")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["make_dataset", "train", "test", "speed", "ceiling"])
def test_help_speaks_no_python(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOM / f"{name}.py"), run_name="__main__")
    text = capsys.readouterr().out
    assert "usage:" in text
    assert "None" not in text


@pytest.fixture(scope="module")
def dataset(room: None, folder: Path) -> Path:
    """A data set of two classes."""
    import make_dataset

    make_dataset.main(folder / "data", classes=["chair", "car"], size=SIZE, **COUNTS)
    return folder / "data"


def arguments(data: Path, output: Path) -> list[str]:
    options = SMALL | SCHEDULE | {"save_every": EVERY, "keep": STEPS, "log_every": 1}
    options |= {"pictures_every": 0, "data": data, "output": output}
    return [
        text
        for name, value in options.items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]


def start(line: list[str], folder: Path, devices: int = 1) -> subprocess.Popen[bytes]:
    """Starts train.py; all runs share what they compile."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": str(ROOM.parent.parent),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    # A file, not a pipe: nobody empties it while the run goes on.
    with (folder / "errors.txt").open("a") as errors:
        return subprocess.Popen(
            [sys.executable, str(ROOM / "train.py"), *line],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )


def finish(folder: Path, *runs: subprocess.Popen[bytes]) -> None:
    for run in runs:
        assert run.wait(timeout=300) == 0, (folder / "errors.txt").read_text()[-3000:]


@pytest.fixture(scope="module")
def straight(dataset: Path, folder: Path) -> Path:
    """A run that was never stopped."""
    finish(folder, start(arguments(dataset, folder / "straight"), folder))
    return folder / "straight"


def saved(run: Path, step: int) -> Any:
    """The state in a checkpoint."""
    import checkpoints
    import training

    config, settings, _ = checkpoints.read_config(run)
    trainer = training.make_trainer(config, settings, devices=jax.devices()[:1])
    like = jax.eval_shape(trainer.init)
    return checkpoints.Checkpoints(run).restore(step, like, trainer.replicated)


def pairs_of(ours: Any, theirs: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        yield np.asarray(one), np.asarray(other)


def logged(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.long
def test_a_killed_run_resumes_bit_for_bit(dataset, folder, straight):
    # Try again if this process was so slow that the run had ended.
    for attempt in range(5):
        killed = folder / f"killed {attempt}"
        run = start(arguments(dataset, killed), folder)
        while not (killed / "checkpoints" / str(3 * EVERY)).exists() and run.poll() is None:
            time.sleep(0.005)
        run.kill()
        run.wait()
        if not (killed / "checkpoints" / str(STEPS)).exists():
            break
    assert run.returncode == -signal.SIGKILL, (folder / "errors.txt").read_text()[-3000:]

    finish(folder, start([*arguments(dataset, killed), "--resume"], folder))
    assert_same_run(killed, straight)


KILLS = 20


@pytest.mark.long
def test_runs_killed_20_times_resume_bit_for_bit(dataset, folder, straight):
    """At random steps, and anywhere in them: one run again and again, up to its end, then another.

    Each goes on from what the one before has left.
    """
    random, kills, whole = np.random.default_rng(), 0, 0
    while True:
        run_folder = folder / f"killed often {whole}"
        goal = last_step(run_folder) + random.integers(1, 7)
        run = start([*arguments(dataset, run_folder), "--resume"], folder)
        if kills < KILLS:
            while last_step(run_folder) < goal and run.poll() is None:
                time.sleep(0.002)
            time.sleep(random.uniform(0, 0.1))
            run.kill()
        if run.wait(timeout=300) == -signal.SIGKILL:
            kills += 1
            continue
        finish(folder, run)
        assert_same_run(run_folder, straight)
        whole += 1
        if kills == KILLS:
            break


def last_step(run: Path) -> int:
    """The last that the log of a run tells of, which may be written just now."""
    path = run / "log.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)


def assert_same_run(run: Path, straight: Path) -> None:
    """The last checkpoint and all losses have the same bits."""
    for ours, theirs in pairs_of(saved(run, STEPS), saved(straight, STEPS)):
        np.testing.assert_array_equal(ours, theirs)
    losses, wanted = ({line["step"]: line["loss"] for line in logged(r)} for r in (run, straight))
    assert losses == wanted


def assert_same_start(run: Path, straight: Path) -> None:
    """The first steps are the same but for rounding, which grows from step to step."""
    for ours, theirs in list(zip(logged(run), logged(straight), strict=True))[:EVERY]:
        for term in ("loss", "iou", "laplacian", "flatten"):
            np.testing.assert_allclose(ours[term], theirs[term], rtol=1e-3)

    # Adam's moments are sums of gradients. It moves by its learning rate what has no gradient
    # but rounding, too.
    one, other = saved(run, EVERY), saved(straight, EVERY)
    for ours, theirs in pairs_of(one.optimizer, other.optimizer):
        np.testing.assert_allclose(ours, theirs, atol=0.02 * max(np.abs(theirs).max(), 1e-5))
    for ours, theirs in pairs_of(one.params, other.params):
        np.testing.assert_allclose(ours, theirs, atol=2 * EVERY * SCHEDULE["learning_rate"])
    for ours, theirs in pairs_of(one.statistics, other.statistics):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.long
def test_a_run_goes_on_with_a_finer_sphere_and_resumes_bit_for_bit(dataset, folder):
    """It starts from about the same meshes, and its rate falls along a cosine."""
    import initial
    import test
    import train
    from model import Config, predict, template
    from training import Settings, make_trainer

    batch, options = 2 * jax.device_count(), {"save_every": 2, "pictures_every": 0}
    coarse = Config(**(SMALL | {"subdivisions": 0, "palette": 2, "size": SIZE}))
    train.main(dataset, folder / "coarse", Settings(steps=2, batch=batch), coarse, **options)

    where = folder / "fine"
    fine = Config(**(SMALL | {"subdivisions": 2, "palette": 2, "size": SIZE}))
    settings = Settings(4, batch, schedule="cosine", initial=str(folder / "coarse"))
    whole = jax.device_get(train.main(dataset, where, settings, fine, **options))
    shutil.rmtree(where / "checkpoints" / "4")
    again = train.main(dataset, where, settings, fine, resume=True, **options)
    for ours, theirs in pairs_of(again, whole):
        np.testing.assert_array_equal(ours, theirs)

    # The vertices of the coarse sphere are among those of the fine one.
    trainer = make_trainer(fine, settings)
    started = trainer.model(initial.started(trainer, fine, folder / "coarse"))
    with np.load(dataset / "car_test_images.npz") as images:
        seen = images["arr_0"][0, :3]
    same = (template(0).vertices @ template(2).vertices.T).argmax(1)
    for before, after in zip(
        predict(*test.load(folder / "coarse")[:2], seen), predict(*started, seen), strict=True
    ):
        np.testing.assert_allclose(after[:, same], before, atol=1e-5)

    for other, run, message in (
        (coarse, where, "at least as many"),
        (Config(**SMALL), where, "not Config"),
        (fine, folder / "nothing", r"train\.py has written"),
    ):
        with pytest.raises(ValueError, match=message):
            initial.started(trainer, other, run)


@pytest.mark.long
def test_eight_devices_do_what_one_does(dataset, folder, straight):
    finish(folder, start(arguments(dataset, folder / "eight"), folder, devices=8))
    assert_same_start(folder / "eight", straight)


@pytest.mark.long
def test_two_processes_do_what_one_does(dataset, folder, straight):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    line = arguments(dataset, folder / "two")
    finish(
        folder,
        *(start([*line, "--distributed", f"{address},2,{index}"], folder) for index in (0, 1)),
    )
    assert_same_start(folder / "two", straight)


@pytest.mark.long
def test_log_and_settings(straight):
    lines = logged(straight)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert lines[-1]["images_per_second"] > 0
    config = json.loads((straight / "config.json").read_text())
    assert config["model"]["size"] == SIZE
    assert config["classes"] == ["car", "chair"]


@pytest.mark.thorough
def test_testing_writes_a_table_meshes_and_pictures(dataset, straight, capsys):
    import test

    results = test.main(dataset, straight, views=2, show=1, refine=1)
    assert set(results) == {"reconstruction", "refined", "nearest picture", "mean shape"}
    for scores in results.values():
        assert set(scores) == {"car", "chair", "mean"}
        assert all(0 <= score <= 1 for score in scores.values())
        assert scores["mean"] == pytest.approx((scores["car"] + scores["chair"]) / 2)
    printed = capsys.readouterr().out
    assert "0.6234" in printed
    assert "ShapeNet" in printed
    mesh = jr.load_mesh(straight / "test" / "car_0_00.obj")
    assert mesh.vertices.shape == (42, 3)
    assert imread(straight / "test" / "chair.png").shape == (4 * 96, 96, 3)
    assert imread(straight / "test" / "chair.gif", index=None).shape[1:] == (2 * 96, 96, 3)
    with pytest.raises(ValueError, match="Pass for example 6"):
        test.main(dataset, straight, views=5)
    with pytest.raises(ValueError, match="must not be negative"):
        test.main(dataset, straight, refine=-1)


@pytest.mark.slow
@pytest.mark.parametrize("palette", [0, 3])
def test_refined_meshes_have_the_outline_that_is_seen(dataset, palette):
    """Each on its own, from whatever side; and no step leaves the network's mesh."""
    import data
    import model
    import refine
    import training

    config = model.Config(size=SIZE, palette=palette, **(SMALL | {"hidden": 64}))
    network, statistics = model.make_model(config, 0)
    shown = data.open_dataset(dataset, "test")
    images = np.stack([shown.images[0][0, 3], shown.images[1][1, 17]])
    settings = training.Settings(sigma=1e-3)
    start, colors = model.predict(network, statistics, images)
    same, painted = refine.refine(network, statistics, images, 0, settings)
    np.testing.assert_allclose(same, start, atol=1e-6)
    assert (colors is None) == (painted is None) == (palette == 0)

    # Draw the meshes from all sides: the best one is compared with what is seen.
    faces = model.template(config.subdivisions).faces

    def miss(vertices, seen):
        drawn = jax.vmap(
            lambda view: training.outline(vertices, view, 1e-3, faces=faces, size=SIZE)
        )(jnp.arange(data.VIEWS))
        return jax.vmap(jr.losses.negative_iou, in_axes=(0, None))(drawn, seen / 255.0).min()

    moved, _ = refine.refine(network, statistics, images, 30, settings)
    for vertices, better, picture in zip(start, moved, images, strict=True):
        assert miss(better, picture[3]) < miss(vertices, picture[3]) - 1e-3
    alone, _ = refine.refine(network, statistics, images[1:], 30, settings)
    np.testing.assert_allclose(alone[0], moved[1], atol=1e-4)


@pytest.mark.slow
def test_a_started_run_is_not_overwritten(dataset, straight, folder):
    import train
    from model import Config
    from training import Settings

    settings = Settings(**SCHEDULE)
    config = Config(**SMALL)
    with pytest.raises(ValueError, match="Pass --resume"):
        train.main(dataset, straight, settings, config)
    with pytest.raises(ValueError, match="the same settings"):
        train.main(dataset, straight, settings, Config(**(SMALL | {"hidden": 8})), resume=True)
    with pytest.raises(ValueError, match=r"train\.py has written"):
        __import__("test").main(dataset, folder / "nothing")


@pytest.mark.long
def test_colors_and_pictures(dataset, folder):
    """The colour variant learns colours too, and its meshes have them."""
    import train
    from model import Config, predict
    from training import Settings, make_trainer

    settings = Settings(steps=2, batch=2 * jax.device_count())
    config = Config(**(SMALL | {"subdivisions": 0, "palette": 3}))
    state = train.main(dataset, folder / "colors", settings, config, pictures_every=2)
    assert logged(folder / "colors")[-1]["color"] > 0
    assert imread(folder / "colors" / "pictures" / "0000002.png").shape[1] == 96 * train.SHOWN
    assert len(imread(folder / "colors" / "pictures" / "0000002.gif", index=None)) == 24

    # Colours are mixtures of those seen.
    image = np.zeros((1, 4, SIZE, SIZE), np.uint8)
    image[:, 0, 4:12, 4:12] = image[:, 3, 4:12, 4:12] = 255
    trainer = make_trainer(
        Config(**(SMALL | {"subdivisions": 0, "palette": 3, "size": SIZE})), settings
    )
    _, colors = predict(*trainer.model(state), image)
    np.testing.assert_allclose(np.asarray(colors)[0], [[1, 0, 0]] * 12, atol=1e-3)


def test_the_data_have_the_published_format(dataset):
    import data

    for split, count in COUNTS.items():
        for name in ("chair", "car"):
            with np.load(dataset / f"{name}_{split}_images.npz") as images:
                assert images["arr_0"].shape == (count, 24, 4, SIZE, SIZE)
                assert images["arr_0"].dtype == np.uint8
            with np.load(dataset / f"{name}_{split}_voxels.npz") as voxels:
                assert voxels["arr_0"].shape == (count, 32, 32, 32)
    known = data.open_dataset(dataset, "train")
    assert known.classes == ("car", "chair")
    assert all(isinstance(array, np.memmap) for array in (*known.images, *known.voxels))
    with np.load(dataset / "car_train_images.npz") as images:
        np.testing.assert_array_equal(known.images[0], images["arr_0"])


def test_the_same_seed_makes_the_same_shapes():
    import procedural

    for make in procedural.CLASSES.values():
        first, again, other = (make(np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first.vertices, again.vertices)
        assert (
            first.vertices.shape != other.vertices.shape or (first.vertices != other.vertices).any()
        )
        whole = procedural.normalized(first)
        assert np.linalg.norm(np.ptp(whole.vertices, axis=0)) == pytest.approx(1)

        # Parts are closed, and their faces point outwards: the volume is positive.
        sides = np.concatenate(
            [first.faces[:, [0, 1]], first.faces[:, [1, 2]], first.faces[:, [2, 0]]]
        )
        there = {tuple(side) for side in sides}
        assert all((b, a) in there for a, b in there)
        assert np.linalg.det(first.vertices[first.faces]).sum() > 0


@pytest.mark.slow
def test_cameras_and_voxels_are_those_of_softras():
    """In its left-handed world, `z` is turned round, and view k is at azimuth -15 k."""
    import data

    corner = jnp.array([[0.0, 0, 0], [0.3, 0, 0], [0, 0.2, 0], [0, 0, 0.4]])
    turned = corner * jnp.array([[1.0, 1, -1]])
    for view in (0, 5, 13):
        eye = jr.points_from_angles(2.732, 30.0, -15.0 * view, right_handed=False)
        theirs = jr.look_at(eye, projection=jr.perspective(30.0), right_handed=False)
        theirs = jr.project(turned, theirs)
        np.testing.assert_allclose(jr.project(corner, data.camera(view)), theirs, atol=1e-5)

    ball = jr.shapes.icosphere(2, radius=0.1)
    place = jnp.array([[0.3, 0.1, -0.2]])
    filled = np.argwhere(np.asarray(data.voxels_of(ball.vertices + place, ball.faces)))
    y, x, z = filled.mean(0) + 0.5
    np.testing.assert_allclose([x, y, z], 31 * place[0] + 16, atol=0.6)


def test_batches_depend_on_seed_and_step_alone(dataset):
    import data

    known = data.open_dataset(dataset, "train")
    whole = data.sample(known, 8, 0, 5, slice(None))
    halves = [data.sample(known, 8, 0, 5, rows) for rows in (slice(0, 4), slice(4, 8))]
    np.testing.assert_array_equal(whole.images, np.concatenate([half.images for half in halves]))
    np.testing.assert_array_equal(whole.views, np.concatenate([half.views for half in halves]))
    assert (whole.views[:, 0] != whole.views[:, 1]).all()
    assert (data.sample(known, 8, 0, 6, slice(None)).views != whole.views).any()
    assert (data.sample(known, 8, 1, 5, slice(None)).views != whole.views).any()

    # New colours are those of both views, and the outlines stay.
    colored = [
        data.sample(known, 8, 0, 5, rows, recolor=True) for rows in (slice(0, 8), slice(4, 8))
    ]
    np.testing.assert_array_equal(colored[0].images[4:], colored[1].images)
    np.testing.assert_array_equal(colored[0].images[:, :, 3], whole.images[:, :, 3])
    assert (colored[0].images[:, :, :3] != whole.images[:, :, :3]).any()
    assert colored[0].images.sum() < whole.images.sum()

    assert list(data.ahead(lambda step: 2 * step, range(3, 9))) == [6, 8, 10, 12, 14, 16]
    with pytest.raises(ZeroDivisionError):
        list(data.ahead(lambda step: 1 // (4 - step), range(9)))


def test_compressed_files_are_unpacked_once(tmp_path):
    import arrays

    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.savez_compressed(tmp_path / "a.npz", array)
    mapped = arrays.map_array(tmp_path / "a.npz")
    np.testing.assert_array_equal(mapped, array)
    assert isinstance(mapped, np.memmap)
    cache = tmp_path / "a.npz.unpacked.npy"
    before = cache.stat().st_mtime_ns
    arrays.map_array(tmp_path / "a.npz")
    assert cache.stat().st_mtime_ns == before
    arrays.map_array(tmp_path / "a.npz", unpack_to=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "a.npz.unpacked.npy").exists()
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "missing"])
def test_damaged_files_are_named(tmp_path, compressed, damage):
    import arrays

    path = tmp_path / "chair_train_voxels.npz"
    noise = np.random.default_rng(0).integers(256, size=(50, 8, 8), dtype=np.uint8)
    (np.savez_compressed if compressed else np.savez)(path, noise)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 255
    elif damage == "empty":
        content = bytearray()
    elif damage == "text":
        content = bytearray(b"not found")
    path.write_bytes(content)
    if damage == "missing":
        path.unlink()
    with pytest.raises(ValueError, match=r"chair_train_voxels\.npz"):
        arrays.map_array(path)
    assert not list(tmp_path.glob("*.part"))


def test_files_of_other_things_are_refused(tmp_path, dataset):
    import data

    with pytest.raises(ValueError, match="make_dataset"):
        data.open_dataset(tmp_path, "train")
    with pytest.raises(ValueError, match="must be one of"):
        data.open_dataset(dataset, "testing")
    with pytest.raises(ValueError, match=r"sofa_train_images\.npz"):
        data.open_dataset(dataset, "train", ["sofa"])
    good = np.zeros((2, 24, 4, 16, 16), np.uint8)
    for bad in (good[:, :23], good.astype(np.float32), good[..., :12], good[:0]):
        np.savez(tmp_path / "a_train_images.npz", bad)
        np.savez(tmp_path / "a_train_voxels.npz", np.zeros((len(bad), 32, 32, 32), bool))
        with pytest.raises(ValueError, match=r"a_train_images\.npz must be uint8"):
            data.open_dataset(tmp_path, "train")
    np.savez(tmp_path / "a_train_images.npz", good)
    with pytest.raises(ValueError, match=r"a_train_voxels\.npz must be bool"):
        data.open_dataset(tmp_path, "train")
    with zipfile.ZipFile(tmp_path / "a_train_voxels.npz", "w"):
        pass
    with pytest.raises(ValueError, match=r"a_train_voxels\.npz"):
        data.open_dataset(tmp_path, "train")


@pytest.mark.slow
def test_a_data_set_of_own_meshes(tmp_path):
    import data
    import make_dataset

    with pytest.raises(ValueError, match="has no meshes"):
        make_dataset.main(tmp_path / "data", meshes=tmp_path)
    box = tmp_path / "own" / "box"
    box.mkdir(parents=True)
    for number in range(3):
        jr.save_mesh(box / f"{number}.obj", jr.shapes.cube(1.0 + number))
    make_dataset.main(tmp_path / "data", meshes=tmp_path / "own", size=SIZE, shares=(2, 0, 1))
    for split, count in (("train", 2), ("test", 1)):
        known = data.open_dataset(tmp_path / "data", split)
        assert known.classes == ("box",)
        assert known.images[0].shape == (count, 24, 4, SIZE, SIZE)
        # All cubes are the same once scaled: their side is 1 / √3, which is 17.9 voxels.
        assert known.voxels[0][0].sum() == 18**3
    assert not (tmp_path / "data" / "box_val_images.npz").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["sofa"]}, "Unknown classes sofa"),
        ({"size": 30}, "multiple of 8"),
        ({"train": 0}, "negative"),
        ({"shares": (0, 1, 1)}, "three parts"),
    ],
)
def test_bad_options_of_the_data_set(tmp_path, options, message):
    import make_dataset

    with pytest.raises(ValueError, match=message):
        make_dataset.main(tmp_path / "data", **options)


@pytest.mark.slow
def test_vertices_stay_in_their_octants():
    import model

    sphere = model.template(3)
    assert sphere.vertices.shape == (642, 3)
    assert sphere.faces.shape == (1280, 3)
    zero = jnp.zeros_like(sphere.vertices)
    still = model.deformed(sphere.vertices, jnp.zeros(3), zero)
    np.testing.assert_allclose(still, sphere.vertices / 2, atol=1e-6)

    random = np.random.default_rng(0)
    centroid = jnp.asarray(random.normal(size=3), jnp.float32)
    biases = jnp.asarray(9 * random.normal(size=sphere.vertices.shape), jnp.float32)
    moved = np.asarray(model.deformed(sphere.vertices, centroid, biases))
    assert np.abs(moved).max() <= 0.5 + 1e-6
    corner = np.tanh(np.asarray(centroid))[None] / 2
    assert (np.sign(sphere.vertices) * (moved - corner) >= -1e-6).all()
    slope = jax.grad(lambda biases: (model.deformed(sphere.vertices, centroid, biases) ** 2).sum())
    assert np.isfinite(slope(biases)).all()


def test_new_vertices_lie_between_old_ones():
    import initial
    import model

    for level in range(3):
        shares = initial.between(level)
        coarse, fine = model.template(level).vertices, model.template(level + 1).vertices
        assert shares.shape == (3, len(fine), len(coarse))
        np.testing.assert_allclose(shares.sum(2), 1)
        middles = shares.mean(0) @ coarse
        cosine = (middles * fine).sum(1) / np.linalg.norm(middles, axis=1) / 0.5
        assert cosine.min() > 0.95
        # What a vertex on a plane between octants says about the axis across counts for none.
        stays = np.abs(coarse) < 1e-6
        moves = np.abs(fine) > 1e-6
        for axis in range(3):
            assert shares[axis][moves[:, axis]][:, stays[:, axis]].sum() == 0


def test_the_network_is_that_of_the_original():
    import equinox as eqx

    import model

    network, _ = eqx.filter_eval_shape(model.make_model, model.Config(), 0)
    shapes = [layer.weight.shape for layer in (*network.convolutions, *network.encoder)]
    assert shapes == [
        (64, 4, 5, 5),
        (128, 64, 5, 5),
        (256, 128, 5, 5),
        (1024, 256 * 8 * 8),
        (1024, 1024),
        (512, 1024),
    ]
    shapes = [layer.weight.shape for layer in (*network.decoder, network.centroid, network.biases)]
    assert shapes == [(1024, 512), (2048, 1024), (3, 2048), (642 * 3, 2048)]


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        ({"size": 30}, {}, "multiple of 8"),
        ({"channels": 0}, {}, "even and positive"),
        ({"subdivisions": 9}, {}, "between 0 and 6"),
        ({}, {"steps": 0}, "must be positive"),
        ({}, {"batch": 3}, "multiple of the 2 devices"),
        ({}, {"schedule": "linear"}, "one of step, cosine"),
    ],
)
def test_bad_settings(config, settings, message):
    import model
    import training

    with pytest.raises(ValueError, match=message):
        training.make_trainer(
            model.Config(**config), training.Settings(**settings), devices=2 * jax.devices()[:1]
        )


@pytest.mark.long
def test_speed():
    import speed
    from model import Config
    from training import Settings

    settings = Settings(batch=jax.device_count())
    found = speed.main(Config(size=8, **(SMALL | {"subdivisions": 0})), settings, repeats=1)
    assert found["images_per_second"] > 0
    assert found["rendering_share"] > 0


@pytest.mark.long
def test_the_ceiling_is_above_the_start(dataset, capsys):
    import ceiling

    options = {"split": "test", "count": 2, "subdivisions": 1}
    before = ceiling.main(dataset, steps=1, rate=1e-9, **options)
    after = ceiling.main(dataset, steps=60, rate=0.05, **options)
    for name in ("car", "chair"):
        assert after[name]["fit"] > before[name]["fit"] + 0.05
        assert after[name]["nearest picture"] == before[name]["nearest picture"] > 0
    assert "nearest picture" in capsys.readouterr().out
    with pytest.raises(ValueError, match="must be positive"):
        ceiling.main(dataset, count=0)


def test_joining_hosts_needs_three_parts():
    import train

    with pytest.raises(ValueError, match="ADDRESS:PORT,COUNT,INDEX"):
        train.join_hosts("localhost:1234")


def test_baselines_find_what_is_there():
    import baselines

    random = np.random.default_rng(0)
    voxels = random.random((5, 32, 32, 32)) < 0.3
    images = random.integers(256, size=(5, 24, 4, 8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(baselines.nearest(images[[3, 0, 4], 7], images), [3, 0, 4])
    same = np.repeat(voxels[:1], 4, axis=0)
    np.testing.assert_array_equal(baselines.mean_shape(same), voxels[0])
    assert baselines.overlap(voxels, voxels).tolist() == [1.0] * 5
    assert float(baselines.overlap(voxels[0] & False, voxels[0] & False)) == 1.0
    np.testing.assert_allclose(
        baselines.overlap(voxels[0], voxels[1]),
        float(jr.losses.iou(voxels[0], voxels[1])),
        rtol=1e-6,
    )
