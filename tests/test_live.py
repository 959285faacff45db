"""The live page, driven offline: what its reader can do, and what it says when something goes wrong."""

import re
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from lab_server import NEEDS_CHROMIUM, keep

from diffusion_lib import words
from diffusion_lib.data import to_bytes
from diffusion_lib.diffusion import ddim_step
from diffusion_lib.guidance import guided
from diffusion_lib.latents import decode_scaled
from diffusion_lib.samplers import ddim_timesteps, denoiser
from diffusion_lib.training.checkpoints import load_autoencoder, load_pretrained
from grader.catalogue.tables import SETTINGS

sys.path.insert(0, str(ROOT / "scripts"))
import live_page

pytestmark = NEEDS_CHROMIUM


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


def test_a_page_is_drawn_from_a_prompt_with_every_state_under_the_slider(live):
    box = live.locator("#live-words")
    status, slider = box.locator("[role=status]"), box.get_by_role("slider")
    latent, state, clean = (box.locator("canvas").nth(i) for i in range(3))
    box.get_by_label("steps").fill("4")
    prompt = box.get_by_label("prompt")
    prompt.fill("Two five below nine eight")
    prompt.press("Enter")
    says(status, "Drawn: 4 steps, 8 looks")
    asked = "Asked for: nine eight in the upper row, two five in the lower. "
    assert box.get_by_text(asked + "Held out: on no page of training does “two five” stand side by side.").is_visible()
    seen = []
    for key in ("Home", "ArrowRight", "End"):
        slider.focus()
        live.keyboard.press(key)
        seen.append((slider.get_attribute("aria-valuetext"), *map(pixels, (latent, state, clean))))
    assert [words for words, *_ in seen] == ["before step 1 of 4: t = 999", "before step 2 of 4: t = 666", "the sample"]
    for canvas in zip(*seen, strict=True):
        assert len(set(canvas)) == 3
    assert seen[-1][2] == seen[-1][3]  # the sample is its own clean page
    assert seen[0][2] != seen[0][3]
    press(box, "Next seed")
    says(status, "Drawn: 4 steps, 8 looks")
    assert pixels(clean) != seen[-1][3]
    box.get_by_label("seed").fill("0")
    box.get_by_label("guidance").fill("1")
    press(box, "Draw it")
    says(status, "Drawn: 4 steps, 4 looks")
    assert pixels(clean) != seen[-1][3]
    box.get_by_label("guidance").fill("1.5")
    prompt.fill("nine eight above two five")
    press(box, "Draw it")
    says(status, "Drawn: 4 steps, 8 looks")
    assert box.get_by_text(asked).is_visible()
    assert pixels(clean) != seen[-1][3]  # the same page in other words
    prompt.fill("nine eight over two five")
    press(box, "Draw it")
    says(status, "The network does not know “over”. Its words are zero, one, two,")
    assert prompt.evaluate("node => node === document.activeElement")
    box.get_by_label("steps").fill("1001")
    press(box, "Draw it")
    says(status, "steps must be a number from 1 to 1000, but is 1001.")


def test_the_page_in_the_slider_is_the_one_that_the_library_draws(live):
    """Its own noise, the library's networks: the last picture of the page is what PyTorch decodes."""
    box = live.locator("#live-words")
    box.get_by_label("steps").fill("5")
    box.get_by_label("seed").fill("3")
    box.get_by_label("η").fill("0.5")
    press(box, "three one above eight two")
    says(box.locator("[role=status]"), "Drawn: 5 steps, 10 looks")
    trained, autoencoder, noise = load_pretrained("words"), load_autoencoder(), live_noise(live, 3, 2 * 14 * 14, 6)
    prompt, drawn = words.encode("three one above eight two"), iter(noise.view(-1, 1, 2, 14, 14))
    x, times = next(drawn), ddim_timesteps(1000, 5)
    for t, prev in zip(times, [*times[1:], -1], strict=True):
        at, before = torch.tensor([t]), torch.tensor([prev])
        with torch.no_grad():
            eps = guided(trained.model, prompt, 1.5)(x, at)
        x = ddim_step(trained.schedule, x, at, before, eps, next(drawn), 0.5)
    right = 255 - to_bytes(decode_scaled(autoencoder, x, autoencoder.scale)).flatten().int().numpy()  # ink is black
    assert abs(greys(box.locator("canvas").nth(2)) - right).max() <= 2


def live_noise(page, seed, count, draws):
    """What the page's stream of noise gives, draw after draw."""
    call = f"""([seed, count, draws]) => {{
      {live_page.joined([live_page.LIVE / "diffusion.js"])}
      const {{ draw }} = noiseStream(seed, count);
      return Array.from({{ length: draws }}, () => Array.from(draw()));
    }}"""
    return torch.tensor(page.evaluate(call, [seed, count, draws]))


def test_examples_are_clicked_and_only_what_training_never_has_is_called_held_out(live, known):
    box = live.locator("#live-words")
    box.get_by_label("steps").fill("1")
    told = []
    for text in known["prompts"]["examples"]:
        new = words.unseen(words.asked(words.encode(text)).view(2, 2)).any().item()
        press(box, f"{text} (held out)" if new else text)
        says(box.locator("[role=status]"), "Drawn: 1 step, 2 looks")
        assert box.get_by_label("prompt").input_value() == text
        assert ("Held out" in box.get_by_text("Asked for").inner_text()) == new
        told.append(new)
    assert set(told) == {False, True}


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


@pytest.mark.parametrize(
    ("name", "looks"),
    [("ddim_step/no direction", 25 + 25), ("guided/1 + scale", 50 + 50)],  # guided ones look twice a step
)
def test_a_wrong_sampler_is_predicted_then_run_beside_the_right_one(live, known, name, looks):
    box, mistake = live.locator("#live-compare"), next(m for m in known["mistakes"] if m["id"] == name)
    status, verdict = box.locator("[role=status]"), box.locator("p").last
    assert mistake["setting"] == "usual"
    live.evaluate("key => { location.hash = `try-${key}`; }", mistake["key"])
    chosen = box.get_by_label("wrong sampler")
    live.wait_for_function("([node, name]) => node.selectedOptions[0].textContent.includes(name)",
                           arg=[chosen.element_handle(), mistake["name"]])  # fmt: skip
    assert box.get_by_role("combobox").nth(1).input_value() == "usual"
    box.get_by_label("how many").fill("1")
    press(box, "Run both")
    says(status, "Choose a prediction first.")
    box.get_by_role("radio", name=mistake["symptom"], exact=True).focus()
    live.keyboard.press("Space")
    press(box, "Run both")
    says(status, f"Done: {looks} looks")
    assert verdict.inner_text().startswith(f"Your prediction is what the symptom page says: {mistake['symptom']}.")
    right, wrong = (pixels(box.locator("canvas").nth(i)) for i in range(2))
    assert right != wrong


@pytest.mark.parametrize(
    ("name", "louder", "looks"),
    [
        ("guided/w where 1 + w belongs", "guidance 0", 25 + 25),  # the right one asks without a label, this one with it
        ("ddim_step/one level too early", "longer steps", 10 + 10),
    ],
)
def test_a_mistake_that_hardly_shows_is_turned_louder_and_can_be_seen(live, known, name, louder, looks):
    box, mistake = live.locator("#live-compare"), next(m for m in known["mistakes"] if m["id"] == name)
    status, verdict, setting = box.locator("[role=status]"), box.locator("p").last, box.get_by_role("combobox").nth(1)
    box.get_by_label("wrong sampler").select_option(str(known["mistakes"].index(mistake)))
    assert setting.input_value() == louder
    told = known["tables"][mistake["exercise"]]
    assert box.get_by_text(f"{told[louder]['told']} At the usual setting this mistake hardly shows").is_visible()
    box.get_by_role("radio", name=mistake["symptom"], exact=True).check()
    box.get_by_label("how many").fill("2")
    press(box, "Run both")
    says(status, f"Done: {2 * looks} looks")
    pictures = [greys(box.locator("canvas").nth(i)) for i in range(4)]
    assert abs(pictures[0] - pictures[2]).mean() > 10
    assert abs(pictures[1] - pictures[3]).mean() > 10
    seen = mistake["measured"][louder]
    assert f"so set: agreement {round(100 * seen['agreement'])} %, spread {seen['spread']:.2f}" in verdict.inner_text()
    setting.select_option("usual")
    assert box.get_by_text(told["usual"]["told"], exact=True).is_visible()


def test_digits_that_begin_with_the_same_noise_are_the_librarys(live, known):
    """From one x_T, each with fresh noise of its own: what the library draws from the page's noise."""
    box, names = live.locator("#live-compare"), [mistake["id"] for mistake in known["mistakes"]]
    box.get_by_label("wrong sampler").select_option(str(names.index("ddim_step/η is ignored")))
    assert box.get_by_label("how many").input_value() == "4"
    box.get_by_label("how many").fill("2")
    box.get_by_label("seed").fill("6")
    box.get_by_role("combobox").nth(2).select_option("5")
    box.get_by_role("radio").first.check()
    press(box, "Run both")
    says(box.locator("[role=status]"), "Done: 200 looks")
    trained, how = load_pretrained(), SETTINGS["ddim_step"]["one first noise"]
    guess, times = denoiser(trained.model, trained.schedule, torch.tensor([5]), 1.0), ddim_timesteps(1000, how.jumps)
    streams = [live_noise(live, 6 + i, 784, how.jumps + 1).view(-1, 1, 1, 28, 28) for i in range(2)]
    for i, stream in enumerate(streams):
        x = streams[0][0]
        for t, prev, z in zip(times, [*times[1:], -1], stream[1:], strict=True):
            at, before = torch.tensor([t]), torch.tensor([prev])
            with torch.no_grad():
                x = ddim_step(trained.schedule, x, at, before, guess(x, at), z, how.eta)
        right = 255 - to_bytes(x).flatten().int().numpy()
        assert abs(greys(box.locator("canvas").nth(i)) - right).max() <= 2


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
    page, words = browser.new_page(), known["others"]["words"]
    damaged = {"flow": known["others"]["flow"] | {"weights": "AAAA"}}
    damaged |= {"words": words | {"decoder": words["decoder"] | {"weights": "AAAA"}}}
    page.goto(written(tmp_path, known | {"others": known["others"] | damaged}).as_uri())
    box = page.locator("#live-grow")
    for _ in range(2):
        box.get_by_role("combobox").first.select_option("1")
        press(box, "Grow it")
        says(box.locator("[role=status]"), "the weights are damaged")
        press(page.locator("#live-words"), "Draw it")
        says(page.locator("#live-words [role=status]"), "the weights are damaged")
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
