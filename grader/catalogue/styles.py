"""Correct code in many honest styles. A check that refuses one of these is broken. Stays with the teacher."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from diffusion_lib.diffusion import ddim_step, predict_x_start, q_posterior, q_sample

STYLES: dict[str, list[Callable[..., Any]]] = {}


def style(exercise: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function under its exercise."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        STYLES.setdefault(exercise, []).append(function)
        return function

    return enter


def column(table: Any, t: Any, like: Any) -> Any:
    """A table read at t by hand."""
    return table[t].reshape(len(t), *([1] * (like.ndim - 1))).to(like.dtype)


@style("q_sample")
def one_line(schedule, x_start, t, noise):
    a = schedule.at("alphas_cumprod", t, x_start)
    return a.sqrt() * x_start + (1 - a).sqrt() * noise


@style("q_sample")
def by_hand(schedule, x0, t, eps):
    return (
        column(schedule.sqrt_alphas_cumprod, t, x0) * x0 + column(schedule.sqrt_one_minus_alphas_cumprod, t, x0) * eps
    )


@style("q_sample")
def from_betas(schedule, x_start, t, noise):
    a = (1 - schedule.betas).cumprod(dim=0)[t][:, None, None, None].to(x_start)
    return torch.sqrt(a) * x_start + torch.sqrt(1 - a) * noise


@style("q_sample")
def in_place_on_its_own(schedule, x_start, t, noise):
    x = x_start.clone()
    x.mul_(schedule.at("sqrt_alphas_cumprod", t, x))
    return x.addcmul_(schedule.at("sqrt_one_minus_alphas_cumprod", t, noise), noise)


@style("q_sample")
def float64_inside(schedule, x_start, t, noise):
    a = schedule.at("alphas_cumprod", t, x_start.double())
    return (a.sqrt() * x_start.double() + (1 - a).sqrt() * noise.double()).to(x_start.dtype)


@style("q_sample")
def float64_outside(schedule, x_start, t, noise):
    return float64_inside(schedule, x_start.double(), t, noise.double())


@style("q_sample")
def with_a_loop(schedule, x_start, t, noise):
    a = schedule.alphas_cumprod
    parts = [a[i] ** 0.5 * x + (1 - a[i]) ** 0.5 * e for i, x, e in zip(t.tolist(), x_start, noise, strict=True)]
    return torch.stack(parts)


@style("q_sample")
def with_einsum(schedule, x_start, t, noise):
    signal = torch.einsum("b,bchw->bchw", schedule.sqrt_alphas_cumprod[t].to(x_start), x_start)
    return signal + torch.einsum("b,bchw->bchw", schedule.sqrt_one_minus_alphas_cumprod[t].to(x_start), noise)


@style("q_sample")
def float32_inside(schedule, x_start, t, noise):
    a = schedule.alphas_cumprod.float()[t].view(-1, 1, 1, 1)
    return a.sqrt() * x_start.float() + (1 - a).sqrt() * noise.float()


def _fresh(schedule, x_t, t, noise, posterior=True):
    if posterior:
        return schedule.at("posterior_variance", t, x_t).sqrt() * noise
    return schedule.at("betas", t, x_t).sqrt() * noise * (t > 0).view(-1, 1, 1, 1)


@style("p_sample")
def eq_7(schedule, x_t, t, eps, noise):
    mean, variance = q_posterior(schedule, predict_x_start(schedule, x_t, t, eps), x_t, t)
    return mean + variance.sqrt() * noise


@style("p_sample")
def via_ddim(schedule, x_t, t, eps, noise):
    return ddim_step(schedule, x_t, t, t - 1, eps, noise, eta=1.0)


@style("p_sample")
def via_ddim_by_hand(schedule, x_t, t, eps, noise):
    return ddim_plain(schedule, x_t, t, t - 1, eps, noise, 1.0)


@style("p_sample")
def eq_7_clipped(schedule, x_t, t, eps, noise):
    x_start = predict_x_start(schedule, x_t, t, eps).clamp(-1, 1)
    return q_posterior(schedule, x_start, x_t, t).mean + _fresh(schedule, x_t, t, noise)


@style("p_sample")
def eq_7_clipped_beta(schedule, x_t, t, eps, noise):
    x_start = torch.clip(predict_x_start(schedule, x_t, t, eps), -1.0, 1.0)
    return q_posterior(schedule, x_start, x_t, t).mean + _fresh(schedule, x_t, t, noise, posterior=False)


@style("p_sample")
def eq_11_beta(schedule, x_t, t, eps, noise):
    a, b, bar = (schedule.at(name, t, x_t) for name in ("alphas", "betas", "alphas_cumprod"))
    return (x_t - b / (1 - bar).sqrt() * eps) / a.sqrt() + _fresh(schedule, x_t, t, noise, posterior=False)


@style("p_sample")
def one_minus_alpha(schedule, x_t, t, eps, noise):
    a, bar = schedule.at("alphas", t, x_t), schedule.at("alphas_cumprod", t, x_t)
    return 1 / torch.sqrt(a) * (x_t - (1 - a) / torch.sqrt(1 - bar) * eps) + _fresh(schedule, x_t, t, noise)


@style("p_sample")
def masked_at_zero(schedule, x_t, t, eps, noise):
    mean = x_t - schedule.at("betas", t, x_t) / schedule.at("sqrt_one_minus_alphas_cumprod", t, x_t) * eps
    mean = mean / schedule.at("sqrt_alphas", t, x_t)
    noise = torch.where((t == 0)[:, None, None, None], torch.zeros_like(noise), noise)
    return mean + schedule.at("posterior_std", t, x_t) * noise


@style("p_sample")
def log_variance(schedule, x_t, t, eps, noise):
    log = schedule.posterior_variance.clamp(min=1e-20).log()
    std = (0.5 * column(log, t, x_t)).exp()
    return eq_7(schedule, x_t, t, eps, 0 * noise) + std * noise


@style("p_sample")
def p_by_hand_in_float64(schedule, x_t, t, eps, noise):
    x = x_t.double()
    b, bar = (column(table.double(), t, x) for table in (schedule.betas, schedule.alphas_cumprod))
    prev = bar / (1 - b)
    x0 = (x - (1 - bar).sqrt() * eps) / bar.sqrt()
    mean = prev.sqrt() * b / (1 - bar) * x0 + (1 - b).sqrt() * (1 - prev) / (1 - bar) * x
    return mean + ((1 - prev).clamp(min=0) / (1 - bar) * b).sqrt() * noise


@style("p_sample")
def p_with_a_loop(schedule, x_t, t, eps, noise):
    rows = []
    for i, n in enumerate(t):
        one = slice(i, i + 1)
        rows.append(eq_11_beta(schedule, x_t[one], n.view(1), eps[one], noise[one]))
    return torch.cat(rows)


@style("p_sample")
def p_keyword_names(schedule, x_t, t, eps, noise):
    bar = schedule.at(name="alphas_cumprod", t=t, like=x_t)
    mean = torch.rsqrt(schedule.at("alphas", t, x_t)) * (
        x_t - schedule.at("betas", t, x_t) * torch.rsqrt(1 - bar) * eps
    )
    return torch.add(mean, _fresh(schedule, x_t, t, noise))


def _draw(schedule, x_start, t, noise):
    t = torch.randint(len(schedule), (len(x_start),), device=x_start.device) if t is None else t
    return t, torch.randn(x_start.shape, dtype=x_start.dtype) if noise is None else noise


@style("ddpm_loss")
def loss_plain(model, schedule, x_start, label=None, *, t=None, noise=None):
    t, noise = _draw(schedule, x_start, t, noise)
    return ((noise - model(q_sample(schedule, x_start, t, noise), t, label)) ** 2).mean()


@style("ddpm_loss")
def loss_keywords(model, schedule, x_start, label=None, *, t=None, noise=None):
    t, noise = _draw(schedule, x_start, t, noise)
    x_t = q_sample(schedule=schedule, x_start=x_start, t=t, noise=noise)
    return F.mse_loss(input=model(x_t, t, label=label), target=noise, reduction="mean")


@style("ddpm_loss")
def loss_module(model, schedule, x_start, label=None, *, t=None, noise=None):
    t, noise = _draw(schedule, x_start, t, noise)
    return nn.MSELoss()(model(q_sample(schedule, x_start, t, noise), t, label), noise)


@style("ddpm_loss")
def loss_each_image(model, schedule, x_start, label=None, *, t=None, noise=None):
    t, noise = _draw(schedule, x_start, t, noise)
    error = model(q_sample(schedule, x_start, t, noise), t, label) - noise
    return error.square().flatten(1).mean(dim=1).mean()


@style("ddpm_loss")
def loss_written_out(model, schedule, x_start, label=None, *, t=None, noise=None):
    t, noise = _draw(schedule, x_start, t, noise)
    return F.mse_loss(noise, model(one_line(schedule, x_start, t, noise), t, label))


@style("ddpm_loss")
def loss_float32(model, schedule, x_start, label=None, *, t=None, noise=None):
    t, noise = _draw(schedule, x_start, t, noise)
    guess = model(q_sample(schedule, x_start, t, noise), t, label)
    return F.mse_loss(guess.float(), noise.float())


@style("ddpm_loss")
def loss_uniform_draw(model, schedule, x_start, label=None, *, t=None, noise=None):
    if t is None:
        t = (torch.rand(x_start.shape[0]) * len(schedule)).floor().long().clamp(max=len(schedule) - 1)
    if noise is None:
        noise = torch.empty_like(x_start).normal_()
    return F.mse_loss(model(q_sample(schedule, x_start, t, noise), t, label), noise)


@style("ddpm_loss")
def loss_with_grad_enabled(model, schedule, x_start, label=None, *, t=None, noise=None):
    with torch.no_grad():
        t, noise = _draw(schedule, x_start, t, noise)
        x_t = q_sample(schedule, x_start, t, noise)
    difference = model(x_t, t, label) - noise
    return (difference * difference).sum() / difference.numel()


@style("ddim_step")
def ddim_plain(schedule, x_t, t, t_prev, eps, noise, eta=0.0):
    a, prev = schedule.at("alphas_cumprod", t, x_t), schedule.at("alphas_cumprod_prev", t_prev + 1, x_t)
    sigma = eta * torch.sqrt((1 - prev) / (1 - a)) * torch.sqrt(1 - a / prev)
    x0 = (x_t - torch.sqrt(1 - a) * eps) / torch.sqrt(a)
    return prev.sqrt() * x0 + torch.sqrt(torch.clamp(1 - prev - sigma**2, min=0)) * eps + sigma * noise


@style("ddim_step")
def ddim_padded(schedule, x_t, t, t_prev, eps, noise, eta=0.0):
    bars = torch.cat([torch.ones(1, dtype=schedule.betas.dtype), schedule.alphas_cumprod])
    a, prev = column(bars, t + 1, x_t), column(bars, t_prev + 1, x_t)
    var = eta**2 * (1 - prev) / (1 - a) * (1 - a / prev)
    x0 = predict_x_start(schedule, x_t, t, eps)
    return prev.sqrt() * x0 + (1 - prev - var).clamp(min=0).sqrt() * eps + var.sqrt() * noise


@style("ddim_step")
def ddim_where(schedule, x_t, t, t_prev, eps, noise, eta=0.0):
    a = schedule.at("alphas_cumprod", t, x_t)
    prev = schedule.at("alphas_cumprod", t_prev.clamp(min=0), x_t)
    prev = torch.where((t_prev < 0).view(-1, 1, 1, 1), torch.ones_like(prev), prev)
    sigma = eta * ((1 - prev) / (1 - a) * (1 - a / prev)).sqrt()
    x0 = predict_x_start(schedule, x_t, t, eps)
    return prev.sqrt() * x0 + (1 - prev - sigma * sigma).relu().sqrt() * eps + sigma * noise


@style("ddim_step")
def ddim_float64(schedule, x_t, t, t_prev, eps, noise, eta=0.0):
    return ddim_plain(schedule, x_t.double(), t, t_prev, eps.double(), noise.double(), eta).to(x_t.dtype)


@style("ddim_step")
def ddim_eta_split(schedule, x_t, t, t_prev, eps, noise, eta=0.0):
    still = ddim_plain(schedule, x_t, t, t_prev, eps, noise, 0.0)
    return still if eta == 0 else ddim_plain(schedule, x_t, t, t_prev, eps, noise, eta)


@style("ddim_step")
def ddim_loop(schedule, x_t, t, t_prev, eps, noise, eta=0.0):
    rows = [slice(i, i + 1) for i in range(len(t))]
    return torch.cat([ddim_padded(schedule, x_t[r], t[r], t_prev[r], eps[r], noise[r], eta) for r in rows])


@style("ddim_step")
def ddim_rescaled(schedule, x_t, t, t_prev, eps, noise, eta=0.0):
    a, prev = schedule.at("alphas_cumprod", t, x_t), schedule.at("alphas_cumprod_prev", t_prev + 1, x_t)
    sigma = eta * ((1 - prev) / (1 - a) * (1 - a / prev)).sqrt()
    ratio = (prev / a).sqrt()
    return ratio * x_t + ((1 - prev - sigma**2).clamp(0).sqrt() - ratio * (1 - a).sqrt()) * eps + sigma * noise


@style("ddim_step")
def ddim_noise_to_signal(schedule, x_t, t, t_prev, eps, noise, eta=0.0):
    a, prev = schedule.at("alphas_cumprod", t, x_t), schedule.at("alphas_cumprod_prev", t_prev + 1, x_t)
    sigma = eta * ((1 - prev) / (1 - a) * (1 - a / prev)).sqrt()
    x0 = x_t / a.sqrt() - (1 / a - 1).sqrt() * eps
    return prev.sqrt() * (x0 + ((1 - sigma**2) / prev - 1).clamp(min=0).sqrt() * eps) + sigma * noise
