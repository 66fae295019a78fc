"""Encodes pixels as PNG (ISO/IEC 15948). Needs only zlib, not Pillow."""

import struct
import zlib

import numpy as np


def encode(pixels: np.ndarray) -> bytes:
    """Encodes bytes (H, W, 1) or (H, W, 3) as PNG, as a gray picture if all channels are equal."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        raise ValueError("A PNG needs uint8 pixels of shape (H, W, 1) or (H, W, 3), and at least "
                         f"one pixel. Received: {pixels.dtype} pixels of shape {pixels.shape}.")
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # a row starts with its filter type
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts)
