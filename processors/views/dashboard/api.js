// The worker's routes, with the token where it asks for one.

const TOKEN = "coinglass-streams-token";
const REFUSED = "That token was refused.";

/** The worker wants a token, or another one. */
export class TokenNeeded extends Error {}

/** The worker cannot answer now, and says when to ask again. */
export class NotNow extends Error {
  constructor(message, retryMs) {
    super(message);
    this.retryMs = retryMs;
  }
}

/** The worker will not answer this; asked again it would say the same. */
export class Refused extends Error {}

/** GET; returns the response, or throws TokenNeeded, NotNow, Refused or an Error that says what the worker said. */
export async function get(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const response = await fetch(path, { headers: headersWith(token), ...options });
  if (response.ok) return response;
  if (response.status === 401) throw new TokenNeeded(token === null ? "" : REFUSED);
  const said = await response.json().catch(() => ({}));
  const message = typeof said.error === "string" ? said.error : `HTTP ${response.status}`;
  if (response.status === 503 || response.status === 429) {
    throw new NotNow(message, Number(response.headers.get("Retry-After") ?? 2) * 1_000 || 2_000);
  }
  throw response.status === 400 ? new Refused(message) : new Error(message);
}

function headersWith(token) {
  try {
    return new Headers(token === null ? {} : { Authorization: `Bearer ${token}` });
  } catch {
    throw new TokenNeeded(REFUSED); // no header can hold it, so it is not the worker's
  }
}

export const json = async (path) => (await get(path)).json();

/** Keep a token for this tab; sent as a header only. */
export const keepToken = (token) => sessionStorage.setItem(TOKEN, token);
