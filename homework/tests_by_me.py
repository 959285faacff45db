"""Your tests. Each takes one argument, the function under test: q_sample, ddpm_loss or p_sample.

Run them with: make check. The handout says what counts.
"""

import torch

from diffusion_lib.schedules import NoiseSchedule, linear_betas

T = 40
SCHEDULE = NoiseSchedule.from_betas(linear_betas(T, 0.002, 0.3))


def test_shape_of_x_t(q_sample):
    x, noise = torch.zeros(5, 2, 3, 4), torch.randn(5, 2, 3, 4)
    assert q_sample(SCHEDULE, x, torch.tensor([0, 1, 10, 20, 39]), noise).shape == x.shape
