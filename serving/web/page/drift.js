"use strict";

const SECONDS = 10;
const element = (id) => document.getElementById(id);

function cell(row, text, name = "") {
  const made = document.createElement("td");
  made.textContent = text;
  made.className = name;
  row.append(made);
  return made;
}

function draw(drift) {
  element("bundle").textContent = drift.figures.length
    ? `the last ${drift.rows} rows; ${drift.figures.filter((each) => each.drifted).length} of ${drift.figures.length} figures have drifted`
    : `${drift.rows} rows so far; figures come with the hundredth`;
  const rows = drift.figures.map((figure) => {
    const row = document.createElement("tr");
    if (figure.drifted) row.className = "drifted";
    cell(row, figure.what.replace("_", " "));
    cell(row, figure.measure.toUpperCase());
    cell(row, figure.value.toFixed(3), "number");
    cell(row, figure.limit.toFixed(3), "number");
    const bar = document.createElement("div");
    bar.className = `effect ${figure.drifted ? "down" : "up"}`;
    bar.style.width = `${Math.min(100, (50 * figure.value) / figure.limit)}%`;
    cell(row, "", "drawn").append(bar);
    return row;
  });
  element("figures").hidden = drift.figures.length === 0;
  element("figures").tBodies[0].replaceChildren(...rows);
}

async function look() {
  const key = element("key").value.trim();
  try {
    const answer = await fetch("drift.json", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
    if (answer.status === 401) element("key-line").hidden = false;
    if (!answer.ok) throw new Error(answer.statusText || `status ${answer.status}`);
    draw(await answer.json());
    element("error").hidden = true;
  } catch (error) {
    const old = element("figures").tBodies[0].rows.length > 0;
    element("error").textContent = (old ? "These figures are old: " : "") + error.message;
    element("error").hidden = false;
  }
}

element("key").addEventListener("change", look);
element("key-line").addEventListener("submit", (event) => event.preventDefault());
setInterval(look, 1000 * SECONDS);
look();
