"""Write the digests of the pixels of fixed keys: ``python -m aubench._maintain.pin_pixels``.

They are part of the id of synfacs 2, so that a change of code that changes a pixel changes the id.
"""

from __future__ import annotations

import hashlib
import json
import sys

from aubench.storage.files import write_text
from aubench.synfacs2.anatomy.head import PIXELS
from aubench.synfacs2.render import render_key

KEYS = (
    "S00001/studio-1/neutral",
    "S00002/studio-2/1=2.0+2=3.0+4=4.0",
    "S00003/studio-3/6=4.0+7=2.0+12=5.0",
    "S00005/studio-4/10=3.0+14=4.0+23=2.0",
    "S02008/studio-5/12=4.0+15=4.0+17=3.0+24=1.0",
    "S00013/wild-6/neutral",
    "S02021/wild-7/1=3.0+4=3.0+15=3.0",
    "S00034/wild-8/6=5.0+12=5.0",
    "S00055/wild-9/2=1.0+10=5.0+17=5.0",
    "S12345/wild-13/7=4.0+14=5.0+24=5.0",
)


def digests() -> dict[str, str]:
    """Return the SHA-256 of the pixels of each key at 128 px, uint8 RGB."""
    return {key: hashlib.sha256(render_key(key).tobytes()).hexdigest() for key in KEYS}


def main() -> None:
    """Render the keys and write the file."""
    write_text(PIXELS, json.dumps(digests(), indent=1) + "\n")
    sys.stderr.write(f"{PIXELS}\n")


if __name__ == "__main__":
    main()
