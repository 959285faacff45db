"""Run every wrong sampler of the catalogue with the shipped weights, and keep what it draws.

    python scripts/measure_symptoms.py [EXERCISE ...]

Without names: those of all exercises that are run. Writes site/symptoms.json (agreement and spread of 40 digits, and
the share that is read as one and the same digit, or the error) and site/symptoms/*.png (the digits 0 to 9), for the
page that leads from a symptom to its mistakes. What the live page runs is run at each of its settings, with a second
picture where the first hardly shows what is wrong.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from live_page import shows
from torch import Tensor

from diffusion_lib import editing, flow, samplers
from diffusion_lib.data import load_digits
from diffusion_lib.guidance import clipped, conditioned
from diffusion_lib.metrics import in_batches, label_agreement, within_class_spread
from diffusion_lib.showing.player import png
from diffusion_lib.showing.viz import mosaic, to_gray
from diffusion_lib.training.checkpoints import load_classifier, load_pretrained
from grader.catalogue.mistakes import Mistake, build, of
from grader.catalogue.tables import SETTINGS, Setting, every

SITE = Path(__file__).parents[1] / "site"
EXERCISES = ["p_sample", "ddim_step", "guided", "euler_step", "inpaint_step"]
PIECES, INPAINT_STEPS = 16, 25  # of euler_step's straight path; of inpaint_step's walk


class Bench:
    """The shipped model and forty wanted digits."""

    def __init__(self) -> None:
        trained, test = load_pretrained(), load_digits("test")
        self.model, self.schedule, self.classifier = trained.model, trained.schedule, load_classifier()
        self.label = torch.arange(trained.profile.data.num_classes).repeat(4)
        place = [(test.labels == digit).nonzero()[i, 0] for i in range(4) for digit in range(10)]
        self.known = test[torch.stack(place)][0]  # of the wanted labels, for inpaint_step
        self.real_spread = within_class_spread(*test[:])
        self.right: dict[tuple[str, str], Any] = {}  # exercise and setting -> the right sampler's numbers

    def noise(self, one_start: bool = False) -> tuple[Tensor, torch.Generator]:
        """x_T, and the generator that goes on where it ended: all samplers see the same stream. With ``one_start``
        the four digits of a label begin alike.
        """
        generator = torch.Generator().manual_seed(0)
        x_T = torch.randn(len(self.label), *self.model.image_shape, generator=generator)
        return x_T[:10].repeat(4, 1, 1, 1) if one_start else x_T, generator

    def walk(self, guide: Callable[..., Any], how: Setting, step: Callable[..., Tensor] | None = None) -> Tensor:
        """What comes of noise in DDIM's jumps, or in steps of ancestral sampling where ``step`` is given."""
        schedule, kept = every(self.schedule, how.levels)
        schedule, levels = schedule.to("cpu"), torch.tensor(kept)
        guess = clipped(guide(lambda x, t, label: self.model(x, levels[t], label), self.label.clone()), schedule)
        x_T, generator = self.noise(how.one_start)
        if step:
            return samplers.last(samplers.sample_ddpm(guess, schedule, x_T, generator=generator, step=step))
        jumps = how.jumps or how.levels
        return samplers.last(samplers.sample_ddim(guess, schedule, x_T, jumps, eta=how.eta, generator=generator))

    def p_sample(self, step: Callable[..., Tensor], how: Setting) -> Tensor:
        return self.walk(conditioned, how, step)

    def ddim_step(self, step: Callable[..., Tensor], how: Setting) -> Tensor:
        correct, samplers.ddim_step = samplers.ddim_step, step  # type: ignore[assignment]
        try:
            return self.walk(conditioned, how)
        finally:
            samplers.ddim_step = correct

    def guided(self, guide: Callable[..., Any], how: Setting) -> Tensor:
        return self.walk(lambda model, label: guide(model, label, how.scale), how)

    def euler_step(self, step: Callable[..., Tensor], _: None) -> Tensor:
        straight, x_T = load_pretrained("flow"), self.noise()[0]
        correct, flow.euler_step = flow.euler_step, step  # type: ignore[assignment]
        try:
            velocity = conditioned(straight.model, self.label)
            return samplers.last(flow.sample_flow(velocity, straight.schedule, x_T, PIECES))
        finally:
            flow.euler_step = correct

    def inpaint_step(self, step: Callable[..., Tensor], _: None) -> Tensor:
        correct, editing.inpaint_step = editing.inpaint_step, step  # type: ignore[assignment]
        try:
            guess, (x_T, generator) = clipped(conditioned(self.model, None), self.schedule), self.noise()
            mask = torch.zeros(1, 1, *self.known.shape[2:])
            mask[:, :, : mask.shape[2] // 2] = 1  # the upper half is known, and no label is told
            known = (guess, self.schedule, x_T, self.known, mask)
            return samplers.last(editing.sample_inpainting(*known, INPAINT_STEPS, generator=generator))
        finally:
            editing.inpaint_step = correct

    def measure(self, exercise: str, picture: str, *mistakes: Mistake) -> dict[str, Any]:
        """What the sampler with these mistakes draws at each setting, in numbers and at most two pictures."""
        louder: dict[str, Any] = {}
        quiet = bool(mistakes)  # nothing to see so far
        for name, how in SETTINGS.get(exercise, {"usual": None}).items():
            images, seen = self.drawn(exercise, how, *mistakes)
            right = self.right.setdefault((exercise, name), seen)
            file = f"{picture}.png" if name == "usual" else f"{picture}_louder.png"
            if images is not None and (name == "usual" or (quiet and shows(seen, right))):
                (SITE / "symptoms" / file).write_bytes(png(mosaic(to_gray(images[:10]), columns=10)))
                seen = {"picture": file, **seen}
            louder[name], quiet = seen, quiet and not shows(seen, right)
        usual = louder.pop("usual")
        return {**usual, "louder": louder} if louder else usual

    def drawn(self, exercise: str, how: Setting | None, *mistakes: Mistake) -> tuple[Tensor | None, dict[str, Any]]:
        """Forty digits of the sampler with these mistakes, and numbers of them; or no digits, and the error."""
        torch.manual_seed(0)  # for those that draw for themselves
        try:
            images = getattr(self, exercise)(build(exercise, *mistakes), how).clamp(-1, 1)
        except RuntimeError as error:
            return None, {"error": str(error).splitlines()[0]}
        if not images.isfinite().all():
            return None, {"error": "every pixel becomes NaN"}
        readings = in_batches(self.classifier, images).argmax(dim=1)
        return images, {
            "agreement": label_agreement(self.classifier, images, self.label),
            "spread": within_class_spread(images, self.label) / self.real_spread,
            "most": readings.bincount().max().item() / len(readings),
        }


def main() -> None:
    chosen = sys.argv[1:] or EXERCISES
    (SITE / "symptoms").mkdir(exist_ok=True)
    kept = json.loads((SITE / "symptoms.json").read_text(encoding="utf-8"))
    bench, found = Bench(), {name: numbers for name, numbers in kept.items() if name.split("/")[0] not in chosen}
    for exercise in chosen:
        for path in (SITE / "symptoms").glob(f"{exercise}_*.png"):
            path.unlink()
        found[f"{exercise}/correct"] = bench.measure(exercise, f"{exercise}_correct")
        for i, mistake in enumerate(of(exercise), start=1):
            found[mistake.id] = bench.measure(exercise, f"{exercise}_{i:02}", mistake)
    found = {name: found[name] for name in sorted(found, key=lambda name: EXERCISES.index(name.split("/")[0]))}
    (SITE / "symptoms.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, numbers in found.items():
        print(f"{name:<72}", {k: round(v, 2) if isinstance(v, float) else v for k, v in numbers.items()})


if __name__ == "__main__":
    main()
