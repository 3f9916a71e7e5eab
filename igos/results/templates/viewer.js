// An explanation in full, or several beside each other with one slider for all: maps, the pictures of each step, curves,
// figures. Its elements are those of viewer.html.

const Viewer = (() => {
  const { make, number, better } = Plots;
  const { what, by, column, picture } = Cards;
  const byId = (id) => document.getElementById(id);
  const setting = { style: "heat", play: "deletion" };
  let items = [];

  const width = (canvas) => Math.min(Math.max(Math.round(canvas.parentElement.clientWidth * Math.min(devicePixelRatio, 2)), 200), 900);

  const plays = (item) => item.play || [];

  function choices(place, name, pairs) {
    byId(place).querySelectorAll("label").forEach((l) => l.remove());
    byId(place).append(...pairs.map(([value, text]) => {
      const input = make("input", { type: "radio", name, value });
      input.checked = setting[name] === value;
      return make("label", {}, input, make("span", {}, text));
    }));
  }

  /** A canvas for each item, the first one is always there; several have their item's name below. */
  function frames(first) {
    const place = byId(first).closest(".frames");
    [...place.children].slice(1).forEach((c) => c.remove());
    place.querySelector("figcaption").hidden = items.length < 2;
    place.classList.toggle("several", items.length > 1);
    for (let i = 1; i < items.length; i++) {
      place.append(make("figure", {}, make("div", { class: "frame" }, make("canvas", { role: "img" })), make("figcaption")));
    }
    [...place.children].forEach((c, i) => { c.querySelector("figcaption").textContent = `${what(items[i])} by ${by(items[i])}`; });
    return [...place.querySelectorAll("canvas")];
  }

  const canvases = (first) => [...byId(first).closest(".frames").querySelectorAll("canvas")];

  function drawMap() {
    const style = setting.style, opacity = byId("opacity").value / 100, share = byId("share").value / 100;
    byId("share-label").hidden = !["contour", "keep", "blur"].includes(style);
    document.querySelector("[for=opacity]").textContent = `${byId("opacity").value}%`;
    document.querySelector("[for=share]").textContent = `${byId("share").value}%`;
    byId("scale").hidden = style !== "heat";
    const pair = items.filter((i) => i.view != null);
    byId("difference").closest("figure").hidden = pair.length < 2;
    if (pair.length > 1) {
      Paint.difference(byId("difference"), pair[0], pair[1], Math.min(width(byId("difference")), 480));
      byId("difference").closest("figure").querySelector("figcaption").textContent =
        `difference: orange where ${by(pair[0])} marks more, blue where ${by(pair[1])} does`;
    }
    return Promise.all(canvases("map-picture").map((canvas, i) => {
      canvas.setAttribute("aria-label", `${STYLES[style]}: ${what(items[i])} by ${by(items[i])}`);
      return Paint.draw(canvas, items[i], width(canvas), { style, opacity, share, box: byId("box").checked });
    }));
  }

  /** The step of an item's own curve that the slider stands for. */
  function stepOf(item, name) {
    const last = item.curves[name][0].length - 1, most = +byId("step").max;
    return most ? Math.round((byId("step").value / most) * last) : 0;
  }

  function drawStep() {
    const measured = items.filter((i) => Object.keys(i.curves || {}).length);
    byId("course").hidden = !measured.length;
    if (!measured.length) return;
    const played = items.filter((i) => plays(i).includes(setting.play));
    byId("player").hidden = byId("step-picture").closest(".frames").hidden = !played.length;
    const now = (item) => (played.includes(item) ? { name: setting.play, step: stepOf(item, setting.play) } : null);
    const told = (item) => {
      const { name, step } = now(item), [xs, ys] = item.curves[name];
      return `${(100 * xs[step]).toFixed(0)}%: score ${number(ys[step])}`;
    };
    if (played.length) {
      const [first] = played.map(told), done = setting.play === "deletion" ? "hidden" : "revealed";
      const all = played.length < 2 ? first : `${first.split(":")[0]}: ${played.map((i) => told(i).split("score ")[1]).join(" | ")}`;
      document.querySelector("[for=step]").textContent = all;
      byId("step").setAttribute("aria-valuetext", all);
      canvases("step-picture").forEach((canvas, i) => {
        canvas.closest("figure").hidden = !played.includes(items[i]);
        if (!played.includes(items[i])) return;
        canvas.setAttribute("aria-label", `${picture(items[i]).name} with ${told(items[i]).replace(":", ` ${done}:`)}`);
        Paint.draw(canvas, items[i], width(canvas), { play: now(items[i]), box: byId("box").checked });
      });
    }
    byId("curves").replaceChildren(measured.length > 1 ? Plots.overlaid(measured, measured.map(now))
      : Plots.curves(measured[0], Object.keys(measured[0].curves), now(measured[0])));
    byId("legend").replaceChildren(...measured.flatMap((item, i) => legend(item, measured.length > 1 ? Plots.INKS[i % 6] : null)));
  }

  function legend(item, ink) {
    const whose = items.length > 1 ? `${by(item)}: ` : "";
    return Object.keys(item.curves).map((name) => {
      const kind = name.split("_")[0], at = column(item, name), c = item.book.columns[at];
      const own = name === kind ? "" : "; x: share of its own budget";
      const told = c ? ` ${number(item.values[at])} (${better[c.better]}${own})` : "";
      const line = make("i", { class: ink ? (kind === "deletion" ? "dashed" : null) : `${kind}${name === kind ? "" : " dashed"}` });
      if (ink) line.style.borderColor = ink;
      return make("li", {}, line, whose + name + told);
    });
  }

  /** A row for each figure, a column for each item. */
  function table() {
    const known = new Map();
    for (const item of items) {
      for (const c of item.book.columns) {
        const has = item.values[column(item, c.key)] != null || item.facts[`${c.key}_reason`];
        if (has && !known.has(c.key)) known.set(c.key, c);
      }
    }
    const rows = [...known.values()].sort((a, b) => b.main - a.main);
    const head = items.length < 2 ? null : make("thead", {}, make("tr", {}, make("td"),
      ...items.map((i) => make("th", { scope: "col" }, by(i))), make("td")));
    return make("table", {}, head, make("tbody", {}, ...rows.map((c) => make("tr", { class: c.main ? null : "aside" },
      make("th", { scope: "row" }, c.key, c.means ? make("small", {}, c.means) : null),
      ...items.map((i) => make("td", {}, number(i.values[column(i, c.key)]))), make("td", {}, better[c.better])))));
  }

  /** Show these items, one or several. */
  function open(list) {
    items = list;
    const [first] = items, drawn = first.view != null;
    Paint.ramp(byId("ramp"), first.book);
    byId("map").hidden = !drawn;
    byId("box").parentElement.hidden = !items.some((i) => i.box);
    const facts = { picture: picture(first).path, method: first.method, ...first.facts };
    byId("more-told").hidden = items.length > 1;
    byId(items.length > 1 ? "course" : "map").after(byId("figures"));
    byId("details").replaceChildren(...Object.entries(facts).filter(([, v]) => v).flatMap(([k, v]) => [make("dt", {}, k), make("dd", {}, v)]));
    byId("table").replaceChildren(table());
    frames("map-picture");
    frames("step-picture");
  }

  /** Draw what `open` showed; the elements must be visible by then. */
  function draw() {
    const [first] = items, names = [...new Set(items.flatMap(plays))];
    if (first.view != null) {
      if (!names.includes(setting.play)) setting.play = names[0];
      choices("plays", "play", names.map((n) => [n, n === "deletion" ? "Hide (deletion)" : "Reveal (insertion)"]));
      if (names.length) {
        byId("step").max = Math.max(...items.flatMap((i) => plays(i).map((n) => i.curves[n][0].length - 1)));
        byId("step").value = Math.round(byId("step").max * 0.1);
      }
      drawMap();
    }
    drawStep();
  }

  /** The controls below `place` work from now on. */
  function wire(place) {
    place.addEventListener("input", (e) => {
      if (e.target.type === "radio") setting[e.target.name] = e.target.value;
      if (e.target.closest("#map")) drawMap();
      if (e.target.closest("#course") || e.target.id === "box") drawStep();
    });
    choices("styles", "style", Object.entries(STYLES));
  }

  function redraw() {
    if (items.length && items[0].view != null) { drawMap(); drawStep(); }
  }

  return { open, draw, redraw, wire, canvases };
})();
