// The live page: pick a picture, choose what is seen there, ask, watch the mask form, understand.

(async () => {
  const { make, number } = Plots;
  const byId = (id) => document.getElementById(id);
  const LEAST_SHOWN = 80; // milliseconds that each step stays
  const COARSE = 3; // pixels a side of one value of a mask that is still learnt: the browser draws beside the network
  const PASSING = 60; // milliseconds in which a picture of the strip is scrolled past
  history.replaceState(null, "", location.pathname);
  const start = await (await fetch("start")).json();
  const looks = { colours: start.colours, empty: start.empty };
  const answers = [];
  let picture = null, chosen = null, running = null, current = null, looking = 0;

  const model = () => +byId("model").value || 0;
  const say = (text) => { if (byId("status").textContent !== text) byId("status").textContent = text; };
  const wrong = (text) => { byId("error").textContent = text; };

  // ---- to begin with

  function options(id, pairs, value) {
    byId(id).replaceChildren(...pairs.map(([v, text]) => make("option", { value: v }, text)));
    if (value != null) byId(id).value = value;
  }

  function prepare() {
    byId("about").textContent = start.models.map((m) => m.name).join(", ");
    byId("about").title = start.models.flatMap((m) => m.notes).join("; ");
    options("model", start.models.map((m, i) => [i, m.name]));
    byId("model-label").hidden = start.models.length < 2;
    const { masks, others } = start.methods;
    byId("method").replaceChildren(
      ...masks.map((m) => make("option", { value: m }, m)),
      make("optgroup", { label: "more" }, ...others.map((m) => make("option", { value: m }, m))));
    byId("method").value = start.method;
    options("preset", start.presets.map((p) => [p, p]), "default");
    options("question", Object.entries(start.questions));
    byId("question").addEventListener("change", rivals);
    byId("folder").textContent = `kept in ${start.folder}`;
    for (const name of start.pictures) thumb(name);
    for (const answer of start.answers) keep(answer);
    Viewer.wire(byId("understand"));
  }

  /** The classes that a detection may be compared with, where that is asked. */
  function rivals() {
    const asked = byId("question").value === "versus";
    byId("rival-label").hidden = !asked;
    if (!asked) return;
    const own = chosen == null ? null : Stage.seen().detections[chosen].name, before = byId("rival").value;
    const names = start.models[model()].labels.filter((n) => n !== own && n !== "__background__");
    options("rival", names.map((n) => [n, n]), names.includes(before) ? before : names[0]);
  }

  const question = () => byId("question").value === "versus" ? `versus:${byId("rival").value}` : byId("question").value;

  /** Thumbnails of what stays in view for a moment; what is scrolled past asks for none, or ends what it asked for. */
  const waiting = new Map();
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      clearTimeout(waiting.get(target));
      waiting.delete(target);
      const image = target.firstElementChild;
      if (isIntersecting && !image) {
        waiting.set(target, setTimeout(() => {
          waiting.delete(target);
          target.append(make("img", { src: `picture/${target.dataset.n}/thumb`, alt: "", decoding: "async" }));
        }, PASSING));
      } else if (!isIntersecting && image && !image.complete) {
        image.removeAttribute("src");
        image.remove();
      }
    }
  }, { root: byId("strip"), rootMargin: "300px" });

  function thumb(name) {
    const n = byId("strip").childElementCount;
    const button = make("button", { type: "button", "aria-label": name, title: name, "data-n": n, "aria-pressed": "false" });
    button.addEventListener("click", () => pick(n));
    byId("strip").append(button);
    near.observe(button);
    return n;
  }

  // ---- a picture

  async function told(answer) {
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  async function pick(n) {
    if (running) cancel();
    const mine = ++looking;
    [...byId("strip").children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === n)));
    wrong("");
    choose(null);
    say("looking");
    try {
      const seen = await told(await fetch(`picture/${n}/seen?model=${model()}`));
      if (mine !== looking) return;
      picture = n;
      Brush.stop();
      const { threshold, least, classes } = start.models[model()];
      byId("threshold").min = least;
      if (!byId("threshold").dataset.set) byId("threshold").value = threshold;
      byId("threshold").closest("label").hidden = false;
      const name = byId("strip").children[n].title;
      byId("chosen").textContent = classes ? "Click a class" : "Click a box";
      byId("own").hidden = classes;
      await Stage.show(looks, seen, `picture/${n}/photo`, name, +byId("threshold").value, choose);
      limit();
      say("");
    } catch (error) {
      if (mine !== looking) return;
      say("");
      wrong(error.message);
    }
  }

  function limit() {
    const least = +byId("threshold").value, count = Stage.threshold(least), all = Stage.seen() ? Stage.seen().detections.length : 0;
    byId("threshold-value").textContent = least.toFixed(2);
    byId("count").textContent = Stage.seen() && !count ? `nothing scores ${least.toFixed(2)}; ${all} below` : "";
  }

  function choose(index) {
    chosen = index;
    Stage.choose(index);
    byId("explain").disabled = byId("brush").disabled = index == null;
    if (index == null) return;
    const { name, score, expected } = Stage.seen().detections[index];
    byId("chosen").textContent = expected ? `${name}, expected` : `${name} ${score.toFixed(2)}`;
    byId("brush").disabled = Boolean(expected);
    Brush.clear();
    rivals();
  }

  async function upload(file) {
    wrong("");
    if (file.size > 32 * 2 ** 20) { wrong(`${file.name}: a picture may have 32 MB at most`); return; }
    const form = new FormData();
    form.append("file", file);
    say("reading");
    try {
      const { name } = await told(await fetch("picture", { method: "POST", body: form }));
      const n = thumb(name);
      byId("strip").lastChild.scrollIntoView({ block: "nearest", inline: "nearest" });
      await pick(n);
    } catch (error) {
      say("");
      wrong(error.message || "the picture could not be sent");
    }
  }

  // ---- a question

  /** The events of a stream, (kind, content), as they come. */
  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      let end;
      while ((end = text.indexOf("\n\n")) >= 0) {
        const lines = Object.fromEntries(text.slice(0, end).split("\n").map((l) => [l.slice(0, l.indexOf(":")), l.slice(l.indexOf(":") + 2)]));
        text = text.slice(end + 2);
        if (lines.event) yield [lines.event, JSON.parse(lines.data)];
      }
    }
  }

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const pause = (ms) => new Promise((go) => setTimeout(go, ms));

  /** What is asked about: a detection by its number, or what was expected. */
  function wish() {
    const d = Stage.seen().detections[chosen], [w, h] = Stage.seen().size;
    if (!d.expected) return { index: chosen, label: d.label };
    return { name: d.name, box: d.box.map((v, i) => v * (i % 2 ? h : w)), threshold: +byId("threshold").value };
  }

  async function explain() {
    if (chosen == null) return;
    const before = running;
    if (before) cancel("replaced by a newer question");
    const job = running = { stop: new AbortController(), queue: [], wake: () => {}, id: null, ended: false };
    const tell = (kind, content) => { job.queue.push([kind, content]); job.wake(); };
    const asked = { ...wish(), picture, model: model(), method: byId("method").value, preset: byId("preset").value, question: question() };
    Brush.stop();
    wrong("");
    byId("cancel").disabled = false;
    byId("bar").hidden = false;
    byId("bar").removeAttribute("value");
    say("asked");
    if (innerWidth <= 900) byId("stage").scrollIntoView({ block: "nearest" });
    byId("told").textContent = before ? "the question before was cancelled" : "";
    const pumped = pump(job);
    try {
      const response = await fetch("explain", { method: "POST", body: JSON.stringify(asked), signal: job.stop.signal });
      if (!response.ok) throw new Error(await response.text());
      for await (const [kind, content] of events(response)) {
        if (kind === "begun") {
          job.id = content.id;
          if (job.ended) fetch(`cancel/${job.id}`, { method: "POST" });
        }
        tell(kind, content);
      }
      tell("end", { error: "the server has ended the answer" });
    } catch (error) {
      tell("end", { error: job.ended ? "" : `no answer: ${error.message}` });
    }
    await pumped;
  }

  /** What a job told, in its order, each step of the mask for a while. */
  async function pump(job) {
    let shown = 0;
    for (;;) {
      if (!job.queue.length) await new Promise((go) => { job.wake = go; });
      const [kind, content] = job.queue.shift();
      if (running !== job) return;
      if (kind === "begun" || kind === "waiting") {
        if (content.before) say(`waiting, ${content.before} before it`);
      } else if (kind === "step") {
        if (!content.heat && content.step && job.queue.some(([k, c]) => k === "step" && !c.heat)) continue;
        await pause(Math.max(shown + LEAST_SHOWN - performance.now(), 0));
        if (running !== job) return;
        await step(content);
        shown = performance.now();
      } else if (kind === "measuring") {
        byId("bar").removeAttribute("value");
        byId("told").textContent = "measuring the figures";
      } else {
        await pause(Math.max(shown + LEAST_SHOWN - performance.now(), 0));
        finish(job, kind, content);
        return;
      }
    }
  }

  async function step({ step: n, total, heat, grid, hidden, shown, left }) {
    say(total ? `step ${n} of ${total}` : `step ${n}`);
    byId("bar").max = total || 1;
    if (total) byId("bar").value = n;
    if (heat) {
      await Stage.draw(Stage.item({ heat: bytes(heat), grid, full: 1 }), { style: "heat", coarse: COARSE });
    } else if (!n) await Stage.photo();
    byId("view").dataset.step = n;
    const time = left == null ? "" : `about ${Math.max(Math.ceil(left), 1)} s left`;
    const at = hidden == null ? "" : `without the marked part ${number(hidden)}, the marked part alone ${number(shown)}`;
    byId("told").textContent = [at, time].filter(Boolean).join("; ");
  }

  function finish(job, kind, content) {
    running = null;
    job.ended = true;
    byId("cancel").disabled = true;
    byId("bar").hidden = true;
    byId("told").textContent = "";
    if (kind === "done") {
      open(keep(content));
      say("done");
    } else {
      if (picture != null) Stage.photo();
      say(kind === "cancelled" ? "cancelled" : "failed");
      wrong(kind === "cancelled" ? "" : content.error);
    }
  }

  function cancel(why) {
    const job = running;
    if (!job) return;
    running = null;
    job.ended = true;
    if (job.id != null) fetch(`cancel/${job.id}`, { method: "POST" });
    setTimeout(() => job.stop.abort(), 300);
    byId("cancel").disabled = true;
    byId("bar").hidden = true;
    byId("told").textContent = why || "";
    say("cancelled");
    if (picture != null) Stage.photo();
  }

  // ---- an answer

  function keep(answer) {
    const [item] = answer.book.items;
    item.book = answer.book;
    item.answer = answer;
    answers.push(item);
    const main = item.book.columns.map((c, i) => ({ ...c, i })).filter((c) => c.main && c.key !== "score");
    const card = Cards.card(item, main.slice(0, 3), { source: true });
    card.setAttribute("aria-label", `Answer ${item.index + 1}: ${item.name} by ${Cards.by(item)}`);
    card.addEventListener("click", () => open(item));
    byId("cards").prepend(card);
    byId("answers").hidden = byId("report").hidden = false;
    return item;
  }

  const title = (item) => `${Cards.what(item)} by ${Cards.by(item)}`;

  function open(item, beside = null) {
    current = item;
    byId("understand").hidden = false;
    byId("title").textContent = Cards.what(item);
    byId("facts").textContent = [Cards.picture(item).name, Cards.by(item), item.status].filter(Boolean).join(" · ");
    const lost = item.facts.reason && item.facts.reason !== "found" && `Why it is no detection: ${item.facts.reason}.`;
    const told = item.facts.sentence && `${item.facts.sentence}${item.facts.verdict ? ` [${item.facts.verdict}]` : ""}.`;
    byId("sentence").textContent = [lost, told].filter(Boolean).join(" ");
    byId("note").textContent = [item.facts.error, item.facts.warning].filter(Boolean).join("; ");
    const others = answers.filter((a) => a !== item);
    options("beside", [["", "nothing"], ...others.map((a) => [a.index, `${title(a)}, ${Cards.picture(a).name}`])], beside ? beside.index : "");
    byId("beside").parentElement.hidden = !others.length;
    for (const card of byId("cards").children) card.setAttribute("aria-current", String(+card.dataset.open === item.index));
    const { id, command, python } = item.answer;
    byId("npz").href = `answer/${id}/explanation.npz`;
    byId("row").href = `answer/${id}/row.json`;
    byId("command").textContent = command;
    byId("python").textContent = python;
    Viewer.open(beside ? [item, beside] : [item]);
    Viewer.draw();
    if (item.answer.picture === picture && item.view != null) Stage.draw(item, { style: "heat" });
  }

  function download(blob, name) {
    const link = make("a", { href: URL.createObjectURL(blob), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  async function copy(id, button) {
    const text = byId(id).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(byId(id));
      document.execCommand("copy");
    }
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1200);
  }

  // ---- a brush

  const Brush = (() => {
    const canvas = byId("paint");
    const COLUMNS = 96, REST = 200; // milliseconds between two questions at least
    let on = false, drawing = false, cells = null, rows = 0, asking = false, newest = 0;

    function start_() {
      const [w, h] = Stage.seen().size;
      rows = Math.max(1, Math.min(255, Math.round((COLUMNS * h) / w)));
      cells = new Uint8Array(rows * COLUMNS);
      canvas.width = COLUMNS;
      canvas.height = rows;
      on = true;
      show();
    }

    function show() {
      canvas.hidden = byId("clean").hidden = !on;
      byId("brush").setAttribute("aria-pressed", String(on));
      byId("boxes").classList.toggle("aside", on);
      if (!on) byId("painted").textContent = "";
    }

    function stop() { on = false; cells = null; show(); }

    function clear() { if (on) { start_(); ask(); } }

    function dab(e) {
      const box = canvas.getBoundingClientRect(), radius = COLUMNS / 16;
      const x = ((e.clientX - box.left) / box.width) * COLUMNS, y = ((e.clientY - box.top) / box.height) * rows;
      for (let j = 0; j < rows; j++) for (let i = 0; i < COLUMNS; i++) {
        const d = Math.hypot(i + 0.5 - x, j + 0.5 - y), v = 255 * Math.min(Math.max((radius - d) / 2 + 0.5, 0), 1);
        if (v > cells[j * COLUMNS + i]) cells[j * COLUMNS + i] = v;
      }
      const context = canvas.getContext("2d"), pixels = context.createImageData(COLUMNS, rows);
      cells.forEach((v, i) => { pixels.data.set([120, 130, 150, 0.82 * v], 4 * i); });
      context.putImageData(pixels, 0, 0);
      ask();
    }

    /** The score of what is painted by now; while one is asked, the newest stroke waits. */
    async function ask() {
      const mine = ++newest;
      if (asking) return;
      asking = true;
      const sent = performance.now(), index = chosen;
      try {
        const paint = btoa(String.fromCharCode(...cells));
        const body = JSON.stringify({ picture, index, model: model(), rows, columns: COLUMNS, paint });
        const { before, now } = await told(await fetch("score", { method: "POST", body }));
        if (on) byId("painted").textContent = `${Stage.seen().detections[index].name}: ${number(before)} before, ${number(now)} with this blurred`;
      } catch (error) {
        wrong(error.message);
      }
      await pause(Math.max(sent + REST - performance.now(), 0));
      asking = false;
      if (on && newest !== mine) ask();
    }

    canvas.addEventListener("pointerdown", (e) => { drawing = true; canvas.setPointerCapture(e.pointerId); dab(e); });
    canvas.addEventListener("pointermove", (e) => drawing && dab(e));
    canvas.addEventListener("pointerup", () => { drawing = false; });
    canvas.addEventListener("pointercancel", () => { drawing = false; });
    byId("brush").addEventListener("click", () => (on ? stop() : (Stage.photo(), start_(), ask())));
    byId("clean").addEventListener("click", clear);
    return { stop, clear };
  })();

  // ---- a box of one's own

  (() => {
    const rubber = byId("rubber"), mark = rubber.firstElementChild;
    let from = null, drawn = null;

    function show(on) {
      rubber.hidden = !on;
      byId("own").setAttribute("aria-pressed", String(on));
      byId("boxes").classList.toggle("aside", on);
      byId("expected").hidden = true;
      mark.hidden = true;
    }

    function at(e) {
      const box = rubber.getBoundingClientRect(), share = (v) => Math.min(Math.max(v, 0), 1);
      return [share((e.clientX - box.left) / box.width), share((e.clientY - box.top) / box.height)];
    }

    function draw([x1, y1, x2, y2]) {
      drawn = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
      const [a, b, c, d] = drawn.map((v) => 100 * v);
      mark.hidden = false;
      Object.assign(mark.style, { left: `${a}%`, top: `${b}%`, width: `${c - a}%`, height: `${d - b}%` });
    }

    byId("own").addEventListener("click", () => {
      const on = rubber.hidden && Boolean(Stage.seen());
      if (on) Brush.stop();
      show(on);
      if (on) {
        const names = start.models[model()].labels.filter((n) => n !== "__background__");
        options("expected-name", names.map((n) => [n, n]));
        draw([0.3, 0.3, 0.7, 0.7]);
        byId("expected").hidden = false;
        rubber.focus();
      }
    });
    rubber.addEventListener("keydown", (e) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
      if (!way || !drawn) return;
      e.preventDefault();
      const [dx, dy] = way.map((v) => 0.02 * v), [x1, y1, x2, y2] = drawn;
      const next = e.shiftKey ? [x1, y1, Math.max(x2 + dx, x1 + 0.02), Math.max(y2 + dy, y1 + 0.02)] : [x1 + dx, y1 + dy, x2 + dx, y2 + dy];
      if (next.every((v) => v >= 0 && v <= 1)) draw(next);
    });
    rubber.addEventListener("pointerdown", (e) => { from = at(e); rubber.setPointerCapture(e.pointerId); });
    rubber.addEventListener("pointermove", (e) => from && draw([...from, ...at(e)]));
    rubber.addEventListener("pointerup", () => { from = null; });
    byId("expected-take").addEventListener("click", () => {
      const [x1, y1, x2, y2] = drawn;
      if (x2 - x1 < 0.01 || y2 - y1 < 0.01) { wrong("the box is too small"); return; }
      show(false);
      choose(Stage.expect(byId("expected-name").value, drawn));
    });
  })();

  // ---- what is wired to what

  byId("explain").addEventListener("click", explain);
  byId("cancel").addEventListener("click", () => cancel());
  byId("threshold").addEventListener("input", () => { byId("threshold").dataset.set = "1"; limit(); });
  byId("model").addEventListener("change", () => picture != null && pick(picture));
  byId("file").addEventListener("change", () => { if (byId("file").files[0]) upload(byId("file").files[0]); byId("file").value = ""; });
  byId("beside").addEventListener("change", () => open(current, answers.find((a) => String(a.index) === byId("beside").value) || null));
  byId("png").addEventListener("click", () => byId("map-picture").toBlob((blob) => download(blob, `${Cards.what(current)}.png`)));
  byId("copy-command").addEventListener("click", (e) => copy("command", e.target));
  byId("copy-python").addEventListener("click", (e) => copy("python", e.target));
  addEventListener("resize", () => !byId("understand").hidden && Viewer.redraw());
  addEventListener("dragover", (e) => { e.preventDefault(); byId("drop").hidden = false; });
  addEventListener("dragleave", (e) => { if (!e.relatedTarget) byId("drop").hidden = true; });
  addEventListener("drop", (e) => {
    e.preventDefault();
    byId("drop").hidden = true;
    if (e.dataTransfer.files[0]) upload(e.dataTransfer.files[0]);
  });
  prepare();
  if (start.pictures.length) await pick(0);
})();
