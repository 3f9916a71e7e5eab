"use strict";
// Pictures of one explanation on a canvas, from its photo, its map and the step at which each cell changes.
// An item is one explanation; item.book holds what several share: colours, views, pictures, columns, empty.

const STYLES = { heat: "Heat", contour: "Contour", keep: "Keep only", blur: "Blur away", photo: "Photo" };

const Paint = (() => {
  const SKY = "rgb(104, 200, 255)", INK = "rgba(12, 12, 18, 0.6)";
  const FULL = 0.88; // how much of the photo full heat covers
  const images = new Map(), maps = new WeakMap(), tickets = new WeakMap(), tables = new Map(), backs = new WeakMap();
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

  function bytes(text) {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  }

  /** The colour table of a book, 256 x RGB. */
  function colours(book) {
    if (!tables.has(book.colours)) tables.set(book.colours, bytes(book.colours));
    return tables.get(book.colours);
  }

  /** The map and the steps (or null) of an item, each a Uint8Array on its grid, `grid` and `cells_grid`. */
  function cells(item) {
    if (!maps.has(item)) maps.set(item, unpack(item));
    return maps.get(item);
  }

  async function unpack(item) {
    if (item.heat) return { heat: item.heat, steps: null }; // of a map that is still learnt
    const stream = new Blob([bytes(item.cells)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const flat = new Uint8Array(await new Response(stream).arrayBuffer());
    for (let i = 1; i < flat.length; i++) flat[i] += flat[i - 1];
    const size = item.grid[0] * item.grid[1];
    return { heat: flat.subarray(0, size), steps: flat.length > size ? flat.subarray(size) : null };
  }

  /** A picture by its address, or null; the last few dozen are kept. */
  function picture(source) {
    if (!source) return Promise.resolve(null);
    if (!images.has(source)) {
      const made = new Image();
      made.src = source;
      images.set(source, made.decode().then(() => made, () => null));
      if (images.size > 80) images.delete(images.keys().next().value);
    }
    return images.get(source);
  }

  /** Where each of `size` drawn pixels lies among n nodes, and whether the network saw it. */
  function axis(n, size, [first, last, low, high]) {
    const at = new Int32Array(size), part = new Float32Array(size), seen = new Uint8Array(size);
    for (let p = 0; p < size; p++) {
      const u = (p + 0.5) / size;
      const node = n > 1 ? clamp(((u - first) / (last - first)) * (n - 1), 0, n - 1) : 0;
      at[p] = Math.min(Math.floor(node), Math.max(n - 2, 0));
      part[p] = node - at[p];
      seen[p] = u >= low && u <= high ? 1 : 0;
    }
    return { at, part, seen };
  }

  /** Values on a grid -> a Float32Array of width x height drawn pixels, 0 where the network saw nothing. */
  function field(values, [h, w], frame, width, height) {
    const x = axis(w, width, frame[0]), y = axis(h, height, frame[1]), out = new Float32Array(width * height);
    for (let j = 0; j < height; j++) {
      if (!y.seen[j]) continue;
      const top = y.at[j] * w, below = Math.min(y.at[j] + 1, h - 1) * w, t = y.part[j];
      for (let i = 0; i < width; i++) {
        if (!x.seen[i]) continue;
        const a = x.at[i], b = Math.min(a + 1, w - 1), s = x.part[i];
        const upper = values[top + a] * (1 - s) + values[top + b] * s;
        const lower = values[below + a] * (1 - s) + values[below + b] * s;
        out[j * width + i] = upper * (1 - t) + lower * t;
      }
    }
    return out;
  }

  /** The least value of the highest `count` of a field in [0,1]. */
  function level(values, count) {
    const bins = new Uint32Array(2048);
    for (const v of values) bins[Math.round(v * 2047)]++;
    let n = 0, bin = 2047;
    while (bin > 0 && (n += bins[bin]) < count) bin--;
    return Math.max(bin / 2047, 0.002);
  }

  /** A field smoothed by means over 2r+1 pixels, twice along each axis. */
  function smooth(values, width, height, r) {
    let from = values;
    for (const [step, length, line, lines] of [[1, width, width, height], [width, height, 1, width]]) {
      for (let pass = 0; pass < 2; pass++) {
        const to = new Float32Array(from.length);
        for (let l = 0; l < lines; l++) {
          const at = (i) => from[l * line + clamp(i, 0, length - 1) * step];
          let sum = 0;
          for (let i = -r; i <= r; i++) sum += at(i);
          for (let i = 0; i < length; i++) {
            to[l * line + i * step] = sum / (2 * r + 1);
            sum += at(i + r + 1) - at(i - r);
          }
        }
        from = to;
      }
    }
    return from;
  }

  function scratch(width, height) {
    const made = document.createElement("canvas");
    made.width = width;
    made.height = height;
    return made;
  }

  /** A canvas whose pixel i, red, green, blue and alpha from out[o], is what paint(out, o, i) writes. */
  function layer(width, height, paint) {
    const made = scratch(width, height), context = made.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) paint(pixels.data, 4 * i, i);
    context.putImageData(pixels, 0, 0);
    return made;
  }

  /** `under` where alpha(i) in [0,1] says so. */
  function masked(under, width, height, alpha) {
    const made = layer(width, height, (out, o, i) => { out[o + 3] = 255 * alpha(i); });
    const context = made.getContext("2d");
    context.globalCompositeOperation = "source-in";
    if (under) {
      context.imageSmoothingQuality = "high";
      context.drawImage(under, 0, 0, width, height);
    } else {
      context.fillStyle = "#888";
      context.fillRect(0, 0, width, height);
    }
    return made;
  }

  /** Light lines with a dark edge round the highest `count` pixels of a field that is smoothed over half a cell. */
  function contour(values, count, cell, width, height, unit) {
    const f = smooth(values, width, height, Math.max(1, Math.round(0.3 * cell), Math.round(1.2 * unit)));
    const at = level(f, count);
    return layer(width, height, (out, o, i) => {
      const x = i % width, y = (i - x) / width;
      const dx = f[y * width + Math.min(x + 1, width - 1)] - f[y * width + Math.max(x - 1, 0)];
      const dy = f[Math.min(y + 1, height - 1) * width + x] - f[Math.max(y - 1, 0) * width + x];
      const d = Math.abs(f[i] - at) / Math.max(Math.hypot(dx, dy) / 2, 0.002);
      const light = clamp(unit + 0.5 - d, 0, 1), dark = 0.65 * clamp(2.2 * unit + 0.5 - d, 0, 1);
      const alpha = light + dark * (1 - light);
      out[o] = out[o + 1] = out[o + 2] = alpha ? (255 * light) / alpha : 0;
      out[o + 3] = 255 * alpha;
    });
  }

  /** What lies over the photo in a style; `count`: how many pixels the area has that is outlined, kept or blurred. */
  function styled(style, values, full, count, cell, under, width, height, unit, table) {
    if (style === "contour") return contour(values, count, cell, width, height, unit);
    if (style === "heat") return heated(values, full, width, height, table);
    const at = level(values, count), inside = (i) => clamp((values[i] / at - 0.7) / 0.3, 0, 1);
    if (style === "keep") return layer(width, height, (out, o, i) => { out[o + 3] = 240 * (1 - inside(i)); });
    return masked(under, width, height, inside);
  }

  function heated(values, full, width, height, table) {
    return layer(width, height, (out, o, i) => {
      const cover = Math.min(values[i] / full, 1), c = 3 * Math.round(255 * cover);
      out[o] = table[c];
      out[o + 1] = table[c + 1];
      out[o + 2] = table[c + 2];
      out[o + 3] = 255 * FULL * cover;
    });
  }

  /** The photo (or null) in a size, dimmed so far that heat of that opacity shows on it. */
  function ground(context, photo, width, height, opacity) {
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#777";
    context.fillRect(0, 0, width, height);
    if (photo) context.drawImage(photo, 0, 0, width, height);
    if (opacity) dim(context, width, height, opacity);
  }

  /** A canvas of that, kept for the next picture on the same canvas. */
  function kept(canvas, photo, width, height, opacity) {
    const key = [photo, width, height, opacity], last = backs.get(canvas);
    if (last && last.key.every((v, i) => v === key[i])) return last.made;
    const made = scratch(width, height);
    ground(made.getContext("2d"), photo, width, height, opacity);
    backs.set(canvas, { key, made });
    return made;
  }

  function dim(context, width, height, opacity) {
    context.globalAlpha = 0.6 * opacity;
    context.globalCompositeOperation = "saturation";
    context.fillStyle = "#808080";
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "source-over";
    context.globalAlpha = 0.24 * opacity;
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.globalAlpha = 1;
  }

  /** The photo grey, as that of a map that shows nothing. */
  function grey(context, width, height) {
    context.globalCompositeOperation = "saturation";
    context.fillStyle = "#808080";
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "source-over";
    context.fillStyle = "rgba(255, 255, 255, 0.35)";
    context.fillRect(0, 0, width, height);
  }

  /** A status that says that the map shows nothing, and why, across the picture. */
  function stamp(context, status, why, width, height) {
    const size = clamp(Math.min(width / 9, height / 5), 8, 44);
    context.fillStyle = "rgba(12, 12, 18, 0.75)";
    context.fillRect(0, height / 2 - 1.2 * size, width, 2.4 * size);
    context.fillStyle = "#fff";
    context.textAlign = "center";
    for (const [text, part, y] of [[status.toUpperCase(), 1, -0.05], [why, 0.55, 0.8]]) {
      context.font = `${part * size}px system-ui, sans-serif`;
      context.fillText(text, width / 2, height / 2 + y * size, 0.94 * width);
    }
  }

  function outline(context, [x1, y1, x2, y2], width, height, unit) {
    for (const [line, colour] of [[4.4 * unit, INK], [2 * unit, SKY]]) {
      context.lineWidth = line;
      context.strokeStyle = colour;
      const [a, b] = [clamp(x1 * width, unit, width - unit), clamp(y1 * height, unit, height - unit)];
      const [c, d] = [clamp(x2 * width, unit, width - unit), clamp(y2 * height, unit, height - unit)];
      context.strokeRect(a, b, c - a, d - b);
    }
  }

  /** Draw an item: its map in a style, or, where `play` is {name, step}, the picture of that step. coarse: pixels a side
      that share one value of the map, for what is soon drawn anew. */
  async function draw(canvas, item, width, { style = "heat", opacity = 1, share = 0.1, box = true, play = null, coarse = 1 }) {
    const ticket = (tickets.get(canvas) || 0) + 1;
    tickets.set(canvas, ticket);
    const book = item.book, view = book.views[item.view], shown = book.pictures[item.picture];
    const [photo, under, map] = await Promise.all([picture(shown.source), picture(view.under), cells(item)]);
    if (tickets.get(canvas) !== ticket) return;
    const height = Math.max(Math.round((width * shown.size[1]) / shown.size[0]), 1);
    const unit = Math.max(width, height) / 720 + 0.3;
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d");
    const empty = !play && style !== "photo" && Object.hasOwn(book.empty, item.status);
    const dimmed = play || empty || style !== "heat" ? 0 : opacity;
    if (coarse > 1) context.drawImage(kept(canvas, photo, width, height, dimmed), 0, 0);
    else ground(context, photo, width, height, dimmed);
    if (play) {
      const changed = field(map.steps.map((s) => (s <= play.step ? 1 : 0)), item.cells_grid, view.frame, width, height);
      const alpha = play.name === "insertion" ? (i) => 1 - changed[i] : (i) => changed[i];
      context.drawImage(masked(under, width, height, alpha), 0, 0);
    } else if (empty) {
      grey(context, width, height);
    } else if (style !== "photo") {
      const [w, h] = [width, height].map((n) => Math.max(Math.round(n / coarse), 1));
      const values = field(Float32Array.from(map.heat, (v) => v / 255), item.grid, view.frame, w, h);
      const [x1, y1, x2, y2] = item.box || [0, 0, 1, 1];
      const count = share * (x2 - x1) * (y2 - y1) * w * h;
      const over = styled(style, values, item.full, count, w / item.grid[1], under, w, h, unit, colours(book));
      context.globalAlpha = opacity;
      context.imageSmoothingQuality = coarse > 1 ? "low" : "high";
      context.drawImage(over, 0, 0, width, height);
      context.globalAlpha = 1;
    }
    if (item.box && box) outline(context, item.box, width, height, unit);
    if (empty) stamp(context, item.status, book.empty[item.status], width, height);
    canvas.dataset.stamp = empty ? item.status : "";
    canvas.dataset.drawn = play ? `${play.name} ${play.step}` : `${style} ${opacity} ${share}`;
  }

  /** The colours of heat in a row, from 0 to 1. */
  function ramp(canvas, book) {
    const table = colours(book);
    canvas.getContext("2d").drawImage(layer(256, 1, (out, o, i) => {
      for (let c = 0; c < 3; c++) out[o + c] = table[3 * i + c];
      out[o + 3] = 255;
    }), 0, 0);
  }

  /** Where two maps of one picture differ, on the grey photo: orange where the first marks more, blue the second. */
  async function difference(canvas, one, other, width) {
    const ticket = (tickets.get(canvas) || 0) + 1;
    tickets.set(canvas, ticket);
    const shown = one.book.pictures[one.picture];
    const [photo, a, b] = await Promise.all([picture(shown.source), cells(one), cells(other)]);
    if (tickets.get(canvas) !== ticket) return;
    const height = Math.max(Math.round((width * shown.size[1]) / shown.size[0]), 1);
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    context.fillStyle = "#777";
    context.fillRect(0, 0, width, height);
    if (photo) context.drawImage(photo, 0, 0, width, height);
    dim(context, width, height, 1);
    const [x, y] = [[one, a], [other, b]].map(([item, map]) =>
      field(Float32Array.from(map.heat, (v) => v / 255 / item.full), item.grid, item.book.views[item.view].frame, width, height));
    context.drawImage(layer(width, height, (out, o, i) => {
      const d = clamp(Math.min(x[i], 1) - Math.min(y[i], 1), -1, 1);
      [out[o], out[o + 1], out[o + 2]] = d > 0 ? [230, 120, 20] : [50, 140, 255];
      out[o + 3] = 230 * Math.abs(d);
    }), 0, 0);
    canvas.dataset.drawn = "difference";
  }

  return { draw, ramp, difference };
})();
