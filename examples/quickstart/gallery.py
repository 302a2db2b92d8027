"""A picture gallery: takes uploads in, makes previews of them."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

_numbers = itertools.count(1)


@dataclass(slots=True)
class Picture:
    """Hold a decoded picture."""

    points: bytearray


#: Decoded pictures by their number, so that a preview need not decode again.
_DECODED: dict[int, Picture] = {}


def upload(encoded: bytes) -> int:
    """Take a picture in and return its number."""
    number = next(_numbers)
    # The mistake: every picture stays here, and nothing takes one out.
    _DECODED[number] = decode(encoded)
    return number


def preview(number: int) -> bytes:
    """Return a small picture made of every 64th point."""
    return bytes(_DECODED[number].points[::64])


def histogram(encoded: bytes) -> Counter[int]:
    """Return how often each brightness occurs."""
    # Imported where it is used: its table takes 8 MiB, and few need it.
    import brightness

    return Counter(brightness.of(point) for point in decode(encoded).points[::4096])


def decode(encoded: bytes) -> Picture:
    """Return the picture, 1,024 times as large as it was sent."""
    return Picture(points=bytearray(encoded) * 1024)
