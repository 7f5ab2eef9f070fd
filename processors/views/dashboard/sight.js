// Whether anybody looks at the page. A browser opens six connections to a worker for all its tabs together, and each
// stream of events takes one: a tab in the background must let go of it, or a seventh would never load.

const UNSEEN_MS_MAX = 30_000;

/** Calls `left` once nobody has looked for so long; returns what ends this. */
export function whenUnseen(left, ms = UNSEEN_MS_MAX) {
  let timer;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(left, ms);
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}

/** Resolves once somebody looks. */
export async function seen() {
  while (document.hidden) {
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}
