// An explanation as a card, and what it is called.

const Cards = (() => {
  const { make, number } = Plots;
  const items = new WeakMap();
  let style = () => "heat", ready = () => null;

  const column = (item, key) => item.book.columns.findIndex((c) => c.key === key);
  const picture = (item) => item.book.pictures[item.picture];
  const score = (item) => item.values[column(item, "score")];
  const what = (item) => [item.name, item.view == null ? "" : number(score(item))].join(" ").trim() || "no explanation";
  const by = (item) => item.source + (item.start == null ? "" : `, start ${item.start}`);

  const waiting = new Set();
  let idle = 0;

  function draw(canvas) {
    drawer.unobserve(canvas);
    if (!waiting.delete(canvas)) return Promise.resolve();
    const item = items.get(canvas), options = { style: style(), share: style() === "heat" ? 0.1 : 0.25 };
    return Promise.resolve(ready(item)).then(() => Paint.draw(canvas, item, 320, options));
  }

  const drawer = new IntersectionObserver((entries) => {
    for (const e of entries) if (e.isIntersecting) draw(e.target);
  }, { rootMargin: "200px" });

  /** Cards that nobody has scrolled to are drawn too, one after the other, so that a print or a long picture has all. */
  function later() {
    if (idle || !waiting.size) return;
    idle = setTimeout(async () => {
      const [canvas] = waiting;
      if (canvas) await draw(canvas);
      idle = 0;
      later();
    }, 30);
  }

  const all = () => Promise.all([...waiting].map(draw));

  /** The cards within an element are gone. */
  function forget(place) {
    for (const canvas of place.querySelectorAll("canvas")) {
      drawer.unobserve(canvas);
      waiting.delete(canvas);
    }
  }

  const named = new Map();
  /** Which of several objects of its class and picture this is, from left to right; 0 where it is the only one. */
  function place(item) {
    if (!named.has(item.book)) {
      const alike = new Map();
      for (const i of item.book.items || []) {
        if (!i.box) continue;
        const key = `${i.picture} ${i.name}`;
        alike.set(key, (alike.get(key) || new Map()).set(i.object, i.box[0]));
      }
      named.set(item.book, alike);
    }
    const boxes = named.get(item.book).get(`${item.picture} ${item.name}`);
    if (!boxes || boxes.size < 2 || !item.box) return 0;
    return 1 + [...boxes].sort((a, b) => a[1] - b[1]).findIndex(([object]) => object === item.object);
  }

  /** What a map shows, in a sentence: the scores with its top tenth alone and without it, or why it shows nothing. */
  function sentence(item) {
    if (item.view == null) return "";
    const empty = item.book.empty && item.book.empty[item.status];
    if (empty) return `Shows nothing: ${empty}.`;
    const at = (name) => {
      const c = (item.curves || {})[name];
      if (!c) return null;
      const n = c[0].findIndex((x) => x >= 0.0999);
      return n < 0 ? null : c[1][n];
    };
    const alone = at("insertion"), without = at("deletion");
    if (alone == null || without == null) return "";
    return `The top 10 % alone give ${number(alone)}, the rest ${number(without)}.`;
  }

  /** A button; `figures`: columns below it, the best of `rivals` in bold; source: with the method's name. */
  function card(item, figures, { rivals = [], source = false } = {}) {
    const lost = picture(item).lost;
    const shown = item.view == null
      ? make("span", {}, item.status || "no explanation")
      : make("canvas", { "data-item": item.index, role: "img", width: 320, height: 240,
        "aria-label": `map of ${what(item)} by ${by(item)} on ${picture(item).name}${lost ? ", photo missing" : ""}` });
    if (item.view != null) {
      items.set(shown, item);
      waiting.add(shown);
      drawer.observe(shown);
      later();
    }
    const rows = figures.flatMap((c) => {
      const values = rivals.map((r) => r.values[c.i]).filter((v) => v != null);
      const first = c.better === "lower" ? Math.min(...values) : Math.max(...values);
      const best = c.better && values.length > 1 && number(item.values[c.i]) === number(first) && values.some((v) => number(v) !== number(first));
      return [make("span", {}, c.key), make("span", { class: best ? "best" : null }, number(item.values[c.i]))];
    });
    const told = item.view == null ? null : make("span", { class: "told" });
    const tell = () => {
      told.textContent = sentence(item);
      if (!told.textContent) told.remove();
    };
    const status = item.status && item.status !== "ok" ? make("span", { class: "badge" }, item.status) : null;
    const made = make("button", { type: "button", class: "card", "data-open": item.index },
      make("span", { class: "thumb" }, shown),
      make("span", { class: "text" },
        make("span", { class: "first" }, make("b", {}, rivals.length ? by(item) : item.name || "–"),
          item.view == null || (rivals.length && !status) ? null : make("span", { class: "score" }, number(score(item))),
          status),
        rivals.length ? null : make("span", { class: "second" }, picture(item).name
          + (place(item) ? `, ${item.name} ${place(item)} from the left` : "")),
        told,
        rivals.length || !(source || item.start != null) ? null : make("span", { class: "second" }, by(item)),
        make("span", { class: "mini" }, ...rows)));
    const due = told && ready(item);
    if (due) due.then(tell);
    else if (told) tell();
    return made;
  }

  /** styled(f): f() says in which style cards are drawn from now on; read(f): f(item) reads what of an item is not here
   * yet, and answers with a promise, or null where all is. */
  return { card, sentence, place, what, by, score, column, picture, styled: (f) => { style = f; }, read: (f) => { ready = f; }, forget, all };
})();
