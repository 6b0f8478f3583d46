// The page of `manyparts play`: it shows what the server sends, and sends what a person does.
import { Hand } from "/hand.js";

const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const svg = ["path", "circle", "text"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const short = (value) => String(+(+value).toPrecision(3));
// Writing the same text again would lay the page out again.
const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const percent = (value) => Math.round(100 * value) + " %";

let cast = null, task = null, now = null, running = false, frames = 0, leaving = false, judged = { seed: null, step: 0 };
const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket${location.search}`);
socket.binaryType = "arraybuffer";
const send = (message) => { if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message)); };
const hand = new Hand(send);

function connected(text, kind) { $("connection").textContent = text; $("connection").className = "state " + kind; }
socket.addEventListener("open", () => connected("connected", "good"));
socket.addEventListener("close", () => { if (!leaving) connected("connection closed: begin the command again, or reload the page", "bad"); });
window.addEventListener("beforeunload", (event) => { if (now?.unsaved_work) event.preventDefault(); });
window.addEventListener("pagehide", () => { leaving = true; });

// What a person has just chosen stays shown until the server agrees, refuses, or is silent for long.
const chosen = new Map();
function choose(name, value) { chosen.set(name, [value, performance.now()]); }
function settled(name, value) {
  const [wanted, since] = chosen.get(name) ?? [value, 0];
  if (wanted !== value && performance.now() - since < 3000) return false;
  chosen.delete(name);
  return true;
}

let queue = Promise.resolve();
socket.addEventListener("message", ({ data }) => {
  if (data instanceof ArrayBuffer) { queue = queue.then(() => frame(data)); return; }
  const message = JSON.parse(data);
  ({ hello, task: described, counts, said, refused })[message.type]?.(message);
});

function log(text, kind) {
  $("log").prepend(make("li", { class: kind }, text));
  while ($("log").children.length > 8) $("log").lastChild.remove();
}
function said({ text }) { log(text, "said"); }
function refused({ text, of }) {
  log(text, "refused");
  chosen.clear();
  if (of === "task") $("task").value = task.task;
  if (of === "run") running = false;
}

function hello(message) {
  cast = message;
  document.title = "manyparts play · " + cast.name;
  $("name").textContent = "manyparts play · " + cast.name;
  $("task").replaceChildren(...cast.tasks.map((name) => make("option", { value: name }, name)));
  $("about").textContent = "goals of the split " + cast.split;
  for (const input of document.querySelectorAll("#control input")) input.parentElement.hidden = !cast.has_agent && input.value !== "hand";
  $("only-hand-label").hidden = !cast.has_agent;
  $("save-box").hidden = cast.output === null;
  $("goal-box").hidden = !cast.prompts.includes("goal_image");
  $("demonstration-box").hidden = !cast.prompts.includes("demonstration");
  const prompted = cast.prompts.length > 0;
  // An agent without prompts is asked for nothing; what is saved still needs an instruction.
  $("prompt-panel").hidden = cast.has_agent && !prompted && cast.output === null;
  $("prompt-title").textContent = prompted ? "Prompt" : "Instruction";
}

function described(message) {
  task = message;
  hand.setTask(task);
  $("task").value = task.task;
  const success = task.knows_success ? "" : " · nobody knows when it is solved";
  const seeds = task.reproduces ? "" : " · seeds do not reproduce";
  $("task-about").textContent = `${task.embodiment} · ${task.representation} at ${short(task.rate)} Hz · ${task.max_steps} steps${success}${seeds}`;
  const can = task.has_expert ? "" : "this task has no expert";
  $("shows-expert").disabled = !task.has_expert;
  $("shows-expert").parentElement.title = can;
  $("goal-expert").disabled = false;
  const said = [...new Set([...task.wordings, ...cast.instructions])];
  $("chips").replaceChildren(...said.map((text) => {
    const chip = make("button", { type: "button" }, text);
    chip.addEventListener("click", () => ask(text));
    return chip;
  }));
  const shownEpisodes = cast.demonstrations.map((each) => make("option", { value: "data " + each.index }, `#${each.index} ${each.said}, ${each.steps} steps`));
  const expert = task.has_expert ? [make("option", { value: "expert" }, "the expert in another scene")] : [];
  $("demonstration").replaceChildren(make("option", { value: "none" }, "none"), ...expert, ...shownEpisodes);
  const choices = task.choices.length > 0;
  $("style-label").hidden = $("strength-label").hidden = choices;
  $("style").value = task.style;
  const mouse = [["none", "does nothing"]];
  if (!choices) mouse.push(["drag", `drags ${task.actions.slice(0, 2).join(" and ")}`], ["point", `points at ${task.actions.slice(0, 2).join(" and ")}`]);
  if (task.can_push) mouse.push(["push", "pushes the scene"]);
  $("mouse").replaceChildren(...mouse.map(([value, words]) => make("option", { value }, words)));
  $("mouse").value = hand.mouse = task.can_push && cast.has_agent ? "push" : choices ? "none" : task.style === "move" ? "point" : "drag";
  $("group-label").hidden = choices || hand.groups < 2;
  $("group").replaceChildren(...Array.from({ length: hand.groups }, (_, number) => make("option", { value: number }, `${8 * number + 1} to ${Math.min(8 * number + 8, task.actions.length)}`)));
  $("paths-label").hidden = !task.plans;
  keyTable();
  bars();
}

function keyTable() {
  $("keys").replaceChildren(...hand.rows().map(({ name, keys, number }) => make("tr", { "data-number": number }, make("td", {}, name), make("td", {}, make("kbd", {}, keys || "none")))));
}

function counts({ rows, left_out }) {
  $("counts").replaceChildren(...rows.slice(0, 6).map((row) => make("tr", {},
    make("td", {}, row.task, make("div", { class: "soft" }, `${row.prompt} · ${row.who}`)),
    make("td", {}, `${row.solved} of ${row.episodes} solved`, make("div", { class: "soft" }, `${percent(row.rate)}, 95 % interval ${percent(row.low)} to ${percent(row.high)}`)))));
  $("left-out").textContent = left_out ? `${left_out} not counted: broken off, helped, asked for two things, or of unknown success` : rows.length ? "" : "no whole episode yet";
}

async function frame(data) {
  const view = new DataView(data), size = view.getUint32(0);
  now = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size)));
  let offset = 4 + size;
  const pictures = [];
  for (const [name, length] of now.pictures) {
    pictures.push([name, await createImageBitmap(new Blob([new Uint8Array(data, offset, length)], { type: "image/jpeg" }))]);
    offset += length;
  }
  $("beside").hidden = !now.shows_expert;
  const small = [];
  for (const [name, bitmap] of pictures) {
    if (name === "scene" || name === "expert") {
      const canvas = $(name), pen = canvas.getContext("2d");
      pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      if (name === "scene") overlay(pen, canvas.width);
    } else small.push([name, bitmap]);
  }
  views(small);
  frames += 1;
  send({ type: "ack", frame: now.frame });
  for (const [, bitmap] of pictures) bitmap.close();
  status();
}

function views(pictures) {
  const names = pictures.map(([name]) => name).join("\n");
  if ($("views").dataset.names !== names) {
    $("views").dataset.names = names;
    $("views").replaceChildren(...pictures.map(([name, bitmap]) => make("figure", {}, make("canvas", { width: bitmap.width, height: bitmap.height }), make("figcaption", {}, name))));
  }
  pictures.forEach(([, bitmap], index) => $("views").children[index].firstChild.getContext("2d").drawImage(bitmap, 0, 0));
}

function overlay(pen, side) {
  const located = now.paths?.located;
  if (located) {
    const line = (points) => { pen.beginPath(); points.forEach(([x, y], index) => pen[index ? "lineTo" : "moveTo"](x * side, y * side)); pen.stroke(); };
    pen.lineWidth = 1.2; pen.strokeStyle = "rgba(90, 60, 160, .35)";
    located.tried.forEach(line);
    pen.lineWidth = 3.5; pen.strokeStyle = "rgb(120, 40, 200)";
    line(located.plan);
  }
  const drag = hand.drag;
  if (drag && hand.mouse !== "none") {
    const [x, y] = drag.at;
    pen.lineWidth = 4; pen.strokeStyle = hand.mouse === "push" ? "rgb(200, 60, 30)" : "rgb(30, 110, 140)";
    const [to, down] = drag.now ?? drag.at;
    pen.beginPath(); pen.moveTo(x * side, y * side); pen.lineTo(to * side, down * side); pen.stroke();
  }
}

function plot() {
  const paths = now.paths;
  $("plot-box").hidden = !paths || Boolean(paths.located);
  if ($("plot-box").hidden) return;
  const all = [paths.here, ...paths.plan, ...paths.tried.flat()];
  const [low, high] = [0, 1].map((axis) => all.map((point) => point[axis])).map((values) => [Math.min(...values), Math.max(...values)]);
  const scale = (value, [from, to], flip) => { const share = to > from ? (value - from) / (to - from) : 0.5; return 12 + 216 * (flip ? 1 - share : share); };
  const line = (points) => [paths.here, ...points].map(([x, y], index) => (index ? "L" : "M") + scale(x, low).toFixed(1) + " " + scale(y, high, true).toFixed(1)).join("");
  $("plot").replaceChildren(...paths.tried.map((points) => make("path", { class: "tried", d: line(points) })), make("path", { class: "plan", d: line(paths.plan) }),
    make("circle", { class: "here", r: 4, cx: scale(paths.here[0], low), cy: scale(paths.here[1], high, true) }));
  $("plot-about").textContent = `imagined: ${paths.names[0]} to the right, ${paths.names[1]} upwards`;
}

function status() {
  if (settled("run", now.running)) running = now.running;
  write($("run"), running ? "Pause" : "Run");
  const words = [`step ${now.step} of ${task.max_steps}`, `seed ${now.seed}`];
  if (now.actor) words.push(now.actor === "hand" ? "by hand" : "agent");
  words.push("return " + short(now.return));
  write($("caption"), words.join(" · "));
  const waits = now.waiting && running ? "waits for your key" : "";
  const solved = now.solved_at !== null;
  write($("light"), now.ended ? now.ended + (solved && now.ended !== "solved" ? ", solved at step " + now.solved_at : "") : solved ? "solved at step " + now.solved_at : waits);
  $("light").className = "light " + (solved ? "good" : now.ended ? "bad" : "");
  if (document.activeElement !== $("seed")) $("seed").value = now.seed;
  if (document.activeElement !== $("instruction") && !$("instruction").dataset.edited) $("instruction").value = now.said;
  write($("said"), (now.helped && cast.has_agent ? "helped or changed, so it does not count · " : "") + "now: " + now.prompt);
  for (const chip of $("chips").children) {
    const pressed = String(chip.textContent === now.said);
    if (chip.getAttribute("aria-pressed") !== pressed) chip.setAttribute("aria-pressed", pressed);
  }
  if (settled("control", now.control)) for (const input of document.querySelectorAll("#control input")) input.checked = input.value === now.control;
  $("hand-box").classList.toggle("watching", now.control === "agent");
  $("hand-box").hidden = now.control === "agent" && !task.can_push;
  if (settled("expert", now.shows_expert)) $("shows-expert").checked = now.shows_expert;
  if (settled("demonstration", Boolean(now.demonstration)) && !now.demonstration) $("demonstration").value = "none";
  // What was said of one episode is not said of the next.
  if (now.seed !== judged.seed || now.step < judged.step) document.querySelector("input[name=verdict][value='']").checked = true;
  judged = { seed: now.seed, step: now.step };
  $("verdict").hidden = now.is_own && task.knows_success;
  $("save").disabled = !now.kept || now.saved;
  write($("save"), now.saved ? "Saved" : "Save the episode");
  write($("output"), cast.output === null ? "" : `${cast.output}: ${now.episodes} episodes; this one has ${now.kept} steps`);
  fill();
  plot();
  document.body.dataset.frame = now.frame;
  document.body.dataset.state = JSON.stringify(now.state);
}

function bars() {
  $("bars").replaceChildren(...(task.choices.length ? task.choices : task.actions).map((name) => make("div", {}, make("span", {}, name), make("span", {}),
    ...(task.choices.length ? [] : [make("meter", { min: 0, max: 1, value: 0.5 })]))));
}
function fill() {
  [...$("bars").children].forEach((row, index) => {
    if (task.choices.length) { row.firstChild.className = now.action && now.action[0] === index ? "chosen" : ""; return; }
    const value = now.action ? now.action[index] : null, low = task.low[index], high = task.high[index];
    write(row.children[1], value === null ? "" : short(value));
    row.children[2].value = value === null || high <= low ? 0.5 : (value - low) / (high - low);
  });
}

function ask(text) { delete $("instruction").dataset.edited; send({ type: "instruction", text }); }
$("instruct").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("instruction").value.trim();
  ask(text || null);
  $("instruction").blur();
});
$("instruction").addEventListener("input", () => { $("instruction").dataset.edited = "yes"; });
$("task").addEventListener("change", () => send({ type: "task", task: $("task").value }));
$("run").addEventListener("click", toggle);
$("single").addEventListener("click", () => send({ type: "step" }));
$("again").addEventListener("click", () => send({ type: "reset", seed: null }));
$("next").addEventListener("click", () => send({ type: "next" }));
$("seed").addEventListener("change", () => { send({ type: "reset", seed: Math.trunc(+$("seed").value) }); $("seed").blur(); });
$("speed").addEventListener("change", () => send({ type: "speed", factor: +$("speed").value }));
$("shows-expert").addEventListener("change", () => { choose("expert", $("shows-expert").checked); send({ type: "expert", on: $("shows-expert").checked }); });
$("shows-views").addEventListener("change", () => send({ type: "views", on: $("shows-views").checked }));
$("shows-paths").addEventListener("change", () => send({ type: "paths", on: $("shows-paths").checked }));
$("goes-on").addEventListener("change", automatic);
$("saves").addEventListener("change", automatic);
$("only-hand").addEventListener("change", automatic);
$("save").addEventListener("click", save);
$("style").addEventListener("change", () => send({ type: "style", style: $("style").value }));
$("mouse").addEventListener("change", () => { hand.mouse = $("mouse").value; });
$("strength").addEventListener("input", () => { hand.strength = +$("strength").value; });
$("group").addEventListener("change", () => { hand.release(); hand.group = +$("group").value; keyTable(); });
$("goal-scene").addEventListener("click", () => send({ type: "goal", of: "scene" }));
$("goal-expert").addEventListener("click", () => send({ type: "goal", of: "expert" }));
$("goal-none").addEventListener("click", () => send({ type: "goal", of: "none" }));
$("goal-file").addEventListener("change", () => { if ($("goal-file").files[0]) drop($("goal-file").files[0]); $("goal-file").value = ""; });
$("demonstration").addEventListener("change", () => {
  const [of, episode] = $("demonstration").value.split(" ");
  choose("demonstration", of !== "none");
  send(of === "data" ? { type: "demonstration", of, episode: +episode } : { type: "demonstration", of });
});
for (const input of document.querySelectorAll("#control input")) input.addEventListener("change", () => { choose("control", input.value); send({ type: "control", who: input.value }); input.blur(); });
$("copy").addEventListener("click", async () => {
  const command = `${cast.command}`;
  try { await navigator.clipboard.writeText(command); log("copied: " + command, "said"); } catch { log(command, "said"); }
});
function automatic() { send({ type: "automatic", next: $("goes-on").checked, save: $("saves").checked, only_hand: onlyHand() }); }
function onlyHand() { return Boolean(cast.has_agent) && $("only-hand").checked; }
function toggle() { running = !running; choose("run", running); send({ type: "run", on: running }); }
function save() {
  const chosen = document.querySelector("input[name=verdict]:checked").value;
  const success = $("verdict").hidden || chosen === "" ? null : chosen === "yes";
  send({ type: "save", success, only_hand: onlyHand() });
}

// A goal image from a file: scaled to each camera's size here, so that the server decodes nothing.
async function drop(file) {
  let bitmap;
  try { bitmap = await createImageBitmap(file); } catch { log(`${file.name} is no image that this browser reads`, "refused"); return; }
  const images = {};
  for (const [name, [height, width]] of Object.entries(task.cameras)) {
    const canvas = new OffscreenCanvas(width, height), pen = canvas.getContext("2d");
    const scale = Math.max(width / bitmap.width, height / bitmap.height);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(bitmap, (width - scale * bitmap.width) / 2, (height - scale * bitmap.height) / 2, scale * bitmap.width, scale * bitmap.height);
    images[name] = base64(pen.getImageData(0, 0, width, height).data);
  }
  send({ type: "goal", of: "images", images });
}
function base64(rgba) {
  let text = "";
  for (let index = 0; index < rgba.length; index += 4) text += String.fromCharCode(rgba[index], rgba[index + 1], rgba[index + 2]);
  return btoa(text);
}
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (name === "drop" && event.dataTransfer.files[0]) drop(event.dataTransfer.files[0]);
  });
}

// Keys, wherever nothing else takes them.
const typing = (node) => node.matches?.("input[type=text], input[type=number], select, textarea");
const OWN = {
  Space: toggle, Period: () => send({ type: "step" }), Enter: save, Backspace: () => send({ type: "reset", seed: null }), KeyN: () => send({ type: "next" }),
  KeyE: () => $("shows-expert").click(), KeyV: () => $("shows-views").click(), KeyP: () => $("shows-paths").click(),
};
document.addEventListener("keydown", (event) => {
  if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey || !task) return;
  if (hand.key(event, true)) { event.preventDefault(); mark(); return; }
  if (event.repeat || !(event.code in OWN) || (event.target.matches("button, a") && (event.code === "Space" || event.code === "Enter"))) return;
  event.preventDefault();
  OWN[event.code]();
});
document.addEventListener("keyup", (event) => { if (hand.key(event, false)) mark(); });
window.addEventListener("blur", () => hand.release());
document.addEventListener("visibilitychange", () => { if (document.hidden) hand.release(); });
function mark() {
  const { deflection } = task.choices.length ? { deflection: {} } : hand.wish();
  for (const row of $("keys").children) row.classList.toggle("pressed", Boolean(deflection[row.dataset.number]));
}

const point = (event) => { const box = $("scene").getBoundingClientRect(); return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]; };
$("scene").addEventListener("pointerdown", (event) => { $("scene").setPointerCapture(event.pointerId); hand.startDrag(event.clientX, event.clientY, point(event)); });
$("scene").addEventListener("pointermove", (event) => hand.moveDrag(event.clientX, event.clientY, point(event)));
for (const name of ["pointerup", "pointercancel"]) {
  $("scene").addEventListener(name, () => {
    const drag = hand.endDrag();
    if (!drag || hand.mouse !== "push" || name === "pointercancel") return;
    const clip = (value) => Math.max(-1, Math.min(1, value)), [x, y] = drag.at.map((each) => Math.max(0, Math.min(1, each)));
    send({ type: "push", x, y, right: clip(drag.dx / 150), up: clip(-drag.dy / 150) });
  });
}
function pad() {
  if (task && !task.choices.length) hand.update();
  write($("pad"), hand.padName ? "gamepad: " + hand.padName : "no gamepad");
}
setInterval(pad, 33);
setInterval(() => { $("rate").textContent = frames ? `${frames} frames/s` : ""; document.body.dataset.rate = frames; frames = 0; }, 1000);
