"""Compiled programs that outlive the process."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def cache(folder: str | os.PathLike[str] | None = None) -> Path:
    """Keeps compiled programs in a folder, where the next process finds them.

    It sets jax's own persistent cache, for all programs of this process that are compiled from
    now on, however short that takes: call it first. What is kept depends on the versions of jax
    and jaxrender's code, the device and XLA's flags; entries that nothing asks for stay until you
    delete them. Threads and processes may share a folder.

    Args:
        folder: made if it is not there. By default `jaxrender` in the user's folder for caches:
            that of the environment variable XDG_CACHE_HOME, or `~/.cache`.

    Returns:
        the folder, as an absolute path.

    Raises:
        ValueError: it cannot be made or written to.

    Example:
        The first lines of a script::

            import jaxrender as jr

            jr.cache("out/jax-cache")
    """
    if folder is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "jaxrender"
    try:
        place = Path(folder).expanduser().absolute()
        place.mkdir(parents=True, exist_ok=True)
        writable = os.access(place, os.W_OK | os.X_OK)
    except (OSError, TypeError) as error:
        raise ValueError(f"`folder` cannot be made ({error}). Pass the path of a folder.") from None
    if not writable:
        raise ValueError(f"`folder` cannot be written to: {place}. Pass another.")
    from jax.experimental.compilation_cache import compilation_cache

    # Keep the small programs too: outside of jax.jit there are many.
    for name, value in (
        ("jax_compilation_cache_dir", str(place)),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
        ("jax_persistent_cache_min_entry_size_bytes", -1),
    ):
        jax.config.update(name, value)
    # Have jax look at the setting again, if it has compiled before.
    compilation_cache.reset_cache()
    return place
