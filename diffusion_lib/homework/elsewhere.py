"""Call a function that lies at the other end of two pipes, as if it were here; its code stays where it is.

Tests meet the function under test in this way only, at home and when they are graded. Over the pipes go tensors,
numbers, the tables of a schedule, and with every message the state of torch's random numbers: what a test seeds holds
for the function too. A model stays with its test, and the function calls it through the pipes. So do gradients travel.
"""

import builtins
import json
import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from typing import Any, BinaryIO

import torch
from safetensors.torch import load, save
from torch import Tensor

from diffusion_lib.schedules import NoiseSchedule

MOST_BYTES = 64 * 2**20  # of one message
LENGTHS = struct.Struct("<QQ")


class Wire:
    """One end of a connection: a message is a JSON object and tensors."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self.reader, self.writer = reader, writer

    def send(self, told: dict[str, Any], tensors: Sequence[Tensor] = ()) -> None:
        """Send ``told`` and copies of the tensors."""
        text = json.dumps(told).encode()
        named = {str(i): tensor.detach().cpu().contiguous().clone() for i, tensor in enumerate(tensors)}
        data = save({**named, "random": torch.get_rng_state()})
        self.writer.write(LENGTHS.pack(len(text), len(data)) + text + data)
        self.writer.flush()

    def receive(self) -> tuple[dict[str, Any], list[Tensor]]:
        """The next message; raises EOFError where the other end has closed."""
        text, data = LENGTHS.unpack(self._exactly(LENGTHS.size))
        if text + data > MOST_BYTES:
            raise EOFError(f"a message of {text + data} bytes is too long; {MOST_BYTES} are allowed")
        told, named = json.loads(self._exactly(text)), load(self._exactly(data))
        torch.set_rng_state(named.pop("random"))
        return told, [named[str(i)] for i in range(len(named))]

    def _exactly(self, count: int) -> bytes:
        got = self.reader.read(count)
        if len(got) < count:
            raise EOFError("the function under test is gone")
        return got

    def close(self) -> None:
        """Close both pipes; the other end reads to the end, and no further."""
        for pipe in (self.writer, self.reader):
            with suppress(OSError):
                pipe.close()


def _packed(value: Any, tensors: list[Tensor], models: list[Any]) -> Any:
    """``value`` as JSON, its tensors put into ``tensors`` and what can be called into ``models``."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if value is None or isinstance(value, bool | int | float | str):
        return {"plain": value}
    if is_dataclass(value) and not isinstance(value, type):
        return {"tables": {f.name: _packed(getattr(value, f.name), tensors, models) for f in fields(value)}}
    if callable(value):
        models.append(value)
        return {"model": len(models) - 1}
    raise TypeError(f"a function under test takes tensors, numbers, a schedule and a model, not {type(value).__name__}")


def _unpacked(told: Any, tensors: list[Tensor], model: Callable[[int], Any]) -> Any:
    """What :func:`_packed` packed, with ``model`` of its number for what can be called."""
    [(kind, value)] = told.items()
    if kind == "tables":
        return NoiseSchedule(**{name: _unpacked(table, tensors, model) for name, table in value.items()})
    return {"tensor": lambda: tensors[value], "plain": lambda: value, "model": lambda: model(value)}[kind]()


def _all_packed(inputs: Sequence[Any], named: dict[str, Any], tensors: list[Tensor], models: list[Any]) -> Any:
    """The arguments of a call, and which of their tensors need a gradient."""
    told = {
        "inputs": [_packed(value, tensors, models) for value in inputs],
        "named": {name: _packed(value, tensors, models) for name, value in named.items()},
    }
    return told | {"leaves": [tensor.requires_grad for tensor in tensors], "grad": torch.is_grad_enabled()}


def _all_unpacked(told: Any, tensors: list[Tensor], model: Callable[[int], Any]) -> tuple[list[Any], dict[str, Any]]:
    inputs = [_unpacked(value, tensors, model) for value in told["inputs"]]
    return inputs, {name: _unpacked(value, tensors, model) for name, value in told["named"].items()}


def _no_model(number: int) -> Any:
    raise TypeError("a model is not given back")


class Elsewhere:
    """A function under test, as its tests see it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Call it, answering what it asks of a model; raises what it raised, or what the model raised."""
        tensors: list[Tensor] = []
        models: list[Any] = []
        self._wire.send(_all_packed(inputs, named, tensors, models), tensors)
        leaves = [tensor for tensor in tensors if tensor.requires_grad]
        raised: BaseException | None = None
        while True:
            told, got = self._wire.receive()
            if "asks" in told:
                raised = self._answer(models[told["asks"]], told, got, leaves)
            elif "raised" in told:
                raise raised or _error(told)
            else:
                result = _unpacked(told["result"], got, _no_model)
                return _Joined.apply(result, self._wire, told["graph"], *leaves) if "graph" in told else result

    def _answer(self, model: Any, told: Any, got: list[Tensor], leaves: list[Tensor]) -> BaseException | None:
        """Call the test's own model, and give its answer back; or the error that it raised."""
        inputs, named = _all_unpacked(told, got, _no_model)
        tensors: list[Tensor] = []
        try:
            with torch.set_grad_enabled(told["grad"]):
                answer = getattr(model, told["method"])(*inputs, **named)
            packed = _packed(answer if told["method"] == "__call__" else None, tensors, [])
        except BaseException as error:
            self._wire.send({"raised": type(error).__name__, "words": "the model raised an error"})
            return error
        self._wire.send({"answer": packed, "leaves": [tensor.requires_grad for tensor in tensors]}, tensors)
        leaves += [tensor for tensor in tensors if tensor.requires_grad]
        return None


class _Joined(torch.autograd.Function):
    """A result from elsewhere, joined to what it was made of here."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, wire: Wire, graph: int, *leaves: Tensor) -> Tensor:
        ctx.wire, ctx.graph = wire, graph
        return result.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        ctx.wire.send({"graph": ctx.graph}, [gradient])
        told, got = ctx.wire.receive()
        return None, None, None, *(got.pop(0) if there else None for there in told["there"])


def _error(told: Any) -> Exception:
    """What a function elsewhere raised: one of Python's own exceptions by its name, else a RuntimeError."""
    kind = getattr(builtins, told["raised"], None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with suppress(TypeError):  # a few need more than words
            return kind(told["words"])
    return RuntimeError(told["words"])


class _Model:
    """A test's model, as the function under test sees it."""

    def __init__(self, wire: Wire, number: int, leaves: list[Tensor]) -> None:
        self._wire, self._number, self._leaves = wire, number, leaves

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return self._do("__call__", inputs, named)

    def eval(self) -> "_Model":
        """Into evaluation mode."""
        self._do("eval", (), {})
        return self

    def train(self, mode: bool = True) -> "_Model":
        """Into training mode, or out of it."""
        self._do("train", (mode,), {})
        return self

    def _do(self, method: str, inputs: Sequence[Any], named: dict[str, Any]) -> Any:
        tensors: list[Tensor] = []
        asked = _all_packed(inputs, named, tensors, [])
        self._wire.send({"asks": self._number, "method": method, **asked}, tensors)
        told, got = self._wire.receive()
        if "raised" in told:
            raise RuntimeError(told["words"])
        self._leaves += _leaves(told, got)
        return _unpacked(told["answer"], got, _no_model)


def _leaves(told: Any, tensors: list[Tensor]) -> list[Tensor]:
    """Those of the tensors that need a gradient, told so."""
    return [tensor.requires_grad_() for tensor, wanted in zip(tensors, told["leaves"], strict=True) if wanted]


def answer(function: Callable[..., Any], wire: Wire) -> None:
    """Answer the calls of ``function`` that come over ``wire`` until its other end closes."""
    graphs: list[tuple[Tensor, list[Tensor]]] = []
    with suppress(EOFError, BrokenPipeError):
        while True:
            told, tensors = wire.receive()
            if "graph" in told:
                result, leaves = graphs[told["graph"]]
                found = torch.autograd.grad(result, leaves, tensors[0], retain_graph=True, allow_unused=True)
                wire.send({"there": [g is not None for g in found]}, [g for g in found if g is not None])
            else:
                _call(function, wire, told, tensors, graphs)


def _call(function: Any, wire: Wire, told: Any, tensors: list[Tensor], graphs: list[Any]) -> None:
    """Call ``function`` once, and send what it returned or raised."""
    leaves = _leaves(told, tensors)
    try:
        inputs, named = _all_unpacked(told, tensors, lambda number: _Model(wire, number, leaves))
        with torch.set_grad_enabled(told["grad"]):
            result = function(*inputs, **named)
        sent: list[Tensor] = []
        packed = _packed(result, sent, [])
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        wire.send({"raised": type(error).__name__, "words": str(error)[:500]})
        return
    if isinstance(result, Tensor) and result.requires_grad:
        wire.send({"result": packed, "graph": len(graphs)}, sent)
        graphs.append((result, leaves))
    else:
        wire.send({"result": packed}, sent)


@contextmanager
def under_test(function: Callable[..., Any]) -> Iterator[Elsewhere]:
    """``function`` at the other end of two pipes, in a thread of this process."""
    (asked, ask), (told, tell) = os.pipe(), os.pipe()
    here = Wire(os.fdopen(told, "rb"), os.fdopen(ask, "wb"))
    there = Wire(os.fdopen(asked, "rb"), os.fdopen(tell, "wb"))
    thread = threading.Thread(target=_until_closed, args=(function, there), daemon=True)
    thread.start()
    try:
        yield Elsewhere(here)
    finally:
        here.close()
        thread.join()


def _until_closed(function: Callable[..., Any], wire: Wire) -> None:
    try:
        answer(function, wire)
    finally:
        wire.close()
