"""No float64 leaves the CPU: Apple's GPUs take none. The meta device stands in for a GPU; it computes shapes alone."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffusion_lib.data import load_stand_in
from diffusion_lib.diffusion import ddpm_loss
from diffusion_lib.metrics import frechet_distance
from diffusion_lib.profiles import PROFILES
from diffusion_lib.samplers import generate, last, sample_ddpm, sdedit
from diffusion_lib.schedules import make_schedule
from diffusion_lib.training.checkpoints import load_classifier, load_pretrained
from diffusion_lib.training.loop import Trainer
from diffusion_lib.unet import UNet

META = torch.device("meta")


class NoFloat64OffTheCPU(TorchDispatchMode):
    """Raises TypeError, as Apple's driver does, at the first float64 tensor that is made elsewhere."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "cpu" and tensor.dtype == torch.float64:
                raise TypeError(f"float64 on {tensor.device}, by {func}")
        return out


def test_the_stand_in_for_a_gpu_refuses_float64():
    with NoFloat64OffTheCPU(), pytest.raises(TypeError, match="float64 on meta"):
        torch.zeros(3, dtype=torch.float64).to(META)


@pytest.mark.parametrize("name", ["tiny", "laptop"])
def test_sampling_and_loss_stay_in_float32(name):
    profile = PROFILES[name]
    model, exact = UNet(profile.unet).to(META), make_schedule(profile.schedule)
    images, label = torch.zeros(2, 1, 28, 28, device=META), torch.zeros(2, dtype=torch.long, device=META)
    with NoFloat64OffTheCPU():
        for schedule in (exact.to(META), exact):  # moved, and left behind in float64 on the CPU
            assert generate(model, schedule, label, 2, guidance_scale=1.5).device.type == "meta"
            last(sdedit(model, schedule, images, label, 5, images, 2))
            next(sample_ddpm(model, schedule, images))
            assert ddpm_loss(model, schedule, images, label).dtype == torch.float32


@pytest.mark.parametrize("levels", ["uniform", "amplitude"])
def test_a_training_step_stays_in_float32(levels):
    from dataclasses import replace

    profile, digits = PROFILES["tiny"], load_stand_in("test")
    profile = replace(profile, train=replace(profile.train, timestep_sampling=levels, bfloat16=False))
    trainer = Trainer(profile, digits, digits, torch.device("cpu"))
    u = torch.rand(8, device="cpu")
    assert trainer.draw_t(trainer.schedule, u).dtype == torch.int64
    with NoFloat64OffTheCPU():
        model, schedule = trainer.model.to(META), trainer.schedule.to(META)
        x, label = digits[:8]
        loss = ddpm_loss(model, schedule, x.to(META), label.to(META))
        loss.backward()
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_shipped_network_samples_in_other_dtypes(dtype):
    trained, label = load_pretrained(), torch.tensor([3, 5])
    model = trained.model.to(dtype)
    images = generate(model, trained.schedule, label, 5, eta=0.0)
    exact = generate(load_pretrained().model, trained.schedule, label, 5, eta=0.0)
    assert images.isfinite().all()
    assert (images.float() - exact.float()).abs().mean() < (1e-4 if dtype == torch.float64 else 0.1)


def test_the_sums_of_a_frechet_distance_are_on_the_cpu(monkeypatch):
    """They are in float64, which not every device has."""
    seen = []

    class Elsewhere(torch.Tensor):
        """Features that lie on another device until they are fetched."""

        def cpu(self):
            seen.append(self.shape)
            return super().cpu().as_subclass(torch.Tensor)

    classifier, digits = load_classifier(), load_stand_in("test")
    original = classifier.features
    monkeypatch.setattr(classifier, "features", lambda images: original(images).as_subclass(Elsewhere))
    x = digits[:60][0]
    assert frechet_distance(classifier, x, x) < 1e-3
    assert len(seen) == 2
