"""Honest styles of straight paths."""

import torch
from torch import nn
from torch.nn import functional as F

from diffusion_lib.diffusion import q_sample
from diffusion_lib.flow import path_time, path_times, straight_path
from diffusion_lib.predictions import amplitudes
from grader.catalogue.styles import column, style


@style("flow_loss")
def flow_plain(model, schedule, x_start, label=None, *, t, noise):
    tau = path_time(schedule, t, x_start)
    x_tau = (1 - tau) * x_start + tau * noise
    return (model(x_tau, t, label) - (noise - x_start)).pow(2).mean()


@style("flow_loss")
def flow_by_hand(model, schedule, x_start, label=None, *, t, noise):
    bar = column(schedule.alphas_cumprod, t, x_start)
    signal, sigma = torch.sqrt(bar), torch.sqrt(1 - bar)
    tau = sigma / (signal + sigma)
    return F.mse_loss(model(straight_path(x_start, noise, tau), t, label), noise - x_start)


@style("flow_loss")
def flow_of_x_t(model, schedule, x_start, label=None, *, t, noise):
    a, s = amplitudes(schedule, t, x_start)
    return F.mse_loss(model(q_sample(schedule, x_start, t, noise) / (a + s), t, label), noise - x_start)


@style("flow_loss")
def flow_along_the_velocity(model, schedule, x_start, label=None, *, t, noise):
    u = noise - x_start
    guess = model(x_start + path_time(schedule, t, x_start) * u, t, label)
    return torch.mean((u - guess) ** 2)


@style("flow_loss")
def flow_from_the_noise(model, schedule, x_start, label=None, *, t, noise):
    way_back = 1 - path_time(schedule, t, x_start)
    u = noise - x_start
    return nn.MSELoss()(model(noise - way_back * u, t, label=label), u)


@style("flow_loss")
def flow_lerp(model, schedule, x_start, label=None, *, t, noise):
    tau = path_time(schedule, t, x_start)
    return F.mse_loss(target=noise - x_start, input=model(torch.lerp(x_start, noise, tau), t, label))


@style("flow_loss")
def flow_from_the_list(model, schedule, x_start, label=None, *, t, noise):
    tau = torch.tensor(path_times(schedule))[t + 1].view(-1, 1, 1, 1).to(x_start)
    error = model(straight_path(x_start, noise, tau), t, label) - noise + x_start
    return error.square().flatten(1).mean(dim=1).mean()


@style("flow_loss")
def flow_each_image(model, schedule, x_start, label=None, *, t, noise):
    taus = path_time(schedule, t, x_start).flatten().tolist()
    points = [(1 - tau) * x + tau * e for x, e, tau in zip(x_start, noise, taus, strict=True)]
    errors = model(torch.stack(points), t, label) - (noise - x_start)
    return sum(error.square().mean() for error in errors) / len(errors)


@style("flow_loss")
def flow_float32(model, schedule, x_start, label=None, *, t, noise):
    with torch.no_grad():
        x_tau = straight_path(x_start, noise, path_time(schedule, t, x_start))
        u = (noise - x_start).float()
    return F.mse_loss(model(x_tau, t, label).float(), u)
