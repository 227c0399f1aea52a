// MP3 that arrives, and is played meanwhile. The server's MP3 has a constant bit rate and no tags, so
// a time is a position in the bytes: all that has arrived can be played, however long it is, though
// the browser holds a few minutes of it at a time (an hour of MP3 has 29 to 43 MB).

const TYPE = "audio/mpeg";
const AHEAD_S = 300;  // given to the browser before it is played; 12 MB is what Chromium takes
const BEHIND_S = 300;
const MAX_APPENDED = 256 * 1024;  // bytes in one call
const BIT_RATES = {  // kbit/s of layer III by index, of MPEG 1 and of the lower sample rates
  1: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
};
// iPhones have the second one only. Without either, audio is played once it is complete.
const Source = [window.MediaSource, window.ManagedMediaSource].find((kind) => kind?.isTypeSupported(TYPE));

/** The bytes of one MP3 file that grows. */
export class Recording {
  #bytes = new Uint8Array(64 * 1024);
  size = 0;
  bytesPerS = 0;  // 0 until the first frame is there

  add(part) {
    if (this.size + part.length > this.#bytes.length) {
      const grown = new Uint8Array(Math.ceil((this.size + part.length) * 1.5));
      grown.set(this.#bytes.subarray(0, this.size));
      this.#bytes = grown;
    }
    this.#bytes.set(part, this.size);
    this.size += part.length;
    if (!this.bytesPerS && this.size > 4) {
      const version = this.#bytes[1] & 8 ? 1 : 2;
      this.bytesPerS = BIT_RATES[version][this.#bytes[2] >> 4] * 125;
    }
  }

  get seconds() {
    return this.bytesPerS ? this.size / this.bytesPerS : 0;
  }

  /** A copy; it may be detached. */
  slice(start, end) {
    return this.#bytes.slice(start, Math.min(end, this.size));
  }

  get blob() {
    return new Blob([this.#bytes.subarray(0, this.size)], { type: TYPE });
  }

  /** Where the first frame at or after `position` begins: its header is that of all frames. */
  frameAt(position) {
    const bytes = this.#bytes;
    for (let at = Math.max(0, Math.floor(position)); at < this.size - 2; at++) {
      const isFrame = bytes[at] === bytes[0] && bytes[at + 1] === bytes[1] && (bytes[at + 2] & 0xfd) === (bytes[2] & 0xfd);
      if (isFrame) return at;
    }
    return this.size;
  }
}

/** Plays a Recording in an `<audio>` element while it arrives. */
export class Sound {
  recording = new Recording();
  isComplete = false;
  #audio;
  #source = null;
  #buffer = null;
  #url = "";
  #appended = 0;
  #isSettled = false;
  #resumeAt = null;  // seconds at which all there was had been played when more came
  #restartAt = null;  // seconds from which the browser's part is to be filled again

  constructor(audio) {
    this.#audio = audio;
    audio.addEventListener("seeking", () => this.#onSeeking());
    audio.addEventListener("timeupdate", () => this.#pump());
    audio.addEventListener("durationchange", () => this.#resume());
  }

  get seconds() {
    return this.recording.seconds;
  }

  /** Forget all; what is added from now on is another recording. */
  begin() {
    this.clear();
    if (!Source) return;
    const source = this.#source = new Source();
    this.#audio.disableRemotePlayback = true;  // or ManagedMediaSource does not open
    this.#load(source);
    source.addEventListener("sourceopen", () => {
      if (this.#source !== source || this.#buffer) return;
      this.#buffer = source.addSourceBuffer(TYPE);
      this.#buffer.addEventListener("updateend", () => this.#pump());
      this.#pump();
    });
  }

  clear() {
    this.recording = new Recording();
    this.isComplete = false;
    this.#source = this.#buffer = this.#restartAt = null;
    this.#appended = 0;
    this.#isSettled = false;
    this.#resumeAt = null;
    this.#audio.pause();
    URL.revokeObjectURL(this.#url);
    this.#url = "";
    this.#audio.removeAttribute("src");
    this.#audio.load();
  }

  add(part) {
    this.recording.add(part);
    this.#isSettled = false;
    if (this.#audio.ended && !this.isComplete) this.#resumeAt = this.#audio.currentTime;
    this.#pump();
  }

  /**
   * No more comes for now: the browser plays all of it, where it would keep the last tenth of a
   * second to go on from. What is added later follows.
   */
  settle() {
    this.#isSettled = true;
    this.#pump();
  }

  end() {
    if (this.isComplete) return;
    this.isComplete = true;
    if (!Source && this.recording.size) {
      const isPlayed = !this.#audio.paused;
      this.#load(this.recording.blob);
      if (isPlayed) this.#audio.play().catch(() => {});
    }
    this.#pump();
  }

  /** Go to a time, within what has arrived. */
  seek(time_s) {
    // A browser goes no further than what it was given, unless it is told that there is more.
    if (this.#source?.readyState === "open") this.#source.setLiveSeekableRange(0, this.seconds);
    this.#audio.currentTime = Math.min(Math.max(0, time_s), Math.max(0, this.seconds - 0.05));
  }

  #load(source) {
    const rate = this.#audio.playbackRate;
    this.#url = URL.createObjectURL(source);
    this.#audio.src = this.#url;
    this.#audio.defaultPlaybackRate = this.#audio.playbackRate = rate;
  }

  #onSeeking() {
    const time = this.#audio.currentTime, ranges = this.#buffer?.buffered;
    if (!ranges?.length) return;
    for (let i = 0; i < ranges.length; i++) if (time >= ranges.start(i) && time <= ranges.end(i)) return;
    if (time >= this.seconds) return;  // it has not arrived
    this.#restartAt = time;
    this.#pump();
  }

  #resume() {
    const audio = this.#audio, time = this.#resumeAt;
    if (time === null || !(audio.duration > time + 0.05)) return;
    this.#resumeAt = null;
    audio.currentTime = time;  // to play what has ended begins at the beginning
    audio.play().catch(() => {});
  }

  /** Give the browser more, or take from it what was played long ago; one step per call. */
  #pump() {
    const buffer = this.#buffer, source = this.#source, recording = this.recording, time = this.#audio.currentTime;
    if (!buffer || buffer.updating || source.readyState === "closed" || !recording.bytesPerS) return;
    if (this.#restartAt !== null) return this.#restart();
    const ranges = buffer.buffered;
    if (ranges.length && time - ranges.start(0) > 2 * BEHIND_S) return buffer.remove(0, time - BEHIND_S);
    const hasRoom = this.#appended / recording.bytesPerS < time + AHEAD_S;
    if (hasRoom && this.#appended < recording.size) {
      const part = recording.slice(this.#appended, this.#appended + MAX_APPENDED);
      this.#appended += part.length;
      buffer.appendBuffer(part);
    } else if ((this.isComplete || this.#isSettled) && this.#appended === recording.size && source.readyState === "open") {
      source.endOfStream();
    }
  }

  #restart() {
    if (this.#buffer.buffered.length) return this.#buffer.remove(0, Infinity);
    const position = this.recording.frameAt(this.#restartAt * this.recording.bytesPerS);
    this.#restartAt = null;
    if (this.#source.readyState === "open") this.#buffer.abort();  // half a frame may wait in it
    // A little early, so that the frame covers the time that is asked for.
    this.#buffer.timestampOffset = Math.max(0, position / this.recording.bytesPerS - 0.05);
    this.#appended = position;
    this.#pump();
  }
}
