// Live typing: words go to the speech WebSocket as they are typed, and their audio comes back.

const PATH = "v1/audio/speech/stream";
const PAUSE_MS = 1000;  // without a key, after which an incomplete sentence is synthesized as well

/** What of a text that is edited has to be sent. What was sent cannot be taken back. */
export class Typed {
  sent = "";

  /** The words that are new in `text`; the last one only if it is complete, or with `all`. */
  next(text, all) {
    let start = 0;
    while (start < this.sent.length && this.sent[start] === text[start]) start++;
    if (start === text.length) {  // the end was deleted; nothing is said again
      this.sent = text;
      return "";
    }
    if (start < this.sent.length) start = text.slice(0, start).search(/\S*$/);  // a changed word, from its beginning
    const end = all ? text.length : text.search(/\S*$/);
    this.sent = text.slice(0, Math.max(start, end));
    return text.slice(start, end);
  }
}

/** One WebSocket at a time; `on` has the functions that are told: begin, text, audio, caption, end, error. */
export class LiveTyping {
  #server;
  #on;
  #readOptions;
  #socket = null;
  #queue = [];  // messages until it is open
  #typed = new Typed();
  #timer = 0;
  #hasUnflushed = false;

  constructor(server, readOptions, on) {
    this.#server = server;
    this.#readOptions = readOptions;
    this.#on = on;
  }

  get isOpen() {
    return this.#socket !== null;
  }

  /** The text has changed. */
  type(text) {
    this.#send(this.#typed.next(text, false));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(text), PAUSE_MS);
  }

  /** Have all of the text synthesized now, complete sentence or not. */
  flush(text) {
    clearTimeout(this.#timer);
    this.#send(this.#typed.next(text, true));
    if (!this.#hasUnflushed) return;
    this.#hasUnflushed = false;
    this.#write({ type: "flush" });
  }

  /** Stop at once. */
  cancel(text) {
    this.#typed.sent = text;
    this.#close();
  }

  reset() {
    this.cancel("");
  }

  #send(text) {
    if (!text.trim() && !this.#hasUnflushed) return;
    if (!text) return;
    if (!this.isOpen) this.#open();
    this.#hasUnflushed = true;
    this.#on.text(text);
    this.#write({ type: "text", text });
  }

  #write(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
    else if (this.#socket) this.#queue.push(message);
  }

  #open() {
    const socket = this.#socket = this.#server.connect(PATH);
    let wasOpen = false, fault = null;  // the code of the last error that the server told
    socket.binaryType = "arraybuffer";
    this.#queue = [{ type: "configure", ...this.#readOptions(), response_format: "mp3" }];
    this.#on.begin();
    socket.addEventListener("open", () => {
      wasOpen = true;
      for (const message of this.#queue.splice(0)) this.#write(message);
    });
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.#socket) return;
      if (typeof data !== "string") return this.#on.audio(new Uint8Array(data));
      const message = JSON.parse(data);
      if (message.type === "error") fault = message.error.code;
      this.#receive(message);
    });
    socket.addEventListener("close", ({ reason }) => {
      if (socket !== this.#socket) return;
      this.#close();
      if (!wasOpen) this.#on.error("The server did not accept the WebSocket: it may need an API key, or the name of this page in server.allowed_hosts.", true);
      else if (reason !== fault) this.#on.error("The connection broke before everything was spoken. The next word you type opens another one.");
    });
  }

  #receive(message) {
    if (message.type === "caption") this.#on.caption(message);
    else if (message.type === "utterance.started") this.#on.started();
    else if (message.type === "utterance.ended") this.#close();
    else if (message.error?.code === "idle_timeout") this.#close();  // the next word opens another one
    else if (message.type === "error") {
      if (message.utterance !== null) this.#close();
      this.#on.error(message.error.message, message.error.code === "invalid_api_key");
    }
  }

  #close() {
    const socket = this.#socket;
    this.#socket = null;
    this.#queue = [];
    this.#hasUnflushed = false;
    clearTimeout(this.#timer);  // or the end of a word opens another one
    if (!socket) return;
    socket.close();
    this.#on.end();
  }
}
