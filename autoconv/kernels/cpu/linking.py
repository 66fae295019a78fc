"""Optimizes a kernel together with all functions that it calls, and compiles them to machine code
once.

Numba itself optimizes and compiles each function separately, with the functions that it calls
linked in. So a helper of a helper of a parallel loop is optimized and compiled to machine code five
times, and only one result is used. Here, a kernel's functions and loops are first linked, and then
optimized and compiled together.
"""

from inspect import signature
from typing import Any

from llvmlite import binding, ir
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.typed_passes import AnnotateTypes
from numba.parfors.parfor import Parfor

from .loops import change_loop


class KernelCompiler(Compiler):
    """The compiler of kernels, derived from Numba's. The functions and loops that a kernel uses
    become `_Part` libraries. Loops of at most `grain` iterations run in one thread.
    """

    def __init__(self, grain: int, typing: Any, target: Any, library: Any, *rest: Any) -> None:
        super().__init__(typing, target, library, *rest)
        self._part = type("Part", (_Part,), {"grain": grain})
        self.state.library = _Kernel(target.codegen(), "kernel")
        self.state.library.enable_object_caching()

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_HiddenLoops, AnnotateTypes)
        passes.finalize()
        return [passes]

    def compile_extra(self, function: Any) -> Any:
        codegen = self.state.targetctx.codegen()
        # Numba holds its compiler lock here, so no other thread uses the replaced class
        previous, codegen._library_class = codegen._library_class, self._part
        try:
            result = super().compile_extra(function)
        finally:
            codegen._library_class = previous
        # register environments, as Numba does for kernels that it loads from the disk cache
        for env in result._find_referenced_environments():
            codegen.set_env(env.env_name, env)
        return result


class HelperCompiler(Compiler):
    """The compiler of helpers that count no references, derived from Numba's. Such a helper must
    not return an array, because the caller would free memory that is still in use.
    """

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_ReturnsNoArray, AnnotateTypes)
        passes.finalize()
        return [passes]


class _Kernel(JITCodeLibrary):
    """The code of a single kernel, as a code library of Numba."""

    def _optimize_functions(self, ll_module: Any) -> None:
        """Optimizes functions as Numba does, but skips the dozens of declarations in each part. For
        each function, even a declared one, newer Numba versions create a pass manager.
        """
        # older Numba versions share one pass manager
        if signature(self._codegen._function_pass_manager).parameters.keys() - {"kwargs"}:
            super()._optimize_functions(ll_module)
            return
        ll_module.data_layout = self._codegen._data_layout
        passes, builder = self._codegen._function_pass_manager()
        for function in ll_module.functions:
            if not function.is_declaration:
                passes.run(function, builder)

    def serialize_using_object_code(self) -> tuple[str, str, tuple[bytes, bytes]]:
        """Serializes the machine code, with empty functions of the same names in place of the LLVM
        IR. Loading the IR would take longer than loading the machine code. The IR would be needed
        only to link a kernel into other code, which never happens.
        """
        self._ensure_finalized()
        stubs, void = ir.Module(), ir.FunctionType(ir.VoidType(), ())
        for function in self.get_defined_functions():
            ir.IRBuilder(ir.Function(stubs, void, function.name).append_basic_block()).ret_void()
        return self.name, "object", (self._get_compiled_object(), binding.parse_assembly(str(stubs)).as_bitcode())


class _Part(_Kernel):
    """The code of a helper or of a parallel loop, as Numba generated it, for kernels to link. It is
    compiled to its own machine code only if Python can call it, as it can call a user's helper.
    """

    grain = 1
    _is_finished = False

    def add_ir_module(self, module: Any) -> None:
        change_loop(module, self.grain)
        super().add_ir_module(module)

    def get_pointer_to_function(self, name: str) -> int:
        """Returns the address of the function that Python calls, or 0 if Python cannot call it."""
        self._ensure_finalized()
        if not self._is_finished:
            try:
                self._final_module.get_function(name)
            except NameError:
                return 0
            self._is_finished = True
            self._optimize_final_module()
            self._finalize_final_module()
        return super().get_pointer_to_function(name)

    def _optimize_final_module(self) -> None:
        if self._is_finished:
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        if self._is_finished:
            super()._finalize_final_module()
        else:
            self._finalize_dynamic_globals()
            self._finalized = True

    @property
    def codegen(self) -> Any:
        return self._codegen if self._is_finished else _NoEngine(self._codegen)


class _NoEngine:
    """A code generator without its execution engine, for code that is not in the engine."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, env: Any) -> None:
        """Does nothing, because the kernel that links this code registers its environments."""


def _has_array(kind: Any) -> bool:
    return isinstance(kind, types.Array) or any(_has_array(part) for part in getattr(kind, "types", ()))


@register_pass(mutates_CFG=False, analysis_only=True)
class _ReturnsNoArray(AnalysisPass):
    _name = "autoconv_returns_no_array"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        if _has_array(state.return_type):
            name = state.func_id.func_name
            raise TypeError("A helper function that returns an array must have the decorator "
                            f"@allocating. {name} has the decorator @inline.")
        return False


@register_pass(mutates_CFG=False, analysis_only=True)
class _HiddenLoops(AnalysisPass):
    """Stops Numba from making each parallel loop callable from Python, which is never needed."""

    _name = "autoconv_hidden_loops"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        for block in state.func_ir.blocks.values():
            for loop in block.body:
                if isinstance(loop, Parfor):
                    loop.flags = loop.flags.copy()
                    loop.flags.no_cpython_wrapper = True
        return True
