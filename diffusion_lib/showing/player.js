// One slider over a sheet of frames, with a button that plays them. Used live (with a kernel) and in saved pages.
// Where the film has maps, a row of buttons says which of them is laid over the picture.
function mountPlayer(box, film, value, chosen, changed) {
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const last = film.texts.length - 1, sharp = Math.ceil(window.devicePixelRatio || 1);
  const input = make("input", { type: "range", min: 0, max: last, value });
  const button = make("button", { type: "button", textContent: "Play" });
  const { names, gap } = film.maps || { names: [], gap: 0 };
  const part = film.width + gap, pitch = (1 + names.length) * part; // from picture to map, from frame to frame
  const text = make("output", {}), sheet = new Image();
  const canvas = make("canvas", { width: film.width * film.scale * sharp, height: film.height * film.scale * sharp });
  const row = make("div", {}, button, make("label", {}, film.label, input), text);
  row.style.cssText = "display:flex;gap:4px 12px;align-items:center;flex-wrap:wrap;font:14px sans-serif;margin:6px 0";
  const wide = "display:flex;flex:1 240px;max-width:640px;gap:12px;align-items:center;margin:0";
  row.querySelector("label").style.cssText = wide;
  button.style.cssText = "font:inherit;min-width:4.5em;min-height:28px";
  input.style.cssText = "flex:1;min-width:0;height:28px";
  text.style.cssText = "flex:1 0 100%;font-variant-numeric:tabular-nums"; // on a line of its own it moves no handle
  text.setAttribute("aria-hidden", "true"); // the range input reads the same words out
  canvas.style.cssText = `display:block;width:${film.width * film.scale}px;max-width:100%;height:auto`;
  canvas.setAttribute("role", "img");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", film.alt);
  const choices = names.map((name, k) => make("button", { type: "button", textContent: name, onclick: () => {
    chosen = k; show(); changed(+input.value, chosen);
  } }));
  const choice = make("div", {}, "Map of: ", ...choices);
  choice.setAttribute("role", "group");
  choice.setAttribute("aria-label", "Map of");
  choice.style.cssText = "font:14px sans-serif;margin:6px 0";
  const pressed = "font-weight:bold;box-shadow:inset 0 -4px currentColor";
  box.append(row, ...(names.length ? [choice] : []), canvas);
  const mark = film.curve ? drawCurve(box, film) : () => {};
  const pen = canvas.getContext("2d");
  const show = () => {
    const i = +input.value, x = (i % film.columns) * pitch, y = Math.floor(i / film.columns) * (film.height + gap);
    const draw = (from, how) => {
      pen.globalCompositeOperation = how;
      pen.drawImage(sheet, x + from, y, film.width, film.height, 0, 0, canvas.width, canvas.height);
    };
    pen.imageSmoothingEnabled = false;
    draw(0, "source-over");
    if (names.length) draw((chosen + 1) * part, "multiply");
    choices.forEach((button, k) => {
      button.setAttribute("aria-pressed", k === chosen);
      button.style.cssText = `font:inherit;min-height:28px;margin-right:6px;${k === chosen ? pressed : ""}`;
    });
    const words = film.texts[i] + (names.length ? ` · ${names[chosen]}` : "");
    text.textContent = words;
    input.setAttribute("aria-valuetext", words);
    canvas.setAttribute("aria-label", `${film.alt} ${words}`);
    mark(i);
  };
  const go = i => { input.value = i; show(); changed(+input.value, chosen); };

  // The whole film takes 8 s, and a frame of a short one 0.7 s. It plays when asked to, never by itself, and once.
  const pause = Math.max(40, Math.min(700, 8000 / (last + 1))), stride = Math.max(1, Math.round((last + 1) / 200));
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; button.textContent = "Play"; };
  const step = () => {
    if (!box.isConnected) return stop();
    go(Math.min(last, +input.value + stride));
    if (+input.value === last) stop();
  };
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (+input.value === last) go(0);
    timer = setInterval(step, pause);
    button.textContent = "Pause";
  });
  input.addEventListener("input", () => { stop(); go(+input.value); });
  // JupyterLab would take the arrow keys and space.
  for (const each of [row, choice]) each.addEventListener("keydown", event => event.stopPropagation());
  sheet.addEventListener("load", show);
  sheet.src = film.sheet;
  return (value, which) => { input.value = value; chosen = which; show(); };
}

// A curve with one point for each frame, and a dot on it. Text has the page's own colour, light or dark.
function drawCurve(box, film) {
  const { x, y, label } = film.curve, [width, height, left, top, foot] = [360, 130, 44, 22, 24];
  box.insertAdjacentHTML("beforeend", "<svg></svg>");
  const svg = box.lastElementChild;
  const draw = (tag, attributes, words) => {
    const element = tag === "svg" ? svg : document.createElementNS(svg.namespaceURI, tag);
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    if (words !== undefined) element.textContent = words;
    return element;
  };
  const ends = values => [Math.min(...values), Math.max(...values)], short = value => String(+value.toPrecision(3));
  const [x0, x1] = ends(x), [y0, y1] = ends(y), right = width - 10, bottom = height - foot;
  const across = v => left + ((v - x0) / (x1 - x0 || 1)) * (right - left);
  const up = v => bottom - ((v - y0) / (y1 - y0 || 1)) * (bottom - top);
  const note = (x, y, anchor, words) => draw("text", { x, y, "text-anchor": anchor, fill: "currentColor" }, words);
  draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "font-family": "sans-serif", "font-size": 12 });
  svg.style.cssText = "display:block;width:min(100%, 420px);height:auto;margin-top:6px";
  const dot = draw("circle", { r: 5, fill: "#D55E00", stroke: "white" });
  svg.append(
    draw("path", { d: `M${left} ${top}V${bottom}H${right}`, fill: "none", stroke: "currentColor", opacity: 0.6 }),
    draw("polyline", { points: x.map((v, i) => `${across(v)},${up(y[i])}`).join(" "), fill: "none", stroke: "#0072B2",
      "stroke-width": 2 }),
    dot, note(left, 13, "start", label), note(left - 5, top + 8, "end", short(y1)), note(left - 5, bottom, "end", short(y0)),
    note(left, height - 8, "start", short(x0)), note(right, height - 8, "end", short(x1)),
    note((left + right) / 2, height - 8, "middle", film.label));
  return i => {
    dot.setAttribute("cx", across(x[i]));
    dot.setAttribute("cy", up(y[i]));
    svg.setAttribute("aria-label", `${label} against ${film.label}: ${short(y[i])} at ${short(x[i])}.`);
  };
}
