"""The viewer: what it draws, and, in a headless Chromium, that the page works.

Needs viser, and for the page playwright and a Chromium: skipped without.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender import fitting

pytest.importorskip("viser")
pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
CUBE = jr.shapes.cube()


@pytest.fixture
def viewer():
    made = jr.view(CUBE, size=64, port=8700 + os.getpid() % 200)
    yield made
    made.stop()


def eye(position=(0.0, 0.0, 3.0), aspect=1.0):
    """viser's camera at a place, looking along -z with y up: turned about x by 180 degrees."""
    return SimpleNamespace(
        position=np.array(position), wxyz=(0.0, 1.0, 0.0, 0.0), fov=np.deg2rad(40.0), aspect=aspect
    )


def test_the_picture_is_that_of_render(viewer):
    camera = jr.look_at((0.4, 0.0, 3.0), (0.4, 0.0, 0.0), projection=jr.perspective(40.0))
    near, far = jr.depth_range(CUBE, camera)
    lights = jr.camera_lights(camera)
    options = {"image_size": (64, 96), "near": near, "far": far, "background": 0.2}
    wanted = jr.render(CUBE, camera, lights, **options).to_uint8()
    found = viewer._picture(eye((0.4, 0.0, 3.0), aspect=1.5), 1)
    assert found.shape == (64, 96, 3)
    assert (np.abs(found.astype(int) - wanted) <= 1).mean() > 0.99
    assert viewer._picture(eye(aspect=1.5), 2).shape == (32, 48, 3)


def test_vertices_may_be_whole_numbers(viewer):
    place, cube = eye((0.3, 0.4, 3.5)), jr.shapes.cube(2.0)
    viewer.show(cube)
    wanted = viewer._picture(place, 1)
    viewer.show(jr.Mesh(np.asarray(cube.vertices, int), cube.faces))
    np.testing.assert_array_equal(viewer._picture(place, 1), wanted)


def test_controls_change_the_picture(viewer):
    place = eye((0.3, 0.4, 3.0))
    before = viewer._picture(place, 1).astype(float)
    seen = [before]
    for control, value in (
        (viewer._strength, 0.1),
        (viewer._follows, False),
        (viewer._azimuth, -120.0),
        (viewer._kind, "soft"),
        (viewer._sigma, -3.0),
    ):
        control.value = value
        seen.append(viewer._picture(place, 1).astype(float))
        assert np.abs(seen[-1] - seen[-2]).max() > 3, control.label
    edges = [len(np.unique(picture[32].sum(-1))) for picture in seen[-2:]]
    assert edges[1] > edges[0]  # a larger sigma is a softer edge


def test_only_this_machine_may_connect(viewer):
    port = viewer.server.get_port()
    assert viewer.url == f"http://127.0.0.1:{port}"
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port)}
    for address in addresses - {"127.0.0.1", "127.0.1.1", "::1"}:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as knock:
            knock.settimeout(1.0)
            assert knock.connect_ex((address, port)) != 0


def test_pictures_are_shown_whole(viewer):
    viewer.show(jr.Image(jnp.ones((4, 8, 3)), jnp.ones((4, 8)), jnp.ones((4, 8))), "hello")
    found = viewer._picture(eye(), 1)
    assert found.shape == (8, 8, 3)
    assert (found[2:6] == 255).all()
    assert (found[:2] == 51).all()
    assert viewer._message.content == "hello"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shading": "toon"}, "`shading` must be one of"),
        ({"up": "w"}, "`up` must be one of"),
        ({"size": 3}, "`size` must be a whole number"),
        ({"rasterizer": "soft"}, "`rasterizer` must be Hard"),
        ({"mesh": 3}, "what is shown must be a Mesh"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        jr.view(**{"mesh": CUBE, **options})


def test_a_fit_is_watched(viewer):
    optax = pytest.importorskip("optax")
    shown = []
    viewer.show = lambda thing, message: shown.append((thing, message))

    def loss(params):
        return jnp.sum((params["vertices"] - 1) ** 2)

    found = fitting.fit(
        loss,
        {"vertices": CUBE.vertices},
        optax.sgd(0.1),
        steps=4,
        snapshot=lambda params: CUBE.with_vertices(params["vertices"]),
        snapshot_every=2,
        progress=False,
        live=viewer,
    )
    assert [message.split(",")[0] for _, message in shown] == [f"step {k} of 4" for k in (0, 2, 4)]
    assert list(found.snapshots) == [0, 2, 4]
    assert all(isinstance(thing, jr.Mesh) for thing, _ in shown)
    assert "stopped" not in repr(viewer)


def test_live_must_be_a_viewer():
    optax = pytest.importorskip("optax")
    with pytest.raises(ValueError, match="`live` must be True, False or a Viewer"):
        fitting.fit(lambda x: x**2, 1.0, optax.sgd(0.1), steps=1, live="yes")


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
def test_the_page_in_a_browser(viewer, tmp_path, monkeypatch):
    playwright = pytest.importorskip("playwright.sync_api")
    complaints = []

    # Let the first picture take until the page has said that it does.
    ready, draw = threading.Event(), viewer._picture
    monkeypatch.setattr(viewer, "_picture", lambda *args: ready.wait(120) and draw(*args))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=120_000)
        page = browser.new_page(viewport={"width": 640, "height": 480})
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(viewer.url, timeout=120_000)
        page.wait_for_selector("canvas", timeout=120_000)
        notice = page.get_by_text("The first picture of a kind or a size takes some seconds.")
        notice.wait_for(timeout=120_000)
        ready.set()
        notice.wait_for(state="detached", timeout=120_000)

        def picture():
            page.screenshot(path=tmp_path / "page.png", timeout=120_000)
            from PIL import Image as pillow

            return np.asarray(pillow.open(tmp_path / "page.png").convert("RGB")).astype(float)

        def settled(before=None):
            """The page once it shows something (else), and then stays as it is."""
            last, end = picture(), time.monotonic() + 120
            while time.monotonic() < end:
                page.wait_for_timeout(700)
                now = picture()
                drawn = np.ptp(now[100:380, 100:380]) > 60
                changed = before is None or np.abs(now - before)[:, :380].mean() > 1
                if drawn and changed and np.abs(now - last)[:, :380].mean() < 0.5:
                    return now
                last = now
            raise AssertionError("the page does not show the mesh")

        first = settled()
        page.mouse.move(200, 240)
        page.mouse.down()
        page.mouse.move(290, 270, steps=5)
        page.mouse.up()
        second = settled(first)
        viewer._kind.value = "soft"
        viewer._sigma.value = -2.5
        settled(second)
        keep = os.environ.get("JAXRENDER_SCREENSHOT")
        if keep:
            shutil.copy(tmp_path / "page.png", keep)
        browser.close()
    assert not complaints
