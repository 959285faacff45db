// Native controls with their labels, for the live page. All of them work by keyboard.
import { make } from "./sketch.js";

export const row = (...children) => make("div", { className: "live-row" }, ...children);

export function labelled(text, control, ...after) {
  return make("label", {}, text, " ", control, ...after);
}

export function choices(options, value) {
  return make("select", {}, ...options.map(([text, v]) =>
    make("option", { textContent: text, value: v, selected: v === value })));
}

export const number = (value, min, max, step = 1) => make("input", { type: "number", value, min, max, step, required: true });

export function button(text, action) {
  const made = make("button", { type: "button", textContent: text });
  made.addEventListener("click", action);
  return made;
}

export function picture(width, height, title, scale) {
  const canvas = make("canvas", { width, height });
  canvas.style.width = `${width * scale}px`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", title);
  return [canvas, make("figure", {}, canvas, make("figcaption", { textContent: title }))];
}

// A line that is read aloud when it changes: results and refusals, not every frame.
export function statusLine() {
  const line = make("p", { className: "live-status" });
  line.setAttribute("role", "status");
  return line;
}

// A slider over what has come so far; its handle stays at the newest until the reader takes it.
export function stateSlider(title, show) {
  const input = make("input", { type: "range", min: 0, max: 0, value: 0 }), text = make("output", {});
  text.setAttribute("aria-hidden", "true"); // the range input reads the same words out
  const draw = () => {
    text.textContent = show(+input.value);
    input.setAttribute("aria-valuetext", text.textContent);
  };
  input.addEventListener("input", draw);
  const upTo = (last, at = last) => { input.max = last; input.value = at; draw(); };
  return { box: labelled(title, input, " ", text), input, upTo };
}

// Reads a number field; a value outside its bounds is told and gives null.
export function read(input, name, status) {
  if (input.checkValidity()) return +input.value;
  status.textContent = `${name} must be a number from ${input.min} to ${input.max}, but is ${input.value || "empty"}.`;
  input.focus();
  return null;
}

export const seconds = value => `${value.toFixed(1)} s`;
