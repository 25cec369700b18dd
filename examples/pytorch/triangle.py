"""A triangle of three colours, by nvdiffrast's names: `python examples/pytorch/triangle.py`."""

from __future__ import annotations

import argparse

import numpy as np
import torch

import jaxrender.torch.nvdiffrast as dr


def main(argv: list[str] | None = None) -> np.ndarray:
    """Draws it; returns the picture, row 0 at the top."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--output", default=None, help="a .png")
    options = parser.parse_args(argv)

    corners = torch.tensor([[[-0.7, -0.7, 0, 1], [0.7, -0.7, 0, 1], [0.0, 0.7, 0, 1]]])
    colors = torch.eye(3)[None]
    triangles = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    glctx = dr.RasterizeCudaContext()
    rast, _ = dr.rasterize(glctx, corners, triangles, (options.size, options.size))
    picture, _ = dr.interpolate(colors, rast, triangles)
    picture = dr.antialias(picture, rast, corners, triangles)
    picture = picture[0].flip(0).numpy()
    if options.output:
        from jaxrender import io

        io.save_image(options.output, picture)
    return picture


if __name__ == "__main__":
    main()
