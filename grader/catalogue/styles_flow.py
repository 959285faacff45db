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


@style("euler_step")
def euler_plain(x_tau, tau, tau_next, velocity):
    return x_tau + velocity * (tau_next - tau)


@style("euler_step")
def euler_backwards(x_tau, tau, tau_next, velocity):
    return x_tau - (tau - tau_next) * velocity


@style("euler_step")
def euler_named(x_tau, tau, tau_next, velocity):
    dt = tau_next - tau
    dx = velocity * dt
    return torch.add(x_tau, dx)


@style("euler_step")
def euler_by_the_ends(x_tau, tau, tau_next, velocity):
    image, noise = x_tau - tau * velocity, x_tau + (1 - tau) * velocity
    return straight_path(image, noise, tau_next)


@style("euler_step")
def euler_by_the_image(x_tau, tau, tau_next, velocity):
    x_start = x_tau - tau * velocity
    return x_start + tau_next * velocity


@style("euler_step")
def euler_in_place_on_its_own(x_tau, tau, tau_next, velocity):
    x = x_tau.clone()
    x += (tau_next - tau) * velocity
    return x


@style("euler_step")
def euler_addcmul(x_tau, tau, tau_next, velocity):
    return torch.addcmul(x_tau, torch.as_tensor(tau_next - tau).to(velocity), velocity)


@style("euler_step")
def euler_float64(x_tau, tau, tau_next, velocity):
    return (x_tau.double() + (tau_next - tau) * velocity.double()).to(x_tau.dtype)


@style("euler_step")
def euler_as_tensors(x_tau, tau, tau_next, velocity):
    tau, tau_next = (torch.as_tensor(v, dtype=x_tau.dtype, device=x_tau.device) for v in (tau, tau_next))
    return x_tau.add((tau_next - tau).mul(velocity))
