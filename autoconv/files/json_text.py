"""Parses JSON from untrusted files, after checking its size.

A byte of JSON can become 25 bytes of Python objects, and a byte of a compressed archive can become
1,000 bytes of JSON. Each value needs a comma or an opening bracket, so these are counted first.
"""

import json
from typing import IO, Any

JsonObject = dict[str, Any]  # a parsed JSON object, or a dict to write as JSON

LARGEST = 2**24  # maximum bytes of a JSON text
VALUES = 500_000  # maximum number of values; a Keras model of 2,000 layers has 200,000


def parse(text: bytes | str, times: float = 1) -> Any:
    """Parses JSON. Raises ValueError if it is invalid, too deep or over `times` the limits."""
    if len(text) > times * LARGEST:
        raise ValueError(f"the JSON has {len(text):,} bytes, but at most {int(times * LARGEST):,} are allowed")
    if isinstance(text, bytes):
        text = text.decode()
    count = sum(text.count(mark) for mark in ",[{")
    if count > times * VALUES:
        raise ValueError(f"the JSON has up to {count:,} values, but at most {int(times * VALUES):,} are allowed")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def safetensors_header(file: IO[bytes], times: float = 1) -> Any:
    """Parses the header of a safetensors file. Raises ValueError in the same cases as `parse`."""
    length = int.from_bytes(file.read(8), "little")
    return parse(file.read(min(length, int(times * LARGEST) + 1)), times)
