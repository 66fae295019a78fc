"""Pictures: sound files, hostile ones, and what reads them, for the table in readers.py."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from mutations import Mutant


@cache
def sample(kind: str) -> bytes:
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = (rng.normal(0, 20, (30, 40, 3)) + np.linspace(0, 200, 40)[None, :, None]).clip(0, 255).astype("uint8")
    data, image = io.BytesIO(), Image.fromarray(pixels)
    if kind == "PNG":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.convert("RGBA").save(data, kind, exif=exif)
    else:
        image.save(data, kind)
    return data.getvalue()


def suffixes() -> dict[str, str]:
    from PIL import Image, features

    Image.init()
    found = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif",
             "PPM": ".ppm", "TGA": ".tga", "PCX": ".pcx", "JPEG2000": ".jp2", "AVIF": ".avif"}
    return {kind: suffix for kind, suffix in found.items()
            if kind in Image.SAVE and (kind != "AVIF" or features.check("avif"))}


def reading(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from autoconv import utils
        from autoconv.pictures import reading as pictures

        refused = []
        for look in (lambda path: np.asarray(utils.load_img(path).crop((0, 0, 8, 8))),  # all of it is decoded
                     lambda path: pictures.read(path, (16, 16, 3), "photo")[0].pixels,
                     lambda path: pictures.read(path, (28, 28, 1), "digit")[0].pixels,
                     lambda path: pictures.read(path, (28, 28, 1), "figure")[0].pixels):
            try:
                pixels = look(folder / name)
                assert pixels.ndim == 3
                assert pixels.dtype == np.uint8
            except utils.UnreadableImage as error:
                refused.append(error)
        if refused:
            raise refused[0]

    return read


def png(width: int, height: int, bits: int, kind: int, data: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
            + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def traps() -> Iterator[Mutant]:
    yield "50,000 x 50,000", png(50_000, 50_000, 1, 0, zlib.compress(bytes(1 << 24), 9))
    yield "13,000 x 13,000", png(13_000, 13_000, 8, 2, zlib.compress(bytes(1 << 24), 9))
    yield "4096 x 4096", png(4096, 4096, 8, 6, zlib.compress(bytes(4096 * (4 * 4096 + 1)), 9))
    yield "3000 x 3000", png(3000, 3000, 8, 6, zlib.compress(bytes(3000 * (4 * 3000 + 1)), 1))
    for side in (4470, 6300):  # gray ones, which take a byte a pixel, may be larger
        yield f"{side} x {side} bits", png(side, side, 1, 0, zlib.compress(bytes(side * (side // 8 + 1)), 9))
        yield f"{side} x {side} bytes", png(side, side, 8, 0, zlib.compress(bytes(side * (side + 1)), 9))
    yield "wide", png(2**31 - 1, 1, 8, 6, zlib.compress(bytes(1000)))
    yield "a text of 100 MB", sample("PNG")[:33] + ztxt(100) + sample("PNG")[33:]
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"
    yield "GIF 65,535 x 65,535", sample("GIF").replace(struct.pack("<HH", 40, 30), struct.pack("<HH", 65535, 65535))
    yield "PPM", b"P6 60000 60000 255\n" + bytes(100)
    yield "a PPM of many digits", b"P6 " + b"9" * 100_000
    yield "BMP", sample("BMP")[:18] + struct.pack("<ii", 2**15, 2**15) + sample("BMP")[26:]
    yield "TGA", struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 65535, 65535, 32, 0) + b"\xff" * 2000
    width = struct.Struct("<HHII")  # the tag, its type, how many, the value
    yield "TIFF", sample("TIFF").replace(width.pack(256, 4, 1, 40), width.pack(256, 4, 1, 2**31 - 1))


def ztxt(megabytes: int) -> bytes:
    packed = zlib.compressobj(1)
    data = b"a\0\0" + b"".join(packed.compress(bytes(1 << 20)) for _ in range(megabytes)) + packed.flush()
    return struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
