// What was spoken: texts and settings, the newest first, in the browser alone. No audio, no key.

const MAX_ENTRIES = 50;

export class History {
  #storageKey;
  #nodes;
  #onSpeak;
  #ask;
  #entries = [];

  /** `onSpeak` gets an entry, {input, ...fields, at}; `ask` asks a question and resolves to the answer. */
  constructor(path, nodes, onSpeak, ask) {
    this.#storageKey = `soprano-tts-api.history:${path}`;  // another server may have another path of this origin
    this.#nodes = nodes;
    this.#onSpeak = onSpeak;
    this.#ask = ask;
    this.#entries = this.#read();
    nodes.clear.addEventListener("click", () => this.#clear());
    window.addEventListener("storage", (event) => {  // another tab has changed it
      if (event.key !== this.#storageKey) return;
      this.#entries = this.#read();
      this.#render();
    });
    this.#render();
  }

  add(body) {
    const { input, ...fields } = body;
    const isSame = (entry) => JSON.stringify({ ...entry, at: 0 }) === JSON.stringify({ input, ...fields, at: 0 });
    this.#change([{ input, ...fields, at: Date.now() }, ...this.#entries.filter((entry) => !isSame(entry))]);
  }

  async #clear() {
    if (!(await this.#ask("Delete the whole history?"))) return;
    this.#change([]);
    this.#nodes.title.focus();
  }

  #change(entries) {
    this.#entries = entries.slice(0, MAX_ENTRIES);
    try {
      localStorage.setItem(this.#storageKey, JSON.stringify(this.#entries));
    } catch { /* full, or not allowed: it lasts until the page is closed */ }
    this.#render();
  }

  #read() {
    try {
      const entries = JSON.parse(localStorage.getItem(this.#storageKey)) ?? [];
      return entries.filter((entry) => typeof entry.input === "string");
    } catch {
      return [];
    }
  }

  #render() {
    const { list, empty, count, clear } = this.#nodes;
    empty.hidden = this.#entries.length > 0;
    clear.hidden = !this.#entries.length;
    count.textContent = this.#entries.length ? ` ${this.#entries.length}` : "";
    list.replaceChildren(...this.#entries.map((entry) => this.#item(entry)));
  }

  #item(entry) {
    const item = document.createElement("li"), text = document.createElement("p"), line = document.createElement("div");
    const start = entry.input.trim().slice(0, 60);
    text.className = "excerpt";
    text.textContent = entry.input.trim().slice(0, 400);
    line.className = "bar";
    const about = document.createElement("span");
    about.className = "quiet";
    about.textContent = [new Date(entry.at).toLocaleString([], { dateStyle: "short", timeStyle: "short" }), entry.voice].filter(Boolean).join(", ");
    const buttons = document.createElement("div");
    buttons.className = "bar";
    buttons.append(
      button("Speak", `Speak again: ${start}`, () => this.#onSpeak(entry)),
      button("Delete", `Delete from history: ${start}`, () => {
        this.#change(this.#entries.filter((each) => each !== entry));
        this.#nodes.title.focus();
      }),
    );
    line.append(about, buttons);
    item.append(text, line);
    return item;
  }
}

export function button(text, label, onClick) {
  const node = Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: text });
  node.setAttribute("aria-label", label);
  node.addEventListener("click", onClick);
  return node;
}
