"""The homework: hand out, check, name the mistake, grade.

In a notebook: ``from diffusion_lib.homework import check``, then ``check("q_sample")``.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "check":
        from diffusion_lib.homework.checks import check

        return check
    raise AttributeError(f"module 'diffusion_lib.homework' has no attribute {name!r}")
