"""An instant answer to a line that the reader writes before it is shown. Nothing is graded."""

from typing import Any

import torch


def try_it(name: str, value: Any, expected: Any, hint: str) -> None:
    """Print whether ``value``, which the reader computed as ``name``, is ``expected``, up to rounding.

    Both are tensors or (nested) numbers. A line still to be written is a blank, ``...``: then, and when the
    value is wrong, ``hint`` says what to write. Nothing is raised, so a page with blanks runs to its end.
    """
    fault = "not written yet" if value is ... else difference(value, expected)
    print(f"{name}: {fault}. {hint}" if fault else f"{name}: right.")


def difference(value: Any, expected: Any) -> str:
    """How ``value`` differs from ``expected``, in words; nothing where the two agree up to rounding."""
    wanted = torch.as_tensor(expected).detach().cpu().double()
    try:
        found = torch.as_tensor(value).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        return f"not yet: it is of type {type(value).__name__}, but should be numbers"
    if found.shape != wanted.shape:
        return f"not yet: its shape is {tuple(found.shape)}, but should be {tuple(wanted.shape)}"
    if not torch.allclose(found, wanted, rtol=1e-4, atol=1e-5):
        return f"not yet: it is off by up to {(found - wanted).abs().max():.2g}"
    return ""
