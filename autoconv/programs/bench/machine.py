"""Describes the machine on which a result was measured."""

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

from ...files.json_text import JsonObject
from ...utils.image_dataset import processors

VECTOR_FLAGS = re.compile(r"(sse4|avx|fma|f16c|amx|neon|asimd|sve)")


def describe() -> JsonObject:
    """Returns the machine's processor, vector instructions, memory and system, by name."""
    try:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        memory = None
    return {"cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
            "cpu_flags": sorted(f for f in (_cpuinfo("flags") or _cpuinfo("Features")).split()
                                if VECTOR_FLAGS.match(f)),
            "cpu_family_model_stepping": " ".join(_cpuinfo(key)
                                                  for key in ("cpu family", "model",
                                                              "stepping")).strip(),
            "processors": processors(), "memory_gb": memory,
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "date": datetime.now(UTC).isoformat(timespec="seconds")}


def _cpuinfo(key: str) -> str:
    """Returns the first value of `key` in Linux's /proc/cpuinfo, or "" if there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    found = re.search(rf"^{key}\s*: (.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
