"""Reading and writing picture files, 8 and 16 bits a channel.

PNG, JPEG, TIFF, WebP, GIF and BMP are read; PNG, JPEG and TIFF are written. docs/images.md says what is kept.
"""

from genimg_fast.images._output import Output
from genimg_fast.images._reading import ALPHA, MAX_PIXELS, read
from genimg_fast.images._writing import check_depth, write

__all__ = ["ALPHA", "MAX_PIXELS", "Output", "check_depth", "read", "write"]
