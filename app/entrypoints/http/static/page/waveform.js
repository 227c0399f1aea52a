// The waveform of a recording that grows: its peaks, decoded piece by piece, and a drawing of them.

const PEAKS_PER_S = 20;
const SLICE_S = 2;  // decoded in one call, once there is so much
const FIRST_SLICE_S = 0.3;
const OVERLAP = 2048;  // bytes decoded before a slice: frames of MP3 borrow bits from earlier ones
const RATE = 8000;  // Hz; enough for peaks
const QUIET = 0.05;  // silence is not drawn as if it were loud
const BAR = 3, GAP = 2;  // CSS pixels

export class Waveform {
  #canvas;
  #recording = null;
  #isComplete = false;
  #isDecoding = false;
  #decoded = 0;  // bytes
  #peaks = [];
  #tallest = QUIET;
  #bars = [];
  #barsKey = "";

  constructor(canvas) {
    this.#canvas = canvas;
  }

  begin(recording) {
    this.#recording = recording;
    this.#isComplete = false;
    this.#decoded = 0;
    this.#peaks = [];
    this.#barsKey = "";
  }

  /** Decode what has arrived; `onPeaks` is called whenever there is more to draw. */
  async follow(isComplete, onPeaks) {
    this.#isComplete ||= isComplete;
    if (this.#isDecoding) return;
    this.#isDecoding = true;
    const recording = this.#recording;
    try {
      while (recording === this.#recording && await this.#decodeNext(recording)) onPeaks();
    } finally {
      this.#isDecoding = false;
    }
    if (recording !== this.#recording) this.follow(false, onPeaks);
  }

  async #decodeNext(recording) {
    const start = this.#decoded, { bytesPerS, size } = recording;
    const end = Math.min(size, start + 10 * SLICE_S * bytesPerS);
    const least = (start ? SLICE_S : FIRST_SLICE_S) * bytesPerS;
    if (!bytesPerS || end === start || (end - start < least && !this.#isComplete)) return false;
    const context = new OfflineAudioContext(1, 1, RATE);
    const bytes = recording.slice(Math.max(0, start - OVERLAP), end);
    const audio = await context.decodeAudioData(bytes.buffer).catch(() => null);
    if (recording !== this.#recording) return false;
    this.#decoded = end;
    if (audio) this.#addPeaks(audio.getChannelData(0), start / bytesPerS, end / bytesPerS);
    return true;
  }

  #addPeaks(samples, start_s, end_s) {
    const first = Math.round(start_s * PEAKS_PER_S), last = Math.round(end_s * PEAKS_PER_S);
    const perPeak = RATE / PEAKS_PER_S, offset = samples.length - (last - first) * perPeak;
    for (let index = first; index < last; index++) {
      let peak = 0;
      const from = Math.max(0, offset + (index - first) * perPeak);
      for (const sample of samples.subarray(from, from + perPeak)) peak = Math.max(peak, Math.abs(sample));
      this.#peaks[index] = peak;
    }
  }

  /** The mean of the peaks in each bar (of long texts all bars have a loud one), null where none has arrived; computed when something changed. */
  #barsOf(num_bars, total_s) {
    const key = [num_bars, total_s, this.#peaks.length].join();
    if (key !== this.#barsKey) {
      const perBar = total_s * PEAKS_PER_S / num_bars;
      this.#barsKey = key;
      this.#bars = Array.from({ length: num_bars }, (_, bar) => {
        const from = Math.floor(bar * perBar), to = Math.max(from + 1, Math.floor((bar + 1) * perBar));
        const peaks = this.#peaks.slice(from, to);
        return peaks.length ? peaks.reduce((sum, peak) => sum + (peak ?? 0), 0) / peaks.length : null;
      });
      this.#tallest = Math.max(QUIET, ...this.#bars);
    }
    return this.#bars;
  }

  /** Draw `total_s` seconds, of which `now_s` are played. */
  draw(now_s, total_s) {
    const canvas = this.#canvas, width = canvas.clientWidth, height = canvas.clientHeight;
    const scale = window.devicePixelRatio || 1, style = getComputedStyle(canvas);
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const colors = ["--accent", "--wave", "--wave-to-come"].map((name) => style.getPropertyValue(name));
    const bars = this.#barsOf(Math.floor((width + GAP) / (BAR + GAP)), total_s || 1);
    for (const [bar, peak] of bars.entries()) {
      const hasArrived = peak !== null, isPlayed = (bar + 0.5) / bars.length <= now_s / (total_s || 1);
      const tall = Math.max(3, (peak ?? 0) / this.#tallest * (height - 6));
      context.fillStyle = colors[hasArrived ? (isPlayed ? 0 : 1) : 2];
      context.beginPath();
      context.roundRect(bar * (BAR + GAP), (height - tall) / 2, BAR, tall, BAR / 2);
      context.fill();
    }
  }
}
