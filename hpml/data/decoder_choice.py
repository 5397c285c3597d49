"""Which decoder is used, of those that `data.decoder` names."""

from typing import Literal

from hpml.data import turbo_jpeg
from hpml.errors import DataError

DecoderName = Literal["auto", "pillow", "turbo"]
Used = Literal["pillow", "turbo"]


def choose(wanted: DecoderName) -> Used:
    """What `data.decoder` comes to. Raises DataError for `turbo` where it cannot be."""
    if wanted == "pillow":
        return "pillow"
    if turbo_jpeg.simplejpeg is None:
        reason = 'no simplejpeg is installed; pip install "hpml[turbo]"'
    elif not turbo_jpeg.gives_pillows_pixels():
        reason = "simplejpeg does not give this Pillow's pixels; give data.decoder=pillow"
    else:
        return "turbo"
    if wanted == "turbo":
        raise DataError(f"data.decoder=turbo: {reason}")
    return "pillow"
