"""How a function of JAX arrays becomes one of PyTorch's tensors, with the same gradient.

Tensors cross by DLPack: on a CPU both sides see the same memory. A call is compiled once for each
combination of shapes and static arguments, forwards and backwards; the way back keeps what JAX
keeps, and has PyTorch watch those of its tensors that this memory belongs to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import check_array, check_faces
from jaxrender._types import Mesh, ScreenMesh

try:
    import torch
except ImportError as error:
    raise ImportError(
        "jaxrender.torch needs PyTorch: pip install 'jaxrender[torch]', or see pytorch.org for the "
        "one without CUDA."
    ) from error


def to_jax(tree: Any) -> Any:
    """Brings tensors to JAX, on a CPU without a copy.

    The arrays see the tensors' own memory: while they are in use, do not write to it. A tensor that
    is not contiguous, or does not begin where JAX's arrays may, is copied. Without
    `jax_enable_x64`, whole numbers of 64 bits become those of 32.

    Gradient: none; `wrap` has it.

    Args:
        tree: a tensor, or any struct, list or dict of them; what else is in it stays.

    Returns:
        The same with `jax.Array` for each tensor.

    Raises:
        ValueError: a tensor is sparse, or of 64 bits that JAX is not set to, or on a device that
            JAX does not know.

    Example:
        >>> import torch, jaxrender.torch as jt
        >>> jt.to_jax({"x": torch.ones(2)})["x"].tolist()
        [1.0, 1.0]
    """
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, _to_arrays(leaves, tree))


def to_torch(tree: Any) -> Any:
    """Brings JAX's arrays to PyTorch, on a CPU without a copy.

    The tensors see the arrays' own memory, which JAX takes for constant: `clone` a tensor before
    you write to it, if the array is still in use.

    Gradient: none; `wrap` has it.

    Args:
        tree: an array, or any struct, list or dict of them; what else is in it stays.

    Returns:
        The same with `torch.Tensor` for each array.

    Example:
        >>> import jaxrender as jr, jaxrender.torch as jt
        >>> jt.to_torch(jr.shapes.cube()).vertices.shape
        torch.Size([8, 3])
    """
    return jax.tree.map(lambda leaf: _to_torch(leaf) if isinstance(leaf, jax.Array) else leaf, tree)


def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function of JAX arrays one of tensors, compiled, which PyTorch differentiates.

    The function is traced by `jax.jit`. Of its arguments, tensors, arrays and floating-point
    numbers are inputs of the program, so new values compile nothing; all else (whole numbers,
    names, sizes, functions) is part of it. A batch is `wrap(jax.vmap(function))`.

    Gradient: what `jax.grad` gives, by `torch.autograd`, once; the gradient of a gradient raises.

    Args:
        function: any that JAX can trace; arguments and results may be structs.

    Returns:
        The function, with tensors for arrays in whatever it returns.

    Example:
        >>> import jax.numpy as jnp, torch, jaxrender.torch as jt
        >>> length = jt.wrap(lambda x: jnp.sqrt(jnp.sum(x * x)))
        >>> x = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> length(x).backward()
        >>> x.grad
        tensor([0.6000, 0.8000])
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return _call(function, args, kwargs)

    return wrapped


# --- tensors and arrays ---------------------------------------------------------------------------


def _to_arrays(leaves: list[Any], tree: Any) -> list[Any]:
    """The leaves of a tree with arrays for tensors; what is refused is named by its path there."""
    made = []
    for number, leaf in enumerate(leaves):
        try:
            made.append(_to_jax(leaf) if isinstance(leaf, torch.Tensor) else leaf)
        except _RefusedError as error:
            path = jax.tree_util.tree_leaves_with_path(tree)[number][0]
            raise ValueError(f"`{jax.tree_util.keystr(path)}` {error}") from error.__cause__
    return made


class _RefusedError(Exception):
    """Says of a tensor, after its name, why it cannot be brought to JAX."""


def _to_jax(tensor: torch.Tensor) -> jax.Array:
    if tensor.layout != torch.strided:
        raise _RefusedError(f"must be a dense tensor, got {tensor.layout}. Pass to_dense().")
    tensor = tensor.detach()
    if not jax.config.read("jax_enable_x64"):
        if tensor.dtype in (torch.float64, torch.complex128):
            raise _RefusedError(
                f"must be of float32, as JAX computes by default, got {tensor.dtype}. Pass "
                'tensor.float(), or call jax.config.update("jax_enable_x64", True) at the start.'
            )
        if tensor.dtype == torch.int64:
            small = tensor.to(torch.int32)
            if not torch.equal(small.to(torch.int64), tensor):
                raise _RefusedError("must fit 32 bits. Pass smaller whole numbers.")
            tensor = small
    tensor = tensor.resolve_conj().resolve_neg().contiguous()
    try:
        return jax.dlpack.from_dlpack(tensor)
    except (RuntimeError, BufferError, TypeError, ValueError) as error:
        raise _RefusedError(
            f"is on {tensor.device}, where JAX has no device. Pass tensor.cpu(), or install JAX "
            "for it, as jaxrender[cuda13] does."
        ) from error


def _to_torch(array: jax.Array) -> torch.Tensor:
    return torch.from_dlpack(jax.block_until_ready(array))


def _address(values: torch.Tensor | jax.Array) -> int:
    """Where the memory of an array, or of a tensor, begins; 0 of one that is empty."""
    if isinstance(values, torch.Tensor):
        return values.data_ptr()
    return values.unsafe_buffer_pointer() if values.size else 0


# --- a call ---------------------------------------------------------------------------------------

_INPUT = object()  # in `_Program.static`


class _Program(NamedTuple):
    """What is compiled: a function, and those of its arguments that are no inputs."""

    function: Callable[..., Any]
    structure: Any  # of the arguments
    static: tuple[Any, ...]  # each leaf of them, or `_INPUT`

    def __call__(self, inputs: Iterable[Any]) -> Any:
        following = iter(inputs)
        leaves = [next(following) if leaf is _INPUT else leaf for leaf in self.static]
        args, kwargs = jax.tree.unflatten(self.structure, leaves)
        return self.function(*args, **kwargs)


def _is_input(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor | jax.Array | np.ndarray | np.floating | float)


def _call(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Calls the function, recording it for `torch.autograd` where that may ask for a gradient."""
    given, structure = jax.tree.flatten((args, kwargs))
    leaves = _to_arrays(given, (args, kwargs))
    _check_meshes(jax.tree.unflatten(structure, leaves))
    static = tuple(_INPUT if _is_input(leaf) else leaf for leaf in given)
    program = _Program(function, structure, static)
    pairs = [pair for pair in zip(given, leaves, strict=True) if _is_input(pair[0])]
    tensors = [tensor for tensor, _ in pairs if isinstance(tensor, torch.Tensor)]
    wanted = [
        isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.requires_grad
        for tensor, _ in pairs
    ]
    arrays = [array for _, array in pairs]
    if not (any(wanted) and torch.is_grad_enabled()):
        return jax.tree.map(lambda array: _own(array, tensors), _run(program, arrays))
    call = _Call(program, arrays, wanted, tensors)
    found = _Function.apply(call, *(t for (t, _), want in zip(pairs, wanted, strict=True) if want))
    return jax.tree.unflatten(call.structure, found)


def _check_meshes(arguments: Any) -> None:
    """Checks the values of meshes, which a compiled function cannot see.

    Raises:
        ValueError: a vertex is not finite, or an index is out of range.
    """
    args, kwargs = arguments
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, Mesh | ScreenMesh):
            name = "mesh" if isinstance(argument, Mesh) else "screen"
            vertices = argument.vertices
            shape = jnp.shape(vertices)
            if len(shape) == 2:  # else it is a batch, or the function says what it is not
                check_array(f"{name}.vertices", vertices, ("V", 3), finite=True)
                check_faces(f"{name}.faces", argument.faces, shape[0])


def _own(array: jax.Array, tensors: list[torch.Tensor]) -> torch.Tensor:
    """A result as a tensor; a copy if JAX has handed an input on as it was."""
    tensor = _to_torch(array)
    shared = any(_address(tensor) == _address(other) for other in tensors if other.numel())
    return tensor.clone() if shared else tensor


class _Call:
    """One call, on its way through `torch.autograd`."""

    def __init__(
        self,
        program: _Program,
        arrays: list[Any],
        wanted: list[bool],
        tensors: list[torch.Tensor],
    ) -> None:
        self.wanted = [array for array, want in zip(arrays, wanted, strict=True) if want]
        self.others = [None if want else array for array, want in zip(arrays, wanted, strict=True)]
        self.program, self.tensors = program, tensors
        self.structure: Any = None  # of the results, once they are known


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        floats, marked, ctx.pullback = _run_forward(call.program, call.wanted, call.others)
        # Put the results that have a gradient back to where they are marked.
        marks, call.structure = jax.tree.flatten(marked)
        ctx.differentiable = [_is_float(mark) for mark in marks]
        following = iter(floats)
        results = [next(following) if _is_float(mark) else mark for mark in marks]
        outputs = [_own(result, call.tensors) for result in results]
        ctx.mark_non_differentiable(
            *(out for out, ok in zip(outputs, ctx.differentiable, strict=True) if not ok)
        )

        # Let PyTorch watch what the way back reads: it raises if someone has written to it.
        read = {_address(leaf) for leaf in jax.tree.leaves(ctx.pullback)}
        watched = [t for t in (*call.tensors, *outputs) if t.numel() and _address(t) in read]
        ctx.save_for_backward(*watched)
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        _ = ctx.saved_tensors  # raises if one has changed
        given = [
            _to_jax(cotangent)
            for cotangent, ok in zip(cotangents, ctx.differentiable, strict=True)
            if ok
        ]
        return None, *(_own(gradient, list(cotangents)) for gradient in _pull(ctx.pullback, given))


def _is_float(array: jax.Array) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)


@functools.partial(jax.jit, static_argnums=0)
def _run(program: _Program, inputs: list[Any]) -> Any:
    return program(inputs)


@functools.partial(jax.jit, static_argnums=0)
def _run_forward(program: _Program, wanted: list[Any], others: list[Any]) -> tuple[Any, Any, Any]:
    """The floating-point results, all results, those marked by nothing, and the way back."""

    def function(wanted: list[Any]) -> tuple[list[jax.Array], Any]:
        following = iter(wanted)
        inputs = [next(following) if other is None else other for other in others]
        results = jax.tree.map(jnp.asarray, program(inputs))
        floats = [result for result in jax.tree.leaves(results) if _is_float(result)]
        nothing = jnp.zeros(0, jnp.float32)
        return floats, jax.tree.map(lambda leaf: nothing if _is_float(leaf) else leaf, results)

    floats, pullback, marked = jax.vjp(function, wanted, has_aux=True)
    return floats, marked, pullback


@jax.jit
def _pull(pullback: Any, cotangents: list[jax.Array]) -> list[jax.Array]:
    return pullback(cotangents)[0]
