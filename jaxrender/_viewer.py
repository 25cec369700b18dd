"""`view`: a mesh in the browser, drawn by this library as it is turned there.

The page is viser's. What it shows is our own picture, behind an empty scene of its own: whenever
someone moves the camera there, one thread draws the mesh as seen from it, small at first and then
in full size. Needs viser.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._arrays import float_dtype
from jaxrender._camera import camera_position, perspective, points_from_angles
from jaxrender._checks import check_choice
from jaxrender._choices import SHADINGS, Shading
from jaxrender._formats.raw import optional
from jaxrender._framing import TURNS, UP_AXES, UpAxis, bounding_box, camera_lights, depth_range
from jaxrender._framing import frame as framed
from jaxrender._render import render
from jaxrender._scene import Scene
from jaxrender._shading import make_lights
from jaxrender._types import Camera, Hard, Image, Lights, Mesh, Soft

GRAY = 0.2  # of the background
COARSE = 2  # by which the picture is smaller while the camera moves
STEP = 16  # pixels: widths are multiples, so that few programs are compiled
WIDEST = 4.0  # width over height
PATIENCE = 0.3  # seconds that a picture may take before it is said what it waits for
SIGMAS, GAMMAS = (-7.0, -2.0), (-5.0, 0.0)  # of the sliders, powers of ten


def view(
    mesh: Mesh | Scene,
    *,
    rasterizer: Hard | Soft | None = None,
    shading: Shading = "flat",
    size: int = 384,
    up: UpAxis = "y",
    host: str = "127.0.0.1",
    port: int = 8080,
) -> Viewer:
    """Shows a mesh in the browser, where it can be turned, lit and blurred.

    It returns at once; the page is there as long as the viewer is kept, and the process lives:
    `view(mesh).wait()` at the end of a script. Needs viser: `pip install 'jaxrender[viewer]'`.

    Gradient: none; the mesh must be known.

    Args:
        mesh: what to show; or a `Scene`, whose lights the page's replace.
        rasterizer: what to begin with; `sigma` and `gamma` of `Soft(…)` are where the sliders
            stand.
        shading: "flat", "gouraud", "phong" or "none", see `shade`.
        size: rows of the picture.
        up: the axis of the world that is up: "x", "y", "z", "-x", "-y" or "-z".
        host: who may connect: "127.0.0.1" is this machine alone, "0.0.0.0" whoever reaches it.
        port: of the address, or the next that is free.

    Returns:
        the viewer; its `url` is what to open.

    Raises:
        ImportError: viser is not installed.
        ValueError: an argument is not as above.

    Example:
        >>> import jaxrender as jr
        >>> viewer = jr.view(jr.shapes.teapot())  # doctest: +SKIP
        >>> viewer.url  # doctest: +SKIP
        'http://127.0.0.1:8080'
    """
    return Viewer(
        mesh, rasterizer=rasterizer, shading=shading, size=size, up=up, host=host, port=port
    )


class Viewer:
    """A page that shows a mesh, or a picture; made by `view`.

    Attributes:
        url: what to open in a browser.
    """

    def __init__(
        self,
        shown: Any,
        *,
        rasterizer: Hard | Soft | None = None,
        shading: Shading = "flat",
        size: int = 384,
        up: UpAxis = "y",
        host: str = "127.0.0.1",
        port: int = 8080,
        verbose: bool = True,
    ) -> None:
        check_choice("shading", shading, SHADINGS)
        check_choice("up", up, UP_AXES)
        if not isinstance(size, int | np.integer) or size < 2 * STEP:
            raise ValueError(f"`size` must be a whole number from {2 * STEP}, got {size!r}.")
        rasterizer = Hard() if rasterizer is None else rasterizer
        if not isinstance(rasterizer, Hard | Soft):
            raise ValueError(
                f"`rasterizer` must be Hard(…) or Soft(…), got {type(rasterizer).__name__}."
            )
        self._shown = _checked(shown)
        viser = optional("viser", package="viser", purpose="The viewer", extra="viewer")
        self._size, self._rasterizer = int(size), rasterizer
        self._up: UpAxis = up
        self._changed = threading.Condition()
        self._dirty: set[int] = set()  # the clients whose picture is out of date
        self._stopped = False
        self.server: Any = viser.ViserServer(host=host, port=port, verbose=verbose)
        self.url = f"http://{host}:{self.server.get_port()}"
        self._rotation = viser.transforms.SO3
        self._place_camera()
        self._add_controls(rasterizer, shading)
        self.server.on_client_connect(self._welcome)
        self.server.on_client_disconnect(lambda client: self._dirty.discard(client.client_id))
        self._thread = threading.Thread(target=self._work, name="jaxrender.view", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Viewer({self.url!r}{', stopped' if self._stopped else ''})"

    def show(self, shown: Any, message: str = "") -> None:
        """Shows something else in the same place, from where people look now.

        Args:
            shown: a `Mesh` or `Scene`; or a picture: an `Image`, or `[H, W, 3]` display values.
            message: a line of text beside it.

        Raises:
            ValueError: it is none of these.
        """
        self._shown = _checked(shown)
        self._message.content = message
        self._ask(self.server.get_clients())

    def wait(self) -> None:
        """Waits until Ctrl-C, or until `stop` is called elsewhere."""
        with contextlib.suppress(KeyboardInterrupt):
            while not self._stopped:
                time.sleep(0.2)
        self.stop()

    def stop(self) -> None:
        """Closes the page."""
        if self._stopped:
            return
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()
        self.server.stop()

    # --- the page ---------------------------------------------------------------------------------

    def _place_camera(self) -> None:
        """Has everyone begin where `frame` looks from."""
        self.server.scene.set_up_direction(self._up if "-" in self._up else f"+{self._up}")
        mesh = _mesh_of(self._shown)
        if mesh is None or not np.size(mesh.vertices):
            return
        camera: Any = framed(mesh, up=self._up)
        _, _, low, high = bounding_box(mesh)
        begin = self.server.initial_camera
        begin.position = np.asarray(camera_position(camera), float)
        begin.look_at = np.asarray((low + high) / 2, float)
        begin.fov = float(np.deg2rad(np.asarray(camera.projection.fov)))

    def _add_controls(self, rasterizer: Hard | Soft, shading: Shading) -> None:
        gui = self.server.gui
        gui.configure_theme(show_logo=False, show_share_button=False)
        self._message = gui.add_markdown("")
        soft = rasterizer if isinstance(rasterizer, Soft) else Soft(gamma=1e-2)
        gamma = 1e-2 if soft.gamma is None else soft.gamma
        with gui.add_folder("Drawing"):
            self._kind = gui.add_dropdown(
                "rasterizer",
                ("hard", "soft"),
                initial_value="soft" if isinstance(rasterizer, Soft) else "hard",
            )
            self._sigma = _add_power(gui, "sigma", SIGMAS, soft.sigma)
            self._gamma = _add_power(gui, "gamma", GAMMAS, gamma)
            self._shading = gui.add_dropdown("shading", SHADINGS, initial_value=shading)
        with gui.add_folder("Light"):
            self._follows = gui.add_checkbox("beside the camera", True)
            self._azimuth = gui.add_slider("azimuth", -180.0, 180.0, 1.0, 30.0)
            self._elevation = gui.add_slider("elevation", -90.0, 90.0, 1.0, 40.0)
            self._strength = gui.add_slider("strength", 0.0, 2.0, 0.01, 0.65)
            self._ambient = gui.add_slider("ambient", 0.0, 1.0, 0.01, 0.25)
        controls = (
            *(self._kind, self._sigma, self._gamma, self._shading, self._follows),
            *(self._azimuth, self._elevation, self._strength, self._ambient),
        )
        for control in controls:
            control.on_update(lambda _: self._control_changed())
        self._control_changed()

    def _control_changed(self) -> None:
        self._sigma.disabled = self._gamma.disabled = self._kind.value != "soft"
        self._azimuth.disabled = self._elevation.disabled = self._follows.value
        self._ask(self.server.get_clients())

    def _welcome(self, client: Any) -> None:
        client.camera.on_update(lambda _: self._ask([client.client_id]))
        self._ask([client.client_id])

    # --- the thread that draws --------------------------------------------------------------------

    def _ask(self, clients: Any) -> None:
        """Has the pictures of these clients drawn anew."""
        with self._changed:
            self._dirty.update(clients)
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._dirty or self._stopped)
                if self._stopped:
                    return
                number = self._dirty.pop()
            client = self.server.get_clients().get(number)
            if client is None:
                continue
            try:
                with self._telling_of_waits(client):
                    self._draw_for(client)
            except Exception as error:  # the page stays, and says what is wrong
                self._message.content = f"**{type(error).__name__}**: {error}"

    def _draw_for(self, client: Any) -> None:
        """Shows a client its picture, small at first."""
        for coarse in (COARSE, 1):
            # A camera that has moved on is drawn from where it is now.
            if self._stopped or (coarse == 1 and client.client_id in self._dirty):
                break
            picture = self._picture(client.camera, coarse)
            if not self._is_here(client):
                break
            client.scene.set_background_image(picture, format="jpeg", jpeg_quality=90)

    def _is_here(self, client: Any) -> bool:
        """Whether someone still looks: viser warns of what is sent to a page that is closed."""
        return client.client_id in self.server.get_clients()

    @contextlib.contextmanager
    def _telling_of_waits(self, client: Any) -> Iterator[None]:
        """Says on the page that a picture is being compiled, where it takes that long."""
        notices: list[Any] = []

        def tell() -> None:
            why = "The first picture of a kind or a size takes some seconds."
            if self._is_here(client):
                notices.append(
                    client.add_notification("Compiling", why, loading=True, with_close_button=False)
                )

        timer = threading.Timer(PATIENCE, tell)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            for notice in notices:
                if self._is_here(client):
                    notice.remove()

    def _picture(self, eye: Any, coarse: int) -> np.ndarray:
        """What a client sees `[H, W, 3]` uint8."""
        aspect = float(np.clip(eye.aspect, 1 / WIDEST, WIDEST))
        mesh, shown = _mesh_of(self._shown), self._shown
        if mesh is None:
            return _letterboxed(shown, aspect)
        height = self._size // coarse
        width = max(STEP, round(height * aspect / STEP) * STEP)
        kind = self._rasterizer
        if self._kind.value == "soft":
            soft = kind if isinstance(kind, Soft) else Soft()
            blur = {"sigma": 10.0**self._sigma.value, "gamma": 10.0**self._gamma.value}
            kind = dataclasses.replace(soft, **blur)
        elif isinstance(kind, Soft):
            kind = Hard()
        lights = {"ambient": self._ambient.value, "key": self._strength.value}
        if not self._follows.value:
            lights |= {"azimuth": self._azimuth.value, "elevation": self._elevation.value}
        right, down, ahead = self._rotation(np.asarray(eye.wxyz, float)).as_matrix().T
        dtype = float_dtype(mesh.vertices)
        rgb = _draw(
            shown,
            jnp.asarray(np.stack([right, -down, ahead]), dtype),
            jnp.asarray(eye.position, dtype),
            float(np.rad2deg(eye.fov)),
            {name: float(value) for name, value in lights.items()},
            kind,
            image_size=(height, width),
            shading=self._shading.value,
            up=self._up,
        )
        return rgb.to_uint8()


def _add_power(gui: Any, name: str, limits: tuple[float, float], value: Any) -> Any:
    """A slider of powers of ten."""
    begin = float(np.clip(np.log10(float(value)), *limits))
    return gui.add_slider(f"log₁₀ {name}", *limits, 0.05, round(begin * 20) / 20)


@functools.partial(jax.jit, static_argnames=("image_size", "shading", "up"))
def _draw(
    shown: Mesh | Scene,
    rotation: jax.Array,
    position: jax.Array,
    fov: jax.Array,
    light: dict[str, jax.Array],
    rasterizer: Hard | Soft,
    *,
    image_size: tuple[int, int],
    shading: Shading,
    up: UpAxis,
) -> Image:
    """The picture from a camera, whose highlights are as bright as a picture can show."""
    away = -jnp.matmul(rotation, position, precision="highest")
    camera = Camera(rotation, away, perspective(fov))
    mesh = _mesh_of(shown)
    near, far = depth_range(Mesh(mesh.vertices, mesh.faces), camera)
    image = render(
        shown,
        camera,
        _lights(camera, light, up),
        image_size=image_size,
        near=near,
        far=far,
        background=GRAY,
        shading=shading,
        rasterizer=rasterizer,
    )
    return Image(jnp.clip(image.rgb, 0, 1), image.alpha, image.depth, image.encoding)


def _lights(camera: Camera, light: dict[str, Any], up: UpAxis) -> Lights:
    if "azimuth" not in light:
        return camera_lights(camera, ambient=light["ambient"], key=light["key"])
    towards = points_from_angles(1.0, light["elevation"], light["azimuth"])
    towards = jnp.matmul(towards, jnp.asarray(TURNS[up], towards.dtype), precision="highest")
    return make_lights(light["ambient"], [(towards, light["key"])], specular=0.2, shininess=40.0)


def _mesh_of(shown: Any) -> Any:
    """The mesh that is shown, or None if it is a picture."""
    if isinstance(shown, Scene):
        return shown.mesh()
    return shown if isinstance(shown, Mesh) else None


def _checked(shown: Any) -> Any:
    """What is to be shown, a picture as `[H, W, 3]` uint8.

    Raises:
        ValueError: it is no mesh, scene or picture.
    """
    if isinstance(shown, Mesh | Scene):
        return jax.tree.map(jnp.asarray, shown)
    picture: Any = shown if isinstance(shown, Image) else None
    values: Any = shown
    if picture is None and np.ndim(values) == 3 and np.shape(values)[-1] == 3:
        values = np.asarray(values)
        if values.dtype == np.uint8:
            return values
        picture = Image(values, values[..., 0], values[..., 0])
    if picture is None or np.ndim(picture.rgb) != 3 or np.shape(picture.rgb)[-1] != 3:
        raise ValueError(
            "what is shown must be a Mesh, a Scene, an Image or a picture [H, W, 3], got "
            f"{type(shown).__name__}. Pass one of these; to `fit`, by `snapshot=`."
        )
    rgb: Any = np.clip(picture.rgb, 0, 1)
    return Image(rgb, picture.alpha, picture.depth, picture.encoding).to_uint8()


def _letterboxed(picture: np.ndarray, aspect: float) -> np.ndarray:
    """A picture between bars, so that it has this width over height."""
    height, width, _ = picture.shape
    beside = max(0, round(height * aspect) - width)
    above = max(0, round(width / aspect) - height)
    rest = ((above // 2, above - above // 2), (beside // 2, beside - beside // 2), (0, 0))
    return np.pad(picture, rest, constant_values=round(255 * GRAY))


@contextlib.contextmanager
def live_view(live: bool | Viewer) -> Iterator[Callable[[Any, str], None] | None]:
    """Makes a function that shows something and a message; None if nobody wants to see it.

    A viewer that is given stays open; one of its own is opened at the first call and closed at the
    end.

    Raises:
        ValueError: `live` is neither a bool nor a viewer.
    """
    if not isinstance(live, bool | Viewer):
        raise ValueError(
            f"`live` must be True, False or a Viewer, got {type(live).__name__}. Pass True, or "
            "jaxrender.view(mesh)."
        )
    if live is False:
        yield None
        return
    viewer = live if isinstance(live, Viewer) else None

    def show(shown: Any, message: str) -> None:
        nonlocal viewer
        if viewer is None:
            viewer = Viewer(shown)
        viewer.show(shown, message)

    try:
        yield show
    finally:
        if viewer is not None and viewer is not live:
            viewer.stop()
