"""Finds how a cube is turned, from one picture of it: `python examples/pytorch/pose.py`."""

from __future__ import annotations

import argparse

import torch
from camera import cube, moved_back, projection, rotation, to_clip

import jaxrender.torch.nvdiffrast as dr


def main(argv: list[str] | None = None) -> tuple[float, float]:
    """Seeks it; returns by how many degrees the rotation was off before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args(argv)

    torch.manual_seed(0)
    glctx, size = dr.RasterizeCudaContext(), (options.resolution,) * 2
    points, triangles = cube()
    points = points * torch.tensor([1.4, 1.0, 0.7])
    # Give each side a colour: attributes have corners of their own, positions share theirs.
    colors = torch.rand(6, 3).repeat_interleave(6, 0)
    single = torch.arange(36, dtype=torch.int32).reshape(-1, 3)

    def draw(quaternion: torch.Tensor) -> torch.Tensor:
        turn = torch.eye(4)
        turn = torch.cat([torch.cat([rotation(quaternion), turn[:3, 3:]], 1), turn[3:]], 0)
        clip = to_clip(points, (projection() @ moved_back(3.5) @ turn)[None])
        rast, _ = dr.rasterize(glctx, clip, triangles, size)
        picture, _ = dr.interpolate(colors[None], rast, single)
        return dr.antialias(picture, rast, clip, triangles)

    def degrees(quaternion: torch.Tensor) -> float:
        between = rotation(quaternion.detach()).T @ rotation(target)
        return torch.rad2deg(torch.arccos((between.trace() - 1).div(2).clamp(-1, 1))).item()

    target = torch.nn.functional.normalize(torch.randn(4), dim=0)
    with torch.no_grad():
        wanted = draw(target)
    guess = (target + 0.12 * torch.randn(4)).requires_grad_()
    before = degrees(guess)
    optimizer = torch.optim.Adam([guess], lr=2e-2)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.02 ** (1 / options.steps))
    for _ in range(options.steps):
        loss = (draw(guess) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    after = degrees(guess)
    print(f"the rotation was {before:.2f} degrees off, and is {after:.2f}")
    return before, after


if __name__ == "__main__":
    main()
