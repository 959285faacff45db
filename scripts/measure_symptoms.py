"""Run every wrong sampler of the catalogue with the shipped weights, and keep what it draws.

    python scripts/measure_symptoms.py [EXERCISE ...]

Without names: those of all exercises that are run. Writes site/symptoms.json (agreement and spread of 40 digits, or the
error) and site/symptoms/*.png (the digits 0 to 9), for the page that leads from a symptom to its mistakes.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion_lib import editing, flow, samplers
from diffusion_lib.data import load_digits
from diffusion_lib.guidance import clipped, conditioned
from diffusion_lib.metrics import label_agreement, within_class_spread
from diffusion_lib.schedules import NoiseSchedule
from diffusion_lib.showing.player import png
from diffusion_lib.showing.viz import mosaic, to_gray
from diffusion_lib.training.checkpoints import load_classifier, load_pretrained
from grader.catalogue.mistakes import Mistake, build, of

SITE = Path(__file__).parents[1] / "site"
LEVELS = 100  # of the 1000 levels, for p_sample
DDIM_STEPS, SCALE = 25, 1.5
EXERCISES = ["p_sample", "ddim_step", "guided", "euler_step", "inpaint_step"]
PIECES = 16  # of a straight path, for euler_step


class Bench:
    """The shipped model and forty wanted digits."""

    def __init__(self) -> None:
        trained, test = load_pretrained(), load_digits("test")
        self.model, self.schedule, self.classifier = trained.model, trained.schedule, load_classifier()
        self.label = torch.arange(trained.profile.data.num_classes).repeat(4)
        place = [(test.labels == digit).nonzero()[i, 0] for i in range(4) for digit in range(10)]
        self.known = test[torch.stack(place)][0]  # of the wanted labels, for inpaint_step
        self.real_spread = within_class_spread(*test[:])
        self.kept = torch.linspace(0, len(self.schedule) - 1, LEVELS).round().long()
        alpha_bar = self.schedule.alphas_cumprod.double()[self.kept]
        before = torch.cat([torch.ones(1).double(), alpha_bar[:-1]])
        self.short = NoiseSchedule.from_betas(1 - alpha_bar / before).to("cpu")

    def noise(self) -> tuple[Tensor, torch.Generator]:
        """x_T, and the generator that goes on where it ended: all samplers see the same stream."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(len(self.label), *self.model.image_shape, generator=generator), generator

    def p_sample(self, step: Callable[..., Tensor]) -> Tensor:
        guess = clipped(lambda x, t: self.model(x, self.kept[t], self.label), self.short)
        x_T, generator = self.noise()
        return samplers.last(samplers.sample_ddpm(guess, self.short, x_T, generator=generator, step=step))

    def ddim_step(self, step: Callable[..., Tensor]) -> Tensor:
        correct, samplers.ddim_step = samplers.ddim_step, step  # type: ignore[assignment]
        try:
            return self.ddim(conditioned(self.model, self.label))
        finally:
            samplers.ddim_step = correct

    def euler_step(self, step: Callable[..., Tensor]) -> Tensor:
        straight, (x_T, _) = load_pretrained("flow"), self.noise()
        correct, flow.euler_step = flow.euler_step, step  # type: ignore[assignment]
        try:
            velocity = conditioned(straight.model, self.label)
            return samplers.last(flow.sample_flow(velocity, straight.schedule, x_T, PIECES))
        finally:
            flow.euler_step = correct

    def inpaint_step(self, step: Callable[..., Tensor]) -> Tensor:
        correct, editing.inpaint_step = editing.inpaint_step, step  # type: ignore[assignment]
        try:
            guess, (x_T, generator) = clipped(conditioned(self.model, None), self.schedule), self.noise()
            mask = torch.zeros(1, 1, *self.known.shape[2:])
            mask[:, :, : mask.shape[2] // 2] = 1  # the upper half is known, and no label is told
            known = (guess, self.schedule, x_T, self.known, mask)
            return samplers.last(editing.sample_inpainting(*known, DDIM_STEPS, generator=generator))
        finally:
            editing.inpaint_step = correct

    def guided(self, guide: Callable[..., Any]) -> Tensor:
        return self.ddim(guide(self.model, self.label.clone(), SCALE))

    def ddim(self, eps_model: Any) -> Tensor:
        guess, (x_T, generator) = clipped(eps_model, self.schedule), self.noise()
        return samplers.last(samplers.sample_ddim(guess, self.schedule, x_T, DDIM_STEPS, eta=1.0, generator=generator))

    def measure(self, exercise: str, picture: str, *mistakes: Mistake) -> dict[str, Any]:
        """What the sampler with these mistakes draws, in numbers; its digits as a picture."""
        try:
            images = getattr(self, exercise)(build(exercise, *mistakes)).clamp(-1, 1)
        except RuntimeError as error:
            return {"error": str(error).splitlines()[0]}
        if not images.isfinite().all():
            return {"error": "every pixel becomes NaN"}
        (SITE / "symptoms" / picture).write_bytes(png(mosaic(to_gray(images[:10]), columns=10)))
        return {
            "picture": picture,
            "agreement": label_agreement(self.classifier, images, self.label),
            "spread": within_class_spread(images, self.label) / self.real_spread,
        }


def main() -> None:
    chosen = sys.argv[1:] or EXERCISES
    (SITE / "symptoms").mkdir(exist_ok=True)
    kept = json.loads((SITE / "symptoms.json").read_text(encoding="utf-8"))
    bench, found = Bench(), {name: numbers for name, numbers in kept.items() if name.split("/")[0] not in chosen}
    for exercise in chosen:
        for path in (SITE / "symptoms").glob(f"{exercise}_*.png"):
            path.unlink()
        found[f"{exercise}/correct"] = bench.measure(exercise, f"{exercise}_correct.png")
        for i, mistake in enumerate(of(exercise), start=1):
            found[mistake.id] = bench.measure(exercise, f"{exercise}_{i:02}.png", mistake)
    found = {name: found[name] for name in sorted(found, key=lambda name: EXERCISES.index(name.split("/")[0]))}
    (SITE / "symptoms.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, numbers in found.items():
        print(f"{name:<72}", {k: v if isinstance(v, str) else round(v, 2) for k, v in numbers.items()})


if __name__ == "__main__":
    main()
