"""The live page: its engine beside PyTorch, its formulas beside the library's, and the page driven offline."""

import base64
import json
import re
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, images
from lab_server import NEEDS_CHROMIUM, keep

from diffusion_lib.consistency import path_end, sample_ends
from diffusion_lib.data import like_mnist, to_bytes
from diffusion_lib.diffusion import ddim_step, p_sample, predict_eps, predict_x_start, q_sample
from diffusion_lib.flow import even_levels, path_times, sample_flow
from diffusion_lib.guidance import guided
from diffusion_lib.oracles import finite_set_oracle
from diffusion_lib.profiles import UNetConfig
from diffusion_lib.samplers import ddim_timesteps, denoiser, last, sample_ddim
from diffusion_lib.schedules import NoiseSchedule, cosine_betas, linear_betas, straight_betas
from diffusion_lib.showing.exporting import Listing, describe, sixteen_bits
from diffusion_lib.training.checkpoints import load_pretrained
from diffusion_lib.unet import UNet
from grader.catalogue.mistakes import MISTAKES, build
from grader.catalogue.tables import every, row, sampler_tables

sys.path.insert(0, str(ROOT / "scripts"))
import live_page

pytestmark = NEEDS_CHROMIUM

OTHER = UNetConfig(
    image_channels=3, image_size=(12, 20), patch_size=1, width=24, multipliers=(1, 1, 2), transformer_stages=(1,),
    time_dim=20, context_dim=12, context_tokens=3, num_classes=4,
)  # fmt: skip
ENCODE = """numbers => {
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}"""


def other_network():
    """Another shape of network, in which every weight matters."""
    model, generator = UNet(OTHER).eval(), torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def trained():
    return load_pretrained()


@pytest.fixture(scope="module")
def engine(browser):
    """A blank page that has the engine and the formulas; ``encode`` sends many numbers back."""
    page = browser.new_page()
    page.add_script_tag(content=live_page.joined([path for path in live_page.WORKER if path.stem != "worker"]))
    page.add_script_tag(content=live_page.joined([live_page.LIVE / "mnist.js"]))
    page.add_script_tag(content=f"window.encode = {ENCODE}")
    yield page
    page.close()


def decoded(text, kind="<f4"):
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), kind).copy())


def carried(model, description):
    """The network with the very numbers that its description carries: rows of 16-bit integers times their units."""
    integers, units = decoded(description["weights"], "<i2"), decoded(description["units"])
    rounded, tensors = UNet(model.config).eval(), {}
    for name, shape in description["tensors"].items():
        rows = shape[0] if len(shape) > 1 else 1
        count = int(np.prod(shape))
        tensors[name] = (integers[:count].view(rows, -1) * units[:rows, None]).view(shape)
        integers, units = integers[count:], units[rows:]
    rounded.load_state_dict(tensors)
    return rounded


def listed(tensor):
    return tensor.flatten().tolist()


def forward(engine, x, t, label):
    call = "([x, t, label]) => encode(net.forward(Float32Array.from(x), t, label))"
    return decoded(engine.evaluate(call, [listed(x), t, label]))


def outputs(model, x, t, label):
    """What each module of the network answers, by its name, channels before pixels or tokens."""
    seen = {}

    def note(name):
        def hook(module, given, answer):
            seen[name] = answer.mT if answer.ndim == 3 else answer

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    with torch.no_grad():
        seen["eps"] = model(x, torch.tensor([t]), None if label is None else torch.tensor([label]))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("vectors", [True, False], ids=["WebAssembly", "plain JavaScript"])
@pytest.mark.parametrize("which", ["shipped", "another"])
def test_every_layer_answers_as_pytorchs(engine, trained, which, vectors):
    model = trained.model if which == "shipped" else other_network()
    made = "([d, vectors]) => { window.net = new Network(d, { vectors }); return net.kind; }"
    description = describe(model)
    kind = engine.evaluate(made, [description, vectors])
    assert kind == ("WebAssembly" if vectors else "plain JavaScript")
    x, t, label = images(1, *model.image_shape, dtype=torch.float32), 300, 3
    wanted = outputs(carried(model, description), x, t, label)
    forward(engine, x, t, label)
    read = "() => Object.fromEntries(net.layers.map(({ name }) => [name, encode(net.read(name))]))"
    found = {name: decoded(text) for name, text in engine.evaluate(read).items()}
    off = {name: (found[name] - wanted[name].flatten()).abs().max().item() for name in found.keys() & wanted.keys()}
    assert max(off.values()) < 1e-3, max(off.items(), key=lambda item: item[1])
    weighted = {name for name, module in model.named_modules() if module._parameters}
    assert weighted <= found.keys()  # none is left out
    assert off.keys() >= weighted


@pytest.mark.parametrize("name", [network["key"] for network in live_page.NETWORKS])
def test_each_networks_guess_is_pytorchs_at_ten_levels(engine, name):
    trained = load_pretrained(name)
    engine.evaluate("d => { window.net = new Network(d); }", describe(trained.model))
    for i, t in enumerate(ddim_timesteps(1000, 10)):
        x, label = images(1, 1, 28, 28, seed=i, dtype=torch.float32), None if i == 4 else i
        with torch.no_grad():
            wanted = trained.model(x, torch.tensor([t]), None if label is None else torch.tensor([label]))
        assert (forward(engine, x, t, label) - wanted.flatten()).abs().max() < 1e-3, t


def test_a_sample_of_fifty_steps_is_pytorchs(engine, trained):
    engine.evaluate("d => { window.net = new Network(d); }", describe(trained.model))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(51, 1, 1, 28, 28, generator=generator)  # x_T, then z after z
    label, scale = torch.tensor([5]), 1.5
    guess = denoiser(trained.model, trained.schedule, label, scale)
    generator.manual_seed(0)
    x_T = torch.randn(1, 1, 28, 28, generator=generator)
    assert torch.equal(x_T, noise[0])
    wanted = last(sample_ddim(guess, trained.schedule, x_T, 50, eta=1.0, generator=generator))
    call = """([betas, noise, label, scale]) => {
      const schedule = makeSchedule(betas), [x, ...fresh] = noise.map(z => Float32Array.from(z));
      const guess = denoiser((x, t, label) => net.forward(x, t, label), schedule, label, scale);
      let state;
      for (state of sampleDdim(guess, schedule, x, 50, { eta: 1, draw: () => fresh.shift() }));
      return encode(state.x);
    }"""
    betas = trained.schedule.betas.double().tolist()
    found = decoded(engine.evaluate(call, [betas, noise.flatten(1).tolist(), 5, scale]))
    assert (to_bytes(found).int() - to_bytes(wanted).flatten().int()).abs().max() <= 2


LABEL = torch.tensor([5])
PYTORCH = {
    "flow": lambda flow, x_T, generator: sample_flow(guided(flow.model, LABEL, 1.5), flow.schedule, x_T, 8),
    "one-step": lambda few, x_T, generator: sample_ends(
        few.model, few.schedule, x_T, LABEL, few.card["levels"], generator=generator
    ),
}
JAVASCRIPT = {
    "flow": "sampleFlow(conditioned(look, 5, 1.5), schedule, x, 8)",
    "one-step": "sampleEnds(conditioned(look, 5, 1), schedule, x, [999, 259], draw)",
}


@pytest.mark.parametrize("name", JAVASCRIPT)
def test_eight_straight_pieces_and_two_looks_are_pytorchs(engine, name):
    shipped = load_pretrained(name)
    description = live_page.carried(shipped)
    engine.evaluate("d => { window.net = new Network(d); }", description)
    noise = torch.randn(2, 1, 1, 28, 28, generator=torch.Generator().manual_seed(0))  # x_T, then one z
    generator = torch.Generator().manual_seed(0)
    steps = list(PYTORCH[name](shipped, torch.randn(1, 1, 28, 28, generator=generator), generator))
    call = f"""([betas, noise]) => {{
      const schedule = makeSchedule(betas), [x, ...fresh] = noise.map(z => Float32Array.from(z));
      const look = (x, t, label) => net.forward(x, t, label), draw = () => fresh.shift();
      return [...{JAVASCRIPT[name]}].map(({{ t, x, x_start }}) => [t, encode(x), encode(x_start)]);
    }}"""
    found = engine.evaluate(call, [description["betas"], noise.flatten(1).tolist()])
    assert [t for t, *_ in found] == [step.t for step in steps]
    for step, (_, *texts) in zip(steps, found, strict=True):
        for image, text in zip((step.x, step.x_start), texts, strict=True):
            off = to_bytes(decoded(text)).int() - to_bytes(image).flatten().int()
            assert off.abs().max() <= 2, (step.t, off.abs().max())


@pytest.mark.parametrize("layer", [torch.nn.GroupNorm(2, 8), torch.nn.LayerNorm(8)], ids=["group", "layer"])
def test_a_norm_of_faint_values_keeps_its_eps(engine, layer):
    """In the networks the variances are so large that eps drowns in rounding."""
    made = Listing({"x": [8, 3], "t": [1], "label": [1]})
    made.norm("norm", layer, "x")
    numbers = sixteen_bits({f"norm.{name}": weight for name, weight in layer.state_dict().items()})
    description = {"inputs": made.shapes, "null_label": 0, "layers": made.layers, **numbers}
    x = images(1, 8, 3, dtype=torch.float32) * 1e-3
    with torch.no_grad():
        right = layer(x) if isinstance(layer, torch.nn.GroupNorm) else layer(x.mT).mT
    engine.evaluate("d => { window.net = new Network(d); }", description)
    torch.testing.assert_close(forward(engine, x, 0, 0), right.flatten(), rtol=1e-3, atol=1e-4)


def test_weights_that_were_cut_short_and_calls_out_of_range_are_told(engine):
    good = describe(other_network())
    tell = "d => { try { new Network(d); } catch (error) { return error.message; } }"
    assert "damaged" in engine.evaluate(tell, {**good, "weights": good["weights"][:800]})
    assert "damaged" in engine.evaluate(tell, {**good, "units": base64.b64encode(b"\xff" * 4 * 9).decode()})
    engine.evaluate("d => { window.net = new Network(d); }", good)
    ask = "([n, label]) => { try { net.forward(new Float32Array(n), 3, label); } catch (e) { return e.message; } }"
    assert engine.evaluate(ask, [5, 0]) == "x must hold 720 numbers, but has 5."
    assert engine.evaluate(ask, [720, 7]) == "label must lie in 0 ... 3, or be null, but is 7."


SCHEDULES = {"linear": linear_betas(1000), "cosine": cosine_betas(60), "straight": straight_betas(1000)}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_formulas_are_the_librarys(engine, name):
    schedule = NoiseSchedule.from_betas(SCHEDULES[name])
    x, eps, z = (images(1, 1, 2, 5, seed=seed) for seed in range(3))
    T = len(schedule)
    engine.evaluate("betas => { window.s = makeSchedule(betas); }", listed(schedule.betas))
    for t, prev in ((0, -1), (1, 0), (T // 2, T // 3), (T - 1, T - 2)):
        at, before = torch.tensor([t]), torch.tensor([prev])
        wanted = {
            "qSample(s, x, t, z)": q_sample(schedule, x, at, z),
            "predictXStart(s, x, t, eps)": predict_x_start(schedule, x, at, eps),
            "predictEps(s, x, t, z)": predict_eps(schedule, x, at, z),
            "pSample(s, x, t, eps, z)": p_sample(schedule, x, at, eps, z),
            "ddimStep(s, x, t, prev, eps, z, 0.6)": ddim_step(schedule, x, at, before, eps, z, 0.6),
            "pathEnd(s, x, t, eps)": path_end(lambda *_, eps=eps: eps, schedule, x, at),
            "guided(x, eps, 2.5)": guided(lambda _, __, label: x if label is None else eps, at, 2.5)(x, at),
        }
        for call, right in wanted.items():
            given = [listed(x), listed(eps), listed(z), t, prev]
            found = torch.tensor(engine.evaluate(f"([x, eps, z, t, prev]) => {call}", given), dtype=torch.float64)
            torch.testing.assert_close(found, right.flatten(), rtol=1e-9, atol=1e-9)
    for steps in (1, 2, 3, 7, T // 2, T):
        assert engine.evaluate("([T, n]) => ddimTimesteps(T, n)", [T, steps]) == ddim_timesteps(T, steps)
        assert engine.evaluate("n => evenLevels(s, n)", steps) == even_levels(schedule, steps)
    taus = engine.evaluate("() => [...Array(s.length + 1).keys()].map(i => pathTime(s, i - 1))")
    assert taus == pytest.approx(path_times(schedule), rel=1e-9)
    bend = "(x, t) => x.map(v => Math.sin(v) + t / s.length)"  # a field of velocities that is no network's
    walk = engine.evaluate(
        f"x => [...sampleFlow({bend}, s, x, 7)].map(({{ t, x, x_start }}) => [t, x, x_start])", listed(x)
    )
    steps = list(sample_flow(lambda x, t: x.sin() + t.view(-1, 1, 1, 1).double() / T, schedule, x, 7))
    assert [t for t, *_ in walk] == [step.t for step in steps]
    found = torch.tensor([images for _, *images in walk], dtype=torch.float64)
    right = torch.stack([torch.stack([step.x.flatten(), step.x_start.flatten()]) for step in steps])
    torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-9)


def test_the_tables_are_the_catalogues_samplers_and_hold_no_code(trained):
    tables = sampler_tables(trained.schedule, levels=20, jumps=5)
    short, kept = every(trained.schedule, 20)
    x, eps, z = (images(1, 1, 3, 4, seed=seed) for seed in range(3))
    for name, rows in {"correct": tables["p_sample"]["correct"], **tables["p_sample"]["wrong"]}.items():
        step = build("p_sample", *(mistake for mistake in MISTAKES if mistake.id == name))
        for t in (0, 7, 19):
            a, b, c = rows[19 - t]
            right = step(short, x, torch.tensor([t]), eps, z)
            torch.testing.assert_close(a * x + b * eps + c * z, right, rtol=1e-5, atol=1e-5 * right.abs().max().item())
    assert tables["p_sample"]["levels"] == kept[::-1]
    assert len(tables["p_sample"]["wrong"]) > 15
    assert len(tables["ddim_step"]["wrong"]) > 5
    page = json.dumps(live_page.known(), ensure_ascii=False)
    assert not [mistake.hint for mistake in MISTAKES if mistake.hint in page]
    assert row(lambda x, eps, z: x.clamp(-1, 1) + eps) is None  # no sum of the three
    assert row(lambda x, eps, z: x / 0) is None


def test_a_drawing_is_fitted_as_the_library_fits_it(engine):
    for seed, (high, wide) in enumerate([(90, 40), (12, 70), (5, 5), (140, 139), (1, 1), (33, 20)]):
        page = torch.zeros(140, 140)
        page[140 - high :, :wide] = images(high, wide, seed=seed, dtype=torch.float32).abs().clamp(0, 1)
        found = engine.evaluate("ink => Array.from(likeMnist(ink, 140))", listed(page))
        torch.testing.assert_close(torch.tensor(found).float(), like_mnist(page).flatten(), rtol=0, atol=1e-5)
    assert set(engine.evaluate("() => Array.from(likeMnist(new Float32Array(140 * 140), 140))")) == {-1}


def test_the_gradients_of_the_pages_trainer_are_autograds(engine):
    call = """([inputs, targets]) => {
      window.mlp = new Mlp([5, 8, 6, 2], noiseStream(1, 0).normal);
      mlp.biases.forEach(b => b.forEach((_, i) => { b[i] = Math.sin(i + 1); }));
      const { loss, weights, biases } = lossAndGradients(mlp, Float32Array.from(inputs), Float32Array.from(targets));
      const plain = tables => tables.map(table => Array.from(table));
      return [loss, plain(mlp.weights), plain(mlp.biases), plain(weights), plain(biases)];
    }"""
    inputs, targets = images(7, 5, dtype=torch.float32), images(7, 2, seed=1, dtype=torch.float32)
    loss, *tables = engine.evaluate(call, [listed(inputs), listed(targets)])
    weights, biases, weight_slopes, bias_slopes = ([torch.tensor(part) for part in table] for table in tables)
    weights = [w.view(len(b), -1).requires_grad_() for w, b in zip(weights, biases, strict=True)]
    h = inputs
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        h = torch.nn.functional.linear(h, weight, bias.requires_grad_())
        h = torch.nn.functional.silu(h) if i < 2 else h
    right = torch.nn.functional.mse_loss(h, targets)
    right.backward()
    assert loss == pytest.approx(right.item(), rel=1e-5)
    for found, wanted in zip([*weight_slopes, *bias_slopes], [*weights, *biases], strict=True):
        torch.testing.assert_close(found, wanted.grad.flatten(), rtol=1e-4, atol=1e-6)


def test_the_pages_optimiser_is_pytorchs_adam(engine):
    """Of the slopes some are as faint as Adam's eps, which then counts."""
    slopes = images(5, 6, dtype=torch.float32) * torch.tensor([1, 1, 1e-4, 1e-8, 1e-8, 1e-9])
    call = """slopes => {
      const table = new Float32Array(6), adam = new Adam([table]);
      for (const slope of slopes) adam.step([Float32Array.from(slope)], 0.1);
      return Array.from(table);
    }"""
    right = torch.zeros(6, requires_grad=True)
    optimiser = torch.optim.Adam([right], lr=0.1)
    for right.grad in slopes:
        optimiser.step()
    found = torch.tensor(engine.evaluate(call, slopes.tolist()))
    torch.testing.assert_close(found, right.detach(), rtol=1e-3, atol=1e-5)


def test_the_exact_field_is_the_oracles(engine):
    schedule = NoiseSchedule.from_betas(cosine_betas(100))
    points, x = images(6, 2), images(9, 2, seed=1)
    oracle = finite_set_oracle(schedule, points.view(6, 1, 1, 2))
    for t in (0, 30, 99):
        call = "([betas, points, xy, t]) => exactEps(makeSchedule(betas), points, xy, t)"
        found = engine.evaluate(call, [listed(schedule.betas), points.tolist(), listed(x), t])
        right = oracle(x.view(9, 1, 1, 2), torch.full((9,), t)).flatten()
        torch.testing.assert_close(torch.tensor(found).double(), right, rtol=1e-4, atol=1e-4)


def test_a_seed_gives_normal_numbers_and_another_gives_others(engine):
    draw = "seed => Array.from(noiseStream(seed, 40000).draw())"
    z, again, other = (torch.tensor(engine.evaluate(draw, seed)) for seed in (1, 1, 2))
    assert torch.equal(z, again)
    count = len(z)
    assert z.mean().abs() < 6 / count**0.5
    assert (z.var() - 1).abs() < 6 * (2 / count) ** 0.5
    assert ((z**4).mean() - 3).abs() < 6 * (96 / count) ** 0.5
    assert (z * other).mean().abs() < 6 / count**0.5
    assert (z[1:] * z[:-1]).mean().abs() < 6 / count**0.5


def written(folder, known, thread=""):
    """The page without the site's theme, as a file; its thread runs the line ``thread`` first."""
    scripts = live_page.scripts(known).replace('id="live-worker">', f'id="live-worker">{thread}')
    text = (ROOT / "site" / "live.md").read_text().replace('<div id="live-scripts"></div>', scripts)
    lines = re.sub(r"^#+ (.*)$", r"<h2>\1</h2>", text, flags=re.MULTILINE)
    path = folder / "live.html"
    path.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>live</title>{lines}</html>')
    return path


@pytest.fixture(scope="module")
def known():
    """What the page knows, with a training that is over soon."""
    found = live_page.known()
    return found | {"training": found["training"] | {"steps": 50}}


@pytest.fixture(scope="module")
def live(browser, tmp_path_factory, known):
    """The page, opened from disk with no network, with the network of the library ready."""
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 900})
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(written(tmp_path_factory.mktemp("live"), known).as_uri())
    says(page.locator("#live-status"), "The network is ready.")
    yield page
    assert complaints == []
    context.close()


def says(place, start):
    """Wait until a line starts like this."""
    place.page.wait_for_function(
        "([node, start]) => node.textContent.startsWith(start)", arg=[place.element_handle(), start], timeout=60_000
    )


def pixels(canvas):
    return canvas.evaluate("canvas => canvas.toDataURL()")


def greys(canvas):
    call = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    return np.array(canvas.evaluate(call))[::4]


def press(box, name):
    """A button, by keyboard."""
    box.get_by_role("button", name=name, exact=True).focus()
    box.page.keyboard.press("Enter")


def test_a_digit_grows_and_every_state_lies_under_the_slider(live):
    box = live.locator("#live-grow")
    status, slider, canvas = box.locator("[role=status]"), box.get_by_role("slider"), box.locator("canvas").first
    box.get_by_label("steps").fill("4")
    press(box, "Grow it")
    says(status, "Grown: 4 steps, 8 looks")  # guided: two a step
    seen = []
    for key in ("Home", "ArrowRight", "End"):
        slider.focus()
        live.keyboard.press(key)
        seen.append((slider.get_attribute("aria-valuetext"), pixels(canvas)))
    assert [words for words, _ in seen] == ["before step 1 of 4: t = 999", "before step 2 of 4: t = 666", "the sample"]
    assert len({picture for _, picture in seen}) == 3
    last_state = seen[-1][1]
    box.get_by_label("guidance").fill("1")
    press(box, "Grow it")
    says(status, "Grown: 4 steps, 4 looks")
    box.get_by_label("guidance").fill("1.2")
    press(box, "Grow it")
    says(status, "Grown: 4 steps, 8 looks")
    assert pixels(canvas) == last_state  # the same seed
    box.get_by_role("combobox").nth(1).select_option("7")
    press(box, "Grow it")
    says(status, "Grown: 4 steps, 8 looks")
    seven = pixels(canvas)
    assert seven != last_state
    slider.focus()
    live.keyboard.press("Home")
    assert pixels(canvas) == seen[0][1]  # pure noise: no digit has been asked for yet
    press(box, "Next seed")
    says(status, "Grown: 4 steps, 8 looks")
    assert pixels(canvas) not in {last_state, seven}
    box.get_by_label("steps").fill("0")
    press(box, "Grow it")
    says(status, "steps must be a number from 1 to 1000, but is 0.")


def test_each_network_takes_its_own_steps_and_settings(live, known):
    box = live.locator("#live-grow")
    status, network = box.locator("[role=status]"), box.get_by_role("combobox").first
    canvas, drawn = box.locator("canvas").first, []
    for i, (each, steps, looks, idle) in enumerate(
        [(known["networks"][1], 8, 8, ["η"]), (known["networks"][2], 1, 1, ["guidance", "η"])], start=1
    ):
        network.select_option(str(i))
        assert box.get_by_text(each["text"]).is_visible()
        assert box.get_by_label("steps").input_value() == str(steps)
        assert [name for name in ("guidance", "η") if box.get_by_label(name).is_disabled()] == idle
        press(box, "Grow it")
        says(status, f"Grown: {steps} step{'s'[: steps > 1]}, {looks} look{'s'[: looks > 1]} at the network")
        drawn.append(pixels(canvas))
    box.get_by_label("steps").fill("2")
    press(box, "Grow it")
    says(status, "Grown: 2 steps, 2 looks")
    drawn.append(pixels(canvas))
    box.get_by_label("steps").fill("3")
    press(box, "Grow it")
    says(status, "steps must be a number from 1 to 2, but is 3.")
    network.select_option("0")
    box.get_by_label("steps").fill("4")
    assert box.get_by_label("guidance").input_value() == "1.2"
    press(box, "Grow it")
    says(status, "Grown: 4 steps, 8 looks")
    assert len({*drawn, pixels(canvas)}) == 4


def test_the_newest_job_stops_the_one_before(live):
    box = live.locator("#live-grow")
    box.get_by_label("steps").fill("1000")
    press(box, "Grow it")
    live.wait_for_function("node => +node.max > 1", arg=box.get_by_role("slider").element_handle())
    press(box, "Stop")
    says(box.locator("[role=status]"), "Stopped after")


def test_a_digit_is_drawn_and_brought_back(live):
    box = live.locator("#live-draw")
    pad, seen, state, guess = (box.locator("canvas").nth(i) for i in range(4))
    status, blank = box.locator("[role=status]"), [pixels(box.locator("canvas").nth(i)) for i in range(4)]
    pad.scroll_into_view_if_needed()
    place = pad.bounding_box()
    live.mouse.move(place["x"] + 40, place["y"] + 35)
    live.mouse.down()
    for x, y in ((95, 35), (90, 60), (70, 110)):  # a 7
        live.mouse.move(place["x"] + x, place["y"] + y, steps=5)
    live.mouse.up()
    assert [pixels(c) != old for c, old in zip((pad, seen, state), blank, strict=False)] == [True] * 3
    slider = box.get_by_role("slider")
    slider.focus()
    live.keyboard.press("Home")
    for _ in range(3):
        live.keyboard.press("ArrowRight")
    noised = pixels(state)
    press(box, "Noise it and bring it back")
    says(status, "Brought back as a 3 from t = 3: 4 steps, 8 looks")
    assert pixels(state) != noised
    assert pixels(guess) != blank[3]
    off = abs(greys(state) - greys(seen)).mean()
    assert off < 10, off  # so little noise leaves the drawing where it was
    press(box, "Clear")
    assert [pixels(pad), pixels(seen)] == blank[:2]
    box.get_by_role("combobox").first.select_option("8")
    press(box, "Take it")
    says(status, "An 8 from the test set.")
    assert blank[0] != pixels(pad)
    assert blank[1] != pixels(seen)


def test_a_wrong_sampler_is_predicted_then_run_beside_the_right_one(live, known):
    box, mistake = live.locator("#live-compare"), next(m for m in known["mistakes"] if m["exercise"] == "ddim_step")
    status, verdict = box.locator("[role=status]"), box.locator("p").last
    live.evaluate("key => { location.hash = `try-${key}`; }", mistake["key"])
    chosen = box.get_by_label("wrong sampler")
    live.wait_for_function("([node, name]) => node.selectedOptions[0].textContent.includes(name)",
                           arg=[chosen.element_handle(), mistake["name"]])  # fmt: skip
    box.get_by_label("how many").fill("1")
    press(box, "Run both")
    says(status, "Choose a prediction first.")
    box.get_by_role("radio", name=mistake["symptom"], exact=True).focus()
    live.keyboard.press("Space")
    press(box, "Run both")
    says(status, "Done: 50 looks")
    assert verdict.inner_text().startswith(f"Your prediction is what the symptom page says: {mistake['symptom']}.")
    right, wrong = (pixels(box.locator("canvas").nth(i)) for i in range(2))
    assert right != wrong


def test_points_are_drawn_and_learned(live):
    box = live.locator("#live-train")
    status, count, pad = box.locator("[role=status]"), box.locator(".live-count"), box.get_by_role("application")
    press(box, "Clear")
    press(box, "Train on these points")
    says(status, "Put at least two points")
    pad.focus()
    for key in ("Space", "ArrowLeft", "ArrowUp", "Space"):
        live.keyboard.press(key)
    says(count, "2 points")
    learned = box.get_by_role("img", name="learned: arrows and sampled points")
    blank = pixels(learned)
    press(box, "Train on these points")
    says(status, "Trained: 50 steps")
    trained_on = pixels(learned)
    assert trained_on != blank
    slider = box.get_by_role("slider")
    slider.focus()
    live.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "t = 99"
    assert pixels(learned) != trained_on


def test_damaged_weights_are_told_and_the_rest_of_the_page_goes_on(browser, tmp_path, known):
    page = browser.new_page()
    page.goto(written(tmp_path, known | {"model": known["model"] | {"weights": "AAAA"}}).as_uri())
    says(page.locator("#live-status"), "The network could not be started: the weights are damaged")
    press(page.locator("#live-grow"), "Grow it")
    says(page.locator("#live-grow [role=status]"), "the weights are damaged")
    press(page.locator("#live-train"), "Train on these points")
    says(page.locator("#live-train [role=status]"), "Trained: 50 steps")
    page.close()


def test_weights_that_are_read_late_and_are_damaged_leave_the_others_alone(browser, tmp_path, known):
    page, damaged = browser.new_page(), {"flow": known["others"]["flow"] | {"weights": "AAAA"}}
    page.goto(written(tmp_path, known | {"others": known["others"] | damaged}).as_uri())
    box = page.locator("#live-grow")
    for _ in range(2):
        box.get_by_role("combobox").first.select_option("1")
        press(box, "Grow it")
        says(box.locator("[role=status]"), "the weights are damaged")
        box.get_by_role("combobox").first.select_option("2")
        press(box, "Grow it")
        says(box.locator("[role=status]"), "Grown: 1 step, 1 look at the network")
    page.close()


@pytest.mark.parametrize("how", ["with an error", "in silence"])
def test_a_thread_that_is_lost_is_told_and_started_again(browser, tmp_path, known, how):
    page = browser.new_page()
    page.clock.install()
    page.goto(written(tmp_path, known).as_uri())
    says(page.locator("#live-status"), "The network is ready.")
    box = page.locator("#live-grow")
    box.get_by_label("steps").fill("1000")
    press(box, "Grow it")
    page.wait_for_function("node => +node.max > 1", arg=box.get_by_role("slider").element_handle())
    if how == "in silence":
        page.workers[0].evaluate("self.close()")
        page.clock.run_for(25_000)
    else:
        page.workers[0].evaluate("void Promise.resolve().then(() => setTimeout(() => { throw new Error('gone'); }))")
    says(box.locator("[role=status]"), "The computing thread was lost")
    box.get_by_label("steps").fill("2")
    press(box, "Grow it")
    says(box.locator("[role=status]"), "Grown: 2 steps")
    page.close()


def test_a_browser_without_threads_gets_a_sentence(browser, tmp_path, known):
    page = browser.new_page()
    page.add_init_script("delete window.Worker")
    page.goto(written(tmp_path, known).as_uri())
    says(page.locator("#live-status"), "This browser has no threads")
    keep(page, "live_without_threads")
    page.close()


def test_a_browser_without_vectors_gets_a_sentence_and_a_digit(browser, tmp_path, known):
    page = browser.new_page()
    page.goto(written(tmp_path, known, thread="delete self.WebAssembly;").as_uri())
    says(page.locator("#live-status"), "The network is ready. This browser has no WebAssembly vectors")
    page.locator("#live-grow").get_by_label("steps").fill("2")
    press(page.locator("#live-grow"), "Grow it")
    says(page.locator("#live-grow [role=status]"), "Grown: 2 steps")
    page.close()
