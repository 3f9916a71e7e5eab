// The page: filters, the gallery, the summary, and one explanation in full.

(() => {
  const { make, number, better } = Plots;
  const byId = (id) => document.getElementById(id);
  const { items, columns, pictures, runs } = DATA;
  const CHUNK = 48, NARROW = matchMedia("(max-width: 760px)");
  const main = columns.map((c, i) => ({ ...c, i })).filter((c) => c.main);
  items.forEach((item, i) => {
    item.index = i;
    item.source = runs.length > 1 ? `${runs[item.run].name}: ${item.method}` : item.method;
    item.words = `${item.name} ${pictures[item.picture].path}`.toLowerCase();
  });
  const column = (key) => columns.findIndex((c) => c.key === key);
  const score = (item) => item.values[column("score")];
  const several = (key) => new Set(items.map((item) => item[key])).size > 1;
  const what = (item) => [item.name, item.view == null ? "" : number(score(item))].join(" ").trim() || "no explanation";
  const by = (item) => item.source + (item.start == null ? "" : `, start ${item.start}`);
  let shown = items, waiting = [], current = null;

  // ---- filter and sort

  function options(select, pairs) {
    byId(select).replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
  }

  function counted(key) {
    const counts = new Map();
    for (const item of items) counts.set(item[key], (counts.get(item[key]) || 0) + 1);
    return [["", "all"], ...[...counts].filter(([k]) => k).sort().map(([k, n]) => [k, `${k} (${n})`])];
  }

  function prepare() {
    options("name", counted("name"));
    options("method", counted("source"));
    options("status", counted("status"));
    options("figure", [["", "any"], ...columns.map((c) => [c.key, c.key])]);
    options("sort", [["", "order of the run"], ["picture", "picture"], ["class", "class"], ["state", "status"],
      ...columns.map((c) => [c.key, c.key])]);
    options("style", Object.entries(STYLES));
    const groups = new Set(items.filter((i) => i.view != null).map((i) => i.object)).size < items.filter((i) => i.view != null).length;
    byId("grouping").hidden = !groups;
    byId("group").querySelector("[value=object]").defaultSelected = groups;
    if (NARROW.matches) byId("tools").open = byId("summary").open = false;
    const form = byId("tools").querySelector("form");
    form.addEventListener("input", update);
    form.addEventListener("submit", (e) => e.preventDefault());
    form.addEventListener("reset", () => setTimeout(update));
  }

  function passes(item) {
    const words = byId("search").value.trim().toLowerCase();
    const figure = byId("figure").value, least = byId("least").value, most = byId("most").value;
    const value = figure ? item.values[column(figure)] : null;
    return (!words || item.words.includes(words))
      && (!byId("name").value || item.name === byId("name").value)
      && (!byId("method").value || item.source === byId("method").value)
      && (!byId("status").value || item.status === byId("status").value)
      && (!figure || (!least && !most) || (value != null && (!least || value >= +least) && (!most || value <= +most)));
  }

  function sorted(list) {
    const key = byId("sort").value, way = +byId("order").value;
    if (!key) return way < 0 ? [...list].reverse() : list;
    const of = { picture: (i) => pictures[i.picture].name, class: (i) => i.name, state: (i) => i.status }[key]
      || ((i) => i.values[column(key)]);
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    return [...list].sort((a, b) => {
      const [x, y] = [of(a), of(b)];
      return x == null || y == null ? (x == null) - (y == null) : way * compare(x, y);
    });
  }

  // ---- the gallery

  const drawer = new IntersectionObserver((entries) => {
    for (const e of entries) {
      if (!e.isIntersecting) continue;
      drawer.unobserve(e.target);
      const style = byId("style").value;
      Paint.draw(e.target, items[+e.target.dataset.item], 320, { style, share: style === "heat" ? 0.1 : 0.25 });
    }
  }, { rootMargin: "200px" });

  const feeder = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && feed());

  /** A card; `figures` columns below it, the best of `rivals` in bold. */
  function card(item, figures, rivals = []) {
    const lost = pictures[item.picture].lost;
    const picture = item.view == null
      ? make("span", {}, item.status || "no explanation")
      : make("canvas", { "data-item": item.index, role: "img", width: 320, height: 240,
        "aria-label": `map of ${what(item)} by ${by(item)} on ${pictures[item.picture].name}${lost ? ", photo missing" : ""}` });
    if (item.view != null) drawer.observe(picture);
    const rows = figures.flatMap((c) => {
      const values = rivals.map((r) => r.values[c.i]).filter((v) => v != null);
      const first = c.better === "lower" ? Math.min(...values) : Math.max(...values);
      const best = c.better && values.length > 1 && item.values[c.i] === first && values.some((v) => v !== first);
      return [make("span", {}, c.key), make("span", { class: best ? "best" : null }, number(item.values[c.i]))];
    });
    const status = item.status && item.status !== "ok" ? make("span", { class: "badge" }, item.status) : null;
    const made = make("button", { type: "button", class: "card", "data-open": item.index },
      make("span", { class: "thumb" }, picture),
      make("span", { class: "text" },
        make("span", { class: "first" }, make("b", {}, rivals.length ? by(item) : item.name || "–"),
          item.view == null || (rivals.length && !status) ? null : make("span", { class: "score" }, number(score(item))),
          status),
        rivals.length ? null : make("span", { class: "second" }, pictures[item.picture].name),
        rivals.length || !(several("source") || item.start != null) ? null : make("span", { class: "second" }, by(item)),
        make("span", { class: "mini" }, ...rows)));
    return made;
  }

  const figures = main.filter((c) => c.key !== "score");

  function few() {
    const sort = columns.map((c, i) => ({ ...c, i })).find((c) => c.key === byId("sort").value);
    const known = figures.filter((c) => items.some((i) => i.values[c.i] != null)).slice(0, 3);
    return sort && sort.key !== "score" && !known.some((c) => c.key === sort.key) ? [sort, ...known] : known;
  }

  function object(list) {
    const [first] = list;
    return make("section", { class: "object" },
      make("h3", {}, `${what(first)} `, make("span", {}, `in ${pictures[first.picture].name}`)),
      make("div", { class: "strip" }, ...list.map((i) => card(i, figures.slice(0, 8), list))));
  }

  function feed() {
    const next = waiting.splice(0, CHUNK);
    byId("gallery").append(...next.map((entry) => (Array.isArray(entry) ? object(entry) : card(entry, few()))));
    feeder.unobserve(byId("more"));
    if (waiting.length) feeder.observe(byId("more"));
  }

  function update() {
    shown = sorted(items.filter(passes));
    const grouped = byId("group").value === "object" && !byId("grouping").hidden;
    const objects = new Map();
    for (const item of shown) objects.set(item.object, [...(objects.get(item.object) || []), item]);
    waiting = grouped ? [...objects.values()] : [...shown];
    byId("gallery").className = grouped ? "objects" : "grid";
    byId("gallery").replaceChildren();
    drawer.disconnect();
    const told = `${shown.length} of ${items.length} rows`;
    byId("shown").textContent = shown.length ? told : `${told}: nothing passes these filters`;
    feed();
    Summary.draw(shown, main);
  }

  // ---- one explanation

  const setting = { style: "heat", play: "deletion" };
  const width = (canvas) => Math.min(Math.max(Math.round(canvas.parentElement.clientWidth * Math.min(devicePixelRatio, 2)), 200), 900);

  function choices(place, name, pairs) {
    byId(place).querySelectorAll("label").forEach((l) => l.remove());
    byId(place).append(...pairs.map(([value, text]) => {
      const input = make("input", { type: "radio", name, value });
      input.checked = setting[name] === value;
      return make("label", {}, input, make("span", {}, text));
    }));
  }

  function drawMap() {
    const style = setting.style, opacity = byId("opacity").value / 100, share = byId("share").value / 100;
    byId("share-label").hidden = !["contour", "keep", "blur"].includes(style);
    document.querySelector("[for=opacity]").textContent = `${byId("opacity").value}%`;
    document.querySelector("[for=share]").textContent = `${byId("share").value}%`;
    const canvas = byId("map-picture");
    canvas.setAttribute("aria-label", `${STYLES[style]}: ${what(current)} by ${by(current)}`);
    return Paint.draw(canvas, current, width(canvas), { style, opacity, share, box: byId("box").checked });
  }

  function drawStep() {
    const curves = Object.keys(current.curves || {});
    byId("course").hidden = !curves.length;
    if (!curves.length) return;
    const playable = current.play.length > 0;
    byId("player").hidden = byId("step-picture").parentElement.hidden = !playable;
    const now = playable ? { name: setting.play, step: +byId("step").value } : null;
    if (now) {
      const [xs, ys] = current.curves[now.name], told = `${(100 * xs[now.step]).toFixed(0)}%: score ${number(ys[now.step])}`;
      document.querySelector("[for=step]").textContent = told;
      byId("step").setAttribute("aria-valuetext", told);
      const canvas = byId("step-picture"), done = now.name === "deletion" ? "hidden" : "revealed";
      canvas.setAttribute("aria-label", `${pictures[current.picture].name} with ${told.replace(":", ` ${done}:`)}`);
      Paint.draw(canvas, current, width(canvas), { play: now, box: byId("box").checked });
    }
    byId("curves").replaceChildren(Plots.curves(current, curves, now));
    byId("legend").replaceChildren(...curves.map((name) => {
      const kind = name.split("_")[0], c = columns.find((one) => one.key === name);
      const whose = name === kind ? "" : "; x: share of its own budget";
      const told = c ? ` ${number(current.values[column(name)])} (${better[c.better]}${whose})` : "";
      return make("li", {}, make("i", { class: `${kind}${name === kind ? "" : " dashed"}` }), name + told);
    }));
  }

  function table(item) {
    const rows = columns.map((c, i) => [c, item.values[i]]).filter(([c, v]) => v != null || item.facts[`${c.key}_reason`]);
    rows.sort(([a], [b]) => b.main - a.main);
    return make("table", {}, make("tbody", {}, ...rows.map(([c, v]) => make("tr", { class: c.main ? null : "aside" },
      make("th", { scope: "row" }, c.key), make("td", {}, number(v)), make("td", {}, better[c.better])))));
  }

  function open(item) {
    current = item;
    byId("detail-title").textContent = what(item);
    byId("detail-facts").textContent = [pictures[item.picture].name, by(item), item.status].filter(Boolean).join(" · ");
    const lost = pictures[item.picture].lost;
    byId("detail-note").textContent = [item.facts.error, item.facts.warning, lost && `no photo: ${lost}`].filter(Boolean).join("; ");
    const drawn = item.view != null;
    byId("map").hidden = !drawn;
    byId("box").parentElement.hidden = !item.box;
    const facts = { picture: pictures[item.picture].path, method: item.method, ...item.facts };
    byId("details").replaceChildren(...Object.entries(facts).filter(([, v]) => v).flatMap(([k, v]) => [make("dt", {}, k), make("dd", {}, v)]));
    byId("table").replaceChildren(table(item));
    const siblings = items.filter((i) => i.object === item.object && i.view != null);
    byId("siblings").hidden = siblings.length < 2;
    byId("siblings").querySelector(".strip").replaceChildren(...(siblings.length < 2 ? [] : siblings).map((i) => {
      const made = card(i, figures.slice(0, 4), siblings);
      if (i === item) made.setAttribute("aria-current", "true");
      return made;
    }));
    if (!byId("detail").open) byId("detail").showModal();
    if (drawn) {
      if (!item.play.includes(setting.play)) setting.play = item.play[0];
      choices("plays", "play", item.play.map((n) => [n, n === "deletion" ? "Hide (deletion)" : "Reveal (insertion)"]));
      if (item.play.length) {
        byId("step").max = item.curves[item.play[0]][0].length - 1;
        byId("step").value = Math.round(byId("step").max * 0.1);
      }
      drawMap();
    }
    drawStep();
    if (location.hash !== `#${item.index}`) history.replaceState(null, "", `#${item.index}`);
  }

  function move(by) {
    const at = shown.indexOf(current);
    if (shown.length) open(shown[(at + by + shown.length) % shown.length]);
  }

  function wire() {
    const dialog = byId("detail");
    document.addEventListener("click", (e) => {
      const button = e.target.closest("[data-open]");
      if (button) { open(items[+button.dataset.open]); dialog.scrollTop = 0; }
    });
    byId("previous").addEventListener("click", () => move(-1));
    byId("next").addEventListener("click", () => move(1));
    byId("close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (e) => e.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      history.replaceState(null, "", "#");
      const button = current && byId("gallery").querySelector(`[data-open="${current.index}"]`);
      if (button) button.focus();
    });
    dialog.addEventListener("keydown", (e) => {
      if (e.target.matches("input, select")) return;
      if (e.key === "ArrowLeft") move(-1);
      if (e.key === "ArrowRight") move(1);
    });
    dialog.addEventListener("input", (e) => {
      if (e.target.type === "radio") setting[e.target.name] = e.target.value;
      if (e.target.closest("#map")) drawMap();
      if (e.target.closest("#course") || e.target.id === "box") drawStep();
    });
    choices("styles", "style", Object.entries(STYLES));
    addEventListener("resize", () => { if (dialog.open && current.view != null) { drawMap(); drawStep(); } });
    const from = () => { const n = location.hash.slice(1); if (/^\d+$/.test(n) && items[+n]) open(items[+n]); };
    addEventListener("hashchange", from);
    from();
  }

  prepare();
  update();
  wire();
})();
