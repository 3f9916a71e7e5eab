// A long gallery: shelves of a few dozen entries, of which only those near the window hold their elements.

const Shelves = (() => {
  const PER = 60; // entries: whole rows of 1 to 6 cards
  const NEAR = "900px 0px";
  let place = null, draw = null, shelves = [], printing = false;
  const entries = new WeakMap(), near = new Set();

  const watch = new IntersectionObserver((seen) => {
    for (const e of seen) {
      if (e.isIntersecting) { near.add(e.target); fill(e.target); } else { near.delete(e.target); empty(e.target); }
    }
  }, { rootMargin: NEAR });

  function fill(shelf) {
    if (shelf.childElementCount) return;
    shelf.append(...entries.get(shelf).map(draw));
    shelf.style.minHeight = "";
  }

  /** Not while it is printed, and not from under the keyboard. */
  function empty(shelf) {
    if (!shelf.childElementCount || printing || shelf.contains(document.activeElement)) return;
    shelf.style.minHeight = `${shelf.offsetHeight}px`;
    Cards.forget(shelf);
    shelf.replaceChildren();
  }

  /** Shelves that nobody has seen are as high as the first one, entry by entry. */
  function guess() {
    const full = shelves.find((s) => s.childElementCount);
    if (!full) return;
    const each = full.offsetHeight / entries.get(full).length;
    for (const s of shelves) if (!s.childElementCount) s.style.minHeight = `${Math.round(each * entries.get(s).length)}px`;
  }

  /** PER entries each; a heading begins anew. */
  function divided(list) {
    const made = [];
    for (const entry of list) {
      const last = made.at(-1);
      if (!last || entry.title || last.length - (last[0].title ? 1 : 0) >= PER) made.push([entry]);
      else last.push(entry);
    }
    return made;
  }

  /** Show these entries in an element, in the order of the list: made(entry) is the element of one. */
  function show(element, list, name, made) {
    watch.disconnect();
    near.clear();
    shelves.forEach((s) => Cards.forget(s));
    [place, draw, shelves] = [element, made, []];
    for (const own of divided(list)) {
      const shelf = document.createElement("div");
      shelf.className = name;
      entries.set(shelf, own);
      shelves.push(shelf);
    }
    place.replaceChildren(...shelves);
    let count = 0;
    for (const s of shelves) if ((count += entries.get(s).length) <= PER || s === shelves[0]) fill(s);
    guess();
    shelves.forEach((s) => watch.observe(s));
  }

  /** The shelf with an entry for which has(entry) is true is filled and in sight. */
  function seek(has) {
    const shelf = shelves.find((s) => entries.get(s).some(has));
    if (!shelf || shelf.childElementCount) return;
    fill(shelf);
    shelf.scrollIntoView({ block: "start" });
  }

  /** All cards, up to `most`, stand and are drawn, until `printed`. */
  function print(most) {
    printing = true;
    let count = 0;
    for (const s of shelves) if ((count += entries.get(s).length) <= most || s === shelves[0]) fill(s);
    Cards.all();
  }

  function printed() {
    printing = false;
    shelves.forEach((s) => near.has(s) || empty(s));
  }

  addEventListener("resize", guess);
  return { show, seek, print, printed };
})();
