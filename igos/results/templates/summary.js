// The summary: how many, and how the figures lie; it follows the filters.

const Summary = (() => {
  const { make, number, better } = Plots;
  let last = null; // what draws the charts of the rows shown
  const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

  /** Counts and distributions of the rows shown, a chart for each column. */
  function draw(shown, columns) {
    const done = shown.filter((i) => i.view != null), statuses = new Map();
    for (const i of shown) statuses.set(i.status, (statuses.get(i.status) || 0) + 1);
    const told = [...statuses].map(([k, n]) => `${n} ${k}`).join(", ");
    const different = (key) => new Set(done.map((i) => i[key])).size;
    document.getElementById("counts").textContent = `${many(done.length, "explanation")} of ${many(different("object"), "object")} in `
      + `${many(different("picture"), "picture")}; ${told}`;
    last = () => {
      const sources = [...new Set(done.map((i) => i.source))];
      document.getElementById("charts").replaceChildren(...columns.map((c) => chart(c, done, sources)).filter(Boolean));
    };
    unfold();
  }

  /** The charts are made when somebody looks at them. */
  function unfold() {
    if (!document.getElementById("summary").open || !last) return;
    last();
    last = null;
  }

  function chart(c, done, sources) {
    const all = DATA.items.map((i) => i.values[c.i]).filter((v) => v != null);
    if (!all.length) return null;
    const [least, most] = all.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    const [low, high] = number(least) !== number(most) ? [least, most] : [Math.min(least, 0), Math.max(most, 1)];
    const rows = sources.map((source) => {
      const own = done.filter((i) => i.source === source), values = own.map((i) => i.values[c.i]).filter((v) => v != null);
      if (!values.length) return null;
      const known = values.length < own.length ? ` (${values.length} of ${own.length} known)` : "";
      const label = `${c.key}, ${source}: mean ${number(Plots.mean(values))}, median ${number(Plots.median(values))}${known}`;
      return make("div", { class: "row" },
        sources.length > 1 || known ? make("span", {}, `${sources.length > 1 ? source : ""}${known}`) : null,
        Plots.histogram(values, low, high, label),
        make("span", { class: "mean" }, `mean ${number(Plots.mean(values))}`,
          make("span", {}, `median ${number(Plots.median(values))}`)));
    });
    return make("div", { class: "chart" }, make("h3", {}, c.key, make("span", {}, better[c.better])), ...rows,
      make("div", { class: "axis" }, make("span", {}, number(low)), make("span", {}, number(high))));
  }

  document.getElementById("summary").addEventListener("toggle", unfold);
  return { draw };
})();
