// The stream of events, held open: reconnects by itself, and says how things stand.

import { get, NotNow, TokenNeeded } from "./api.js";
import { seen, whenUnseen } from "./sight.js";
import { eventsOf } from "./stream.js";

// The worker tells of its health once a second: silence means that it, or the way to it, is gone.
const SILENT_MS_MAX = 6_000;
const BACKOFF_MS_MIN = 500;
const BACKOFF_MS_MAX = 10_000;

/** Nobody looks at what is read. */
class Unseen extends Error {}

/** How long to wait after so many failures in a row; spread, so that all open pages don't come back at once. */
export const backoffMs = (failures, chance = Math.random()) =>
  Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** (failures - 1)) * (0.5 + chance / 2);

/**
 * Read events for ever, but not while nobody looks.
 *
 * hooks   state(kind, detail)   connecting | live | paused | waiting (detail: { message, retryMs })
 *                               | token (detail: message)
 *         event(name, data)     each event
 *         token()               resolves once another token is there
 * unseenMs                      how long nobody has to look, if not for the usual time
 */
export async function follow(hooks, unseenMs) {
  for (let failures = 0; ; ) {
    try {
      hooks.state("connecting");
      const greeted = () => {
        failures = 0;
        hooks.state("live");
      };
      await readOnce(hooks, greeted, unseenMs);
    } catch (error) {
      if (error instanceof Unseen) {
        hooks.state("paused");
        await seen();
        continue;
      }
      if (error instanceof TokenNeeded) {
        hooks.state("token", error.message);
        await hooks.token();
        continue;
      }
      failures += 1;
      const retryMs = error instanceof NotNow ? error.retryMs : backoffMs(failures);
      hooks.state("waiting", { message: error.message, retryMs });
      await pause(retryMs);
    }
  }
}

async function readOnce(hooks, greeted, unseenMs) {
  const abort = new AbortController();
  let watchdog;
  const heard = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => abort.abort(new Error("the worker fell silent")), SILENT_MS_MAX);
  };
  heard();
  const looked = whenUnseen(() => abort.abort(new Unseen()), unseenMs);
  try {
    const response = await get("/events", { signal: abort.signal });
    for await (const { event, data } of eventsOf(response.body)) {
      heard();
      if (event === "hello") greeted();
      if (event !== null) hooks.event(event, data);
    }
    throw new Error("the worker closed the stream");
  } catch (error) {
    throw abort.signal.aborted ? abort.signal.reason : error;
  } finally {
    clearTimeout(watchdog);
    looked();
  }
}

/** Wait, but no longer than until the machine says that it is online again. */
function pause(ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
  });
}
