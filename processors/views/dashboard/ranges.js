// A range of windows, in one answer or in several: the worker refuses to give very many at once, and does not say how
// many there are.

import { json, Refused } from "./api.js";

/** The windows that start in `[fromMs, toMs)`, whole windows from end to end; in halves where that is refused. */
export async function windowsIn(path, fromMs, toMs, sizeMs) {
  try {
    return (await json(`${path}&from=${fromMs}&to=${toMs}`)).windows;
  } catch (error) {
    const count = Math.round((toMs - fromMs) / sizeMs);
    if (!(error instanceof Refused) || count <= 1) throw error;
    const halfMs = fromMs + Math.floor(count / 2) * sizeMs;
    const older = await windowsIn(path, fromMs, halfMs, sizeMs); // one after the other: the worker reads one at a time
    return older.concat(await windowsIn(path, halfMs, toMs, sizeMs));
  }
}
