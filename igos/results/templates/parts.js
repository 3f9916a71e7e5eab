// Maps, curves and photos lie in parts below the page's script, each read when something of it is to be seen: the first
// cards stand while the browser still loads the rest.

const Parts = (() => {
  const read = new Map(); // number of a part -> true, or a promise of it
  const due = new Map(); // number of a part that is not loaded yet -> who waits for it

  /** The element of a part, once it is there to its end. */
  function loaded(n) {
    const found = document.getElementById(`part-${n}`);
    return found && found.nextElementSibling ? found : null;
  }

  function take(n) {
    const part = JSON.parse(loaded(n).textContent);
    part.items.forEach((item, i) => Object.assign(DATA.items[n * DATA.part + i], item));
    for (const [number, source] of Object.entries(part.pictures)) DATA.pictures[number].source = source;
    for (const [number, under] of Object.entries(part.views)) DATA.views[number].under = under;
    read.set(n, true);
  }

  /** Null where the part has been read, which it is at once where it is loaded; else a promise. */
  function part(n) {
    if (!read.has(n) && loaded(n)) take(n);
    if (!read.has(n)) read.set(n, new Promise((done) => due.set(n, done)));
    return read.get(n) === true ? null : read.get(n);
  }

  /** Null where all of these items is read, else a promise. */
  function ready(...items) {
    const numbers = new Set();
    for (const item of items) {
      numbers.add(Math.floor(item.index / DATA.part));
      for (const its of [DATA.pictures[item.picture], DATA.views[item.view]]) if (its && its.part != null) numbers.add(its.part);
    }
    const waits = [...numbers].map(part).filter(Boolean);
    return waits.length ? Promise.all(waits) : null;
  }

  function look() {
    for (const [n, done] of due) {
      if (!loaded(n)) continue;
      due.delete(n);
      take(n);
      done();
    }
  }

  new MutationObserver(look).observe(document.body, { childList: true });
  document.addEventListener("DOMContentLoaded", look);
  return { ready };
})();
