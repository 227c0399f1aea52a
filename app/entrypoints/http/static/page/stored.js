// The files that the server has stored: list, player with subtitles, download, deletion.

import { button } from "./history.js";
import { base } from "./server.js";

const PATH = "v1/audio/files";
const PAGE_SIZE = 10;

const sizeOf = (bytes) => (bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(0)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`);

export class StoredFiles {
  #server;
  #nodes;
  #ask;
  #onError;
  #after = null;
  #urls = [];  // of the file in the player
  #run = 0;  // counts what ends a player, one that is still on its way as well

  constructor(server, nodes, ask, onError) {
    this.#server = server;
    this.#nodes = nodes;
    this.#ask = ask;
    this.#onError = onError;
    nodes.refresh.addEventListener("click", () => this.load());
    nodes.more.addEventListener("click", () => this.#loadPage());
    nodes.details.addEventListener("toggle", () => nodes.details.open && this.load());
  }

  /** The newest files; nothing while the section is closed. */
  async load() {
    if (!this.#nodes.details.open) return;
    this.#after = null;
    await this.#loadPage();
  }

  async #loadPage() {
    const { list, status, more } = this.#nodes, isFirst = this.#after === null;
    const query = new URLSearchParams({ limit: PAGE_SIZE, ...(isFirst ? {} : { after: this.#after }) });
    try {
      const page = await (await this.#server.request(`${PATH}?${query}`)).json();
      const items = page.data.map((file) => this.#item(file));
      if (isFirst) this.#clear();
      list.append(...items);
      this.#after = page.last_id;
      more.hidden = !page.has_more;
      status.textContent = list.children.length ? "" : "Nothing is stored. “Store the audio on the server” is below “Sampling and more”.";
      if (!isFirst) items[0]?.querySelector("button").focus();
    } catch (error) {
      if (isFirst) this.#clear();
      more.hidden = true;
      this.#fail(error);
    }
  }

  #fail(error) {
    this.#nodes.status.textContent = error.status === 404 ? "This server stores no files." : error.message;
    this.#onError(error);
  }

  #item({ id, bytes, created_at }) {
    const item = document.createElement("li"), about = document.createElement("div"), actions = document.createElement("div");
    const name = Object.assign(document.createElement("span"), { className: "name", textContent: id });
    const date = new Date(created_at * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
    const facts = Object.assign(document.createElement("span"), { className: "quiet", textContent: `${date}, ${sizeOf(bytes)}` });
    about.className = "bar";
    about.append(name, facts);
    actions.className = "actions";
    const path = `${PATH}/${encodeURIComponent(id)}`;
    actions.append(
      button("Play", `Play ${id}`, () => this.#play(item, id, path)),
      button("Download", `Download ${id}`, () => this.#download(path, id)),
      button("Subtitles", `Download the subtitles of ${id}`, () => this.#download(`${path}/captions.srt`, id.replace(/\.\w+$/, ".srt"))),
      button("Delete", `Delete ${id}`, () => this.#delete(item, id, path)),
    );
    item.append(about, actions);
    return item;
  }

  /** An address for an element, which sends no header with a key. */
  async #address(path) {
    if (!this.#server.hasKey) return base + path;
    const url = URL.createObjectURL(await (await this.#server.request(path)).blob());
    this.#urls.push(url);
    return url;
  }

  #clear() {
    this.#closePlayer();
    this.#nodes.list.replaceChildren();
  }

  #closePlayer() {
    this.#run++;
    this.#nodes.list.querySelectorAll(".stored-player").forEach((each) => each.remove());
    for (const url of this.#urls.splice(0)) URL.revokeObjectURL(url);
  }

  async #play(item, id, path) {
    this.#closePlayer();
    const run = this.#run, isOver = () => run !== this.#run || !item.isConnected;
    const box = document.createElement("div"), audio = document.createElement("audio"), cue = document.createElement("p");
    const track = Object.assign(document.createElement("track"), { kind: "subtitles", label: "English", srclang: "en", default: true });
    box.className = "stored-player";
    cue.className = "cue";
    audio.controls = true;
    audio.setAttribute("aria-label", id);
    audio.append(track);
    box.append(audio, cue);
    // An audio element shows no subtitles: the page does.
    track.track.mode = "hidden";
    track.addEventListener("cuechange", () => {
      cue.textContent = [...track.track.activeCues].map((each) => each.getCueAsHTML().textContent).join("\n");
    });
    try {
      track.src = await this.#address(`${path}/captions.vtt`).catch((error) => {
        if (error.status !== 404) throw error;  // it was stored without captions
        return "data:text/vtt,WEBVTT";
      });
      if (isOver()) return;
      audio.src = await this.#address(path);
      if (isOver()) return;
      item.append(box);
      audio.focus();
      await audio.play();
    } catch (error) {
      if (!isOver() && !["NotAllowedError", "AbortError"].includes(error.name)) this.#fail(error);
    }
  }

  async #download(path, name) {
    try {
      save(await (await this.#server.request(path)).blob(), name);
    } catch (error) {
      this.#fail(error);
    }
  }

  async #delete(item, id, path) {
    if (!(await this.#ask(`Delete ${id} from the server?`))) return;
    try {
      await this.#server.request(path, { method: "DELETE" });
      if (item.querySelector(".stored-player")) this.#closePlayer();
      item.remove();
      this.#nodes.status.textContent = `Deleted ${id}.`;
      this.#nodes.title.focus();
    } catch (error) {
      this.#fail(error);
    }
  }
}

/** Have the browser save a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
