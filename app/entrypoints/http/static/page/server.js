// What the page asks the server for. Every address is relative: a proxy may add a path.

const KEY_PROTOCOL = "openai-insecure-api-key.";

export const base = location.href.replace(/[?#].*$/, "").replace(/\/?$/, "/");

/** What went wrong, in words for the user; `status` is 0 if there was no response. */
export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The server with the key that `readKey` returns, "" for none. */
export class Server {
  #readKey;

  constructor(readKey) {
    this.#readKey = readKey;
  }

  get hasKey() {
    return this.#key !== "";
  }

  get #key() {
    // A header takes no other characters; the server says what is wrong with such a key.
    return this.#readKey().trim().replace(/[^!-~]/g, "?");
  }

  /** The response to a request below the page; throws ServerError unless its status is below 400. */
  async request(path, { json, headers = {}, ...options } = {}) {
    const sent = { ...headers };
    if (this.hasKey) sent.authorization = `Bearer ${this.#key}`;
    if (json) sent["content-type"] = "application/json";
    const body = json ? { method: "POST", body: JSON.stringify(json) } : {};
    let response;
    try {
      response = await fetch(base + path, { ...body, ...options, headers: sent });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ServerError("The server cannot be reached.");
    }
    if (response.ok) return response;
    const answer = await response.json().catch(() => null);
    throw new ServerError(answer?.error?.message ?? `The server answered with status ${response.status}.`, response.status);
  }

  /** A WebSocket below the page; a browser sends the key as a subprotocol. */
  connect(path) {
    const protocols = this.hasKey ? [KEY_PROTOCOL + this.#key] : [];
    return new WebSocket(base.replace(/^http/, "ws") + path, protocols);
  }
}

/** The objects in a response of server-sent events. */
export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true, value: null }));
    if (value === null) throw new ServerError("The connection broke before the audio was complete.");
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) if (event.startsWith("data: {")) yield JSON.parse(event.slice(6));
  }
}

export const bytesOf = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
