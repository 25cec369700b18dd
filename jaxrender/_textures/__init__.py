"""Textures: what colour each face has where.

`base.py` says what a texture is, `kinds.py` which kinds there are, `sample.py` reads them. Of the
arithmetic, `reading.py` has which texels a point reads, and `quarters.py` how textures are cut in
four; `bake.py` makes texels of faces of other kinds, `joining.py` one texture of several,
`instances.py` that of shapes drawn many times, and `footprint.py` tells a texture how fast it
changes on screen. `program.py` is what rasterisers run. Of the kinds those are listed here that
other modules know by name; a new one need not be.

Each says how its colours are encoded: "display", sRGB as in picture files, or "linear". They are
interpolated, lit and blended as they are, and the picture has the encoding of its texture; see
`jaxrender.to_display` and `jaxrender.to_linear`. It says nothing of features.
"""

from jaxrender._textures.base import Texture
from jaxrender._textures.kinds import FaceCubes, FaceTexels, UVTexture, VertexColors
from jaxrender._textures.reading import FILTERS, WRAPS
from jaxrender._textures.sample import (
    as_texture,
    channels,
    check_texture,
    encoding_of,
    sample_texture,
    taps,
)

__all__ = [
    "FILTERS",
    "WRAPS",
    "FaceCubes",
    "FaceTexels",
    "Texture",
    "UVTexture",
    "VertexColors",
    "as_texture",
    "channels",
    "check_texture",
    "encoding_of",
    "sample_texture",
    "taps",
]
