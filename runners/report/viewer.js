// The order book of a run to look around in: drawn anew at every zoom from the stretches that orders rested,
// so what is seen is exact at the resolution of the screen. No library, no network.
"use strict";

async function bookViewer(root, run) {
  const bytes = Uint8Array.from(atob(run.data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  let place = 0;
  const take = (Type, count) => {
    const found = new Type(buffer, place, count);
    place += Math.ceil((count * Type.BYTES_PER_ELEMENT) / 8) * 8;
    return found;
  };
  const { orders: N, trades: M, timesteps: T, agents } = run;
  // Orders by the timestep from whose end on they stood with these lots, and the first at whose end they did not.
  const first = take(Uint32Array, N), last = take(Uint32Array, N), lots = take(Uint32Array, N);
  const price = take(Uint32Array, N), owner = take(Uint16Array, N), side = take(Uint8Array, N);
  const bid = take(Uint32Array, T), ask = take(Uint32Array, T);
  const tradeTime = take(Float64Array, M), tradePrice = take(Uint32Array, M), tradeLots = take(Uint32Array, M);
  const taker = take(Uint16Array, M), maker = take(Uint16Array, M), bought = take(Uint8Array, M);

  // Orders that stand at the beginning of each block, so that a moment is found without a walk from the start.
  const BLOCK = 256;
  const begins = new Uint32Array(Math.ceil(T / BLOCK) + 1), standing = [];
  for (let block = 0, next = 0, alive = []; block * BLOCK < T; block++) {
    while (next < N && first[next] < block * BLOCK) alive.push(next++);
    alive = alive.filter((order) => last[order] > block * BLOCK);
    standing.push(Uint32Array.from(alive));
    begins[block] = next;
  }
  function* between(from, to) {
    const block = Math.min(standing.length - 1, Math.max(0, Math.floor(from / BLOCK)));
    for (const order of standing[block]) if (last[order] > from && first[order] < to) yield order;
    for (let order = begins[block]; order < N && first[order] < to; order++) if (last[order] > from) yield order;
  }
  const tradeAt = (time) => {
    let low = 0, high = M;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tradeTime[middle] < time) low = middle + 1; else high = middle;
    }
    return low;
  };

  const canvas = root.querySelector("canvas"), pen = canvas.getContext("2d");
  const slider = root.querySelector("input"), ladder = root.querySelector(".ladder"), tip = root.querySelector(".tip");
  const said = root.querySelector(".said");
  slider.max = T - 1;
  const view = { from: 0, to: T, low: 0, high: 0, t: T - 1, p: 0, own: false };
  const MARGIN = { left: 62, bottom: 26 };

  function fit() {
    // Prices around the quotes of what is seen, unless the user has chosen others.
    if (view.own) return;
    let low = Infinity, high = 0;
    for (let step = Math.max(0, Math.floor(view.from)); step < Math.min(T, Math.ceil(view.to)); step++) {
      if (bid[step]) low = Math.min(low, bid[step]);
      if (ask[step]) high = Math.max(high, ask[step]);
      if (!bid[step] && ask[step]) low = Math.min(low, ask[step]);
      if (!ask[step] && bid[step]) high = Math.max(high, bid[step]);
    }
    if (low > high) [low, high] = [run.first - 10, run.first + 10];
    const room = Math.max(8, 0.15 * (high - low));
    [view.low, view.high] = [Math.max(1, Math.floor(low - room)), Math.ceil(high + room) + 1];
  }

  const box = () => ({ w: canvas.clientWidth - MARGIN.left, h: canvas.clientHeight - MARGIN.bottom });
  const x = (time) => MARGIN.left + ((time - view.from) / (view.to - view.from)) * box().w;
  const y = (value) => box().h * (1 - (value - view.low) / (view.high - view.low));
  const timeAt = (px) => view.from + ((px - MARGIN.left) / box().w) * (view.to - view.from);
  const priceAt = (py) => view.low + (1 - py / box().h) * (view.high - view.low);
  const shade = (value) => run.shades[Math.max(0, Math.min(255, Math.round((255 * Math.log(value / run.dim)) / Math.log(run.bright / run.dim))))];

  function draw() {
    fit();
    const ratio = window.devicePixelRatio || 1, { w, h } = box();
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = run.look.ground;
    pen.fillRect(MARGIN.left, 0, w, h);
    // Lots by pixel column and price: what each order adds where it begins, it takes away where it ends.
    const columns = Math.max(1, Math.min(Math.round(w * ratio), Math.ceil(view.to - view.from)));
    const width = (view.to - view.from) / columns, prices = view.high - view.low;
    const joined = Math.max(1, Math.ceil(prices / (h * ratio))), rows = Math.ceil(prices / joined);
    const grid = new Float32Array(rows * (columns + 1));
    for (const order of between(view.from, view.to)) {
      const row = Math.floor((price[order] - view.low) / joined);
      if (row < 0 || row >= rows) continue;
      const start = Math.max(0, Math.ceil((first[order] - view.from) / width));
      const end = Math.min(columns, Math.ceil((last[order] - view.from) / width));
      if (start >= end) continue;
      grid[row * (columns + 1) + start] += lots[order];
      grid[row * (columns + 1) + end] -= lots[order];
    }
    const picture = new ImageData(columns, rows);
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let column = 0; column < columns; column++) {
        sum += grid[row * (columns + 1) + column];
        if (sum < 0.5) continue;
        const at = 4 * ((rows - 1 - row) * columns + column), tint = shade(sum);
        picture.data[at] = tint[0]; picture.data[at + 1] = tint[1]; picture.data[at + 2] = tint[2]; picture.data[at + 3] = 255;
      }
    }
    const sheet = new OffscreenCanvas(columns, rows);
    sheet.getContext("2d").putImageData(picture, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.save();
    pen.beginPath(); pen.rect(MARGIN.left, 0, w, h); pen.clip();
    pen.drawImage(sheet, MARGIN.left, y(view.low + rows * joined), w, (rows * joined * h) / prices);
    for (const [quotes, tint] of [[bid, run.look.bid], [ask, run.look.ask]]) line(quotes, tint, w);
    bubbles(w, h);
    pen.strokeStyle = run.look.ink; pen.lineWidth = 1; pen.setLineDash([4, 3]);
    pen.beginPath(); pen.moveTo(x(view.t + 0.5), 0); pen.lineTo(x(view.t + 0.5), h); pen.stroke();
    pen.setLineDash([]);
    pen.restore();
    axes(w, h);
    canvas.dataset.drawn = `${columns}x${rows}`;
  }

  function line(quotes, tint, w) {
    // Steps; where timesteps are narrower than pixels, the range of each pixel.
    const begin = Math.max(0, Math.floor(view.from)), end = Math.min(T, Math.ceil(view.to));
    const path = new Path2D();
    const every = Math.max(1, Math.floor((view.to - view.from) / w));
    let open = false;
    for (let step = begin; step < end; step += every) {
      let low = Infinity, high = 0, known = 0;
      for (let own = step; own < Math.min(end, step + every); own++) {
        if (quotes[own]) { known = quotes[own]; low = Math.min(low, known); high = Math.max(high, known); }
      }
      if (!high) { open = false; continue; }
      const at = x(step);
      if (open) path.lineTo(at, y(low + 0.5)); else path.moveTo(at, y(low + 0.5));
      if (high > low) path.lineTo(at, y(high + 0.5));
      path.lineTo(x(Math.min(end, step + every)), y(known + 0.5));
      open = true;
    }
    pen.strokeStyle = run.look.ground; pen.lineWidth = 3; pen.stroke(path);
    pen.strokeStyle = tint; pen.lineWidth = 1.2; pen.stroke(path);
  }

  function bubbles(w, h) {
    // Trades that would lie on each other as one: where their lots lie on average, coloured by who took most.
    const cell = 13, cells = new Map();
    for (let trade = tradeAt(view.from); trade < M && tradeTime[trade] < view.to; trade++) {
      const px = x(tradeTime[trade]), py = y(tradePrice[trade] + 0.5);
      if (py < 0 || py > h) continue;
      const key = Math.floor(px / cell) * 10000 + Math.floor(py / cell), size = tradeLots[trade];
      const own = cells.get(key) || [0, 0, 0, 0];
      own[0] += size; own[1] += size * px; own[2] += size * py; own[3] += bought[trade] ? size : -size;
      cells.set(key, own);
    }
    const sizes = [...cells.values()].map((own) => own[0]).sort((a, b) => a - b);
    const most = sizes[Math.floor(0.98 * (sizes.length - 1))] || 1;
    pen.globalAlpha = 0.65;
    for (const [size, sx, sy, net] of cells.values()) {
      pen.fillStyle = net >= 0 ? run.look.buyer : run.look.seller;
      pen.beginPath();
      pen.arc(sx / size, sy / size, Math.max(1.5, (cell / 2) * Math.sqrt(Math.min(1, size / most))), 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  const nice = (span, count) => {
    const rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
    return Math.max(1, [1, 2, 5, 10].find((step) => step * power >= rough) * power);
  };
  function axes(w, h) {
    pen.fillStyle = "#444"; pen.font = "11px sans-serif"; pen.textAlign = "right"; pen.textBaseline = "middle";
    for (let step = nice(view.high - view.low, 8), value = Math.ceil(view.low / step) * step; value < view.high; value += step) {
      pen.fillText(value.toLocaleString("en"), MARGIN.left - 6, y(value + 0.5));
    }
    pen.textAlign = "center"; pen.textBaseline = "top";
    for (let step = nice(view.to - view.from, 9), value = Math.ceil(view.from / step) * step; value <= view.to; value += step) {
      pen.fillText(value.toLocaleString("en"), Math.min(x(value), MARGIN.left + w - 16), h + 6);
    }
  }

  function book() {
    // The ladder at the end of a timestep: by price the lots of each side, and whose.
    const levels = new Map();
    for (const order of between(view.t, view.t + 1)) {
      if (first[order] > view.t) continue;
      const own = levels.get(price[order]) || { side: side[order], lots: 0, orders: [] };
      own.lots += lots[order];
      own.orders.push(order);
      levels.set(price[order], own);
    }
    return levels;
  }
  const named = (order) => {
    const where = document.createElement("span");
    where.textContent = `${agents[owner[order]]} ${lots[order]}`;
    where.style.color = run.tints[owner[order]];
    return where;
  };
  function tell() {
    const levels = book(), SHOWN = 12;
    const prices = [...levels.keys()].sort((a, b) => b - a);
    const asks = prices.filter((value) => levels.get(value).side), bids = prices.filter((value) => !levels.get(value).side);
    const shown = [...asks.slice(-SHOWN), null, ...bids.slice(0, SHOWN)];
    if (view.p && levels.has(view.p) && !shown.includes(view.p)) shown[view.p > (bid[view.t] || 0) ? "unshift" : "push"](view.p);
    const most = Math.max(1, ...shown.filter((value) => value !== null).map((value) => levels.get(value).lots));
    ladder.replaceChildren(...shown.map((value) => {
      const row = document.createElement("tr");
      const cells = [0, 1, 2].map(() => row.appendChild(document.createElement("td")));
      if (value === null) {
        row.className = "mid";
        cells[1].textContent = bid[view.t] && ask[view.t] ? `spread ${ask[view.t] - bid[view.t]}` : "one-sided";
        return row;
      }
      const level = levels.get(value), tint = level.side ? run.look.ask : run.look.bid;
      row.dataset.price = value;
      row.dataset.lots = level.lots;
      if (value === view.p) row.className = "chosen";
      cells[0].textContent = value.toLocaleString("en");
      cells[1].textContent = level.lots;
      cells[1].style.background = `linear-gradient(to left, ${tint}66 ${(100 * level.lots) / most}%, transparent 0)`;
      level.orders.forEach((order, number) => cells[2].append(...(number ? [", "] : []), named(order)));
      row.onclick = () => { view.p = value; change(); };
      return row;
    }));
    const from = tradeAt(view.t), to = tradeAt(view.t + 1);
    const told = [];
    for (let trade = from; trade < Math.min(to, from + 4); trade++) {
      told.push(`${tradeLots[trade]} at ${tradePrice[trade].toLocaleString("en")}: ${agents[taker[trade]]} ${bought[trade] ? "bought from" : "sold to"} ${agents[maker[trade]]}`);
    }
    said.textContent = `End of timestep ${view.t.toLocaleString("en")}; ${to - from} trade${to - from === 1 ? "" : "s"} within${told.length ? ": " + told.join("; ") : ""}${to - from > 4 ? "; …" : ""}.`;
    slider.value = view.t;
  }

  let waiting = false, linking = 0;
  function remember() {
    // Browsers allow so many changes of an address a minute and no more.
    const where = `#t=${view.t}&from=${Math.round(view.from)}&to=${Math.round(view.to)}${view.p ? `&p=${view.p}` : ""}`;
    try { history.replaceState(null, "", where); } catch { /* the picture goes on without */ }
  }
  function change(link = true) {
    const span = Math.min(T, Math.max(5, view.to - view.from));
    view.from = Math.max(0, Math.min(T - span, view.from));
    view.to = view.from + span;
    view.t = Math.max(0, Math.min(T - 1, Math.round(view.t)));
    if (link) { clearTimeout(linking); linking = setTimeout(remember, 200); }
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); tell(); });
  }
  function follow() {
    const found = new URLSearchParams(location.hash.slice(1));
    const number = (name, other) => (found.has(name) && Number.isFinite(Number(found.get(name))) ? Number(found.get(name)) : other);
    view.t = number("t", view.t);
    view.from = number("from", view.from);
    view.to = number("to", view.to);
    view.p = number("p", 0);
    if (!found.has("from") && found.has("t") && T > 400) [view.from, view.to] = [view.t - 100, view.t + 100];
    view.own = false;
    change(false);
  }
  function zoom(middle, factor) {
    [view.from, view.to] = [middle - (middle - view.from) * factor, middle + (view.to - middle) * factor];
    change();
  }

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const factor = Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 200);
    if (event.shiftKey) {
      const middle = priceAt(event.offsetY);
      view.own = true;
      view.low = Math.max(1, Math.floor(middle - (middle - view.low) * factor));
      view.high = Math.max(view.low + 4, Math.ceil(middle + (view.high - middle) * factor));
      change();
    } else zoom(timeAt(event.offsetX), factor);
  }, { passive: false });
  let held = null;
  canvas.addEventListener("pointerdown", (event) => { held = { x: event.offsetX, y: event.offsetY, ...view, moved: false }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (held) {
      const dx = event.offsetX - held.x, dy = event.offsetY - held.y, { w, h } = box();
      if (Math.abs(dx) + Math.abs(dy) > 3) held.moved = true;
      if (!held.moved) return;
      const over = (dx / w) * (held.to - held.from);
      [view.from, view.to] = [held.from - over, held.to - over];
      if (Math.abs(dy) > 8 || view.own) {
        const up = Math.round((dy / h) * (held.high - held.low));
        view.own = true;
        [view.low, view.high] = [Math.max(1, held.low + up), Math.max(1, held.low + up) + held.high - held.low];
      }
      change();
      return;
    }
    hover(event);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (held && !held.moved) {
      view.t = Math.floor(timeAt(event.offsetX));
      view.p = Math.floor(priceAt(event.offsetY));
      change();
    }
    held = null;
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("dblclick", () => { [view.from, view.to, view.own] = [0, T, false]; change(); });
  slider.addEventListener("input", () => {
    view.t = Number(slider.value);
    if (view.t < view.from || view.t >= view.to) {
      const span = view.to - view.from;
      [view.from, view.to] = [view.t - span / 2, view.t + span / 2];
    }
    change();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 1, middle = (view.from + view.to) / 2;
    if (event.key === "ArrowLeft") view.t -= step;
    else if (event.key === "ArrowRight") view.t += step;
    else if (event.key === "+") return zoom(middle, 0.8);
    else if (event.key === "-") return zoom(middle, 1.25);
    else return;
    event.preventDefault();
    change();
  });
  function hover(event) {
    const step = Math.floor(timeAt(event.offsetX)), value = Math.floor(priceAt(event.offsetY));
    if (step < 0 || step >= T || event.offsetX < MARGIN.left || event.offsetY > box().h) { tip.hidden = true; return; }
    const found = [];
    for (const order of between(step, step + 1)) if (price[order] === value && first[order] <= step) found.push(order);
    tip.replaceChildren(`timestep ${step.toLocaleString("en")}, price ${value.toLocaleString("en")}: `);
    if (found.length) found.slice(0, 8).forEach((order, number) => tip.append(...(number ? [", "] : []), named(order)));
    else tip.append("nothing rests");
    tip.hidden = false;
    tip.style.left = `${Math.min(event.offsetX + 14, canvas.clientWidth - 260)}px`;
    tip.style.top = `${event.offsetY + 14}px`;
  }
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", () => change(false));
  follow();
}
