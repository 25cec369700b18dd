"""Finds the corners and colours of a cube from small pictures: `python examples/pytorch/cube.py`.

Each step draws the cube from a few random sides, and moves the corners by the gradient that
antialiased edges have.
"""

from __future__ import annotations

import argparse

import torch
from camera import cube, moved_back, projection, rotation, to_clip

import jaxrender.torch.nvdiffrast as dr


def main(argv: list[str] | None = None) -> tuple[float, float]:
    """Fits it; returns the mean distance of corners before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--views", type=int, default=8)
    options = parser.parse_args(argv)

    torch.manual_seed(0)
    glctx, size = dr.RasterizeCudaContext(), (options.resolution,) * 2
    points, triangles = cube()
    colors = torch.rand(8, 3)
    topology = dr.antialias_construct_topology_hash(triangles)

    def draw(points: torch.Tensor, colors: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        clip = to_clip(points, matrices)
        rast, _ = dr.rasterize(glctx, clip, triangles, size)
        picture, _ = dr.interpolate(colors[None], rast, triangles)
        return dr.antialias(picture, rast, clip, triangles, topology_hash=topology)

    guess = (points + 0.3 * torch.rand(8, 3) - 0.15).requires_grad_()
    tint = torch.full((8, 3), 0.5, requires_grad=True)
    before = (guess - points).norm(dim=-1).mean().item()
    optimizer = torch.optim.Adam([guess, tint], lr=1e-2)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.02 ** (1 / options.steps))
    for _ in range(options.steps):
        turns = torch.eye(4).repeat(options.views, 1, 1)
        turns[:, :3, :3] = rotation(torch.randn(options.views, 4))
        matrices = projection() @ moved_back(3.0) @ turns
        with torch.no_grad():
            wanted = draw(points, colors, matrices)
        loss = (draw(guess, tint, matrices) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    after = (guess.detach() - points).norm(dim=-1).mean().item()
    print(f"corners were {before:.4f} off, and are {after:.4f}")
    return before, after


if __name__ == "__main__":
    main()
