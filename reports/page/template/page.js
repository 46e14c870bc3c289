"use strict";
// Draws the charts, those in sight first, and makes the filters work. Everything that it shows is in the page.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const places = [...document.querySelectorAll("[data-chart]")];
  const PANEL = 250;
  const NARROW = [[480, 2], [640, 3]]; // columns of a legend in places below so many pixels

  const draw = async (place) => {
    if (place.dataset.state || !place.clientWidth) return; // drawn, or in a closed part of the page
    place.dataset.state = "drawing";
    const spec = structuredClone(charts.specs[place.dataset.chart]);
    if (spec.columns === "fit") {
      spec.columns = Math.max(1, Math.floor(place.clientWidth / PANEL));
      delete spec.height;
    }
    const legend = { ...charts.config.legend, columns: NARROW.find(([pixels]) => place.clientWidth < pixels)?.[1] ?? 0 };
    try {
      await vegaEmbed(place, { config: { ...charts.config, legend }, ...spec }, { ast: true, renderer: "svg", actions: false });
      place.querySelector("svg").setAttribute("aria-hidden", "true"); // its place has the words
      place.style.minHeight = "";
      place.dataset.state = "drawn";
    } catch (error) {
      place.dataset.state = "failed";
      place.removeAttribute("role");
      place.textContent = `This figure could not be drawn: ${error.message}`;
      console.error(place.dataset.chart, error);
    }
  };

  const near = new IntersectionObserver(
    (seen) => seen.filter((each) => each.isIntersecting).forEach((each) => draw(each.target)),
    { rootMargin: "400px" },
  );
  places.forEach((place) => near.observe(place));

  // Those farther down are drawn while nothing else happens, so that printing and searching find them.
  const whenIdle = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));
  const rest = async () => {
    const next = places.find((place) => !place.dataset.state && place.clientWidth);
    if (next === undefined) return;
    await draw(next);
    whenIdle(rest);
  };
  whenIdle(rest);
  addEventListener("beforeprint", () => places.forEach(draw));

  for (const form of document.querySelectorAll("[data-filters]")) {
    const rows = [...document.getElementById(form.dataset.filters).children];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const apply = () => {
      const asked = [...new FormData(form)].filter(([, value]) => value !== "");
      const fits = (row, place) =>
        asked.every(([name, value]) => (name === "text" ? texts[place].includes(value.toLowerCase()) : row.dataset[name] === value));
      rows.forEach((row, place) => (row.hidden = !fits(row, place)));
      const shown = rows.filter((row) => !row.hidden).length;
      form.querySelector("output").textContent = asked.length ? `${shown} of ${rows.length}` : "";
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply(); // a browser may have kept what was typed
  }
})();
