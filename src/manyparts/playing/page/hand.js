// A person's hand: keys, mouse and gamepad as deflections of an action's dimensions.

const PAIRS = [
  ["KeyA", "KeyD"], ["KeyS", "KeyW"], ["KeyF", "KeyR"], ["KeyG", "KeyT"],
  ["KeyH", "KeyY"], ["KeyJ", "KeyU"], ["KeyK", "KeyI"], ["KeyL", "KeyO"],
];
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] };
const WORDS = [[/left/i, "ArrowLeft"], [/right/i, "ArrowRight"], [/forward|up|ahead/i, "ArrowUp"], [/back|down/i, "ArrowDown"]];
const DRAG_PIXELS = 90, DEAD_ZONE = 0.15;
const PAD_AXES = [[0, 1], [1, -1], [3, -1], [2, 1]];

const shown = (code) => ({ ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" })[code] ?? code.replace(/^Key|^Digit/, "");

export class Hand {
  constructor(send) {
    this.send = send;
    this.held = new Set();
    this.task = null;
    this.strength = 1;
    this.group = 0;
    this.flipped = new Set();
    this.drag = null;
    this.mouse = "none";
    this.sent = "";
    this.padName = "";
  }

  setTask(task) {
    this.task = task;
    this.held.clear();
    this.drag = null;
    this.group = 0;
    this.sent = "";
    // In a picture's own frame y grows downwards; a person's "up" is up.
    this.flipped = new Set(task.frame === "image" ? [1] : []);
    this.choiceKeys = new Map();
    task.choices.forEach((name, number) => {
      const arrow = WORDS.find(([pattern, code]) => pattern.test(name) && !this.choiceKeys.has(code));
      if (arrow) this.choiceKeys.set(arrow[1], number);
      if (number < 10) this.choiceKeys.set("Digit" + ((number + 1) % 10), number);
    });
    const grips = task.actions.findIndex((name) => /grip/i.test(name));
    this.grip = grips < 0 ? null : grips;
  }

  get groups() { return Math.ceil(this.task.actions.length / PAIRS.length); }

  // Rows for people: what each dimension's keys are.
  rows() {
    if (this.task.choices.length) {
      return this.task.choices.map((name, number) => {
        const keys = [...this.choiceKeys].filter(([, each]) => each === number).map(([code]) => shown(code));
        return { name, keys: keys.join("  "), number };
      });
    }
    const first = this.group * PAIRS.length;
    return this.task.actions.slice(first, first + PAIRS.length).map((name, row) => {
      const number = first + row, [low, high] = this.pair(row, number);
      const arrows = this.group === 0 && row < 2 ? (row === 0 ? "   ← →" : "   ↓ ↑") : "";
      return { name, keys: shown(low) + " −   " + shown(high) + " +" + arrows, number };
    });
  }

  pair(row, number) {
    const [low, high] = PAIRS[row];
    return this.flipped.has(number) ? [high, low] : [low, high];
  }

  // Whether a key is the hand's; then it is used up.
  key(event, down) {
    if (!this.task) return false;
    if (this.task.choices.length) {
      const number = this.choiceKeys.get(event.code);
      if (number === undefined) return false;
      if (down) this.send({ type: "hand", choice: number });
      return true;
    }
    const known = event.code in ARROWS || PAIRS.some((pair) => pair.includes(event.code));
    if (!known) return false;
    if (down) this.held.add(event.code); else this.held.delete(event.code);
    this.update();
    return true;
  }

  release() {
    this.held.clear();
    this.drag = null;
    if (this.task) this.update();
  }

  startDrag(x, y, at) { this.drag = { x, y, dx: 0, dy: 0, at }; this.update(); }
  moveDrag(x, y, at) {
    if (!this.drag) return;
    Object.assign(this.drag, { dx: x - this.drag.x, dy: y - this.drag.y, now: at });
    this.update();
  }
  endDrag() { const drag = this.drag; this.drag = null; this.update(); return drag; }

  // What is pressed now, dimension by dimension.
  wish() {
    const deflection = {}, pointed = {}, count = this.task.actions.length;
    const add = (number, value) => {
      if (number < count) deflection[number] = Math.max(-1, Math.min(1, (deflection[number] ?? 0) + value));
    };
    const first = this.group * PAIRS.length;
    PAIRS.forEach((_, row) => {
      const [low, high] = this.pair(row, first + row);
      if (this.held.has(low)) add(first + row, -this.strength);
      if (this.held.has(high)) add(first + row, this.strength);
    });
    for (const [code, [number, sign]] of Object.entries(ARROWS)) {
      if (this.held.has(code)) add(number, (this.flipped.has(number) ? -sign : sign) * this.strength);
    }
    const up = this.flipped.has(1) ? -1 : 1;
    if (this.drag && this.mouse === "drag") {
      add(0, Math.max(-1, Math.min(1, this.drag.dx / DRAG_PIXELS)));
      add(1, Math.max(-1, Math.min(1, (-up * this.drag.dy) / DRAG_PIXELS)));
    }
    if (this.drag && this.mouse === "point") {
      const [x, y] = this.drag.now ?? this.drag.at, clip = (value) => Math.max(-1, Math.min(1, value));
      pointed[0] = clip(2 * x - 1);
      if (count > 1) pointed[1] = clip(up * (1 - 2 * y));
    }
    this.addPad(add);
    return { deflection, pointed };
  }

  addPad(add) {
    const pad = [...(navigator.getGamepads?.() ?? [])].find((each) => each?.connected);
    this.padName = pad ? pad.id : "";
    if (!pad) return;
    PAD_AXES.forEach(([axis, sign], number) => {
      const value = pad.axes[axis] ?? 0;
      if (number !== this.grip && Math.abs(value) > DEAD_ZONE) add(number, (this.flipped.has(number) ? -1 : 1) * sign * value);
    });
    const last = this.grip ?? this.task.actions.length - 1;
    if (pad.buttons[0]?.pressed) add(last, 1);
    if (pad.buttons[1]?.pressed) add(last, -1);
  }

  update() {
    if (this.task.choices.length) return;
    const wish = this.wish(), text = JSON.stringify(wish);
    if (text === this.sent) return;
    this.sent = text;
    this.send({ type: "hand", ...wish });
  }
}
