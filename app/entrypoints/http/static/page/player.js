// The player: sound, waveform, words, and the controls for them.

import { Sound } from "./sound.js";
import { Waveform } from "./waveform.js";
import { Words } from "./words.js";

const STEP_S = 5;
const KEEPS_SPACE = "button, select, input:not([type=range]), textarea, a, summary";

const clock = (seconds) => {
  const whole = Math.floor(seconds), minutes = Math.floor(whole / 60) % 60, pad = (n) => String(n).padStart(2, "0");
  return whole >= 3600 ? `${Math.floor(whole / 3600)}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
};

export class Player {
  #sound;
  #waveform;
  #words;
  #isLive = false;  // the text is still being written: its length is not known
  #nodes;

  /** `nodes`: the elements by name; `onBlocked` is called if the browser wants a click first. */
  constructor(nodes, onBlocked) {
    this.#nodes = nodes;
    this.onBlocked = onBlocked;
    this.#sound = new Sound(nodes.audio);
    this.#waveform = new Waveform(nodes.wave);
    this.#words = new Words(nodes.words, (time_s) => this.seek(time_s));
    nodes.audio.preservesPitch = true;
    this.#listen();
    this.#refresh();
  }

  #listen() {
    const { audio, play, seek, rate, panel, wave } = this.#nodes;
    play.addEventListener("click", () => this.toggle());
    seek.addEventListener("input", () => this.seek(Number(seek.value)));
    seek.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -STEP_S, ArrowDown: -STEP_S, ArrowRight: STEP_S, ArrowUp: STEP_S }[event.key];
      if (!step) return;
      event.preventDefault();
      this.seek(audio.currentTime + step);
    });
    panel.addEventListener("keydown", (event) => {
      if (event.key !== " " || event.target.closest(KEEPS_SPACE)) return;
      event.preventDefault();  // or the page scrolls
      this.toggle();
    });
    const setRate = () => { audio.defaultPlaybackRate = audio.playbackRate = parseFloat(rate.value); };
    rate.addEventListener("change", setRate);
    setRate();  // a browser may restore the choice when the page is loaded again
    for (const name of ["play", "playing", "pause", "ended", "seeked", "timeupdate", "durationchange"]) {
      audio.addEventListener(name, () => this.#refresh());
    }
    audio.addEventListener("play", () => this.#follow());
    new ResizeObserver(() => this.#refresh()).observe(wave);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#refresh());
  }

  get recording() {
    return this.#sound.recording;
  }

  get isComplete() {
    return this.#sound.isComplete;
  }

  get #total_s() {
    const { seconds, isComplete } = this.#sound;
    return isComplete || this.#isLive ? seconds : Math.max(seconds, seconds && this.#words.seconds);
  }

  /** Make ready for another text, and play it as soon as there is audio. */
  begin(text, { speed = 1, isLive = false } = {}) {
    this.#isLive = isLive;
    this.#sound.begin();
    this.#waveform.begin(this.#sound.recording);
    this.#words.begin(text, speed);
    this.play();
    this.#refresh();
  }

  append(text) {
    this.#words.append(text);
  }

  add(part) {
    this.#sound.add(part);
    this.#decode();
  }

  /** No more comes for now, and what is there is to be played to its end. */
  settle() {
    this.#sound.settle();
  }

  place(caption) {
    this.#words.place(caption);
    this.#refresh();
  }

  end() {
    this.#sound.end();
    this.#decode();
    if (!this.#sound.recording.size) {
      this.pause();
      this.#words.begin("", 1);
    }
    this.#refresh();
  }

  #decode() {
    this.#waveform.follow(this.#sound.isComplete, () => this.#refresh());
  }

  play() {
    const { audio } = this.#nodes;
    if (this.#sound.isComplete && audio.currentTime >= this.#sound.seconds - 0.1) this.#sound.seek(0);
    audio.play().catch((error) => {
      if (error.name === "NotAllowedError") this.onBlocked();
    });
  }

  pause() {
    this.#nodes.audio.pause();
  }

  toggle() {
    const { audio, play } = this.#nodes;
    if (play.disabled) return;
    if (audio.paused) this.play();
    else this.pause();
  }

  /** Within what has arrived. */
  seek(time_s) {
    this.#sound.seek(time_s);
    this.#refresh();
  }

  /** Once per frame while it plays: `timeupdate` comes four times a second, words go by faster. */
  #follow() {
    this.#refresh();
    if (!this.#nodes.audio.paused) requestAnimationFrame(() => this.#follow());
  }

  #refresh() {
    const { audio, play, seek, now, total, panel } = this.#nodes, { seconds } = this.#sound;
    const time_s = Math.min(audio.currentTime, seconds), isPlaying = !audio.paused && !audio.ended;
    const total_s = this.#total_s, hasEstimate = total_s > seconds + 0.05;
    panel.classList.toggle("playing", isPlaying);
    const label = isPlaying ? "Pause" : "Play";
    if (play.getAttribute("aria-label") !== label) play.setAttribute("aria-label", label);
    play.disabled = seek.disabled = seconds === 0;
    seek.max = total_s || 1;
    seek.value = time_s;
    const [shown, of] = [clock(time_s), (hasEstimate ? "about " : "") + clock(total_s)];
    if (now.textContent !== shown) now.textContent = shown;
    if (total.textContent !== of) total.textContent = of;
    if (seek.getAttribute("aria-valuetext") !== `${shown} of ${of}`) seek.setAttribute("aria-valuetext", `${shown} of ${of}`);
    this.#waveform.draw(time_s, total_s);
    this.#words.show(time_s, seconds > 0 && !audio.ended && (isPlaying || time_s > 0));
  }
}
