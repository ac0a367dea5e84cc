"""Imports of the board's world: its own modules, sources and builtins, beside those of the CPython that runs it.

A board's module sees the board's `time`, `machine`, `os`, `open` and so on; CPython's own modules go on seeing
CPython's. `await` is taken as MicroPython takes it, of anything that can be iterated, and an OSError of a number has
that number.
"""

import ast
import builtins
import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any


class _Awaitable:
    """What MicroPython would await by iterating it."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def __await__(self) -> Iterator[Any]:
        return iter(self._thing)


def awaitable(thing: Any) -> Any:
    return thing if hasattr(thing, "__await__") else _Awaitable(thing)


def os_error(*args: Any) -> OSError:
    """`OSError(5)` has an errno on MicroPython; here it needs a text for that."""
    if len(args) == 1 and isinstance(args[0], int):
        return OSError(args[0], os.strerror(args[0]))
    return OSError(*args)


class _AsMicroPython(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "OSError":
            node.func = ast.copy_location(ast.Name("__os_error__", ast.Load()), node.func)
        return node

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        call = ast.Call(ast.Name("__awaitable__", ast.Load()), [node.value], [])
        return ast.copy_location(ast.Await(ast.copy_location(call, node)), node)


class BoardLoader:
    """`sources` are files by their name on the board; `modules` are there from the start, or added later, by module
    name.

    `outside` names the modules that CPython has and a board's code may have too.
    """

    def __init__(self, sources: Mapping[str, Path], given: Mapping[str, Any]) -> None:
        self.modules: dict[str, Any] = dict(given)
        self._sources = dict(sources)
        self._builtins = {
            **vars(builtins),
            "__import__": self._import,
            "__awaitable__": awaitable,
            "__os_error__": os_error,
        }

    def define(self, **names: Any) -> None:
        """Builtins of modules that are loaded from now on."""
        self._builtins = {**self._builtins, **names}

    def load(self, name: str) -> Any:
        """A module by its full name, with those above it. Raises ImportError."""
        if name in self.modules:
            return self.modules[name]
        parent, _, last = name.rpartition(".")
        above = self.load(parent) if parent else None
        path = name.replace(".", "/")
        for board in (path + ".py", path + "/__init__.py"):
            if board in self._sources:
                module = self._run(name, self._sources[board], package=board.endswith("__init__.py"))
                break
        else:
            module = importlib.import_module(name)
            self.modules[name] = module
        if above is not None:
            setattr(above, last, module)
        return module

    def run_main(self, board: str) -> bool:
        """Run a source as a program, if there is one of this name."""
        if board not in self._sources:
            return False
        self._run("__main__", self._sources[board], package=False)
        return True

    def _run(self, name: str, source: Path, *, package: bool) -> ModuleType:
        module = ModuleType(name)
        module.__dict__["__builtins__"] = self._builtins
        module.__dict__["__file__"] = str(source)
        if package:
            module.__dict__["__path__"] = []
        self.modules[name] = module
        tree = ast.fix_missing_locations(_AsMicroPython().visit(ast.parse(source.read_text(), str(source))))
        try:
            exec(compile(tree, str(source), "exec"), module.__dict__)  # noqa: S102 -- the firmware, as a board runs it
        except BaseException:
            del self.modules[name]
            raise
        return module

    def _import(self, name: str, _globals: Any = None, _locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level:
            raise ImportError("relative imports are not for the board")
        module = self.load(name)
        if not fromlist:
            return self.modules[name.partition(".")[0]] if "." in name else module
        for wanted in fromlist:
            if wanted != "*" and not hasattr(module, wanted):
                self.load(f"{name}.{wanted}")
        return module
