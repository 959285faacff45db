"""Honest styles of what surrounds a trained network: inpainting's step, the way into latent space."""

import torch

from diffusion_lib.diffusion import q_sample
from diffusion_lib.schedules import gather
from grader.catalogue.styles import column, style


def _noised(schedule, known, t_prev, noise):
    bar = gather(schedule.alphas_cumprod_prev, t_prev + 1, known)
    return bar.sqrt() * known + (1 - bar).sqrt() * noise


@style("inpaint_step")
def inpaint_plain(schedule, x_prev, known, mask, t_prev, noise):
    return mask * _noised(schedule, known, t_prev, noise) + (1 - mask) * x_prev


@style("inpaint_step")
def inpaint_where(schedule, x_prev, known, mask, t_prev, noise):
    bar = schedule.at("alphas_cumprod_prev", t_prev + 1, x_prev)
    return torch.where(mask == 1, torch.sqrt(bar) * known + torch.sqrt(1 - bar) * noise, x_prev)


@style("inpaint_step")
def inpaint_bool(schedule, x_prev, known, mask, t_prev, noise):
    keep = mask.bool().expand_as(x_prev)
    out = x_prev.clone()
    out[keep] = _noised(schedule, known, t_prev, noise)[keep]
    return out


@style("inpaint_step")
def inpaint_by_q_sample(schedule, x_prev, known, mask, t_prev, noise):
    noised = q_sample(schedule, known, t_prev.clamp(min=0), noise)
    noised = torch.where((t_prev < 0).view(-1, 1, 1, 1), known, noised)
    return noised * mask + x_prev * (1 - mask)


@style("inpaint_step")
def inpaint_padded(schedule, x_prev, known, mask, t_prev, noise):
    bars = torch.cat([torch.ones(1, dtype=torch.float64), schedule.alphas_cumprod.double()])
    bar = column(bars, t_prev + 1, known)
    return x_prev + mask * (bar**0.5 * known + (1 - bar) ** 0.5 * noise - x_prev)


@style("inpaint_step")
def inpaint_lerp(schedule, x_prev, known, mask, t_prev, noise):
    return torch.lerp(x_prev, _noised(schedule, known, t_prev, noise), mask.expand_as(x_prev))


@style("inpaint_step")
def inpaint_loop(schedule, x_prev, known, mask, t_prev, noise):
    rows = []
    for x, image, m, level, e in zip(x_prev, known, mask.expand_as(x_prev), t_prev.tolist(), noise, strict=True):
        bar = 1.0 if level < 0 else float(schedule.alphas_cumprod[level])
        rows.append(m * (bar**0.5 * image + (1 - bar) ** 0.5 * e) + (1 - m) * x)
    return torch.stack(rows)


@style("inpaint_step")
def inpaint_masked_parts(schedule, x_prev, known, mask, t_prev, noise):
    bar = schedule.at("alphas_cumprod_prev", t_prev + 1, x_prev)
    return bar.sqrt() * (mask * known) + (1 - bar).sqrt() * (mask * noise) + x_prev.masked_fill(mask > 0, 0)


@style("inpaint_step")
def inpaint_float64(schedule, x_prev, known, mask, t_prev, noise):
    wide = [v.double() for v in (x_prev, known, mask)]
    return inpaint_where(schedule, *wide, t_prev, noise.double()).to(x_prev.dtype)


@style("encode_scaled")
def latent_plain(model, x, scale):
    return model.encode(x).mean / scale


@style("encode_scaled")
def latent_unpacked(model, x, scale):
    mean, _ = model.encode(x)
    return torch.div(mean, scale)


@style("encode_scaled")
def latent_by_index(model, x, scale):
    return (1 / scale) * model.encode(x)[0]


@style("encode_scaled")
def latent_of_the_layers(model, x, scale):
    mean, _log_variance = model.encoder(x).chunk(2, dim=1)
    return mean.div(scale)


@style("encode_scaled")
def latent_of_the_first_channels(model, x, scale):
    return model.encoder(x)[:, : model.channels] / scale


@style("encode_scaled")
def latent_each_image(model, x, scale):
    return torch.cat([model.encode(image[None]).mean for image in x]) / scale


@style("encode_scaled")
def latent_in_place_on_its_own(model, x, scale):
    with torch.no_grad():
        z = model.encode(x).mean.clone()
        z /= scale
    return z


@style("encode_scaled")
def latent_scale_as_a_tensor(model, x, scale):
    z = model.encode(x).mean
    return z * torch.as_tensor(scale).to(z).reciprocal()


@style("encode_scaled")
def latent_float64(model, x, scale):
    mean = model.encode(x).mean
    return (mean.double() / float(scale)).to(mean.dtype)
