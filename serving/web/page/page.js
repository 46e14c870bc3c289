"use strict";

const EXAMPLE = "Item Name: Blackberry Jam, 9 oz (Pack of 6)\nBullet Point 1: No added sugar\nBullet Point 2: Made in small batches\nValue: 54.0\nUnit: Ounce\n";
const SHOWN_FIELDS = ["brand", "kind", "head", "pack", "total_g", "total_ml", "total_count", "value", "unit", "percent", "age", "area", "volume"];
const UNITS = { total_g: " g", total_ml: " ml", percent: " %", age: " years", area: " cm²", volume: " cm³" };
const element = (id) => document.getElementById(id);
const cents = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const tiny = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const number = { format: (value) => (value < 0.01 ? tiny : cents).format(value) };
let picture = null;
let asked = 0;

function headers(extra = {}) {
  const key = element("key").value.trim();
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
}

async function call(path, options) {
  const answer = await fetch(path, { ...options, headers: headers(options.headers) });
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  if (answer.status === 401) askForKey();
  const where = (body.errors || []).map((each) => `${each.loc.slice(1).join(".")}: ${each.msg}`).join("; ");
  throw new Error([body.title || answer.statusText, body.detail, where].filter(Boolean).join(": "));
}

// A browser sends no key with a link.
function askForKey() {
  element("key-line").hidden = false;
  element("documents").hidden = true;
  element("documents-note").hidden = false;
}

function show(file) {
  picture = file;
  const preview = element("preview");
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.hidden = !file;
  if (file) preview.src = URL.createObjectURL(file);
  else preview.removeAttribute("src");
  element("drop-text").textContent = file ? file.name : "Drop a picture here, or choose one (optional)";
}

function tellUnshown() {
  element("preview").hidden = true;
  if (picture) element("drop-text").textContent = `${picture.name}: this browser cannot show it`;
}

function fact(text, warn = false) {
  const item = document.createElement("li");
  item.textContent = text;
  if (warn) item.className = "warn";
  element("facts").append(item);
}

function drawPrice(answer) {
  const { low, high, level, coverage } = answer.interval;
  element("price").textContent = number.format(answer.predicted_price);
  element("low").textContent = number.format(low);
  element("high").textContent = number.format(high);
  element("level-note").textContent = `${Math.round(100 * level)}% interval; on held-out rows it held ${(100 * coverage).toFixed(1)}%`;
  const place = high > low ? Math.log(answer.predicted_price / low) / Math.log(high / low) : 0.5;
  element("mark").style.left = `${100 * Math.min(1, Math.max(0, place))}%`;
  element("range").setAttribute("aria-label", `between ${number.format(low)} and ${number.format(high)}`);
  element("facts").replaceChildren();
  fact(answer.fallback ? `not by the whole stack: ${answer.level}` : `${answer.members.length} members`, answer.fallback);
  if (answer.cached) fact("from memory");
  if (answer.picture === "given") fact("with its picture");
  if (answer.picture === "not used") fact(answer.fallback ? "picture not used" : "picture not used by this bundle");
  fact(`model ${answer.model_version}`);
  element("note").hidden = !answer.note;
  element("note").textContent = (answer.picture === "not had" ? "Priced without its picture: " : "") + (answer.note || "");
  element("result").hidden = false;
}

function drawWhy(why) {
  const fields = element("fields");
  const read = SHOWN_FIELDS.filter((each) => why.fields[each] !== undefined);
  element("why-state").textContent = read.length ? "What the models read in the text:" : "The models read no fields in the text.";
  for (const name of read) {
    const pair = document.createElement("div");
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = name.replace("total_", "total, ");
    const said = why.fields[name];
    value.textContent = typeof said === "number" ? `${+said.toPrecision(5)}${UNITS[name] || ""}` : said;
    pair.append(term, value);
    fields.append(pair);
  }
  const most = Math.max(1, ...why.pieces.map((piece) => Math.abs(piece.change)));
  const rows = [...why.pieces].sort((one, other) => Math.abs(other.change) - Math.abs(one.change)).map((piece) => {
    const row = document.createElement("tr");
    const [text, effect, drawn] = ["", "number", "drawn"].map((name) => {
      const cell = document.createElement("td");
      cell.className = name;
      row.append(cell);
      return cell;
    });
    text.textContent = piece.text.length > 160 ? `${piece.text.slice(0, 160)}…` : piece.text;
    effect.textContent = `${piece.change >= 0 ? "+" : "−"}${Math.abs(piece.change).toFixed(1)}%`;
    const bar = document.createElement("div");
    bar.className = `effect ${piece.change >= 0 ? "up" : "down"}`;
    bar.style.width = `${(100 * Math.abs(piece.change)) / most}%`;
    drawn.append(bar);
    return row;
  });
  element("pieces").tBodies[0].replaceChildren(...rows);
  element("pieces").hidden = !rows.length;
}

async function price(event) {
  event.preventDefault();
  const turn = ++asked;
  const text = element("text").value;
  element("send").disabled = true;
  element("error").hidden = true;
  element("fields").replaceChildren();
  element("pieces").hidden = true;
  element("why-state").textContent = "…";
  let priced = false;
  try {
    const form = new FormData();
    form.append("catalog_content", text);
    if (picture) form.append("image", picture);
    drawPrice(await call("predict", { method: "POST", body: form }));
    priced = true;
    const body = JSON.stringify({ catalog_content: text });
    const why = await call("explain", { method: "POST", body, headers: { "Content-Type": "application/json" } });
    if (turn === asked) drawWhy(why);
  } catch (error) {
    element("error").textContent = error.message;
    element("error").hidden = false;
    element("why-state").textContent = "";
    element("result").hidden = !priced;
  } finally {
    element("send").disabled = false;
  }
}

async function tellBundle() {
  try {
    const version = await call("version", {});
    const share = (100 * version.coverage).toFixed(1);
    element("bundle").textContent =
      `${version.name} ${version.version}: ${version.members.length} members, SMAPE ${version.nested_smape.toFixed(2)} on unseen rows, intervals hold ${share}%`;
  } catch (error) {
    element("bundle").textContent = error.message;
  }
}

element("ask").addEventListener("submit", price);
element("picture").addEventListener("change", (event) => show(event.target.files[0] || null));
element("preview").addEventListener("error", tellUnshown);
element("key").addEventListener("change", tellBundle);
element("example").addEventListener("click", () => { element("text").value = EXAMPLE; });
element("clear").addEventListener("click", () => {
  element("ask").reset();
  show(null);
  element("result").hidden = true;
  element("error").hidden = true;
});
for (const name of ["dragover", "dragleave", "drop"]) {
  element("drop").addEventListener(name, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
  });
}
tellBundle();
