"""Counts how large and how entangled the package is: `python tests/support/structure.py [CHECKOUT]` prints the counts.

`test_structure.py` holds each count to its limit. A change that lowers a count lowers the limit with it.
"""

import ast
import re
import sys
from collections import Counter
from pathlib import Path

APART = ("kernels", "programs", "pictures")  # what is run, and what computes
LONG_FILE, LONG_FUNCTION, SHORT_HELPER, WIDE_LINE = 450, 40, 6, 100


def counts(checkout: Path) -> dict[str, int]:
    package = checkout / "autoconv"
    texts = {path.relative_to(package): path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    lines = {path: text.count("\n") for path, text in texts.items()}
    core = [path for path in lines if path.parts[0] not in APART and not path.name.startswith("onnx")]
    return {
        "lines": sum(lines.values()),
        "lines without kernels, commands and ONNX": sum(lines[path] for path in core),
        f"files over {LONG_FILE} lines": sum(count > LONG_FILE for count in lines.values()),
        f"functions over {LONG_FUNCTION} lines": sum(_length(node) > LONG_FUNCTION for node in functions),
        f"private helpers of at most {SHORT_HELPER} lines that are called once": _called_once(functions, nodes),
        f"lines over {WIDE_LINE} columns": sum(
            len(line) > WIDE_LINE for text in texts.values() for line in text.split("\n")),
        "assignments of a tuple to a tuple": sum(map(_is_parallel, nodes)),
        "Any": sum(len(re.findall(r"\bAny\b", text)) for text in texts.values()),
        "classes that override __setattr__": sum(_defines(node, "__setattr__") for node in classes),
        "classes that change their subclasses": sum(_defines(node, "__init_subclass__") for node in classes),
        "names of several classes": sum(count > 1 for count in Counter(
            node.name for node in classes if not node.name.startswith("_")).values()),
        "names of several files": sum(count > 1 for name, count in Counter(
            path.name for path in lines if "kernels" not in path.parts).items() if name != "__init__.py"),
        "entries at the top of the package": sum(not path.name.startswith("_") for path in package.iterdir()),
    }


def _length(function: ast.FunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _called_once(functions: list[ast.FunctionDef], nodes: list[ast.AST]) -> int:
    read = Counter(node.id if isinstance(node, ast.Name) else node.attr for node in nodes
                   if isinstance(node, ast.Name | ast.Attribute))
    return sum(node.name.startswith("_") and not node.name.startswith("__") and read[node.name] == 1
               and _length(node) <= SHORT_HELPER for node in functions)


def _is_parallel(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Tuple)


def _defines(node: ast.ClassDef, name: str) -> bool:
    return any(isinstance(each, ast.FunctionDef) and each.name == name for each in node.body)


if __name__ == "__main__":
    checkout = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2]
    for what, count in counts(checkout).items():
        sys.stdout.write(f"{count:8,}  {what}\n")
