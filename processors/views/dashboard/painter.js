// When to paint: once for many changes, in an animation frame, and never for more than a third of the time.

const REST = 2; // times what the last painting took

export class Painter {
  /** paint is called at most once in `everyMs`. */
  constructor(paint, everyMs = 0) {
    this.paint = paint;
    this.everyMs = everyMs;
    this.wanted = false;
    this.notBefore = 0;
  }

  /** Paint before long: in the next frame, if enough time has passed since the last. */
  want() {
    if (this.wanted) return;
    this.wanted = true;
    const wait = this.notBefore - performance.now();
    if (wait > 0) setTimeout(() => requestAnimationFrame(() => this.run()), wait);
    else requestAnimationFrame(() => this.run());
  }

  run() {
    this.wanted = false;
    const began = performance.now();
    this.paint();
    const ended = performance.now();
    this.notBefore = ended + Math.max(this.everyMs - (ended - began), REST * (ended - began));
  }
}
