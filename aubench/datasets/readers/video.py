"""Frames of a video by number, decoded by PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.errors import AubenchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def check_video() -> None:
    """Refuse to go on without PyAV.

    Raises:
        AubenchError: It is not installed.
    """
    from importlib.util import find_spec

    if find_spec("av") is None:
        raise AubenchError("videos need the package av", "`pip install 'aubench[video]'`")


def read_frames(path: Path, numbers: Sequence[int]) -> Iterator[npt.NDArray[np.uint8] | None]:
    """Yield uint8 RGB [H, W, 3] of frames by number from 1, in rising order.

    None for a frame that the decoder cannot give; nothing after the end of the video. A video is
    decoded from its start, since seeking is exact in few containers.
    """
    import av
    import numpy as np

    wanted = list(numbers)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            at = 0
            for number, picture in enumerate(container.decode(stream), 1):
                if at == len(wanted):
                    return
                if number == wanted[at]:
                    yield np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
                    at += 1
    except (av.FFmpegError, OSError, IndexError):
        return
