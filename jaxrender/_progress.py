"""What loops that run long show, and how Ctrl-C ends them."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MOST_STEPS = 2**31 - 1  # optimizers count them in int32


@contextlib.contextmanager
def progress_bar(progress: bool | str, steps: int) -> Iterator[Callable[[int, float], None]]:
    """Makes a function that shows a step and its loss."""
    tqdm = None
    if progress:
        # In a notebook without ipywidgets `tqdm.auto` shows text as well, and warns of it.
        widgets = importlib.util.find_spec("ipywidgets") is not None
        with contextlib.suppress(ImportError):
            tqdm = importlib.import_module("tqdm.auto" if widgets else "tqdm.std").tqdm
    if tqdm is None:
        yield lambda step, loss: None
        return
    title = progress if isinstance(progress, str) else "fitting"
    with tqdm(total=steps, desc=title, unit="step") as bar:

        def show(step: int, loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            bar.update(step - bar.n)

        yield show


@contextlib.contextmanager
def held_interrupts() -> Iterator[list[int]]:
    """Collects the first Ctrl-C, which would lose the state if it came in the middle of a step."""
    caught: list[int] = []

    def hold(number: int, _: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    main = threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, hold)
    try:
        yield caught
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def check_schedules(schedules: Mapping[str, Any] | None, function: str) -> None:
    """Looks whether what changes from step to step is told by functions.

    Raises:
        ValueError: it is not; the message names the `function` that takes the values.
    """
    if not isinstance(schedules, Mapping | None):
        raise ValueError(
            f"`schedules` must be a dict of functions of the step, got {type(schedules).__name__}."
        )
    for name, schedule in (schedules or {}).items():
        if not callable(schedule):
            raise ValueError(
                f"`schedules[{name!r}]` must be a function of the step, got "
                f"{type(schedule).__name__}. Close over what is constant in the {function}."
            )
