// One slider over a sheet of frames. Used live (with a kernel) and in saved pages (without).
function mountPlayer(box, film, value, changed) {
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const input = make("input", { type: "range", min: 0, max: film.texts.length - 1, value });
  const text = make("output", {}), row = make("label", {}), sheet = new Image();
  const canvas = make("canvas", { width: film.width * film.scale, height: film.height * film.scale });
  row.style.cssText = "display:flex;gap:12px;align-items:center;flex-wrap:wrap;font:14px sans-serif;margin:6px 0";
  input.style.width = "min(340px, 70vw)";
  text.style.fontVariantNumeric = "tabular-nums";
  text.setAttribute("aria-hidden", "true"); // the range input reads the same words out
  canvas.style.maxWidth = "100%";
  canvas.setAttribute("role", "img");
  row.append(film.label, input, text);
  box.append(row, canvas);
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  const show = () => {
    const i = +input.value, x = (i % film.columns) * film.width, y = Math.floor(i / film.columns) * film.height;
    pen.drawImage(sheet, x, y, film.width, film.height, 0, 0, canvas.width, canvas.height);
    text.textContent = film.texts[i];
    input.setAttribute("aria-valuetext", film.texts[i]);
    canvas.setAttribute("aria-label", `${film.alt} ${film.texts[i]}`);
  };
  input.addEventListener("input", () => { show(); changed(+input.value); });
  input.addEventListener("keydown", event => event.stopPropagation()); // JupyterLab would take the arrow keys
  sheet.addEventListener("load", show);
  sheet.src = film.sheet;
  return value => { input.value = value; show(); };
}
