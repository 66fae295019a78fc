"""A kernel is optimised and made into machine code together with all that it calls, once.

Numba does both for each function on its own, with what it calls linked in: a helper of a helper of a parallel loop is
optimised five times and made into machine code five times, of which one is run. Here the parts of a kernel are only
linked.
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

from .loops import keep_few_rounds


class KernelCompiler(Compiler):
    """Numba's compiler, for kernels. What it compiles on the way are parts. Loops of up to `few` rounds are left to one
    thread.
    """

    def __init__(self, few: int, typing: Any, target: Any, library: Any, *rest: Any) -> None:
        super().__init__(typing, target, library, *rest)
        self._part = type("Part", (_Part,), {"few": few})
        self.state.library = _Kernel(target.codegen(), "kernel")
        self.state.library.enable_object_caching()

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_HiddenLoops, AnnotateTypes)
        passes.finalize()
        return [passes]

    def compile_extra(self, function: Any) -> Any:
        codegen = self.state.targetctx.codegen()
        before, codegen._library_class = codegen._library_class, self._part  # Numba's lock is held
        try:
            compiled = super().compile_extra(function)
        finally:
            codegen._library_class = before
        for env in compiled._find_referenced_environments():  # as for a kernel from the disk cache
            codegen.set_env(env.env_name, env)
        return compiled


class HelperCompiler(Compiler):
    """Numba's compiler, for helpers that count no references. One that returned an array would hand out memory that its
    caller then frees, so none may.
    """

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_ReturnsNoArray, AnnotateTypes)
        passes.finalize()
        return [passes]


class _Kernel(JITCodeLibrary):
    """The code of a kernel."""

    def _optimize_functions(self, ll_module: Any) -> None:
        """As Numba does, but not for declarations, of which each part has dozens. Newer Numbas make a set of passes for
        each.
        """
        if signature(self._codegen._function_pass_manager).parameters.keys() - {"kwargs"}:  # an older one
            super()._optimize_functions(ll_module)
            return
        ll_module.data_layout = self._codegen._data_layout
        passes, builder = self._codegen._function_pass_manager()
        for function in ll_module.functions:
            if not function.is_declaration:
                passes.run(function, builder)

    def serialize_using_object_code(self) -> tuple[str, str, tuple[bytes, bytes]]:
        """Its machine code, with functions of the same names that do nothing in the place of LLVM's code: reading that
        again takes longer than the machine code, and serves those who link it into something else, which nobody does.
        """
        self._ensure_finalized()
        names, nothing = ir.Module(), ir.FunctionType(ir.VoidType(), ())
        for function in self.get_defined_functions():
            ir.IRBuilder(ir.Function(names, nothing, function.name).append_basic_block()).ret_void()
        return self.name, "object", (self._get_compiled_object(), binding.parse_assembly(str(names)).as_bitcode())


class _Part(_Kernel):
    """The code of a helper or of a parallel loop, as Numba wrote it, for kernels to link. It is made into machine code
    of its own only where Python can call it, as it can a user's helper.
    """

    few = 1
    _finished = False

    def add_ir_module(self, module: Any) -> None:
        keep_few_rounds(module, self.few)
        super().add_ir_module(module)

    def get_pointer_to_function(self, name: str) -> int:
        """The address of what Python would call; 0 where there is nothing for Python."""
        self._ensure_finalized()
        if not self._finished:
            try:
                self._final_module.get_function(name)
            except NameError:
                return 0
            self._finished = True
            self._optimize_final_module()
            self._finalize_final_module()
        return super().get_pointer_to_function(name)

    def _optimize_final_module(self) -> None:
        if self._finished:
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        if self._finished:
            super()._finalize_final_module()
        else:
            self._finalize_dynamic_globals()
            self._finalized = True

    @property
    def codegen(self) -> Any:
        return self._codegen if self._finished else _NoEngine(self._codegen)


class _NoEngine:
    """The code generator, for what is not in its engine."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, env: Any) -> None:
        """Nothing: a kernel has its own place for the environments of its parts."""


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
            raise TypeError(f"A helper that returns an array must be @allocating. {name} is @inline.")
        return False


@register_pass(mutates_CFG=False, analysis_only=True)
class _HiddenLoops(AnalysisPass):
    """Numba makes each parallel loop a function that Python could call. Nobody does."""

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
