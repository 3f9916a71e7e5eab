// Small plots as SVG, and the making of elements. Text from the data is set as text, never as markup.

const Plots = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const better = { higher: "higher is better", lower: "lower is better", "": "" };

  /** An element: attributes, then children (elements or text). */
  function make(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    return fill(made, attributes, children);
  }

  function svg(name, attributes = {}, ...children) {
    return fill(document.createElementNS(SVG, name), attributes, children);
  }

  function fill(made, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) if (value != null) made.setAttribute(key, value);
    made.append(...children.filter((c) => c != null));
    return made;
  }

  /** A number in few letters; a dash where there is none. */
  function number(value) {
    if (value == null) return "–";
    if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
    const size = Math.abs(value);
    return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 0.001 ? value.toFixed(3)
      : size >= 0.0001 ? value.toFixed(4) : value.toExponential(1);
  }

  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  /** How values lie between low and high, in 24 bars, a line at their mean. */
  function histogram(values, low, high, label) {
    const bins = new Array(24).fill(0), span = high - low || 1;
    for (const v of values) bins[Math.min(Math.floor(((v - low) / span) * 24), 23)]++;
    const most = Math.max(...bins, 1), at = ((mean(values) - low) / span) * 240;
    const bars = bins.map((n, i) => svg("rect", {
      x: i * 10 + 0.5, width: 9, y: 40 - (n ? Math.max((n / most) * 38, 2) : 0), height: n ? Math.max((n / most) * 38, 2) : 0,
    }));
    return svg("svg", { viewBox: "0 0 240 40", preserveAspectRatio: "none", role: "img", "aria-label": label },
      svg("g", { class: "bars" }, ...bars),
      svg("line", { class: "mark", x1: at, x2: at, y1: 0, y2: 40 }));
  }

  /** Curves of an item by name; `now` {name, step} marks a point of one of them. */
  function curves(item, names, now) {
    const W = 520, H = 250, left = 40, right = 22, top = 10, bottom = 40;
    const all = names.flatMap((n) => item.curves[n][1]).filter((v) => v != null);
    const low = Math.min(0, ...all), high = Math.max(1, ...all);
    const x = (v) => left + v * (W - left - right), y = (v) => H - bottom - ((v - low) / (high - low)) * (H - top - bottom);
    const parts = [0, 0.25, 0.5, 0.75, 1].flatMap((t) => [
      svg("line", { class: "rule", x1: left, x2: W - right, y1: y(low + t * (high - low)), y2: y(low + t * (high - low)) }),
      svg("text", { x: left - 6, y: y(low + t * (high - low)) + 4, "text-anchor": "end" }, String(+(low + t * (high - low)).toFixed(2))),
      svg("text", { x: x(t), y: H - bottom + 16, "text-anchor": "middle" }, `${100 * t}%`),
    ]);
    for (const name of names) {
      const [xs, ys] = item.curves[name], kind = name.split("_")[0];
      const points = xs.map((v, i) => (ys[i] == null ? "" : `${x(v).toFixed(1)},${y(ys[i]).toFixed(1)}`)).filter(Boolean);
      parts.push(svg("polyline", { class: `line ${kind}`, points: points.join(" "), "stroke-dasharray": name === kind ? null : "5 4" }));
    }
    parts.push(svg("text", { x: (left + W - right) / 2, y: H - 6, "text-anchor": "middle" }, "share hidden or revealed, most important first"));
    if (now && item.curves[now.name][1][now.step] != null) {
      const [xs, ys] = item.curves[now.name], at = x(xs[now.step]);
      parts.push(svg("line", { class: "now", x1: at, x2: at, y1: top, y2: H - bottom }));
      parts.push(svg("circle", { class: `dot ${now.name}`, cx: at, cy: y(ys[now.step]), r: 5 }));
    }
    const told = names.map((n) => `${n} from ${number(item.curves[n][1][0])} to ${number(item.curves[n][1].at(-1))}`);
    return svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `score over the share hidden or revealed: ${told.join("; ")}` }, ...parts);
  }

  const INKS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];

  /** The curves of several items in one plot, a colour for each item; deletion in dashes. */
  function overlaid(items, steps) {
    const W = 520, H = 250, left = 40, right = 22, top = 10, bottom = 40;
    const lines = items.flatMap((item, i) => ["deletion", "insertion"].filter((n) => item.curves[n]).map((n) => [n, item.curves[n], INKS[i % INKS.length], i]));
    const all = lines.flatMap(([, [, ys]]) => ys).filter((v) => v != null);
    const low = Math.min(0, ...all), high = Math.max(1, ...all);
    const x = (v) => left + v * (W - left - right), y = (v) => H - bottom - ((v - low) / (high - low)) * (H - top - bottom);
    const parts = [0, 0.25, 0.5, 0.75, 1].flatMap((t) => [
      svg("line", { class: "rule", x1: left, x2: W - right, y1: y(low + t * (high - low)), y2: y(low + t * (high - low)) }),
      svg("text", { x: left - 6, y: y(low + t * (high - low)) + 4, "text-anchor": "end" }, String(+(low + t * (high - low)).toFixed(2))),
      svg("text", { x: x(t), y: H - bottom + 16, "text-anchor": "middle" }, `${100 * t}%`),
    ]);
    for (const [name, [xs, ys], ink, i] of lines) {
      const points = xs.map((v, n) => (ys[n] == null ? "" : `${x(v).toFixed(1)},${y(ys[n]).toFixed(1)}`)).filter(Boolean);
      parts.push(svg("polyline", { class: "line", stroke: ink, points: points.join(" "), "stroke-dasharray": name === "deletion" ? "5 4" : null }));
      const now = steps[i];
      if (now && now.name === name && ys[now.step] != null) parts.push(svg("circle", { class: "dot", stroke: ink, cx: x(xs[now.step]), cy: y(ys[now.step]), r: 5 }));
    }
    parts.push(svg("text", { x: (left + W - right) / 2, y: H - 6, "text-anchor": "middle" }, "share hidden (dashes) or revealed, most important first"));
    return svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `curves of ${items.length} maps` }, ...parts);
  }

  return { make, number, overlaid, INKS, better, mean, median, histogram, curves };
})();
