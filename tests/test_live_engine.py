"""The live page's scripts beside the library: engine, formulas, tables of wrong samplers, grammar, trainer."""

import base64
import copy
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT, images
from lab_server import NEEDS_CHROMIUM

from diffusion_lib import guidance, words
from diffusion_lib.consistency import path_end, sample_ends
from diffusion_lib.data import like_mnist, load_stand_in, to_bytes
from diffusion_lib.diffusion import ddim_step, p_sample, predict_eps, predict_x_start, q_sample
from diffusion_lib.flow import even_levels, path_times, sample_flow
from diffusion_lib.guidance import guided
from diffusion_lib.latents import decode_scaled
from diffusion_lib.oracles import finite_set_oracle
from diffusion_lib.profiles import UNetConfig
from diffusion_lib.samplers import ddim_timesteps, denoiser, last, sample_ddim
from diffusion_lib.schedules import NoiseSchedule, cosine_betas, linear_betas, straight_betas
from diffusion_lib.showing.exporting import Listing, describe, describe_decoder, sixteen_bits
from diffusion_lib.training.checkpoints import load_autoencoder, load_pretrained
from diffusion_lib.unet import UNet
from grader.catalogue.mistakes import MISTAKES, build
from grader.catalogue.tables import SETTINGS, every, guess_rows, row, sampler_tables

sys.path.insert(0, str(ROOT / "scripts"))
import build_site
import live_page

pytestmark = NEEDS_CHROMIUM

OTHER = UNetConfig(
    image_channels=3, image_size=(12, 20), patch_size=1, width=24, multipliers=(1, 1, 2), transformer_stages=(1,),
    time_dim=20, context_dim=12, context_tokens=3, num_classes=4,
)  # fmt: skip
PROMPTED = replace(OTHER, prompt_words=7)
ENCODE = """numbers => {
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}"""


def other_network(config=OTHER):
    """Another shape of network, in which every weight matters."""
    model, generator = UNet(config).eval(), torch.Generator().manual_seed(0)
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
    page.add_script_tag(content=live_page.joined([live_page.LIVE / f"{name}.js" for name in ("mnist", "prompts")]))
    page.add_script_tag(content=f"window.encode = {ENCODE}")
    yield page
    page.close()


def decoded(text, kind="<f4"):
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), kind).copy())


def carried(model, description):
    """The network with the very numbers that its description carries: rows of 16-bit integers times their units."""
    integers, units = decoded(description["weights"], "<i2"), decoded(description["units"])
    rounded, tensors = copy.deepcopy(model), model.state_dict()
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


def outputs(model, ask):
    """What each module of the network answers on the way, by its name, channels before pixels or tokens."""
    seen = {}

    def note(name):
        def hook(module, given, answer):
            if isinstance(module, torch.nn.MultiheadAttention):  # reads its last layer's weights without calling it
                return seen.update({f"{name}.out_proj": answer[0].mT})
            seen[name] = answer.mT if answer.ndim == 3 else answer

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    with torch.no_grad():
        seen["eps"] = ask()
    for hook in hooks:
        hook.remove()
    return seen


def agrees(engine, model, description, wanted, part=""):
    """The values that the engine has made are those of PyTorch, for every layer of the part that has weights."""
    read = "() => Object.fromEntries(net.layers.map(({ name }) => [name, encode(net.read(name))]))"
    found = {name: decoded(text) for name, text in engine.evaluate(read).items()}
    off = {name: (found[name] - wanted[name].flatten()).abs().max().item() for name in found.keys() & wanted.keys()}
    assert max(off.values()) < 1e-3, max(off.items(), key=lambda item: item[1])
    layers = {name for name, module in model.named_modules() if module._parameters and not list(module.children())}
    assert off.keys() >= {name for name in layers if name.startswith(part)}  # none is left out
    used = {each[kind] for each in description["layers"] for kind in ("weight", "bias") if each.get(kind)}
    assert used == {name for name in model.state_dict() if name.startswith(part)} == description["tensors"].keys()


NETWORKS = {
    "shipped": lambda: load_pretrained().model,
    "another": other_network,
    "words": lambda: load_pretrained("words").model,
    "another of prompts": lambda: other_network(PROMPTED),
}


@pytest.mark.parametrize("vectors", [True, False], ids=["WebAssembly", "plain JavaScript"])
@pytest.mark.parametrize("which", NETWORKS)
def test_every_layer_answers_as_pytorchs(engine, which, vectors):
    model = NETWORKS[which]()
    made = "([d, vectors]) => { window.net = new Network(d, { vectors }); return net.kind; }"
    description = describe(model)
    kind = engine.evaluate(made, [description, vectors])
    assert kind == ("WebAssembly" if vectors else "plain JavaScript")
    x, t = images(1, *model.image_shape, dtype=torch.float32), 300
    for label in (None, [3, 1, 0, 3, 2, 1, 1][: model.config.prompt_words] or 3):
        told = None if label is None else torch.tensor([label])
        rounded = carried(model, description)
        wanted = outputs(rounded, lambda rounded=rounded, told=told: rounded(x, torch.tensor([t]), told))
        forward(engine, x, t, label)
        agrees(engine, model, description, wanted)


@pytest.mark.parametrize("vectors", [True, False], ids=["WebAssembly", "plain JavaScript"])
def test_every_layer_of_the_decoder_answers_as_pytorchs(engine, vectors):
    model = load_autoencoder()
    description = describe_decoder(model, (2, 14, 14))
    engine.evaluate("([d, vectors]) => { window.net = new Network(d, { vectors }); }", [description, vectors])
    z, rounded = images(1, 2, 14, 14, dtype=torch.float32), carried(model, description)
    wanted = outputs(rounded, lambda: rounded.decode(z * model.scale))
    answer = decoded(engine.evaluate("x => encode(net.run({ x: Float32Array.from(x) }))", listed(z)))
    agrees(engine, model, description, wanted, "decoder.")
    page = decode_scaled(model, z, model.scale).flatten()
    assert (answer.clamp(-1, 1) - page).abs().max() < 1e-3  # of the weights as they are shipped


@pytest.mark.parametrize("name", [network["key"] for network in live_page.NETWORKS])
def test_each_networks_guess_is_pytorchs_at_ten_levels(engine, name):
    trained = load_pretrained(name)
    engine.evaluate("d => { window.net = new Network(d); }", describe(trained.model))
    for i, t in enumerate(ddim_timesteps(1000, 10)):
        x, label = images(1, 1, 28, 28, seed=i, dtype=torch.float32), None if i == 4 else i
        with torch.no_grad():
            wanted = trained.model(x, torch.tensor([t]), None if label is None else torch.tensor([label]))
        assert (forward(engine, x, t, label) - wanted.flatten()).abs().max() < 1e-3, t


def test_the_guess_for_a_prompt_is_pytorchs_at_ten_levels(engine):
    trained = load_pretrained("words")
    engine.evaluate("d => { window.net = new Network(d); }", describe(trained.model))
    prompts = words.draw_pages(load_stand_in("test"), 10, seed=3).labels
    for i, t in enumerate(ddim_timesteps(1000, 10)):
        x, prompt = images(1, 2, 14, 14, seed=i, dtype=torch.float32), None if i == 4 else prompts[i : i + 1]
        with torch.no_grad():
            wanted = trained.model(x, torch.tensor([t]), prompt)
        found = forward(engine, x, t, None if prompt is None else listed(prompt))
        assert (found - wanted.flatten()).abs().max() < 1e-3, t


def stream(generator, count, *shape):
    """Draw after draw, as a sampler draws: torch gives other numbers when asked for all at once."""
    return torch.stack([torch.randn(shape, generator=generator) for _ in range(count)])


def test_a_page_of_fifty_steps_is_pytorchs(engine):
    trained, autoencoder = load_pretrained("words"), load_autoencoder()
    description = live_page.carried(trained, autoencoder)
    engine.evaluate("d => { window.net = new Network(d); window.decoder = new Network(d.decoder); }", description)
    prompt, scale, generator = words.encode("nine two above one four"), 1.5, torch.Generator().manual_seed(0)
    x_T = torch.randn(1, 2, 14, 14, generator=generator)
    steps = sample_ddim(guided(trained.model, prompt, scale), trained.schedule, x_T, 50, eta=1.0, generator=generator)
    wanted = decode_scaled(autoencoder, last(steps), autoencoder.scale)
    noise = stream(generator.manual_seed(0), 51, 1, 2, 14, 14)
    call = """([betas, noise, label, scale]) => {
      const schedule = makeSchedule(betas), [x, ...fresh] = noise.map(z => Float32Array.from(z));
      const guess = conditioned((x, t, label) => net.forward(x, t, label), label, scale);
      let state;
      for (state of sampleDdim(guess, schedule, x, 50, { eta: 1, draw: () => fresh.shift() }));
      return encode(decoder.run({ x: state.x }));
    }"""
    found = decoded(engine.evaluate(call, [description["betas"], noise.flatten(1).tolist(), listed(prompt), scale]))
    off = (to_bytes(found).int() - to_bytes(wanted).flatten().int()).abs()
    assert off.max() <= 2, off.max()


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
    engine.evaluate("d => { window.net = new Network(d); }", describe(other_network(PROMPTED)))
    assert engine.evaluate(ask, [720, [1, 2, 3]]) == "label must hold 7 numbers, but has 3."
    assert (
        engine.evaluate(ask, [720, [1, 2, 3, 4, 5, 0, 0]])
        == "label must lie in 0 ... 3, or be null, but is 1,2,3,4,5,0,0."
    )


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


@pytest.fixture(scope="module")
def tables(trained):
    return sampler_tables(trained.schedule)


@pytest.mark.parametrize("exercise", ["p_sample", "ddim_step"])
def test_the_tables_are_the_catalogues_samplers(trained, tables, exercise):
    x, eps, z = (images(1, 1, 3, 4, seed=seed) for seed in range(3))
    assert tables[exercise].keys() == SETTINGS[exercise].keys() > {"usual"}
    for setting, how in SETTINGS[exercise].items():
        table = tables[exercise][setting]
        short, kept = every(trained.schedule, how.levels)
        times = ddim_timesteps(how.levels, how.jumps or how.levels)
        assert table["levels"] == [kept[t] for t in times]
        assert len(table["wrong"]) > (15 if exercise == "p_sample" else 5)
        for name, rows in {"correct": table["correct"], **table["wrong"]}.items():
            step = build(exercise, *(mistake for mistake in MISTAKES if mistake.id == name))
            for i in (0, len(times) // 2, len(times) - 1):
                t, prev = torch.tensor([times[i]]), torch.tensor([[*times, -1][i + 1]])
                given = (t, eps, z) if exercise == "p_sample" else (t, prev, eps, z, how.eta)
                right = step(short, x, *given)
                a, b, c = rows[i]
                found = a * x + b * eps + c * z
                torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5 * right.abs().max().item())


def labelled_guess(x, t, label):
    """A model whose guess depends on x, t and the label: no label's is a sum of others'."""
    number = -1.0 if label is None else label.double().view(-1, 1, 1, 1)
    return torch.sin(x * (0.5 + number / 20) + number + t.view(-1, 1, 1, 1))


@pytest.mark.parametrize("setting", SETTINGS["guided"])
def test_the_tables_of_guidance_are_the_catalogues_in_every_step(trained, tables, setting):
    how, table, label = SETTINGS["guided"][setting], tables["guided"][setting], torch.tensor([7])
    assert table["levels"] == ddim_timesteps(1000, 25)
    assert table["steps"] == tables["ddim_step"]["usual"]["correct"]
    assert table["correct"] not in table["wrong"].values()
    for name, rows in {"correct": table["correct"], **table["wrong"]}.items():
        guide = build("guided", *(mistake for mistake in MISTAKES if mistake.id == name))
        eps_model = guide(labelled_guess, label.clone(), how.scale)
        assert len(rows) == len(table["levels"])
        for t, weights in zip(table["levels"], rows, strict=True):
            x, at = images(1, 1, 3, 4, seed=t), torch.tensor([t])
            guesses = [labelled_guess(x, at, told) for told in (None, label, torch.zeros_like(label))]
            found = sum(w * guess for w, guess in zip(weights, guesses, strict=True))
            torch.testing.assert_close(found, eps_model(x, at), rtol=1e-6, atol=1e-6)


def test_all_mistakes_of_guidance_are_run_and_the_tables_hold_no_code(tables):
    assert tables["guided"]["usual"]["wrong"].keys() == {
        mistake.id for mistake in MISTAKES if mistake.exercise == "guided"
    }
    page = json.dumps(live_page.known(), ensure_ascii=False)
    assert not [mistake.hint for mistake in MISTAKES if mistake.hint in page]
    assert row(lambda x, eps, z: x.clamp(-1, 1) + eps) is None  # no sum of the three
    assert row(lambda x, eps, z: x / 0) is None
    nonlinear = lambda model, label, scale: lambda x, t: model(x, t, label) ** 2  # noqa: E731
    assert guess_rows(nonlinear, 3, 1.5) is None


def test_a_walk_by_tables_is_the_librarys_walk(engine, trained, tables):
    """The engine's own arithmetic of tables, with every mistake of guidance, from the same noise."""
    schedule, label, table = trained.schedule, torch.tensor([7]), tables["guided"]["usual"]
    schedule = NoiseSchedule.from_betas(schedule.betas.double())
    call = """([betas, noise, levels, steps, guesses]) => {
      const schedule = makeSchedule(betas), [x, ...fresh] = noise;
      const look = (x, t, label) => x.map(v => Math.sin(v * (0.5 + (label ?? -1) / 20) + (label ?? -1) + t));
      const guess = clipped(guidedByTable(look, 7, guesses), schedule);
      return [...sampleByTable(guess, schedule, x, levels, steps, () => fresh.shift())].at(-1).x;
    }"""
    for name, rows in {"correct": table["correct"], **table["wrong"]}.items():
        guide = build("guided", *(mistake for mistake in MISTAKES if mistake.id == name))
        generator = torch.Generator().manual_seed(0)
        x_T = torch.randn(1, 1, 3, 4, generator=generator).double()
        eps_model = guidance.clipped(guide(labelled_guess, label.clone(), 1.5), schedule)
        right = last(sample_ddim(eps_model, schedule, x_T, 25, eta=1.0, generator=generator))
        noise = stream(generator.manual_seed(0), 26, 1, 1, 3, 4).flatten(1).tolist()
        given = [listed(schedule.betas), noise, table["levels"], table["steps"], rows]
        found = torch.tensor(engine.evaluate(call, given), dtype=torch.float64)
        torch.testing.assert_close(found, right.flatten(), rtol=1e-3, atol=1e-3)


def test_every_mistake_shows_at_the_setting_that_the_page_chooses():
    """By what was measured on forty digits; the usual setting is chosen wherever it will do."""
    known = live_page.known()
    assert {mistake["exercise"] for mistake in known["mistakes"] if mistake["setting"] != "usual"} == SETTINGS.keys()
    for mistake in known["mistakes"]:
        for name, table in known["tables"][mistake["exercise"]].items():
            if mistake["id"] in table["wrong"] and name in ("usual", mistake["setting"]):
                seen = live_page.shows(mistake["measured"][name], table["measured"])
                assert seen == (name == mistake["setting"]), (mistake["id"], name)


def test_the_symptom_page_leads_to_each_that_can_be_run_and_tells_what_was_turned():
    known, text = live_page.known(), build_site.debugging()
    for mistake in known["mistakes"]:
        about = text.split(f"**{mistake['name']}** · `{mistake['exercise']}`")[1].split("\n**")[0]
        assert f'href="live.html#try-{mistake["key"]}"' in about
        settings = known["tables"][mistake["exercise"]]
        told = [name for name, table in settings.items() if name != "usual" and table["told"] in about]
        assert told == [mistake["setting"]] * (mistake["setting"] != "usual")
        pictures = re.findall(r"_static/symptoms/(\w+\.png)", about)
        assert len(pictures) == (0 if "error" in mistake["measured"].get("usual", {}) else 1 + len(told))
        assert all((live_page.SITE / "symptoms" / name).exists() for name in pictures)


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        ({"agreement": 0.93, "spread": 0.88, "most": 0.2}, False),
        ({"agreement": 0.85, "spread": 0.9, "most": 0.1}, True),
        ({"agreement": 0.95, "spread": 0.8, "most": 0.1}, True),
        ({"agreement": 0.95, "spread": 1.0, "most": 0.1}, True),
        ({"agreement": 0.95, "spread": 0.9, "most": 0.6}, True),
        ({"error": "every pixel becomes NaN"}, True),
    ],
)
def test_a_mistake_shows_where_agreement_or_spread_differ(wrong, seen):
    assert live_page.shows(wrong, {"agreement": 0.96, "spread": 0.9, "most": 0.1}) == seen


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


@pytest.fixture(scope="module")
def language():
    return live_page.known()["prompts"]["language"]


def test_prompts_are_read_as_the_library_reads_them(engine, language):
    four = torch.randint(10, (400, 4), generator=torch.Generator().manual_seed(0))
    prompts = words.phrase(four, torch.arange(400) % 2 == 0)
    call = """([texts, language]) => texts.map(text => {
      const numbers = encodePrompt(text, language), rows = rowsOf(numbers, language);
      return [numbers, rows, heldOut(rows, language)];
    })"""
    texts = [
        text if i % 3 else f"  {text.upper()}\t".replace(" ", "  ") for i, text in enumerate(words.decode(prompts))
    ]
    found = engine.evaluate(call, [texts, language])
    assert torch.equal(words.encode(texts), prompts)
    assert [numbers for numbers, *_ in found] == prompts.tolist()
    assert [rows for _, rows, _ in found] == four.view(-1, 2, 2).tolist()
    fresh = [pair[words.unseen(pair)].tolist() for pair in four.view(-1, 2, 2)]
    assert [held for *_, held in found] == fresh
    assert {len(held) for held in fresh} == {0, 1, 2}


WORDS = "zero, one, two, three, four, five, six, seven, eight, nine, above and below"
GRAMMAR = "A prompt is two digits, above or below, and two more digits. Received: "
REFUSED = {
    "three eleven above four seven": f"The network does not know “eleven”. Its words are {WORDS}.",
    "three one above four seven.": f"The network does not know “seven.”. Its words are {WORDS}.",
    "Three one four seven": f"{GRAMMAR}“three one four seven”.",
    "three one four seven nine": f"{GRAMMAR}“three one four seven nine”.",
    "three above one four seven": f"{GRAMMAR}“three above one four seven”.",
    "three one above four above": f"{GRAMMAR}“three one above four above”.",
    "three one above four seven one": f"{GRAMMAR}“three one above four seven one”.",
    " ": f"{GRAMMAR}nothing.",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_prompt_is_told_with_what_was_received(engine, language, text):
    with pytest.raises(ValueError, match=r"word|prompt"):
        words.encode(text)
    tell = "([text, language]) => { try { encodePrompt(text, language); } catch (error) { return error.message; } }"
    assert engine.evaluate(tell, [text, language]) == REFUSED[text]
