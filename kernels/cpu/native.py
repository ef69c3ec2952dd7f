"""Compiled functions and the few machine primitives numba has no word for: a clock, atomics, a store fence."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

CLOCK_MONOTONIC = 1  # time.perf_counter's clock on Linux (clock_gettime(2))
# about 20 µs of spinning before a waiter offers its CPU to others: it only does where fewer CPUs than threads run
SPINS_BEFORE_YIELD = 1024

_WORD = ir.IntType(64)
_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.intp))
_sched_yield = types.ExternalFunction("sched_yield", types.int32())


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: a numba function that runs without the GIL, kept in numba's cache where a folder can be written.

    numba refuses to decorate at all where neither the source's folder nor the user's cache folder is writable
    (a read-only container without HOME); there the function is compiled anew in every process.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(nogil=True, **options)(function)

    return decorate


def emitted(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: a function of these numba types for compiled code, whose body emits LLVM.

    The body gets the builder and the values, and returns the value of the result, or nothing if `result` is void.
    """

    def decorate(emit: Callable[..., Any]) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> Any:
            value = emit(builder, *values)
            return context.get_dummy_value() if value is None else value

        def typer(_context: Any, *_types: Any) -> Any:
            return result(*arguments), generate

        typer.__doc__ = emit.__doc__
        typer.__name__ = emit.__name__
        # numba reads the number of arguments from here
        names = ("context", *(f"argument{place}" for place in range(len(arguments))))
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        vars(typer)["__signature__"] = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        return intrinsic(typer)

    return decorate


def assembly(builder: ir.IRBuilder, kind: ir.FunctionType, text: str, constraints: str, values: list[Any]) -> Any:
    """Emit inline assembly that is never moved or dropped; the result if `kind` has one."""
    llvmlite.binding.initialize_native_asmparser()  # numba initialises only the printer; a second time does nothing
    return builder.asm(kind, text, constraints, values, side_effect=True)


@emitted(types.int64, types.intp)
def load_word(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """The signed 64-bit integer at `address`."""
    return builder.load(builder.inttoptr(address, _WORD.as_pointer()), align=8)


@emitted(types.int64, types.intp)
def load_acquire(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """The 64-bit integer at `address`, read anew each time and before whatever follows."""
    return builder.load_atomic(builder.inttoptr(address, _WORD.as_pointer()), "acquire", 8)


@emitted(types.int64, types.intp, types.int64)
def fetch_add(builder: ir.IRBuilder, address: ir.Value, amount: ir.Value) -> ir.Value:
    """Add to the 64-bit integer at `address` atomically; its value before."""
    return builder.atomic_rmw("add", builder.inttoptr(address, _WORD.as_pointer()), amount, "seq_cst")


@emitted(types.void)
def fence(builder: ir.IRBuilder) -> None:
    """Return when every store before it, streaming ones included, is visible to all CPUs."""
    if platform.machine() == "x86_64":
        # LLVM may spell its own fence as a locked instruction; for streaming stores the manuals name this one
        assembly(builder, ir.FunctionType(ir.VoidType(), []), "sfence", "~{memory}", [])
    else:
        builder.fence("seq_cst")


@compiled()
def monotonic_ns(room: int) -> int:
    """Nanoseconds of the monotonic clock; `room` is the address of 16 bytes that only this thread uses."""
    _clock_gettime(CLOCK_MONOTONIC, room)
    seconds: int = load_word(room)
    nanoseconds: int = load_word(room + 8)
    return seconds * 1_000_000_000 + nanoseconds


@compiled()
def rendezvous(counter: int, target: int) -> None:
    """Count this thread in at address `counter` and return when the count has reached `target`."""
    fetch_add(counter, 1)
    spins = 0
    while load_acquire(counter) < target:
        spins += 1
        if spins % SPINS_BEFORE_YIELD == 0:
            _sched_yield()
