// The text that is played, with the word that is being said.
//
// A caption says when its segment begins and ends. Where its words are in between is estimated: each
// takes as long as its share of the letters. The same holds for words whose caption has not arrived,
// at the pace so far.

const CHARS_PER_S = 14;  // letters of speech, until a caption has shown the pace
const WORD = /\S+/g;

const lettersOf = (text) => text.replace(/\s/g, "").length;

export class Words {
  #box;
  #words = [];  // {node, start_s}, start_s null until its caption has come
  #letters = [];  // how many come before each word; white space does not count, as in captions
  #num_letters = 0;
  #placed = 0;  // words with a time
  #placed_letters = 0;
  #placed_s = 0;  // the end of the last caption
  #said = null;
  speed = 1;

  /** `onSeek` is called with the time of a word that was clicked. */
  constructor(box, onSeek) {
    this.#box = box;
    box.addEventListener("click", ({ target }) => {
      const word = this.#words.find((each) => each.node === target);
      if (word && word.start_s !== null) onSeek(word.start_s);
    });
  }

  begin(text, speed) {
    this.#box.replaceChildren();
    this.#words = [];
    this.#letters = [];
    this.#num_letters = this.#placed = this.#placed_letters = this.#placed_s = 0;
    this.#said = null;
    this.speed = speed;
    this.append(text);
  }

  append(text) {
    const nodes = [];
    let end = 0;
    for (const match of text.matchAll(WORD)) {
      const node = document.createElement("span");
      node.textContent = match[0];
      nodes.push(text.slice(end, match.index), node);
      end = match.index + match[0].length;
      this.#words.push({ node, start_s: null });
      this.#letters.push(this.#num_letters);
      this.#num_letters += lettersOf(match[0]);
    }
    this.#box.append(...nodes, text.slice(end));
    this.#box.hidden = !this.#words.length;
  }

  /** A segment was synthesized; its times are in seconds of the recording. */
  place({ start, end, text }) {
    const num_letters = lettersOf(text), first = this.#placed_letters;
    for (; this.#placed < this.#words.length; this.#placed++) {
      const share = (this.#letters[this.#placed] - first) / num_letters;
      if (!(share < 1)) break;
      const word = this.#words[this.#placed];
      word.start_s = start + Math.max(0, share) * (end - start);
      word.node.classList.add("placed");
    }
    this.#placed_letters = first + num_letters;
    this.#placed_s = end;
  }

  /** Letters that are spoken per second. */
  get #pace() {
    return this.#placed_s > 1 ? this.#placed_letters / this.#placed_s : CHARS_PER_S * this.speed;
  }

  /** How long all of it takes, estimated from what was captioned so far. */
  get seconds() {
    return this.#placed_s + Math.max(0, this.#num_letters - this.#placed_letters) / this.#pace;
  }

  /** Mark the word that is said at this time, or none. */
  show(time_s, isPlayed) {
    const said = isPlayed ? this.#at(time_s) : null;
    if (said === this.#said) return;
    this.#said?.classList.remove("said");
    said?.classList.add("said");
    this.#said = said;
    if (said) this.#keepInView(said);
  }

  #at(time_s) {
    const place = this.#placed_letters + (time_s - this.#placed_s) * this.#pace;
    const isSaid = (index) => (index < this.#placed ? this.#words[index].start_s <= time_s : this.#letters[index] <= place);
    let low = 0, high = this.#words.length;  // the first word that is not said yet
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isSaid(middle)) low = middle + 1;
      else high = middle;
    }
    return low ? this.#words[low - 1].node : null;
  }

  /** Scrolls the box alone, never the page. */
  #keepInView(node) {
    const box = this.#box, top = node.offsetTop, bottom = top + node.offsetHeight;
    if (top < box.scrollTop || bottom > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 3;
  }
}
