// The page: the form, and what becomes of it.

import { codeFor, copyText } from "./code.js";
import { History } from "./history.js";
import { LiveTyping } from "./live.js";
import { Player } from "./player.js";
import { base, bytesOf, readEvents, Server, ServerError } from "./server.js";
import { save, StoredFiles } from "./stored.js";

const NUMBERS = ["temperature", "top_p", "repetition_penalty", "seed"];
const MAX_FILE_BYTES = 1024 ** 2;
const SETTLED_MS = 400;  // without audio, after which the typist is waited for
const READY_POLL_MS = 30_000, POLL_MS = 2_000;
const EXTENSION_OF = { opus: "ogg" };

const $ = (id) => document.getElementById(id);
const server = new Server(() => $("key").value);
let model = "tts-1";
let request = null;  // the AbortController of the speech that is arriving
let spoken = null;  // the body of what is in the player; null for live typing
let voicesNeedKey = false;
let closed = Promise.resolve();  // once the dialog is
let stash = "";  // the text, while another is typed live

const player = new Player(
  { panel: $("player"), ...Object.fromEntries(["audio", "wave", "words", "play", "seek", "rate", "now", "total"].map((id) => [id, $(id)])) },
  () => say("The browser blocked playback: press Play."),
);
const history = new History(
  new URL(base).pathname,
  { list: $("history-list"), empty: $("history-empty"), count: $("history-count"), clear: $("history-clear"), title: $("history").querySelector("summary") },
  speakAgain, ask,
);
const stored = new StoredFiles(
  server,
  { details: $("stored"), title: $("stored").querySelector("summary"), list: $("stored-list"), status: $("stored-status"), more: $("stored-more"), refresh: $("stored-refresh") },
  ask, (error) => { if (error.status === 401) showKeyField(); },
);
const live = new LiveTyping(server, readFields, liveHandlers());

// The form.

/** The fields that are set, as the server names them, but for the text. */
function readFields() {
  const fields = {};
  if ($("voice").value) fields.voice = $("voice").value;
  if (Number($("speed").value) !== 1) fields.speed = Number($("speed").value);
  for (const name of NUMBERS) {
    const value = $(name).value.trim().replace(",", ".");
    if (value) fields[name] = Number.isFinite(Number(value)) ? Number(value) : value;  // the server says what is wrong
  }
  if (!$("normalize").checked) fields.normalize = false;
  return fields;
}

function readBody() {
  return { input: $("text").value, ...readFields() };
}

function fillForm({ input, voice = "", speed = 1, normalize = true, ...rest }) {
  $("text").value = input;
  const hasVoice = [...$("voice").options].some((option) => option.value === voice);
  if (hasVoice) $("voice").value = voice;
  else $("voice").selectedIndex = 0;
  $("speed").value = speed;
  $("normalize").checked = normalize;
  for (const name of NUMBERS) $(name).value = rest[name] ?? "";
  refresh();
}

function refresh() {
  const count = [...$("text").value].length, speed = Number($("speed").value);
  $("count").textContent = `${count} ${count === 1 ? "character" : "characters"}`;
  $("speed-shown").textContent = `${speed.toFixed(2)}×`;
  $("speed").setAttribute("aria-valuetext", `${speed} times`);
  if (!$("code-card").open) return;
  const body = { ...readBody(), response_format: $("format").value };
  if (body.response_format === "wav") body.stream = false;  // so that its header has the length
  if ($("store").checked) body.store = true;
  $("code").textContent = codeFor($("language").value, base, body, server.hasKey, model);
}

// Messages.

function say(status, error = "") {
  $("status").textContent = status;
  $("error").textContent = error;
}

function note(text) {
  $("note").textContent = text;
  $("note").hidden = !text;
}

function showKeyField() {
  if (!$("key-field").hidden && document.activeElement === $("key")) return;
  $("key-field").hidden = false;
  $("key").focus();
}

function fail(error) {
  if (error.status === 401) showKeyField();
  say("", error instanceof ServerError ? error.message : `Something went wrong on this page: ${error.message}`);
}

async function ask(question) {
  await closed;  // the event of the question before may still be on its way
  const dialog = $("confirm");
  $("question").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  closed = new Promise((resolve) => { dialog.addEventListener("close", resolve, { once: true }); });
  await closed;
  return dialog.returnValue === "yes";
}

// Speech.

function halt() {
  request?.abort();
  request = null;
  if (live.isOpen) live.cancel($("text").value);
  player.pause();
}

async function speak() {
  halt();
  const run = request = new AbortController(), body = readBody(), began = performance.now();
  const seconds = () => `${((performance.now() - began) / 1000).toFixed(2)} s`;
  setSpoken(body);
  say("Waiting for the server.");
  player.begin(body.input, { speed: body.speed });
  $("player").scrollIntoView({ block: "nearest" });
  try {
    const response = await server.request("v1/audio/speech", {
      signal: run.signal,
      json: { ...body, response_format: "mp3", stream_format: "sse", captions: true, ...($("store").checked ? { store: true } : {}) },
    });
    history.add(body);
    note([...(response.headers.get("warning") ?? "").matchAll(/299 - "([^"]*)"/g)].map((match) => match[1]).join("; "));
    await receive(response, run, seconds);
  } catch (error) {
    if (run.signal.aborted) return;
    fail(error);
  } finally {
    if (request === run || !request) finish();
    if (request === run) request = null;
  }
}

async function receive(response, run, seconds) {
  let first = "";
  for await (const event of readEvents(response)) {
    if (run.signal.aborted) return;
    if (event.type === "speech.audio.delta") {
      player.add(bytesOf(event.audio));
      if (!first) say(`First audio after ${first = seconds()}, receiving.`);
    } else if (event.type === "speech.caption") player.place(event);
    else if (event.type === "speech.audio.stored") showStored(event);
    else if (event.type === "error") throw new ServerError(event.error.message);
    else if (event.type === "speech.audio.done") {
      const length = player.recording.seconds.toFixed(1);
      say(`First audio after ${first}, complete after ${seconds()}: ${length} s of audio.`);
      return;
    }
  }
  if (!run.signal.aborted) throw new ServerError("The connection broke before the audio was complete.");
}

/** The player gets something else: `body`, or with null what is typed live, of which there is MP3 alone. */
function setSpoken(body) {
  spoken = body;
  $("download").disabled = true;
  $("download").textContent = body ? "Download" : "Download MP3";
  $("format").hidden = !body;
  note("");
}

function finish() {
  player.end();
  $("download").disabled = !player.recording.size;
}

function showStored({ file, failure }) {
  note([$("note").textContent, file ? `Stored as ${file}.` : failure.message].filter(Boolean).join(" "));
  if (file) stored.load();
}

function speakAgain(entry) {
  if ($("live").checked) setLive(false);
  fillForm(entry);
  speak();
}

async function download() {
  const body = spoken, format = $("format").value, name = `speech.${EXTENSION_OF[format] ?? format}`;
  if (format === "mp3" || !body) return save(player.recording.blob, "speech.mp3");
  $("download").disabled = true;
  try {  // synthesized once more, unless the server has it cached
    const response = await server.request("v1/audio/speech", { json: { ...body, response_format: format, stream: false } });
    save(await response.blob(), name);
  } catch (error) {
    fail(error);
  } finally {
    if (spoken === body) $("download").disabled = false;
  }
}

// Live typing.

function liveHandlers() {
  let offset_s = 0;  // where the utterance begins in the recording
  let typed = "", timer = 0;
  return {
    begin() {
      setSpoken(null);
      typed = "";
      player.begin("", { speed: Number($("speed").value), isLive: true });
      say("Connected: words are spoken as you type.");
    },
    started() { offset_s = player.recording.seconds; },
    text(text) {
      typed += text;
      player.append(text);
    },
    audio(bytes) {
      player.add(bytes);
      clearTimeout(timer);
      timer = setTimeout(() => player.settle(), SETTLED_MS);
    },
    caption(caption) { player.place({ ...caption, start: caption.start + offset_s, end: caption.end + offset_s }); },
    end() {
      clearTimeout(timer);
      finish();
      $("status").textContent = `Ended: ${player.recording.seconds.toFixed(1)} s of audio.`;
      if (typed.trim()) history.add({ input: typed.trim(), ...readFields() });
    },
    error(message, needsKey) {
      say("", message);
      if (needsKey) showKeyField();
    },
  };
}

function setLive(isLive) {
  $("live").checked = isLive;
  halt();
  if (isLive) {
    live.reset();
    stash = $("text").value;
    $("text").value = "";
    $("text").focus();
  } else $("text").value = stash;
  $("text").placeholder = isLive ? "Type here…" : "";
  $("speak").textContent = isLive ? "Speak now" : "Speak";
  $("hint").textContent = isLive
    ? "Words are sent as you type. A pause or Enter speaks what is there, Escape stops."
    : "Ctrl+Enter speaks, Escape stops. Drop a text file here to hear it.";
  refresh();
}

// The spoken form.

async function showReading() {
  $("reading-status").textContent = "Asking the server.";
  try {
    const { segments } = await (await server.request("v1/audio/speech/normalize", { json: readBody() })).json();
    $("segments").replaceChildren(...segments.map(segmentItem));
    $("reading-status").textContent = segments.length
      ? `${segments.length} ${segments.length === 1 ? "segment" : "segments"}, as written and as spoken.`
      : "There is nothing to pronounce in this text.";
    $("reading").hidden = false;
    $("normalized").setAttribute("aria-expanded", "true");
    $("reading-title").focus();
  } catch (error) {
    closeReading();
    fail(error);
  }
}

function segmentItem({ text, spoken: said, pause_s: pause }) {
  const item = document.createElement("li"), isSame = said.trim() === text.trim();
  const line = (content, name) => Object.assign(document.createElement("p"), { textContent: content, className: name });
  item.className = isSame ? "" : "changed";
  if (!isSame) item.append(line(text, "quiet"));
  item.append(line(pause ? `A pause of ${pause} s` : said, "spoken"));
  return item;
}

function closeReading() {
  $("reading").hidden = true;
  $("normalized").setAttribute("aria-expanded", "false");
}

// Files that are dropped or opened.

async function readFile(file) {
  if (file.size > MAX_FILE_BYTES) {
    throw new ServerError(`${file.name} has ${(file.size / 1024 ** 2).toFixed(1)} MiB; texts of up to 1 MiB can be opened.`);
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  try {
    if (bytes.includes(0)) throw new TypeError("not text");
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new ServerError(`${file.name} is not a text file in UTF-8.`);
  }
}

async function load(file) {
  try {
    const text = await readFile(file);
    if ($("live").checked) setLive(false);
    $("text").value = text;
    refresh();
    say(`Opened ${file.name}.`);
    return true;
  } catch (error) {
    fail(error);
    return false;
  }
}

// The state of the server.

async function watchServer() {
  let state = "failed", text = "The server cannot be reached";
  try {
    const report = await (await fetch(`${base}health/ready`, { cache: "no-store" })).json();
    state = report.status;
    model = report.model;
    text = `Server ${state}: model ${model}, backend ${report.backend}`;
    if (!$("voice").options[0].value && !voicesNeedKey) await loadVoices();
  } catch { /* the next round tries again */ }
  if ($("server").textContent !== text) $("server").textContent = text;
  $("server").dataset.state = state;
  refresh();
  setTimeout(watchServer, state === "ready" ? READY_POLL_MS : POLL_MS);
}

async function loadVoices() {
  const answer = await server.request("v1/audio/voices").catch((error) => {
    voicesNeedKey = error.status === 401;  // no use to ask every few seconds
    throw error;
  });
  const { voices } = await answer.json();
  if (voices.length) $("voice").replaceChildren(...voices.map((voice) => new Option(`${voice.name}, ${voice.language}`, voice.id)));
}

// Events.

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("live").checked) live.flush($("text").value);
  else speak();
});
$("form").addEventListener("input", refresh);
for (const name of ["input", "compositionend"]) {  // no input follows the end of a composition
  $("text").addEventListener(name, (event) => {
    if (!$("live").checked || event.isComposing) return;
    if (event.inputType === "insertLineBreak") live.flush($("text").value);
    else live.type($("text").value);
  });
}
$("form").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  $("form").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("confirm").open) stop();
});
function stop() {
  const isRunning = request || live.isOpen;
  halt();
  if (isRunning) say("Stopped.");
  for (const audio of document.querySelectorAll("audio")) audio.pause();
}
$("stop").addEventListener("click", stop);
$("live").addEventListener("change", () => setLive($("live").checked));
$("key").addEventListener("change", () => {
  if (!$("voice").options[0].value) loadVoices().catch(() => {});
  stored.load();
});
$("normalized").addEventListener("click", showReading);
$("close-reading").addEventListener("click", () => { closeReading(); $("normalized").focus(); });
$("download").addEventListener("click", download);
$("format").addEventListener("change", refresh);
$("language").addEventListener("change", refresh);
$("code-card").addEventListener("toggle", refresh);
$("copy").addEventListener("click", async () => {
  $("copied").textContent = await copyText($("code"), $("language").selectedOptions[0].text);
});
$("open").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", async () => {
  const [file] = $("file").files;
  $("file").value = "";
  if (file && await load(file)) $("text").focus();
});
const hasFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
document.addEventListener("dragover", (event) => {
  if (!hasFile(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", async (event) => {
  if (!hasFile(event)) return;
  event.preventDefault();
  document.body.classList.remove("dragging");
  const [file] = event.dataTransfer.files;
  if (file && await load(file)) speak();
});
document.addEventListener("play", ({ target }) => {  // one at a time
  for (const audio of document.querySelectorAll("audio")) if (audio !== target) audio.pause();
}, true);
$("audio").addEventListener("error", () => {
  if ($("audio").hasAttribute("src")) say("", "This browser cannot play the audio, but it can be downloaded.");
});
refresh();
watchServer();
