"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const count = document.getElementById("count");
  const nothing = document.getElementById("nothing");
  const table = document.querySelector("table.list");
  const unfold = document.getElementById("unfold");
  const rows = [...table.tBodies[0].rows].map((row) => ({
    row,
    level: row.dataset.level,
    layer: row.dataset.layer,
    text: row.textContent.toLowerCase(),
  }));

  const chosen = (name) =>
    new Set([...form.querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value));

  function show() {
    const levels = chosen("level");
    const layers = chosen("layer");
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, level, layer, text } of rows) {
      const fits =
        levels.has(level) && layers.has(layer) && words.every((word) => text.includes(word));
      if (row.hidden === fits) row.hidden = !fits;
      if (fits) shown += 1;
    }
    count.textContent = `${shown} of ${rows.length} changes shown`;
    nothing.hidden = shown > 0;
    table.hidden = shown === 0;
  }

  let waiting = 0;
  form.addEventListener("input", (event) => {
    clearTimeout(waiting);
    if (event.target.type === "search") waiting = setTimeout(show, 120);
    else show();
  });
  form.addEventListener("reset", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 0);  // Only then is it reset.
  });
  form.addEventListener("submit", (event) => event.preventDefault());

  const details = table.getElementsByTagName("details");
  function open(all) {
    for (const one of details) one.open = all;
    unfold.setAttribute("aria-pressed", String(all));
  }
  unfold.addEventListener("click", () => open(unfold.getAttribute("aria-pressed") !== "true"));

  // On paper nothing can be opened.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...details].filter((one) => !one.open);
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of closed) one.open = false;
  });

  form.hidden = false;
  show();  // A browser may have kept what was chosen before.
})();
