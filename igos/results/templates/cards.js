// An explanation as a card, and what it is called.

const Cards = (() => {
  const { make, number } = Plots;
  const items = new WeakMap();
  let style = () => "heat";

  const column = (item, key) => item.book.columns.findIndex((c) => c.key === key);
  const picture = (item) => item.book.pictures[item.picture];
  const score = (item) => item.values[column(item, "score")];
  const what = (item) => [item.name, item.view == null ? "" : number(score(item))].join(" ").trim() || "no explanation";
  const by = (item) => item.source + (item.start == null ? "" : `, start ${item.start}`);

  const drawer = new IntersectionObserver((entries) => {
    for (const e of entries) {
      if (!e.isIntersecting) continue;
      drawer.unobserve(e.target);
      Paint.draw(e.target, items.get(e.target), 320, { style: style(), share: style() === "heat" ? 0.1 : 0.25 });
    }
  }, { rootMargin: "200px" });

  /** A button; `figures`: columns below it, the best of `rivals` in bold; source: with the method's name. */
  function card(item, figures, { rivals = [], source = false } = {}) {
    const lost = picture(item).lost;
    const shown = item.view == null
      ? make("span", {}, item.status || "no explanation")
      : make("canvas", { "data-item": item.index, role: "img", width: 320, height: 240,
        "aria-label": `map of ${what(item)} by ${by(item)} on ${picture(item).name}${lost ? ", photo missing" : ""}` });
    if (item.view != null) {
      items.set(shown, item);
      drawer.observe(shown);
    }
    const rows = figures.flatMap((c) => {
      const values = rivals.map((r) => r.values[c.i]).filter((v) => v != null);
      const first = c.better === "lower" ? Math.min(...values) : Math.max(...values);
      const best = c.better && values.length > 1 && item.values[c.i] === first && values.some((v) => v !== first);
      return [make("span", {}, c.key), make("span", { class: best ? "best" : null }, number(item.values[c.i]))];
    });
    const status = item.status && item.status !== "ok" ? make("span", { class: "badge" }, item.status) : null;
    return make("button", { type: "button", class: "card", "data-open": item.index },
      make("span", { class: "thumb" }, shown),
      make("span", { class: "text" },
        make("span", { class: "first" }, make("b", {}, rivals.length ? by(item) : item.name || "–"),
          item.view == null || (rivals.length && !status) ? null : make("span", { class: "score" }, number(score(item))),
          status),
        rivals.length ? null : make("span", { class: "second" }, picture(item).name),
        rivals.length || !(source || item.start != null) ? null : make("span", { class: "second" }, by(item)),
        make("span", { class: "mini" }, ...rows)));
  }

  /** styled(f): f() says in which style cards are drawn from now on; forget(): cards that are gone. */
  return { card, what, by, score, column, picture, styled: (f) => { style = f; }, forget: () => drawer.disconnect() };
})();
