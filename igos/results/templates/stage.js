// The photo with what the network sees in it: boxes that are buttons, over the picture or a map of it.

const Stage = (() => {
  const { make } = Plots;
  const byId = (id) => document.getElementById(id);
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
  let shown = null, last = null, pick = null; // what is seen in which picture; what was drawn; who is told of a click

  /** An item of the photo alone, or with a map (heat, grid) on it. */
  function item(more = {}) {
    const { looks, seen, source, name } = shown;
    return {
      book: { ...looks, columns: [], pictures: [{ source, size: seen.size, name }], views: [{ frame: seen.frame, under: null }] },
      picture: 0, view: 0, heat: new Uint8Array(1), grid: [1, 1], full: 1, status: "", box: null, ...more,
    };
  }

  /** The button of what is seen there, or was expected (without a score). */
  function place(d) {
    const i = byId("boxes").childElementCount, told = d.expected ? `${d.name} expected` : `${d.name} ${d.score.toFixed(2)}`;
    const button = make("button", { type: "button", "aria-pressed": "false" }, make("span", {}, told));
    button.addEventListener("click", () => pick(i));
    const entry = make("li", {}, button);
    entry.dataset.score = d.expected ? 2 : d.score;
    entry.classList.toggle("expected", Boolean(d.expected));
    if (d.box) {
      const [x1, y1, x2, y2] = d.box.map((v) => clamp(v, 0, 1)), area = (x2 - x1) * (y2 - y1);
      Object.assign(entry.style, { left: `${100 * x1}%`, top: `${100 * y1}%`, width: `${100 * (x2 - x1)}%`, height: `${100 * (y2 - y1)}%`,
        zIndex: 1 + Math.round(1000 * (1 - area)) });
      entry.classList.toggle("low", y1 < 0.04);
    }
    byId("boxes").append(entry);
    return i;
  }

  /** What was expected there, box in fractions of the picture: its number. */
  function expect(name, box) {
    const d = { name, box, score: 0, expected: true };
    shown.seen.detections.push(d);
    return place(d);
  }

  /** Show a picture: looks {colours, empty}, seen as the server tells it, its address and its name. */
  function show(looks, seen, source, name, least, choose) {
    shown = { looks, seen, source, name };
    byId("photo").hidden = false;
    byId("empty").hidden = true;
    byId("boxes").classList.toggle("classes", seen.detections.every((d) => !d.box));
    byId("boxes").replaceChildren();
    pick = choose;
    seen.detections.forEach(place);
    byId("view").setAttribute("aria-label", name);
    threshold(least);
    fit();
    return draw(item(), { style: "photo" });
  }

  /** Only what scores so much is offered; how many that are. */
  function threshold(least) {
    let count = 0;
    for (const place of byId("boxes").children) {
      place.hidden = +place.dataset.score < least;
      count += !place.hidden;
    }
    return count;
  }

  function choose(index) {
    [...byId("boxes").children].forEach((place, i) => place.firstChild.setAttribute("aria-pressed", String(i === index)));
  }

  /** The largest size at which the photo fits the window. */
  function fit() {
    if (!shown) return;
    const [w, h] = shown.seen.size, room = byId("stage").clientWidth;
    const high = Math.max(innerHeight - (innerWidth > 900 ? 190 : 330), 220);
    const scale = Math.min(room / w, high / h, 3);
    for (const id of ["view", "paint", "rubber"]) Object.assign(byId(id).style, { width: `${w * scale}px`, height: `${h * scale}px` });
  }

  function draw(what, options) {
    last = [what, options];
    const canvas = byId("view");
    const width = clamp(Math.round(canvas.clientWidth * Math.min(devicePixelRatio, 2)), 200, 900);
    return Paint.draw(canvas, what, width, { box: false, ...options });
  }

  addEventListener("resize", () => { fit(); if (last) draw(...last); });
  return { show, expect, threshold, choose, item, draw, photo: () => draw(item(), { style: "photo" }), seen: () => shown && shown.seen };
})();
