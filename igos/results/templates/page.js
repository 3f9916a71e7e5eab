// The page: filters, the gallery, the summary, and one explanation in full.

(() => {
  const { make } = Plots, { card, what, by, picture } = Cards;
  const byId = (id) => document.getElementById(id);
  const { items, columns, pictures, runs } = DATA;
  const NARROW = matchMedia("(max-width: 760px)"), PRINTED = 500; // cards of a print, at most
  const main = columns.map((c, i) => ({ ...c, i })).filter((c) => c.main);
  const column = (key) => columns.findIndex((c) => c.key === key);
  const several = (key) => new Set(items.map((item) => item[key])).size > 1;
  let shown = items, current = null;
  Cards.styled(() => byId("style").value);
  Cards.read(Parts.ready);

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
    byId("group").querySelector("[value=object]").hidden = !groups;
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
    const of = { picture: (i) => picture(i).name, class: (i) => i.name, state: (i) => i.status }[key]
      || ((i) => i.values[column(key)]);
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    return [...list].sort((a, b) => {
      const [x, y] = [of(a), of(b)];
      return x == null || y == null ? (x == null) - (y == null) : way * compare(x, y);
    });
  }

  // ---- the gallery

  const figures = main.filter((c) => c.key !== "score");

  function few() {
    const sort = columns.map((c, i) => ({ ...c, i })).find((c) => c.key === byId("sort").value);
    const known = figures.filter((c) => items.some((i) => i.values[c.i] != null)).slice(0, 3);
    return sort && sort.key !== "score" && !known.some((c) => c.key === sort.key) ? [sort, ...known] : known;
  }

  function object(list) {
    const [first] = list;
    return make("section", { class: "object" },
      make("h3", {}, `${what(first)} `, make("span", {}, `in ${picture(first).name}`)),
      make("div", { class: "strip" }, ...list.map((i) => card(i, figures.slice(0, 8), { rivals: list }))));
  }

  /** Where the heat of a map lies. */
  function heatOf(item) {
    if (item.view == null) return "no map";
    if (Object.hasOwn(DATA.empty, item.status)) return "no effect";
    if (item.inside == null) return "no box";
    return item.inside < 0.5 ? "heat outside the box" : "heat in the box";
  }

  function update() {
    shown = sorted(items.filter(passes));
    const by = byId("group").value, grouped = by === "object", parts = new Map();
    const of = { object: (i) => i.object, name: (i) => i.name, status: (i) => i.status, place: heatOf }[by];
    if (of) for (const item of shown) parts.set(of(item), parts.get(of(item)) || []).get(of(item)).push(item);
    const told = `${shown.length} of ${items.length} rows`, source = several("source"), columnsShown = few();
    byId("shown").textContent = shown.length ? told : `${told}: nothing passes these filters`;
    const list = grouped ? [...parts.values()]
      : of ? [...parts].flatMap(([title, own]) => [{ title: title || "–", count: own.length }, ...own]) : shown;
    Shelves.show(byId("gallery"), list, grouped ? "objects" : "grid", (entry) => (Array.isArray(entry) ? object(entry)
      : entry.title ? make("h3", { class: "group" }, `${entry.title} `, make("span", {}, `${entry.count}`))
        : card(entry, columnsShown, { source })));
    Summary.draw(shown, main);
  }

  // ---- one explanation

  async function open(item) {
    current = item;
    const siblings = items.filter((i) => i.object === item.object && i.view != null);
    const due = Parts.ready(item, ...siblings);
    if (due) await due;
    if (current !== item) return;
    byId("detail-title").textContent = what(item);
    byId("detail-facts").textContent = [picture(item).name, by(item), item.status].filter(Boolean).join(" · ");
    const lost = picture(item).lost;
    byId("detail-note").textContent = [item.facts.sentence, item.facts.verdict && `verdict: ${item.facts.verdict}`, item.facts.error, item.facts.warning, lost && `no photo: ${lost}`].filter(Boolean).join("; ");
    const beside = byId("group").value === "object" && item.view != null && siblings.length > 1;
    Viewer.open(beside ? [item, ...siblings.filter((i) => i !== item)].slice(0, 6) : [item]);
    links(item);
    byId("siblings").hidden = siblings.length < 2;
    byId("siblings").querySelector(".strip").replaceChildren(...(siblings.length < 2 ? [] : siblings).map((i) => {
      const made = card(i, figures.slice(0, 4), { rivals: siblings });
      if (i === item) made.setAttribute("aria-current", "true");
      return made;
    }));
    if (!byId("detail").open) byId("detail").showModal();
    Viewer.draw();
    if (location.hash !== `#${item.index}`) history.replaceState(null, "", `#${item.index}`);
  }

  /** Ways to the files of an explanation, where the page knows its run's folder. */
  function links(item) {
    const { place } = runs[item.run], folder = item.facts.folder;
    const to = (name) => `${place}/${[...folder.split("/"), ...(name ? [name] : [])].map(encodeURIComponent).join("/")}`;
    byId("detail-links").replaceChildren(...(place && folder && item.view != null
      ? [make("a", { href: to("") }, "folder"), make("a", { href: to("explanation.npz") }, "explanation.npz")] : []));
  }

  function toBlob() {
    return new Promise((done, fail) => {
      try {
        byId("map-picture").toBlob((blob) => (blob ? done(blob) : fail(new Error("no picture"))));
      } catch (error) { fail(error); }
    });
  }

  async function save() {
    const address = URL.createObjectURL(await toBlob());
    const name = `${picture(current).name.replace(/\.\w+$/, "")}-${current.name || "map"}.png`;
    make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  /** A button that does what it says, or says that it cannot. */
  function does(id, work) {
    const button = byId(id), name = button.textContent;
    button.addEventListener("click", async () => {
      try { await work(); button.textContent = "Done"; } catch { button.textContent = "Not here"; }
      setTimeout(() => { button.textContent = name; }, 1200);
    });
  }

  const THEMES = ["system", "light", "dark"];
  function theme() {
    const now = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "system") + 1) % 3];
    document.documentElement.dataset.theme = now;
    byId("theme").textContent = `Theme: ${now}`;
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
      if (current) Shelves.seek((entry) => entry === current || (Array.isArray(entry) && entry.includes(current)));
      const button = current && byId("gallery").querySelector(`[data-open="${current.index}"]`);
      if (button) button.focus();
    });
    dialog.addEventListener("keydown", (e) => {
      if (e.target.matches("input, select")) return;
      if (e.key === "ArrowLeft") move(-1);
      if (e.key === "ArrowRight") move(1);
    });
    Viewer.wire(dialog);
    addEventListener("resize", () => dialog.open && Viewer.redraw());
    const from = () => { const n = location.hash.slice(1); if (/^\d+$/.test(n) && items[+n]) open(items[+n]); };
    addEventListener("hashchange", from);
    byId("theme").addEventListener("click", theme);
    byId("copy").hidden = !window.ClipboardItem || !navigator.clipboard;
    does("copy", () => navigator.clipboard.write([new ClipboardItem({ "image/png": toBlob() })]));
    does("download", save);
    addEventListener("beforeprint", () => Shelves.print(PRINTED));
    addEventListener("afterprint", Shelves.printed);
    matchMedia("print").addEventListener("change", (e) => (e.matches ? Shelves.print(PRINTED) : Shelves.printed()));
    from();
  }

  prepare();
  update();
  wire();
})();
