"""Samplers against closed forms. A sampler with a linear model is linear, so mean and spread are exact."""

import pytest
import torch
from conftest import images

from diffusion_lib.diffusion import ddim_step, p_sample, q_sample
from diffusion_lib.guidance import clipped, conditioned, guided
from diffusion_lib.oracles import finite_set_oracle, gaussian_oracle, point_oracle
from diffusion_lib.samplers import ddim_timesteps, generate, last, sample_ddim, sample_ddpm, sdedit
from diffusion_lib.schedules import NoiseSchedule, cosine_betas, linear_betas


@pytest.mark.parametrize("sampler", [sample_ddpm, sample_ddim])
def test_a_single_image_comes_back_exactly(schedule, sampler):
    point = images(2, 4, 5).clamp(-1, 1)
    options = {"num_steps": 20} if sampler is sample_ddim else {}
    drawn = last(sampler(point_oracle(schedule, point), schedule, images(3, 2, 4, 5, seed=1), **options))
    torch.testing.assert_close(drawn, point.expand(3, -1, -1, -1), atol=1e-6, rtol=0)


def exact_mean_and_std(schedule, oracle, times, step):
    """Propagate N(0, 1) through a linear sampler: x' = a x + b + c z, read off three evaluations."""
    zero, one = torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    mean, variance = 0.0, 1.0
    for i, i_prev in zip(times, [*times[1:], -1], strict=True):
        t, t_prev = torch.tensor([i]), torch.tensor([i_prev])
        b = step(zero, t, t_prev, oracle(zero, t), zero)
        a = step(one, t, t_prev, oracle(one, t), zero) - b
        c = step(zero, t, t_prev, oracle(zero, t), one) - b
        mean, variance = (a * mean + b).item(), (a**2 * variance + c**2).item()
    return mean, variance**0.5


SAMPLERS = {  # steps, tolerance of the spread (fewer steps shrink it), the step
    "ddpm": (1000, 0.01, lambda s: lambda x, t, p, eps, z: p_sample(s, x, t, eps, z)),
    "ddim 1000": (1000, 0.01, lambda s: lambda x, t, p, eps, z: ddim_step(s, x, t, p, eps, z)),
    "ddim 200, eta 1": (200, 0.05, lambda s: lambda x, t, p, eps, z: ddim_step(s, x, t, p, eps, z, 1.0)),
}


@pytest.mark.parametrize("betas", [linear_betas(1000), cosine_betas(1000)])
@pytest.mark.parametrize("name", SAMPLERS)
def test_gaussian_data_keeps_its_mean_and_spread(betas, name):
    schedule = NoiseSchedule.from_betas(betas)
    steps, tolerance, make = SAMPLERS[name]
    times = ddim_timesteps(1000, steps)
    mean, std = exact_mean_and_std(schedule, gaussian_oracle(schedule, 0.3, 0.5), times, make(schedule))
    assert mean == pytest.approx(0.3, abs=0.01)
    assert std == pytest.approx(0.5, rel=tolerance)


def test_the_gaussian_check_catches_broken_samplers():
    schedule = NoiseSchedule.from_betas(linear_betas(1000))
    oracle, times = gaussian_oracle(schedule, 0.3, 0.5), ddim_timesteps(1000, 1000)

    def std(s, t):
        return s.at("posterior_std", t, torch.zeros(1, 1, 1, 1, dtype=torch.float64))

    broken = {
        "no noise": lambda x, t, p, eps, z: p_sample(schedule, x, t, eps, 0 * z),
        "variance as spread": lambda x, t, p, eps, z: p_sample(schedule, x, t, eps, std(schedule, t) * z),
        "wrong sign": lambda x, t, p, eps, z: p_sample(schedule, x, t, -eps, z),
        "times sqrt alpha": lambda x, t, p, eps, z: (
            p_sample(schedule, x, t, eps, 0 * z) * schedule.at("alphas", t, x) + std(schedule, t) * z
        ),
    }
    for name, step in broken.items():
        mean, spread = exact_mean_and_std(schedule, oracle, times, step)
        assert abs(mean - 0.3) > 0.01 or abs(spread - 0.5) > 0.005, name


class Spy:
    def __init__(self):
        self.times, self.grad = [], []

    def __call__(self, x, t):
        self.times.append(t.tolist())
        self.grad.append(torch.is_grad_enabled())
        return x * 0.1


def test_samplers_visit_the_right_levels_once_without_gradients():
    schedule, x = NoiseSchedule.from_betas(linear_betas(100, 1e-3, 0.2)), images(2, 1, 3, 4)
    spy = Spy()
    steps = list(sample_ddpm(spy, schedule, x))
    assert spy.times == [[t, t] for t in range(99, -1, -1)]
    assert [s.t for s in steps] == list(range(99, -1, -1))
    assert not any(spy.grad)
    assert torch.is_grad_enabled()
    spy = Spy()
    list(sample_ddim(spy, schedule, x, 4))
    assert spy.times == [[t, t] for t in (99, 66, 33, 0)]
    assert ddim_timesteps(1000, 1000) == list(range(999, -1, -1))


def test_samplers_take_a_generator_and_repeat():
    schedule, x = NoiseSchedule.from_betas(linear_betas(20, 1e-3, 0.4)), images(2, 1, 3, 4)
    for sampler, options in ((sample_ddpm, {}), (sample_ddim, {"num_steps": 10, "eta": 1.0})):
        runs = [
            last(sampler(lambda x, t: 0 * x, schedule, x, generator=torch.Generator().manual_seed(s), **options))
            for s in (1, 1, 2)
        ]
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0], runs[2])


def test_bad_requests_are_told_what_to_do():
    schedule = NoiseSchedule.from_betas(linear_betas(10))
    with pytest.raises(ValueError, match=r"1 ... 10, but is 11"):
        list(sample_ddim(lambda x, t: x, schedule, images(1, 1, 2, 2), 11))
    with pytest.raises(ValueError, match="already used up"):
        last(iter([]))


def test_guided_scale_0_1_and_2():
    def model(x, t, label=None):
        return x * 0 + (5.0 if label is None else label.view(-1, 1, 1, 1).double())

    x, t, label = images(3, 1, 2, 2), torch.zeros(3, dtype=torch.long), torch.tensor([1, 2, 3])
    for scale, expected in ((0.0, [5.0, 5.0, 5.0]), (1.0, [1.0, 2.0, 3.0]), (2.0, [-3.0, -1.0, 1.0])):
        for _ in range(2):  # twice: nothing may be changed by the first call
            assert guided(model, label, scale)(x, t)[:, 0, 0, 0].tolist() == expected
    assert torch.equal(conditioned(model, label)(x, t), guided(model, label, 1.0)(x, t))


def test_clipped_holds_the_clean_image_and_leaves_good_answers_alone(schedule):
    from diffusion_lib.diffusion import predict_x_start, q_sample

    x = images(4, 1, 3, 3).clamp(-1, 1)
    t = torch.tensor([0, 1, len(schedule) // 4, len(schedule) // 2])
    noise = images(4, 1, 3, 3, seed=1)
    x_t = q_sample(schedule, x, t, noise)
    torch.testing.assert_close(clipped(lambda x, t: noise, schedule)(x_t, t), noise, atol=1e-5, rtol=1e-5)
    wild = clipped(lambda x, t: noise * 50, schedule)(x_t, t)
    assert predict_x_start(schedule, x_t, t, wild).abs().max() <= 1 + 1e-6


def test_finite_set_oracle_equals_brute_force(schedule):
    data, x = images(7, 1, 2, 3).clamp(-1, 1), images(2, 1, 2, 3, seed=3)
    oracle = finite_set_oracle(schedule, data)
    for i in (0, len(schedule) // 2, len(schedule) - 1):
        t = torch.tensor([i, i])
        a, s = schedule.sqrt_alphas_cumprod[i], schedule.sqrt_one_minus_alphas_cumprod[i]
        log_weights = torch.stack([-((x - a * d) ** 2).sum((1, 2, 3)) / (2 * s**2) for d in data])
        mean = (log_weights.softmax(0)[..., None, None, None] * data[:, None]).sum(0)
        torch.testing.assert_close(oracle(x, t), (x - a * mean) / s, atol=1e-6, rtol=1e-6)


def test_finite_set_oracle_only_remembers():
    schedule = NoiseSchedule.from_betas(linear_betas(1000))
    data = images(20, 1, 4, 4).sign()
    drawn = last(sample_ddim(finite_set_oracle(schedule, data), schedule, images(8, 1, 4, 4, seed=1), 50))
    assert torch.cdist(drawn.flatten(1), data.flatten(1)).min(dim=1).values.max() < 1e-3


def test_generate_gives_one_image_for_each_label_whatever_the_batches():
    schedule = NoiseSchedule.from_betas(linear_betas(50)).to("cpu")

    def model(x, t, label=None):
        return x * label.view(-1, 1, 1, 1) / 10

    label, shape = torch.arange(5), (1, 28, 28)
    whole = generate(model, schedule, label, 5, shape=shape)
    assert whole.shape == (5, 1, 28, 28)
    assert whole.abs().max() <= 1
    flat = generate(model, schedule, label, 5, eta=0.0, shape=shape)
    torch.testing.assert_close(generate(model, schedule, label, 5, eta=0.0, shape=shape, batch_size=2), flat)
    assert torch.equal(generate(model, schedule, label, 5, shape=shape), whole)
    assert not torch.equal(generate(model, schedule, label, 5, seed=1, shape=shape), whole)
    with pytest.raises(ValueError, match=r"no image_shape: hand over shape=\(channels, height, width\)"):
        generate(model, schedule, label, 5)


@pytest.mark.parametrize("level", [0, 7, 99])
def test_sdedit_starts_from_the_noised_image_at_its_level(schedule, level):
    """A spy sees the first x_t and every t; with one possible image, that image comes back from any level."""
    if level >= len(schedule):
        level = len(schedule) - 1
    x_start, noise, target = images(3, 1, 8, 8).clamp(-1, 1), images(3, 1, 8, 8, seed=1), images(1, 8, 8, seed=2)
    target, seen = target.clamp(-0.9, 0.9), []
    oracle = point_oracle(schedule, target)

    def model(x, t, label=None):
        seen.append((x, t.unique().item()))
        return oracle(x, t)

    out = last(sdedit(model, schedule, x_start, torch.tensor([1, 2, 3]), level, noise, 5))
    times = [t for _, t in seen]
    torch.testing.assert_close(seen[0][0], q_sample(schedule, x_start, torch.full((3,), level), noise))
    assert times[0] == level
    assert times[-1] == 0
    assert len(times) == min(5, level + 1)
    torch.testing.assert_close(out, target.expand(3, 1, 8, 8), atol=1e-6, rtol=0)


def standard_normal_model(schedule, seen):
    """The exact predictor of N(0, I) data, which keeps each x_t that it is shown."""
    oracle = gaussian_oracle(schedule, 0.0, 1.0)

    def model(x, t, label=None):
        seen.append(x)
        return oracle(x, t)

    return model


def assert_all_distinct(draws):
    """No draw repeats another, whole or in part: they are uncorrelated, six standard errors allowed."""
    flat = torch.stack([draw.flatten() for draw in draws])
    correlation = torch.corrcoef(flat) - torch.eye(len(flat))
    assert correlation.abs().max() < 6 / flat.shape[1] ** 0.5


@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_generate_draws_x_T_and_then_each_z_from_one_stream(monkeypatch, eta):
    schedule = NoiseSchedule.from_betas(linear_betas(1000)).to("cpu")
    seen, draws = [], []

    def recorded(schedule, x_t, t, t_prev, eps, noise, eta):
        draws.append(noise)
        return ddim_step(schedule, x_t, t, t_prev, eps, noise, eta)

    monkeypatch.setattr("diffusion_lib.samplers.ddim_step", recorded)
    generate(standard_normal_model(schedule, seen), schedule, torch.arange(10), 20, eta=eta, seed=3, shape=(1, 28, 28))
    assert len(draws) == 20
    assert_all_distinct([seen[0], *draws])
    stream = torch.Generator().manual_seed(3)
    assert all(torch.equal(x, torch.randn(x.shape, generator=stream)) for x in [seen[0], *draws])


def test_batches_of_one_call_share_no_noise():
    schedule, seen = NoiseSchedule.from_betas(linear_betas(1000)).to("cpu"), []
    model = standard_normal_model(schedule, seen)
    generate(model, schedule, torch.arange(8), 5, seed=0, batch_size=2, shape=(1, 28, 28))
    assert_all_distinct([seen[i] for i in (0, 5, 10, 15)])
    drift = [seen[i + 1] - seen[i] for i in range(0, 20, 5)]
    assert_all_distinct(drift)


def test_normal_data_stay_normal_after_each_step():
    """q(x_t) = N(0, I) for data N(0, I): at the noisiest levels 50 jumps lose less than the error allowed here."""
    schedule, seen = NoiseSchedule.from_betas(linear_betas(1000)).to("cpu"), []
    generate(standard_normal_model(schedule, seen), schedule, torch.arange(40), 50, shape=(1, 28, 28))
    for x_t in seen[:6]:
        assert x_t.std().item() == pytest.approx(1, abs=5 / (2 * x_t.numel()) ** 0.5)


def test_eta_0_draws_nothing_and_ignores_the_generator():
    schedule, x = NoiseSchedule.from_betas(linear_betas(100, 1e-3, 0.2)), images(2, 1, 3, 4)
    generator = torch.Generator().manual_seed(0)
    before, outside = generator.get_state(), torch.random.get_rng_state()
    last(sample_ddim(lambda x, t: x * 0.1, schedule, x, 5, generator=generator))
    last(sample_ddim(lambda x, t: x * 0.1, schedule, x, 5))
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.random.get_rng_state(), outside)


@pytest.mark.parametrize("sampler", [sample_ddpm, sample_ddim])
def test_noise_is_drawn_on_the_cpu_for_every_device_and_dtype(sampler):
    """float64 sees the same numbers as float32; a device with no generator of its own (here: meta) is served too."""
    schedule = NoiseSchedule.from_betas(linear_betas(10, 1e-3, 0.4))
    options = {"eta": 1.0, "num_steps": 10} if sampler is sample_ddim else {}
    ends = []
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(0)
        x_T = torch.zeros(2, 1, 8, 8, dtype=dtype)
        ends.append(last(sampler(lambda x, t: 0 * x, schedule, x_T, generator=generator, **options)))
        assert ends[-1].dtype == dtype
    torch.testing.assert_close(ends[0].double(), ends[1], atol=1e-4, rtol=1e-4)
    meta = torch.zeros(2, 1, 8, 8, device="meta")
    state = next(sampler(lambda x, t: x, schedule, meta, generator=torch.Generator(), **options))
    assert state.x.device.type == "meta"


def answer(x, label):
    """A made-up noise: part of x, and more of it with a label."""
    return 0.4 * x + (0.0 if label is None else label.view(-1, 1, 1, 1).to(x) / 20)


def ddim_by_hand(schedule, x, label, scale, times):
    """DDIM eq. 12 at eta = 0, from guided noise and a clipped clean image; all states on the way."""
    states = [x]
    for i, before in zip(times, [*times[1:], None], strict=True):
        a, b = (1.0 if t is None else schedule.alphas_cumprod[t].item() for t in (i, before))
        eps = answer(x, label) if scale is None else (1 - scale) * answer(x, None) + scale * answer(x, label)
        clean = ((x - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-1, 1)
        x = b**0.5 * clean + ((1 - b) / (1 - a)) ** 0.5 * (x - a**0.5 * clean)
        states.append(x)
    return states


@pytest.mark.parametrize("scale", [1.0, 0.0, 3.0])
def test_generate_guides_and_clips_as_by_hand(scale):
    """From whatever noise it starts with: every state and the images themselves."""
    schedule, seen, label = NoiseSchedule.from_betas(cosine_betas(60)), [], torch.tensor([4, 0, 9])

    def model(x, t, label=None):
        seen.append((t[0].item(), x.double()))
        return answer(x, label)

    drawn = generate(model, schedule.to("cpu"), label, 4, guidance_scale=scale, eta=0.0, shape=(1, 6, 5))
    visited = dict(seen)
    assert list(visited) == [59, 39, 20, 0]
    states = ddim_by_hand(schedule, visited[59], label, scale, list(visited))
    for found, expected in zip([*visited.values(), drawn.double()], states, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (visited[59].flatten(1).std(dim=1) - 1).abs().max() < 0.7  # five standard errors
    assert (drawn.abs() == 1).any()
    assert len(visited[59].unique(dim=0)) == 3


@pytest.mark.parametrize(("label", "scale"), [(None, 2.0), (torch.tensor([3, 7]), 1.0), (torch.tensor([3, 7]), 2.5)])
def test_sdedit_asks_for_the_label_as_strongly_as_it_is_told(label, scale):
    schedule, x, noise = NoiseSchedule.from_betas(cosine_betas(60)), images(2, 1, 4, 3), images(2, 1, 4, 3, seed=1)
    found = list(
        sdedit(lambda x, t, y=None: answer(x, y), schedule, x, label, 40, noise, 3, guidance_scale=scale, eta=0.0)
    )
    start = q_sample(schedule, x, torch.tensor([40, 40]), noise)
    expected = ddim_by_hand(schedule, start, label, None if label is None else scale, [40, 20, 0])
    for step, state in zip(found, expected[1:], strict=True):
        torch.testing.assert_close(step.x, state, rtol=1e-9, atol=1e-9)


def test_every_image_and_every_step_has_noise_of_its_own():
    schedule, noises = NoiseSchedule.from_betas(linear_betas(30, 1e-3, 0.3)), []

    def step(schedule, x, t, eps, noise):
        noises.append(noise)
        return p_sample(schedule, x, t, eps, noise)

    list(sample_ddpm(lambda x, t: 0 * x, schedule, torch.zeros(4, 2, 5, 6, dtype=torch.float64), step=step))
    drawn = torch.stack(noises)
    assert drawn.shape == (30, 4, 2, 5, 6)
    assert drawn.dtype == torch.float64
    assert len(drawn.flatten(0, 2).flatten(1).unique(dim=0)) == 30 * 4 * 2
    assert abs(drawn.mean()) < 0.08  # more than six standard errors of 7200 draws
    assert abs(drawn.std() - 1) < 0.06


def test_ddim_draws_noise_for_each_image_unless_eta_is_0():
    schedule, x = NoiseSchedule.from_betas(linear_betas(30, 1e-3, 0.3)), torch.zeros(4, 2, 5, 6, dtype=torch.float64)
    for eta, different in ((0.0, 1), (1.0, 4)):
        states = list(sample_ddim(lambda x, t: 0 * x, schedule, x, 5, eta=eta))
        assert [len(s.x.unique(dim=0)) for s in states[:-1]] == [different] * 4


@pytest.mark.parametrize("sampler", [sample_ddpm, sample_ddim])
def test_a_step_tells_the_clean_image_that_the_model_saw(sampler):
    schedule, x = NoiseSchedule.from_betas(linear_betas(30, 1e-3, 0.3)), images(3, 1, 4, 5)
    options = {"num_steps": 4, "eta": 0.0} if sampler is sample_ddim else {}
    for step in sampler(lambda x, t: 0.3 * x + 0.1, schedule, x, **options):
        a = schedule.alphas_cumprod[step.t].item()
        torch.testing.assert_close(step.x_start, (x - (1 - a) ** 0.5 * (0.3 * x + 0.1)) / a**0.5)
        x = step.x
