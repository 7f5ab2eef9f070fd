// The worker's routes, with the token where it asks for one.

const TOKEN = "coinglass-streams-token";

/** The worker wants a token, or another one. */
export class TokenNeeded extends Error {}

/** The worker cannot answer now, and says when to ask again. */
export class NotNow extends Error {
  constructor(message, retryMs) {
    super(message);
    this.retryMs = retryMs;
  }
}

/** GET; returns the response, or throws TokenNeeded, NotNow or an Error that says what the worker said. */
export async function get(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const response = await fetch(path, { headers, ...options });
  if (response.ok) return response;
  if (response.status === 401) throw new TokenNeeded(token === null ? "" : "That token was refused.");
  const said = await response.json().catch(() => ({}));
  const message = typeof said.error === "string" ? said.error : `HTTP ${response.status}`;
  if (response.status === 503 || response.status === 429) {
    throw new NotNow(message, Number(response.headers.get("Retry-After") ?? 2) * 1_000 || 2_000);
  }
  throw new Error(message);
}

export const json = async (path) => (await get(path)).json();

/** Keep a token for this tab; sent as a header only. */
export const keepToken = (token) => sessionStorage.setItem(TOKEN, token);
